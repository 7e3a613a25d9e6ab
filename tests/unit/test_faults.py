"""Bad days: files that are no files, folders of others, programs that hang, faults half-way."""

import fcntl
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_apparmor import commands, kernel, labels, lastgood, lxcconf, paths, start
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.package import attaching, maintscript
from phoenix_apparmor.policy import load
from tests.names import BASE, DOCKER
from tests.unit.fakehost import PYTHON, REPO, FakeHost

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
NOBODY = 65534


@pytest.fixture
def base(host: FakeHost) -> FakeHost:
    host.confined("952", BASE, "lxc-other")
    return host


# -- the host's own folders ---------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o077])
def test_our_own_umask(base: FakeHost, umask: int) -> None:
    base.run("/bin/sh", "-c", f"umask {umask:o}; exec {base.hook_file('hookscript')} 952 pre-start",
             PHOENIX_APPARMOR_ROOT=str(base.root))  # fmt: skip
    modes = {
        name: base.path(name).stat().st_mode & 0o777
        for name in (paths.RUN, paths.LOCKS, paths.STATE, paths.COPY, paths.conf("952"))
    }
    assert list(modes.values()) == [0o700, 0o700, 0o755, 0o644, 0o644], modes
    assert base.path(paths.ASSIGNMENTS_LOCK).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="makes folders of another user")
def test_locks_of_others_and_links_are_not_followed(base: FakeHost) -> None:
    victim = base.path("/etc/nologin")
    locks = base.path(paths.LOCKS)
    locks.mkdir(parents=True)
    os.chown(locks, NOBODY, NOBODY)
    (locks / "assignments.lock").symlink_to(victim)
    (locks / "loading.lock").symlink_to(victim)
    base.kernel({})
    done = base.hook("952")
    assert done.status == 1 and "belongs to uid 65534" in done.err, done
    assert not victim.exists()
    os.chown(locks, 0, 0)
    assert base.hook("952").status == 1
    assert not victim.exists()
    (locks / "loading.lock").unlink()
    (locks / "assignments.lock").unlink()
    assert base.hook("952").status == 0, "the control"


def test_the_lock_of_a_conf_is_taken_by_the_hook(base: FakeHost) -> None:
    base.hook("952")
    assert base.path(paths.conf_lock("952")).exists()


# -- what is no file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [f"{paths.APPARMOR_D}/{BASE}", paths.COPY, paths.conf("952"), paths.JSON_FILES[0],
             paths.runtime("952")]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["fifo", "folder", "loop"])
def test_what_is_no_file_hangs_nothing(base: FakeHost, name: str, kind: str) -> None:
    assert base.hook("952").status == 0
    place = base.path(name)
    place.unlink()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(place)
    begin = time.monotonic()
    for done in (base.hook("952"), base.cli("status"), base.cli("reload"), base.cli("validate"),
                 base.cli("apply", "--all")):  # fmt: skip
        assert "Traceback" not in done.err and "error in phoenix" not in done.err, done
    assert base.hook("952").status == (0 if name in (paths.COPY, paths.JSON_FILES[0]) else 1)
    assert time.monotonic() - begin < 90


def test_all_goes_on_after_one_that_cannot_be(base: FakeHost) -> None:
    base.json({c: {"apparmor_profile": BASE} for c in ("951", "952", "953")})
    base.path(paths.conf("951")).mkdir()
    base.conf("953")
    done = base.cli("apply", "--all")
    assert done.status == 1 and "951.conf: not a regular file" in done.err.replace(
        str(base.root), ""
    )
    assert BASE.encode() in base.read(paths.conf("953"))
    assert "1 failed" in done.out


def test_full_output_is_an_error_and_no_traceback(base: FakeHost) -> None:
    for verb in ("status", "doctor", "validate"):
        command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} {verb} >/dev/full"
        done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
        assert done.status == 1, done
        assert "No space left" in done.err and "Traceback" not in done.err


# -- a profile's file that is not there is not one that asks for nothing ---------------------


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
    host.confined("952", BASE)
    runtime = f"lxc.apparmor.profile = {BASE}\n".encode()
    host.runtime("952", runtime)
    host.conf("952", f"lxc.apparmor.profile: {BASE}\n")
    host.write(paths.SECCOMP, "2\n")
    path = host.profile(BASE, before=paths.SECCOMP_MARKER.decode() + "\n")
    if settled:
        assert host.hook("952").status == 0
        host.settle()
    spoil(path)
    host.runtime("952", runtime)
    done = host.hook("952")
    guarded = b"lxc.seccomp.profile = " + paths.SECCOMP.encode() in host.read(paths.runtime("952"))
    assert done.status == (0 if spoil in (crlf, blanks) else 1), done
    assert guarded is (done.status == 0)
    if done.status:
        assert BASE in done.err and len(done.err.splitlines()) == 2


