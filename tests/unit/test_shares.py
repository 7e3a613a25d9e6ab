"""What the host shares read-only is locked: which containers get the hook, and what it does."""

import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor import lxcconf, mountlock, paths, shares, start
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.mounttree import Tree
from phoenix_apparmor.settled import is_settled
from tests.names import BASE
from tests.unit.fakehost import FakeHost


def test_each_container_with_a_profile_gets_the_hook(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its texts say: an included file, a hook or the host can make a mount read-only."""
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    host.confined("952", BASE)
    real = Host(str(host.root))
    for place in ("hookscript", "unit"):
        start.prepare(real, "952", place)  # type: ignore[arg-type]
        host.settle()
        assert host.read(paths.runtime("952")).count(lxcconf.LOCK_SHARES) == 1
        assert is_settled(real, "952")
        text = host.read(paths.runtime("952")).replace(lxcconf.LOCK_SHARES + b"\n", b"")
        host.write(paths.runtime("952"), text)
        assert not is_settled(real, "952")
    host.assign(c952="unconfined")
    start.prepare(real, "952", "hookscript")
    assert lxcconf.LOCK_SHARES not in host.read(paths.runtime("952"))


@pytest.mark.parametrize(
    ("setting", "arguments"),
    [
        (lxcconf.LOCK_SHARES, ""),
        (lxcconf.LOCK_WITHOUT_SYSCTLS, "without-sysctls"),
        (lxcconf.LOCK_WITHOUT_PEERS, "without-peers"),
    ],
    ids=["plain", "without-sysctls", "without-peers"],
)
def test_the_hook_as_lxc_calls_it(tmp_path: Path, setting: bytes, arguments: str) -> None:
    """LXC (conf.c, run_script_argv): exec COMMAND NAME SECTION TYPE, for a shell."""
    command = setting.partition(b" = ")[2].decode()
    called = tmp_path / "called"
    program = tmp_path / "lock-shares"
    command = command.replace("/usr/libexec/phoenix-apparmor/lock-shares", str(program))
    line = ["/bin/sh", "-c", f"exec {command} 952 lxc start-host"]
    assert subprocess.run(line, check=False).returncode == 0, "the package is gone"
    program.write_text(f'#!/bin/sh\necho "$*" >{called}\nexit 1\n')
    program.chmod(0o755)
    assert subprocess.run(line, check=False).returncode == 1
    assert called.read_text() == f"{arguments}\n"


def test_which_mounts_are_locked() -> None:
    kernels = (
        b"1 0 0:1 /srv/root / ro,relatime - ext4 /dev/a rw",
        b"2 1 0:2 / /proc rw,relatime - proc proc rw",
        b"3 2 0:2 /sys /proc/sys ro,relatime - proc proc rw",
        b"4 1 0:3 / /sys ro - sysfs sysfs rw",
        b"5 4 0:4 / /sys/fs/cgroup ro - cgroup2 cgroup rw",
        b"6 1 0:5 / /dev rw - tmpfs none rw",
        b"7 3 0:5 /.lxc-boot-id /proc/sys/kernel/random/boot_id ro - tmpfs none rw",
        b"8 2 0:6 /proc/cpuinfo /proc/cpuinfo rw - fuse.lxcfs lxcfs rw",
        b"9 6 0:7 /null /dev/null rw - devtmpfs udev rw",
        b"10 1 0:8 / /mnt/disk rw - ext4 /dev/b rw",
        b"",
    )
    assert not shares.needs_lock(shares.mounts(b"\n".join(kernels))), "nothing more is loaded"
    shared = (
        rb"11 1 0:9 / /m\040o\134d ro,nosuid shared:1 master:2 - ext4 /dev/a rw",
        b"12 4 0:9 / /sys/fs/bpf ro - ext4 /dev/a rw",
        b"13 1 0:9 / /procedures ro - ext4 /dev/a rw",
        b"14 10 0:9 / /mnt/disk/in ro - ext4 /dev/a rw",
        b"15 6 0:9 / /dev/x ro - ext4 /dev/a rw",
        b"16 1 0:9 /sub /folder rw - ext4 /dev/a rw",
    )
    for line in shared:
        assert shares.needs_lock(shares.mounts(b"\n".join((*kernels, line)))), line
    units = Tree(b"\n".join((*kernels, *shared))).units(())
    assert {unit.mount.number: len(unit.members) for unit in units} == {
        10: 2, 11: 1, 12: 1, 13: 1, 15: 1, 16: 1,
    }  # fmt: skip
    assert rb"/m o\d" in {unit.mount.place for unit in units}


def test_what_hides_a_mount_is_replaced_with_it() -> None:
    lines = (
        b"1 0 0:1 / / rw - ext4 /dev/a rw",
        b"2 1 0:2 /ro /a/b ro - ext4 /dev/b rw",
        b"3 1 0:3 / /a rw - ext4 /dev/c rw",
        b"4 1 0:3 / /ab rw - ext4 /dev/c rw",
        b"5 1 0:2 /ro /c ro - ext4 /dev/b rw",
        b"6 5 0:2 /ro /c ro - ext4 /dev/b rw",
    )
    hidden, over, stack = Tree(b"\n".join(lines)).units(())
    assert hidden.covered == {over.mount.key}
    assert not over.covered
    assert (stack.mount.number, stack.top, stack.is_stack) == (5, 6, True)


def test_what_hides_for_good_and_what_a_neighbour_moved() -> None:
    lines = (
        b"1 0 0:1 / / rw - ext4 /dev/a rw",
        b"2 1 0:2 /c /data rw - ext4 /dev/b rw",
        b"3 2 0:2 /other /data/t rw - ext4 /dev/b rw",
        # its folder was moved below that of the other one, in what both mounts are in
        b"4 2 0:3 / /data/t/ro ro - ext4 /dev/c rw",
        b"5 1 0:3 / /a/b ro - ext4 /dev/c rw",
        b"6 1 0:4 / /a rw - ext4 /dev/d rw",
        b"7 1 0:3 / /twice ro - ext4 /dev/c rw",
        b"8 7 0:3 / /twice ro - ext4 /dev/c rw",
    )
    tree = Tree(b"\n".join(lines))
    hidden = {m.number for m in tree.mounts if m.number != 1 and tree.is_hidden(m)}
    for_good = {m.number for m in tree.mounts if m.number != 1 and tree.is_covered_for_good(m)}
    assert (hidden, for_good) == ({4, 5, 7}, {5})


def test_what_is_hidden_itself_hides_nothing() -> None:
    """A later line hides an earlier one, and the mount in it is where the earlier one was."""
    tree = Tree(
        b"""1 0 0:1 / / rw - ext4 /dev/a rw
2 1 0:2 /x /mnt/s/a rw - ext4 /dev/b rw
3 1 0:2 /s /mnt/s rw - ext4 /dev/b rw
4 3 0:2 /d /mnt/s/a/ro ro - ext4 /dev/b rw
"""
    )
    hidden = {m.number: [other.number for other in tree.covering(m)] for m in tree.mounts}
    assert hidden == {1: [], 2: [3], 3: [], 4: []}
    assert {unit.mount.number for unit in tree.units(())} == {2, 3}


def test_a_file_system_in_memory_may_be_the_hosts() -> None:
    lines = shares.mounts(
        b"""1 0 8:1 /srv/root / rw - ext4 /dev/a rw
2 1 0:6 / /dev rw - tmpfs none rw
3 1 0:7 / /t rw - tmpfs none rw
4 1 0:7 /p/q /q rw - tmpfs none rw
"""
    )
    assert not shares.needs_lock(lines)
    assert shares.needs_lock(lines, {b"0:7"}), "others may rename in it"
    assert shares.hosts_devices(lines[:2]) == set(), "nothing is read for LXC's own /dev"


def test_a_mount_is_known_by_its_file_system_too() -> None:
    one, other = Tree(
        b"""1 0 8:1 /data /x rw - ext4 /dev/a rw
2 1 8:2 /data /x ro - ext4 /dev/b rw
"""
    ).mounts
    assert one.key != other.key


def test_where_a_program_of_the_container_ran_before_it_is_said(tmp_path: Path) -> None:
    """LXC's order: pre-start, pre-mount, mount, autodev, start, start-host."""
    config = tmp_path / "config"
    (tmp_path / "more.conf").write_text("lxc.hook.start = /x\n")
    for text, says in (
        ("lxc.hook.start = /x", True),
        (f"lxc.include = {tmp_path}/more.conf", True),
        (f"lxc.include = {tmp_path}/more.conf\nlxc.hook.start =", False),
        ("lxc.hook.start = /x\nlxc.hook.start =", False),
        ("lxc.hook.start-host = /x", False),
        ("", False),
    ):
        config.write_text(text)
        if says:
            with pytest.raises(PhoenixError, match="a program of the container") as raised:
                mountlock.check_start_hook(str(config))
            assert raised.value.status == 0, "it goes on, as before"
        else:
            mountlock.check_start_hook(str(config))
