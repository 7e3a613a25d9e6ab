"""What the host shares read-only is locked: which containers get the hook, and what it does."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_apparmor import lxcconf, mountlock, paths, shares, start
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.mounttree import Tree
from phoenix_apparmor.settled import is_settled
from tests.names import BASE
from tests.unit.fakehost import REPO, FakeHost


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


def test_the_hook_as_lxc_calls_it(tmp_path: Path) -> None:
    """LXC (conf.c, run_script_argv): exec COMMAND NAME SECTION TYPE, for a shell."""
    command = lxcconf.LOCK_SHARES.partition(b" = ")[2].decode()
    called = tmp_path / "called"
    program = tmp_path / "lock-shares"
    command = command.replace("/usr/libexec/phoenix-apparmor/lock-shares", str(program))
    line = ["/bin/sh", "-c", f"exec {command} 952 lxc start-host"]
    assert subprocess.run(line, check=False).returncode == 0, "the package is gone"
    program.write_text(f"#!/bin/sh\ntouch {called}\nexit 1\n")
    program.chmod(0o755)
    assert subprocess.run(line, check=False).returncode == 1
    assert called.exists()


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
    for_good = {m.number for m in tree.mounts if m.number != 1 and tree.is_hidden_for_good(m)}
    assert (hidden, for_good) == ({4, 5, 7}, {5, 7})


# As root of the host, in a mount namespace of its own: the host's folders, and a container's.
BEGIN = r"""
import sys
sys.path.insert(0, sys.argv[1])
import ctypes, os, subprocess
from phoenix_apparmor import mountholder, mountlock, shares
from phoenix_apparmor.errors import PhoenixError

def sh(text):
    return subprocess.run(["sh", "-ec", text], stderr=subprocess.DEVNULL).returncode == 0

def status(config=""):
    names = {"LXC_NAME": "952", "LXC_CONFIG_FILE": config, "PHOENIX_APPARMOR_ROOT": here}
    return shares.main({"LXC_PID": str(os.getpid()), **names})

how, here = sys.argv[2:]
os.environ["HERE"] = here
assert sh('mount --make-rprivate / && cd "$HERE" && mkdir host ct && mount -t tmpfs none ct')
os.chdir(here + "/ct")
"""

# A share, one in it and a file.
SHARES = r"""
assert sh('''mkdir src share "sha re" w && mkdir src/in && touch src/file file share/old
mount --bind src share && mount -o remount,bind,ro share
mount -t tmpfs none share/in && touch share/in/x && mount -o remount,bind,ro share/in
mount --bind src 'sha re' && mount -o remount,bind,ro 'sha re'
mount --bind src/file file && mount -o remount,bind,ro file && mount --bind src w''')
tries = (
    "mount -o remount,bind,rw share && touch share/a",
    "mount -o remount,bind,rw share/in && touch share/in/b",
    "mount -o remount,rw share && touch share/c",
    "mount -o remount,bind,rw 'sha re' && touch 'sha re/d'",
    "mount -o remount,bind,rw file && echo >file",
    "mkdir -p o; mount --bind share o; mount -o remount,bind,rw o; touch o/e",
)
if how == "lock":
    assert status() == 0
    assert sh("test -e share/file -a -e share/in/x -a -e 'sha re/file'")
    assert sh("touch w/f && mount -o remount,bind,ro share && umount 'sha re'")
    assert sh("mount --bind src 'sha re' && mount -o remount,bind,ro 'sha re'")
    mountlock.lock(os.getpid())
if how in ("cannot", "used up"):
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0" if how == "cannot" else "1")
    used = subprocess.Popen(["unshare", "-Ur", "sleep", "60"], stdout=subprocess.DEVNULL)
    os.set_blocking(0, True)
    while how == "used up" and os.readlink(f"/proc/{used.pid}/ns/user") == os.readlink(
        "/proc/self/ns/user"
    ):
        pass
    try:
        mountlock.lock(os.getpid())
    except PhoenixError as error:
        print(error.status, error.what, error.hint)
    used.kill()
    assert sh("test -e share/file -a -e share/in/x -a ! -w share"), "all is as it was"
    sys.exit()
if how == "fails":
    def start(*_):
        raise OSError(40, "Too many levels of symbolic links")
    mountholder.start = start
    os.makedirs(here + "/run/pve")
    print(0, status())
    with open(here + "/run/pve/ct-952.warnings") as file:
        print(file.readline())
    sys.exit()
