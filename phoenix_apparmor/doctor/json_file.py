"""Checks of the JSON: one, trusted, readable."""

import json
import re
import stat
from collections.abc import Iterator

from phoenix_apparmor import containers, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.doctor import one_container, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.reader import NOT_REGULAR


def one_file(host: Host) -> Iterator[Finding]:
    """Two JSON files: the second one is never read."""
    there = [path for path in paths.JSON_FILES if host.stat(path) is not None]
    if len(there) > 1:
        same = host.read(there[0]) == host.read(there[1])
        yield Finding(
            "note" if same else "warning",
            f"there are two JSON files; {there[0]} is used, {there[1]} is never read.",
            "their content is the same" if same else "their content differs",
            f"rm {there[1]}" if same else "",
            "" if same else f"compare them: diff -u {there[1]} {there[0]}; then: rm {there[1]}",
        )


def owner(host: Host) -> Iterator[Finding]:
    """Who can write the JSON decides what confines root in a container."""
    known = None if containers.is_unmounted(host) else lookup.everyone(host, save=False)
    for path in paths.JSON_FILES:
        seen = host.stat(path)
        why = "" if seen is None else host.distrust(path)
        if seen is None or not why or why == NOT_REGULAR:
            continue  # what is no file is told by content()
        used, stuck = "", tuple[str, ...]()
        if known is not None and known.source == path:
            used, stuck = _what_is_used(host, known)
        yield Finding(
            "error",
            f"{path} is refused: {why}. Whoever can write it decides what confines the "
            f"containers.{used and f' {used}'}",
            f"mode {stat.S_IMODE(seen.st_mode):04o}, uid {seen.st_uid}, gid {seen.st_gid}",
            lookup.how_to_trust(path, why),
            ctids=stuck,
        )


def content(host: Host) -> Iterator[Finding]:
    """The JSON can be used, as a whole and for each container."""
    if containers.is_unmounted(host):
        return  # proxmox.quorum says it: of the JSON nothing can be said
    known = lookup.everyone(host, save=False)
    if known.trouble is not None and not _is_distrusted(host, known.source):
        used, stuck = _what_is_used(host, known)
        yield Finding(
            "error",
            f"{known.trouble.what} {used}",
            known.source,
            advice=known.trouble.hint,
            ctids=stuck,
        )
    if known.trouble is None:
        yield from _bad_entries(host, known)


def _is_distrusted(host: Host, source: str) -> bool:
    """Whether owner() tells why the JSON is not used."""
    try:
        return bool(source) and host.distrust(source) not in ("", NOT_REGULAR)
    except OSError:
        return False


def _what_is_used(host: Host, known: lookup.Known) -> tuple[str, tuple[str, ...]]:
    """(what stands in for a JSON that is not used, containers that cannot be started by it)."""
    stuck = tuple(c for c in containers.here(host) if _is_stuck(known, c))
    if not known.ever:
        return "No assignment is known: containers with our hookscript do not start.", stuck
    used = "The last good assignments are used."
    return used + (f" {reading.cts(stuck)} had none and cannot be started." if stuck else ""), stuck


def _bad_entries(host: Host, known: lookup.Known) -> Iterator[Finding]:
    """Entries that cannot be used; the same fault of other values is one cause."""
    only = one_container.only(host)
    bad: dict[tuple[str, bool], list[str]] = {}
    for ctid, assignment in known.assigned.items():
        if assignment.problem and only in ("", ctid):
            kind = re.sub(r'"(?:[^"\\]|\\.)*"', "…", assignment.problem, count=1)
            if kind.count("Rename it to"):
                kind = re.sub(r'Rename it to "[^"]*"', "Rename it", kind)
            bad.setdefault((kind, bool(assignment.name)), []).append(ctid)
    here = {conf.ctid for conf in reading.confs(host)}
    for (_, has_last), ctids in bad.items():
        first = known.assigned[ctids[0]]
        number = len(ctids) - 1
        more = ""
        if number:
            more = "one more entry has" if number == 1 else f"{number} more entries have"
            more = f"; {more} the same fault"
        used = (
            f"the last good one is used ({first.name})" if has_last else _what_starts(ctids, here)
        )
        yield Finding(
            "warning" if has_last else "error",
            f"{_who(ctids)}: {first.problem}{more}; {used}.",
            known.source,
            advice="correct the JSON; to see each place: phoenix-apparmor validate",
            ctids=tuple(c for c in ctids if paths.is_ctid(c)),
        )


def _what_starts(ctids: list[str], here: set[str]) -> str:
    """What becomes of containers without any assignment that can be used."""
    stopped = [ctid for ctid in ctids if ctid in here]
    if not stopped:
        return "nothing is assigned by it" if len(ctids) == 1 else "nothing is assigned by them"
    if stopped == ctids:
        return "it does not start" if len(ctids) == 1 else "they do not start"
    return f"{reading.cts(stopped)} cannot be started"


def _is_stuck(known: lookup.Known, ctid: str) -> bool:
    """Whether a JSON that cannot be used may speak of a container of which no good one did."""
    found = known.of(ctid)
    return found is not None and not found.name


def _who(names: list[str]) -> str:
    """Containers, or names in lxc_configs that are no CTIDs."""
    if all(map(paths.is_ctid, names)):
        return reading.cts(names)
    return f"lxc_configs: {reading.listed([json.dumps(name) for name in names])}"
