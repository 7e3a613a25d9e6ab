"""What runs is looked at, not what is written: after a start, and by status."""

import json
import time
from types import SimpleNamespace

import pytest

from phoenix_apparmor import init_process, lxcconf, paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
NOBODY = 65534


def runs(host: FakeHost, ctid: str, *, seccomp: int, privileged: bool, label: str) -> None:
    """As lxc-start has started it, which ran our hook before."""
    host.running(ctid, label)
    host.write(paths.was_read(ctid), "")
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
    host.write(paths.was_read("952"), "")
    told = host.unit("post-start", "952")
    assert (told.status, bool(told.err)) == (0, seccomp == 0)
    host.write("/fake/lxc/952/lxc.seccomp.profile", "/usr/share/lxc/config/common.seccomp\n")
    assert "restart pending" in host.cli("status", "952").out


def test_a_note_of_another_start_says_nothing(host: FakeHost) -> None:
    """With the drop-in switched off nobody takes it away, and nobody adds our lines."""
    host.confined("952", BASE)
    host.profile(BASE, before=paths.SECCOMP_MARKER.decode() + "\n")
    host.write(paths.SECCOMP, "2\n")
    host.conf("952", f"lxc.apparmor.profile: {BASE}\n")
    host.runtime("952", b"lxc.uts.name = x\nlxc.apparmor.profile = " + BASE.encode() + b"\n")
    runs(host, "952", seccomp=2, privileged=True, label=f"{BASE} (enforce)")
    host.write("/fake/lxc/952/lxc.seccomp.profile", "/usr/share/lxc/config/common.seccomp\n")
    for note, is_told in (("4242", False), ("", False), ("4243", True)):
        host.write(paths.was_read("952"), note)
        shown = host.cli("status", "952")
        assert ("restart pending" in shown.out) is is_told, (note, shown)


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


@pytest.fixture
def unconfined(base: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """CT 952 is prepared, and runs unconfined; this process asks the host's programs itself."""
    for key, value in base.environment.items():
        monkeypatch.setenv(key, value)
    assert base.hook("952").status == 0
    runs(base, "952", seccomp=0, privileged=False, label="unconfined")
    return base


def test_what_is_still_lxc_start_is_not_judged(unconfined: FakeHost) -> None:
    """Its label changes at the exec of init."""
    base = unconfined
    program = str(base.write("/host/lxc-start", ""))
    base.write("/proc/4242/status", "Name:\tlxc-start\nPPid:\t4200\n")
    base.executes(program, 4200)
    base.executes(program)
    init_process.verify(Host(str(base.root)), "952", wait=0.2)
    base.executes("/usr/lib/systemd/systemd")
    with pytest.raises(PhoenixError, match="unconfined"):
        init_process.verify(Host(str(base.root)), "952", wait=0.2)


def test_where_nobody_can_tell_what_it_executes_it_is_judged_at_the_end_of_the_wait(
    unconfined: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be lxc-start for a moment more; not to judge it at all would let anything run."""
    base = unconfined
    base.path("/proc/4242/exe").unlink()
    label = base.path("/proc/4242/attr/apparmor/current")
    later = SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda _: label.write_text(f"{BASE} (enforce)\n")
    )
    monkeypatch.setattr(init_process, "time", later)
    init_process.verify(Host(str(base.root)), "952", wait=0.2)
    label.write_text("unconfined\n")
    later.sleep = time.sleep
    with pytest.raises(PhoenixError, match="unconfined"):
        init_process.verify(Host(str(base.root)), "952", wait=0.2)


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


@pytest.mark.parametrize("refused", [False, True])
def test_a_restart_that_gives_it_its_policy_namespace_is_a_command(
    host: FakeHost, *, refused: bool
) -> None:
    """Not where the start would be refused."""
    host.confined("952", DOCKER)
    host.profile(DOCKER, before=paths.NAMESPACE_MARKER.decode() + "\n")
    assert host.hook("952").status == 0
    runs(host, "952", seccomp=2, privileged=False, label=f"{DOCKER} (enforce)")
    if refused:
        marker = paths.NAMESPACE_MARKER.decode() + "\n"
        host.profile(DOCKER, flags="flags=(complain) ", before=marker)
        host.kernel({DOCKER: "complain"})
    (found,) = json.loads(host.cli("status", "952", "--json").out)["containers"]
    (note,) = (n for n in found["notes"] if "without its policy namespace" in n["what"])
    assert found["verdict"] == "restart pending"
    assert note["fix"] == ("" if refused else "pct reboot 952")
    assert ("Restart it" in note["hint"]) is not refused
    told = json.loads(host.cli("doctor", "--json").out)["findings"]
    fixes = [f["fix"] for f in told if f["check"] == "containers" and f["containers"] == ["952"]]
    assert fixes == ([] if refused else ["pct reboot 952"]), "why it is refused, others tell"
