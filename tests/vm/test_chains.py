"""No chain of steps leads out: a search for them finds nothing under our profiles, in seconds.

What it finds where a profile lacks one of its lines shows that it would. The long search, with more
columns, is tests/bench/chains.py.
"""

from __future__ import annotations

import pytest

from tests.build import TREE
from tests.vm.attacks.chains import KNOWN, push, search, start
from tests.vm.attacks.columns import COLUMNS, MOUNTS, Column
from tests.vm.containers import assign
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import USER_MODE

# AppArmor 4.1 and 3.0, which compiles some rules into more than they say.
ONLY_SUITES = (USER_MODE, "bookworm")
OURS = [column for column in COLUMNS if column.ours]
STEPS = 3000

# Host options and processes; and what the kernel runs as root of the host, or takes orders from.
GRAVE = ("superblock", "process", "fusectl", "configfs", "devtmpfs", "binfmt_misc")
RUN = (
    "core_pattern",
    "modprobe",
    "poweroff_cmd",
    "uevent_helper",
    "sysrq-trigger",
    "release_agent",
)

# What is taken out of a profile or put in -> the kinds of things that are then found. As 1.0.0 was.
WEAKER = {
    "proc-anywhere": (
        ("  deny mount fstype={proc,sysfs", "# "),
        "  mount fstype=proc -> /run/credentials/{,**},\n",
        {"proc"},
    ),
    "shares": ((), "  mount options=(rw,nosuid,remount,bind),\n", {"share"}),
    "bind-parts": (
        (
            "  deny mount options=(rw,bind) /{,run/systemd/{mount-rootfs,unit-root}/}{proc,sys}/",
            "# ",
        ),
        "  mount options=(rw,bind) /proc/{,**} -> /mnt/{,**},\n",
        {"proc"},
    ),
}


def flat(name: str) -> str:
    """A profile's text with our abstractions in it."""
    lines = []
    for line in (TREE / "profiles" / name).read_text().splitlines(keepends=True):
        part = line.strip().removeprefix("include <abstractions/phoenix/").removesuffix(">")
        path = TREE / "profiles/abstractions/phoenix" / part
        lines.append(path.read_text() if line.strip() != part and path.is_file() else line)
    return "".join(lines)


@pytest.fixture(scope="module")
def searching(vm: Machine) -> Machine:
    push(vm)
    assign(vm, {column.ctid: column.assigned for column in OURS})
    return vm


@pytest.mark.parametrize("column", OURS, ids=[column.key for column in OURS])
def test_no_chain_under_our_profiles(searching: Machine, column: Column) -> None:
    start(searching, column)
    done = search(searching, column, "--steps", STEPS, *KNOWN[column.key], seconds=600)
    print(done.text)
    assert done.tried >= STEPS and done.worked > 100
    if column.key == "privileged-docker":  # no wall (SECURITY.md), but not the known ways to root
        assert [found for found in done.found if found.kind in GRAVE or found.names(RUN)] == []
    else:
        assert done.found == ()


@pytest.mark.parametrize("weaker", WEAKER)
def test_what_it_would_find(searching: Machine, weaker: str) -> None:
    (begin, instead), more, kinds = (
        WEAKER[weaker] if WEAKER[weaker][0] else (("\0", ""), *WEAKER[weaker][1:])
    )
    name = f"lxc-{weaker}"
    text = flat("lxc-nvidia-gpu-base").replace("profile lxc-nvidia-gpu-base", f"profile {name}")
    text = text.replace(begin, instead + begin)
    head, brace, rest = text.partition(" {\n")
    searching.write(f"/etc/apparmor.d/{name}", head + brace + more + rest)
    searching.run("apparmor_parser", "-r", f"/etc/apparmor.d/{name}", timeout=300)
    ctid = 430 + list(WEAKER).index(weaker)
    lines = f"lxc.apparmor.profile: {name}\n{MOUNTS}"
    column = Column(ctid, weaker, name, False, None, lines, name)
    start(searching, column)
    done = search(searching, column, "--steps", STEPS, *KNOWN["privileged-base"], seconds=600)
    print(done.text)
    assert {found.kind for found in done.found} >= kinds
