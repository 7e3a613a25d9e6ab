"""The parts of a start, each called by itself: what runs, what LXC read, what is released."""

import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from phoenix_apparmor import kernel, locks, lxcconf, paths, start
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import load
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost

MARKERS = "# phoenix-apparmor: policy-namespace\n# phoenix-apparmor: privileged-seccomp\n"
STACKED = f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined (enforce)"
PLAIN = f"{DOCKER} (enforce)"
RUNTIME, CONF = paths.runtime("952"), paths.conf("952")
INCLUDE = b"lxc.include = /root/extra.conf\n"


@pytest.fixture
def real(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    host.confined("952", BASE, DOCKER)
    host.profile(DOCKER, before=MARKERS)
    host.write(paths.SECCOMP, "2\n")
    host.assign(c952=DOCKER)
    return Host(str(host.root))


def runs(host: FakeHost, *, seccomp: int = 2, privileged: bool = False) -> None:
    host.write("/proc/4242/status", f"Seccomp:\t{seccomp}\n")
    host.write("/proc/4242/uid_map", "0 0 4294967295\n" if privileged else "0 100000 65536\n")


def lxc_read(host: FakeHost, key: str, value: str) -> None:
    host.write(f"/fake/lxc/952/{key}", value + "\n")


def missing(real: Host, label: str = PLAIN, **more: Any) -> tuple[str, bool] | None:
    found = start.shortfall(real, "952", Assignment(DOCKER, **more), 4242, label)
    return None if found is None else (found.what, found.weaker)


def test_times_bound_every_start() -> None:
    assert 60 <= start.PATIENCE["hookscript"] <= 600
    assert 15 <= start.PATIENCE["unit"] < 28, "TimeoutStartSec of the drop-in is 30 s"
    assert 5 <= start.LXC_INFO_SECONDS <= 60
    assert 5 <= start.INIT_SECONDS < 25
    assert start.UNCONFINED == 3, "the unit's ExecStartPost stops at it"


# -- what runs ----------------------------------------------------------------------------------


def test_nothing_is_missing_where_all_is_as_assigned(host: FakeHost, real: Host) -> None:
    runs(host)
    assert missing(real, STACKED) is None
    assert missing(real, policy_namespace=False) is None
    assert (
        start.shortfall(real, "952", Assignment("unconfined"), 4242, "lxc-952_</x> (enforce)")
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
    assert start.read_by_lxc(real, "952", "lxc.x") is None
    lxc_read(host, "lxc.x", "lxc.x = 1")
    assert start.read_by_lxc(real, "952", "lxc.x") == "1"
    lxc_read(host, "lxc.x", " 2 ")
    assert start.read_by_lxc(real, "952", "lxc.x") == "2"
    lxc_read(host, "lxc.x", "")
    assert start.read_by_lxc(real, "952", "lxc.x") is None
    fail = host.write("/fake/bin/lxc-info", "#!/bin/sh\necho 3\nexit 1\n")
    fail.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fail.parent}:{host.environment['PATH']}")
    assert start.read_by_lxc(real, "952", "lxc.x") is None
    assert start.init_pid(real, "952") is None


@pytest.mark.parametrize(
    ("said", "pid"), [("77", 77), ("-1", None), ("", None), ("x", None), ("7 7", None)]
)
def test_the_pid_of_the_init(host: FakeHost, real: Host, said: str, pid: int | None) -> None:
    host.write("/fake/pid/952", said + "\n")
    assert start.init_pid(real, "952") == pid


# -- after the start ----------------------------------------------------------------------------


def test_verify_says_only_what_is_less(host: FakeHost, real: Host) -> None:
    start.verify(real, "952")
    start.verify(real, "953")
    runs(host)
    host.running("952", PLAIN)
    start.verify(real, "952")
    host.running("952", "unconfined")
    start.verify(real, "953")
    with pytest.raises(PhoenixError, match="runs under") as raised:
        start.verify(real, "952")
    assert raised.value.status == start.UNCONFINED
    assert "pct start 952" in raised.value.hint and raised.value.ctid == "952"
    host.running("952", "lxc-other (enforce)")
    with pytest.raises(PhoenixError) as raised:
        start.verify(real, "952")
    assert raised.value.status == 1, "it is confined, by another profile"
    host.json({"952": {"apparmor_profile": "x"}})
    host.path(paths.COPY).unlink()
    start.verify(real, "952")


def test_verify_waits_for_the_init_as_long_as_it_may(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=naps.append)
    monkeypatch.setattr(start, "time", clock)
    start.verify(real, "952")
    assert naps == [], "at once"
    begin = time.monotonic()
    start.verify(real, "952", wait=2)
    assert 0.5 < time.monotonic() - begin < 10
    assert naps and naps == sorted(naps) and naps[-1] <= 1.0, "ever more seldom"
    naps.clear()
    # What is still lxc-start is no init yet; then it is.
    host.running("952", "unconfined")
    host.executes("/usr/bin/lxc-start")
    clock.sleep = lambda _: host.executes("/usr/sbin/init")
    with pytest.raises(PhoenixError, match="runs under"):
        start.verify(real, "952", wait=20)
    # Nor is one whose label is gone with it.
    host.path("/proc/4242/attr/apparmor/current").unlink()
    start.verify(real, "952")


def test_released_is_what_was_made_once_nothing_runs(host: FakeHost, real: Host) -> None:
    assert not start.release(real, "952")
    for group in ("lxc/952", "lxc.payload.952"):
        kernel.make_namespace(real, lxcconf.namespace_of("952"))
        host.write(f"/sys/fs/cgroup/{group}/cgroup.events", "populated 1\n")
        assert not start.release(real, "952")
        assert host.path(kernel.namespace_path(lxcconf.namespace_of("952"))).is_dir()
        host.write(f"/sys/fs/cgroup/{group}/cgroup.events", "populated 0\n")
        assert start.release(real, "952")
        assert not host.path(kernel.namespace_path(lxcconf.namespace_of("952"))).exists()


def test_released_are_the_profiles_made_for_it_alone(host: FakeHost, real: Host) -> None:
    host.profile(DOCKER, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}})
    start.prepare(real, "952", "hookscript")
    made = f"{DOCKER}.952.trial ".encode()
    assert made in host.read(paths.KERNEL_PROFILES)
    removed = host.write(f"{paths.KERNEL}/.remove", "")
    assert start.release(real, "952")
    assert removed.read_text(), "taken out of the kernel"


