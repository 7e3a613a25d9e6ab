"""Locks read-only mounts, so that no root makes them writable: system calls of Linux alone.

Linux locks flags of mounts that it copies for a user namespace (fs/namespace.c, lock_mnt_tree,
can_change_locked_flags): then no root changes them, that of the host included, and each further
copy and bind has the lock too. So a mount namespace in a user namespace, made for a moment, gives
a locked copy of each such mount, which takes the mount's place.
"""

import contextlib
import ctypes
import errno
import os
import sys
from typing import NamedTuple

from phoenix_apparmor import shares
from phoenix_apparmor.errors import PhoenixError

# linux/mount.h, linux/fcntl.h, linux/sched.h; the numbers of the calls are the same everywhere.
OPEN_TREE, MOVE_MOUNT = 428, 429
OPEN_TREE_CLONE, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, AT_FDCWD = 1, 0x8000, 0x100, -100
MOVE_MOUNT_F_EMPTY_PATH = 4
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
OWN_LABEL = "/proc/self/attr/current"
# Exit statuses of the process that does it: all is as it was; a mount may be missing; one is there
# that is not locked; all is as it was, as there may be no more namespaces.
NOT_LOCKED, LOST, OPEN, NO_MORE = 3, 4, 5, 6
LIMITS = ("/proc/sys/user/max_user_namespaces", "/proc/sys/user/max_mnt_namespaces")
MOUNT_SETATTR, MOUNT_ATTR_RDONLY = 442, 1
AT_EMPTY_PATH = 0x1000
# struct statx (linux/stat.h): its size, where stx_mnt_id is, and the bit that asks for it.
STATX_SIZE, STX_MNT_ID, STATX_MNT_ID = 256, 0x90, 0x1000


class Mount(NamedTuple):
    """The kernel's number of a mount, and its place."""

    number: int
    place: bytes


def lock(pid: int) -> None:
    """Locks what is read-only in the mount namespace of a process.

    Raises PhoenixError; its status is 0 where all is mounted as it was and the start may go on.
    """
    try:
        mountinfo = os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        mounts = _read_only(mountinfo)
        if not mounts:
            return
        _leave_profile()
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        status, why = _in_worker(mountinfo, namespace, mounts)
    except OSError as error:
        status, why = NOT_LOCKED, str(error)
    if status == NOT_LOCKED or (status == NO_MORE and _are_forbidden()):
        raise _not_locked(why)
    if status == NO_MORE:
        raise PhoenixError(
            f"what is shared read-only cannot be locked: {why}. Something uses up this host's "
            "namespaces.",
            hint="See: lsns -t user; sysctl user.max_user_namespaces user.max_mnt_namespaces",
        )
    if status == OPEN:
        raise PhoenixError(
            f"what is shared read-only at {why} could be made writable by root inside: another "
            "mount hides it, or its folder was renamed meanwhile.",
            hint="Mount nothing over it, and share no writable folder above it.",
        )
    if status != 0:
        raise PhoenixError(
            f"what is shared read-only could not be put back after it was locked: {why}.",
            hint="Start it again. If that fails too, share it without ro.",
        )


def _leave_profile() -> None:
    """lxc-start's profile has no rule for the mounts here, and one to leave it.

    Raises PhoenixError where a site's has none: a mount would be lost halfway.
    """
    with contextlib.suppress(OSError), open(OWN_LABEL, "wb", buffering=0) as own:
        own.write(b"changeprofile unconfined")
    label = b""
    with contextlib.suppress(OSError), open(OWN_LABEL, "rb", buffering=0) as own:
        label = own.read(4096).strip()
    if label not in (b"", b"unconfined"):
        raise _not_locked(f"this hook runs under {label.decode('ascii', 'replace')}")


def _not_locked(why: str) -> PhoenixError:
    """What is said where all is mounted as it was."""
    return PhoenixError(
        f"what is shared read-only is not locked, so root inside may make it writable: {why}.",
        hint="See: sysctl user.max_user_namespaces user.max_mnt_namespaces",
        status=0,
    )


def _read_only(mountinfo: int) -> list[Mount]:
    """Of an open mountinfo, as it is now."""
    os.lseek(mountinfo, 0, os.SEEK_SET)
    text = b""
    while part := os.read(mountinfo, 1 << 16):
        text += part
    return [Mount(*mount) for mount in shares.read_only(text)]


def _are_forbidden() -> bool:
    """Whether this host's admin wants no namespaces at all."""
    for name in LIMITS:
        with contextlib.suppress(OSError), open(name, "rb", buffering=0) as file:
            if file.read(16).strip() == b"0":
                return True
    return False