for number, one in enumerate(tries):
    print(number, sh(one))
"""

# Another container renames in the folder all the while, of which this one has a part.
RACES = r"""
assert sh('''cd "$HERE/host" && mkdir -p sec w/sub/a/ro w/sub/b w/out/ro && touch sec/old
ln -s a w/sub/l''')
assert sh('''mkdir srv x && mount --bind "$HERE/host/w/sub" srv
mount --bind "$HERE/host/sec" srv/a/ro && mount -o remount,bind,ro srv/a/ro''')
lock, race = how.split()
if race == "beside":
    assert sh('mount --bind "$HERE/host/sec" srv/b && mount -o remount,bind,ro srv/b')
other = {"links": "w/sub/l", "folders": "w/sub/b"}.get(race, "w/out")
other = os.fsencode(f"{here}/host/{other}")
place = os.fsencode(f"{here}/host/w/sub/a")

def exchange():
    assert ctypes.CDLL(None).syscall(316, -100, place, -100, other, 2) == 0  # renameat2

if race in ("away", "beside"):
    exchange()
else:
    renames = os.fork()
    if renames == 0:
        stop = []
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        while not stop:
            for _ in range(2):
                exchange()
                time.sleep(0.0003)
        os._exit(0)
if lock == "lock":
    print(0, status())
if race in ("away", "beside"):
    exchange()
else:
    os.kill(renames, 15)
    os.waitpid(renames, 0)
print(1, sh("test -e srv/a/ro/old"))
print(2, sh("mount -o remount,bind,rw srv/a/ro && touch srv/a/ro/a"))
print(3, os.path.exists(f"{here}/host/sec/a"))
"""

# What is left of a mount that another one hides, or that is in a share that can be written.
PLACES = r"""
lock, where = how.split()
assert sh('mkdir -p "$HERE/host/sec/d" srv/x && touch "$HERE/host/sec/old"')
sec = 'mount --bind "$HERE/host/sec" {0} && mount -o remount,bind,ro {0}'
made, tried, seen = {
    "twice": (sec.format("srv") + " && " + sec.format("srv"), "umount srv", "srv/old"),
    "above": (
        sec.format("srv/x") + " && mount -t tmpfs none srv && touch srv/a",
        "umount srv",
        "srv/a",
    ),
    "above2": (
        'mkdir "$HERE/host/w" && touch "$HERE/host/w/a" && '
        + sec.format("srv/x") + ' && mount --bind "$HERE/host/w" srv',
        "umount srv",
        "srv/a",
    ),
    "unbindable": (
        sec.format("srv") + " && mount --bind srv srv/d && mount --make-unbindable srv/d"
        " && mount -o remount,bind,ro srv/d && mount --make-unbindable srv",
        "umount srv/d",
        "srv/d/old",
    ),
    "sys": (sec.format("/sys/kernel"), "mount --bind /sys/kernel srv", "/sys/kernel/old"),
    "below": (
        'mount --bind "$HERE/host" srv && mount --bind srv/sec srv/sec'
        " && mount -o remount,bind,ro srv/sec",
        "mkdir y && mount --bind srv y",
        "srv/sec/old",
    ),
    "below2": (
        'mount --bind "$HERE/host" srv && mount --bind srv/sec srv/sec'
        " && mount -o remount,bind,ro srv/sec",
        "umount srv/sec",
        "srv/sec/old",
    ),
}[where]
assert sh(made)
if lock == "lock":
    print(0, status())
print(1, sh(f"test -e {seen}"))
sh(tried)
for place in ("srv", "srv/x", "srv/d", "srv/sec", "y/sec"):
    sh(f"mount -o remount,bind,rw {place}")
    sh(f"touch {place}/new")
print(2, os.path.exists(f"{here}/host/sec/new"))
"""

# A container in a user namespace: what the host mounted before is locked by the kernel itself.
INSIDE = r"""
assert sh('mkdir -p "$HERE/host/w/stay"')
assert sh('mkdir -p "$HERE/host/sec" "$HERE/host/w/a" srv mp && touch "$HERE/host/sec/old"')
assert sh('''mount --bind "$HERE/host/w" srv
mount --bind "$HERE/host/sec" mp && mount -o remount,bind,ro mp
mkdir -p d/x && mount --bind "$HERE/host/sec" d/x && mount -o remount,bind,ro d/x
mount --bind "$HERE/host/w" d''')
inside = '''mount --bind "$HERE/host/sec" srv/a
mount -o remount,bind,ro srv/a
mount --bind "$HERE/host/sec" srv/stay && mount -o remount,bind,ro srv/stay
touch ready && exec sleep 100'''
init = subprocess.Popen(["unshare", "-Urm", "sh", "-ec", inside], stdout=subprocess.DEVNULL)
while not os.path.exists("ready"):
    assert init.poll() is None
