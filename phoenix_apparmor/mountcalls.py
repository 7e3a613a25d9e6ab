"""System calls for mounts that Python does not have (linux/mount.h, fcntl.h, sched.h)."""

import ctypes
import errno
import os
import sys
from collections.abc import Collection

# The numbers of the calls are the same everywhere.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, AT_RECURSIVE, AT_EMPTY_PATH, AT_FDCWD = 1, 0x8000, 0x1000, -100
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 4, 0x40
MOUNT_ATTR_RDONLY = 1
MNT_DETACH, MS_REC, MS_UNBINDABLE, MS_PRIVATE = 2, 0x4000, 0x20000, 0x40000
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
# linux/nsfs.h: the user namespace that another namespace belongs to.
NS_GET_USERNS = 0xB701
# struct statx (linux/stat.h): its size, where stx_mnt_id is, and the bit that asks for it.
STATX_SIZE, STX_MNT_ID, STATX_MNT_ID = 256, 0x90, 0x1000


class Linux:
    """Each raises OSError, and returns what it returns. Mounts are given by open files in them.

    own_files: an open /proc/self/fd of this process, by which umount2(2) finds an open file.
    """

    def __init__(self, own_files: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._own_files = own_files

    def setns(self, fd: int) -> None:
        """Into another mount namespace."""
        self._done("setns", self._libc.setns(fd, CLONE_NEWNS))

    def into_owner(self, namespace: int) -> None:
        """Into the user namespace that a namespace belongs to, if this process is not there."""
        owner = self._done("ioctl", self._libc.ioctl(namespace, NS_GET_USERNS))
        try:
            if not os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user")):
                self._done("setns", self._libc.setns(owner, CLONE_NEWUSER))
        finally:
            os.close(owner)

    def unshare(self) -> None:
        """A copy of the mounts, in a user namespace of its own."""
        self._done("unshare", self._libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))

    def unshare_mounts(self) -> None:
        """A copy of the mounts alone."""
        self._done("unshare", self._libc.unshare(CLONE_NEWNS))

    def make_private(self) -> None:
        """All mounts of the namespace, so that those are copied too that are unbindable."""
        self._done("mount", self._libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))

    def copy(self, fd: int) -> int:
        """A copy of a mount with all in it, mounted nowhere."""
        flags = OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH | os.O_CLOEXEC
        return self._done("open_tree", self._libc.syscall(OPEN_TREE, fd, b"", flags))

    def mount(self, copy: int, place: int) -> None:
        """A copy on an open file or folder."""
        flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
        done = self._libc.syscall(MOVE_MOUNT, copy, b"", place, b"", flags)
        self._done("move_mount", done)

    def umount(self, fd: int) -> None:
        """With all in it."""
        os.fchdir(self._own_files)
        self._done("umount2", self._libc.umount2(str(fd).encode("ascii"), MNT_DETACH))

    def umount_at(self, place: bytes) -> None:
        """What is mounted at a place, with all in it."""
        self._done("umount2", self._libc.umount2(place, MNT_DETACH))

    def number(self, fd: int) -> int:
        """The kernel's number of the mount that an open file is in (Linux 5.8 and later)."""
        status = ctypes.create_string_buffer(STATX_SIZE)
        self._done("statx", self._libc.statx(fd, b"", AT_EMPTY_PATH, STATX_MNT_ID, status))
        return int.from_bytes(status.raw[STX_MNT_ID : STX_MNT_ID + 8], sys.byteorder)

    def has_locked(self, fd: int) -> bool:
        """Whether a mount or one in it is read-only for good; if not, all are writable now.

        mount_setattr(2) changes all or nothing, and does not look for them by names.
        """
        return not self._set_attributes(fd, AT_RECURSIVE, 0, MOUNT_ATTR_RDONLY)

    def mark(self, fd: int) -> None:
        """A mount and all in it, whatever their places are, are unbindable then."""
        self._set_attributes(fd, AT_RECURSIVE, 0, 0, MS_UNBINDABLE)

    def unmark(self, fd: int) -> None:
        """A mount itself."""
        self._set_attributes(fd, 0, 0, 0, MS_PRIVATE)

    def has_marked(self, fd: int) -> bool:
        """Whether one is marked in a mount and all in it, in a copy for a user namespace.

        Linux copies nothing if one is both unbindable and locked in its place, as all are there
        (fs/namespace.c, copy_tree). It goes from mount to mount, and looks at no names but those in
        the first of them. (A copy of a namespace has the marks too, but not since Linux 6.17.)
        """
        try:
            os.close(self.copy(fd))
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            return True
        return False

    def is_locked(self, fd: int) -> bool:
        """Whether a mount itself is read-only for good; else it is read-only as before."""
        if not self._set_attributes(fd, 0, 0, MOUNT_ATTR_RDONLY):
            return True
        self._set_attributes(fd, 0, MOUNT_ATTR_RDONLY, 0)
        return False

    def _set_attributes(
        self, fd: int, flags: int, set_: int, clear: int, propagation: int = 0
    ) -> bool:
        words = (ctypes.c_uint64 * 4)(set_, clear, propagation, 0)
        size = ctypes.sizeof(words)
        arguments = (MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH | flags, words, size)
        try:
            self._done("mount_setattr", self._libc.syscall(*arguments))
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            return False
        return True

    def _done(self, name: str, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
        return result


def opened(linux: Linux, place: bytes, numbers: Collection[int] | None) -> int:
    """What is at a place, if it is in one of these mounts (None: in any); OSError if not."""
    try:
        fd = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(place)) from None
    if numbers is not None and linux.number(fd) not in numbers:
        os.close(fd)
        raise OSError(f"{shown(place)} is another mount")
    return fd


def shown(place: bytes) -> str:
    """A place for people."""
    return place.decode("utf-8", "backslashreplace")


def read_again(mountinfo: int) -> bytes:
    """An open mountinfo, as it is now."""
    os.lseek(mountinfo, 0, os.SEEK_SET)
    text = b""
    while part := os.read(mountinfo, 1 << 16):
        text += part
    return text