# -- the files ----------------------------------------------------------------------------------


def test_edits_in_words() -> None:
    say = start.describe_edit
    line = b"lxc.apparmor.profile: "
    assert say(b"", "lxc-a") == "profile in .conf: no line -> lxc-a"
    assert say(line + b"lxc-a\n", None) == "profile in .conf: lxc-a -> no line"
    assert say(line + b"x\n" + line + b"y\n", "lxc-a") == "profile in .conf: y -> lxc-a"


def test_a_conf_that_is_right_is_not_written(host: FakeHost, real: Host) -> None:
    before = host.path(CONF).stat().st_ino
    assert start.edit_conf(real, "952", None) is None
    assert host.path(CONF).stat().st_ino == before
    assert start.edit_conf(real, "952", DOCKER) == f"profile in .conf: no line -> {DOCKER}"
    assert start.edit_conf(real, "952", DOCKER) is None


def test_the_runtime_configuration_elsewhere_is_the_admins(host: FakeHost, real: Host) -> None:
    until = time.monotonic() + 60
    host.path(RUNTIME).unlink()
    assert not start.set_runtime(real, "952", Assignment(BASE), until)
    assert not host.path(RUNTIME).exists(), "lxc-start says that there is nothing to start"
    host.write(RUNTIME, b"lxc.uts.name = x\nlxc.idmap = u 0 1 1\n")
    assert start.set_runtime(real, "952", Assignment(BASE), until)
    text = host.read(RUNTIME)
    assert text.endswith(f"lxc.apparmor.profile = {BASE}\n".encode())
    number = host.path(RUNTIME).stat().st_ino
    assert not start.set_runtime(real, "952", Assignment(BASE), until)
    assert host.path(RUNTIME).stat().st_ino == number, "not written again"
    assert start.set_runtime(real, "952", Assignment("unconfined"), until)
    assert b"apparmor" not in host.read(RUNTIME)


def test_a_kernel_without_namespaces_starts_it_plain(host: FakeHost, real: Host) -> None:
    host.path(paths.NAMESPACES).rmdir()
    start.prepare(real, "952", "hookscript")
    assert b"//&" not in host.read(RUNTIME) and DOCKER.encode() in host.read(RUNTIME)


