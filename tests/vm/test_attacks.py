"""No way out: root inside tries everything in attacks/, under our profiles and under others."""

from __future__ import annotations

import os

import pytest

from tests.vm.attacks import table
from tests.vm.attacks.columns import (
    ALL,
    ALONE,
    ALONE_BASE,
    BARE,
    COLUMNS,
    COMPARED,
    TRIALS,
    Column,
)
from tests.vm.attacks.program import (
    ALL_ROWS,
    SET,
    SETTINGS,
    UNSET,
    push,
    results,
    row_names,
    without,
)
from tests.vm.attacks.started import assign, start
from tests.vm.containers import pct
from tests.vm.harness import cache
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import EMULATED, SUITES

OURS = [column for column in (*COLUMNS, *TRIALS) if column.ours]
# What depends on our package; the others are as they were measured, if the attacks and the kernel
# still are the same. (PHOENIX_TEST_COLUMNS=all: all of them, also those only to compare with.)
DEPENDENT = (*OURS, ALONE_BASE, ALONE)
# A suite needs a measured-SUITE.tsv, and its release in table.RELEASE.
ONLY_SUITES = EMULATED

# Rows that harm nowhere, also with no lock at all, and why.
NOWHERE = {
    "proc-hardlink": "Linux links only within one mount",
    "proc-overlay": "Linux takes no /proc as a layer",
    "proc-userns": "the proc of a user namespace owns nothing of the host's",
    "sys-uevent-helper": "not in Debian's kernels",
    "sys-mount-var": "the same",
    "sys-detached-helper": "the same",
    "efivarfs": "this machine has no EFI",
    "port": "not in Debian's kernels",
    "lxc-nesting-proc": "generated with nesting denies it at this path: bound it is not denied",
    "lxc-nesting-trigger": "the same",
    "lxc-nesting-sys": "the same",
}
NOWHERE_ON: dict[str, dict[str, str]] = {
    "trixie": {"host-namespace": "Debian's 6.12 gives it to the host alone"},
    "trixie-6.17": {},
    "bookworm": {
        "bad-memory": "not in this kernel",
        "block-device": "Debian 12's kernel does not offer it to a container",
        "net-lwtunnel": "not in Linux 6.1's cloud kernel",
        "lxc-nesting-proc-lazy": "AppArmor 3.0: the path is the same after it",
        "host-mounts": "Linux 6.1 has no such call",
        "host-namespace": "the same",
    },
}

# Who wins is the scheduler's: on a busy emulated processor nobody may, in any column.
RACES = {"proc-race"}

# What neither AppArmor nor kernelguard.py's programs are asked about, or too little; our seccomp
# policy stops it.
SECCOMP = {
    "perf-kernel",
    *(without(name) for name in SETTINGS if name != "bpf-load"),
    "devtmpfs-detached",
    "devtmpfs-32bit",
    "devtmpfs-moved-in",
    "perf",
    "swap",
    "fanotify-filesystem",
    "fanotify-mount",
    "keyring",
    "request-key",
    "quota",
    "console",  # by the line for devices that comes with the policy
    "host-label",
    "host-shutdown",
    "console-taken",
    # Remounts of a whole file system: below Docker's folders any mount is allowed, and for AppArmor
    # 3.0 a deny of remounts there is one of overlays and of docker run -v.
    "chain-host-remount-dev",
    "chain-host-remount-docker",
}
# Left, and not in Debian 12's kernel.
LEFT_NEWER = {"bad-memory"}
SECCOMP_ON: dict[str, set[str]] = {
    "trixie": {"chain-host-remount-shm", "host-mounts", *LEFT_NEWER},
    "trixie-6.17": {"chain-host-remount-shm", "host-mounts", "host-namespace", *LEFT_NEWER},
    "bookworm": {"kernel-log"},
}

# What is left: what madvise(2) is refused, io_uring does (SECURITY.md).
LEFT = {
    "privileged": {without("kernel-addresses")},
    # A host whose settings give these to everybody gives them to root of a container.
    "unprivileged": {*map(without, SETTINGS)},
}
# What kernelguard.py's programs alone stop: User-mode Linux has no BTF.
GUARDED = {
    *("bind-race-trigger", "bind-race-sys", "bind-race-sys-mode", "bind-race-irq"),
    *("bind-race-map", "bind-race-device", "crypto", "block-device"),
}


def left(suite: str, *, unprivileged: bool) -> set[str]:
    """The rows that do harm under a profile of ours, in a trial of it too."""
    found = set(LEFT["unprivileged" if unprivileged else "privileged"])
    if not unprivileged:
        found |= LEFT_NEWER & SECCOMP_ON.get(suite, LEFT_NEWER)
        if not SUITES[suite].emulated:
            found |= GUARDED
    return found


