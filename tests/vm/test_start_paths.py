"""Every way to start a container, and every reason not to: issue 3 on real units and real LXC."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.names import BASE, DOCKER
from tests.vm.containers import (
    OUR_HOOKSCRIPT,
    assign,
    be_patient,
    conf_path,
    create,
    drop_in,
    expect_label,
    init,
    journal,
    label,
    pct,
    wait_until,
    write_profile,
)
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import RELEASES_AND_KERNEL, USER_MODE

ONLY_SUITES = (USER_MODE, *RELEASES_AND_KERNEL)
# In which the kernel has no part but to run what it is given.
logic = pytest.mark.suites(USER_MODE)
of_kernel = pytest.mark.suites(*RELEASES_AND_KERNEL)


@pytest.fixture(scope="module", autouse=True)
def patient(vm: Machine) -> None:
    be_patient(vm)


def wait_for_new_init(vm: Machine, ctid: int, old: int) -> None:
    """Until the container runs again with another init."""
    log = f"journalctl -u pve-container@{ctid}"
    wait_until(lambda: init(vm, ctid) not in (old, -1), lambda: vm.sh(log).stdout)


def reboot_from_inside(vm: Machine, ctid: int) -> None:
    old = init(vm, ctid)
    vm.sh(f"lxc-attach -n {ctid} -- reboot -f", check=False)
    wait_for_new_init(vm, ctid, old)


def systemctl_restart(vm: Machine, ctid: int) -> None:
    old = init(vm, ctid)
    vm.sh(f"systemctl restart pve-container@{ctid}")
    wait_for_new_init(vm, ctid, old)


def with_debug(vm: Machine, ctid: int) -> None:
    pct(vm, "stop", ctid)
    # pct does not wait for the unit's ExecStopPost, and lxc-start ends well where one runs. A
    # reboot that was asked for in a stop before starts it once more, which cancels the stop.
    stop = f"systemctl stop pve-container@{ctid}"
    vm.sh(f"for n in 1 2 3 4 5; do {stop} && exit 0; sleep 2; done; exit 1", timeout=300)
    started = pct(vm, "start", ctid, "--debug", check=False)
    said = f"journalctl -n 100; tail -n 40 /run/pve/ct-{ctid}.*"
    assert started.rc == 0, started.stderr + vm.sh(said, check=False).stdout
    units = vm.sh("systemctl list-units --no-legend 'pve-container*'").stdout
    assert f"pve-container-debug@{ctid}.service" in units


@of_kernel
@pytest.mark.parametrize("hookscript", [OUR_HOOKSCRIPT, None], ids=["hookscript", "drop-in-only"])
def test_each_way_to_start_counts_the_assignment_of_that_moment(
    vm: Machine, hookscript: str | None
) -> None:
    """And our seccomp policy is where the profile asks for it, in a privileged container."""
    ctid = 200 if hookscript else 201
    create(vm, ctid, hookscript=hookscript, unprivileged=bool(hookscript))
    write_profile(vm, "lxc-other")
    ways: tuple[Callable[[], object], ...] = (
        lambda: pct(vm, "start", ctid),
        lambda: pct(vm, "reboot", ctid),
        lambda: reboot_from_inside(vm, ctid),
        lambda: systemctl_restart(vm, ctid),
        lambda: with_debug(vm, ctid),
    )
    for number, way in enumerate(ways):
        name = (BASE, "lxc-other")[number % 2]
        assign(vm, {ctid: name})
        way()
        expect_label(vm, ctid, name)
        guarded = "privileged-without-bpf.seccomp" in vm.read(f"/var/lib/lxc/{ctid}/config")
        assert guarded == (not hookscript and name == BASE)
    # .conf belongs to whoever holds Proxmox' lock: the hookscript, not the drop-in.
    assert ("lxc.apparmor" in vm.read(conf_path(ctid))) == bool(hookscript)
    pct(vm, "stop", ctid)


@of_kernel
def test_a_policy_namespace_lasts_as_long_as_its_container(vm: Machine) -> None:
    namespace = "/sys/kernel/security/apparmor/policy/namespaces/lxc-202_<-var-lib-lxc>"
    create(vm, 202)
    assign(vm, {202: DOCKER})
    pct(vm, "start", 202)
    vm.run("test", "-d", namespace)
    reboot_from_inside(vm, 202)
    expect_label(vm, 202, DOCKER)
    assert vm.run("lxc-attach", "-n", "202", "--", "true").rc == 0, "its namespace is gone"
    pct(vm, "stop", 202)
    vm.run("systemctl", "stop", "pve-container@202")  # waits for ExecStopPost, pct stop does not
    assert vm.run("test", "-d", namespace, check=False).rc == 1


@logic
def test_the_admin_can_except_one_container_from_the_drop_in(vm: Machine) -> None:
    create(vm, 203, hookscript=None)
    assign(vm, {203: BASE})
    with drop_in(vm, 203, "ExecStartPre="):
        pct(vm, "start", 203)
        assert label(vm, 203).startswith("lxc-203_</var/lib/lxc>")
        pct(vm, "stop", 203)


@logic
def test_a_refusal_of_the_drop_in_is_told_and_the_next_good_start_works(vm: Machine) -> None:
    create(vm, 204, hookscript=None)
    assign(vm, {204: "lxc_phoenix_v1"})
    refused = pct(vm, "start", 204, check=False)
    assert refused.rc == 255
    warned = [line for line in refused.stderr.splitlines() if line.startswith("WARN: ")]
    assert "CT 204" in warned[0]
    assert "lxc_phoenix_v1" in warned[0]
    assert len(warned) == 2, "the reason and how to fix it"
    assert "CT 204" in journal(vm)
    assert init(vm, 204) == -1
    assign(vm, {204: BASE})
    good = pct(vm, "start", 204)
    assert good.stderr == "", "a success is silent"
    expect_label(vm, 204, BASE)

    # The same on a reboot from inside: nobody reads a task log there, so status must tell.
    write_profile(vm, "lxc-broken", rules="  nonsense\n")
    assign(vm, {204: "lxc-broken"})
    vm.sh("lxc-attach -n 204 -- reboot -f", check=False)
    failed = ("systemctl", "is-failed", "pve-container@204")
    wait_until(lambda: vm.run(*failed, check=False).rc == 0, lambda: "its unit did not fail")
    assert init(vm, 204) == -1
    status = vm.run("phoenix-apparmor", "status", "204", check=False)
    assert status.rc in (1, 2)
    assert "204" in status.stdout
    vm.sh("rm /etc/apparmor.d/lxc-broken")
    assign(vm, {204: BASE})
    pct(vm, "start", 204)
    expect_label(vm, 204, BASE)
    pct(vm, "stop", 204)


@of_kernel
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        ("rm /etc/apparmor.d/lxc-t", "neither in the kernel nor in a file"),
        ("sed -i s/file,/nonsense/ /etc/apparmor.d/lxc-t", "nonsense|syntax|compile|pars"),
        ("ln -s ../lxc-t /etc/apparmor.d/disable/lxc-t", "switched off"),
        ("sed -i 's/flags=(/flags=(complain,/' /etc/apparmor.d/lxc-t", "complain"),
    ],
    ids=["no-file", "does-not-compile", "disabled", "complain"],
)
def test_a_profile_that_cannot_be_enforced_stops_the_start(
    vm: Machine, prepare: str, reason: str
) -> None:
    vm.sh("mkdir -p /etc/apparmor.d/disable; rm -f /etc/apparmor.d/disable/lxc-t")
    # No start before has loaded it: each refused one left the kernel alone, or in complain mode.
    write_profile(vm, "lxc-t")
    vm.sh(prepare)
    create(vm, 205)
    assign(vm, {205: "lxc-t"})
    refused = pct(vm, "start", 205, check=False)
    assert refused.rc == 255
    first, second, last = refused.stderr.splitlines()
    assert first.startswith("CT 205: "), first
    assert re.search(reason, first), first
    assert second
    assert last.startswith("hookscript error for 205 on pre-start")
    assert init(vm, 205) == -1
    vm.sh("rm -f /etc/apparmor.d/lxc-t /etc/apparmor.d/disable/lxc-t")


# Root of the container leaves its profile, and says under which label it is then.
LEAVE = "printf 'changeprofile unconfined' >/proc/self/attr/current; cat /proc/self/attr/current"


@of_kernel
def test_a_mode_of_the_whole_kernel_stops_the_start(vm: Machine) -> None:
    """All of AppArmor in complain mode, of which labels and the list of profiles say nothing."""

    def left() -> str:
        inside = ("lxc-attach", "-n", "211", "--clear-env", "--", "/bin/sh", "-c", LEAVE)
        return vm.run(*inside, check=False).stdout.strip()

    create(vm, 211, unprivileged=False)
    assign(vm, {211: BASE})
    pct(vm, "start", 211)
    assert left() == f"{BASE} (enforce)"
    try:
        vm.sh("printf complain >/sys/module/apparmor/parameters/mode")
        assert label(vm, 211) == f"{BASE} (enforce)"
        assert left() == "unconfined"
        assert vm.run("phoenix-apparmor", "status", "--check", check=False).rc == 2
        pct(vm, "stop", 211)
        refused = pct(vm, "start", 211, check=False)
        assert refused.rc == 255
        assert "AppArmor as a whole is in complain mode" in refused.stderr
        assert init(vm, 211) == -1
        said = vm.run("phoenix-apparmor", "doctor", "--json", check=False, timeout=300).stdout
        found = [f for f in json.loads(said)["findings"] if f["check"] == "apparmor"]
        vm.sh(found[0]["fix"])
        pct(vm, "start", 211)
        assert left() == f"{BASE} (enforce)"
    finally:
        vm.sh("printf enforce >/sys/module/apparmor/parameters/mode")
    pct(vm, "stop", 211)


@logic
def test_another_label_after_the_start_is_told(vm: Machine) -> None:
    """Somebody's own drop-in puts another profile in after ours."""
    edit = "sed -i /apparmor.profile/s/=.*/=lxc-container-default-cgns/ /var/lib/lxc/206/config"
    create(vm, 206)
    assign(vm, {206: BASE})
    with drop_in(vm, 206, f"ExecStartPre={edit}"):
        started = pct(vm, "start", 206)
        assert label(vm, 206) == "lxc-container-default-cgns (enforce)"
        said = 'CT 206: runs under "lxc-container-default-cgns (enforce)", but lxc-nvidia-gpu-base'
        assert said in started.stderr
        assert said in journal(vm)
        pct(vm, "stop", 206)


