"""What the host shares read-only is locked: which containers get the hook, and what it does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_apparmor import lxcconf, paths, shares, start
from phoenix_apparmor.host import Host
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
    lines = (
        b"1 0 0:1 / / ro,relatime - ext4 /dev/a rw",
        b"2 1 0:2 / /proc/sys ro,relatime - proc proc rw",
        b"3 1 0:3 / /sys ro - sysfs sysfs rw",
        b"4 3 0:3 / /sys/x ro - sysfs sysfs rw",
        rb"5 1 0:4 /a /m\040o\134d ro,nosuid shared:1 master:2 - ext4 /dev/a rw",
        b"6 1 0:4 /b /rw rw,nosuid - ext4 /dev/a ro",
        b"7 1 0:4 /b /procedures ro - ext4 /dev/a rw",
        b"",
    )
    found = shares.read_only(b"\n".join(lines))
    assert found == [(5, rb"/m o\d"), (7, b"/procedures")]


# As root of the host, in a mount namespace of its own: a share, one in it and a file.
SCRIPT = r"""
import sys
sys.path.insert(0, sys.argv[1])
import os, subprocess
from phoenix_apparmor import mountlock, shares
from phoenix_apparmor.errors import PhoenixError

def sh(text):
    return subprocess.run(["sh", "-ec", text], stderr=subprocess.DEVNULL).returncode == 0

here = sys.argv[3]
os.environ["HERE"] = here

assert sh('''mount --make-rprivate / && mount -t tmpfs none "$HERE" && cd "$HERE"
mkdir src share "sha re" w && mkdir src/in && touch src/file file share/old
mount --bind src share && mount -o remount,bind,ro share
mount -t tmpfs none share/in && touch share/in/x && mount -o remount,bind,ro share/in
mount --bind src 'sha re' && mount -o remount,bind,ro 'sha re'
mount --bind src/file file && mount -o remount,bind,ro file && mount --bind src w''')
os.chdir(here)
tries = (
    "mount -o remount,bind,rw share && touch share/a",
    "mount -o remount,bind,rw share/in && touch share/in/b",
    "mount -o remount,rw share && touch share/c",
    "mount -o remount,bind,rw 'sha re' && touch 'sha re/d'",
    "mount -o remount,bind,rw file && echo >file",
    "mkdir -p o; mount --bind share o; mount -o remount,bind,rw o; touch o/e",
)
if sys.argv[2] == "lock":
    assert shares.main({"LXC_PID": str(os.getpid()), "LXC_NAME": "952"}) == 0
    assert sh("test -e share/file -a -e share/in/x -a -e 'sha re/file'")
    assert sh("touch w/f && mount -o remount,bind,ro share && umount 'sha re'")
    assert sh("mount --bind src 'sha re' && mount -o remount,bind,ro 'sha re'")
    mountlock.lock(os.getpid())
def status():
    return shares.main({"LXC_PID": str(os.getpid()), "LXC_NAME": "952"})

if sys.argv[2] == "hidden":
    assert sh("mount -t tmpfs none share")
    print(0, status())
    sys.exit()
if sys.argv[2] == "renamed":
    leave = mountlock._leave_profile
    def late():
        leave()
        # as another container does that has the same folder
        assert sh("unshare -m sh -ec 'umount share/in share; mv share moved; mkdir share'")
    mountlock._leave_profile = late
    print(0, status())
    print(1, sh("mount -o remount,bind,rw moved && touch moved/a"))
    sys.exit()
if sys.argv[2] in ("cannot", "used up"):
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0" if sys.argv[2] == "cannot" else "1")
    used = subprocess.Popen(["unshare", "-Ur", "sleep", "60"], stdout=subprocess.DEVNULL)
    os.set_blocking(0, True)
    while sys.argv[2] == "used up" and os.readlink(f"/proc/{used.pid}/ns/user") == os.readlink(
        "/proc/self/ns/user"
    ):
        pass
    try:
        mountlock.lock(os.getpid())
    except PhoenixError as error:
        print(error.status, error.what)
    used.kill()
    assert sh("test -e share/file -a -e share/in/x -a ! -w share"), "all is as it was"
    sys.exit()
for number, one in enumerate(tries):
    print(number, sh(one))
"""


def tried(how: str, place: Path, namespaces: str = "-m") -> list[str]:
    argv = ["unshare", namespaces, sys.executable, "-c", SCRIPT, str(REPO), how, str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.partition(" ")[2] for line in done.stdout.splitlines()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")
def test_not_even_root_makes_it_writable(tmp_path: Path) -> None:
    assert tried("lock", tmp_path) == ["False"] * 6
    assert tried("leave", tmp_path) == ["True"] * 6, "the control"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")
def test_where_it_cannot_be_locked_it_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    [said] = tried("cannot", tmp_path, "-Urm")
    assert "may make it writable: [Errno 28] unshare: No space left on device." in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")
def test_what_others_use_up_stops_the_start(tmp_path: Path) -> None:
    """Root's namespaces are counted for all containers: none may have another start unlocked."""
    [said] = tried("used up", tmp_path, "-Urm")
    assert "cannot be locked: [Errno 28] unshare: No space left on device." in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")
def test_what_is_out_of_reach_stops_the_start(tmp_path: Path) -> None:
    """A mount above it can be taken away, and a folder renamed by whoever else has it."""
    assert tried("hidden", tmp_path) == ["1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes mounts")
def test_a_folder_that_is_renamed_meanwhile_stops_the_start(tmp_path: Path) -> None:
    assert tried("renamed", tmp_path) == ["1", "True"], "it is not locked, so it may not start"
