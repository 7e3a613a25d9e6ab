"""Loading profiles, one call at a time."""

import time

import pytest

from phoenix_apparmor import kernel
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, load
from tests.names import BASE
from tests.unit.fakehost import FakeHost


@pytest.fixture
def real(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    return Host(str(host.root))


def only(outcomes: list[load.Outcome]) -> load.Outcome:
    (outcome,) = outcomes
    return outcome


def test_reload_loads_unless_asked_not_to(host: FakeHost, real: Host) -> None:
    host.profile(BASE)
    found = files.ours(real)
    assert only(list(load.reload(real, found, dry_run=True))).action == "loaded"
    assert kernel.listing(real) == b""
    assert only(list(load.reload(real, found))).action == "loaded"
    assert kernel.listing(real) == f"{BASE} (enforce)\n".encode()
    host.profile(BASE, "  deny /x r,")
    assert only(list(load.reload(real, found))).action == "replaced"
    assert only(list(load.reload(real, found))).action == "unchanged"


def test_without_apparmor_nothing_is_loaded(host: FakeHost, real: Host) -> None:
    """Nor is it a crash: a parser that has no kernel to load into says nothing about it."""
    host.profile(BASE, "# NOT LOADED")
    host.kernel(None)
    found = files.ours(real)
    assert only(list(load.reload(real, found, dry_run=True))).action == "loaded"
    failed = only(list(load.reload(real, found)))
    assert (failed.action, failed.name) == ("failed", BASE)
    assert f"the kernel has no profile {BASE}" in failed.why
    with pytest.raises(PhoenixError, match="runs without AppArmor"):
        load.ensure_enforced(real, BASE, time.monotonic() + 60)


def test_a_cache_that_cannot_be_written_keeps_nothing_back(host: FakeHost, real: Host) -> None:
    """A full disk, or a file in the folder's place."""
    host.profile(BASE)
    host.write("/var/cache/apparmor", "no folder")
    assert only(list(load.reload(real, files.ours(real)))).action == "loaded"
    assert kernel.listing(real) == f"{BASE} (enforce)\n".encode()
    host.profile(BASE, "SYNTAX ERROR")
    failed = only(list(load.reload(real, files.ours(real))))
    assert (failed.action, "policy cache" in failed.why) == ("failed", False)


def test_who_comes_late_gets_a_second() -> None:
    now = time.monotonic()
    assert load.seconds_left(now - 100) == 1.0
    assert 50 < load.seconds_left(now + 60) <= 60
