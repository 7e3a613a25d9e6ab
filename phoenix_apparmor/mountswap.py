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
from phoenix_apparmor.mounterrors import AdvisedError, Unknown
from phoenix_apparmor.mountmarks import Marks, Whole
from phoenix_apparmor.mounttree import Key, Tree, Unit
from phoenix_apparmor.mountwanted import Wanted

# How long a start waits for others that rename folders meanwhile, and between two tries.
PATIENCE, PAUSE = 8.0, 0.02
# So often it is looked whether all mounts are listed, before they are copied again.
SHOWN_TRIES = 40
# A mount in a mount in a mount …, none of which can be replaced.
MOST_ROUNDS = 40
Result = TypeVar("Result")


class Copy(NamedTuple):
    """A locked copy of a unit.

    tree: an open file in it. locked: whether one in it is read-only. listed: how many mounts.
    """

    tree: int
    locked: bool
    listed: int


class Work:
    """In a process of its own. changed: whether a mount was taken away and may not be back."""

    def __init__(
        self, mountinfo: int, namespace: int, hosts: Collection[bytes], wanted: Wanted
    ) -> None:
        self._mountinfo = mountinfo
        self._hosts = hosts
        self._namespace = namespace
        self._linux = Linux(os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self._host = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._marks = Marks(self._linux, namespace, self._host, hosts, wanted)
        self._until = time.monotonic() + PATIENCE
        self.changed = False

    def all(self) -> Unknown:
        """Mounts that cannot be replaced are looked into, one round for each depth.

        Returns what nobody can know, though all that is read-only is locked.
        """
        through: frozenset[Key] = frozenset()
        whole = before = self._whole(through)
        for _ in range(MOST_ROUNDS):
            held = self._round(through, whole)
            self._linux.setns(self._host)  # whose /proc has this process
            if held <= through:
                break
            through |= held
            whole = self._whole(through)
        else:
            raise OSError("mounts in mounts without end")
        self.changed = False
        return self._patiently(lambda: self._marks.check_locked(through, before.read_only))

    def _whole(self, through: frozenset[Key]) -> Whole:
        return self._patiently(lambda: self._marks.whole(through))

    def _round(self, through: frozenset[Key], whole: Whole) -> frozenset[Key]:
        """Replaces what it can; the keys of what it cannot take away."""
        copied = mountholder.start(self._linux, self._namespace)
        try:
            self._linux.setns(copied.namespace)
            copies = self._patiently(lambda: self._copies(copied.mountinfo, through, whole.counts))
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
        self, copied: int, through: frozenset[Key], counts: Mapping[Key, int]
    ) -> dict[Key, Copy | None]:
        """Of what has to be replaced; this process is in the locked copy of the namespace.

        counts: see Marks. None for what another mount hides: it is taken away.
        """
        tree = self._tree(copied)
        if tree.has_unbindable:
            self._linux.make_private()
        copies: dict[Key, Copy | None] = {}
        units = _steady(tree.units(through))
        if not counts.keys() <= {unit.mount.key for unit in units}:
            raise OSError("a folder with what is shared was renamed")
        for unit in units:
            if unit.covered:
                copies[unit.mount.key] = None
                continue
            fd = opened(self._linux, unit.mount.place, {unit.top})
            locked = self._linux.has_locked(fd)
            if locked or unit.is_stack or unit.hides:
                listed = max(unit.copied, counts.get(unit.mount.key, 0))
                copies[unit.mount.key] = Copy(self._copy(fd, locked=locked), locked, listed)
            os.close(fd)
        return copies

    def _same_units(self, copies: Collection[Key], through: frozenset[Key]) -> list[Unit]:
        found = self._tree(self._mountinfo).units(through)
        units = _steady([unit for unit in found if unit.mount.key in copies])
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

    def _tree(self, mountinfo: int) -> Tree:
        return Tree(read_again(mountinfo), self._hosts)


def _steady(units: list[Unit]) -> list[Unit]:
    """OSError where one is hidden by what somebody else can move away again.

    Nothing is known of it then, and what is not taken away may be uncovered later.
    """
    fleeting = next((unit for unit in units if unit.is_fleeting), None)
    if fleeting is not None:
        raise OSError(f"{shown(fleeting.mount.place)} is hidden at the moment")
    return units
