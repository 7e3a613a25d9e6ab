"""The quick answer after a container's start: does its init run under what is assigned?

As settled.py before the start: only what has no imports of its own, and no to everything that is
not sure. init_process.verify then finds out what it is; it alone decides.
"""

import posix

from phoenix_apparmor import kernel, labels, lastgood, lxcconf, notes, paths, settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_apparmor.reader import Reader

# How long the init may take to be there; verify waits for longer.
SECONDS = 3.0
LONGEST_ANSWER = 4096


def is_confined(host: "Reader", ctid: str, monitor: str) -> bool:
    """Whether the container's init is there, and verify would find nothing wrong with it.

    monitor: lxc-start's process id, "" if that is not known.
    """
    try:
        return _is_confined(host, ctid, monitor)
    except (OSError, ValueError):
        return False


def _is_confined(host: "Reader", ctid: str, monitor: str) -> bool:
    copy = settled.current_copy(host)
    if copy is None or not monitor.isdecimal():
        return False
    line = lastgood.line_of(copy, ctid)
    if line is None:
        return True
    name, *words = line.split(" ")
    if name == "?" or "!" in words:
        return False
    trial, rules = "trial" in words, "rules" in words
    names: tuple[str, ...] = ()
    if name not in paths.NO_LINE:
        names = lxcconf.variants(name, ctid, trial=trial, rules=rules)
    pid = _init(host, monitor)
    label = kernel.label_of(host, pid) if pid else None
    if not pid or label is None or not labels.fits_names(label, names, ctid, trial=trial):
        return False
    return not names or _has_all_else(host, ctid, name, pid, label)


def _has_all_else(host: "Reader", ctid: str, name: str, pid: int, label: str) -> bool:
    """Whether neither nesting nor another seccomp policy makes less of its profile.

    And lxc-start has read what was added: else nobody has run our hook.
    """
    if not notes.is_there(host, paths.was_read(ctid)):
        return False
    runtime = host.read(paths.runtime(ctid))
    profile = host.read(f"{paths.APPARMOR_D}/{name}")
    if b"\nprofile " + name.encode() + b" " not in profile:
        return False
    stacked = f"//&:{lxcconf.namespace_of(ctid)}:" in label
    if not stacked and lxcconf.has_foreign_include(runtime):
        return False
    privileged = kernel.is_privileged(host, pid)
    if not privileged:
        return privileged is False
    policy = paths.seccomp_policy(profile)
    if not policy or lxcconf.has_seccomp(runtime):
        return True
    return kernel.seccomp_mode(host, pid) == 2 and _read_by_lxc(ctid) == policy.encode()


def _init(host: "Reader", monitor: str) -> int | None:
    """The process id of the container's init, when it is no longer lxc-start."""
    import time

    until, pause = time.monotonic() + SECONDS, 0.05
    while True:
        for child in host.read(f"/proc/{monitor}/task/{monitor}/children").split():
            if _is_init(host, int(child)):
                return int(child)
        if time.monotonic() + pause >= until:
            return None
        time.sleep(pause)
        pause *= 1.5


def _is_init(host: "Reader", pid: int) -> bool:
    """Whether it is the first process of a process namespace, and executes no lxc-start.

    Hooks are children of lxc-start, too. Where the container has no such namespace, verify asks
    LXC which is its init.
    """
    # asked before the label: an exec between the two would pass lxc-start's for init's
    if kernel.is_lxcs_own(host, pid) is not False:
        return False
    try:
        lines = host.read(f"/proc/{pid}/status").split(b"\n")
    except OSError:
        return False
    # its numbers in the namespaces from ours to its own (proc(5))
    return b"NSpid:\t%d\t1" % pid in lines


def _read_by_lxc(ctid: str) -> bytes:
    """The seccomp policy that LXC read, as lxc-info says it; b"": it does not.

    Without commands.run, whose imports cost more than all else here. There is no time limit: who
    calls this has one.
    """
    command = ["lxc-info", "-n", ctid, "-H", "-c", "lxc.seccomp.profile"]
    end, begin = posix.pipe()
    try:
        started = posix.posix_spawnp(
            command[0],
            command,
            {**posix.environ, b"LC_ALL": b"C"},
            file_actions=[
                (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
                (posix.POSIX_SPAWN_DUP2, begin, 1),
                (posix.POSIX_SPAWN_OPEN, 2, "/dev/null", posix.O_WRONLY, 0),
            ],
        )
    finally:
        posix.close(begin)
    said = b""
    try:
        while len(said) <= LONGEST_ANSWER and (part := posix.read(end, LONGEST_ANSWER)):
            said += part
    finally:
        posix.close(end)
    status = posix.waitpid(started, 0)[1]
    return said.strip().rpartition(b" = ")[2] if status == 0 else b""
