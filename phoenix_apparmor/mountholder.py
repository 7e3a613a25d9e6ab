"""Locked copies of all mounts of a container, in a mount namespace of a user namespace.

It is what lets mountswap.py copy them; nothing of the container runs in it.
"""

import contextlib
import errno
import os
from typing import NamedTuple

from phoenix_apparmor.mountcalls import Linux
from phoenix_apparmor.mounterrors import KILLED, AdvisedError, NoNamespaceError, killed

USER_NAMESPACES = "/proc/self/ns/user"
LIMITS = ("/proc/sys/user/max_user_namespaces", "/proc/sys/user/max_mnt_namespaces")


class Copied(NamedTuple):
    """A mount namespace in which no process is, by open files: itself, and its mountinfo.

    It is there until both are closed.
    """

    namespace: int
    mountinfo: int

    def close(self) -> None:
        """Ends it."""
        os.close(self.namespace)
        os.close(self.mountinfo)


def forbidding(root: str = "") -> str | None:
    """The setting with which this host's admin wants no namespaces at all, None if there is none.

    Its file's name, below root. One that cannot be read is no such word.
    """
    for name in LIMITS:
        with contextlib.suppress(OSError), open(root + name, "rb", buffering=0) as file:
            if file.read(16).strip() == b"0":
                return name
    return None


def scratch(linux: Linux, namespace: int) -> Copied:
    """A copy of the mounts, to try something on. Raises as start.

    It belongs to whom they belong to: a copy for another user namespace has all of them locked.
    """
    return _copied(linux, namespace, None)


def start(linux: Linux, namespace: int) -> Copied:
    """A copy of the mounts that belongs to a user namespace of its own.

    Raises NoNamespaceError, and a final AdvisedError.

    Its process becomes a user whom nobody else is: who may make how many namespaces is counted for
    each user of the host, and what containers make counts for root. It stays root where others may
    make none.
    """
    try:
        os.stat(USER_NAMESPACES)
    except FileNotFoundError as error:
        raise NoNamespaceError(errno.ENOSYS) from error
    except OSError as error:
        raise AdvisedError(str(error), is_final=True) from error
    try:
        return _copied(linux, namespace, 1 << 30 | int.from_bytes(os.urandom(4)) >> 2)
    except (NoNamespaceError, AdvisedError):
        return _copied(linux, namespace, 0)


def _copied(linux: Linux, namespace: int, user: int | None) -> Copied:
    """user: None for no user namespace. The process that makes it ends before this returns."""
    try:
        ready, is_ready = os.pipe()
        done, is_done = os.pipe()
        holder = os.fork()
    except OSError as error:
        raise AdvisedError(str(error), is_final=True) from error
    if holder == 0:
        try:
            os.close(is_done)
            os.write(is_ready, _made(linux, namespace, user))
            os.read(done, 1)
        finally:
            os._exit(0)
    os.close(is_ready)
    os.close(done)
    said, why, copied = b"", "", None
    try:
        said = os.read(ready, 2)
        copied = _opened(holder) if said == bytes(2) else None
    except OSError as error:
        why = str(error)
    os.close(ready)
    os.close(is_done)
    status = os.waitstatus_to_exitcode(os.waitpid(holder, 0)[1])
    if copied is not None:
        return copied
    if status < 0 or not said:
        raise AdvisedError(killed(status), KILLED, is_final=True)
    number, is_unshare = said
    if is_unshare:
        raise NoNamespaceError(number)
    raise AdvisedError(why or f"[Errno {number}] {os.strerror(number)}", is_final=True)


def _made(linux: Linux, namespace: int, user: int | None) -> bytes:
    """The number of the error and whether it is unshare's; two zeros: none."""
    is_unshare = False
    try:
        if user is None:
            linux.into_owner(namespace)
        linux.setns(namespace)
        if user:
            os.setresuid(user, user, user)
        is_unshare = True
        if user is None:
            linux.unshare_mounts()
        else:
            linux.unshare()
    except OSError as error:
        return bytes([error.errno or errno.ESRCH, is_unshare])
    return bytes(2)


def _opened(holder: int) -> Copied:
    namespace = os.open(f"/proc/{holder}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mountinfo = os.open(f"/proc/{holder}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        os.close(namespace)
        raise
    return Copied(namespace, mountinfo)
