"""Where a compiled policy allows what another does not: for every text, not for examples.

Both automata are walked together from their beginnings, through each pair of states that a text
can lead to. What the parser of this machine makes of REFERENCE's profiles (a folder as profiles/)
is compared with what it makes of this tree's, both ways. A change that is said to be only smaller
prints nothing; another one prints the shortest texts of each kind, for a reader to judge.

Left out is what the kernel never asks: file systems that do not exist (TYPES), two slashes in a
row, bits of mount(2) in another order than they are compared in.

    git archive main profiles | tar x -C /tmp; /usr/bin/python3 -m tests.bench.wider /tmp/profiles
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.profiles import OURS, compiling
from tests.unit.policydfa import ACCEPT, Automaton, automata

# What Linux 6.17 and modules beside it have.
TYPES = """9p adfs affs afs anon_inodefs apparmorfs aufs autofs bcachefs bdev befs bfs binder
binfmt_misc bpf btrfs ceph cgroup cgroup2 cifs coda configfs cpuset cramfs dax debugfs devpts
devtmpfs ecryptfs efivarfs efs erofs exfat ext2 ext3 ext4 f2fs fuse fuse.x fuseblk fusectl gfs2
gfs2meta hfs hfsplus hostfs hpfs hugetlbfs iso9660 jffs2 jfs minix mqueue msdos nfs nfs4 nfsd
nilfs2 nsfs ntfs ntfs3 ocfs2 ocfs2_dlmfs omfs openpromfs orangefs overlay pipefs proc pstore pvfs2
qnx4 qnx6 ramfs reiserfs resctrl romfs rootfs rpc_pipefs securityfs selinuxfs smackfs smb3
sockfs squashfs sysfs sysv tmpfs tracefs ubifs udf ufs vboxsf vfat virtiofs xenfs xfs zfs zonefs"""
# "": binds, moves, remounts.
KNOWN = {"", *TYPES.split()}
BEGUN = {name[:size].encode() for name in KNOWN for size in range(len(name) + 1)}
ENDED = {name.encode() for name in KNOWN}
CLASS_MOUNT = 7
# pivot_root, mount, umount: the other bits say how it is matched.
MOUNTS = 7
# security/apparmor/mount.c: target, source, type, flags, each but the last with a zero byte behind.
TYPE, FLAGS = 2, 3
MOST_SHOWN = 20
# So that the shortest text that is shown is one that people can read.
LETTERS = b"/abcdefghijklmnopqrstuvwxyz0123456789"
ORDER = (*LETTERS, *(byte for byte in range(256) if byte not in LETTERS))


class Place(NamedTuple):
    """Where a text has led: a state of each, its field (files: 0), and what of it still counts."""

    ours: int
    theirs: int
    field: int
    tail: bytes


def wider(ours: Automaton, theirs: Automaton, *, mounts: bool) -> Iterator[bytes]:
    """The shortest texts, one for each pair of states, of which ours allows more."""
    start = Place(1, 1, 0, b"")
    if mounts:
        start = Place(ours.step(1, CLASS_MOUNT), theirs.step(1, CLASS_MOUNT), 0, b"")
    came: dict[Place, tuple[Place, int] | None] = {start: None}
    todo = deque([start])
    while todo:
        place = todo.popleft()
        more = ours.tables[ACCEPT][place.ours] & ~theirs.tables[ACCEPT][place.theirs]
        if more & MOUNTS if mounts and place.field != TYPE else more and not mounts:
            yield _text(came, place)
        for byte in ORDER:
            after = _after(place, byte, mounts=mounts)
            if after is None:
                continue
            state = ours.step(place.ours, byte)
            reached = Place(state, theirs.step(place.theirs, byte), *after)
            if state and reached not in came:
                came[reached] = (place, byte)
                todo.append(reached)


def _after(place: Place, byte: int, *, mounts: bool) -> tuple[int, bytes] | None:
    """Field and tail behind a further byte; None: the kernel never asks that."""
    if not mounts or place.field < TYPE:
        if byte == ord("/") and place.tail == b"/":
            return None
        ended = mounts and not byte
        return place.field + ended, b"/" if byte == ord("/") else b""
    if place.field == TYPE:
        if not byte:
            return (FLAGS, b"") if place.tail in ENDED else None
        tail = place.tail + bytes([byte])
        return (TYPE, tail) if tail in BEGUN else None
    # a bit of the flags is one byte, 1 to 32
    return (FLAGS, bytes([byte])) if max(place.tail, b"\0") < bytes([byte]) <= b" " else None


def _text(came: dict[Place, tuple[Place, int] | None], place: Place) -> bytes:
    found = bytearray()
    before = came[place]
    while before is not None:
        place, byte = before
        found.append(byte)
        before = came[place]
    return bytes(reversed(found))


def main() -> int:
    reference = Path(sys.argv[1])
    differs = False
    for profile in sorted(OURS.glob("lxc-*")):
        ours = _automata(compiling(profile))
        command = compiling(reference / profile.name)
        theirs = _automata([word.replace(str(OURS), str(reference)) for word in command])
        for title, one, other in (("allows", ours, theirs), ("no longer allows", theirs, ours)):
            for number, kind in enumerate(("mounts", "files")):
                texts = list(wider(one[number], other[number], mounts=number == 0))
                differs = differs or bool(texts)
                print(f"{profile.name} {title}: {kind}: {len(texts)}")
                for text in texts[:MOST_SHOWN]:
                    print(f"    {text!r}")
    return 1 if differs else 0


def _automata(command: list[str]) -> list[Automaton]:
    done = subprocess.run(command, check=True, capture_output=True)
    return automata(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
