"""The report as one line for a monitoring system, by the rules of Nagios plugins. Pure.

monitoring-plugins.org's guidelines: exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; one line
of text, then "|" and values for graphs. Icinga, Nagios and Checkmk (MRPE) take it as it is.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from phoenix_apparmor import labels
from phoenix_apparmor.errors import one_line
from phoenix_apparmor.status.report import NO_APPARMOR, VERDICTS, Container, Profile, Report

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# The worst first: what is known to be wrong is more than what is not known.
ORDER = (CRITICAL, WARNING, UNKNOWN)
# So many are named in each group; NRPE passes on a kilobyte.
FEW = 5


class Check(NamedTuple):
    """The line, and the exit status that belongs to it."""

    status: int
    line: str


def check(report: Report, silent: Sequence[str] = ()) -> Check:
    """silent: nodes of the cluster whose state is unknown."""
    found: dict[int, list[str]] = {CRITICAL: [], WARNING: [], UNKNOWN: []}
    for note in report.trouble:
        found[CRITICAL if note.what == NO_APPARMOR else WARNING].append(note.what.rstrip("."))
    groups: dict[tuple[int, str], list[str]] = {}
    for c in report.containers:
        judged = _container(c)
        if judged is not None:
            groups.setdefault(judged, []).append(c.ctid)
    for p in report.profiles:
        if p.off:
            groups.setdefault(_profile(p), []).append(p.name)
    for (level, what), which in groups.items():
        found[level].append(f"{what}: {_some(which)}")
    if silent:
        found[UNKNOWN].append(f"nodes that say nothing: {_some(silent)}")
    level = next((level for level in ORDER if found[level]), OK)
    said = "; ".join(text for one in ORDER for text in found[one])
    total = len(report.containers)
    said = said or f"{total} container{'' if total == 1 else 's'}, nothing is off"
    return Check(level, f"{NAMES[level]} - {_plain(said)} | {' '.join(_values(report, silent))}")


def unknown(why: str) -> Check:
    """Where the report could not be made."""
    return Check(UNKNOWN, f"{NAMES[UNKNOWN]} - {_plain(why)}")


def _container(c: Container) -> tuple[int, str] | None:
    if c.is_weak:
        return CRITICAL, "run without being confined"
    if c.verdict == "refused":
        return CRITICAL, "cannot start"
    if c.verdict == "restart pending":
        return WARNING, "restart pending"
    if c.verdict == "drift":
        return WARNING, "drift"
    looked = c.running is False or c.label is not None
    return (UNKNOWN, "unknown") if c.assigned and not looked else None


def _profile(p: Profile) -> tuple[int, str]:
    if p.used_by and p.mode is not None and p.mode not in labels.ENFORCING:
        return CRITICAL, f"profiles in {p.mode} mode"
    return WARNING, "profiles with which something is wrong"


def _values(report: Report, silent: Sequence[str]) -> Iterable[str]:
    yield f"containers={len(report.containers)};;;0"
    for verdict in VERDICTS:
        yield f"{verdict.replace(' ', '_')}={report.count(verdict)};;;0"
    yield f"profiles_off={sum(p.off for p in report.profiles)};;;0"
    yield f"nodes_silent={len(silent)};;;0"


def _some(names: Sequence[str]) -> str:
    if len(names) <= FEW:
        return ", ".join(names)
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def _plain(text: str) -> str:
    """One line without the sign that ends the text; no longer than others pass on."""
    text = one_line(text).replace("|", "/")
    return text if len(text) <= 600 else text[:599] + "…"
