"""Checks of the cluster: whether the others hear of this node, and where containers could start.

Nothing here is off on a host without other nodes, and no other node is asked: what they publish
(cluster/publish.py) is read.
"""

import time
from collections.abc import Iterable, Iterator, Sequence

from phoenix_apparmor import containers, paths
from phoenix_apparmor.cluster import members, nodes, overview
from phoenix_apparmor.cluster.migration import Answer, Move
from phoenix_apparmor.cluster.overview import Overview
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Check, Finding, Severity
from phoenix_apparmor.host import Host

NAME = "migration"
QUESTION = "on which nodes containers could start"
TIMER = "phoenix-apparmor-publish.timer"


def reported(host: Host) -> Iterator[Finding]:
    """The report of this node itself: there, and not so old that the others take it for silent."""
    who = members.read(host)
    if who is None or not who.others or who.quorate is False:
        return
    path = paths.published(who.me)
    seen = host.stat(path)
    age = None if seen is None else int(time.time() - seen.st_mtime)
    if age is not None and age <= nodes.SILENT:
        return
    said = "has not published a report" if age is None else f"published {nodes.old(age)} state"
    yield Finding(
        "warning",
        f"this node {said}: on the other nodes, what its kernel enforces is unknown.",
        path,
        "phoenix-apparmor publish",
        f"it should be done every five minutes; see: systemctl status {TIMER}",
    )


def elsewhere(host: Host) -> Iterator[Finding]:
    """Where the managed containers of this node could not start, by node and reason."""
    who = members.read(host)
    managed = reading.managed(host)
    ctids = [ctid for ctid in containers.here(host) if ctid in managed]
    if who is None or not who.others or not ctids:
        return
    found = overview.inspect(host, ctids, progress=lambda _: None)
    yield from _unknown_nodes(found, ())
    groups: dict[Answer, list[str]] = {}
    for move in found.moves:
        for answer in _others(move, found):
            if answer.can is False:
                groups.setdefault(answer, []).append(move.ctid)
    for answer, which in groups.items():
        yield _finding("note", which, f"could not start on {answer.node}", answer.reasons, which)


def of(ctid: str) -> Check:
    """The check for one container: each node is told, also those where it could start."""
    return Check(NAME, f"on which nodes CT {ctid} could start", lambda h: _of(h, ctid))


def _of(host: Host, ctid: str) -> Iterator[Finding]:
    who = members.read(host)
    if who is None or not who.others:
        return
    found = overview.inspect(host, (ctid,), progress=lambda _: None)
    yield from _unknown_nodes(found, (ctid,))
    for move in found.moves:
        answers = [*_others(move, found)]
        yes = [answer.node for answer in answers if answer.can]
        if yes:
            yield _finding("note", [ctid], f"could start on {reading.listed(yes)}", (), [ctid])
        for answer in answers:
            if answer.can is False:
                could = f"could not start on {answer.node}"
                yield _finding("note", [ctid], could, answer.reasons, [ctid])
            elif answer.can is None:
                could = f"cannot tell whether it could start on {answer.node}"
                yield _finding("note", [ctid], could, answer.reasons, [ctid])


def _others(move: Move, found: Overview) -> Iterable[Answer]:
    """The answers for other nodes than the container's own, as far as they are known now."""
    known = {node.name for node in found.nodes if node.is_known}
    return (a for a in move.answers if a.node in known and a.node != move.home)


def _unknown_nodes(found: Overview, ctids: Sequence[str]) -> Iterator[Finding]:
    """Nodes that say nothing. That one is switched off is no fault of anything here."""
    for node in found.nodes:
        if node.state == "left":
            where = f"{paths.NODES}/{node.name}"
            yield Finding("note", f"{node.name}: {node.why}.", where, advice="see: pvecm nodes")
        elif not node.is_known:
            yield Finding(
                "note" if node.state == "offline" else "unknown",
                f"cannot tell which containers could start on {node.name}: {node.why}.",
                paths.published(node.name),
                advice="see: phoenix-apparmor status --cluster",
                ctids=tuple(ctids),
            )


def _finding(
    severity: Severity,
    which: Sequence[str],
    what: str,
    reasons: Sequence[str],
    ctids: Sequence[str],
) -> Finding:
    because = f": {'; '.join(reasons)}" if reasons else ""
    command = f"phoenix-apparmor status --cluster {which[0]}"
    return Finding(severity, f"{reading.cts(which)}: {what}{because}.", command, ctids=tuple(ctids))
