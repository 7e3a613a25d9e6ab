"""A process that was stopped (SIGSTOP) while it held a lock: nobody waits for it without end.

Each test has a real one. What starts and what loads goes on without the lock, as it only spares
work and keeps order, and says so; what changes a file of others refuses.
"""

import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from phoenix_apparmor import cli, paths, start, stopped
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.cli import apply
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.package import attaching, maintscript
from phoenix_apparmor.policy import load
from phoenix_apparmor.suggest import json_file
from tests.names import BASE, DOCKER
from tests.unit.fakehost import PYTHON, REPO, Done, FakeHost, Journal

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
CONF = paths.conf("952")
# What one waits here, seconds; that it is waited for is seen by it.
SHORT = 0.3
HOLDER = """
import fcntl, os, signal, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)
os.kill(os.getpid(), signal.SIGSTOP)
"""
Hold = Callable[[str], int]


@pytest.fixture
def real(base: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    for key, value in base.environment.items():
        monkeypatch.setenv(key, value)
    for module in (load, apply, attaching, json_file):
        monkeypatch.setattr(module, "LOCK_SECONDS", SHORT)
    monkeypatch.setattr(start, "PATIENCE", {"hookscript": 3 * SHORT, "unit": 3 * SHORT})
    return Host(str(base.root))


@pytest.fixture
def hold(real: Host) -> Iterator[Hold]:
    """Has a process take a lock and stop; its process id."""
    stopped: list[subprocess.Popen[bytes]] = []

    def holder(name: str) -> int:
        with Lock(real, name, wait=0):
            pass  # makes the file, as root's
        process = subprocess.Popen([PYTHON, "-c", HOLDER, real.path(name)])
        stopped.append(process)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
        return process.pid

    yield holder
    for process in stopped:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Whatever is done here ends; the times above are a fraction of this."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < 30


def told(error: PhoenixError, pid: int, name: str) -> bool:
    """Whether an error says who holds what, and what to do."""
    return (
        f"process {pid}, which is stopped, has held {name}" in error.what
        and f"kill -CONT {pid}" in error.hint
    )


def test_who_holds_a_lock_is_known(real: Host, hold: Hold) -> None:
    pid = hold(paths.JSON_LOCK)
    with Lock(real, paths.JSON_LOCK, wait=0) as lock:
        assert not lock.held and told(lock.late(), pid, paths.JSON_LOCK)
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, os.WUNTRACED)
    with Lock(real, paths.JSON_LOCK, wait=0) as lock:
        assert lock.held, "the control: it was the stopped process"
        with Lock(real, paths.JSON_LOCK, wait=0) as other:
            late = other.late()
            assert f"process {os.getpid()} has held" in late.what and "CONT" not in late.hint


@pytest.mark.parametrize("where", ["hookscript", "unit"])
def test_a_start_reads_a_changed_json_by_itself(
    base: FakeHost, real: Host, hold: Hold, where: start.Where
) -> None:
    pid = hold(paths.ASSIGNMENTS_LOCK)
    begin = time.monotonic()
    prepared = start.prepare(real, "952", where)
    assert time.monotonic() - begin >= SHORT
    assert prepared.assignment is not None and prepared.assignment.profile == BASE
    assert BASE.encode() in base.read(paths.runtime("952"))
    assert told(prepared.warnings[0], pid, paths.ASSIGNMENTS_LOCK)
    assert prepared.warnings[0].ctid == "952"
    # What it found is kept: the next one, seconds later, has nothing to wait for.
    base.settle()
    begin = time.monotonic()
    again = start.prepare(real, "952", where)
    assert not any("has held" in warning.what for warning in again.warnings)
    assert time.monotonic() - begin < SHORT


@pytest.mark.parametrize("mode", ["enforce", "trial"])
def test_a_start_loads_its_profile_by_itself(
    base: FakeHost, real: Host, hold: Hold, mode: str
) -> None:
    base.profile(BASE, flags="flags=(attach_disconnected) ")
    base.json({"952": {"apparmor_profile": BASE, "apparmor_mode": mode}})
    if mode == "enforce":
        base.kernel({})
    pid = hold(paths.LOADING_LOCK)
    prepared = start.prepare(real, "952", "hookscript")
    assert any("loaded profile" in change for change in prepared.changes)
    assert BASE.encode() in base.read(paths.KERNEL_PROFILES)
    [late] = [warning for warning in prepared.warnings if "has held" in warning.what]
    assert told(late, pid, paths.LOADING_LOCK) and late.ctid == "952"