# -- helpers that hang ---------------------------------------------------------------------------


def test_after_the_kill_nothing_is_waited_for() -> None:
    begin = time.monotonic()
    with pytest.raises(PhoenixError, match="did not end within"):
        commands.run(["sh", "-c", "setsid sleep 20 & sleep 20"], timeout=0.5)
    assert time.monotonic() - begin < 5


def test_the_whole_group_is_killed() -> None:
    seconds = 1_000_000 + os.getpid()  # of this run alone
    with pytest.raises(PhoenixError):
        commands.run(["sh", "-c", f"sleep {seconds} & wait"], timeout=0.5)
    time.sleep(0.3)
    assert subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], check=False).returncode == 1


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


# -- files ---------------------------------------------------------------------------------------


def test_only_what_is_surely_ours_is_removed(base: FakeHost) -> None:
    kept = [
        f"/etc/pve/lxc/952.conf.phoenix-apparmor.{end}"
        for end in (
            "bak",
            "20261125",
            "1",
            f"{os.getpid()}.1795644707380831682",
            "1.2",
            "x.1795644707380831682",
        )
    ]
    for name in kept:
        base.write(name, "mine")
    left = base.write("/etc/pve/lxc/953.conf.phoenix-apparmor.4194305.1795644707380831682", "x")
    assert base.hook("952").status == 0
    assert [name for name in kept if not base.path(name).exists()] == []
    assert not left.exists()


def test_files_are_synced_and_never_opened_over_another(base: FakeHost) -> None:
    log = base.path("/fake/strace")
    log.parent.mkdir(exist_ok=True)
    traced = ["strace", "-y", "-o", str(log), "-e", "trace=openat,fsync,rename"]
    base.run(*traced, base.hook_file("hookscript"), "952", "pre-start",
             PHOENIX_APPARMOR_ROOT=str(base.root))  # fmt: skip
    lines = log.read_text().splitlines()
    for name in (paths.conf("952"), paths.runtime("952"), paths.COPY):
        path = f"{base.root}{name}"
        renames = [
            n
            for n, line in enumerate(lines)
            if line.startswith("rename") and f', "{path}")' in line
        ]
        assert len(renames) == 1, name
        before = [line for line in lines[: renames[0]] if path + ".phoenix-apparmor." in line]
        assert any("O_CREAT|O_EXCL" in line for line in before), before
        assert any(line.startswith("fsync") for line in before), before
        folder = os.path.dirname(path)
        after = lines[renames[0] : renames[0] + 3]
        assert any(line.startswith("fsync") and f"<{folder}>" in line for line in after), after


