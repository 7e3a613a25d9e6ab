"""No chain of steps leads out: a search for them finds nothing under our profiles, in seconds.

What it finds where a profile lacks one of its lines shows that it would. The long search, with more
columns, is tests/bench/chains.py.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.build import TREE
from tests.names import BASE
from tests.vm.attacks.chains import push, search, start
from tests.vm.attacks.columns import COLUMNS, MOUNTS, Column
from tests.vm.attacks.started import assign
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import write_policy
from tests.vm.harness.suites import USER_MODE

# AppArmor 4.1 and 3.0, which compiles some rules into more than they say.
ONLY_SUITES = (USER_MODE, "bookworm")
OURS = [column for column in COLUMNS if column.ours]
STEPS = 3000
# Until it has come to all of the second step.
UNTIL_FOUND = 8000

# Host options and processes; and what the kernel runs as root of the host, or takes orders from.
# (Its SysRq keys are not in: runc binds their file, so root can too; SECURITY.md says so.)
GRAVE = ("superblock", "process", "fusectl", "configfs", "devtmpfs", "binfmt_misc")
RUN = (
    "core_pattern",
    "modprobe",
    "poweroff_cmd",
    "uevent_helper",
    "release_agent",
)


class Weaker(NamedTuple):
    """The base profile without lines that begin so and with a rule more, and what then is found."""

    without: str
    more: str
    kind: str


# As release 1.0.0 was, in part.
WEAKER = {
    "proc-anywhere": Weaker(
        "audit deny mount fstype=proc ",
        "mount fstype=proc -> /run/credentials/{,**},",
        "proc",
    ),
    "parts-bound": Weaker(
        "audit deny mount options=(rw,bind) /{,run/systemd/{mount-rootfs,unit-root}/}{proc,sys}",
        "mount options=(rw,bind) /proc/{,**} -> /mnt/{,**},",
        "proc",
    ),
    # (Found without the rule too: this container is not ours, so nothing locked the share, and
    # one-root-mounts lets a bind in /proc or a unit's root be remounted.)
    "share-remounted": Weaker("-", "mount options=(rw,nosuid,remount,bind),", "share"),
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
    assign(vm, OURS)
    return vm


@pytest.mark.parametrize("column", OURS, ids=[column.key for column in OURS])
def test_no_chain_under_our_profiles(searching: Machine, column: Column) -> None:
    start(searching, column)
    done = search(searching, column, "--steps", STEPS, seconds=600)
    print(done.text)
    assert done.tried >= STEPS and done.worked > 100
    # Left on AppArmor 3.0 under docker (SECURITY.md): FUSE's control files in other places.
    left = "fusectl" if vm_is_old(searching) and column.key == "unprivileged-docker" else ""
    found = [one for one in done.found if one.kind != left]
    if column.key == "privileged-docker" and vm_has_no_btf(searching):
        # There that profile stands alone (SECURITY.md): but not the known ways to root.
        assert [one for one in found if one.kind in GRAVE or one.names(RUN)] == []
    else:
        assert found == []


def vm_is_old(vm: Machine) -> bool:
    return vm.suite == "bookworm"


def vm_has_no_btf(vm: Machine) -> bool:
    return vm.sh("test -e /sys/kernel/btf/vmlinux", check=False).rc != 0


@pytest.mark.suites(USER_MODE)  # that the search finds what is there, once
@pytest.mark.parametrize("weaker", WEAKER)
def test_what_it_would_find(searching: Machine, weaker: str) -> None:
    without, more, kind = WEAKER[weaker]
    name = f"lxc-{weaker}"
    text = flat(BASE).replace(f"profile {BASE}", f"profile {name}")
    lines = [line for line in text.splitlines() if not line.strip().startswith(without)]
    lines.insert(next(at for at, line in enumerate(lines) if line.endswith(" {")) + 1, more)
    write_policy(searching, f"/etc/apparmor.d/{name}", "\n".join(lines) + "\n")
    searching.run("apparmor_parser", "-r", f"/etc/apparmor.d/{name}", timeout=300)
    ctid = 430 + list(WEAKER).index(weaker)
    # (Without it any profile is left by fsmount(2): a move of something without a name.)
    seccomp = "lxc.seccomp.profile: /etc/phoenix-apparmor/privileged-without-bpf.seccomp\n"
    conf = f"lxc.apparmor.profile: {name}\n{seccomp}{MOUNTS}"
    column = Column(ctid, weaker, name, False, None, conf, name)
    start(searching, column)
    done = search(searching, column, "--steps", UNTIL_FOUND, seconds=600)
    print(done.text)
    assert kind in {found.kind for found in done.found}
