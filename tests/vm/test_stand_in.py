"""The stand-in does what real Proxmox does (measured with pve-container 6.1): tests rest on it."""

from __future__ import annotations

import pytest

from tests.names import BASE
from tests.vm.containers import (
    OUR_HOOKSCRIPT,
    assign,
    be_patient,
    conf_path,
    create,
    expect_label,
    init,
    pct,
    wait_until,
)
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROGRAMS

ONLY_SUITES = PROGRAMS

WARNED = "explicitly configured lxc.apparmor.profile overrides the following settings: "
PROFILE = f"lxc.apparmor.profile: {BASE}\n"


@pytest.fixture(scope="module", autouse=True)
def patient(vm: Machine) -> None:
    be_patient(vm)


def runtime(vm: Machine, ctid: int) -> str:
    return vm.read(f"/var/lib/lxc/{ctid}/config")


def test_a_hookscript_is_run_from_a_storage_of_any_content(vm: Machine) -> None:
    """And where it is kept is Proxmox' to say: content-dirs moves the folder."""
    vm.sh("mkdir -p /srv/other/hooks; cp /bin/true /srv/other/hooks/true.sh")
    vm.write("/etc/pve/storage.cfg", "dir: local\n\tpath /elsewhere\n\tcontent iso\n\n"
             "dir: other\n\tpath\t/srv/other\n\tcontent-dirs snippets=hooks\n")  # fmt: skip
    path = vm.run("pvesm", "path", "other:snippets/true.sh").stdout.strip()
    assert path == "/srv/other/hooks/true.sh"
    assert vm.run("pvesm", "path", OUR_HOOKSCRIPT).stdout.startswith("/var/lib/vz/snippets/")
    create(vm, 300, hookscript=None)
    pct(vm, "set", 300, "--hookscript", "other:snippets/true.sh")
    assert "hookscript: other:snippets/true.sh" in vm.read(conf_path(300))
    assert pct(vm, "set", 300, "--hookscript", "other:snippets/gone.sh", check=False).rc == 255
    assert vm.run("phoenix-apparmor", "attach", "300", check=False).rc == 1, "not in the JSON"
    assign(vm, {300: BASE})
    vm.run("phoenix-apparmor", "attach", "300")
    assert "hookscript: other:snippets/true.sh" in vm.read(conf_path(300)), "it keeps its own"


def test_words_are_read_as_proxmox_reads_them(vm: Machine) -> None:
    create(vm, 301, hookscript=None, unprivileged=False,
           more="features: nesting=yes,mount=nfs cifs\nunprivileged: on\n")  # fmt: skip
    pct(vm, "set", 301, "--tags", "x")
    text = runtime(vm, 301)
    assert "lxc.idmap = u 0 100000 65536" in text
    assert "lxc.apparmor.allow_nesting = 1" in text
    assert "mount fstype=nfs,\n" in text and "mount fstype=cifs,\n" in text
    create(vm, 301, hookscript=None, unprivileged=False,
           more="lxc.idmap: u 0 200000 65536\nlxc.idmap: g 0 200000 65536\n")  # fmt: skip
    pct(vm, "set", 301, "--tags", "x")
    text = runtime(vm, 301)
    assert "userns.conf" in text and "200000" in text and "100000" not in text


def test_unprivileged_containers_have_a_seccomp_policy_of_proxmox_own(vm: Machine) -> None:
    create(vm, 302, hookscript=None)
    pct(vm, "set", 302, "--tags", "x")
    assert "lxc.seccomp.profile = /var/lib/lxc/302/rules.seccomp" in runtime(vm, 302)
    rules = vm.read("/var/lib/lxc/302/rules.seccomp")
    assert "keyctl errno 38" in rules and "socket errno 97 [0,38,SCMP_CMP_EQ]" in rules
    pct(vm, "set", 302, "--features", "keyctl=1")
    assert "keyctl" not in vm.read("/var/lib/lxc/302/rules.seccomp")
    create(vm, 302, hookscript=None, unprivileged=False)
    pct(vm, "set", 302, "--tags", "x")
    assert "rules.seccomp" not in runtime(vm, 302)


def test_a_running_container_and_a_lock(vm: Machine) -> None:
    """Options wait for the next start, a profile line is warned of, a lock refuses."""
    create(vm, 303, hookscript=None, more="features: nesting=1\n" + PROFILE)
    assign(vm, {303: BASE})
    started = pct(vm, "start", 303)
    assert f"{WARNED}features:nesting" in started.stderr
    expect_label(vm, 303, BASE)
    pct(vm, "set", 303, "--features", "nesting=1,keyctl=1")
    main, _, pending = vm.read(conf_path(303)).partition("[pve:pending]")
    assert "features: nesting=1\n" in main and "features: nesting=1,keyctl=1" in pending
    assert "keyctl" in vm.read("/var/lib/lxc/303/rules.seccomp")
    old = init(vm, 303)
    vm.sh("lxc-attach -n 303 -- reboot -f", check=False)
    log = "systemctl status pve-container@303"
    wait_until(lambda: init(vm, 303) not in (old, -1), lambda: vm.sh(log, check=False).stdout)
    assert "pve-container-stop-wrapper" in vm.sh("systemctl cat pve-container@303").stdout
    expect_label(vm, 303, BASE)
    assert "features: nesting=1,keyctl=1" in vm.read(conf_path(303)).partition("[pve:")[0]
    assert "keyctl" not in vm.read("/var/lib/lxc/303/rules.seccomp")
    pct(vm, "stop", 303)
    vm.write(conf_path(303), "lock: backup\n" + vm.read(conf_path(303)), 0o640)
    for verb in (("start",), ("set", "--tags", "x")):
        refused = pct(vm, verb[0], 303, *verb[1:], check=False)
        assert (refused.rc, refused.stderr) == (255, "CT is locked (backup)\n")
    doctor = vm.run("phoenix-apparmor", "doctor", "303", check=False).stdout
    assert "locked (backup)" in doctor and "pct unlock 303" in doctor
    pct(vm, "unlock", 303)
    vm.write("/etc/pve/.members", '{"cluster": {"quorate": 0}}')
    assert "quorum" in pct(vm, "start", 303, check=False).stderr
    assert "no quorum" in vm.run("phoenix-apparmor", "doctor", check=False).stdout
    vm.sh("rm /etc/pve/.members")


def test_a_refusal_of_the_drop_in_and_what_doctor_makes_of_it(vm: Machine) -> None:
    create(vm, 304, hookscript=None)
    assign(vm, {304: "lxc-nowhere"})
    refused = pct(vm, "start", 304, check=False)
    assert refused.rc == 255
    lines = refused.stderr.splitlines()
    assert lines[0].startswith("Job for pve-container@304.service failed")
    assert lines[-1] == "command 'systemctl start pve-container@304' failed: exit code 1"
    assert any(line.startswith("WARN: ") for line in lines)
    found = vm.run("phoenix-apparmor", "doctor", "304", check=False)
    assert found.rc == 2
    assert "profile lxc-nowhere is neither" in " ".join(found.stdout.split())
