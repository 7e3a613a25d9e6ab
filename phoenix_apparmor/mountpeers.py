"""What a privileged container under base goes without: shared mounts, and views of the kernel.

LXC makes all mounts of a container shared (conf.c, lxc_setup; seen on 5.0 and 6.0). Then a folder
that is bound elsewhere has a peer there, keeps it when it is renamed, and what is mounted on it is
mounted on the peer too (mount_namespaces(7)), under a path that no rule of a profile knows: /proc
of a unit's root, for one. So no mount has a peer. What the host mounts in a shared folder later,
still comes.

And LXC's configuration for Ubuntu (ubuntu.common.conf), or an admin's, mounts file systems that the
profile closes by their paths. Lazily unmounted they have none. Nor do the second /proc and /sys
that LXC's nesting.conf has in /dev/.lxc, once that folder is renamed.
"""

import errno
import posix

from phoenix_apparmor.errors import PhoenixError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phoenix_apparmor.mountcalls import Linux
    from phoenix_apparmor.shares import Line

# Of util-linux, and on each Debian. It looks at files of the host alone; --namespace is for the
# call itself. (A process of this one that does it with ctypes, as take_away has it, takes 8 to 12
# million instructions more, though sysctlguard.py loads that anyway: tests.bench.start_cost.)
# (umount(8) has that too, and does not find what it is to unmount there: seen on 2.41.)
MOUNT = "/usr/bin/mount"
# The profile lets nobody read or write what is in these, and nobody mount one.
CLOSED = (b"debugfs", b"tracefs", b"securityfs", b"efivarfs", b"pstore", b"bpf", b"configfs",
          b"binfmt_misc", b"nfsd", b"resctrl")  # fmt: skip
# For containers in it, of which it has none.
FOR_NESTING = b"/dev/.lxc/"
OWN_LABEL = "/proc/self/attr/current"


def leave_profile() -> bytes:
    """Out of lxc-start's profile, which has a rule for that; the label then, b"" if unknown."""
    try:
        with open(OWN_LABEL, "wb", buffering=0) as own:
            own.write(b"changeprofile unconfined")
    except OSError:
        pass
    try:
        with open(OWN_LABEL, "rb", buffering=0) as own:
            return own.read(4096).strip()
    except OSError:
        return b""


def end(pid: int) -> None:
    """Takes the peers of all mounts in the mount namespace of a process. Raises PhoenixError.

    The seccomp policy of the profiles that ask for this lets nobody make a mount shared again.
    """
    try:
        argv = [MOUNT, f"--namespace=/proc/{pid}/ns/mnt", "--make-rslave", "/"]
        child = posix.posix_spawn(MOUNT, argv, {"LC_ALL": "C"})
        status = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
        why = f"{MOUNT} ended with {status}" if status else ""
    except OSError as error:
        why = str(error)
    if why:
        raise PhoenixError(
            "its mounts are shared with each other, which cannot be taken from them: "
            f"{why}. So it could give /proc and /sys paths that its profile does not know.",
            hint="Start it again; if that fails too: journalctl -k",
        )


def take_away(pid: int, lines: "Iterable[Line]") -> None:
    """Unmounts what the profile closes anyway. lines: shares.mounts. Raises PhoenixError."""
    places = [x[4] for x in lines if x[6] in CLOSED or x[4].startswith(FOR_NESTING)]
    if not places:
        return
    from phoenix_apparmor import mountcalls

    linux = mountcalls.Linux(-1)
    leave_profile()  # that of lxc-start has no rule to unmount these
    try:
        namespace = posix.open(f"/proc/{pid}/ns/mnt", posix.O_RDONLY)
        # Not this process: what Python loads from then on would be the container's.
        worker = posix.fork()
        if worker == 0:
            status = errno.EIO
            try:
                status = _taken(linux, namespace, places)
            finally:
                posix._exit(status)  # noqa: SLF001  (its name is that of exit(2))
        posix.close(namespace)
        status = posix.waitstatus_to_exitcode(posix.waitpid(worker, 0)[1])
        why = "" if status == 0 else posix.strerror(status) if status > 0 else f"signal {-status}"
    except OSError as error:
        why = str(error)
    if why:
        shown = b", ".join(places).decode("utf-8", "replace")
        raise PhoenixError(
            f"what shows the host's kernel in it ({shown}) cannot be unmounted: {why}.",
            hint="Start it again; if that fails too, take their lxc.mount.entry away.",
        )


def _taken(linux: "Linux", namespace: int, places: "Sequence[bytes]") -> int:
    """The number of the error, 0: none. What is mounted last is first: it may be in the others."""
    try:
        linux.setns(namespace)
        for place in reversed(places):
            linux.umount_at(place)
    except OSError as error:
        return error.errno or errno.EIO
    return 0
