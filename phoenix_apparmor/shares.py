"""What the host shares read-only stays read-only: LXC's hook before a container's init.

LXC and Proxmox make such a mount read-only, and root of the container can take that back: by
mount(2), of whose binds and remounts a profile would have to know every place, and by
mount_setattr(2), about which AppArmor is not asked. So such a mount is locked (mountlock.py).

Each start under a profile runs this; most have nothing to lock, and load no more.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from phoenix_apparmor.errors import PhoenixError

    # number, number of the parent, device, root in the file system, place, read-only, type
    Line = tuple[int, int, bytes, bytes, bytes, bool, bytes]

# What of these LXC and every init have read-only there is the kernel's, not of the host's files.
KERNELS = (b"proc", b"sysfs", b"cgroup", b"cgroup2")
KERNELS_PLACES = (b"/proc/", b"/sys/")
# In these no other container renames anything.
# What every container includes mounts nothing read-only in a share (see lxcconf).
LXCS, STANDARD = b"/usr/share/lxc/config/", (b"common.conf", b"userns.conf")
FIXED = (*KERNELS, b"devtmpfs", b"devpts", b"nsfs", b"fuse.lxcfs", b"securityfs", b"debugfs")


def main(environ: "Mapping[str, str]", *, peers: bool = True, sysctls: bool = True) -> int:
    """LXC calls it when all is mounted and the container's init does not run yet.

    LXC_PID: the init-to-be, as the host sees it; LXC_NAME: the CTID; LXC_CONFIG_FILE: the runtime
    configuration. Exit status 1: the container must not start, as a mount is missing now, or can
    be made writable. peers: whether its mounts may stay shared with each other and
    show the host's kernel (mountpeers.py). sysctls: whether those of the host may be closed to it
    by its profile alone (sysctlguard.py).
    """
    try:
        pid = int(environ["LXC_PID"])
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            text = file.read()
        lines = mounts(text)
        hosts = hosts_devices(lines)
        if needs_lock(lines, hosts) or is_to_be_read_only(lines, hosts, environ):
            own = own_devices(lines, hosts)
            is_shown = any(line[5] and is_locked_or_hides(line, own) for line in lines)
            if status := _lock(pid, environ, is_shown=is_shown):
                return status
        if not peers:
            from phoenix_apparmor import mountpeers

            mountpeers.end(pid)
            mountpeers.take_away(pid, lines)
        return 0 if sysctls else _guard(pid, lines, environ)
    except Exception as error:  # noqa: BLE001  (whatever it is, the container must not start)
        from phoenix_apparmor.errors import as_error

        return _tell(as_error(error), environ) or 1


def _guard(pid: int, lines: "Sequence[Line]", environ: "Mapping[str, str]") -> int:
    from phoenix_apparmor import kernelguard, sysctlguard
    from phoenix_apparmor.errors import PhoenixError

    status = 0
    steps: tuple[Callable[[], None], ...] = (
        lambda: sysctlguard.guard(pid, environ.get("LXC_NAME", ""), lines),
        kernelguard.hold,
    )
    for step in steps:
        try:
            step()
        except PhoenixError as error:
            status = status or _tell(error, environ)
    return status


def _lock(pid: int, environ: "Mapping[str, str]", *, is_shown: bool) -> int:
    """is_shown: whether a mount is read-only. Else one may be that is out of sight."""
    from phoenix_apparmor import mountlock
    from phoenix_apparmor.errors import PhoenixError

    status = 0
    steps: tuple[Callable[[], None], ...] = (
        lambda: mountlock.lock(pid, environ),
        lambda: mountlock.check_start_hook(environ.get("LXC_CONFIG_FILE", "")),
    )
    for step in steps:
        try:
            step()
        except PhoenixError as error:
            # a warning for nothing is one that nobody reads when it counts
            if error.status or is_shown or mountlock.may_share(environ):
                status = status or _tell(error, environ)
    return status


def _tell(error: "PhoenixError", environ: "Mapping[str, str]") -> int:
    """The journal, LXC's log and pct say it. Returns the exit status."""
    from phoenix_apparmor import paths
    from phoenix_apparmor.hookscript import write_for_pct
    from phoenix_apparmor.host import ERROR, WARNING, Host

    host, ctid = Host(environ.get("PHOENIX_APPARMOR_ROOT", "")), environ.get("LXC_NAME", "")
    told = error.about(ctid) if paths.is_ctid(ctid) else error
    host.journal(ERROR if error.status else WARNING, " ".join(told.lines()), ctid=told.ctid)
    if told.ctid is not None:
        write_for_pct(host, told.ctid, told)
    try:
        print(told, file=sys.stderr)  # LXC shows it in its own log only
    except (OSError, ValueError):
        return error.status  # that log takes nothing
    return error.status


