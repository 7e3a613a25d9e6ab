"""System calls that fail or kill at a chosen place, with strace, and what must hold whatever fails.

Used by test_injected.py (a part of the places) and tests/bench/faults.py (all of them).
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from phoenix_apparmor import lxcconf
from tests.names import BASE
from tests.unit.fakehost import PYTHON, REPO, FakeHost

# Those with which files are read, written, renamed, locked and looked at.
CALLS = (
    "openat,read,write,close,fsync,rename,unlink,newfstatat,fstat,readlink,lstat,stat,mkdir,"
    "getdents64,flock,fchmod,lseek"
)
ERRORS = ("EIO", "ENOSPC", "EACCES", "ENOTCONN", "EINTR")
CONF, RUNTIME = "/etc/pve/lxc/952.conf", "/var/lib/lxc/952/config"
COPY = "/var/lib/phoenix-apparmor/assignments"
OLD = "lxc-old"

Command = Callable[[FakeHost], list[str]]


class Point(NamedTuple):
    """The n-th call of a kind below the host's root."""

    call: str
    number: int


def hook(host: FakeHost) -> list[str]:
    return [host.hook_file("hookscript"), "952", "pre-start"]


def unit(host: FakeHost) -> list[str]:
    return [host.hook_file("unit"), "pre-start", "952"]


def verb(*words: str) -> Command:
    return lambda host: [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), *words]


def maintscript(step: str) -> Command:
    text = (
        "import sys; from phoenix_apparmor.host import Host; "
        "from phoenix_apparmor.package.maintscript import main; "
        "sys.exit(main([sys.argv[1]], Host(sys.argv[2])))"
    )
    return lambda host: [PYTHON, "-c", text, step, str(host.root)]


COMMANDS: dict[str, Command] = {
    "hookscript": hook,
    "unit": unit,
    "apply": verb("apply", "--all"),
    "reload": verb("reload"),
    "attach": verb("attach", "--all"),
    "detach": verb("detach", "--all"),
    "remove": maintscript("remove"),
    "configure": maintscript("configure"),
}


def prepare(host: FakeHost) -> None:
    """Container 952 has another profile than the JSON assigns, 953 a hookscript of ours."""
    host.profile(BASE)
    host.profile(OLD)
    host.kernel({BASE: "enforce", OLD: "enforce"})
    host.json({"952": {"apparmor_profile": BASE}, "953": {"apparmor_profile": BASE}})
    host.conf("952", conf_with(OLD))
    host.conf("953", f"hookscript: local:snippets/phoenix-apparmor.py\n{conf_with(BASE)}")
    host.runtime("952", runtime_with(OLD))
    host.write("/var/lib/vz/snippets/phoenix-apparmor.py", "")


def conf_with(profile: str) -> str:
    return f"arch: amd64\nhostname: ct\nlxc.apparmor.profile: {profile}\n"


def runtime_with(profile: str) -> bytes:
    return f"lxc.idmap = u 0 100000 65536\nlxc.apparmor.profile = {profile}\n".encode()


def prepared() -> bytes:
    """The runtime configuration that a start makes."""
    return lxcconf.with_our_lines(runtime_with(BASE), None, lock=lxcconf.LOCK_SHARES)


def environment(host: FakeHost) -> dict[str, str]:
    return {
        **host.environment,
        "PHOENIX_APPARMOR_ROOT": str(host.root),
        "PYTHONPATH": str(REPO),
    }


def points(host: FakeHost, command: Command) -> list[Point]:
    """All calls that name, or work on a file below, the host's root."""
    log = host.path("/fake/strace")
    log.parent.mkdir(exist_ok=True)
    traced = ["strace", "-y", "-o", str(log), "-e", f"trace={CALLS}", *command(host)]
    subprocess.run(traced, env=environment(host), cwd="/", capture_output=True, check=False)
    counts: dict[str, int] = {}
    found = []
    for line in log.read_text(errors="replace").split("\n"):
        match = re.match(r"(\w+)\(", line)
        if not match:
            continue
        call = match[1]
        counts[call] = counts.get(call, 0) + 1
        if str(host.root) in line and "/fake/" not in line:
            found.append(Point(call, counts[call]))
    return found


def run_with(host: FakeHost, command: Command, point: Point, what: str) -> tuple[int, str]:
    """(exit status, both outputs); what: an error's name, or KILL."""
    action = "signal=KILL" if what == "KILL" else f"error={what}"
    inject = f"inject={point.call}:{action}:when={point.number}"
    quiet = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject]
    done = subprocess.run(
        [*quiet, *command(host)],
        env=environment(host),
        cwd="/",
        capture_output=True,
        check=False,
        timeout=120,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def violations(host: FakeHost, name: str, status: int, said: str) -> Iterator[str]:
    """What must never be, whatever failed."""
    if "Traceback" in said or "error in phoenix-apparmor" in said:
        yield "a traceback"
    conf, runtime = host.read(CONF).decode(), host.read(RUNTIME)
    texts = [conf_with(profile) for profile in (OLD, BASE)]
    if conf.removeprefix("hookscript: local:snippets/phoenix-apparmor.py\n") not in texts:
        yield f"a torn .conf: {conf!r}"
    right = prepared()
    if runtime not in (runtime_with(OLD), right):
        yield f"a torn runtime configuration: {runtime!r}"
    if name in ("hookscript", "unit") and status == 0 and runtime != right:
        yield "a start under less than assigned"
    if name == "apply" and status == 0 and conf != conf_with(BASE):
        yield "exit 0, but .conf is as before"
    attached = b"hookscript: local:snippets/phoenix-apparmor.py" in host.read(
        "/etc/pve/lxc/953.conf"
    )
    if name == "remove" and not attached and b"953 local:" not in detached(host):
        yield "forgot which container had the hookscript"
    if name == "remove" and status == 0 and attached:
        yield "exit 0, but a container still names the hookscript"


def detached(host: FakeHost) -> bytes:
    path = host.path("/var/lib/phoenix-apparmor/detached")
    return path.read_bytes() if path.exists() else b""


def repaired(host: FakeHost) -> Iterator[str]:
    """The next undisturbed start makes all right."""
    done = host.hook("952")
    if done.status != 0:
        yield f"the next start fails: {done.err}"
    elif host.read(RUNTIME) != prepared() or host.read(CONF).decode() != conf_with(BASE):
        yield "the next start does not repair"
    left = [p for p in Path(host.root).rglob("*.phoenix-apparmor.*") if "snippets" not in str(p)]
    if [p for p in left if p.parent.name in ("lxc", "952")]:
        yield f"leftovers: {left}"
