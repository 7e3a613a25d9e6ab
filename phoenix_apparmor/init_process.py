"""A container's init as it runs: is it confined as its container is assigned?

Asked after each start (verify), and by status and doctor for what runs already (shortfall).
"""

import time
from typing import NamedTuple

from phoenix_apparmor import kernel, labels, lxcconf, notes, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files

LXC_INFO_SECONDS = 30
# How long a container's init may take to come under its label, after lxc-start was started.
INIT_SECONDS = 15
# What a unit's ExecStartPre= has of ours (hooks/pve-container.conf).
STEP = b"/usr/libexec/phoenix-apparmor/unit pre-start"
# Exit status where nothing at all confines a container that was started.
UNCONFINED = 3


def init_pid(host: Host, ctid: str, *, timeout: float = LXC_INFO_SECONDS) -> int | None:
    """Process id of the container's init as the host sees it; None if it does not run."""
    ran = host.run(["lxc-info", "-n", ctid, "-p", "-H"], timeout=timeout)
    out = ran.out.strip()
    return int(out) if ran.status == 0 and out.isdigit() else None


class Shortfall(NamedTuple):
    """In what a running container is not as a start would make it today.

    weaker: whether it runs under less than is assigned, not only without a convenience.
    """

    what: str
    weaker: bool


def shortfall(
    host: Host, ctid: str, assignment: Assignment, pid: int, label: str
) -> Shortfall | None:
    """Compares what runs with what is assigned; None: nothing is missing, as far as one sees.

    The label of the init, its seccomp mode, and what LXC itself says that it read.
    """
    if not labels.fits(label, assignment, ctid):
        return Shortfall(f'runs under "{label}", but {assignment.name} is assigned', weaker=True)
    if assignment.profile is None:
        return None
    try:
        file = files.find(host, assignment.profile)
        runtime = host.read_if_there(paths.runtime(ctid)) or b""
        possible = host.exists(paths.NAMESPACES)
    except (PhoenixError, OSError):
        file, runtime, possible = None, b"", False  # said by who prepares the next start
    stacked = f"//&:{lxcconf.namespace_of(ctid)}:" in label
    privileged = kernel.is_privileged(host, pid)
    # Of one that was written anew after lxc-start had read it (pct set) nothing can be learnt.
    is_as_read = lxcconf.BEGIN in runtime or not notes.is_of(host, paths.was_read(ctid), pid)
    if is_as_read and not stacked and _has_nesting(host, ctid, runtime):
        return Shortfall("runs with allow_nesting, which an included file sets", weaker=True)
    if file is not None and privileged and file.seccomp:
        return _without_seccomp(host, ctid, pid, runtime, file.seccomp if is_as_read else "")
    namespace = file is not None and file.wants_namespace and assignment.policy_namespace
    if namespace and possible and privileged is False and not stacked:
        return Shortfall("runs without its policy namespace", weaker=False)
    return None


def _has_nesting(host: Host, ctid: str, runtime: bytes) -> bool:
    """Whether LXC read allow_nesting in an included file."""
    if not lxcconf.has_foreign_include(runtime):
        return False
    own = any(key == lxcconf.NESTING_KEY for key, _ in lxcconf.settings_of_others(runtime))
    return not own and read_by_lxc(host, ctid, "lxc.apparmor.allow_nesting") == "1"


def _without_seccomp(
    host: Host, ctid: str, pid: int, runtime: bytes, wanted: str
) -> Shortfall | None:
    """wanted: "" where only whether there is one can be known."""
    if lxcconf.has_seccomp(runtime):
        return None  # the admin's choice
    if kernel.seccomp_mode(host, pid) == 0:
        return Shortfall("runs without a seccomp policy, which its profile asks for", weaker=True)
    if not wanted:
        return None
    policy = read_by_lxc(host, ctid, "lxc.seccomp.profile")
    if policy is None or not policy.startswith("/") or policy == wanted:
        return None
    return Shortfall(
        f"runs under the seccomp policy {policy}, its profile asks for {wanted}",
        weaker=True,
    )


def read_by_lxc(host: Host, ctid: str, key: str) -> str | None:
    """What LXC reads for a setting of a container; None if it does not say.

    lxc-info reads the runtime configuration as it is now, with all that it includes
    (lxc_info.c, get_config_item; seen on LXC 5 and 6: after pct set it says what that wrote).
    """
    command = ["lxc-info", "-n", ctid, "-H", "-c", key]
    try:
        ran = host.run(command, timeout=LXC_INFO_SECONDS)
    except PhoenixError:
        return None
    value = ran.out.decode("utf-8", "replace").strip().rpartition(" = ")[2]
    return value if ran.status == 0 and value else None


