"""Puts locked copies of a container's mounts in their places (see mountlock.py).

Other containers that have the same folders may rename in them all the while. So a mount is never
taken for another one of its name: its number is compared (mounttree.py says how few names matter).
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from phoenix_apparmor import mountholder
from phoenix_apparmor.mountcalls import Linux, opened, read_again, shown
from phoenix_apparmor.mounterrors import AdvisedError
from phoenix_apparmor.mountmarks import Marks
from phoenix_apparmor.mounttree import Key, Mount, Tree, Unit

# How long a start waits for others that rename folders meanwhile, and between two tries.
PATIENCE, PAUSE = 8.0, 0.02
# So often it is looked whether all mounts are listed, before they are copied again.
SHOWN_TRIES = 40
# A mount in a mount in a mount …, none of which can be replaced.
MOST_ROUNDS = 40
# A mount that the kernel itself holds, as it is of another user namespace.
MADE_INSIDE = (
    "Make it read-only where it is mounted: ro=1 of its mpN, or ro in its lxc.mount.entry. A "
    "program that runs in the container, as one of lxc.hook.mount does, cannot."
)
Result = TypeVar("Result")


class Copy(NamedTuple):
    """A locked copy of a unit.

    tree: an open file in it. locked: whether one in it is read-only. listed: how many mounts.
    """

    tree: int
    locked: bool
    listed: int


class Work:
    """In a process of its own. changed: whether a mount of the container was taken away."""

    def __init__(self, mountinfo: int, namespace: int, hosts: Collection[bytes]) -> None:
        self._mountinfo = mountinfo
        self._hosts = hosts
        self._namespace = namespace
        self._linux = Linux(os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self._host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._marks = Marks(self._linux, namespace, self._host, hosts)
        self._until = time.monotonic() + PATIENCE
        self.changed = False
        # How many mounts are read-only that have to be locked.
        self._read_only = 0

    def all(self) -> None:
        """Mounts that cannot be replaced are looked into, one round for each depth."""
        through: frozenset[Key] = frozenset()
        for _ in range(MOST_ROUNDS):
            held = self._round(through)
            if held <= through:
                break
            through |= held
            self._linux.setns(self._host)
        else:
            raise OSError("mounts in mounts without end")
        self._patiently(lambda: self._check_all_locked(through))

    def _round(self, through: frozenset[Key]) -> frozenset[Key]:
        """Replaces what it can; the keys of what it cannot take away."""
        whole = self._patiently(lambda: self._marks.whole(through))
        copied = mountholder.start(self._linux, self._namespace)
        try:
            self._linux.setns(copied.namespace)
            copies = self._patiently(lambda: self._copies(copied.mountinfo, through, whole))
            self._linux.setns(self._namespace)
            units = self._patiently(lambda: self._same_units(copies, through))
            if not units:
                return frozenset()
            held, taken = self._take_away(units)
            for unit in units:
                if unit.mount.key in taken and not unit.covered:
                    self._put(unit, copies[unit.mount.key], copied.namespace)
            return held
        finally:
            copied.close()

    def _patiently(self, step: Callable[[], Result]) -> Result:
        while True:
            try:
                return step()
            except OSError as error:
                is_final = isinstance(error, AdvisedError) and error.is_final
                if is_final or time.monotonic() > self._until:
                    raise
            time.sleep(PAUSE)

    def _copies(
        self, copied: int, through: frozenset[Key], whole: Mapping[Key, int]
    ) -> dict[Key, Copy | None]:
        """Of what has to be replaced; this process is in the locked copy of the namespace.

        whole: see Marks. None for what another mount hides: it is taken away.
        """
        tree = self._tree(copied)
        if tree.has_unbindable:
            self._linux.make_private()
        for mount in tree.mounts:
            if mount.key in through and tree.is_locked_or_hides(mount):
                self._check_all_listed(tree, mount.number, mount.place)
        copies: dict[Key, Copy | None] = {}
        units = tree.units(through)
        gone = frozenset[int]().union(*map(tree.replaced_without, units))
        self._read_only = sum(
            m.read_only and tree.is_locked_or_hides(m) and m.number not in gone for m in tree.mounts
        )
        if not whole.keys() <= {unit.mount.key for unit in units}:
            raise OSError("a folder with what is shared was renamed")
        for unit in units:
            if unit.covered:
                copies[unit.mount.key] = None
                continue
            fd = opened(self._linux, unit.mount.place, {unit.top})
            locked = self._linux.has_locked(fd)
            if locked or unit.is_stack or unit.hides:
                listed = max(unit.copied, whole.get(unit.mount.key, 0))
                copies[unit.mount.key] = Copy(self._copy(fd, locked=locked), locked, listed)
            os.close(fd)
        return copies

    def _check_all_listed(self, tree: Tree, number: int, place: bytes) -> None:
        mount = next(mount for mount in tree.mounts if mount.number == number)
        if tree.shows_read_only(mount):
            return  # it says nothing here; Marks does, where it can
        try:
            fd = opened(self._linux, place, {number})
        except OSError:
            return  # hidden by another, and there for good
        locked = self._linux.has_locked(fd)
        os.close(fd)
        if locked:
            raise OSError(f"a mount in {shown(place)} is out of reach, as its folder was renamed")

    def _same_units(self, copies: Collection[Key], through: frozenset[Key]) -> list[Unit]:
        units = [
            unit for unit in self._tree(self._mountinfo).units(through) if unit.mount.key in copies
        ]
        if len(units) != len(copies):
            raise OSError("a folder with what is shared was renamed")
        return units

    def _take_away(self, units: Sequence[Unit]) -> tuple[frozenset[Key], frozenset[Key]]:
        """(what the kernel holds, as it is of another user namespace; what was taken)."""
        pending = list(reversed(units))
        held: set[Key] = set()
        taken: set[Key] = set()
        while pending:
            before = len(pending)
            for unit in list(pending):
                is_taken, is_held = self._detach(unit)
                if is_taken:
                    taken.add(unit.mount.key)
                if is_held:
                    held.add(unit.mount.key)
                if is_taken or is_held:
                    pending.remove(unit)
            if pending and len(pending) == before:
                behind = [unit for unit in pending if unit.covered & held]
                held.update(unit.mount.key for unit in behind)  # so nobody uncovers it
                pending = [unit for unit in pending if unit not in behind]
                if not behind and time.monotonic() > self._until:
                    raise OSError(f"{shown(pending[0].mount.place)} is out of reach")
                time.sleep(0 if behind else PAUSE)
        # before anything is mounted, as the kernel gives numbers anew
        left = {mount.number for mount in self._tree(self._mountinfo).mounts}
        for unit in units:
            if unit.mount.key not in held and unit.members & left:
                raise OSError(f"{shown(unit.mount.place)} is mounted still")
        return frozenset(held), frozenset(taken)

    def _detach(self, unit: Unit) -> tuple[bool, bool]:
        """(whether something was taken away there, whether something is held)."""
        is_taken = False
        while True:
            try:
                fd = opened(self._linux, unit.mount.place, unit.members)
            except OSError:
                return is_taken, False
            try:
                self._linux.umount(fd)
                self.changed = is_taken = True
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                return is_taken, True
            finally:
                os.close(fd)

    def _put(self, unit: Unit, copy: Copy | None, inside: int) -> None:
        """A copy in its place, with all that was in the unit.

        A mount whose folder is elsewhere at the moment is not copied, so it is tried again.
        """
        if copy is None:
            return
        tree, locked, _ = copy
        below = {unit.mount.parent, unit.mount.number}
        wanted = max(copy.listed, unit.copied)

        def put() -> None:
            place = opened(self._linux, unit.mount.place, below)
            self._linux.mount(tree, place)
            os.close(place)

        def copy_again() -> int:
            fd = opened(self._linux, unit.mount.place, None)
            again = self._copy(fd, locked=locked)
            os.close(fd)
            return again

        while True:
            self._patiently(put)
            if self._shows(tree, wanted):
                return
            if time.monotonic() > self._until:
                raise OSError(f"a mount in {shown(unit.mount.place)} was renamed away")
            self._linux.umount(tree)
            os.close(tree)
            self._linux.setns(inside)
            tree = self._patiently(copy_again)
            self._linux.setns(self._namespace)

    def _shows(self, tree: int, wanted: int) -> bool:
        """Whether so many mounts are listed there, at once or a moment later."""
        for _ in range(SHOWN_TRIES):
            if self._tree(self._mountinfo).count(self._linux.number(tree)) >= wanted:
                return True
            time.sleep(PAUSE)
        return False

    def _copy(self, fd: int, *, locked: bool) -> int:
        """OSError where the copy has not what is read-only, as that is elsewhere at the moment."""
        tree = self._linux.copy(fd)
        if locked and not self._linux.has_locked(tree):
            os.close(tree)
            raise OSError("a mount was renamed away")
        return tree

    def _check_all_locked(self, held: frozenset[Key]) -> None:
        """OSError where what is read-only is not locked, or is not there as it was.

        What hides one for good is left there only if nobody takes it away.
        """
        tree = self._tree(self._mountinfo)
        found = [m for m in tree.mounts if m.read_only and tree.is_locked_or_hides(m)]
        if len(found) < self._read_only:
            raise OSError("a folder with what is shared was renamed")
        for mount in found:
            if not tree.is_hidden_for_good(mount):
                self._check_locked(mount, is_held=mount.key in held)

    def _check_locked(self, mount: Mount, *, is_held: bool) -> None:
        fd = opened(self._linux, mount.place, {mount.number})
        try:
            if not self._linux.is_locked(fd):
                if is_held:
                    why = f"{shown(mount.place)} is mounted writable and made read-only inside"
                    raise AdvisedError(why, MADE_INSIDE, is_final=True)
                raise OSError(f"{shown(mount.place)} could be made writable")
        finally:
            os.close(fd)

    def _tree(self, mountinfo: int) -> Tree:
        return Tree(read_again(mountinfo), self._hosts)
