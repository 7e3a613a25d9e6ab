"""Checks of the JSON: one, trusted, readable."""

import re
import stat
from collections.abc import Iterator

from phoenix_apparmor import containers, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.doctor import one, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host


def one_file(host: Host) -> Iterator[Finding]:
    """Two JSON files: the second one is never read."""
    there = [path for path in paths.JSON_FILES if host.stat(path) is not None]
    if len(there) > 1:
        same = host.read(there[0]) == host.read(there[1])
        yield Finding(
            "note" if same else "warning",
            f"there are two JSON files; {there[0]} is used, {there[1]} is never read.",
            "their content is the same" if same else "their content differs",
            f"rm {there[1]}",
            "" if same else f"first see what differs: diff -u {there[1]} {there[0]}",
        )


def owner(host: Host) -> Iterator[Finding]:
    """Who can write the JSON decides what confines root in a container."""
    for path in paths.JSON_FILES:
        seen = host.stat(path)
        if seen is None:
            continue
        why = host.distrust(path)
        if why:
            yield Finding(
                "error",
                f"{path} is refused: {why}. Whoever can write it decides what confines the "
                "containers.",
                f"mode {stat.S_IMODE(seen.st_mode):04o}, uid {seen.st_uid}, gid {seen.st_gid}",
                lookup.how_to_trust(path, why),
            )


def content(host: Host) -> Iterator[Finding]:
    """The JSON can be used, as a whole and for each container."""
    known = lookup.everyone(host, save=False)
    if known.trouble is not None:
        used = (
            "The last good assignments are used."
            if known.ever
            else "No assignment is known: containers with our hookscript do not start."
        )
        yield Finding(
            "error", f"{known.trouble.what} {used}", known.source, advice=known.trouble.hint
        )
    here = {conf.ctid for conf in containers.confs(host)}
    bad: dict[tuple[str, bool], list[str]] = {}
    only = one.only(host)
    for ctid, assignment in known.assigned.items():
        if only and ctid != only:
            continue
        if assignment.problem and known.trouble is None:
            # the same fault of other values is one cause
            kind = re.sub(r'"(?:[^"\\]|\\.)*"', "…", assignment.problem, count=1)
            if kind.count("Rename it to"):
                kind = re.sub(r'Rename it to "[^"]*"', "Rename it", kind)
            bad.setdefault((kind, bool(assignment.name)), []).append(ctid)
    for (_, has_last), ctids in bad.items():
        first = known.assigned[ctids[0]]
        more = f", and {len(ctids) - 1} more like it" if len(ctids) > 1 else ""
        last = f"the last good one is used ({first.name})" if has_last else (
            "they do not start" if set(ctids) & here else "nothing is assigned"
        )  # fmt: skip
        yield Finding(
            "warning" if has_last else "error",
            f"{reading.cts(ctids)}: {first.problem}{more}; {last}.",
            known.source,
            advice="correct the JSON; this shows each place: phoenix-apparmor validate",
            ctids=tuple(c for c in ctids if paths.is_ctid(c)),
        )