def verify(
    host: Host, ctid: str, *, wait: float = 0, monitor: str = "", begun: bool = False
) -> bool:
    """After the start: does the container run under what is assigned? PhoenixError if not.

    wait: seconds to give its init to come (the unit's step begins right after lxc-start).
    monitor: lxc-start's process id; without that process no init comes. begun: whether this start
    went through the unit's step before it. False: its init has not come yet.
    """
    assignment, _ = lookup.assignment_of(host, ctid)
    if assignment is None or not assignment.name:
        return True
    init = _init(host, ctid, time.monotonic() + wait, monitor)
    if init is None:
        return not is_starting(host, monitor)
    pid, label = init
    note = paths.was_read(ctid)
    is_noted = not begun or assignment.profile is None or notes.is_there(host, note)
    if not is_noted and labels.fits(label, assignment, ctid) and notes.can_be_made(host, note):
        raise _not_read(ctid)
    found = shortfall(host, ctid, assignment, pid, label)
    if found is not None and found.weaker:
        raise PhoenixError(
            f"{found.what}.",
            hint=f"Stop it, then see: phoenix-apparmor doctor; pct start {ctid}",
            ctid=ctid,
            status=UNCONFINED if labels.is_weak(label) else 1,
        )
    if not is_noted:
        raise PhoenixError(
            f"{paths.LOCKS} cannot be written: whether what its host shares read-only was locked "
            "cannot be known.",
            hint=f"See why: ls -ld {paths.LOCKS}; df -i /run; then: pct reboot {ctid}",
            ctid=ctid,
        )
    return True


def is_starting(host: Host, monitor: str) -> bool:
    """Whether lxc-start, or what the unit runs in its place, is there; False if that is unknown."""
    return monitor.isdigit() and host.exists(f"/proc/{monitor}")


def kill(host: Host, ctid: str) -> None:
    """Ends a container at once: it has been started without what confines it.

    systemd would ask it first, and wait for minutes. Raises PhoenixError without LXC's program.
    """
    host.run(["lxc-stop", "-n", ctid, "-k"], timeout=LXC_INFO_SECONDS)


def went_through_us(host: Host) -> bool | None:
    """Whether the unit of this process has our step before its start; None: nobody can tell.

    An admin may empty ExecStartPre= for one container. Asked where the note that this step leaves
    (paths.begun) is not there, as where /run cannot be written.
    """
    try:
        words = host.read("/proc/self/cgroup").decode("utf-8", "replace").split()
        folders = [folder for word in words for folder in word.split("/")]
        units = [x for x in folders if x.startswith("pve-container") and x.endswith(".service")]
        if not units:
            return None
        ran = host.run(["systemctl", "show", "-p", "ExecStartPre", "--", units[-1]], timeout=5)
    except (PhoenixError, OSError):
        return None
    return STEP in ran.out if ran.status == 0 else None


def _not_read(ctid: str) -> PhoenixError:
    """Where lxc-start has not read what was added before the start.

    A reboot from inside and systemctl take no lock of Proxmox', so pct set may write the runtime
    configuration anew between our step and lxc-start's.
    """
    return PhoenixError(
        "its configuration was written anew while it started (by pct set?): what its host shares "
        "read-only is not locked.",
        hint=f"Start it again: pct start {ctid}",
        ctid=ctid,
        status=UNCONFINED,
    )


def _init(host: Host, ctid: str, until: float, monitor: str) -> tuple[int, str] | None:
    """(pid, label) of the container's init; None if it is not there until then.

    LXC changes the label at the exec of init: what is still lxc-start, under its own profile or
    none, says nothing yet. Where it cannot be known what it executes, that is so until the end of
    the wait, and then the label is judged: not to look would let anything run.
    """
    pause = 0.05
    while True:
        unsure: tuple[int, str] | None = None
        pid = init_pid(host, ctid)
        if pid is not None:
            # Asked before the label: an exec between the two would pass lxc-start's for init's.
            is_lxcs_own = kernel.is_lxcs_own(host, pid)
            label = kernel.label_of(host, pid)
            if label is not None and is_lxcs_own is False:
                return pid, label
            if label is not None and is_lxcs_own is None:
                unsure = pid, label
        ended = monitor.isdigit() and not host.exists(f"/proc/{monitor}")
        if ended or time.monotonic() + pause >= until:
            return unsure
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)
