"""The guard of a trial, compiled by this machine's parser: it takes no mount that the profile
denies explicitly, and all others. The kernel's own answer is in tests/vm/test_trial.py."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from phoenix_apparmor.assignments import parse
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import variants
from tests.names import BASE, DOCKER
from tests.unit import policydfa
from tests.unit.fakehost import REPO, FakeHost

# Compiled once, not in each worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("guard")]


class Mount(NamedTuple):
    """As mount(2) asks for it; flags: MS_… of linux/mount.h."""

    target: str
    source: str | None = None
    fstype: str | None = None
    flags: int = 0


BIND, MOVE, REMOUNT, RDONLY, REC = 4096, 8192, 32, 1, 16384
DENIED = (
    Mount("/mnt/x/", "debugfs", "debugfs"),
    Mount("/mnt/x/", "tracefs", "tracefs"),
    Mount("/mnt/x/", "/dev/sdz", "ext4"),
    Mount("/dev/shm/", "/dev/sdz", "xfs"),
    Mount("/run/credentials/x/", "rpool/ROOT/pve-1", "zfs"),
    Mount("/mnt/x/", "/dev/sdz", "squashfs"),
    Mount("/run/credentials/x/", "proc", "proc"),
    Mount("/run/credentials/x/", "sysfs", "sysfs"),
    Mount("/mnt/x/", "/sys/firmware/", None, BIND),
    Mount("/mnt/x/", "/proc/", None, MOVE),
    Mount("/", None, None, REMOUNT | RDONLY),
)
# Of lxc-nvidia-gpu-base, which keeps /proc and /sys at one path: what a search for chains found in
# a trial, as the profile had no rule for it and no deny either.
ONE_ROOT = (
    Mount("/mnt/x/", "/proc/sys/vm/", None, BIND),
    Mount("/tmp/q/", "/", None, BIND | REC),
    Mount("/run/", "/srv/p/", None, BIND),
    Mount("/run/", "/srv/p/", None, BIND | REC),
    Mount("/run/", "/srv/p/", None, MOVE),
    Mount("/run/", "none", "fuse"),
    Mount("/run/systemd/unit-root/q/", "127.0.0.1:/", "nfs4", 8),
    Mount("/dev/", "127.0.0.1:/", "cifs", RDONLY),
    Mount("/run/systemd/", "/srv/p/", None, BIND),
    Mount("/run/systemd/", "none", "tmpfs"),
    Mount("/run/systemd/mount-rootfs/run/", "/srv/p/", None, BIND | REC),
    Mount("/tmp/", "/", None, BIND),
    Mount("/run/q/", "/", None, BIND),
    Mount("/proc/1/", "/", None, BIND | REC),
    Mount("/run/systemd/mox/", "/", None, BIND | REC),
    Mount("/run/systemd/mount-rootfs/q/", "/", None, BIND | REC),
    Mount("/mnt/q/", "/run/systemd/unit-root/", None, BIND | REC),
    Mount("/mnt/q/", "/run/", None, BIND | REC),
    Mount("/mnt/q/", "/run/systemd/mount-rootfs/run/", None, BIND | REC),
    Mount("/run/systemd/mox/", "proc", "proc"),
    Mount("/proc/fs/", "none", "fusectl"),
    Mount("/sys/fs/cgroup/", "/sys/devices/", None, BIND | REC),
    Mount("/proc/sys/net/", "/sys/kernel/", None, BIND | REC),
    # a tree of one's own on /proc/irq, a file of /proc in it, and it where /proc/sys was
    Mount("/proc/irq/net/f", "/proc/sysrq-trigger", None, BIND),
    Mount("/run/systemd/unit-root/proc/fs/net/f", "/proc/mtrr", None, BIND | REC),
    Mount("/proc/sys/", "/proc/irq/", None, BIND | REC),
    Mount("/proc/irq/", "/proc/sys/", None, BIND | REC),
)
# …and what systemd and ip netns do.
ONE_ROOT_TRIED = (
    Mount("/run/systemd/mount-rootfs/", "/", None, BIND | REC),
    Mount("/run/systemd/unit-root/", "/", None, BIND | REC),
    Mount("/run/systemd/unit-root/run/", "/run/systemd/unit-root/run/", None, BIND | REC),
    Mount("/run/netns/x", "/", None, BIND),
    Mount("/run/vpn", "/", None, BIND),
    Mount("/run/", "tmpfs", "tmpfs"),
    Mount("/tmp/vpn", "/", None, BIND),
    Mount("/run/systemd/mount-rootfs/proc/sys/", "/proc/sys/", None, BIND | REC),
    Mount("/run/systemd/unit-root/proc/irq/", "/run/systemd/unit-root/proc/irq/", None, BIND | REC),
    Mount("/proc/sysrq-trigger", "/proc/sysrq-trigger", None, BIND),
    Mount("/sys/fs/cgroup/", "/sys/fs/cgroup/", None, BIND | REC),
)
# What neither profile allows, and a trial does.
TRIED = (
    Mount("/run/r/", None, None, REMOUNT),
    Mount("/mnt/nfs/", "127.0.0.1:/", "nfs4"),
)


@pytest.fixture(scope="module", params=[BASE, DOCKER])
def texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Of the trial's own profile and of its guard, made from the shipped files."""
    host = FakeHost(tmp_path_factory.mktemp("guard") / "h")
    shutil.copytree(REPO / "profiles", host.path("/etc/apparmor.d"), dirs_exist_ok=True)
    entry = {"apparmor_profile": request.param, "apparmor_mode": "trial"}
    document = json.dumps({"lxc_configs": {"952": entry}}).encode()
    assignment = parse.assignments(document)["952"]
    return [*variants.texts(Host(str(host.root)), "952", assignment).values()]


