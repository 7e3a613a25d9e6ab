"""doctor: each check on a host where it fires, all of them on one where none does."""

import json
import os
import time
from collections.abc import Callable

import pytest

from phoenix_apparmor.doctor.checks import CHECKS as CHECKS_OF_DOCTOR
from phoenix_apparmor.policy.conffiles import place_of_own
from tests.names import BASE, DOCKER
from tests.unit import (
    doctor_cases,
    doctor_cases_confinement,
    doctor_cases_containers,
    doctor_cases_gpu,
    doctor_cases_included,
    doctor_cases_locks,
    doctor_cases_needs,
)
from tests.unit.doctor_host import (
    CONF,
    DROP_IN,
    HOOKSCRIPT,
    UNIT_FOLDER,
    Case,
    append,
    by_hand,
    conf,
    diagnose,
    dpkg,
    instead,
    journal,
    make_sound,
    no_devices,
    on_cgroup_v1,
    run_fix,
)
from tests.unit.fakehost import FAST, FakeHost
from tests.unit.golden import assert_golden

CASES = (
    doctor_cases.CASES
    | doctor_cases_containers.CASES
    | doctor_cases_confinement.CASES
    | doctor_cases_gpu.CASES
    | doctor_cases_needs.CASES
    | doctor_cases_included.CASES
    | doctor_cases_locks.CASES
)


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


def test_all_is_well(host: FakeHost) -> None:
    done = host.cli("doctor")
    assert done == (0, f"{len(CHECKS_OF_DOCTOR)} checks, nothing is off.\n", "")
    assert diagnose(host) == []


# With --fast one case of each check.
FIRST = {case.check: name for name, case in reversed(CASES.items())}
SHOWN = [
    pytest.param(case, id=name, marks=() if FIRST[case.check] == name else pytest.mark.slow)
    for name, case in CASES.items()
]


@pytest.mark.parametrize("case", SHOWN)
def test_a_check_fires_and_its_fix_helps(host: FakeHost, case: Case) -> None:
    """Just this check says this; the fix that it prints, run in a shell, ends it, and no more."""
    case.spoil(host)
    findings = diagnose(host)
    said = {
        " | ".join(str(finding[key]) for key in ("what", "evidence", "fix", "advice")): finding
        for finding in findings
        if (finding["check"], finding["severity"]) == (case.check, case.severity)
    }
    fitting = [f for text, f in said.items() if all(word in text for word in case.words)]
    assert fitting, findings
    assert {finding["check"] for finding in findings} <= {case.check, *case.besides}, findings
    fix = fitting[0]["fix"]
    assert bool(fix) is (case.has_fix and not case.advised), fitting
    if case.advised:
        fix = fitting[0]["advice"].partition(": ")[2]
    if not fix or "nvidia-container" in fix or FAST:
        return
    run_fix(host, fix)
    left = diagnose(host)
    keys = ("check", "what")
    assert not [f for f in left if all(f[k] == fitting[0][k] for k in keys)], (fix, left)
    known = {*case.besides, case.check, *case.after}
    assert {finding["check"] for finding in left} <= known, left


def test_every_check_is_tried(host: FakeHost) -> None:
    checks = set(json.loads(host.cli("doctor", "--json").out)["checks"])
    assert checks - {case.check for case in CASES.values()} == {"parser", "id-maps"}


def test_a_host_without_the_parser_is_told(host: FakeHost) -> None:
    """On a PATH without apparmor_parser; the standard folders are always looked at as well."""
    programs = host.path("/programs")
    programs.mkdir()
    from phoenix_apparmor.doctor import apparmor
    from phoenix_apparmor.host import Host

    class NoParser(Host):
        def has_program(self, name: str) -> bool:
            return name != "apparmor_parser" and super().has_program(name)

    (finding,) = apparmor.parser(NoParser(str(host.root)))
    assert finding.fix == "apt-get install apparmor"
    assert not list(apparmor.parser(Host(str(host.root))))


