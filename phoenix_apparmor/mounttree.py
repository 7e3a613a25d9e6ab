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
    another unit. is_fleeting: whether one hides its place that somebody else can move away.
    """

    mount: Mount
    top: int
    members: frozenset[int]
    copied: int
    covered: frozenset[Key]
    locks: bool
    hides: bool = False
    is_fleeting: bool = False

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
        self._by_number = {mount.number: mount for mount in self.mounts}
        self._children: dict[int, list[Mount]] = {}
        self._at: dict[tuple[int, bytes], list[Mount]] = {}
        for mount in self.mounts:
            self._children.setdefault(mount.parent, []).append(mount)
            self._at.setdefault((mount.parent, mount.place), []).append(mount)
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

    def matters(self, share: Mount) -> bool:
        """Whether a mount in it is, or may be, read-only."""
        return any(map(self.is_locked_or_hides, self.inside(share)))

    def is_locked_or_hides(self, mount: Mount) -> bool:
        """See shares."""
        return shares.is_locked_or_hides(mount, self._own)

    def inside(self, mount: Mount) -> list[Mount]:
        """A mount and all in it."""
        return [self._by_number[number] for number in self._below(mount.number)]

    def seen(self, mount: Mount) -> Mount:
        """What is seen at its place: what was mounted on its own root last, or itself."""
        for child in self._children.get(mount.number, ()):
            if child.place == mount.place:
                return self.seen(child)
        return mount

    def is_hidden(self, mount: Mount) -> bool:
        """Whether another mount hides its place."""
        return self.seen(mount) != mount or any(True for _ in self.covering(mount))

    def is_fleeting(self, cover: Mount) -> bool:
        """Whether a mount that hides another may be beside it for a moment only.

        That is not so on the container's own root, and in what else is its own. In a folder that
        others have too, the place of one is moved below another, and back.
        """
        at = self._by_number.get(cover.parent)
        return at is None or not (at is self._root or self._is_own(at))

    def is_covered_for_good(self, mount: Mount) -> bool:
        """Whether one hides it that nobody moves away."""
        return any(not self.is_fleeting(other) for other in self.covering(mount))

    def shares(self) -> list[Mount]:
        """The outermost mounts in which somebody else may change places."""
        units = () if self._root is None else self._units(self._root, (), ())
        return [unit.mount for unit in units]

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
        covering = list(self.covering(mount))
        return Unit(
            mount,
            self.seen(mount).number,
            members,
            self.count(self.seen(mount).number),
            frozenset(other.key for other in covering),
            any(self.is_locked_or_hides(m) for m in self.mounts if m.number in members),
            is_fleeting=any(map(self.is_fleeting, covering)),
        )

    def covering(self, mount: Mount) -> Iterator[Mount]:
        """What hides its place, or the place of what it is in: a mount on the same, or above it."""
        at: Mount | None = mount
        while at is not None and at is not self._root:
            for place in _above(at.place):
                for other in self._at.get((at.parent, place), ()):
                    if other is not at:
                        yield other
            at = self._by_number.get(at.parent)


def _above(place: bytes) -> Iterator[bytes]:
    """A place, and the folders that it is in."""
    while place.strip(b"/"):
        yield place
        place = place.rpartition(b"/")[0]
    yield b"/"