def _in_worker(mountinfo: int, namespace: int, mounts: list[Mount]) -> tuple[int, str]:
    """(exit status of a process that does it, what it could not do).

    This one stays among the host's files: what Python reads of its own, a module or an encoding,
    would be the container's in the other. Nor is anything forked there: that reads /proc.
    """
    linux = _Linux()
    output, report = os.pipe()
    worker = os.fork()
    if worker == 0:
        status = NOT_LOCKED
        try:
            holder, is_done = _holder(linux, namespace)
            copies = _copies(linux, holder, namespace, mounts)
            os.close(is_done)
            status = LOST
            for mount, copy in zip(mounts, copies, strict=True):
                _replace(linux, mount.place, copy)
            left = {mount.number for mount in _read_only(mountinfo)}
            status = OPEN
            for mount in mounts:
                if mount.number in left and not _is_locked(linux, mount):
                    raise OSError(repr(mount.place)[1:])
            status = 0
        except BaseException as error:  # noqa: BLE001  (nothing may go on from here)
            if status == NOT_LOCKED and getattr(error, "errno", 0) == errno.ENOSPC:
                status = NO_MORE
            os.write(report, str(error).encode("ascii", "replace"))
        finally:
            os._exit(status)
    os.close(report)
    why = b""
    while part := os.read(output, 4096):
        why += part
    os.close(output)
    _, ended = os.waitpid(worker, 0)
    return os.waitstatus_to_exitcode(ended), why.decode("ascii", "replace")


class _Linux:
    """System calls that Python does not have. Each raises OSError, and returns what it returns."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def setns(self, fd: int) -> None:
        self._done("setns", self._libc.setns(fd, CLONE_NEWNS))

    def unshare(self) -> None:
        self._done("unshare", self._libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))

    def open_tree(self, place: bytes) -> int:
        flags = OPEN_TREE_CLONE | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | os.O_CLOEXEC
        return self._done("open_tree", self._libc.syscall(OPEN_TREE, AT_FDCWD, place, flags))

    def move_mount(self, tree: int, place: bytes) -> None:
        arguments = (MOVE_MOUNT, tree, b"", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH)
        self._done("move_mount", self._libc.syscall(*arguments))

    def number(self, fd: int) -> int:
        """The kernel's number of the mount that an open file is in (Linux 5.8 and later)."""
        status = ctypes.create_string_buffer(STATX_SIZE)
        self._done("statx", self._libc.statx(fd, b"", AT_EMPTY_PATH, STATX_MNT_ID, status))
        return int.from_bytes(status.raw[STX_MNT_ID : STX_MNT_ID + 8], sys.byteorder)

    def set_writable(self, fd: int, *, writable: bool) -> None:
        """Of the mount itself, by mount_setattr(2): struct mount_attr is set, clear, …, …."""
        change = (0, MOUNT_ATTR_RDONLY) if writable else (MOUNT_ATTR_RDONLY, 0)
        words = (ctypes.c_uint64 * 4)(*change, 0, 0)
        arguments = (MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH, words, ctypes.sizeof(words))
        self._done("mount_setattr", self._libc.syscall(*arguments))

    def umount(self, place: bytes) -> None:
        self._done("umount2", self._libc.umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW))

    def _done(self, name: str, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
        return result


def _holder(linux: _Linux, namespace: int) -> tuple[int, int]:
    """(pid of a process in a user namespace of its own, with a copy of the mounts; what ends it).

    It becomes a user whom nobody else is: who may make how many namespaces is counted for each
    user of the host, and what containers make counts for root. It stays root where others may make
    none. Ends with the last descriptor of what ends it.
    """
    try:
        return _fork_holder(linux, namespace, 1 << 30 | int.from_bytes(os.urandom(4)) >> 2)
    except OSError:
        return _fork_holder(linux, namespace, 0)


def _fork_holder(linux: _Linux, namespace: int, user: int) -> tuple[int, int]:
    ready, is_ready = os.pipe()
    done, is_done = os.pipe()
    holder = os.fork()
    if holder == 0:
        number = errno.EPERM
        try:
            os.close(is_done)
            linux.setns(namespace)
            if user:
                os.setresuid(user, user, user)
            linux.unshare()
            number = 0
        except OSError as error:
            number = error.errno or errno.EPERM
        finally:
            os.write(is_ready, bytes([number]))
            os.read(done, 1)
            os._exit(0)
    os.close(is_ready)
    os.close(done)
    number = (os.read(ready, 1) or bytes([errno.ESRCH]))[0]
    os.close(ready)
    if number:
        os.close(is_done)
        os.waitpid(holder, 0)
        raise OSError(number, f"unshare: {os.strerror(number)}")
    return holder, is_done


def _copies(linux: _Linux, holder: int, namespace: int, mounts: list[Mount]) -> list[int | None]:
    """A locked copy of each mount; this process is in their namespace afterwards.

    None for one that is not there by its name, as another mount hides it.
    """
    linux.setns(os.pidfd_open(holder))
    copies = [_copy(linux, mount.place) for mount in mounts]
    linux.setns(namespace)
    return copies


def _copy(linux: _Linux, place: bytes) -> int | None:
    try:
        return linux.open_tree(place)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _replace(linux: _Linux, place: bytes, copy: int | None) -> None:
    if copy is None:
        return
    try:
        linux.umount(place)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return  # in its parent's copy, from another user namespace, or gone: asked afterwards
        raise
    linux.move_mount(copy, place)


def _is_locked(linux: _Linux, mount: Mount) -> bool:
    """Whether root cannot make a mount writable that was left, as its parent's lock holds it."""
    try:
        fd = os.open(mount.place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        if linux.number(fd) != mount.number:
            return False  # hidden, or somewhere else by now
    except OSError:
        return False
    try:
        linux.set_writable(fd, writable=True)
    except OSError as error:
        return error.errno == errno.EPERM
    linux.set_writable(fd, writable=False)
    return False
