"""The cluster as one line for a monitoring system: status/check.py's rules for every node. Pure."""

from collections.abc import Iterator

from phoenix_apparmor.cluster.overview import Overview
from phoenix_apparmor.status import check
from phoenix_apparmor.status.check import WARNING, Check, Finding


def checked(found: Overview) -> Check:
    """What is off on any node whose state is known, and which nodes say nothing."""
    off = len(found.off_elsewhere)
    return check.check(found.judged, found.missed, _findings(found), off=off)


def _findings(found: Overview) -> Iterator[Finding]:
    for node in found.well_known:
        for note in node.trouble:
            yield Finding(check.of_trouble(note.what), note.what.rstrip("."), f"on {node.name}")
    for name, p in found.off_elsewhere:
        level, what = check.of_profile(p.mode, used=p.name in found.used_on(name))
        yield Finding(level, what, f"{p.name} on {name}")
    if not found.named:
        for name in found.different:
            yield Finding(WARNING, "profiles of which nodes have different texts", name)
    for name in found.unexplained:
        yield Finding(WARNING, "nodes on which something is off", name)