EVIL = (
    "lxc.apparmor.profile = unconfined\\nlxc.apparmor.raw = file,\\n"
    "lxc.apparmor.allow_nesting = 1\\nlxc.seccomp.profile = /usr/share/lxc/config/common.seccomp\\n"
)


def read_by_lxc(vm: Machine, ctid: int, key: str) -> str:
    return vm.sh(f"lxc-info -n {ctid} -H -c {key}").stdout.strip()


@logic
def test_the_last_word_is_ours_whatever_an_included_file_says(vm: Machine) -> None:
    """On both ways to start, and LXC itself says that it read ours."""
    vm.sh(f"printf '{EVIL}' >/root/extra.conf")
    for hookscript in (OUR_HOOKSCRIPT, None):
        ctid = 207 if hookscript else 208
        line = f"lxc.apparmor.profile: {BASE}\nlxc.include: /root/extra.conf\n"
        create(vm, ctid, hookscript=hookscript, unprivileged=False, more=line)
        assign(vm, {ctid: BASE})
        pct(vm, "start", ctid)
        expect_label(vm, ctid, BASE)
        assert read_by_lxc(vm, ctid, "lxc.apparmor.allow_nesting") == "0"
        assert "privileged" in read_by_lxc(vm, ctid, "lxc.seccomp.profile")
        assert vm.sh(f"phoenix-apparmor status {ctid}", check=False).rc == 0
        pct(vm, "stop", ctid)
    # The control: without us the included file has the last word, and status says so.
    with drop_in(vm, 208, "ExecStartPre="):
        pct(vm, "start", 208)
        assert label(vm, 208) == "unconfined"
        assert "drift" in vm.sh("phoenix-apparmor status 208", check=False).stdout
        pct(vm, "stop", 208)


