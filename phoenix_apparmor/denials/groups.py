"""Denials -> the frozen report: grouped, counted, with the rule and what speaks against it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from phoenix_apparmor import paths
from phoenix_apparmor.denials.acts import Act, act_of
from phoenix_apparmor.denials.closing import Closed
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import Owner, Owners

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Group:
    """The same act of the same container, any number of times.

    place: the file into which the rule goes, "" without a rule. warning: why the rule
    should not be written. futile: whether it would do nothing, as the profile denies that
    explicitly. first, last: seconds since 1970. programs: names of the processes.
    """

    owner: Owner
    act: Act
    operation: str
    place: str
    rule: str
    warning: str
    futile: bool
    count: int
    first: float
    last: float
    programs: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All that denials says.

    others: profile -> count, of denials that concern no container. silent: profile ->
    number of deny rules that leave no message; logs_all: whether the kernel was told to log
    those too (None: unknown).
    """

    since: float
    sources: tuple[str, ...]
    lost: tuple[str, ...]
    problems: tuple[str, ...]
    groups: tuple[Group, ...]
    others: Mapping[str, int]
    silent: Mapping[str, int]
    logs_all: bool | None


def group(
    denials: Iterable[Denial], owners: Owners, closed: Closed
) -> tuple[tuple[Group, ...], dict[str, int]]:
    """(groups by container and then by time, counts of the profiles of no container)."""
    parts: dict[tuple[Owner, Act, str], list[Denial]] = {}
    others: dict[str, int] = {}
    for denial in denials:
        owner = owners.of(denial)
        if not owner.concerns_containers:
            others[owner.profile or "?"] = others.get(owner.profile or "?", 0) + 1
            continue
        parts.setdefault((owner, act_of(denial), denial.operation), []).append(denial)
    merged = _merge_owners(parts)
    groups = [_group(*key, denials, closed) for key, denials in merged.items()]
    return tuple(sorted(groups, key=_order)), others


Parts = dict[tuple[Owner, Act, str], list[Denial]]


def _merge_owners(parts: Parts) -> Parts:
    """One group for a container, whether its process still lived or it is the only candidate."""
    merged: Parts = {}
    for (owner, act, operation), denials in parts.items():
        how = "process" if owner.how == "only" and _also_lives(parts, owner) else owner.how
        merged.setdefault((owner._replace(how=how), act, operation), []).extend(denials)
    return merged


def _also_lives(parts: Parts, owner: Owner) -> bool:
    alive = owner._replace(how="process")
    return any(other == alive for other, _, _ in parts)


def _group(owner: Owner, act: Act, operation: str, denials: list[Denial], closed: Closed) -> Group:
    place, rule = _place(owner, act)
    if "/local/" in place and closed.includes_local(owner.profile) is False:
        name = place.rpartition("/")[2]
        missing = f"The profile does not read that file yet: add include if exists <local/{name}>"
        act = act._replace(note=f"{act.note} {missing} to it.".strip())
    warning, futile = _warning(owner, act, denials[0], closed)
    times = [denial.time for denial in denials]
    programs = dict.fromkeys(denial.get("comm") for denial in denials if denial.get("comm"))
    return Group(owner, act, operation, place, rule, warning, futile, len(denials), min(times),
                 max(times), tuple(programs))  # fmt: skip


def _place(owner: Owner, act: Act) -> tuple[str, str]:
    """(file for the rule, the line that goes into it)."""
    if not act.rule or owner.inside:
        return "", ""
    if owner.how == "name":
        # Proxmox' generated profile is made anew at each start
        return paths.conf(owner.ctid), f"lxc.apparmor.raw: {act.rule}"
    name = owner.profile.removeprefix("/").replace("/", ".")
    return f"{paths.APPARMOR_D}/local/{name}", act.rule


def _warning(owner: Owner, act: Act, denial: Denial, closed: Closed) -> tuple[str, bool]:
    """(why the rule should not be written, whether it would be futile)."""
    own = closed.by(owner.profile, denial)
    if own is not None:
        return f'{owner.profile} denies that on purpose: "{own.text}" in {own.path}', True
    if act.hole:
        return act.hole, False
    ours = closed.by_ours(denial)
    if ours is not None and act.rule:
        return f'our profiles close that on purpose: "{ours.text}" in {ours.path}', False
    return "", False


def _order(part: Group) -> tuple[bool, int, str, str, float]:
    ctid = part.owner.ctid
    number = int(ctid) if ctid.isascii() and ctid.isdigit() else 0
    return not ctid, number, ctid, part.owner.profile, part.first


def only_of(groups: Iterable[Group], ctid: str) -> tuple[Group, ...]:
    """Groups of one container, and those that may be its own."""
    return tuple(
        part for part in groups if part.owner.ctid == ctid or ctid in part.owner.candidates
    )


def iso(seconds: float) -> str | None:
    """A time for programs, in UTC; None for unknown."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs: denials.schema.json describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "since": iso(report.since),
        "sources": list(report.sources),
        "lost": list(report.lost),
        "problems": list(report.problems),
        "denials": [
            {
                "ctid": part.owner.ctid or None,
                "ctid_known_by": part.owner.how or None,
                "candidates": list(part.owner.candidates),
                "profile": part.owner.profile or None,
                "inside_profile": part.owner.inside or None,
                "operation": part.operation,
                "tried_to": part.act.words,
                "count": part.count,
                "first": iso(part.first),
                "last": iso(part.last),
                "programs": list(part.programs),
                "rule": part.rule or None,
                "rule_file": part.place or None,
                "note": part.act.note or None,
                "warning": part.warning or None,
                "rule_is_futile": part.futile,
            }
            for part in report.groups
        ],
        "other_profiles": dict(report.others),
        "silent_deny_rules": dict(report.silent),
        "explicit_denies_logged": report.logs_all,
    }
