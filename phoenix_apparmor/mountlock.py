"""Locks read-only mounts, so that no root makes them writable: system calls of Linux alone.

Linux locks flags of mounts that it copies for a user namespace (fs/namespace.c, lock_mnt_tree,
can_change_locked_flags): then no root changes them, that of the host included, and each further
copy and bind has the lock too. So a mount namespace in a user namespace, made for a moment, gives
a locked copy of each such mount, which takes the mount's place (mountswap.py).
"""

import contextlib
import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from phoenix_apparmor import lxcconf, mountholder, mountlines, shares
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.mountcalls import read_again
from phoenix_apparmor.mounterrors import AGAIN, KILLED, AdvisedError, NoNamespaceError, killed
from phoenix_apparmor.mountpeers import leave_profile
from phoenix_apparmor.mountswap import Work
from phoenix_apparmor.mountwanted import Wanted

START_HOOK = "lxc.hook.start"
# Exit statuses of the process that does it. The first three: all is mounted as it was, as this
# host makes no user namespaces, as there may be no more of them, for another reason. The last: a
# mount may be missing.
CANNOT, NO_MORE, NOT_LOCKED, LOST = 3, 4, 5, 6
# Between a reason and what helps.
HINT = b"\0"


class _Outcome(NamedTuple):
    """status: of that process, below zero if it was killed. why, hint: what it could not do.

    With status 0, why is what nobody can know.
    """

    status: int
    why: str
    hint: str = AGAIN


def lock(pid: int, environ: Mapping[str, str]) -> None:
    """Locks what is read-only in the mount namespace of a process. environ: see shares.main.

    Raises PhoenixError; its status is 0 where the start may go on: all is mounted as it was, as
    this host's admin lets nothing lock it, or is locked, and more may have to be read-only.
    """
    wanted = mountlines.of(environ)
    try:
        mountinfo = os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        _leave_profile()
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        status, why, hint = _in_worker(mountinfo, namespace, wanted)
    except OSError as error:
        status, why, hint = _Outcome(NOT_LOCKED, str(error))
    if status == CANNOT or (status == NO_MORE and mountholder.forbidding()):
        raise _goes_on(
            why,
            "To have it locked: sysctl -w user.max_user_namespaces=1000"
            if mountholder.forbidding()
            else "",
        )
    if status == NO_MORE:
        raise PhoenixError(
            f"what is shared read-only cannot be locked: {why}. Something uses up this host's "
            "namespaces.",
            hint="See: lsns -t user; sysctl user.max_user_namespaces user.max_mnt_namespaces",
        )
    if status == LOST:
        raise PhoenixError(
            f"what is shared read-only could not be put back after it was locked: {why}.", hint=hint
        )
    if status != 0:
        raise PhoenixError(f"what is shared read-only could not be locked: {why}.", hint=hint)
    _check_directory(pid)
    if why:
        raise PhoenixError(f"nobody can know {why}.", hint=hint, status=0)


