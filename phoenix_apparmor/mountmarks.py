"""Whether all mounts of a share are listed: without names, by marks on copies.

The kernel does not list a mount while its place is outside of the bound folder that it is in
(shares.is_locked_or_hides), and copies of that folder are without it.
"""

import os
from collections.abc import Collection, Mapping

from phoenix_apparmor import mountholder
from phoenix_apparmor.mountcalls import MARKS, Linux, opened, read_again, shown
from phoenix_apparmor.mounterrors import AGAIN, AdvisedError
from phoenix_apparmor.mounttree import Key, Mount, Tree


class Marks:
    """Of one mount namespace.

    namespace: its open file; host: that of the namespace of this process, to which it comes back.
    hosts: see Tree.
    """

    def __init__(self, linux: Linux, namespace: int, host: int, hosts: Collection[bytes]) -> None:
        self._linux = linux
        self._namespace = namespace
        self._host = host
        self._hosts = hosts

    def whole(self, through: frozenset[Key]) -> dict[Key, int]:
        """How many mounts there are in each unit, at a moment when all are listed; OSError if not.

        In a copy of the namespace all mounts of a unit get a mark, and those that are listed lose
        it again. What then has it for good in a copy for a user namespace is not listed.
        """
        scratch = mountholder.scratch(self._linux, self._namespace)
        try:
            self._linux.setns(scratch.namespace)
            tree = Tree(read_again(scratch.mountinfo), self._hosts)
            units = tree.units(through)
            tops = [unit.mount for unit in units]
            tops += [m for m in tree.mounts if m.key in through and tree.is_locked_or_hides(m)]
            marks = {top.place: mark for top in tops if (mark := self._mark(tree, top))}
            self._linux.setns(self._host)
            if marks:
                self._check_unmarked(scratch.namespace, marks)
        finally:
            self._linux.setns(self._host)
            scratch.close()
        return {unit.mount.key: unit.copied for unit in units}

    def _mark(self, tree: Tree, top: Mount) -> int:
        """The mark that only those have now that are not listed; 0 where that cannot be done."""
        if top.number == tree.seen(top).number and tree.is_hidden_for_good(top):
            return 0  # it is taken away, or stays where nobody gets
        # of several at one place the last is what is copied, the others are taken away
        inside = tree.inside(tree.seen(top))
        hidden = next(filter(tree.is_hidden, inside), None)
        if hidden is not None:
            raise _hidden(tree, hidden)
        fds: list[int] = []
        try:
            for mount in inside:
                fd = opened(self._linux, mount.place, {mount.number})
                fds.append(fd)
            for mark in MARKS:
                is_marked = self._linux.mark(fds[0], mark)
                # from each, as one in it may be a unit of its own, with the same mark
                unmarked = [self._linux.unmark(fd, mark, whole=False) for fd in fds]
                if is_marked and all(unmarked):
                    return mark
            return 0
        finally:
            for fd in fds:
                os.close(fd)

    def _check_unmarked(self, namespace: int, marks: Mapping[bytes, int]) -> None:
        copied = mountholder.start(self._linux, namespace)
        try:
            self._linux.setns(copied.namespace)
            for place, mark in marks.items():
                fd = opened(self._linux, place, None)
                unmarked = self._linux.unmark(fd, mark, whole=True)
                os.close(fd)
                if not unmarked:
                    raise OSError(f"a mount in {shown(place)} is elsewhere at the moment")
        finally:
            copied.close()


def _hidden(tree: Tree, mount: Mount) -> AdvisedError:
    """Another mount hides this one, in a unit: nothing of the unit can be known then."""
    at = shown(mount.place)
    over = [other for other in tree.covering(mount) if other.place != mount.place]
    if tree.seen(mount) != mount or not over:
        hint = f"Remove one of the lines that mount at {at} from its configuration."
        return AdvisedError(f"two mounts are at {at}", hint, is_final=True)
    # A neighbour can have it so, for a moment.
    above = shown(over[0].place)
    hint = (
        f"If its configuration mounts at {above} and at {at}, the line of {above} has to be the "
        f"first. Else: {AGAIN}"
    )
    return AdvisedError(f"what is mounted at {above} hides {at}", hint)