def test_a_namespace_that_cannot_be_made_is_a_refusal(host: FakeHost, real: Host) -> None:
    host.path(paths.NAMESPACES).rmdir()
    host.path(paths.NAMESPACES).symlink_to("/proc")
    with pytest.raises(PhoenixError, match="policy namespace cannot be made") as raised:
        start.prepare(real, "952", "hookscript")
    assert "apparmor_policy_namespace" in raised.value.hint


# -- who decides --------------------------------------------------------------------------------


def warned(prepared: start.Prepared) -> str:
    return " ".join(f"{warning}" for warning in prepared.warnings)


def test_of_an_unusable_json_what_is_done_is_said(host: FakeHost, real: Host) -> None:
    assert start.prepare(real, "952", "hookscript").warnings == ()
    host.json("{")
    prepared = start.prepare(real, "952", "hookscript")
    assert f"The last good assignment is used: {DOCKER}" in warned(prepared)
    other = start.prepare(real, "953", "unit")
    assert other.assignment is None
    assert "The last good assignment is used: none" in warned(other)


@pytest.mark.parametrize(
    ("where", "hookscript", "text", "refused"),
    [
        ("hookscript", "", b"{", True),
        ("unit", "", b"{", False),
        ("unit", "hookscript: local:snippets/phoenix-apparmor.py\n", b"{", True),
        ("unit", "hookscript: local:snippets/other.py\n", b"{", False),
        ("unit", "", b'{"952":', True),
    ],
)
def test_without_any_good_json_who_may_be_meant_is_refused(
    host: FakeHost, real: Host, where: start.Where, hookscript: str, text: bytes, refused: bool
) -> None:
    host.json(text)
    host.conf("952", "arch: amd64\n" + hookscript)
    if refused:
        with pytest.raises(PhoenixError, match="its profile is unknown, so it is not started"):
            start.prepare(real, "952", where)
    else:
        assert start.prepare(real, "952", where) == start.Prepared(None)
        host.path(CONF).unlink()
        assert start.prepare(real, "952", where) == start.Prepared(None), "no Proxmox"


def test_what_a_trial_left_goes_with_it(host: FakeHost, real: Host) -> None:
    host.profile(DOCKER, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}})
    start.prepare(real, "952", "hookscript")
    made = host.path(f"{paths.VARIANTS}/{DOCKER}.952.trial")
    assert made.exists()
    host.assign(c952=DOCKER)
    start.prepare(real, "952", "hookscript")
    assert not made.exists()