FINE = {
    "what is optional, always there, or a template's": lambda host: (
        conf(
            "dev5: /dev/net/tun\nlxc.mount.entry: /dev/kfd dev/kfd none bind,optional 0 0\n"
            "lxc.mount.entry: tmpfs srv tmpfs rw 0 0\nmp0: zfs:subvol-950-disk-1,mp=/srv\n"
            "lxc.hook.post-stop: /root/gone\n"
        )(host),
        host.conf("951", "template: 1\ndev0: /dev/kfd\n"),
    ),
    "a GPU of a template's, without nodes for CUDA or on another host": lambda host: host.conf(
        "951", "template: 1\nunprivileged: 1\ndev0: /dev/nvidia0\ndev1: /dev/nvidia7\n"
    ),
    "nodes by path, unprivileged: LXC denies no device": no_devices(
        "".join(map(doctor_cases_gpu.MOUNT.format, ("nvidia0", "nvidiactl", "nvidia-uvm")))
    ),
    "majors that fit": by_hand(
        "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 510:* rwm\n"
        "lxc.cgroup2.devices.allow: c 226:0 rwm\n"
        + "".join(
            f"lxc.mount.entry: /dev/{n} dev/{n} none bind,optional,create=file\n"
            for n in ("nvidia0", "nvidiactl", "nvidia-uvm")
        )
    ),
    "majors that fit, by cgroup v1": on_cgroup_v1(
        by_hand(doctor_cases_gpu.by_number("lxc.cgroup.devices.allow"))
    ),
    "lines of v1 where nobody can tell": lambda host: (
        host.path("/sys/fs/cgroup/cgroup.controllers").unlink(),
        by_hand(doctor_cases_gpu.by_number("lxc.cgroup.devices.allow"))(host),
    ),
    "an older driver beside the one that fits": doctor_cases_gpu.driver(
        "libcuda.so.535.54.03", "libcuda.so.550.127.05", "libnvidia-ml.so.550.127.05"
    ),
    "another device's number": doctor_cases_gpu.with_hidraw(f"{doctor_cases_gpu.USES} 510:* r\n"),
    "numbers of no GPU": lambda host: host.conf(
        "951", "lxc.cgroup2.devices.allow: c 508:0 rwm\nhostname: tun\n"
    ),
    "a later Proxmox VE": lambda host: dpkg(host, "7.0.0-1", "7.0.1"),
    "a fixed lxc-pve on 8": lambda host: dpkg(host, "6.0.0-2", "5.3.0"),
    "a snapshot that agrees": lambda host: append(
        host, "/etc/pve/lxc/950.conf", f"\n[snap]\nlxc.apparmor.profile: {BASE}\n"
    ),
    "a container that is not ours": lambda host: host.conf("951", "features: nesting=1\n"),
    "all capabilities over itself": conf("lxc.cap.drop:\nlxc.cgroup2.devices.allow: a\n"),
    "it runs as assigned": lambda host: host.running("950", f"{BASE} (enforce)"),
    "leftovers of others": lambda host: host.write("/etc/apparmor.d/man.dpkg-dist", "x"),
    "another name with our ending": lambda host: host.write("/etc/apparmor.d/lxc-x.bak", "x"),
}


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_nothing_fires(host: FakeHost, change: Callable[[FakeHost], object]) -> None:
    change(host)
    assert [f for f in diagnose(host) if "is privileged: root in it" not in f["what"]] == []


def test_devices_that_root_may_only_make(host: FakeHost) -> None:
    """LXC's own defaults: c *:* m lets root make nodes, and use none of them."""
    plain = CONF.replace("unprivileged: 1\n", "")
    lines = ("c *:* m", "b *:* m", "c 508:* m")
    host.conf("950", plain + "".join(f"lxc.cgroup2.devices.allow: {line}\n" for line in lines))
    assert [f["severity"] for f in diagnose(host)] == ["note"], "but that it is privileged"


def test_a_check_that_fails_itself_is_unknown_and_stops_no_other(host: FakeHost) -> None:
    host.path("/proc/devices").unlink()
    conf("lxc.cgroup2.devices.allow: c 195:* rwm\n")(host)
    journal(host)
    findings = diagnose(host)
    assert [(f["check"], f["severity"]) for f in findings] == [
        ("gpu-majors", "unknown"),
        ("denials", "note"),
    ]
    assert "the check itself failed" in findings[0]["what"]
    assert "FileNotFoundError" in findings[0]["evidence"]


