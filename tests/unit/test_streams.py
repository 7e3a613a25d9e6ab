"""Streams that the caller closed, or that take nothing, decide about nothing."""

import pytest

from phoenix_apparmor import paths
from tests.names import BASE
from tests.unit.fakehost import PYTHON, REPO, FakeHost

# Each starts an interpreter, whose streams these are.
pytestmark = pytest.mark.slow

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
NOBODY = 65534


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


@pytest.mark.slow
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
    unit = (base.hook_file("unit"), "pre-start", "no CTID")
    done = base.run("/bin/sh", "-c", command, "sh", *unit, PHOENIX_APPARMOR_ROOT=str(base.root))
    assert done.status == 1, "not 120, as Python has it"


@pytest.mark.parametrize("option", ["--version", "--help", "status --help"])
def test_what_was_asked_for_and_not_said_is_no_success(base: FakeHost, option: str) -> None:
    command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} {option}"
    for out, status in ((">/dev/full", 1), (">/dev/null", 0)):
        done = base.run("/bin/sh", "-c", f"{command} {out}", PYTHONPATH=str(REPO))
        assert done.status == status, done
        assert "Traceback" not in done.err


def test_a_full_disk_behind_the_messages_stops_no_work(base: FakeHost) -> None:
    base.json({c: {"apparmor_profile": BASE} for c in ("951", "952", "953")})
    base.path(paths.conf("951")).mkdir()
    base.conf("953")
    command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} apply --all 2>/dev/full"
    done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
    assert done.status == 1 and "2 changed, 0 already correct, 1 failed" in done.out, done
    assert BASE.encode() in base.read(paths.conf("953"))
    for verb, status in (("status 999", 1), ("apply x", 64), ("no-such-verb", 1)):
        command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} {verb} 2>/dev/full"
        done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
        assert done.status == status, (verb, done)
