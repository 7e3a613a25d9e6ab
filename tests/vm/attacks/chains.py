"""The search for chains (search/main.c): built here, run as root in a container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.vm.attacks import program, started
from tests.vm.attacks.columns import Column
from tests.vm.harness import cache
from tests.vm.harness.image import command
from tests.vm.harness.machine import Machine

SOURCES = Path(__file__).parent / "search"
# What an admin shares read-only has a file that anybody may write, but for the mount.
SHARE = (
    "mkdir -p -m 1777 /var/lib/attack-ro; touch /var/lib/attack-ro/probe; "
    "chmod 1777 /var/lib/attack-ro; chmod 666 /var/lib/attack-ro/probe; "
)
# Every Proxmox host has FUSE file systems (lxcfs, pmxcfs), and LXC shows containers fusectl.
FUSE = (
    "modprobe fuse; findmnt /sys/fs/fuse/connections >/dev/null || "
    "mount -t fusectl fusectl /sys/fs/fuse/connections; mkdir -p /run/attack-fuse; "
    "mountpoint -q /run/attack-fuse || python3 -c '\nimport ctypes, os, time\n"
    'fd = os.open("/dev/fuse", os.O_RDWR)\n'
    'more = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd\n'
    'if ctypes.CDLL(None).mount(b"attack", b"/run/attack-fuse", b"fuse", 0, more): os.abort()\n'
    "if os.fork() == 0: os.setsid(); time.sleep(10**6)' </dev/null >/dev/null 2>&1; "
    "ls /sys/fs/fuse/connections/*/abort; "
)
QUIET = (
    # What it is refused is nobody's news, and costs an emulated machine much. (Not quiet: that
    # makes complain mode refuse, as aa_audit in security/apparmor/audit.c returns the error then.)
    "printf quiet_denied >/sys/module/apparmor/parameters/audit"
)
TOTAL = re.compile(
    r"^# tried (\d+), worked (\d+), refused (\d+), .* states (\d+), found (\d+), .* (\d+) s$",
    re.MULTILINE,
)
FOUND = re.compile(r"^# FOUND ([\w-]+): (.*) \((\d+) steps, severe: (\d)\)$", re.MULTILINE)


class Found(NamedTuple):
    """A chain: what of the host it gives (proc, share, superblock …), in how many steps."""

    kind: str
    what: str
    steps: int
    severe: bool

    def names(self, words: tuple[str, ...]) -> bool:
        """Whether one of the words is in what it is."""
        return any(word in self.what for word in words)


class Search(NamedTuple):
    """What a search did: steps tried, how many worked, different states, seconds, and findings."""

    tried: int
    worked: int
    states: int
    seconds: int
    found: tuple[Found, ...]
    text: str


def binary() -> Path:
    """The compiled program, static: it runs in any container."""

    def make(folder: Path) -> None:
        sources = sorted(str(path) for path in SOURCES.glob("*.c"))
        flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-static")
        command("gcc", *flags, "-o", str(folder / "search"), *sources)

    return cache.entry("search", cache.digest(SOURCES), make) / "search"


def push(vm: Machine) -> None:
    """Puts the program onto the host, and what it looks for."""
    program.push(vm)
    vm.push(binary(), "/root/search")
    vm.sh(SHARE + FUSE + QUIET)


def start(vm: Machine, column: Column) -> None:
    """A running container of the column, with the program at /search."""
    started.start(vm, column, f"cp /root/search /var/lib/standin/{column.ctid}/upper/search")


def search(vm: Machine, column: Column, *options: str | int, seconds: float) -> Search:
    """Searches in a container of the column that runs; options: of the program."""
    told = vm.run(
        "lxc-attach", "-n", str(column.ctid), "--clear-env", "--", "/search",
        *map(str, options), timeout=seconds,
    )  # fmt: skip
    total = TOTAL.search(told.stdout)
    assert total, told.output
    found = tuple(
        Found(kind, what, int(steps), severe == "1")
        for kind, what, steps, severe in FOUND.findall(told.stdout)
    )
    tried, worked, _, states, _, took = map(int, total.groups())
    return Search(tried, worked, states, took, found, told.stdout)