@of_kernel
def test_what_nothing_confines_is_stopped(vm: Machine) -> None:
    """Another drop-in behind ours takes the profile away."""
    edit = "sed -i /apparmor.profile/s/=.*/=unconfined/ /var/lib/lxc/209/config"
    create(vm, 209, hookscript=None)
    assign(vm, {209: BASE})
    said = 'CT 209: runs under "unconfined"'
    with drop_in(vm, 209, f"ExecStartPre={edit}"):
        assert said in pct(vm, "start", 209, check=False).stderr
        expect_stopped(vm, 209)
        assert said in journal(vm)
    pct(vm, "start", 209)
    expect_label(vm, 209, BASE)
    pct(vm, "stop", 209)


@logic
def test_what_comes_late_is_looked_at_too(vm: Machine) -> None:
    """lxc-start takes longer than a start waits, and meanwhile its profile is made to complain."""
    late = "ExecStart=/bin/sh -c 'sleep 22; exec /usr/bin/lxc-start -F -n 213'"
    create(vm, 213)
    assign(vm, {213: BASE})
    with drop_in(vm, 213, "ExecStart=", late):
        vm.run("systemctl", "start", "pve-container@213")
        vm.run("apparmor_parser", "-r", "-C", f"/etc/apparmor.d/{BASE}")
        try:
            active = ("systemctl", "is-active", "pve-container@213")
            wait_until(lambda: vm.run(*active, check=False).rc != 0, lambda: "it still runs")
            assert init(vm, 213) == -1
            said = journal(vm)
            assert "CT 213: its init has not come yet" in said
            assert f'CT 213: runs under "{BASE} (complain)"' in said
        finally:
            vm.run("apparmor_parser", "-r", f"/etc/apparmor.d/{BASE}")
        # The control: as late, and confined as it is assigned.
        vm.run("systemctl", "start", "pve-container@213")
        wait_until(lambda: init(vm, 213) != -1, lambda: "it did not start")
        time.sleep(3)
        expect_label(vm, 213, BASE)
        pct(vm, "stop", 213)