def test_a_file_that_changes_while_it_is_read_is_read_again(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Host.read_and_stat
    new = b'{"lxc_configs": {"952": {"apparmor_profile": "lxc-other"}}}'

    def changing(self: Host, name: str, limit: int = 64 << 20) -> tuple[bytes, os.stat_result]:
        result = real(self, name, limit)
        if name == paths.JSON_FILES[0] and result[0] != new:
            base.json(new)
        return result

    monkeypatch.setattr(Host, "read_and_stat", changing)
    known = lookup.everyone(Host(str(base.root)))
    assert known.assigned["952"].name == "lxc-other"


def test_a_json_that_a_group_may_write_is_not_trusted(base: FakeHost) -> None:
    path = base.path(paths.JSON_FILES[0])
    path.chmod(0o660)
    host = Host(str(base.root))
    assert host.distrust(paths.JSON_FILES[0]) == ""
    if os.geteuid() == 0:
        os.chown(path, 0, 33)
        assert "anyone but root may write" in host.distrust(paths.JSON_FILES[0])


# -- the kernel and labels ----------------------------------------------------------------------


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


# -- starts -------------------------------------------------------------------------------------


def test_an_unforeseen_error_is_a_refusal(base: FakeHost) -> None:
    text = Path(base.hook_file("hookscript")).read_text()
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


def test_a_read_that_never_ends_is_a_refusal(base: FakeHost) -> None:
    text = Path(base.hook_file("hookscript")).read_text()
    script = base.write(
        "/fake/hangs",
        text.replace(
            "from phoenix_apparmor.hookscript import main",
            "import time\nfrom phoenix_apparmor import hookscript\n"
            "from phoenix_apparmor.hookscript import main\n"
            "hookscript.HOOKSCRIPT_SECONDS = 1\n"
            "hookscript.is_settled = lambda *_: time.sleep(60)",
        ),
    )
    script.chmod(0o755)
    begin = time.monotonic()
    done = base.run(str(script), "952", "pre-start", PHOENIX_APPARMOR_ROOT=str(base.root))
    assert done.status == 1 and "not responding" in done.err
    assert time.monotonic() - begin < 30


# -- what runs ----------------------------------------------------------------------------------


def runs(host: FakeHost, ctid: str, *, seccomp: int, privileged: bool, label: str) -> None:
    host.running(ctid, label)
    host.write("/proc/4242/status", f"Name:\tinit\nSeccomp:\t{seccomp}\n")
    host.write("/proc/4242/uid_map", "0 0 4294967295\n" if privileged else "0 100000 65536\n")


@pytest.mark.parametrize("seccomp", [0, 2])
def test_status_sees_a_container_that_runs_without_its_seccomp_policy(
    host: FakeHost, seccomp: int
) -> None:
    host.confined("952", BASE)
    host.profile(BASE, before=paths.SECCOMP_MARKER.decode() + "\n")
    host.write(paths.SECCOMP, "2\n")
    host.runtime("952", b"lxc.uts.name = x\n")
    assert host.hook("952").status == 0
    runs(host, "952", seccomp=seccomp, privileged=True, label=f"{BASE} (enforce)")
    shown = host.cli("status", "952")
    assert ("restart pending" in shown.out) is (seccomp == 0), shown
    after = host.hook("952", "post-start")
    assert (after.status == 1) is (seccomp == 0)
    assert host.unit("pre-start", "952").status == 0
    told = host.unit("post-start", "952")
    assert (told.status, bool(told.err)) == (0, seccomp == 0)
    host.write("/fake/lxc/952/lxc.seccomp.profile", "/usr/share/lxc/config/common.seccomp\n")
    assert "restart pending" in host.cli("status", "952").out


@pytest.mark.parametrize(
    ("label", "stopped"),
    [
        (f"{BASE} (enforce)", 0),
        ("lxc-other (enforce)", 0),
        ("unconfined", 3),
        (f"{BASE} (complain)", 3),
    ],
)
def test_what_nothing_confines_is_stopped(base: FakeHost, label: str, stopped: int) -> None:
    assert base.unit("pre-start", "952").status == 0
    runs(base, "952", seccomp=2, privileged=False, label=label)
    assert base.unit("post-start", "952").status == stopped
    assert base.unit("post-start", "952").status == 0, "a start that did not go through us"


def test_what_is_still_lxc_start_is_not_judged(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its label changes at the exec of init."""
    for key, value in base.environment.items():
        monkeypatch.setenv(key, value)
    assert base.hook("952").status == 0
    runs(base, "952", seccomp=0, privileged=False, label="unconfined")
    base.path("/proc/4242/exe").symlink_to("/usr/bin/lxc-start")
    start.verify(Host(str(base.root)), "952", wait=0.2)
    base.path("/proc/4242/exe").unlink()
    with pytest.raises(PhoenixError, match="unconfined"):
        start.verify(Host(str(base.root)), "952", wait=0.2)


@pytest.mark.parametrize("stacked", [False, True])
def test_status_sees_a_container_without_its_policy_namespace(
    host: FakeHost, stacked: bool
) -> None:
    host.confined("952", DOCKER)
    host.profile(DOCKER, before=paths.NAMESPACE_MARKER.decode() + "\n")
    assert host.hook("952").status == 0
    label = lxcconf.label((DOCKER,), "952", namespace=True) + "unconfined" if stacked else DOCKER
    runs(host, "952", seccomp=2, privileged=False, label=f"{label} (enforce)")
    assert ("restart pending" in host.cli("status", "952").out) is not stacked


# -- removal ------------------------------------------------------------------------------------


def test_removal_remembers_before_its_first_step(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ctid in ("952", "953"):
        base.conf(ctid, OURS)

    def killed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(attaching, "detach", killed)
    with pytest.raises(KeyboardInterrupt):
        maintscript.detach_all(Host(str(base.root)))
    assert base.read("/var/lib/phoenix-apparmor/detached").count(b"local:snippets") == 2


def test_removal_stays_where_one_cannot_be_detached(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.conf("952", OURS + "lock: backup\n")
    base.conf("953", OURS)
    for key, value in base.environment.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(PhoenixError, match="952"):
        maintscript.detach_all(Host(str(base.root)))
    assert (
        base.read("/var/lib/phoenix-apparmor/detached")
        == b"953 local:snippets/phoenix-apparmor.py\n"
    )


def test_removal_needs_nobody_who_reads_what_it_says(base: FakeHost) -> None:
    for ctid in ("952", "953"):
        base.conf(ctid, OURS)
    text = (
        "import sys; from phoenix_apparmor.host import Host; "
        "from phoenix_apparmor.package.maintscript import main; "
        "sys.exit(main(['remove'], Host(sys.argv[1])))"
    )
    command = f'exec {PYTHON} -c "{text}" {base.root} >/dev/full'
    assert base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO)).status == 0
    assert b"hookscript" not in base.read(paths.conf("952")) + base.read(paths.conf("953"))


def test_removal_names_the_snapshots_that_bring_the_hookscript_back(
    base: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    base.conf(
        "952", f"arch: amd64\n\n[before]\narch: amd64\n{OURS}\n[other]\nhookscript: a:snippets/x\n"
    )
    maintscript.detach_all(Host(str(base.root)))
    said = capsys.readouterr().err
    assert "CT 952" in said and "before" in said and "other" not in said


def test_without_pct_the_option_goes_under_proxmox_lock(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.conf("952", OURS)
    monkeypatch.setattr(attaching, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(Host, "has_program", lambda *_: False)
    lock = base.write(paths.conf_lock("952"), "")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PhoenixError, match="locked"):
            attaching.detach(Host(str(base.root)), "952")
    assert attaching.detach(Host(str(base.root)), "952")


# -- streams that the caller closed -------------------------------------------------------------

CLOSED = ("<&-", ">&-", "2>&-", "<&- >&- 2>&-")


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_stop_no_start_and_hide_no_refusal(base: FakeHost, closed: str) -> None:
    command = f'exec "$@" {closed}'
    for name, *words in (("hookscript", "952", "pre-start"), ("unit", "pre-start", "952")):
        base.runtime("952")
        done = base.run("/bin/sh", "-c", command, "sh", base.hook_file(name), *words,
                        PHOENIX_APPARMOR_ROOT=str(base.root))  # fmt: skip
        assert done.status == 0 and "Traceback" not in done.err, done
        assert f"lxc.apparmor.profile = {BASE}".encode() in base.read(paths.runtime("952"))
    base.kernel({BASE: "complain"})
    done = base.run("/bin/sh", "-c", command, "sh", base.hook_file("hookscript"), "952",
                    "pre-start", PHOENIX_APPARMOR_ROOT=str(base.root))  # fmt: skip
    assert done.status == 1 and "Traceback" not in done.err
    assert ("complain mode" in done.err) is ("2>&-" not in closed)


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("verb", ["status", "status --check", "doctor", "validate", "apply --all"])
def test_closed_streams_are_no_error(base: FakeHost, closed: str, verb: str) -> None:
    usual = base.cli(*verb.split())
    command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} {verb} {closed}"
    done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
    assert done.status in (usual.status, 0 if "apply" in verb else usual.status), done
    assert "Traceback" not in done.out + done.err
    assert b"Traceback" not in base.read(paths.conf("952"))


@pytest.mark.parametrize("full", [">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full"])
def test_a_log_that_takes_nothing_decides_about_no_start(base: FakeHost, full: str) -> None:
    base.conf("952", "lxc.apparmor.profile: lxc-\N{LATIN SMALL LETTER E WITH ACUTE}\n")
    command = f'exec "$@" {full}'

    def start() -> int:
        base.runtime("952")
        hook = (base.hook_file("hookscript"), "952", "pre-start")
        return base.run("/bin/sh", "-c", command, "sh", *hook, LC_ALL="C",
                        PHOENIX_APPARMOR_ROOT=str(base.root)).status  # fmt: skip

    assert start() == 0, "with changes to tell"
    assert f"lxc.apparmor.profile = {BASE}".encode() in base.read(paths.runtime("952"))
    base.json("{")
    assert start() == 0, "with a warning to tell"
    base.kernel({BASE: "complain"})
    assert start() == 1


def test_a_full_disk_behind_the_messages_stops_no_work(base: FakeHost) -> None:
    base.json({c: {"apparmor_profile": BASE} for c in ("951", "952", "953")})
    base.path(paths.conf("951")).mkdir()
    base.conf("953")
    command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} apply --all 2>/dev/full"
    done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
    assert done.status == 1 and "2 changed, 0 already right, 1 failed" in done.out, done
    assert BASE.encode() in base.read(paths.conf("953"))
    for verb, status in (("status 999", 1), ("apply x", 64), ("no-such-verb", 1)):
        command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} {verb} 2>/dev/full"
        done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
        assert done.status == status, (verb, done)