Measured = dict[str, dict[str, str]]
# Settings of the host's kernel that rows aim at.
HOST = """\
cd /proc/sys/kernel
grep -H . core_pattern modprobe panic poweroff_cmd sysrq randomize_va_space
grep -H . ../vm/panic_on_oom ../vm/overcommit_ratio ../fs/suid_dumpable
grep -H . ../fs/protected_symlinks ../fs/file-max
cd /sys
grep -sH . module/printk/parameters/time kernel/uevent_helper kernel/rcu_expedited || true
cd /sys/kernel/security/apparmor/policy
ls -d profiles/attack* namespaces/attack* 2>/dev/null || true
ls /dev/full
"""
# What a policy row without any lock leaves.
# (A module that one container has had loaded is there for the next.)
FORGET = "modprobe -rq nbd; printf attack-policy >/sys/kernel/security/apparmor/.remove"


def attack(vm: Machine, column: Column) -> dict[str, str]:
    """All rows in a new container; row -> harm, stopped or n/a."""
    ctid = column.ctid
    start(vm, column)
    inside = ("lxc-attach", "-n", str(ctid), "--clear-env", "--", "/attack")
    vm.sh(f"sysctl -q {SET}")
    told = vm.run(*inside, timeout=ALL_ROWS)
    vm.sh(f"sysctl -q {UNSET}")
    told_without = vm.run(*inside, *SETTINGS, timeout=ALL_ROWS)
    vm.sh(f"sysctl -q {SET}")
    print(f"{vm.suite}, {column.key}:\n{told.stdout}{told.stderr}without:\n{told_without.output}")
    found = results(told.stdout)
    off = results(told_without.stdout)
    found |= {without(name): off[name] for name in SETTINGS}
    assert list(found) == row_names(), "a row is missing: the container went down?"
    pct(vm, "stop", ctid)
    return {name: table.LETTERS[word] for name, word in found.items()}


@pytest.fixture(scope="module")
def measured(vm: Machine) -> Measured:
    """Every row under every column, on a real kernel."""
    push(vm)
    assign(vm, DEPENDENT)
    found = table.load(vm.suite)
    of = table.of(vm.sh("uname -rv").stdout.strip())
    every = os.environ.get("PHOENIX_TEST_COLUMNS") == "all"
    known = table.measured_of(vm.suite) == of
    for column in ALL:
        if not every and column not in DEPENDENT and (known or column in COMPARED):
            continue
        before = vm.sh(HOST).stdout
        found[column.key] = attack(vm, column)
        after = vm.sh(HOST).stdout
        if column is not BARE:
            assert after == before, f"{column.key} changed the host"
        vm.sh(FORGET, check=False)
    # To keep: cp this to tests/vm/attacks, then python3 -m tests.vm.attacks.table
    (cache.folder() / table.path(vm.suite).name).write_text(
        table.dump(found, of if every or known else "")
    )
    return found


@pytest.mark.parametrize("column", OURS, ids=[column.key for column in OURS])
def test_no_harm_under_our_profiles(vm: Machine, measured: Measured, column: Column) -> None:
    harmed = {name for name, letter in measured[column.key].items() if letter == "H"}
    assert harmed == left(vm.suite, unprivileged=column.unprivileged)


def test_what_the_profile_alone_stops(vm: Machine, measured: Measured) -> None:
    """Without our seccomp policy only what AppArmor is not asked about does harm."""
    harmed = {name for name, letter in measured[ALONE.key].items() if letter == "H"}
    assert harmed == SECCOMP | SECCOMP_ON[vm.suite]


PAIRS = [
    (f"{kind}-{ours}", f"{kind}-{theirs}")
    for kind in ("privileged", "unprivileged")
    for ours, theirs in (("base", "generated"), ("docker", "nesting"))
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours for ours, _ in PAIRS])
def test_never_weaker_than_what_it_replaces(measured: Measured, ours: str, theirs: str) -> None:
    """Row by row: what Proxmox' own profile stops, ours stops."""
    weaker = [
        name
        for name, letter in measured[ours].items()
        if letter == "H" and measured[theirs][name] != "H"
    ]
    assert weaker == []


def test_each_row_can_fail(vm: Machine, measured: Measured) -> None:
    """Under some other confinement or none it does harm, or it is known why it cannot."""
    others = [measured[column.key] for column in ALL if column not in (*OURS, *COMPARED)]
    never = {name for name in row_names() if all(column[name] != "H" for column in others)}
    assert never - RACES == set(NOWHERE) | set(NOWHERE_ON[vm.suite])


def test_the_readme_shows_what_was_measured(vm: Machine, measured: Measured) -> None:
    shown = table.load(vm.suite)
    for column in ALL:
        for name, letter in measured[column.key].items():
            if shown[column.key].get(name) != letter:
                print(f"{column.key} {name}: {letter}, shown {shown[column.key].get(name)}")
    ours = [column.key for column in DEPENDENT]
    assert {key: shown[key] for key in ours} == {key: measured[key] for key in ours}