def expect_stopped(vm: Machine, ctid: int) -> None:
    wait_until(lambda: init(vm, ctid) == -1, lambda: "it still runs")


@logic
def test_where_run_cannot_be_written(vm: Machine) -> None:
    """Nothing is left from one step of a start for the next: what nothing confines is stopped all
    the same, and what is confined goes on."""
    ctid, folder = 215, "/run/phoenix-apparmor"
    create(vm, ctid, hookscript=None)
    assign(vm, {ctid: BASE})
    vm.sh(f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}")
    try:
        pct(vm, "start", ctid)
        expect_label(vm, ctid, BASE)
        assert "cannot be known" in journal(vm)
        pct(vm, "stop", ctid)
        edit = f"sed -i /apparmor.profile/s/=.*/=unconfined/ /var/lib/lxc/{ctid}/config"
        with drop_in(vm, ctid, f"ExecStartPre={edit}"):
            assert 'runs under "unconfined"' in pct(vm, "start", ctid, check=False).stderr
            expect_stopped(vm, ctid)
    finally:
        vm.sh(f"umount {folder}")


@logic
def test_an_init_that_is_called_lxc_start_is_looked_at(vm: Machine) -> None:
    """Root inside names it as it likes."""
    ctid, upper = 213, "/var/lib/standin/213/upper"
    create(vm, ctid)
    vm.sh(
        f"mkdir -p {upper}/opt {upper}/sbin; cd {upper}\n"
        "cp /srv/roots/busybox/bin/busybox opt/lxc-start\n"
        f"ln -sf /opt/lxc-start sbin/init; chown -hR 100000:100000 {upper}"
    )
    assign(vm, {ctid: BASE})
    pct(vm, "start", ctid)
    expect_label(vm, ctid, BASE)
    pct(vm, "stop", ctid)
    edit = f"sed -i /apparmor.profile/s/=.*/=unconfined/ /var/lib/lxc/{ctid}/config"
    with drop_in(vm, ctid, f"ExecStartPre={edit}"):
        assert 'runs under "unconfined"' in pct(vm, "start", ctid, check=False).stderr
        expect_stopped(vm, ctid)


@logic
def test_a_configuration_that_is_written_anew_before_lxc_reads_it(vm: Machine) -> None:
    """As pct set does it beside a reboot from inside, which takes no lock of Proxmox'."""
    ctid = 214
    create(vm, ctid, unprivileged=False)
    assign(vm, {ctid: BASE})
    pct(vm, "start", ctid)
    pct(vm, "stop", ctid)
    with drop_in(vm, ctid, f"ExecStartPre=/usr/sbin/pct set {ctid} --description x"):
        vm.run("systemctl", "start", f"pve-container@{ctid}", check=False)
        expect_stopped(vm, ctid)
        assert f"CT {ctid}: its configuration was written anew" in journal(vm)
    # Afterwards it is no reason: what LXC has read counts.
    pct(vm, "start", ctid)
    vm.run("pct", "set", str(ctid), "--description", "y")
    config = f"/var/lib/lxc/{ctid}/config"
    assert "lock-shares" not in vm.read(config), "so does Proxmox"
    vm.run("/usr/libexec/phoenix-apparmor/hook", str(ctid), "post-start")
    assert vm.sh(f"phoenix-apparmor status {ctid}", check=False).rc == 0
    pct(vm, "stop", ctid)


@logic
def test_whoever_comes_first_to_the_folder_of_locks_gains_nothing(vm: Machine) -> None:
    assert vm.sh("stat -c %a:%u /run/phoenix-apparmor").stdout.strip() == "700:0"
    vm.sh(
        "chmod 1777 /run/lock; rm -rf /run/lock/phoenix-apparmor\n"
        "setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '"
        "mkdir /run/lock/phoenix-apparmor && cd /run/lock/phoenix-apparmor && "
        "ln -s /etc/nologin assignments.lock && ln -s /etc/nologin loading.lock'"
    )
    assign(vm, {200: BASE})
    vm.run("phoenix-apparmor", "reload")
    vm.run("phoenix-apparmor", "status", check=False)
    assert vm.run("test", "-e", "/etc/nologin", check=False).rc == 1
    vm.sh("rm -r /run/lock/phoenix-apparmor")
