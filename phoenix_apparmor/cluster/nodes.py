"""What each other node says now, and how far that can be relied on."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from phoenix_apparmor import paths
from phoenix_apparmor.cluster import bulletin
from phoenix_apparmor.cluster.bulletin import BadBulletin, Bulletin
from phoenix_apparmor.cluster.members import Members
from phoenix_apparmor.host import Host

# A node that looks sets its file's time every ten minutes (publish.BEAT), a little later under
# load; after three of them it is taken for silent.
SILENT = 1800
# By so much a clock may be ahead of ours; corosync itself wants them closer.
SKEW = 60

State = Literal["this node", "fresh", "silent", "offline", "no report", "newer", "unusable"]
KNOWN: tuple[State, ...] = ("this node", "fresh")


@dataclass(frozen=True)
class Node:
    """A node, and whether what it published may be taken for what it enforces now.

    age: seconds since it last looked, 0 for this node, None: unknown. why: what is wrong,
    "" if nothing. said: its report, also an old one; None: there is none that can be read.
    """

    name: str
    state: State
    age: int | None
    why: str = ""
    said: Bulletin | None = None

    @property
    def is_known(self) -> bool:
        """Whether its kernel's state is known now."""
        return self.state in KNOWN


def others(host: Host, members: Members, now: float) -> Iterator[Node]:
    """The other nodes, by name, one at a time: a report can be 1 MiB."""
    for name in members.others:
        yield _node(host, name, members.online[name], now)


def _node(host: Host, name: str, online: bool | None, now: float) -> Node:
    path = paths.published(name)
    try:
        seen = host.stat(path)
        if seen is not None and not stat.S_ISREG(seen.st_mode):
            return Node(name, "unusable", None, f"{path} is not a regular file")
        data = host.read(path, bulletin.BIGGEST) if seen is not None else b""
    except OSError as error:
        return Node(name, "unusable", None, f"{path} cannot be read: {error.strerror}")
    if seen is None:
        if online is False:
            return Node(name, "offline", None, "it is offline, and never published a report")
        why = "it never published a report: phoenix-apparmor 1.1 or newer is not running there"
        return Node(name, "no report", None, why)
    ahead = seen.st_mtime - now
    age = None if ahead > SKEW else max(0, int(-ahead))
    try:
        said = bulletin.decode(data, name)
    except BadBulletin as bad:
        return Node(name, "newer" if bad.newer else "unusable", age, f"{path}: {bad.why}")
    state: State = "silent"
    if online is False:
        state, why = "offline", f"it is offline; its last report is {old(age)}"
    elif age is None:
        why = f"its clock is {_long(ahead)} ahead of this node's, so its report's age is unknown"
    elif age > SILENT:
        why = f"its last report is {old(age)}, unless its clock is behind this node's"
    else:
        state, why = "fresh", ""
    return Node(name, state, age, why, said)


def old(age: int | None) -> str:
    """An age in a sentence."""
    return "of unknown age" if age is None else f"{_long(age)} old"


def _long(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} seconds"
