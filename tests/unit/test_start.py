"""The hookscript and the unit's drop-in on a fake host: every start ends right, or does not."""

import fcntl
import re
import shlex
import stat
import subprocess
import time
from pathlib import Path

import pytest

from phoenix_apparmor import lxcconf, start
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.kernel import GLOBAL_MODE
from tests.names import BASE, DOCKER
from tests.unit.fakehost import PVE_GENERATED, REPO, FakeHost, Journal

CONF = b"arch: amd64\nlxc.apparmor.profile: lxc-nvidia-gpu-base\n"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.confined("952", BASE, DOCKER, "lxc-other", "lxc")
    return host


def parser_calls(host: FakeHost) -> int:
    log = host.path("/fake-parser-calls")
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_both_files_are_made_right_and_the_second_time_nothing_is_said(
    host: FakeHost, journal: Journal
) -> None:
    done = host.hook("952")
    assert done == (0, f"CT 952: profile in .conf: no line -> {BASE}; "
                    "corrected the runtime configuration\n", "")  # fmt: skip
    assert host.read("/etc/pve/lxc/952.conf") == (
        b"arch: amd64\nhostname: ct\nlxc.apparmor.profile: lxc-nvidia-gpu-base\n"
    )
    runtime = host.read("/var/lib/lxc/952/config")
    assert b"lxc.apparmor.profile = lxc-nvidia-gpu-base\n" in runtime
    assert b"generated" not in runtime
    [entry] = journal.entries()
    assert entry["PHOENIX_CTID"] == "952"
    assert entry["PHOENIX_PROFILE"] == BASE
    assert entry["PRIORITY"] == "5"
    before = (host.read("/etc/pve/lxc/952.conf"), runtime)
    assert host.hook("952") == (0, "", "")
    assert (host.read("/etc/pve/lxc/952.conf"), host.read("/var/lib/lxc/952/config")) == before
    assert journal.entries() == []


def test_a_changed_assignment_counts_at_the_very_next_start(host: FakeHost) -> None:
    host.hook("952")
    host.settle()
    assert host.hook("952").out == ""
    host.assign(c952="lxc-other")
    assert host.hook("952").status == 0
    assert b"profile = lxc-other\n" in host.read("/var/lib/lxc/952/config")
    assert b"profile: lxc-other\n" in host.read("/etc/pve/lxc/952.conf")


def test_on_proxmox_its_own_generator_writes_the_runtime_configuration(host: FakeHost) -> None:
    host.proxmox()
    assert host.hook("952").status == 0
    runtime = host.read("/var/lib/lxc/952/config")
    assert b"lxc.apparmor.raw" not in runtime, "no leftovers of the generated profile"
    plain = lxcconf.without_our_lines(runtime)
    assert plain.endswith(b"lxc.apparmor.profile = lxc-nvidia-gpu-base\n")
    assert host.read("/fake-generator-calls") == b"952 lxc-nvidia-gpu-base\n"
    host.hook("952")
    assert host.read("/fake-generator-calls").count(b"\n") == 1, "only when something changed"
    host.assign(c952="unconfined")
    assert host.hook("952").status == 0
    assert b"profile = generated\nlxc.apparmor.raw" in host.read("/var/lib/lxc/952/config")
    assert b"apparmor" not in host.read("/etc/pve/lxc/952.conf")


def test_a_leftover_beside_the_right_last_line_is_not_right(host: FakeHost) -> None:
    """What an older tool did: the label is right, allow_nesting and raw survive."""
    host.proxmox()
    host.conf("952", CONF)
    host.runtime("952", PVE_GENERATED + b"lxc.apparmor.profile = lxc-nvidia-gpu-base\n")
    assert host.hook("952").status == 0
    assert b"generated" not in host.read("/var/lib/lxc/952/config")


def test_generator_failure_aborts(host: FakeHost) -> None:
    host.proxmox()
    host.write("/fake-generator-fails", "")
    done = host.hook("952")
    assert done.status == 1
    assert "unable to parse config" in done.err
    assert "pct config 952" in done.err


