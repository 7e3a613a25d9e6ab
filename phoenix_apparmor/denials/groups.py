"""Kinds of denials -> the frozen report: in words, with what to do and what speaks against it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.advice import Advice
from phoenix_apparmor.denials.adviser import Adviser
from phoenix_apparmor.denials.explanation import act_of
from phoenix_apparmor.denials.kinds import Found
from phoenix_apparmor.denials.known import Known
from phoenix_apparmor.denials.owner import Owner, order

SCHEMA_VERSION = 2
# Acts that are named where one cause has many.
NAMED = 3


@dataclass(frozen=True)
class Group:
    """The same act of the same container, or acts of one cause, any number of times.

    words: continues "tried to". first, last: seconds since 1970. programs: names of the
    processes. mark: the line of the file of known denials that means this; known: whether
    it is there.
    """

    owner: Owner
    words: str
    operation: str
    advice: Advice
    count: int
    first: float
    last: float
    programs: tuple[str, ...]
    mark: str
    known: bool


@dataclass(frozen=True)
class Report:
    """All that denials says.

    others: profile -> count, of denials that concern no container. silent: profile ->
    number of deny rules that leave no message; logs_all: whether the kernel was told to log
    those too (None: unknown). untrusted: messages in the name of D-Bus that were not from it.
    left_out: denials of kinds that were too many to keep.
    """

    since: float
    sources: tuple[str, ...]
    lost: tuple[str, ...]
    problems: tuple[str, ...]
    untrusted: int
    left_out: int
    groups: tuple[Group, ...]
    others: Mapping[str, int]
    silent: Mapping[str, int]
    logs_all: bool | None

    @property
    def is_off(self) -> bool:
        """Whether there were denials that are not marked as known."""
        return self.left_out > 0 or any(not part.known for part in self.groups)


def group(found: Iterable[Found], adviser: Adviser, known: Known) -> tuple[Group, ...]:
    """Groups by container and then by time."""
    kinds = list(found)
    alive = {kind.owner for kind in kinds if kind.owner.how == "process"}
    parts: dict[tuple[object, ...], list[tuple[Found, Act]]] = {}
    judged: dict[tuple[object, ...], Advice] = {}
    for kind in kinds:
        # one group for a container, whether its process still lived or it is the only candidate
        as_alive = kind.owner._replace(how="process")
        if kind.owner.how == "only" and as_alive in alive:
            kind = replace(kind, owner=as_alive)  # noqa: PLW2901
        act = act_of(kind.denial, kind.owner.ctid)
        advice = adviser.advise(kind.owner, act, kind.denial)
        key = (kind.owner, advice.cause or (act, kind.denial.operation, advice))
        parts.setdefault(key, []).append((kind, act))
        judged.setdefault(key, advice)
    groups = [_group(several, judged[key], known) for key, several in parts.items()]
    return tuple(sorted(groups, key=_order))


def _group(several: list[tuple[Found, Act]], advice: Advice, known: Known) -> Group:
    kind, act = several[0]
    programs = dict.fromkeys(program for found, _ in several for program in found.programs)
    words = act.words
    if advice.cause:
        acts = list(dict.fromkeys(one.words for _, one in several))
        more = f" and {len(acts) - NAMED} more" if len(acts) > NAMED else ""
        words = f"{advice.cause}: {', '.join(acts[:NAMED])}{more}"
    what = advice.cause or act.rule or act.words
    return Group(
        kind.owner,
        words,
        kind.denial.operation,
        advice,
        sum(found.count for found, _ in several),
        min(found.first for found, _ in several),
        max(found.last for found, _ in several),
        tuple(programs),
        known.line(kind.owner, what),
        known.has(kind.owner, what),
    )


def _order(part: Group) -> tuple[bool, int, str, str, float]:
    ctid = part.owner.ctid
    return not ctid, *order(ctid), part.owner.profile, part.first


def only_of(report: Report, ctid: str) -> Report:
    """Groups of one container, and those that may be its own."""
    parts = tuple(p for p in report.groups if p.owner.ctid == ctid or ctid in p.owner.candidates)
    return replace(report, groups=parts, others={})


def iso(seconds: float) -> str | None:
    """A time for programs, in UTC; None for unknown."""
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, OSError, ValueError):
        return None


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs: denials.schema.json describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "since": iso(report.since),
        "sources": list(report.sources),
        "lost": list(report.lost),
        "problems": list(report.problems),
        "untrusted": report.untrusted,
        "left_out": report.left_out,
        "denials": [_group_as_json(part) for part in report.groups],
        "other_profiles": dict(report.others),
        "silent_deny_rules": dict(report.silent),
        "explicit_denies_logged": report.logs_all,
    }


def _group_as_json(part: Group) -> dict[str, Any]:
    owner, advice = part.owner, part.advice
    return {
        "ctid": owner.ctid or None,
        "ctid_known_by": owner.how or None,
        "candidates": list(owner.candidates),
        "profile": owner.profile or None,
        "inside_profile": owner.inside or None,
        "operation": part.operation,
        "tried_to": part.words,
        "count": part.count,
        "first": iso(part.first),
        "last": iso(part.last),
        "programs": list(part.programs),
        "advice_kind": advice.kind,
        "advice": advice.words or None,
        "fix": advice.fix or None,
        "rule": (advice.line or None) if not advice.futile else None,
        "rule_file": advice.place or None,
        "warning": advice.warning or None,
        "rule_is_futile": advice.futile,
        "known": part.known,
        "known_as": part.mark,
    }