def mounts(mountinfo: bytes) -> "list[Line]":
    """The lines of /proc/PID/mountinfo (proc(5)). Numbers are the kernel's, of that mount alone."""
    found = []
    for line in mountinfo.split(b"\n"):
        words = line.split(b" ")
        if len(words) > 6:
            kind = words[words.index(b"-", 6) + 1]
            is_ro = b"ro" in words[5].split(b",")
            names = (words[2], _plain(words[3]), _plain(words[4]))
            found.append((int(words[0]), int(words[1]), *names, is_ro, kind))
    return found


def needs_lock(lines: "Sequence[Line]", hosts: "Collection[bytes]" = ()) -> bool:
    """Whether a mount is read-only, or one may be that mountinfo does not list now."""
    own = own_devices(lines, hosts)
    return any(is_locked_or_hides(line, own) for line in lines)


def is_to_be_read_only(
    lines: "Sequence[Line]", hosts: "Collection[bytes]", environ: "Mapping[str, str]"
) -> bool:
    """Whether the configuration mounts something read-only where others may have kept it from being
    so (mountwanted.py): there is a file system that they may have too.
    """
    own = own_devices(lines, hosts)
    if all(line[4] == b"/" or line[6] in FIXED or line[2] in own for line in lines):
        return False
    config = environ.get("LXC_CONFIG_FILE", "")
    if not config:
        return False
    try:
        with open(config, "rb") as file:
            text = file.read()
    except OSError:
        return True  # nobody can know
    if not any(map(_may_mount_read_only, text.split(b"\n"))):
        return False
    from phoenix_apparmor import mountlines

    wanted = mountlines.of(environ)
    return bool(wanted.lines or wanted.unread)


def _may_mount_read_only(line: bytes) -> bool:
    """Whether this line of LXC's configuration, or a file that it names, may say so."""
    key, _, value = line.strip().partition(b"=")
    if key.rstrip() == b"lxc.include":
        is_lxcs = value.strip().startswith(LXCS) and value.endswith(STANDARD)
        return not is_lxcs or b".." in value
    if key.rstrip() == b"lxc.mount.entry":
        return b"ro" in value
    return key.rstrip() in (b"lxc.mount.fstab", b"lxc.mount")


def own_devices(lines: "Sequence[Line]", hosts: "Collection[bytes]" = ()) -> set[bytes]:
    """Of file systems in memory that are mounted as a whole, as LXC's /dev is; not the host's."""
    return {line[2] for line in lines if _is_whole(line)}.difference(hosts)


def hosts_devices(lines: "Sequence[Line]") -> set[bytes]:
    """Those that may be the host's: only looked at where one is mounted beside LXC's /dev."""
    others = {line[2] for line in lines if _is_whole(line) and line[4] != b"/dev"}
    if not others:
        return others
    try:
        with open("/proc/1/mountinfo", "rb") as file:
            return {line[2] for line in mounts(file.read())} & others
    except OSError:
        return others


def _is_whole(line: "Line") -> bool:
    return line[6] == b"tmpfs" and line[3] == b"/"


def is_locked_or_hides(line: "Line", own: "Collection[bytes]") -> bool:
    """Whether it has to be locked, or a mount in it may be out of sight.

    The kernel does not list a mount in a bound folder while somebody else who has the folder
    above has moved its place out of that folder (fs/d_path.c, prepend_path: "Escaped?").

    Not the root, in whose place nothing can be put.
    """
    _, _, device, root, place, is_ro, kind = line
    if place == b"/" or is_kernels(line, own):
        return False
    return is_ro or (root != b"/" and kind not in FIXED and device not in own)


def is_kernels(line: "Line", own: "Collection[bytes]") -> bool:
    """Whether it belongs to /proc and /sys: inits and Docker remount what is read-only of these."""
    _, _, device, _, place, _, kind = line
    return (place + b"/").startswith(KERNELS_PLACES) and (kind in KERNELS or device in own)


def _plain(word: bytes) -> bytes:
    r"""A name as it is: blanks, newlines and backslashes are \040, \011, \012 and \134 there."""
    first, *rest = word.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
