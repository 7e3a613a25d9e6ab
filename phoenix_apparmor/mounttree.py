"""Which mounts of a container are locked, and each with all that is in it. Pure.

A mount is found by its name, and names in a folder that others have too change at any moment. So
what is locked is a unit: a mount on the container's own root (or on /dev, /proc, /sys), whose
place nobody else changes, together with all mounts in it, which need no name then.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from phoenix_apparmor import shares

# (place, root in its file system, device): of the same mount in a copy of the namespace too.
Key = tuple[bytes, bytes, bytes]


class Mount(NamedTuple):
    """A line of mountinfo, see shares.mounts."""

    number: int
    parent: int
    device: bytes
    root: bytes
    place: bytes
    read_only: bool
    kind: bytes

    @property
    def key(self) -> Key:
        """What names it in each copy of the namespace."""
        return self.place, self.root, self.device


class Unit(NamedTuple):
    """A mount with all in it.

    top: number of the mount that is seen at its place. members: the numbers of all that are listed.
    copied: how many have to be in its copy, that of what is seen there. covered: keys of units that
    hide its place. locks: whether one in it is, or may be, read-only. hides: whether it hides
    another unit.
    """

    mount: Mount
    top: int
    members: frozenset[int]
    copied: int
    covered: frozenset[Key]
    locks: bool
    hides: bool = False

    @property
    def is_stack(self) -> bool:
        """Whether one mount in it hides the mount itself."""
        return self.top != self.mount.number


class Tree:
    """The mounts of one namespace. has_unbindable: whether one refuses to be copied.

    hosts: devices that are not the container's own, though they are mounted as a whole.
    """

    def __init__(self, mountinfo: bytes, hosts: Collection[bytes] = ()) -> None:
        self.has_unbindable = b" unbindable " in mountinfo
        lines = shares.mounts(mountinfo)
        self.mounts = [Mount(*line) for line in lines]
        self._own = shares.own_devices(lines, hosts)
        self._children: dict[int, list[Mount]] = {}
        for mount in self.mounts:
            self._children.setdefault(mount.parent, []).append(mount)
        roots = [mount for mount in self.mounts if mount.place == b"/"]
        below = {mount.parent for mount in roots}
        self._root = next((mount for mount in roots if mount.number not in below), None)

    def numbers(self, mount: int) -> frozenset[int]:
        """Of a mount and of all in it."""
        return frozenset(self._below(mount))

    def count(self, number: int) -> int:
        """Of a mount and of all in it that are copied: not files of namespaces (is_mnt_ns_file)."""
        inside = self.numbers(number)
        return sum(m.kind != b"nsfs" for m in self.mounts if m.number in inside)

    def _below(self, number: int) -> Iterator[int]:
        yield number
        for child in self._children.get(number, ()):
            yield from self._below(child.number)

    def is_locked_or_hides(self, mount: Mount) -> bool:
        """See shares."""
        return shares.is_locked_or_hides(mount, self._own)

    def inside(self, mount: Mount) -> list[Mount]:
        """A mount and all in it."""
        numbers = self.numbers(mount.number)
        return [m for m in self.mounts if m.number in numbers]

    def shows_read_only(self, mount: Mount) -> bool:
        """Whether it or one in it is listed as read-only."""
        inside = self.numbers(mount.number)
        return any(m.read_only for m in self.mounts if m.number in inside)

    def seen(self, mount: Mount) -> Mount:
        """What is seen at its place: what was mounted on its own root last, or itself."""
        for child in self._children.get(mount.number, ()):
            if child.place == mount.place:
                return self.seen(child)
        return mount

    def is_hidden(self, mount: Mount) -> bool:
        """Whether another mount hides its place."""
        return self.seen(mount) != mount or any(True for _ in self.covering(mount))

    def is_hidden_for_good(self, mount: Mount) -> bool:
        """Whether one does that nobody moves away: on its own root, or in what is the container's.

        In a folder that others have too, the place of one is moved below another, and back.
        """
        if self.seen(mount) != mount:
            return True
        places = {other.parent for other in self.covering(mount)}
        at = (m for m in self.mounts if m.number in places)
        return any(m is self._root or self._is_own(m) for m in at)

    def replaced_without(self, unit: Unit) -> frozenset[int]:
        """The numbers of what is taken away with a unit and not in its copy."""
        return unit.members - (frozenset() if unit.covered else self.numbers(unit.top))

    def units(self, through: Collection[Key]) -> list[Unit]:
        """What has to be replaced as a whole: what locks, and what hides such.

        through: mounts that cannot be replaced, so that what is in them is looked at by itself.
        """
        if self._root is None:
            return []
        whole: frozenset[Key] = frozenset()
        while True:
            units = list(self._units(self._root, through, whole))
            hiding = frozenset(key for unit in units if unit.locks for key in unit.covered)
            if hiding <= whole:
                marked = (unit._replace(hides=unit.mount.key in hiding) for unit in units)
                return [unit for unit in marked if unit.locks or unit.hides]
            whole |= hiding

    def _units(
        self, parent: Mount, through: Collection[Key], whole: Collection[Key]
    ) -> Iterator[Unit]:
        for mount in self._children.get(parent.number, ()):
            if mount.key in whole or not (mount.key in through or self._is_own(mount)):
                yield self._unit(mount)
            else:
                yield from self._units(mount, through, whole)

    def _is_own(self, mount: Mount) -> bool:
        """Whether it is the container's, with places that nobody else changes."""
        if shares.is_kernels(mount, self._own):
            return True
        own = mount.kind in shares.FIXED or (mount.device in self._own and mount.root == b"/")
        return own and not mount.read_only

    def _unit(self, mount: Mount) -> Unit:
        members = self.numbers(mount.number)
        return Unit(
            mount,
            self.seen(mount).number,
            members,
            self.count(self.seen(mount).number),
            frozenset(other.key for other in self.covering(mount)),
            any(self.is_locked_or_hides(m) for m in self.mounts if m.number in members),
        )

    def covering(self, mount: Mount) -> Iterator[Mount]:
        """A mount beside it or beside what it is in, on a folder above its place."""
        by_number = {m.number: m for m in self.mounts}
        at: Mount | None = mount
        below = set(self.numbers(mount.number))
        while at is not None and at is not self._root:
            for other in self._children.get(at.parent, ()):
                above = other.place.rstrip(b"/") + b"/"
                if other.number not in below and (mount.place + b"/").startswith(above):
                    yield other
            at = by_number.get(at.parent)
            if at is not None:
                below.add(at.number)