def with_a_rule(host: FakeHost, real: Host) -> Path:
    """The compiled policy of a started container with a rule of its own, now stopped."""
    host.profile(DOCKER, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_rules": ["/srv/** r,"]}})
    start.prepare(real, "952", "hookscript")
    [policy] = host.path(f"{paths.COMPILED}/{DOCKER}.952").iterdir()
    host.kernel({DOCKER: "enforce"})
    return policy


@pytest.mark.parametrize("left", [b"", b"POLICY\0prof"])
def test_a_compiled_policy_that_was_cut_is_made_anew(
    host: FakeHost, real: Host, left: bytes
) -> None:
    policy = with_a_rule(host, real)
    whole = policy.read_bytes()
    policy.write_bytes(left)
    start.prepare(real, "952", "hookscript")
    assert policy.read_bytes() == whole
    assert f"{DOCKER}.952 (enforce)\n".encode() in host.read(paths.KERNEL_PROFILES)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user")
@pytest.mark.parametrize("how", ["file", "open file", "folder", "open folder", "link"])
def test_a_compiled_policy_of_somebody_else_is_not_loaded(
    host: FakeHost, real: Host, how: str
) -> None:
    policy = with_a_rule(host, real)
    whole = policy.read_bytes()
    policy.write_bytes(whole.replace(b"/srv/** r,", b"file, mount,"))
    if how == "file":
        os.chown(policy, 65534, 65534)
    elif how == "open file":
        policy.chmod(0o666)
    elif how == "folder":
        os.chown(policy.parent, 65534, 65534)
    elif how == "open folder":
        policy.parent.parent.chmod(0o777)
    else:
        policy.rename(elsewhere := host.path("/tmp-of-others"))
        os.chown(elsewhere, 65534, 65534)
        policy.symlink_to(elsewhere)
    start.prepare(real, "952", "hookscript")
    held = host.read(f"/sys/kernel/security/apparmor/policy/profiles/{DOCKER}.952.1/raw_sha256")
    assert held.decode().strip() == hashlib.sha256(whole).hexdigest()
    if how != "folder":  # that place is not used, and not touched
        assert policy.read_bytes() == whole and not policy.is_symlink()
        assert policy.parent.parent.stat().st_mode & 0o022 == 0
        assert policy.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="makes folders of another user")
def test_a_folder_of_variants_that_is_somebody_elses_is_not_used(
    host: FakeHost, real: Host
) -> None:
    with_a_rule(host, real)
    os.chown(host.path(paths.VARIANTS), 65534, 65534)
    with pytest.raises(PhoenixError, match="belongs to uid 65534"):
        start.prepare(real, "952", "hookscript")


@pytest.mark.parametrize("spoil", ["huge", "loop"])
def test_no_guard_is_made_without_the_denies_of_a_file_that_cannot_be_read(
    host: FakeHost, real: Host, spoil: str
) -> None:
    local = f"include if exists <local/{DOCKER}>"
    host.profile(DOCKER, local, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}})
    path = host.write(f"/etc/apparmor.d/local/{DOCKER}", "deny /begin r,\n")
    start.prepare(real, "952", "hookscript")
    assert b"deny /begin r," in host.read(f"{paths.VARIANTS}/{DOCKER}.guard")
    if spoil == "huge":
        path.write_bytes(b"deny /begin r,\n" + b"#\n" * (9 << 20) + b"deny /end r,\n")
    else:
        path.unlink()
        path.symlink_to(path)
    with pytest.raises(PhoenixError, match="cannot read"):
        start.prepare(real, "952", "hookscript")


def test_the_lock_of_a_conf_is_not_waited_for(real: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our parent holds it, and waits for us."""
    waits: dict[str, float] = {}

    class Noted(locks.Lock):
        def __init__(self, host: Host, name: str, wait: float) -> None:
            waits[name] = wait
            super().__init__(host, name, wait)

    for module in (start, lookup, load):
        monkeypatch.setattr(module, "Lock", Noted)
    start.prepare(real, "952", "hookscript")
    assert waits.pop(paths.conf_lock("952")) == 0
    assert all(10 < wait <= 100 for wait in waits.values()), "and the others for a while"


def test_on_proxmox_what_is_missing_is_generated(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.proxmox()
    host.path(RUNTIME).unlink()
    assert start.set_runtime(real, "952", Assignment(BASE), time.monotonic() + 60)
    assert lxcconf.says(host.read(RUNTIME), BASE)
    assert start.set_runtime(real, "952", Assignment("unconfined"), time.monotonic() + 60)
    assert lxcconf.says(host.read(RUNTIME), "generated")
    broken = host.write("/fake/bin/perl", "#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{host.environment['PATH']}")
    assert not start.set_runtime(real, "952", Assignment("unconfined"), time.monotonic() + 60)
    with pytest.raises(PhoenixError, match="Proxmox could not write"):
        start.set_runtime(real, "952", Assignment(BASE), time.monotonic() + 60)


def test_the_unit_says_that_conf_lags(host: FakeHost, real: Host) -> None:
    prepared = start.prepare(real, "952", "unit")
    assert f"does not say {DOCKER} yet; this start does" in warned(prepared)
    start.edit_conf(real, "952", DOCKER)
    assert start.prepare(real, "952", "unit").warnings == ()
    host.path(CONF).unlink()
    assert start.prepare(real, "952", "unit").warnings == (), "no Proxmox"
    with pytest.raises(PhoenixError, match="not a container on this node"):
        start.prepare(real, "952", "hookscript")


def test_what_was_done_is_told(host: FakeHost, real: Host) -> None:
    host.kernel({BASE: "enforce"})
    assert start.prepare(real, "952", "hookscript").changes == (
        f"loaded profile {DOCKER}",
        f"profile in .conf: no line -> {DOCKER}",
        "corrected the runtime configuration",
    )
    assert start.prepare(real, "952", "hookscript").changes == ()