@pytest.fixture(scope="module")
def guard(texts: list[bytes]) -> list[policydfa.Automaton]:
    return compiled(texts[1])


def compiled(text: bytes) -> list[policydfa.Automaton]:
    include = ("-I", str(REPO / "profiles"), "-I", "/etc/apparmor.d")
    features = ("--config-file=/dev/null", f"--features-file={policydfa.ABI}")
    command = (policydfa.PARSER, "-QKS", *features, *include, "/dev/stdin")
    done = subprocess.run(command, input=text, capture_output=True, check=True)
    return policydfa.automata(done.stdout)


def allows(found: list[policydfa.Automaton], mount: Mount) -> bool:
    """As security/apparmor/mount.c, do_match_mnt() walks the table; class 7 is of mounts, bit 2
    is AA_MAY_MOUNT."""
    return any(
        state and automaton.tables[policydfa.ACCEPT][state] & 2
        for automaton in found
        for state in end(automaton, mount)
    )


def end(automaton: policydfa.Automaton, mount: Mount) -> Iterator[int]:
    state = automaton.walk(b"\x07")
    for part in (mount.target, mount.source, mount.fstype):
        state = automaton.walk((part or "").encode() + b"\0", state)
    flags = bytes(bit + 1 for bit in range(32) if mount.flags >> bit & 1)
    yield automaton.walk(flags, state)


@pytest.mark.parametrize("mount", DENIED, ids=map(str, DENIED))
def test_what_is_denied_explicitly(guard: list[policydfa.Automaton], mount: Mount) -> None:
    assert not allows(guard, mount)


@pytest.mark.parametrize("texts", [BASE], indirect=True)
@pytest.mark.parametrize(
    "mount", [Mount("/tmp/x/", "proc", "proc"), Mount("/media/x/", "sysfs", "sysfs")], ids=str
)
def test_base_denies_proc_and_sys_elsewhere(guard: list[policydfa.Automaton], mount: Mount) -> None:
    """Under docker they are known by their names there: containers have them in many places."""
    assert not allows(guard, mount)


@pytest.mark.parametrize("mount", TRIED, ids=map(str, TRIED))
def test_what_a_trial_allows(guard: list[policydfa.Automaton], mount: Mount) -> None:
    assert allows(guard, mount)


@pytest.mark.parametrize("texts", [BASE], indirect=True)
def test_in_a_trial_proc_and_sys_stay_at_one_path_too(
    guard: list[policydfa.Automaton],
) -> None:
    assert [mount for mount in ONE_ROOT if allows(guard, mount)] == []
    assert [mount for mount in ONE_ROOT_TRIED if not allows(guard, mount)] == []


def pivots(found: list[policydfa.Automaton], new: str, old: str) -> bool:
    """As security/apparmor/mount.c, aa_pivotroot() does it; bit 1 is AA_MAY_PIVOTROOT."""
    words = b"\x07" + new.encode() + b"\0" + old.encode()
    ends = [(automaton, automaton.walk(words)) for automaton in found]
    return any(state and dfa.tables[policydfa.ACCEPT][state] & 1 for dfa, state in ends)


@pytest.mark.parametrize("texts", [BASE], indirect=True)
def test_no_root_keeps_the_old_one_under_another_name(
    texts: list[bytes], guard: list[policydfa.Automaton]
) -> None:
    own, built = compiled(texts[0]), ("/run/systemd/unit-root/", "/run/systemd/mount-rootfs/")
    for new in built:
        for policy in (own, guard):
            assert pivots(policy, new, new)
            for old in ("mnt/", "x", "proc/", "run/systemd/unit-root/"):
                assert not pivots(policy, new, new + old)
    assert not pivots(guard, "/srv/x/", "/srv/x/")
    # the control: it is the denies that refuse
    lines = [line for line in texts[1].split(b"\n") if b"deny pivot_root" not in line]
    assert pivots(compiled(b"\n".join(lines)), built[0], f"{built[0]}mnt/")


@pytest.mark.parametrize("name", ["kernel_sys_info", "kexec_load_disabled", "vm/x"])
def test_of_proc_sys_only_what_is_the_containers_own_is_written(
    guard: list[policydfa.Automaton], name: str
) -> None:
    """Linux 7.2 has kernel_sys_info beside kernel/. Bit 2 of a file is AA_MAY_WRITE."""

    def writes(path: str) -> bool:
        _, files = guard
        state = files.walk(path.encode())
        return bool(state and files.tables[policydfa.ACCEPT][state] & 2)

    assert not writes(f"/proc/sys/{name}")
    for own in ("kernel/hostname", "kernel/shmmax", "net/ipv4/ip_forward"):
        assert writes(f"/proc/sys/{own}")


def test_without_its_denies_it_would_take_all(texts: list[bytes]) -> None:
    """The control: it is the denies that refuse."""
    lines = [line for line in texts[1].split(b"\n") if b"deny mount" not in line]
    bare = compiled(b"\n".join(lines))
    assert all(allows(bare, mount) for mount in (*DENIED, *TRIED))
