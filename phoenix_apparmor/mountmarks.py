"""What all mounts of a share are at one moment, also those that are out of sight then.

The kernel does not list a mount while its place is outside of the bound folder that it is in
(shares.is_locked_or_hides), and copies of that folder are without it. So all are marked, from
mount to mount and without names, and what is looked at loses its mark.
"""

import os
from collections.abc import Callable, Collection
from typing import NamedTuple

from phoenix_apparmor import mountholder
from phoenix_apparmor.mountcalls import Linux, opened, read_again, shown
from phoenix_apparmor.mounterrors import AdvisedError, Unknown, hides, made_inside, two_mounts
from phoenix_apparmor.mounttree import Key, Mount, Tree
from phoenix_apparmor.mountwanted import Seen, Wanted

Look = Callable[[Tree, Mount, int], None]
# Of each share, by its place: how many mounts were looked at.
Counts = dict[bytes, int]


class Whole(NamedTuple):
    """counts: how many mounts are in each unit. read_only: how many are, in all of them."""

    counts: dict[Key, int]
    read_only: int


class Marks:
    """Of one mount namespace.

    namespace: its open file; host: that of the namespace of this process, to which it comes back.
    hosts: see Tree. wanted: what is to be read-only there.
    """

    def __init__(
        self, linux: Linux, namespace: int, host: int, hosts: Collection[bytes], wanted: Wanted
    ) -> None:
        self._linux = linux
        self._namespace = namespace
        self._host = host
        self._hosts = hosts
        self._wanted = wanted

    def whole(self, through: frozenset[Key]) -> Whole:
        """What there is, at a moment when all is listed; OSError if not."""
        read_only: list[int] = []

        def look(tree: Tree, mount: Mount, _: int) -> None:
            if _counts(tree, mount):
                read_only.append(mount.number)

        tree, _ = self._all(self._namespace, look)
        counts = {unit.mount.key: unit.copied for unit in tree.units(through)}
        return Whole(counts, len(read_only))

    def check_locked(self, held: frozenset[Key], read_only: int) -> Unknown:
        """OSError where not all that is read-only is locked, or it is not what it was or has to be.

        held: what could not be taken away. read_only: see Whole. Returns what cannot be known.
        """
        seen: list[Seen] = []
        locked: list[int] = []

        def look(tree: Tree, mount: Mount, fd: int) -> None:
            if mount.read_only and tree.is_locked_or_hides(mount):
                if not self._linux.is_locked(fd):
                    if mount.key in held:
                        raise made_inside(mount.place)
                    raise OSError(f"{shown(mount.place)} could be made writable")
                if _counts(tree, mount):
                    locked.append(mount.number)
            if self._wanted.lines or self._wanted.unread:
                status = os.fstat(fd)
                identity = (status.st_dev, status.st_ino)
                part = (mount.device, mount.root)
                seen.append(Seen(mount.place, mount.read_only, identity, part, mount.kind))

        scratch = mountholder.scratch(self._linux, self._namespace)
        try:
            self._linux.setns(scratch.namespace)
            self._linux.make_private()
            tree = Tree(read_again(scratch.mountinfo), self._hosts)
            counts = self._looked_at(tree, look)
            self._linux.setns(self._host)
            # in a copy for another user namespace all are locked, but how many there are it has too
            if counts and self._all(scratch.namespace, lambda *_: None)[1] != counts:
                raise OSError("a folder with what is shared was renamed")
        finally:
            self._linux.setns(self._host)
            scratch.close()
        if len(locked) < read_only:
            raise OSError("a folder with what is shared was renamed")
        shown_shares = (m for m in tree.shares() if not tree.is_covered_for_good(m))
        return self._wanted.check(seen, [mount.place for mount in shown_shares])

    def _all(self, namespace: int, look: Look) -> tuple[Tree, Counts]:
        """Looks at all mounts of the shares in a copy of a namespace for a user namespace.

        OSError where one is not listed: that has its mark still.
        """
        copied = mountholder.start(self._linux, namespace)
        try:
            self._linux.setns(copied.namespace)
            self._linux.make_private()
            tree = Tree(read_again(copied.mountinfo), self._hosts)
            counts = self._looked_at(tree, look, mark=True)
            # of the root alone nobody else moves the places
            fd = opened(self._linux, b"/", None)
            is_marked = self._linux.has_marked(fd)
            os.close(fd)
            if is_marked:
                raise OSError("a mount in a share is elsewhere at the moment")
        finally:
            self._linux.setns(self._host)
            copied.close()
        return tree, counts

    def _looked_at(self, tree: Tree, look: Look, *, mark: bool = False) -> Counts:
        """Looks at each share and all in it, if that matters. mark: those that are not listed."""
        found = {}
        for share in tree.shares():
            if tree.is_covered_for_good(share):
                continue  # it is taken away, or stays where nobody gets
            if not self._wanted.has_in(share.place) and not tree.matters(share):
                continue
            # of several at one place the last is what is copied, the others are taken away
            inside = tree.inside(tree.seen(share))
            hidden = next(filter(tree.is_hidden, inside), None)
            if hidden is not None:
                raise _hidden(tree, hidden)
            for number, mount in enumerate(inside):
                fd = opened(self._linux, mount.place, {mount.number})
                try:
                    if mark and number == 0:
                        self._linux.mark(fd)
                    look(tree, mount, fd)
                    if mark:
                        self._linux.unmark(fd)
                finally:
                    os.close(fd)
            found[share.place] = len(inside)
        return found


def _counts(tree: Tree, mount: Mount) -> bool:
    """Whether there have to be as many of these in the end. (A namespace's file is not copied.)"""
    return mount.read_only and tree.is_locked_or_hides(mount) and mount.kind != b"nsfs"


def _hidden(tree: Tree, mount: Mount) -> AdvisedError:
    """Another mount hides this one, in a share: nothing of the share can be known then."""
    over = [other for other in tree.covering(mount) if other.place != mount.place]
    if tree.seen(mount) != mount or not over:
        return two_mounts(mount.place, is_automount=mount.kind == b"autofs")
    # A neighbour can have it so, for a moment.
    return hides(over[0].place, mount.place)
