"""What each other node says now, and how far that can be relied on."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from phoenix_apparmor import paths
from phoenix_apparmor.cluster import node_report
from phoenix_apparmor.cluster.members import Members
from phoenix_apparmor.cluster.node_report import BadNodeReport, NodeReport
from phoenix_apparmor.host import Host
from phoenix_apparmor.status.report import NO_APPARMOR, Note

# A node that looks sets its file's time every ten minutes (publish.BEAT), a little later under
# load; after three of them it is taken for silent.
SILENT = 1800
# By so much a clock may be ahead of ours; corosync itself wants them closer.
SKEW = 60
SEE_NODES = "See: pvecm nodes"
TIMER = "phoenix-apparmor-publish.timer"

State = Literal["this node", "fresh", "silent", "offline", "no report", "newer", "unusable", "left"]
KNOWN: tuple[State, ...] = ("this node", "fresh")


@dataclass(frozen=True)
class Node:
    """A node, and whether what it published may be taken for what it enforces now.

    age: seconds since it last looked, 0 for this node, None: unknown. why: what is wrong,
    "" if nothing; hint: what helps. said: its report, also an old one; None: there is none that
    can be read. "left": the cluster does not have it any more, so nothing is expected of it.
    """

    name: str
    state: State
    age: int | None
    why: str = ""
    said: NodeReport | None = None
    hint: str = ""

    @property
    def trouble(self) -> tuple[Note, ...]:
        """What is wrong with the whole of it now; nothing where that is unknown."""
        if self.said is None or not self.is_known:
            return ()
        told = any(note.what == NO_APPARMOR for note in self.said.trouble)
        if self.state == "this node" or self.said.apparmor or told:
            return self.said.trouble
        return (Note(NO_APPARMOR, "phoenix-apparmor doctor"), *self.said.trouble)

    @property
    def is_missed(self) -> bool:
        """Whether its kernel's state should be known, and is not."""
        return not self.is_known and self.state != "left"

    @property
    def is_known(self) -> bool:
        """Whether its kernel's state is known now."""
        return self.state in KNOWN


def others(host: Host, members: Members, now: float) -> Iterator[Node]:
    """The other nodes, by name, one at a time: a report can be 1 MiB. Those that left at last."""
    for name in members.others:
        node = _node(host, name, now)
        if members.online[name] is False:
            node = _offline(node)
        yield node
    for name in sorted(members.left):
        why = "it is not in the cluster any more; its folder is left"
        yield Node(name, "left", None, why, hint=SEE_NODES)


def _offline(node: Node) -> Node:
    """That corosync does not see it says more than any report."""
    report = f"its last report is {old(node.age)}"
    if node.state == "no report":
        report = "it never published a report"
    elif node.said is None:
        report = "its last report is unusable"
    return replace(node, state="offline", why=f"it is offline; {report}", hint=SEE_NODES)


def _node(host: Host, name: str, now: float) -> Node:
    path = paths.published(name)
    here = _see_timer(name)
    try:
        seen = host.stat(path)
        if seen is not None and not stat.S_ISREG(seen.st_mode):
            return Node(name, "unusable", None, f"{path} is not a regular file", hint=here)
        data = host.read(path, node_report.BIGGEST) if seen is not None else b""
    except OSError as error:
        # Proxmox gives that folder to root alone.
        user = error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0
        why = f"{path} cannot be read: {error.strerror}"
        return Node(name, "unusable", None, why, hint="Run it as root." if user else here)
    if seen is None:
        why = "it never published a report: phoenix-apparmor 1.1 or newer is not running there"
        return Node(name, "no report", None, why, hint=here)
    return _reported(name, data, seen.st_mtime - now)


def _reported(name: str, data: bytes, ahead: float) -> Node:
    """By its report. ahead: the file's time against our clock, in seconds."""
    age = None if ahead > SKEW else max(0, int(-ahead))
    try:
        said = node_report.decode(data, name)
    except BadNodeReport as bad:
        hint = "On this node: apt update && apt install phoenix-apparmor"
        state: State = "newer" if bad.newer else "unusable"
        why = f"{paths.published(name)}: {bad.why}"
        return Node(name, state, age, why, hint=hint if bad.newer else _see_timer(name))
    if age is None:
        why = f"its clock is {_long(ahead)} ahead of this node's, so its report's age is unknown"
        return Node(name, "silent", age, why, said, "Compare the clocks, on both: chronyc tracking")
    if age > SILENT:
        why = f"its last report is {old(age)}, unless its clock is behind this node's"
        return Node(name, "silent", age, why, said, _see_timer(name))
    return Node(name, "fresh", age, "", said)


def _see_timer(name: str) -> str:
    return f"On {name}: systemctl status {TIMER}; phoenix-apparmor publish"


def old(age: int | None) -> str:
    """An age in a sentence."""
    return "of unknown age" if age is None else f"{_long(age)} old"


def _long(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} seconds"
