"""What a container's configuration mounts in a folder that others have too.

LXC makes a bind mount, and makes it read-only after that, both by its path (conf.c, mount_entry).
Who may rename in the folder that it is in has LXC take another one the second time, so that the
first stays writable; if it is optional, LXC does not even say so. So in a share with such a line
each mount has to be accounted for: the line's is there and read-only, and a writable one is where
the configuration mounts it so. (Of an mpN Proxmox makes sure itself, by open files: PVE::LXC,
__bindmount_verify.)
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from phoenix_apparmor.mounterrors import (
    Unknown,
    not_read,
    not_read_only,
    source_is_gone,
    unclear,
    writable_too,
)
from phoenix_apparmor.shares import FIXED

# (device, inode) of what is mounted.
Identity = tuple[int, int]


class Seen(NamedTuple):
    """A mount that is there. part: its device and its root in that, by mountinfo."""

    place: bytes
    read_only: bool
    identity: Identity
    part: tuple[bytes, bytes] = (b"", b"")
    kind: bytes = b""


class Line(NamedTuple):
    """What is mounted at a place. kind: of the file system, b"" for a bind of what the host has.

    identity: of its source, None where nobody can know, as of a volume of Proxmox's.
    """

    place: bytes
    identity: Identity | None = None
    kind: bytes = b""

    def has_mounted(self, mount: Seen | None) -> bool:
        """Whether it may be this mount."""
        if mount is None or mount.place != self.place or self.kind not in (b"", mount.kind):
            return False
        return self.identity in (None, mount.identity)


class ReadOnly(NamedTuple):
    """A lxc.mount.entry with ro.

    is_there: whether it has a source of the host's. is_taken: whether that is missing in a folder
    that the container has writable. above: the later lines at its place or above. unclear: its
    option, where it depends on LXC's version whether that is ro.
    """

    line: Line
    is_there: bool
    is_taken: bool = False
    above: tuple[Line, ...] = ()
    unclear: str = ""


class Wanted(NamedTuple):
    """lines: those that mount read-only. writable: all others, and those of Proxmox's mpN.

    parts: the host's mounts in what is shared with all that is mounted in it (see Seen).
    hosts: devices of the host's file systems. hooks: programs that may mount more. unread: files
    with lines that nobody can know.
    """

    lines: tuple[ReadOnly, ...] = ()
    writable: tuple[Line, ...] = ()
    parts: frozenset[tuple[bytes, bytes]] = frozenset()
    hosts: frozenset[bytes] = frozenset()
    hooks: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def has_in(self, share: bytes) -> bool:
        """Whether a line mounts in a share, given by its place, or may do so."""
        return bool(self.unread) or any(is_in(one.line.place, share) for one in self.lines)

    def check(self, seen: Sequence[Seen], shares: Iterable[bytes]) -> Unknown:
        """Raises AdvisedError where what is there is not as the lines say.

        seen: all that is in the shares. shares: their places. Returns what nobody can know.
        """
        unknown = Unknown()
        places = frozenset(shares)
        at = {mount.place: mount for mount in seen}
        inside = [mount for mount in seen if mount.place not in places]
        lines = [one for one in self.lines if any(is_in(one.line.place, p) for p in places)]
        known = {one.line.place for one in lines} | {line.place for line in self.writable}
        is_still = all(mount.place in known for mount in inside)
        for one in lines:
            said = self._check(one, at, is_still=is_still)
            unknown = said if said.why else unknown
        with_lines = [p for p in places if any(is_in(one.line.place, p) for one in lines)]
        others = [m for m in inside if not m.read_only and not self._is_accounted_for(m, lines)]
        # with an unread file only what is a line's is surely not another's
        own = {one.line.identity for one in lines}
        for mount in others:
            is_wrong = mount.identity in own if self.unread else True
            if is_wrong and any(is_in(mount.place, share) for share in with_lines):
                raise writable_too(mount.place, self.hooks)
        if others and self.unread:
            return not_read(self.unread[0])
        return unknown

    def _check(self, one: ReadOnly, at: dict[bytes, Seen], *, is_still: bool) -> Unknown:
        """is_still: whether nothing is at a place of which the configuration knows nothing."""
        line = one.line
        found = at.get(line.place)
        if line.has_mounted(found) and found is not None:
            if found.read_only:
                return Unknown()
            if one.unclear:
                return unclear(line.place, one.unclear)
        if any(above.has_mounted(at.get(above.place)) for above in one.above):
            return Unknown()
        if found is None and one.is_taken:
            raise source_is_gone(line.place)
        if found is None and not one.is_there:
            return Unknown()
        raise not_read_only(line.place, is_final=found is None and is_still)

    def _is_accounted_for(self, mount: Seen, lines: Sequence[ReadOnly]) -> bool:
        own = {one.line.identity for one in lines}
        # what a neighbour can have left writable is the source of a line, if these can be known
        is_another = None not in own and mount.identity not in own
        is_hosts = not self.hosts or mount.part[0] in self.hosts
        for line in (*self.writable, *(one.line for one in lines if one.unclear)):
            is_sure = line.identity is not None or is_another or not is_hosts
            if is_sure and line.has_mounted(mount):
                return True
        may_be_more = bool(self.hooks) or mount.kind in FIXED
        return mount.part in self.parts or (is_another and may_be_more)


def is_in(place: bytes, folder: bytes) -> bool:
    """Whether a path is below another."""
    return place != folder and place.startswith(folder.rstrip(b"/") + b"/")