if how == "away":
    os.rename(here + "/host/w/a", here + "/host/a")
    print(0, shares.main({"LXC_PID": str(init.pid), "LXC_NAME": "952"}))
    init.kill()
    sys.exit()
if how == "lock":
    print(0, shares.main({"LXC_PID": str(init.pid), "LXC_NAME": "952"}))
    assert not sh(f"nsenter -U -m -t {init.pid} umount {os.getcwd()}/d"), "so it hides for good"
for at in ("mp", "srv/a"):
    enter = f"nsenter -U -m -t {init.pid} sh -ec 'cd {os.getcwd()};"
    print(1, sh(f"{enter} test -e {at}/old'"))
    print(2, sh(f"{enter} mount -o remount,bind,rw {at} && touch {at}/new'"))
init.kill()
"""


def tried(how: str, place: Path, namespaces: str = "-m", script: str = SHARES) -> list[str]:
    place = place / how.replace(" ", "-").replace("/", "_")
    place.mkdir()
    code = BEGIN + script
    argv = ["unshare", namespaces, sys.executable, "-c", code, str(REPO), how, str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.partition(" ")[2] for line in done.stdout.splitlines()]


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on a disk, as the host's are: tmp_path may be in memory, as a container's /dev."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        yield Path(place)


@only_root
def test_not_even_root_makes_it_writable(disk: Path) -> None:
    assert tried("lock", disk) == ["False"] * 6
    assert tried("leave", disk) == ["True"] * 6, "the control"


@only_root
def test_where_the_host_allows_no_lock_it_is_said_and_nothing_is_lost(disk: Path) -> None:
    [said] = tried("cannot", disk, "-Urm")
    assert "may make it writable: [Errno 28] unshare: no more namespaces are allowed." in said
    assert "sysctl" in said


@only_root
def test_what_others_use_up_stops_the_start(disk: Path) -> None:
    """Root's namespaces are counted for all containers: none may have another start unlocked."""
    [said] = tried("used up", disk, "-Urm")
    assert "cannot be locked: [Errno 28] unshare: no more namespaces are allowed." in said


@only_root
def test_any_other_failure_stops_the_start(disk: Path) -> None:
    status, said, *_ = tried("fails", disk)
    assert status == "1"
    assert said.startswith("952: what is shared read-only could not be locked: "), "pct shows it"


@only_root
@pytest.mark.parametrize(
    "race",
    [
        "links",
        "folders",
        "escapes",
        pytest.param("away", marks=pytest.mark.slow),
        # what is read-only beside it speaks for nothing
        pytest.param("beside", marks=pytest.mark.slow),
    ],
)
def test_other_containers_may_rename_meanwhile(race: str, disk: Path) -> None:
    """In folders that they share: it starts all the same, and locked, or not at all."""
    started, *found = tried(f"lock {race}", disk, script=RACES)
    if race in ("away", "beside"):
        assert started == "1", "a share would be missing inside"
    else:
        assert (started, found) == ("0", ["True", "False", "False"])
    assert tried(f"leave {race}", disk, script=RACES) == ["True"] * 3, "the control"


@only_root
@pytest.mark.parametrize(
    "where", ["twice", "above", "above2", "unbindable", "sys", "below", "below2"]
)
def test_it_starts_and_is_locked_wherever_it_is(where: str, disk: Path) -> None:
    assert tried(f"lock {where}", disk, script=PLACES) == ["0", "True", "False"]
    assert tried(f"leave {where}", disk, script=PLACES) == ["True", "True"], "the control"


@only_root
def test_in_a_user_namespace(disk: Path) -> None:
    locked = ["True", "False"]
    assert tried("lock", disk, script=INSIDE) == ["0", *locked, *locked]
    assert tried("leave", disk, script=INSIDE) == [*locked, "True", "True"], "the control"


@only_root
@pytest.mark.slow
def test_in_a_user_namespace_whose_share_was_renamed_away(disk: Path) -> None:
    """The mount that it is in cannot be replaced, and has another one that is locked."""
    assert tried("away", disk, script=INSIDE) == ["1"]


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
