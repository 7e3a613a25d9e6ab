"""No mount of a container has a peer: what is mounted at one place is not at another as well.

LXC makes all mounts of a container shared (conf.c, lxc_setup; seen on 5.0 and 6.0). Then a folder
that is bound elsewhere has a peer there, keeps it when it is renamed, and what is mounted on it is
mounted on the peer too (mount_namespaces(7)), under a path that no rule of a profile knows: /proc
of a unit's root, for one. What the host mounts in a shared folder later, still comes.
"""

import errno
import os

from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.mountcalls import Linux


def end(pid: int) -> None:
    """Takes those of all mounts in the mount namespace of a process. Raises PhoenixError.

    The seccomp policy of the profiles that ask for this lets nobody make a mount shared again.
    """
    linux = Linux(-1)
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        # Not this process: what Python loads from then on would be the container's.
        worker = os.fork()
        if worker == 0:
            status = errno.EIO
            try:
                status = _ended(linux, namespace)
            finally:
                os._exit(status)
        os.close(namespace)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    except OSError as error:
        status = error.errno or errno.EIO
    if status != 0:
        why = os.strerror(status) if status > 0 else f"killed by signal {-status}"
        raise PhoenixError(
            "its mounts are shared with each other, which cannot be taken from them: "
            f"{why}. So it could give /proc and /sys paths that its profile does not know.",
            hint="Start it again; if that fails too: journalctl -k",
        )


def _ended(linux: Linux, namespace: int) -> int:
    """The number of the error, 0: none."""
    try:
        linux.setns(namespace)
        linux.make_slaves()
    except OSError as error:
        return error.errno or errno.EIO
    return 0
