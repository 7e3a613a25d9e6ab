"""Phases and steps: what each does, and within which time."""

import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_apparmor import hookscript, init_process, paths, start
from phoenix_apparmor.host import Host, need_streams
from phoenix_apparmor.settled import is_settled
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost, Journal

RUNTIME, CONF = paths.runtime("952"), paths.conf("952")
BEGUN = paths.begun("952")
PHASES = ("pre-start", "post-start", "pre-stop", "post-stop")


@pytest.fixture
def limits(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The time limits that are set; none of them ends this process."""
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PHOENIX_APPARMOR_ROOT", str(host.root))
    host.confined("952", BASE, DOCKER)
    host.path(paths.RUN).mkdir(parents=True)
    found: list[tuple[str, float]] = []

    def watch(_host: Host, _ctid: str, seconds: float, **_more: bool) -> None:
        found.append(("refuse", seconds))

    monkeypatch.setattr(hookscript, "_watch", watch)
    monkeypatch.setattr(hookscript, "_give_up", lambda _h, _c, s: found.append(("give up", s)))
    return found


def changed(host: FakeHost) -> bool:
    """Whether who publishes this node's report was woken."""
    mark = host.path(paths.CHANGED)
    was = mark.exists()
    mark.unlink(missing_ok=True)
    return was


@pytest.mark.parametrize("words", [[], ["952"], ["952", "pre-start", "x"]])
def test_a_wrong_call_is_told(
    limits: list[tuple[str, float]], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert hookscript.main(words) == 64
    assert capsys.readouterr().err.startswith("usage: hookscript CTID pre-start")
    assert hookscript.unit(words) == 64
    assert hookscript.unit(["pre-stop", "952"]) == hookscript.unit(["952", "pre-start"]) == 64
    assert capsys.readouterr().err.count("usage: unit pre-start|post-start|post-stop CTID") == 3
    assert limits == []


def test_times_of_the_hookscript(host: FakeHost, limits: list[tuple[str, float]]) -> None:
    assert hookscript.main(["952", "pre-start"]) == 0
    (what, seconds), *more = limits
    assert (what, more) == ("refuse", []) and 300 < seconds < 400
    assert not changed(host)
    for phase in PHASES[1:]:
        assert hookscript.main(["952", phase]) == 0
        assert changed(host) is (phase == "post-start")
    assert len(limits) == 1


def test_times_of_the_unit(host: FakeHost, limits: list[tuple[str, float]]) -> None:
    """The drop-in has TimeoutStartSec=30s, which would stop a container that only takes long."""
    host.running("952", f"{BASE} (enforce)")
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert not changed(host)
    host.write(paths.was_read("952"), "")  # lxc-start calls our hook
    assert hookscript.unit(["post-start", "952"]) == 0
    assert changed(host)
    assert hookscript.unit(["post-stop", "952"]) == 0
    assert changed(host)
    assert [what for what, _ in limits] == ["refuse", "give up"]
    assert 25 < limits[0][1] < 30 and 15 < limits[1][1] < 30


def test_a_name_that_is_no_ctid(
    limits: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert hookscript.main(["x/../952", "pre-start"]) == 1
    assert '"x/../952" is not a valid CTID' in capsys.readouterr().err
    assert hookscript.main(["x", "pre-stop"]) == 0
    assert hookscript.unit(["pre-start", "x"]) == 1
    assert hookscript.unit(["post-start", "x"]) == hookscript.unit(["post-stop", "x"]) == 0
    assert limits == []


def test_what_was_done_is_told_once(
    host: FakeHost,
    limits: list[tuple[str, float]],
    journal: Journal,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert hookscript.main(["952", "pre-start"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"CT 952: profile in .conf: no line -> {BASE}; corrected the")
    assert said.err == ""
    (entry,) = journal.entries()
    assert (entry["PRIORITY"], entry["PHOENIX_CTID"], entry["PHOENIX_PROFILE"]) == (
        "5",
        "952",
        BASE,
    )
    assert entry["MESSAGE"] == said.out.strip()
    assert hookscript.main(["952", "pre-start"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err, journal.entries()) == ("", "", [])
    host.json("{")
    assert hookscript.main(["952", "pre-start"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("WARN: CT 952: ")
    (entry,) = journal.entries()
    assert entry["PRIORITY"] == "4" and "The last good assignment is used" in entry["MESSAGE"]
    assert limits


def test_the_unit_says_nothing_of_a_start_that_goes_on(
    host: FakeHost,
    limits: list[tuple[str, float]],
    journal: Journal,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert capsys.readouterr() == ("", "")
    priorities = [entry["PRIORITY"] for entry in journal.entries()]
    assert sorted(priorities) == ["4", "5"], ".conf lags, and what was changed"
    host.kernel({BASE: "complain"})
    host.path("/run/pve").mkdir()
    assert hookscript.unit(["pre-start", "952"]) == 1
    told = host.read("/run/pve/ct-952.warnings").decode()
    assert "complain mode" in told and told == capsys.readouterr().err
    assert [entry["PRIORITY"] for entry in journal.entries()] == ["3"]
    assert limits


def test_only_a_start_that_went_through_the_unit_is_stopped(
    host: FakeHost, limits: list[tuple[str, float]]
) -> None:
    host.running("952", "unconfined")
    assert hookscript.unit(["post-start", "952"]) == 0
    assert hookscript.unit(["pre-start", "952"]) == 0
    begun = host.path(BEGUN)
    assert begun.stat().st_mode & 0o777 == 0o600
    assert begun.parent.stat().st_mode & 0o777 == 0o700
    # Where nothing else is to be done it makes its folders too.
    host.settle()
    shutil.rmtree(host.path(paths.RUN))
    assert hookscript.unit(["pre-start", "952"]) == 0
    modes = [host.path(name).stat().st_mode & 0o777 for name in (paths.RUN, paths.LOCKS, BEGUN)]
    assert modes == [0o700, 0o700, 0o600]
    host.path("/run/pve").mkdir()
    assert hookscript.unit(["post-start", "952"]) == 3
    assert 'CT 952: runs under "unconfined"' in host.read("/run/pve/ct-952.warnings").decode()
    assert not begun.exists()
    assert hookscript.unit(["post-start", "952"]) == 0
    host.kernel({BASE: "complain"})
    assert hookscript.unit(["pre-start", "952"]) == 1
    assert not begun.exists(), "a start that is refused"
    assert hookscript.main(["952", "post-start"]) == 1, "it only warns, and with 1"
    assert limits


def test_an_init_that_comes_late_is_looked_at_all_the_same(
    host: FakeHost, limits: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """lxc-start is there, and its mount hook waits for a server: nobody else looks."""
    monkeypatch.setattr(init_process, "INIT_SECONDS", 0)
    host.write("/proc/77/stat", "lxc-start")
    monkeypatch.setenv("MAINPID", "77")
    host.path("/run/pve").mkdir(parents=True)
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert hookscript.unit(["post-start", "952"]) == 0, "the start is not over"
    assert not host.path("/fake/stopped").exists()
    host.running("952", "unconfined")
    end = time.monotonic() + 30
    while not host.path("/fake/stopped").exists():
        assert time.monotonic() < end, "it was not ended"
        time.sleep(0.05)
    assert host.read("/fake/stopped") == b"-n 952 -k\n"
    assert 'CT 952: runs under "unconfined"' in host.read("/run/pve/ct-952.warnings").decode()
    assert limits


OURS = "ExecStartPre={ argv[]=sh -c exec /usr/libexec/phoenix-apparmor/unit pre-start 952 }\n"


@pytest.mark.parametrize(
    ("steps", "group", "status"),
    [
        (OURS, "pve-container@952.service/.control", 3),
        (OURS, "pve-container-debug@952.service", 3),
        ("ExecStartPre=\n", "pve-container@952.service", 0),
        (OURS, "user@0.service", 0),
    ],
    ids=["ours", "of the debug unit", "emptied by the admin", "by hand"],
)
def test_where_no_note_can_be_left_the_unit_is_asked(
    host: FakeHost, limits: list[tuple[str, float]], steps: str, group: str, status: int
) -> None:
    shutil.rmtree(host.path(paths.RUN), ignore_errors=True)
    host.write(paths.RUN, "no folder")
    host.write("/fake/show", steps)
    host.write("/proc/self/cgroup", f"0::/system.slice/system-pve.slice/{group}\n")
    host.running("952", "unconfined")
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert hookscript.unit(["post-start", "952"]) == status
    assert limits


def test_where_no_note_can_be_left_what_lxc_read_is_not_known(
    host: FakeHost, limits: list[tuple[str, float]], journal: Journal
) -> None:
    host.write("/fake/show", OURS)
    host.write("/proc/self/cgroup", "0::/x/pve-container@952.service\n")
    host.running("952", f"{BASE} (enforce)")
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert hookscript.unit(["post-start", "952"]) == 3, "the control: nobody ran our hook"
    journal.entries()
    shutil.rmtree(host.path(paths.RUN))
    host.write(paths.RUN, "no folder")
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert hookscript.unit(["post-start", "952"]) == 0
    assert "cannot be known" in "".join(e["MESSAGE"] for e in journal.entries())
    assert limits


def test_a_note_that_cannot_be_made_stops_no_start(
    host: FakeHost, limits: list[tuple[str, float]]
) -> None:
    host.path(paths.LOCKS).parent.mkdir(exist_ok=True)
    assert hookscript.unit(["pre-start", "952"]) == 0
    begun = host.path(BEGUN)
    begun.unlink()
    begun.symlink_to(host.path("/etc/nologin"))
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert not host.path("/etc/nologin").exists(), "a link is not followed"
    assert limits


@pytest.mark.parametrize("step", [hookscript.main, hookscript.unit])
def test_what_a_full_log_did_not_take_is_not_tried_again(
    limits: list[tuple[str, float]],
    monkeypatch: pytest.MonkeyPatch,
    step: Callable[[list[str]], int],
) -> None:
    """At Python's end that would make the exit status 120, whatever was done."""
    words = ["no CTID", "pre-start"] if step is hookscript.main else ["pre-start", "no CTID"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert step(words) == 1
        full.flush()
    assert limits == []


def test_a_settled_start_is_no_refusal(host: FakeHost, limits: list[tuple[str, float]]) -> None:
    assert hookscript.main(["952", "pre-start"]) == 0
    host.settle()
    assert is_settled(Host(str(host.root)), "952")
    assert hookscript.unit(["pre-start", "952"]) == 0
    assert hookscript.main(["952", "pre-start"]) == 0
    assert len(limits) == 3


def test_a_refusal_by_the_hookscript_is_told_once(
    host: FakeHost, limits: list[tuple[str, float]]
) -> None:
    """Its own output is in the task log; what pct warns of would come beside it."""
    host.kernel({BASE: "complain"})
    host.path("/run/pve").mkdir()
    assert hookscript.main(["952", "pre-start"]) == 1
    assert not host.path("/run/pve/ct-952.warnings").exists()
    assert hookscript.unit(["pre-start", "952"]) == 1
    assert host.path("/run/pve/ct-952.warnings").exists(), "the control"
    assert len(limits) == 2


def test_the_journal_says_where_an_unforeseen_error_is_from(
    limits: list[tuple[str, float]],
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(start, "prepare", broken)
    assert hookscript.main(["952", "pre-start"]) == 1
    details, refusal = (entry["MESSAGE"] for entry in journal.entries())
    assert "in broken" in details and "Traceback" in details
    assert "ZeroDivisionError: odd" in refusal
    assert "ZeroDivisionError: odd" in capsys.readouterr().err
    assert limits


def test_a_log_in_another_encoding_has_all_that_it_can_take(
    limits: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(data, encoding="ascii"))
    assert hookscript.main(["no \N{LATIN SMALL LETTER E WITH ACUTE}", "pre-start"]) == 1
    assert rb'"no \xe9" is not a valid CTID' in data.getvalue()
    assert limits == []


# -- time limits, in processes of their own -----------------------------------------------------


def hanging(host: FakeHost, name: str, change: str) -> str:
    """A hook with something changed in it."""
    text = Path(host.hook_file(name)).read_text()
    place = f"from phoenix_apparmor.hookscript import {'main' if name == 'hook' else 'unit'}"
    assert place in text
    script = host.write(f"/fake/{name}-hangs", text.replace(
        place,
        "import time\nfrom phoenix_apparmor import hookscript, init_process\n"
        f"{place}\n{change}",
    ))  # fmt: skip
    script.chmod(0o755)
    return str(script)


def test_a_unit_that_hangs_refuses_in_time(host: FakeHost, journal: Journal) -> None:
    host.confined("952", BASE)
    change = "hookscript.UNIT_SECONDS = 1\nhookscript.settle = lambda *_: time.sleep(60)\n"
    host.path("/run/pve").mkdir()
    begin = time.monotonic()
    done = host.run(hanging(host, "unit", change), "pre-start", "952",
                    PHOENIX_APPARMOR_ROOT=str(host.root))  # fmt: skip
    assert done.status == 1 and "not prepared within 1 s, so it was not started" in done.err
    assert host.read("/run/pve/ct-952.warnings").decode() == done.err, "pct start shows this"
    assert time.monotonic() - begin < 30
    (entry,) = journal.entries()
    assert (entry["PRIORITY"], entry["PHOENIX_CTID"]) == ("3", "952")


@pytest.mark.slow
def test_a_look_after_the_start_that_hangs_stops_no_container(
    host: FakeHost, journal: Journal
) -> None:
    host.confined("952", BASE)
    change = "hookscript.AFTER_SECONDS = 1\ninit_process.verify = lambda *_, **__: time.sleep(60)\n"
    begin = time.monotonic()
    done = host.run(hanging(host, "unit", change), "post-start", "952",
                    PHOENIX_APPARMOR_ROOT=str(host.root))  # fmt: skip
    assert done == (0, "", "")
    assert time.monotonic() - begin < 30
    (entry,) = journal.entries()
    assert (entry["PRIORITY"], entry["PHOENIX_CTID"]) == ("4", "952")
    assert "was not found out" in entry["MESSAGE"]


def test_standard_streams_that_lead_nowhere() -> None:
    """In one of its own: the numbers 0 to 2 are this process's."""
    before = sys.stdin, sys.stdout, sys.stderr
    need_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.closerange(0, 3)
            sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]
            need_streams()
            print("x", file=sys.stdout)
            sys.stderr.write("x\n")
            nowhere = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
            fds = sorted(map(int, os.listdir("/proc/self/fd")))
            readable = sys.stdin.read() == ""
            inherited = all(os.get_inheritable(number) for number in range(3))
            good = nowhere == ["/dev/null"] * 3 and readable and inherited and fds[:3] == [0, 1, 2]
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
