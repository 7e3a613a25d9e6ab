"""denials: real attacks by root in a container, and what the command says of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.names import BASE
from tests.vm.containers import assign, create, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROXMOX_KERNEL

# Two releases' words for it. (6.12 has the same programs as 6.17, and no words of its own.)
ONLY_SUITES = ("bookworm", PROXMOX_KERNEL)

# A site's own, with a narrow mount rule only: AppArmor 3.0 takes the propagation rules of ours for
# any mount (CVE-2016-1585), so there it refuses only what is denied explicitly.
SITE = "lxc-site"
SITE_TEXT = f"""\
abi <abi/3.0>,
include <tunables/global>
profile {SITE} flags=(attach_disconnected,mediate_deleted) {{
  capability,
  network,
  file,
  umount,
  mount fstype=tmpfs,
  signal,
  ptrace,
  unix,
  include if exists <local/{SITE}>
}}
"""
LOCAL = f"/etc/apparmor.d/local/{SITE}"
PARAMETER = "/sys/module/apparmor/parameters/audit"
CTID = 970
OWN = 971
SITES = 972


@pytest.fixture(scope="module")
def running(vm: Machine) -> Iterator[Machine]:
    """A privileged container under our profile: no user namespace helps against its root."""
    create(vm, CTID, unprivileged=False)
    create(vm, OWN)
    create(vm, SITES, unprivileged=False)
    vm.write(f"/etc/apparmor.d/{SITE}", SITE_TEXT)
    assign(vm, {CTID: BASE, OWN: "generated", SITES: SITE})
    pct(vm, "start", CTID)
    yield vm
    pct(vm, "stop", CTID)


@pytest.fixture
def all_logged(running: Machine) -> Iterator[Machine]:
    """As the last line of denials says to do."""
    out = said(running)
    running.sh(next(line for line in out.splitlines() if line.startswith("  echo -n noquiet >")))
    yield running
    out = said(running)
    running.sh(next(line for line in out.splitlines() if line.startswith("  echo -n normal >")))
    assert running.read(PARAMETER).strip() == "normal"


def now(vm: Machine) -> str:
    """A time for --since; the second behind it has only what is done from now on."""
    time.sleep(3)
    return f"@{vm.run('date', '+%s').stdout.strip()}"


def inside(vm: Machine, script: str, ctid: int = CTID) -> int:
    """Exit status of a script of root in the container."""
    return vm.run("lxc-attach", "-n", str(ctid), "--", "sh", "-c", script, check=False).rc


def said(vm: Machine, *arguments: str) -> str:
    """The command's output; 2 is its status where there were denials."""
    done = vm.run("phoenix-apparmor", "denials", *arguments, check=False)
    assert done.rc in (0, 2), done
    return done.stdout


def denials(vm: Machine, since: str, *arguments: str) -> list[dict[str, Any]]:
    vm.sh("journalctl --sync")
    out = said(vm, "--json", "--since", since, *arguments)
    found: list[dict[str, Any]] = json.loads(out)["denials"]
    return found


def the(found: list[dict[str, Any]], tried_to: str) -> dict[str, Any]:
    (match,) = [denial for denial in found if denial["tried_to"] == tried_to]
    return match


def test_quiet_denies_are_silent_as_the_last_line_says(running: Machine) -> None:
    since = now(running)
    assert inside(running, "umount -l /sys") != 0
    assert denials(running, since) == []
    done = running.run("phoenix-apparmor", "denials", "--since", since)
    assert done.rc == 0
    out = done.stdout
    assert out.startswith("No denial of a container since ")
    assert "leaves no message" in " ".join(out.split())
    assert out.endswith(f"  echo -n noquiet >{PARAMETER}\n")


def test_quiet_denies_once_all_is_logged(all_logged: Machine) -> None:
    since = now(all_logged)
    assert inside(all_logged, "umount -l /sys") != 0
    assert the(denials(all_logged, since, str(CTID)), "unmount /sys/")["rule_is_futile"] is True


def test_a_write_to_the_kernel_by_a_process_that_lives(running: Machine) -> None:
    vm = running
    since = now(vm)
    # LXC binds these over with read-only mounts, which root in the container takes away.
    attack = (
        "umount /proc/sysrq-trigger; umount -l /proc/sys; echo h >/proc/sysrq-trigger; "
        "echo x >/proc/sys/kernel/core_pattern; echo >/tmp/done; sleep 1000"
    )
    vm.sh(f"setsid lxc-attach -n {CTID} -- sh -c '{attack}' >/dev/null 2>&1 &")
    for _ in range(60):
        if inside(vm, "test -e /tmp/done") == 0:
            break
        time.sleep(1)
    name = '/apparmor/a "b'
    assert inside(vm, f"mkdir -p /apparmor; echo >'{name}'") != 0
    assert inside(vm, "mkdir -p /run/t; mount -t tracefs none /run/t") != 0
    found = denials(vm, since, str(CTID))
    # (Of sysrq-trigger the kernel asks kernelguard.py's program first, and then nobody else.)
    write = the(found, "write /proc/sys/kernel/core_pattern")
    assert (write["ctid"], write["ctid_known_by"]) == (str(CTID), "process")
    assert (write["profile"], write["operation"], write["count"]) == (BASE, "open", 1)
    assert write["rule_is_futile"] is True
    assert "/etc/apparmor.d/abstractions/phoenix/" in write["warning"]
    assert the(found, "mount tracefs on /run/t/")["rule_is_futile"] is True
    # a name with a quote: the kernel writes it as hex
    assert the(found, f"create {name}")["rule_is_futile"] is True


