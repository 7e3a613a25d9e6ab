"""lock-shares while a system call of it fails or kills, with strace; and what must hold then.

A program of its own, for a namespace of mounts and of processes: makes for each fault a container's
mounts, runs the hook on them and looks at what became of them.

    unshare -m --pid --fork --mount-proc PYTHON share_faults.py REPO FOLDER points
    unshare -m --pid --fork --mount-proc PYTHON share_faults.py REPO FOLDER run CALL:NUMBER:WHAT...

points: prints "CALL NUMBER" for each call that the hook makes. run: prints "CALL:NUMBER:WHAT
OUTCOME", and a tab and a problem for each. NUMBER+: that one and all later.
"""

import os
import re
import subprocess
import sys
import time

REPO, FOLDER = sys.argv[1:3]
CALLS = (
    "openat,open_tree,move_mount,mount_setattr,umount2,mount,statx,read,write,lseek,close,pipe2,"
    "clone,fork,vfork,clone3,wait4,fchdir,setns,unshare,setresuid,getrandom,newfstatat"
)
# As hooks/lock-shares, of this tree. LOCK=off: the control. PATIENCE: where a fault lasts.
HOOK = """
import os, sys
sys.path.append(sys.argv[1])
if "PATIENCE" in os.environ:
    from phoenix_apparmor import mountswap
    mountswap.PATIENCE = float(os.environ["PATIENCE"])
if os.environ.get("LOCK") == "off":
    from phoenix_apparmor import mountlock
    mountlock.lock = lambda *_: None
from phoenix_apparmor.shares import main
sys.exit(main(os.environ))
"""
MOUNTS = r"""
cd "$1" && mkdir -p sec w/sub/in sec/low
mount -t tmpfs none ct && cd ct && mkdir a b d
mount --bind ../sec a && mount -t tmpfs none a/low && touch a/low/x
mount -o remount,bind,ro a/low && mount -o remount,bind,ro a
mount --bind ../w b && mount --bind ../sec b/sub/in && mount -o remount,bind,ro b/sub/in
mount --bind ../sec d && mount -o remount,bind,ro d
"""
SHARES = ("a", "a/low", "b/sub/in", "d")


def container() -> "subprocess.Popen[bytes]":
    """A process in a mount namespace as LXC makes one."""
    script = MOUNTS + "echo ready; exec sleep 1000"
    command = ["unshare", "-m", "sh", "-ec", script, "sh", FOLDER]
    init = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert init.stdout is not None
    assert init.stdout.readline() == b"ready\n"
    return init


def hook(pid: int, *strace: str) -> "subprocess.CompletedProcess[bytes]":
    environ = {
        "LXC_PID": str(pid),
        "LXC_NAME": "952",
        "LXC_CONFIG_FILE": "/nothing",
        "PHOENIX_APPARMOR_ROOT": FOLDER,
        **{name: os.environ[name] for name in ("PATH", "LOCK", "PATIENCE") if name in os.environ},
    }
    command = [*strace, sys.executable, "-BIS", "-c", HOOK, REPO]
    return subprocess.run(command, env=environ, capture_output=True, check=False, timeout=60)


def points() -> set[tuple[str, int]]:
    """Each process of it has a count of its own, which is what strace counts too."""
    init = container()
    log = f"{FOLDER}/log"
    done = hook(init.pid, "strace", "-f", "-qq", "-o", log, "-e", f"trace={CALLS}")
    assert done.returncode == 0, done.stderr
    init.kill()
    init.wait()
    counts: dict[tuple[str, str], int] = {}
    found = set()
    main, begun = "", False
    with open(log, errors="replace") as file:
        for line in file:
            match = re.match(r"(\d+) +(\w+)\(", line)
            if not match or ("<unfinished" in line and "resumed" in line):
                continue
            pid, call = match.groups()
            main = main or pid
            counts[pid, call] = counts.get((pid, call), 0) + 1
            begun = begun or f'"/proc/{init.pid}/mountinfo"' in line
            if pid != main or begun:
                found.add((call, counts[pid, call]))
    return found


def state(pid: int) -> str:
    """locked, or which of the shares are missing and which can be made writable."""
    output, report = os.pipe()
    child = os.fork()
    if child == 0:
        said = "?"
        try:
            said = _state(pid)
        except BaseException as error:  # noqa: BLE001  (it is what is said)
            said = f"? {error!r}"
        finally:
            os.write(report, said.encode())
            os._exit(0)
    os.close(report)
    with os.fdopen(output) as file:
        said = file.read()
    os.waitpid(child, 0)
    return said


def _state(pid: int) -> str:
    sys.path.insert(0, REPO)
    from phoenix_apparmor.mountcalls import Linux
    from phoenix_apparmor.mounttree import Tree

    linux = Linux(os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY))
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        listed = {mount.place: mount for mount in Tree(file.read()).mounts}
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    linux.setns(namespace)
    found = []
    for share in SHARES:
        place = f"{FOLDER}/ct/{share}"
        if place.encode() not in listed:
            found.append(f"{share} is missing")
        elif not linux.is_locked(os.open(place, os.O_PATH)):
            found.append(f"{share} is not locked")
    return ", ".join(found) or "locked"


def left(known: set[str]) -> str:
    """Processes that are still there after a while."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        found = processes() - known
        if not found:
            return ""
        time.sleep(0.02)
    return ", ".join(sorted(found))


def processes() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdigit()}


def mounts() -> int:
    with open("/proc/self/mountinfo", "rb") as file:
        return len(file.read().split(b"\n"))


def tried(point: str) -> str:
    call, number, what = point.split(":")
    action = "signal=KILL" if what == "KILL" else f"error={what}"
    before = mounts()
    init = container()
    known = processes()
    inject = f"inject={call}:{action}:when={number}"
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
    warnings = f"{FOLDER}/run/pve/ct-952.warnings"
    with open(warnings, "w"):
        pass
    problems = []
    done = hook(init.pid, *strace)  # a timeout ends it all
    rc, said = done.returncode, done.stderr.decode("utf-8", "replace")
    rest = left(known)
    if rest:
        problems.append(f"processes are left: {rest}")
    found = state(init.pid)
    with open(warnings) as file:
        told = file.read()
    if rc == 0 and found != "locked" and not told:
        problems.append(f"it starts, but {found}")
    if rc == 0 and "missing" in found:
        problems.append(f"it starts, but {found}")
    if what != "KILL" and rc and not said.strip():
        problems.append("refused without a word")
    if rc and "Traceback" in said and "/phoenix_apparmor/" in said:  # else it is Python's start
        problems.append("a traceback: " + said.strip().split("\n")[-1])
    if re.search(r"locked: *\.|: \.", told):
        problems.append(f"an empty reason: {told!r}")
    files = set(os.listdir(FOLDER)) - {"sec", "w", "ct", "run", "log"}
    if files:
        problems.append(f"files are left: {files}")
    init.kill()
    init.wait()
    if mounts() != before:
        problems.append("mounts are left")
    outcome = "refused" if rc else "locked" if found == "locked" else f"warned, {found}"
    if "SAY" in os.environ:
        outcome += f" [{told.strip() or said.strip()[-200:]!r}]"
    return "\t".join([f"{point} {outcome}", *problems])


def main() -> None:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    os.makedirs(f"{FOLDER}/run/pve", exist_ok=True)
    os.makedirs(f"{FOLDER}/ct", exist_ok=True)
    if sys.argv[3] == "points":
        for call, number in sorted(points()):
            print(call, number)
        return
    for point in sys.argv[4:]:
        print(tried(point), flush=True)


main()
