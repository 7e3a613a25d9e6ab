"""The parts of a start, each called by itself: who decides, what is edited, what is released."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from phoenix_apparmor import init_process, kernel, locks, lxcconf, paths, start, stopped
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import load
from tests.names import BASE, DOCKER
from tests.unit.fakehost import MARKERS, FakeHost

RUNTIME, CONF = paths.runtime("952"), paths.conf("952")


def test_times_bound_every_start() -> None:
    assert 60 <= start.PATIENCE["hookscript"] <= 600
    assert 15 <= start.PATIENCE["unit"] < 28, "TimeoutStartSec of the drop-in is 30 s"
    assert 5 <= init_process.LXC_INFO_SECONDS <= 60
    assert 5 <= init_process.INIT_SECONDS < 25
    assert init_process.UNCONFINED == 3, "the unit's ExecStartPost stops at it"


# -- after the stop -----------------------------------------------------------------------------


def test_released_is_what_was_made_once_nothing_runs(host: FakeHost, real: Host) -> None:
    assert not stopped.release(real, "952")
    for group in ("lxc/952", "lxc.payload.952"):
        kernel.make_namespace(real, lxcconf.namespace_of("952"))
        host.write(f"/sys/fs/cgroup/{group}/cgroup.events", "populated 1\n")
        assert not stopped.release(real, "952")
        assert host.path(kernel.namespace_path(lxcconf.namespace_of("952"))).is_dir()
        host.write(f"/sys/fs/cgroup/{group}/cgroup.events", "populated 0\n")
        assert stopped.release(real, "952")
        assert not host.path(kernel.namespace_path(lxcconf.namespace_of("952"))).exists()


@pytest.mark.parametrize(
    ("label", "is_its"),
    [
        (f"{DOCKER}//&:{lxcconf.namespace_of('952')}:unconfined (enforce)", True),
        (f"{DOCKER}.952 (enforce)", True),
        (f"{DOCKER}.952.trial//&{DOCKER}.guard (mixed)", True),
        (f"{DOCKER}.9521//&:{lxcconf.namespace_of('9521')}:unconfined (enforce)", False),
        (f"{DOCKER} (enforce)", False),
    ],
)
def test_released_is_nothing_that_a_process_is_under(
    host: FakeHost, real: Host, label: str, is_its: bool
) -> None:
    """Its cgroup is elsewhere (lxc.cgroup.dir), and a second start of it failed."""
    kernel.make_namespace(real, lxcconf.namespace_of("952"))
    host.write("/proc/4711/attr/current", f"{label}\n")
    assert stopped.release(real, "952") is not is_its
    assert host.path(kernel.namespace_path(lxcconf.namespace_of("952"))).is_dir() is is_its


def test_released_are_the_profiles_made_for_it_alone(host: FakeHost, real: Host) -> None:
    host.profile(DOCKER, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}})
    start.prepare(real, "952", "hookscript")
    made = f"{DOCKER}.952.trial ".encode()
    assert made in host.read(paths.KERNEL_PROFILES)
    removed = host.write(f"{paths.KERNEL}/.remove", "")
    assert stopped.release(real, "952")
    assert removed.read_text(), "taken out of the kernel"


def test_released_too_when_the_next_start_has_begun_before(host: FakeHost, real: Host) -> None:
    """`pct stop` does not wait for ExecStopPost: the hookscript may forget a trial before it."""
    host.profile(DOCKER, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}})
    start.prepare(real, "952", "hookscript")
    host.json({"952": {"apparmor_profile": DOCKER}})
    start.prepare(real, "952", "hookscript")
    removed = host.write(f"{paths.KERNEL}/.remove", "")
    assert stopped.release(real, "952")
    assert removed.read_text() == f"{DOCKER}.guard", "the last one, which goes after the trial's"
    host.kernel({DOCKER: "enforce"})
    start.prepare(real, "952", "unit")
    assert not host.path(f"{paths.VARIANTS}/{DOCKER}.952.trial").exists()


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
    text = lxcconf.without_our_lines(host.read(RUNTIME))
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
        ("unit", f"lxc.apparmor.profile: {DOCKER}\n", b'{"lxc_configs": {"9', True),
        ("unit", f"lxc.apparmor.profile: {DOCKER}\n", b"", True),
        ("unit", "lxc.apparmor.profile: lxc-container-default\n", b"", False),
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
    host.kernel({DOCKER: "enforce"})
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
    assert f"does not name {DOCKER} yet; this start uses it" in warned(prepared)
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
