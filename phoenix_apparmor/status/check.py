"""The report as one line for a monitoring system, by the rules of Nagios plugins. Pure.

monitoring-plugins.org's guidelines: exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; one line
of text, then "|" and values for graphs. Icinga, Nagios and Checkmk (MRPE) take it as it is.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from phoenix_apparmor import kernel
from phoenix_apparmor.errors import one_line
from phoenix_apparmor.status.report import (
    NO_APPARMOR,
    NOT_ENFORCING,
    NOT_MOUNTED,
    QUORUM_UNKNOWN,
    VERDICTS,
    Container,
    Report,
)

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


class Finding(NamedTuple):
    """Something that is off: its level, what, and which (of several, one name each)."""

    level: int
    what: str
    which: str = ""


def check(report: Report, silent: Sequence[str] = (), more: Iterable[Finding] = (), *,
          off: int = 0) -> Check:  # fmt: skip
    """The line for a report.

    silent: nodes of the cluster whose state is unknown. more: what the other nodes say is off;
    off: how many profiles that is.
    """
    found: dict[int, list[str]] = {CRITICAL: [], WARNING: [], UNKNOWN: []}
    for note in report.trouble:
        found[of_trouble(note.what)].append(note.what.rstrip("."))
    groups: dict[tuple[int, str], list[str]] = {}
    for c in report.containers:
        judged = _container(c)
        if judged is not None:
            groups.setdefault(judged, []).append(c.ctid)
    for p in report.profiles:
        if p.off:
            groups.setdefault(of_profile(p.mode, used=bool(p.used_by)), []).append(p.name)
    for one in more:
        groups.setdefault((one.level, one.what), []).extend([one.which] if one.which else [])
    for (level, what), which in groups.items():
        found[level].append(f"{what}: {_some(which)}" if which else what)
    if silent:
        found[UNKNOWN].append(f"nodes that do not report: {_some(silent)}")
    level = next((level for level in ORDER if found[level]), OK)
    said = "; ".join(text for each in ORDER for text in found[each])
    total = len(report.containers)
    said = said or f"{total} container{'' if total == 1 else 's'}, nothing is off"
    values = " ".join(_values(report, silent, off))
    return Check(level, f"{NAMES[level]} - {_plain(said)} | {values}")


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
    return (UNKNOWN, "unknown") if c.verdict == "unknown" else None


def of_trouble(what: str) -> int:
    """The level of a node's trouble, report.Note.what."""
    if what in (NO_APPARMOR, NOT_ENFORCING):
        return CRITICAL
    return UNKNOWN if what in (NOT_MOUNTED, QUORUM_UNKNOWN) else WARNING


def of_profile(mode: str | None, *, used: bool) -> tuple[int, str]:
    """(level, what) of a profile with which something is wrong. used: whether by a container."""
    if used and mode is not None and mode not in kernel.ENFORCING:
        return CRITICAL, f"profiles in {mode} mode"
    return WARNING, "profiles with a problem"


def _values(report: Report, silent: Sequence[str], off: int) -> Iterable[str]:
    yield f"containers={len(report.containers)};;;0"
    for verdict in VERDICTS:
        yield f"{verdict.replace(' ', '_')}={report.count(verdict)};;;0"
    yield f"profiles_off={sum(p.off for p in report.profiles) + off};;;0"
    yield f"nodes_silent={len(silent)};;;0"


def _some(names: Sequence[str]) -> str:
    if len(names) <= FEW:
        return ", ".join(names)
    return f"{', '.join(names[:FEW])} and {len(names) - FEW} more"


def _plain(text: str) -> str:
    """One line without the sign that ends the text; no longer than others pass on."""
    text = one_line(text).replace("|", "/")
    return text if len(text) <= 600 else text[:599] + "…"
