"""Starts on bad days: files that are gone, helpers that hang, and modes that do not enforce."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_apparmor import commands, kernel, labels, lastgood, lxcconf, paths, start
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import load
from tests.names import BASE
from tests.unit.fakehost import FakeHost, Journal

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
NOBODY = 65534
PLAIN = f"lxc.apparmor.profile = {BASE}\n".encode()


def guarded(host: FakeHost, *, settled: bool) -> Path:
    """A privileged CT 952 whose profile asks for a seccomp policy; that one's file.

    settled: it was started before.
    """
    host.confined("952", BASE)
    host.runtime("952", PLAIN)
    host.conf("952", f"lxc.apparmor.profile: {BASE}\n")
    policy = host.write(paths.SECCOMP, "2\n")
    host.profile(BASE, before=paths.SECCOMP_MARKER.decode() + "\n")
    if settled:
        assert host.hook("952").status == 0
        host.settle()
    return policy


def test_a_part_that_lost_its_text_stops_the_start(host: FakeHost) -> None:
    """It compiles, and denies less: with a full disk, or after a cut copy."""
    part = "/etc/apparmor.d/abstractions/phoenix/one-root-denies"
    host.confined("952", BASE)
    host.profile(BASE, body="  include <abstractions/phoenix/one-root-denies>\n")
    host.write(part, "  deny /x w,\n")
    host.load(BASE)
    assert host.hook("952").status == 0
    host.settle()
    assert host.hook("952") == (0, "", "")
    host.write(part, "")
    for done in (host.hook("952"), host.unit("pre-start", "952")):
        assert done.status == 1
        assert f"CT 952: {part}, a part of profile {BASE}, is empty." in done.err
    host.kernel({})
    assert host.hook("952").status == 1
    assert BASE.encode() not in host.read(paths.KERNEL_PROFILES), "nor is it loaded"
    done = host.cli("reload")
    assert done.status == 1
    assert f"failed {BASE}: {part}, a part of profile {BASE}, is empty." in done.out + done.err
    host.write(part, "  deny /x w,\n")
    assert host.hook("952").status == 0


# -- a profile's file that is not there is not one that asks for nothing ---------------------------


def gone(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("other"))
    path.with_name("other").write_bytes(
        path.with_name("other").read_bytes().replace(b"profile ", b"profile x")
    )


def huge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(17 << 20)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def crlf(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def blanks(path: Path) -> None:
    path.write_bytes(
        path.read_bytes().replace(b"-seccomp\n", b"-seccomp \t\n").replace(b"profile", b"  profile")
    )


@pytest.mark.parametrize("spoil", [gone, renamed, huge, fifo, crlf, blanks])
@pytest.mark.parametrize("settled", [False, True])
def test_a_privileged_container_never_starts_without_its_seccomp_policy(
    host: FakeHost, spoil: Callable[[Path], None], settled: bool
) -> None:
    guarded(host, settled=settled)
    spoil(host.path(f"{paths.APPARMOR_D}/{BASE}"))
    host.runtime("952", PLAIN)
    done = host.hook("952")
    has_policy = b"lxc.seccomp.profile = " + paths.SECCOMP.encode() in host.read(
        paths.runtime("952")
    )
    assert done.status == (0 if spoil in (crlf, blanks) else 1), done
    assert has_policy is (done.status == 0)
    if done.status:
        assert BASE in done.err and len(done.err.splitlines()) == 2


@pytest.mark.parametrize("how", ["gone", "emptied", "folder", "fifo", "dangling"])
@pytest.mark.parametrize("settled", [False, True])
def test_a_seccomp_policy_is_a_file_with_something_in_it(
    host: FakeHost, how: str, settled: bool
) -> None:
    policy = guarded(host, settled=settled)
    policy.unlink()
    if how == "emptied":
        policy.write_bytes(b"")
    elif how == "folder":
        policy.mkdir()
    elif how == "fifo":
        os.mkfifo(policy)
    elif how == "dangling":
        policy.symlink_to("/nonexistent")
    done = host.hook("952")
    assert done.status == 1 and paths.SECCOMP in done.err, done


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user")
@pytest.mark.parametrize("how", ["owner", "mode", "folder"])
@pytest.mark.parametrize("settled", [False, True])
def test_a_seccomp_policy_that_others_can_write_is_not_used(
    host: FakeHost, how: str, settled: bool
) -> None:
    policy = guarded(host, settled=settled)
    if how == "owner":
        os.chown(policy, NOBODY, NOBODY)
    elif how == "mode":
        policy.chmod(0o666)
    else:
        policy.parent.chmod(0o777)
    done = host.hook("952")
    assert done.status == 1 and "If its content is right: chown root:root" in done.err, done
    os.chown(policy, 0, 0)
    policy.chmod(0o644)
    policy.parent.chmod(0o755)
    assert host.hook("952").status == 0, "the control"


# -- helpers that hang -----------------------------------------------------------------------------


def test_after_the_kill_nothing_is_waited_for() -> None:
    begin = time.monotonic()
    with pytest.raises(PhoenixError, match="did not end within"):
        commands.run(["sh", "-c", "setsid sleep 120 & sleep 120"], timeout=0.5)
    assert time.monotonic() - begin < 60


def test_the_whole_group_is_killed() -> None:
    seconds = 1_000_000 + os.getpid()  # of this run alone
    with pytest.raises(PhoenixError):
        commands.run(["sh", "-c", f"sleep {seconds} & wait"], timeout=0.5)
    time.sleep(0.3)
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], check=False).returncode == 1


def test_a_child_that_keeps_the_output_open_is_not_waited_for() -> None:
    for child in ("setsid sleep 300 &", "sleep 300 &", "(while :; do echo x; done) &"):
        begin = time.monotonic()
        ran = commands.run(["sh", "-c", f"echo all; {child} exit 3"], timeout=200)
        assert (ran.status, ran.out[:4]) == (3, b"all\n")
        assert time.monotonic() - begin < 100, child


@pytest.mark.parametrize("child", ["setsid sleep 300 &", ""])
def test_nor_where_its_lines_come_one_at_a_time(child: str) -> None:
    begin = time.monotonic()
    stream = commands.Stream(["sh", "-c", f"{child} echo no >&2; seq 1000000; exit 3"], timeout=200)
    assert list(stream) == [b"%d\n" % n for n in range(1, 1_000_001)]
    assert (stream.status, stream.err) == (3, "no\n")
    assert time.monotonic() - begin < 150


def test_a_child_that_prints_on_and_on_is_left_alone() -> None:
    stream = commands.Stream(["sh", "-c", "(while :; do echo; done) & exit 3"], timeout=200)
    begin = time.monotonic()
    assert set(stream) <= {b"\n"} and stream.status == 3
    assert time.monotonic() - begin < 150


def test_a_reader_that_stops_early_ends_the_program() -> None:
    seconds = 2_000_000 + os.getpid()  # of this run alone
    command = ["sh", "-c", f"echo first; sleep {seconds}"]
    for line in commands.Stream(command, timeout=60):
        assert line == b"first\n"
        break
    time.sleep(0.3)
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], check=False).returncode == 1
    with pytest.raises(PhoenixError, match=r"did not end within 0\.5 s"):
        list(commands.Stream(command, timeout=0.5))


def test_a_line_without_an_end_comes_in_pieces() -> None:
    stream = commands.Stream(["head", "-c", "5000000", "/dev/zero"], timeout=20)
    pieces = list(stream)
    assert b"".join(pieces) == bytes(5_000_000)
    assert max(map(len, pieces)) < 2 << 20


def test_what_a_program_prints_has_a_bound() -> None:
    with pytest.raises(PhoenixError, match="printed more than 32 MiB"):
        commands.run(["cat", "/dev/zero"], timeout=30)
    ran = commands.run(["sh", "-c", "head -c 100000000 /dev/zero >&2; echo end >&2"], timeout=30)
    assert ran.status == 0 and len(ran.err) == commands.MOST_MESSAGES
    ran = commands.run(["head", "-c", "3000000", "/dev/zero"], timeout=30)
    assert len(ran.out) == 3_000_000, "the control"


def test_stdin_reaches_a_program_as_a_whole() -> None:
    data = bytes(range(256)) * 4096
    assert commands.run(["cat"], timeout=30, stdin=data).out == data
    assert commands.run(["true"], timeout=30, stdin=data).status == 0
    with pytest.raises(PhoenixError, match=r"did not end within 0\.3 s"):
        commands.run(["sleep", "9"], timeout=0.3, stdin=data)


def test_a_parser_that_is_killed_did_not_find_an_error(base: FakeHost) -> None:
    base.kernel({})
    parser = base.write("/fake/bin/apparmor_parser", "#!/bin/sh\nkill -9 $$\n")
    parser.chmod(0o755)
    done = base.hook("952", PATH=f"{parser.parent}:{base.environment['PATH']}")
    assert done.status == 1
    assert "killed by signal 9" in done.err and "compile" not in done.err


def test_a_parser_that_says_too_much_is_quoted_in_part(base: FakeHost, journal: Journal) -> None:
    base.kernel({})
    parser = base.write(
        "/fake/bin/apparmor_parser", "#!/bin/sh\nyes error | head -c 9000000 >&2; exit 1\n"
    )
    parser.chmod(0o755)
    done = base.hook("952", PATH=f"{parser.parent}:{base.environment['PATH']}")
    assert done.status == 1 and "error error" in done.err and len(done.err) < 4000
    assert any("does not compile" in message for message in journal.messages())


def test_the_load_of_a_start_has_an_end(base: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    base.kernel({})
    for key, value in base.environment.items():
        monkeypatch.setenv(key, value)
    parser = base.write("/fake/bin/apparmor_parser", "#!/bin/sh\nsleep 60\n")
    parser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{parser.parent}:{base.environment['PATH']}")
    begin = time.monotonic()
    with pytest.raises(PhoenixError, match="did not end within"):
        load.ensure_enforced(Host(str(base.root)), BASE, begin + 1)
    assert time.monotonic() - begin < 20


def test_the_cache_is_not_read_when_a_profile_is_loaded(base: FakeHost) -> None:
    base.kernel({})
    assert base.hook("952").status == 0
    calls = [line.split() for line in base.read("/fake-parser-calls").decode().splitlines()]
    assert any("-T" in call and "-r" in call for call in calls), calls


# -- the kernel and labels -------------------------------------------------------------------------


def test_modes_and_hashes_are_those_of_just_this_profile(base: FakeHost) -> None:
    listing = b"xlxc-a (enforce)\nlxc-a//child (enforce)\nlxc-a (complain)\n"
    assert kernel.mode_of(listing, "lxc-a") == "complain"
    assert kernel.mode_of(listing[:16], "lxc-a") is None
    folder = f"{paths.KERNEL}/policy/profiles"
    host = Host(str(base.root))
    base.write(f"{folder}/lxc-a.x1/raw_sha256", "no\n")
    base.write(f"{folder}/lxc-a.3/name", "/lxc-a\n")
    base.write(f"{folder}/lxc-a.3/raw_sha256", "other\n")
    assert kernel.policy_hash(host, "lxc-a") is None
    base.write(f"{folder}/lxc-a.4/raw_sha1", "1\n")
    assert kernel.policy_hash(host, "lxc-a") == ("sha1", "1")


@pytest.mark.parametrize("mode", ["prompt", "complain", "unconfined", "mixed", "user"])
def test_only_enforcing_modes_hold(base: FakeHost, mode: str) -> None:
    assert not labels.fits(f"{BASE} ({mode})", Assignment(BASE), "952")
    if mode != "mixed":
        stacked = lxcconf.label((BASE,), "952", namespace=True)
        assert not labels.fits(f"{stacked}unconfined ({mode})", Assignment(BASE), "952")
        base.kernel({BASE: mode})
        assert base.hook("952").status == 1


def test_a_second_block_of_ours_goes_too() -> None:
    block = lxcconf.BEGIN + b"\nlxc.x = 1\n" + lxcconf.END + b"\n"
    assert lxcconf.without_our_lines(b"a\n" + block + b"b\n" + block) == b"a\nb\n"


def test_settled_is_not_at_once() -> None:
    assert lastgood.SETTLED_NS >= 1_000_000_000, "pmxcfs has times of whole seconds"


# -- starts ----------------------------------------------------------------------------------------


def test_an_unforeseen_error_is_a_refusal(base: FakeHost) -> None:
    text = Path(base.hook_file("hook")).read_text()
    broken = text.replace(
        "from phoenix_apparmor.hookscript import main",
        "from phoenix_apparmor import settled\nfrom phoenix_apparmor.hookscript import main\n"
        "import phoenix_apparmor.start as s\ns.prepare = None",
    )
    assert broken != text
    script = base.write("/fake/broken", broken)
    script.chmod(0o755)
    done = base.run(str(script), "952", "pre-start", PHOENIX_APPARMOR_ROOT=str(base.root))
    assert done.status == 1 and "error in phoenix-apparmor" in done.err


def test_what_proxmox_wrote_is_looked_at(base: FakeHost) -> None:
    base.proxmox()
    perl = base.write("/fake/bin/perl", "#!/bin/sh\nexit 0\n")
    perl.chmod(0o755)
    path = f"{perl.parent}:{base.environment['PATH']}"
    done = base.hook("952", PATH=path)
    assert done.status == 1 and "did not put profile" in done.err


def test_the_dead_key_is_dropped_by_what_generates() -> None:
    assert "lxc\\.(apparmor\\.profile|aa_profile)$" in start.REGENERATE


def test_a_host_of_which_nobody_knows_whether_it_is_proxmox(base: FakeHost) -> None:
    module = base.path(paths.PVE_MODULE)
    module.parent.mkdir(parents=True)
    module.symlink_to(module)
    before = base.read(paths.runtime("952"))
    done = base.hook("952")
    assert done.status == 1 and "LXC.pm" in done.err
    assert base.read(paths.runtime("952")) == before


@pytest.mark.parametrize("part", ["phoenix_apparmor.start", "traceback", "socket"])
def test_a_disk_that_fails_while_a_part_of_the_program_is_read(base: FakeHost, part: str) -> None:
    """Python takes EIO for "no such module"; a refusal has its two lines all the same."""
    text = Path(base.hook_file("hook")).read_text()
    broken = text.replace(
        "from phoenix_apparmor.hookscript import main",
        "from phoenix_apparmor.hookscript import main\n"
        + (
            ""
            if part.endswith("start")
            else "import phoenix_apparmor.start as s\ns.prepare = None\n"
        )
        + f"sys.modules[{part!r}] = None",
    )
    script = base.write("/fake/broken", broken)
    script.chmod(0o755)
    done = base.run(str(script), "952", "pre-start", PHOENIX_APPARMOR_ROOT=str(base.root))
    assert done.status == 1 and len(done.err.splitlines()) == 2, done
    assert done.err.startswith("CT 952: ")
    assert ("error in phoenix-apparmor" in done.err) is (part != "phoenix_apparmor.start")


def test_a_read_that_never_ends_is_a_refusal(base: FakeHost) -> None:
    text = Path(base.hook_file("hook")).read_text()
    script = base.write(
        "/fake/hangs",
        text.replace(
            "from phoenix_apparmor.hookscript import main",
            "import time\nfrom phoenix_apparmor import hookscript\n"
            "from phoenix_apparmor.hookscript import main\n"
            "hookscript.HOOKSCRIPT_SECONDS = 1\n"
            "hookscript.settle = lambda *_: time.sleep(60)",
        ),
    )
    script.chmod(0o755)
    begin = time.monotonic()
    done = base.run(str(script), "952", "pre-start", PHOENIX_APPARMOR_ROOT=str(base.root))
    assert done.status == 1 and "not responding" in done.err
    assert time.monotonic() - begin < 30
