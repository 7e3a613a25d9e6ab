"""A process that has locked copies of all mounts of a container, as it is in a user namespace.

It is what lets mountlock.py copy them; nothing of the container runs in it.
"""

import contextlib
import errno
import os

from phoenix_apparmor.mountcalls import Linux

USER_NAMESPACES = "/proc/self/ns/user"
LIMITS = ("/proc/sys/user/max_user_namespaces", "/proc/sys/user/max_mnt_namespaces")


class NoNamespaceError(Exception):
    """Whether that is for want of them (used up), or as this host makes none (forbidden)."""

    def __init__(self, number: int) -> None:
        self.used_up = number == errno.ENOSPC
        # (its own words are "No space left on device")
        why = "no more namespaces are allowed" if self.used_up else os.strerror(number)
        super().__init__(f"[Errno {number}] unshare: {why}")
        self.forbidden = number in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL)


def forbidding(root: str = "") -> str | None:
    """The setting with which this host's admin wants no namespaces at all, None if there is none.

    Its file's name, below root. One that cannot be read is no such word.
    """
    for name in LIMITS:
        with contextlib.suppress(OSError), open(root + name, "rb", buffering=0) as file:
            if file.read(16).strip() == b"0":
                return name
    return None


def scratch(linux: Linux, namespace: int) -> tuple[int, int]:
    """(pid of a process with a copy of the mounts, to try something on; what ends it)."""
    number, process, is_done = _fork_holder(linux, namespace, None)
    if number:
        raise NoNamespaceError(number)
    return process, is_done


def start(linux: Linux, namespace: int) -> tuple[int, int]:
    """(pid of a process in a user namespace of its own, with a copy of the mounts; what ends it).

    It becomes a user whom nobody else is: who may make how many namespaces is counted for each
    user of the host, and what containers make counts for root. It stays root where others may make
    none. Ends with the last descriptor of what ends it.
    """
    if not os.path.exists(USER_NAMESPACES):
        raise NoNamespaceError(errno.ENOSYS)
    number = 0
    for user in (1 << 30 | int.from_bytes(os.urandom(4)) >> 2, 0):
        number, holder, is_done = _fork_holder(linux, namespace, user)
        if number == 0:
            return holder, is_done
    raise NoNamespaceError(number)


def _fork_holder(linux: Linux, namespace: int, user: int | None) -> tuple[int, int, int]:
    """(0 or the number of the error, as start). user: None for no user namespace."""
    ready, is_ready = os.pipe()
    done, is_done = os.pipe()
    holder = os.fork()
    if holder == 0:
        number = errno.ESRCH
        try:
            os.close(is_done)
            linux.setns(namespace)
            if user:
                os.setresuid(user, user, user)
            if user is None:
                linux.unshare_mounts()
            else:
                linux.unshare()
            number = 0
        except OSError as error:
            number = error.errno or errno.ESRCH
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
    return number, holder, is_done