def _check_directory(pid: int) -> None:
    """Raises PhoenixError where a process is in a mount that was replaced.

    LXC goes into lxc.init.cwd before it runs lxc.hook.start-host (start.c, do_start). From there
    init would see the mount as it was, without what was mounted read-only in it.
    """
    directory = os.open(f"/proc/{pid}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with open(f"/proc/self/fdinfo/{directory}", "rb") as info:
        (number,) = (int(line.split()[1]) for line in info if line.startswith(b"mnt_id:"))
    os.close(directory)
    with open(f"/proc/{pid}/mountinfo", "rb") as mountinfo:
        listed = {line[0] for line in shares.mounts(mountinfo.read())}
    if number not in listed:
        raise PhoenixError(
            "its lxc.init.cwd is in a folder that is shared with it, and from there what is "
            "read-only in that could be written to.",
            hint="Take lxc.init.cwd away, and let the program of lxc.init.cmd go there: "
            "cd FOLDER && exec PROGRAM",
        )


def check_start_hook(config: str) -> None:
    """Raises PhoenixError, status 0, where a program of the container ran before this.

    LXC runs lxc.hook.start in the container before lxc.hook.start-host (start.c, do_start and
    lxc_spawn). config: path of the runtime configuration.
    """
    from phoenix_apparmor import lxcfiles, lxcsettings
    from phoenix_apparmor.host import Host

    with contextlib.suppress(OSError), open(config, "rb") as file:
        own = lxcsettings.as_lxc_takes(lxcconf.settings_of_others(file.read()))
        if lxcsettings.of_key(lxcfiles.look(Host(), own).settings, START_HOOK):
            raise PhoenixError(
                "what is shared read-only was locked after its lxc.hook.start, a program of the "
                "container, which could make it writable.",
                hint="Let the container's own init run that program.",
                status=0,
            )


def may_share(environ: Mapping[str, str]) -> bool:
    """Whether the container's configuration mounts something read-only, or nobody can know.

    environ: see shares.main.
    """
    from phoenix_apparmor import containers, paths
    from phoenix_apparmor.host import Host

    host, ctid = Host(environ.get("PHOENIX_APPARMOR_ROOT", "")), environ.get("LXC_NAME", "")
    if not paths.is_ctid(ctid):
        return True
    try:
        place = paths.conf(ctid)
        text = host.read(place, containers.BIGGEST_CONF)
        conf = containers.with_files(host, containers.Conf(ctid, place, text))
    except (OSError, PhoenixError):
        return True
    return conf.shares_read_only or not conf.is_whole


def _leave_profile() -> None:
    """lxc-start's profile has no rule for the mounts here, and one to leave it.

    Raises PhoenixError where a site's has none: a mount would be lost halfway.
    """
    label = leave_profile()
    if label not in (b"", b"unconfined"):
        raise _goes_on(f"this hook runs under {label.decode('ascii', 'replace')}", "")


def _goes_on(why: str, hint: str) -> PhoenixError:
    """What is said where all is mounted as it was."""
    return PhoenixError(
        f"what is shared read-only is not locked, so root inside may make it writable: {why}.",
        hint=hint,
        status=0,
    )


def _in_worker(mountinfo: int, namespace: int, wanted: Wanted) -> _Outcome:
    """How a process that does it ended.

    This one stays among the host's files: what Python reads of its own, a module or an encoding,
    would be the container's in the other. Nor is anything forked there: that reads /proc.
    """
    hosts = shares.hosts_devices(shares.mounts(read_again(mountinfo)))
    output, report = os.pipe()
    worker = os.fork()
    if worker == 0:
        status = NOT_LOCKED
        try:
            status, said = _worked(mountinfo, namespace, hosts, wanted)
            os.write(report, said)
        finally:
            os._exit(status)
    os.close(report)
    said = b""
    while part := os.read(output, 4096):
        said += part
    os.close(output)
    _, ended = os.waitpid(worker, 0)
    status = os.waitstatus_to_exitcode(ended)
    if status < 0:
        return _Outcome(status, killed(status), KILLED)
    why, _, hint = (said or b"the process that does it cannot say why").partition(HINT)
    return _Outcome(status, why.decode("utf-8", "replace"), hint.decode("utf-8", "replace"))


def _worked(
    mountinfo: int, namespace: int, hosts: Collection[bytes], wanted: Wanted
) -> tuple[int, bytes]:
    """(exit status, what to say)."""
    work = None
    hint, status = AGAIN, NOT_LOCKED
    try:
        work = Work(mountinfo, namespace, hosts, wanted)
        unknown = work.all()
        return 0, HINT.join(part.encode("utf-8", "backslashreplace") for part in unknown)
    except NoNamespaceError as error:
        status = NO_MORE if error.used_up else CANNOT if error.forbidden else NOT_LOCKED
        why = str(error)
    except AdvisedError as error:
        why, hint = str(error), error.hint
    except BaseException as error:  # noqa: BLE001  (nothing may go on from here)
        why = str(error) or type(error).__name__
    said = why.encode("utf-8", "backslashreplace") + HINT + hint.encode("utf-8")
    return LOST if work is not None and work.changed else status, said