# What root tries; the words for it; what the warning says; whether the rule then allows it.
ATTEMPTS = (
    ("mount -o bind /proc /run/b", "bind-mount /proc/ on /run/b/", "out of reach", True),
    # Root moves a file system of the host's there first, so the rule reaches that too.
    ("mount -o remount,nosuid /run/r", "remount /run/r/ (rw, nosuid, relatime)", "options", True),
    ("mount -t sysfs none /run/s", "mount sysfs on /run/s/", "own interface", True),
    (
        "echo -n 'changeprofile unconfined' >/proc/self/attr/current",
        "change to profile unconfined",
        "leaves its profile",
        False,
    ),
)


def test_attempts_in_words_and_the_rule_that_allows_them(running: Machine) -> None:
    vm = running
    pct(vm, "start", SITES)
    prepare = "mkdir -p /run/b /run/r /run/s; mount -t tmpfs none /run/r"
    assert inside(vm, prepare, SITES) == 0
    since = now(vm)
    for attempt, *_ in ATTEMPTS:
        assert inside(vm, attempt, SITES) != 0, attempt
    found = denials(vm, since)
    rules = []
    for attempt, words, warning, allows in ATTEMPTS:
        denial = the(found, words)
        assert (denial["ctid"], denial["ctid_known_by"]) == (str(SITES), "only"), attempt
        assert (denial["warning"] is None) == (warning is None), denial
        assert (warning or "") in (denial["warning"] or "")
        assert denial["rule_file"] == LOCAL
        rules += [denial["rule"]] if allows else []
    vm.write(LOCAL, "".join(f"{rule}\n" for rule in rules))
    vm.run("phoenix-apparmor", "reload", timeout=300)
    for attempt, words, _, allows in ATTEMPTS:
        if allows:
            assert inside(vm, attempt, SITES) == 0, f"{words}: {rules}"
    # what the rules open, doctor would find
    vm.write(LOCAL, "")
    vm.run("phoenix-apparmor", "reload", timeout=300)
    pct(vm, "stop", SITES)


def test_proxmox_own_profile_names_its_container(running: Machine) -> None:
    vm = running
    pct(vm, "start", OWN)
    since = now(vm)
    assert inside(vm, "mkdir -p /run/s; mount -t sysfs none /run/s", OWN) != 0
    denial = the(denials(vm, since, str(OWN)), "mount sysfs on /run/s/")
    assert (denial["ctid"], denial["ctid_known_by"]) == (str(OWN), "name")
    assert denial["rule_file"] == f"/etc/pve/lxc/{OWN}.conf"
    assert denial["rule"].startswith("lxc.apparmor.raw: mount fstype=sysfs")
    out = said(vm, str(OWN), "--since", since)
    assert out.startswith(f"CT {OWN} (ct{OWN}), profile lxc-{OWN}_</var/lib/lxc>\n")
    pct(vm, "stop", OWN)


def test_doctor_on_a_real_host(running: Machine) -> None:
    """Every check can be made there, and what it finds is what this VM is."""
    result = running.run("phoenix-apparmor", "doctor", "--json", timeout=300, check=False)
    found = json.loads(result.stdout)["findings"]
    # Rules that the tests above put into local/lxc-site open it, which is true.
    told = [f for f in found if f["check"] != "profile-rules" or SITE not in f["what"]]
    off = {(f["check"], f["severity"]) for f in told if f["severity"] != "note"}
    # The stand-in of Proxmox is no package.
    assert off == {("versions", "unknown")}, found
    assert result.rc == 2


def test_doctor_sees_what_systemd_has_not_read(running: Machine) -> None:
    vm = running
    check = "from phoenix_apparmor.doctor.proxmox import *; print(*drop_in(Host()))"
    vm.sh("touch /usr/lib/systemd/system/pve-container@.service.d/50-phoenix-apparmor.conf")
    found = vm.run("python3", "-c", check).stdout
    assert "has not read" in found
    assert f"NeedDaemonReload=yes: pve-container@{CTID}.service" in found
    vm.run("systemctl", "daemon-reload")
    assert vm.run("python3", "-c", check).stdout.strip() == ""
