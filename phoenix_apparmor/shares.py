"""What the host shares read-only stays read-only: LXC's hook before a container's init.

LXC and Proxmox make such a mount read-only, and root of the container can take that back: by
mount(2), of whose binds and remounts a profile would have to know every place, and by
mount_setattr(2), about which AppArmor is not asked. So such a mount is locked (mountlock.py).

Each start under a profile runs this; most have nothing that is read-only, and load no more.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What LXC and every init have read-only there is the kernel's, not of the host's files.
NOT_SHARED = (b"/proc/", b"/sys/")


def main(environ: "Mapping[str, str]") -> int:
    """LXC calls it when all is mounted and no program of the container runs yet.

    LXC_PID: the init-to-be, as the host sees it; LXC_NAME: the CTID. Exit status 1: the
    container must not start, as a mount is missing now, or can be made writable.
    """
    pid = int(environ["LXC_PID"])
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        if not read_only(file.read()):
            return 0
    return _lock(pid, environ.get("LXC_NAME", ""))


def _lock(pid: int, ctid: str) -> int:
    from phoenix_apparmor import mountlock, paths
    from phoenix_apparmor.errors import PhoenixError
    from phoenix_apparmor.host import ERROR, WARNING, Host

    try:
        mountlock.lock(pid)
    except PhoenixError as error:
        told = error.about(ctid) if paths.is_ctid(ctid) else error
        severity = ERROR if error.status else WARNING
        Host().journal(severity, " ".join(told.lines()), ctid=told.ctid)
        print(told, file=sys.stderr)
        return error.status
    return 0


def read_only(mountinfo: bytes) -> list[tuple[int, bytes]]:
    """(number, place) of the mounts that are read-only by themselves.

    mountinfo: /proc/PID/mountinfo (proc(5)). number: the kernel's, of that mount alone.

    Not the root, in whose place nothing can be put.
    """
    found = []
    for line in mountinfo.split(b"\n"):
        words = line.split(b" ")
        if len(words) > 6 and b"ro" in words[5].split(b","):
            place = _plain(words[4])
            if place != b"/" and not (place + b"/").startswith(NOT_SHARED):
                found.append((int(words[0]), place))
    return found


def _plain(word: bytes) -> bytes:
    r"""A name as it is: blanks, newlines and backslashes are \040, \011, \012 and \134 there."""
    first, *rest = word.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
