"""Starts and removal while a system call fails or kills: a part of tests/bench/faults.py."""

import itertools

import pytest

from tests.unit import injected
from tests.unit.fakehost import FakeHost

# Every so manieth place; all of them are tried by tests/bench/faults.py.
EACH = {"hookscript": 7, "unit": 11, "apply": 11, "remove": 13}


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_no_fault_tears_or_weakens(host: FakeHost, name: str) -> None:
    injected.prepare(host)
    command = injected.COMMANDS[name]
    found = injected.points(host, command)
    assert len(found) > 20
    kinds = itertools.cycle((*injected.ERRORS, "KILL"))
    for point in found[:: EACH[name]]:
        what = next(kinds)
        host.path(injected.COPY).unlink(missing_ok=True)
        host.path("/var/lib/phoenix-apparmor/detached").unlink(missing_ok=True)
        injected.prepare(host)
        status, said = injected.run_with(host, command, point, what)
        problems = [*injected.violations(host, name, status, said), *injected.repaired(host)]
        assert not problems, (point, what, status, said)


def test_a_start_under_less_would_be_noticed(host: FakeHost) -> None:
    """The control."""
    injected.prepare(host)
    assert [*injected.violations(host, "hookscript", 0, "")] == ["a start under less than assigned"]