def test_reload_loads_and_says_that_it_did_not_wait(
    base: FakeHost, real: Host, hold: Hold, capsys: pytest.CaptureFixture[str]
) -> None:
    base.kernel({})
    base.json({"952": {"apparmor_profile": BASE, "apparmor_rules": ["/srv/** r,"]}})
    hold(paths.LOADING_LOCK)
    assert cli.main(["--root", real.root, "reload"]) == 0
    assert f"{BASE} (enforce)\n".encode() in base.read(paths.KERNEL_PROFILES)
    said = capsys.readouterr()
    assert f"loaded {BASE}" in said.out
    assert f"has held {paths.LOADING_LOCK}" in said.err and "kill -CONT" in said.err


@pytest.mark.parametrize("verb", ["reload", "apply 952", "attach 952"])
def test_commands_read_a_changed_json_by_themselves(
    base: FakeHost,
    real: Host,
    hold: Hold,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    everyone = functools.partial(lookup.everyone, wait=SHORT)
    monkeypatch.setattr(lookup, "everyone", everyone)
    base.write("/var/lib/vz/snippets/phoenix-apparmor.py", "")
    hold(paths.ASSIGNMENTS_LOCK)
    assert cli.main(["--root", real.root, *verb.split()]) == 0
    said = capsys.readouterr().err
    assert f"has held {paths.ASSIGNMENTS_LOCK}" in said and "kill -CONT" in said
    assert base.path(paths.COPY).exists()


@pytest.mark.parametrize("verb", ["status", "doctor", "validate", "apply --all --dry-run"])
def test_who_only_looks_waits_for_nobody(
    real: Host, hold: Hold, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    for name in (paths.ASSIGNMENTS_LOCK, paths.LOADING_LOCK, paths.conf_lock("952")):
        hold(name)

    def waited(*_: object) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(Lock, "late", waited)
    assert cli.main(["--root", real.root, *verb.split()]) in (0, 1, 2)


@pytest.mark.slow
def test_apply_refuses_what_is_locked(base: FakeHost, hold: Hold) -> None:
    """Side by side, as each waits for ten seconds."""
    before = base.read(CONF)
    base.assign(c952=BASE, c953=BASE)
    base.conf("953")
    hold(paths.conf_lock("952"))

    def of(which: str) -> Done:
        command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(base.root), "apply", which]
        return base.execute(command, {"PYTHONPATH": str(REPO)})

    with ThreadPoolExecutor() as pool:
        one, every = pool.map(of, ("952", "--all"))
    assert one.status == 1 and every.status == 1
    assert base.read(CONF) == before
    assert f"fuser -v {paths.conf_lock('952')}" in one.err
    assert BASE.encode() in base.read(paths.conf("953")), "one that is locked stops no other"
    assert "CT 952: its configuration is locked" in every.err


def test_a_start_does_not_wait_for_the_lock_of_its_own_parent(
    base: FakeHost, real: Host, hold: Hold
) -> None:
    """Whoever holds it: Proxmox does while it starts a container, and waits for us."""
    hold(paths.conf_lock("952"))
    start.prepare(real, "952", "hookscript")
    assert BASE.encode() in base.read(CONF)


def test_removal_stays_where_a_configuration_is_locked(
    base: FakeHost,
    real: Host,
    hold: Hold,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Host, "has_program", lambda *_: False)  # no pct
    base.conf("952", OURS)
    base.conf("953", OURS)
    pid = hold(paths.conf_lock("952"))
    assert maintscript.main(["remove"], real) == 1
    assert base.read(CONF).decode() == OURS and base.read(paths.conf("953")) == b""
    said = capsys.readouterr().err
    assert f"kill -CONT {pid}" in said and "phoenix-apparmor stays" in said
    assert maintscript.main(["configure"], real) == 1, "953: no storage for the hookscript"


def test_the_json_is_not_written_beside_another_writer(
    base: FakeHost, real: Host, hold: Hold
) -> None:
    source = paths.JSON_FILES[0]
    before = base.read(source)
    pid = hold(paths.JSON_LOCK)
    with pytest.raises(PhoenixError, match="being written by another") as raised:
        json_file.replace_json(real, source, lambda _: b"{}")
    assert base.read(source) == before and f"kill -CONT {pid}" in raised.value.hint


def test_after_the_stop_profiles_stay_and_the_journal_has_it(
    base: FakeHost, real: Host, hold: Hold, journal: Journal
) -> None:
    base.profile(DOCKER, flags="flags=(attach_disconnected) ")
    base.json({"952": {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}})
    start.prepare(real, "952", "hookscript")
    journal.entries()
    removed = base.write(f"{paths.KERNEL}/.remove", "")
    pid = hold(paths.LOADING_LOCK)
    assert not stopped.release(real, "952")
    assert removed.read_bytes() == b""
    [entry] = journal.entries()
    assert f"process {pid}, which is stopped" in entry["MESSAGE"]
    assert (entry["PRIORITY"], entry["PHOENIX_CTID"]) == ("4", "952")
