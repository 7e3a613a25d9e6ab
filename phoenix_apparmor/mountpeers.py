"""No mount of a container has a peer: what is mounted at one place is not at another as well.

LXC makes all mounts of a container shared (conf.c, lxc_setup; seen on 5.0 and 6.0). Then a folder
that is bound elsewhere has a peer there, keeps it when it is renamed, and what is mounted on it is
mounted on the peer too (mount_namespaces(7)), under a path that no rule of a profile knows: /proc
of a unit's root, for one. What the host mounts in a shared folder later, still comes.
"""

import posix

from phoenix_apparmor.errors import PhoenixError

# Of util-linux, and on each Debian: to make the calls here would cost a start ten times as much, for
# the module ctypes. It looks at files of the host alone; --namespace is for the calls themselves.
MOUNT = "/usr/bin/mount"


def end(pid: int) -> None:
    """Takes those of all mounts in the mount namespace of a process. Raises PhoenixError.

    The seccomp policy of the profiles that ask for this lets nobody make a mount shared again.
    """
    words = [MOUNT, f"--namespace=/proc/{pid}/ns/mnt", "--make-rslave", "/"]
    try:
        child = posix.posix_spawn(MOUNT, words, {"LC_ALL": "C"})
        status = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
    except OSError as error:
        raise _failed(str(error)) from error
    if status != 0:
        raise _failed(f"{MOUNT} ended with {status}")


def _failed(why: str) -> PhoenixError:
    return PhoenixError(
        "its mounts are shared with each other, which cannot be taken from them: "
        f"{why}. So it could give /proc and /sys paths that its profile does not know.",
        hint="Start it again; if that fails too: journalctl -k",
    )
