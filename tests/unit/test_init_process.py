"""A container's init as it runs: its label, its seccomp mode, and what LXC says that it read."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from phoenix_apparmor import init_process, paths
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.names import DOCKER
from tests.unit.fakehost import MARKERS, FakeHost

STACKED = f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined (enforce)"
PLAIN = f"{DOCKER} (enforce)"
RUNTIME, CONF = paths.runtime("952"), paths.conf("952")
INCLUDE = b"lxc.include = /root/extra.conf\n"


def runs(host: FakeHost, *, seccomp: int = 2, privileged: bool = False) -> None:
    host.write("/proc/4242/status", f"Seccomp:\t{seccomp}\n")
    host.write("/proc/4242/uid_map", "0 0 4294967295\n" if privileged else "0 100000 65536\n")


def lxc_read(host: FakeHost, key: str, value: str) -> None:
    host.write(f"/fake/lxc/952/{key}", value + "\n")


def missing(real: Host, label: str = PLAIN, **more: Any) -> tuple[str, bool] | None:
    found = init_process.shortfall(real, "952", Assignment(DOCKER, **more), 4242, label)
    return None if found is None else (found.what, found.weaker)


def test_nothing_is_missing_where_all_is_as_assigned(host: FakeHost, real: Host) -> None:
    runs(host)
    assert missing(real, STACKED) is None
    assert missing(real, policy_namespace=False) is None
    assert (
        init_process.shortfall(
            real, "952", Assignment("unconfined"), 4242, "lxc-952_</x> (enforce)"
        )
        is None
    )


def test_a_namespace_that_is_missing_is_a_lack_of_comfort(host: FakeHost, real: Host) -> None:
    runs(host)
    assert missing(real) == ("runs without its policy namespace", False)
    host.profile(DOCKER)
    assert missing(real) is None, "not asked for"
    host.profile(DOCKER, before=MARKERS)
    host.path(paths.NAMESPACES).rmdir()
    assert missing(real) is None, "not possible here"


def test_another_label_is_less(host: FakeHost, real: Host) -> None:
    runs(host)
    for label in ("unconfined", "lxc-x (enforce)", f"{DOCKER} (complain)"):
        said = f'runs under "{label}", but {DOCKER} is assigned'
        assert missing(real, label) == (said, True)


def test_what_nobody_can_see_is_not_missing(host: FakeHost, real: Host) -> None:
    """No uid_map: whether it is privileged is unknown."""
    assert missing(real) is None
    runs(host, privileged=True, seccomp=0)
    host.path(f"{paths.APPARMOR_D}/{DOCKER}").unlink()
    assert missing(real) is None, "what its profile asks for is said at the next start"


def test_a_seccomp_policy_that_is_missing_is_less(host: FakeHost, real: Host) -> None:
    runs(host, privileged=True, seccomp=0)
    host.runtime("952", b"lxc.uts.name = x\n")
    assert missing(real) == ("runs without a seccomp policy, which its profile asks for", True)
    runs(host, privileged=True)
    assert missing(real) is None, "LXC does not say which"
    lxc_read(host, "lxc.seccomp.profile", paths.SECCOMP)
    assert missing(real) is None
    lxc_read(host, "lxc.seccomp.profile", "none")
    assert missing(real) is None
    lxc_read(host, "lxc.seccomp.profile", "/other")
    said = f"runs under the seccomp policy /other, its profile asks for {paths.SECCOMP}"
    assert missing(real) == (said, True)
    host.runtime("952", b"lxc.seccomp.profile = /other\n")
    assert missing(real) is None, "the admin's choice"
    host.runtime("952", b"lxc.uts.name = x\n")
    host.profile(DOCKER)
    assert missing(real) is None, "not asked for"


def test_nesting_by_an_included_file_is_less(host: FakeHost, real: Host) -> None:
    runs(host)
    lxc_read(host, "lxc.apparmor.allow_nesting", "1")
    plain: dict[str, Any] = {"policy_namespace": False}
    assert missing(real, **plain) is None, "nothing is included"
    host.runtime("952", host.read(RUNTIME) + INCLUDE)
    assert missing(real, **plain) == ("runs with allow_nesting, which an included file sets", True)
    assert missing(real, STACKED) is None, "it has it from us"
    lxc_read(host, "lxc.apparmor.allow_nesting", "0")
    assert missing(real, **plain) is None
    lxc_read(host, "lxc.apparmor.allow_nesting", "1")
    host.runtime("952", host.read(RUNTIME) + b"lxc.apparmor.allow_nesting = 1\n")
    assert missing(real, **plain) is None, "the admin's own line"


def test_what_lxc_read(host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    assert init_process.read_by_lxc(real, "952", "lxc.x") is None
    lxc_read(host, "lxc.x", "lxc.x = 1")
    assert init_process.read_by_lxc(real, "952", "lxc.x") == "1"
    lxc_read(host, "lxc.x", " 2 ")
    assert init_process.read_by_lxc(real, "952", "lxc.x") == "2"
    lxc_read(host, "lxc.x", "")
    assert init_process.read_by_lxc(real, "952", "lxc.x") is None
    fail = host.write("/fake/bin/lxc-info", "#!/bin/sh\necho 3\nexit 1\n")
    fail.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fail.parent}:{host.environment['PATH']}")
    assert init_process.read_by_lxc(real, "952", "lxc.x") is None
    assert init_process.init_pid(real, "952") is None


@pytest.mark.parametrize(
    ("said", "pid"), [("77", 77), ("-1", None), ("", None), ("x", None), ("7 7", None)]
)
def test_the_pid_of_the_init(host: FakeHost, real: Host, said: str, pid: int | None) -> None:
    host.write("/fake/pid/952", said + "\n")
    assert init_process.init_pid(real, "952") == pid


def test_verify_says_only_what_is_less(host: FakeHost, real: Host) -> None:
    init_process.verify(real, "952")
    init_process.verify(real, "953")
    runs(host)
    host.running("952", PLAIN)
    init_process.verify(real, "952")
    host.running("952", "unconfined")
    init_process.verify(real, "953")
    with pytest.raises(PhoenixError, match="runs under") as raised:
        init_process.verify(real, "952")
    assert raised.value.status == init_process.UNCONFINED
    assert "pct start 952" in raised.value.hint and raised.value.ctid == "952"
    host.running("952", "lxc-other (enforce)")
    with pytest.raises(PhoenixError) as raised:
        init_process.verify(real, "952")
    assert raised.value.status == 1, "it is confined, by another profile"
    host.json({"952": {"apparmor_profile": "x"}})
    host.path(paths.COPY).unlink()
    init_process.verify(real, "952")


@pytest.mark.slow
def test_verify_waits_for_the_init_as_long_as_it_may(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=naps.append)
    monkeypatch.setattr(init_process, "time", clock)
    init_process.verify(real, "952")
    assert naps == [], "at once"
    begin = time.monotonic()
    init_process.verify(real, "952", wait=2)
    assert 0.5 < time.monotonic() - begin < 10
    assert naps and naps == sorted(naps) and naps[-1] <= 1.0, "ever more seldom"
    begin = time.monotonic()
    init_process.verify(real, "952", wait=60, monitor="4243")
    assert time.monotonic() - begin < 30, "lxc-start has ended, so no init comes"
    naps.clear()
    # What is still lxc-start is no init yet; then it is.
    host.running("952", "unconfined")
    host.executes("/usr/bin/lxc-start")
    clock.sleep = lambda _: host.executes("/usr/sbin/init")
    with pytest.raises(PhoenixError, match="runs under"):
        init_process.verify(real, "952", wait=20)
    # Nor is one whose label is gone with it.
    host.path("/proc/4242/attr/apparmor/current").unlink()
    init_process.verify(real, "952")


@pytest.mark.usefixtures("real")
def test_an_exec_while_it_looks_is_no_reason_to_stop_a_container(host: FakeHost) -> None:
    """The label of what was lxc-start a moment ago is not the init's."""

    class Late(Host):
        def read(self, name: str, limit: int | None = None) -> bytes:
            was = super().read(name, limit)
            if name.endswith("/apparmor/current"):
                host.running("952", PLAIN)
            return was

    runs(host)
    host.running("952", "unconfined")
    host.executes("/usr/bin/lxc-start")
    init_process.verify(Late(str(host.root)), "952", wait=20)


@pytest.mark.slow
@pytest.mark.usefixtures("real")
def test_one_that_ended_meanwhile_is_not_judged(host: FakeHost) -> None:
    """A container that shuts down at once, while nobody can tell what its init executes."""
    host.running("952", "unconfined")
    exe = host.path("/proc/4242/exe")
    exe.unlink()

    class Gone(Host):
        def read(self, name: str, limit: int | None = None) -> bytes:
            was = super().read(name, limit)
            if name.endswith("/apparmor/current"):
                host.path("/fake/pid/952").unlink()
            return was

    init_process.verify(Gone(str(host.root)), "952", wait=2)
