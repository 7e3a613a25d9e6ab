"""What the host shares read-only stays read-only: LXC's hook before a container's init.

LXC and Proxmox make such a mount read-only, and root of the container can take that back: by
mount(2), of whose binds and remounts a profile would have to know every place, and by
mount_setattr(2), about which AppArmor is not asked. But Linux locks flags of mounts that
it copies for a user namespace (fs/namespace.c, lock_mnt_tree, can_change_locked_flags): then no
root changes them, that of the host included, and each further copy and bind has the lock too. So
a mount namespace in a user namespace, made for a moment, gives a locked copy of each such mount,
which takes the mount's place.
"""

import contextlib
import ctypes
import errno
import os
import sys
from collections.abc import Mapping

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import ERROR, WARNING, Host

# linux/mount.h, linux/fcntl.h, linux/sched.h; the numbers of the calls are the same everywhere.
OPEN_TREE, MOVE_MOUNT = 428, 429
OPEN_TREE_CLONE, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, AT_FDCWD = 1, 0x8000, 0x100, -100
MOVE_MOUNT_F_EMPTY_PATH = 4
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
# What LXC and every init have read-only there is the kernel's, not of the host's files.
NOT_SHARED = (b"/proc/", b"/sys/")
OWN_LABEL = "/proc/self/attr/current"
# Exit statuses of the process that does it: all is as it was; a mount may be missing.
NOT_LOCKED, LOST = 3, 4


def main(environ: Mapping[str, str]) -> int:
    """LXC calls it when all is mounted and no program of the container runs yet.

    LXC_PID: the init-to-be, as the host sees it; LXC_NAME: the CTID. Exit status 1: the
    container must not start, as a mount is missing now.
    """
    host = Host()
    ctid = environ.get("LXC_NAME", "")
    try:
        _leave_profile()
        lock(int(environ["LXC_PID"]))
    except PhoenixError as error:
        told = error.about(ctid) if paths.is_ctid(ctid) else error
        host.journal(ERROR if error.status else WARNING, " ".join(told.lines()), ctid=told.ctid)
        print(told, file=sys.stderr)
        return error.status
    return 0


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


def read_only(mountinfo: bytes) -> list[bytes]:
    """Places of the mounts that are read-only by themselves, of /proc/PID/mountinfo (proc(5)).

    Not the root, in whose place nothing can be put.
    """
    found = []
    for line in mountinfo.split(b"\n"):
        words = line.split(b" ")
        if len(words) > 6 and b"ro" in words[5].split(b","):
            place = _plain(words[4])
            if place != b"/" and not (place + b"/").startswith(NOT_SHARED):
                found.append(place)
    return found


def _plain(word: bytes) -> bytes:
    r"""A name as it is: blanks, newlines and backslashes are \040, \011, \012 and \134 there."""
    first, *rest = word.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def lock(pid: int) -> None:
    """Locks what is read-only in the mount namespace of a process.

    Raises PhoenixError; its status is 0 where all is mounted as it was.
    """
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            places = read_only(file.read())
        if not places:
            return
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        status, why = _in_worker(namespace, places)
    except OSError as error:
        status, why = NOT_LOCKED, str(error)
    if status == NOT_LOCKED:
        raise _not_locked(why)
    if status != 0:
        raise PhoenixError(
            f"what is shared read-only could not be put back after it was locked: {why}.",
            hint="Start it again. If that fails too, share it without ro.",
        )


def _in_worker(namespace: int, places: list[bytes]) -> tuple[int, str]:
    """(exit status of a process that does it, what it could not do).

    This one stays among the host's files: what Python reads of its own, a module or an encoding,
    would be the container's in the other.
    """
    linux = _Linux()
    output, report = os.pipe()
    worker = os.fork()
    if worker == 0:
        status = NOT_LOCKED
        try:
            copies = _copies(linux, namespace, places)
            status = LOST
            for place, copy in zip(places, copies, strict=True):
                _replace(linux, place, copy)
            status = 0
        except BaseException as error:  # noqa: BLE001  (nothing may go on from here)
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

    def umount(self, place: bytes) -> None:
        self._done("umount2", self._libc.umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW))

    def _done(self, name: str, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
        return result


def _copies(linux: _Linux, namespace: int, places: list[bytes]) -> list[int | None]:
    """A locked copy of each mount; this process is in their namespace afterwards.

    None for one that is not there by its name, as another mount hides it.
    """
    linux.setns(namespace)
    ready, is_ready = os.pipe()
    done, is_done = os.pipe()
    holder = os.fork()
    if holder == 0:
        number = 0
        try:
            os.close(is_done)
            linux.unshare()
        except OSError as error:
            number = error.errno or errno.EPERM
        os.write(is_ready, bytes([number]))
        os.read(done, 1)
        os._exit(0)
    os.close(is_ready)
    number = (os.read(ready, 1) or bytes([errno.ESRCH]))[0]
    if number:
        raise OSError(number, f"unshare: {os.strerror(number)}")
    linux.setns(os.pidfd_open(holder))
    copies = [_copy(linux, place) for place in places]
    linux.setns(namespace)
    os.close(is_done)
    os.waitpid(holder, 0)
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
            return  # locked itself: it came with its parent's copy, or from another user namespace
        raise
    linux.move_mount(copy, place)