def test_a_database_of_dpkg_that_is_a_fifo_is_not_waited_for(host: FakeHost) -> None:
    status = host.path("/var/lib/dpkg/status")
    status.unlink()
    os.mkfifo(status)
    begin = time.monotonic()
    done = host.cli("doctor")
    assert done.status == 2 and "/var/lib/dpkg/status is not a regular file" in done.out
    assert host.cli("status").status in (0, 2)
    assert time.monotonic() - begin < 20


def test_without_proxmox_its_checks_have_nothing_to_say(host: FakeHost) -> None:
    for name in ("/usr/share/perl5/PVE/LXC.pm", "/etc/pve/storage.cfg", HOOKSCRIPT):
        host.path(name).unlink()
    host.path(f"{UNIT_FOLDER}/{DROP_IN}").unlink()
    dpkg(host, "", "")
    assert diagnose(host) == []


def spoil_much(host: FakeHost) -> None:
    for name in ("complain", "unconfined", "drop-in masked", "lxc-pve old on 9", "node absent",
                 "mount=", "denials", "two JSON files"):  # fmt: skip
        CASES[name].spoil(host)
    host.running("950", "unconfined")


def test_the_whole_output(host: FakeHost) -> None:
    spoil_much(host)
    done = host.cli("doctor")
    assert (done.status, done.err) == (2, "")
    assert_golden("doctor.txt", done.out, host.root)
    lines = [line for line in done.out.splitlines() if not line.startswith("  fix:")]
    assert max(map(len, lines)) <= 80


def test_the_whole_json(host: FakeHost) -> None:
    spoil_much(host)
    assert_golden("doctor.json", host.cli("doctor", "--json").out, host.root)


def test_a_fix_for_a_profile_that_only_the_conf_names_loads_it(host: FakeHost) -> None:
    """Without its name, reload loads only ours and what the JSON assigns."""
    text = "profile lxc-mine {\n  file,\n  include if exists <local/lxc-mine>\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", f"abi <abi/3.0>,\n{text}")
    host.load("lxc-mine")
    lines = "features: mount=nfs;cifs\nlxc.apparmor.profile: lxc-mine\n"
    host.conf("951", f"arch: amd64\nostype: debian\n{lines}")
    refused = [f for f in diagnose(host) if "mount=nfs;cifs does nothing" in f["what"]]
    run_fix(host, refused[0]["fix"])
    assert not [f for f in diagnose(host) if "mount=nfs;cifs does nothing" in f["what"]]
    done = host.cli("reload", "--dry-run", "lxc-mine")
    assert "Nothing to do" in done.out, "the kernel has what the file says now"
    advice = [f["advice"] or "" for f in diagnose(host) if f["check"] == "profile-rules"]
    host.conf("951", "lxc.apparmor.profile: lxc-absent\n")
    advice += [f["advice"] or "" for f in diagnose(host) if f["check"] == "profile-lines"]
    named = [text.partition("phoenix-apparmor reload ")[2].partition(";")[0] for text in advice]
    assert named == ["lxc-mine", "lxc-absent"]


def test_raw_lines_that_do_nothing_are_not_advised_for_everybody(host: FakeHost) -> None:
    """What one container's .conf says would be all others' in local/, unjudged."""
    host.confined("952", DOCKER)
    raw = "lxc.apparmor.raw: mount,\nlxc.apparmor.raw: change_profile -> **,\n"
    host.conf("952", f"arch: amd64\nlxc.apparmor.profile: {DOCKER}\n{raw}")
    (found,) = [f for f in diagnose(host) if "does nothing under an explicit" in f["what"]]
    assert "mount," in found["evidence"] and "change_profile" in found["evidence"]
    assert "apparmor_rules" in found["advice"] and "local/" not in found["advice"]


@pytest.mark.parametrize(
    ("rule", "opens"),
    [("mount,", True), ("capability,", False), ("capability sys_module,", False)],
)
def test_a_raw_rule_that_the_generated_profile_has_opens_nothing(
    host: FakeHost, rule: str, opens: bool
) -> None:
    host.conf("951", f"arch: amd64\nostype: alpine\nlxc.apparmor.raw: {rule}\n")
    said = [f for f in diagnose(host) if f["check"] == "apparmor-lines"]
    assert bool(said) is opens