def test_a_generator_that_hangs_is_ended_and_can_be_tried_by_hand(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.proxmox()
    host.conf("950")
    host.runtime("950")
    host.write("/fake-generator-hangs", "")
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(PhoenixError, match="perl did not end within") as refusal:
        start.set_runtime(Host(str(host.root)), "950", Assignment("lxc-x"), began + 1)
    assert time.monotonic() - began < 30
    command = refusal.value.hint.removeprefix("Try it by hand: ")
    assert shlex.split(command)[0] == "perl"
    assert "\\n" not in command


def test_the_unit_gives_up_before_systemd_does() -> None:
    drop_in = (REPO / "hooks/pve-container.conf").read_text()
    limit = re.search(r"^TimeoutStartSec=(\d+)s$", drop_in, re.MULTILINE)
    assert limit
    assert start.PATIENCE["unit"] < int(limit[1])
    assert start.PATIENCE["hookscript"] > start.PATIENCE["unit"]


def test_the_unit_leaves_conf_alone_and_is_silent(host: FakeHost, journal: Journal) -> None:
    host.proxmox()
    conf = host.read("/etc/pve/lxc/952.conf")
    assert host.unit("pre-start", "952") == (0, "", "")
    assert host.read("/etc/pve/lxc/952.conf") == conf
    assert b"profile = lxc-nvidia-gpu-base\n" in host.read("/var/lib/lxc/952/config")
    assert any("apply 952" in message for message in journal.messages())


def test_the_unit_refuses_where_pct_shows_it(host: FakeHost, journal: Journal) -> None:
    host.write("/run/pve/x", "")
    host.assign(c952="lxc-missing")
    done = host.unit("pre-start", "952")
    assert done.status == 1
    warnings = host.read("/run/pve/ct-952.warnings").decode().splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith("CT 952: profile lxc-missing is neither in the kernel")
    [entry] = journal.entries()
    assert entry["PRIORITY"] == "3"
    assert entry["PHOENIX_CTID"] == "952"


def test_not_managed_stays_as_it_is(host: FakeHost) -> None:
    host.conf("953", b"a: 1\n")
    host.runtime("953")
    assert host.hook("953") == (0, "", "")
    assert host.unit("pre-start", "953") == (0, "", "")
    assert host.read("/etc/pve/lxc/953.conf") == b"a: 1\n"
    assert host.read("/var/lib/lxc/953/config") == PVE_GENERATED


@pytest.mark.parametrize("phase", ["post-stop", "pre-stop", "restored", "mystery"])
def test_other_phases_are_quiet(host: FakeHost, phase: str) -> None:
    host.assign(c952="lxc-missing")
    assert host.hook("952", phase) == (0, "", "")


@pytest.mark.parametrize("ctid", ["", "abc", "12", "0952", "../952", "٩٥٢", "9" * 40, "9\n52"])
def test_a_ctid_that_is_none(host: FakeHost, ctid: str) -> None:
    done = host.hook(ctid)
    assert done.status == 1
    assert "not a valid CTID" in done.err
    assert len(done.err.splitlines()) == 2
    assert host.unit("pre-start", ctid).status == 1
    assert host.unit("post-stop", ctid).status == 0


# What makes an assigned profile unusable, and what the message must name.


def test_not_loaded_is_loaded(host: FakeHost) -> None:
    host.kernel({})
    done = host.hook("952")
    assert done.status == 0
    assert f"loaded profile {BASE}" in done.out
    assert f"{BASE} (enforce)" in host.read("/sys/kernel/security/apparmor/profiles").decode()
    calls = parser_calls(host)
    host.hook("952")
    assert parser_calls(host) == calls, "loaded once"


def test_who_waited_for_another_to_load_does_not_say_that_it_did(host: FakeHost) -> None:
    host.kernel({})
    name = host.write("/run/phoenix-apparmor/lock/loading.lock", "")
    command = [host.hook_file("hookscript"), "952", "pre-start"]
    environment = {**host.environment, "PHOENIX_APPARMOR_ROOT": str(host.root)}
    with name.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        while not any(
            path.is_symlink() and path.readlink() == name
            for path in Path(f"/proc/{start.pid}/fd").iterdir()
        ):
            assert start.poll() is None, "it did not wait"
            time.sleep(0.02)
        host.kernel({BASE: "enforce"})
    out, _ = start.communicate(timeout=60)
    assert start.returncode == 0
    assert "profile in .conf" in out
    assert "loaded profile" not in out
    assert parser_calls(host) == 0


def refused(host: FakeHost, *words: str) -> None:
    """The start is aborted with two lines that name the container and have these words."""
    before = {p: host.read(p) for p in ("/etc/pve/lxc/952.conf", "/var/lib/lxc/952/config")}
    for done in (host.hook("952"), host.unit("pre-start", "952")):
        assert done.status == 1
        assert done.err.startswith("CT 952: ")
        assert len(done.err.splitlines()) == 2, done.err
        for word in words:
            assert word in done.err
    assert before == {p: host.read(p) for p in before}, "a refused start changes nothing"


def test_a_profile_without_a_file_starts_nothing(host: FakeHost) -> None:
    host.assign(c952="lxc-missing")
    refused(host, "lxc-missing is neither", "phoenix-apparmor status")


def test_does_not_compile(host: FakeHost) -> None:
    host.kernel({})
    host.profile(BASE, body="  SYNTAX ERROR")
    refused(host, "does not compile", "at line", "phoenix-apparmor reload")


def test_parser_that_says_error_and_exits_0(host: FakeHost) -> None:
    host.kernel({})
    host.profile(BASE, body="  SYNTAX ERROR EXIT 0")
    refused(host, "does not compile")


def test_parser_that_loads_nothing(host: FakeHost) -> None:
    host.kernel({})
    host.profile(BASE, body="  # NOT LOADED")
    refused(host, "the kernel has no profile", "apparmor_parser -r -T")


@pytest.mark.parametrize("folder", ["disable", "force-complain"])
def test_a_profile_that_is_switched_off_starts_nothing(host: FakeHost, folder: str) -> None:
    host.kernel({})
    link = host.path(f"/etc/apparmor.d/{folder}/{BASE}")
    link.parent.mkdir()
    link.symlink_to(f"/etc/apparmor.d/{BASE}")
    refused(host, f"/etc/apparmor.d/{folder}/{BASE}", "rm /etc/apparmor.d")


def test_a_profile_in_complain_mode_starts_nothing(host: FakeHost) -> None:
    host.kernel({BASE: "complain"})
    refused(host, "complain mode", "phoenix-apparmor reload")


def test_complain_flag_in_the_file(host: FakeHost) -> None:
    host.kernel({})
    host.profile(BASE, flags="flags=(complain) ")
    refused(host, "complain mode")


@pytest.mark.parametrize("mode", ["complain", "unconfined", "x\x1b[1m"])
def test_a_mode_of_the_whole_kernel_starts_nothing(host: FakeHost, mode: str) -> None:
    """The list and the labels say enforce all the while."""
    assert host.hook("952").status == 0
    settled = host.read("/var/lib/lxc/952/config")
    host.write(GLOBAL_MODE, f"{mode}\n")
    refused(host, "AppArmor as a whole", "printf enforce >")
    host.running("952", f"{BASE} (enforce)")
    assert host.hook("952", "post-start").status == 1
    for holding in ("enforce", "kill"):
        host.write(GLOBAL_MODE, f"{holding}\n")
        assert host.hook("952") == (0, "", "")
        assert host.hook("952", "post-start") == (0, "", "")
    assert host.read("/var/lib/lxc/952/config") == settled
    host.path(GLOBAL_MODE).unlink()
    host.path(GLOBAL_MODE).mkdir()  # cannot be known
    refused(host, GLOBAL_MODE)


def test_no_apparmor_in_the_kernel(host: FakeHost) -> None:
    host.kernel(None)
    refused(host, "without AppArmor", "apparmor=1")
    host.assign(c952="unconfined")
    assert host.hook("952").status == 0
    host.json({})
    assert host.hook("952").status == 0


def test_a_name_that_lxc_start_may_not_change_to(host: FakeHost) -> None:
    host.assign(c952="lxc_docker")
    refused(host, '"lxc_docker" is invalid: lxc-start may only change to names that begin with '
                  '"lxc-". Rename it to "lxc-docker"', "validate")  # fmt: skip


def test_no_conf_on_this_node(host: FakeHost) -> None:
    host.path("/etc/pve/lxc/952.conf").unlink()
    done = host.hook("952")
    assert done.status == 1
    assert "not a container on this node" in done.err


# After the start


def test_post_start_compares_labels(host: FakeHost, journal: Journal) -> None:
    assert host.hook("952", "post-start") == (0, "", ""), "not running, nothing to compare"
    host.running("952", f"{BASE} (enforce)")
    assert host.hook("952", "post-start") == (0, "", "")
    for label in ("unconfined", f"{BASE} (complain)", "lxc-other (enforce)"):
        journal.entries()
        host.running("952", label)
        done = host.hook("952", "post-start")
        assert done.status == 1
        assert f'"{label}"' in done.err
        assert BASE in done.err
        assert len(journal.entries()) == 1


@pytest.mark.parametrize(
    ("label", "right"),
    [
        (f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined (enforce)", True),
        (f"{DOCKER} (enforce)", True),
        (f"{DOCKER}//&:lxc-953_<-var-lib-lxc>:unconfined (enforce)", False),
        (f"{DOCKER}-x (enforce)", False),
        ("unconfined", False),
    ],
)
def test_only_our_profile_first_in_a_stack_is_right(
    host: FakeHost, label: str, right: bool
) -> None:
    host.assign(c952=DOCKER)
    host.running("952", label)
    assert (host.hook("952", "post-start").status == 0) is right


def test_modes_of_files_stay(host: FakeHost) -> None:
    host.path("/etc/pve/lxc/952.conf").chmod(0o640)
    host.path("/var/lib/lxc/952/config").chmod(0o600)
    host.hook("952")
    modes = [
        stat.S_IMODE(host.path(name).stat().st_mode)
        for name in ("/etc/pve/lxc/952.conf", "/var/lib/lxc/952/config")
    ]
    assert modes == [0o640, 0o600]
    assert [p.name for p in host.path("/etc/pve/lxc").iterdir()] == ["952.conf"]