def test_names_that_are_not_ctids(host: FakeHost) -> None:
    host.json({"950": {}, "5": {}, "abc": {}})
    (found,) = diagnose(host)
    assert found["what"] == (
        'lxc_configs: "5", "abc": "5" is not a valid CTID; a CTID is a number from 100 to '
        "999999999; one more entry has the same fault; nothing is assigned by them."
    )


def test_a_snapshot_is_named_as_it_is_written(host: FakeHost) -> None:
    append(host, "/etc/pve/lxc/950.conf", "\n[Snap_2]\nlxc.apparmor.profile: x\n")
    (found,) = diagnose(host)
    assert "950 (Snap_2)" in found["what"] and "[Snap_2]" in found["evidence"]


def test_a_template_never_starts(host: FakeHost) -> None:
    """What its .conf says is in force nowhere: no drift, and no start that corrects it."""
    instead("lxc.apparmor.profile: lxc-x\n")(host)
    append(host, "/etc/pve/lxc/950.conf", "template: 1\n")
    status = host.cli("status", "950")
    assert "drift" not in status.out and "next start" not in status.out
    assert "never starts" in status.out and "apply 950" in status.out


def test_it_changes_nothing(host: FakeHost) -> None:
    def state() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in host.root.rglob("*")
            if path.is_file() and "fake" not in path.name and "/run/lock/" not in str(path)
        }

    spoil_much(host)
    before = state()
    host.cli("doctor")
    assert state() == before


@pytest.mark.slow
def test_a_thousand_containers(host: FakeHost) -> None:
    for n in range(1000, 2000):
        host.conf(str(n), CONF)
        host.runtime(str(n), f"lxc.apparmor.profile = {BASE}\n".encode())
    host.json({str(n): {} for n in range(1000, 2000)})
    host.path("/dev/nvidia-uvm").unlink()
    (finding,) = diagnose(host)
    assert "and 993 more" in finding["what"] and len(finding["what"]) < 200


def test_what_one_would_edit_has_a_place_of_its_own() -> None:
    local = "/etc/apparmor.d/local"
    assert place_of_own("/etc/apparmor.d/lxc-nvidia-gpu-base") == f"{local}/lxc-nvidia-gpu-base"
    assert place_of_own("/etc/apparmor.d/abstractions/phoenix/mounts") == f"{local}/PROFILE"
    assert "lxc.seccomp.profile" in place_of_own("/etc/phoenix-apparmor/privileged.seccomp")


def test_a_node_that_nothing_makes_now_keeps_its_lines(host: FakeHost) -> None:
    """The second GPU is out for a while."""
    doctor_cases_gpu.only_one_gpu(host)
    uses, mount = doctor_cases_gpu.USES, doctor_cases_gpu.MOUNT
    gone = mount.format("nvidia1")
    by_hand(f"{uses} 195:* rwm\n{uses} 508:* rwm\n{mount.format('nvidia0')}{gone}")(host)
    (finding,) = (f for f in diagnose(host) if f["check"] == "gpu-majors")
    run_fix(host, finding["fix"])
    left = host.read("/etc/pve/lxc/950.conf").decode()
    assert gone in left and f"{uses} 195:* rwm" in left and "dev0: /dev/nvidia0" in left
    assert "508" not in left and mount.format("nvidia0") not in left
    assert not [f for f in diagnose(host) if f["check"] == "gpu-majors"]


def test_what_nvidias_hook_gives_is_not_said_to_lack(host: FakeHost) -> None:
    asks = "lxc.environment: NVIDIA_VISIBLE_DEVICES=all\n"
    gpu = doctor_cases_gpu.MOUNT.format("nvidia0")
    doctor_cases_gpu.hooked(f"{asks}{gpu}{doctor_cases_gpu.USES} 195:* rwm\n")(host)
    assert not [f for f in diagnose(host) if f["check"] == "gpu-nodes"]
    doctor_cases_gpu.hooked(f"{gpu}{doctor_cases_gpu.USES} 195:* rwm\n")(host)
    assert [f for f in diagnose(host) if f["check"] == "gpu-nodes"]
