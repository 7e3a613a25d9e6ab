"""The whole thin line: the .deb on a real kernel, and containers under their assigned profiles."""

from __future__ import annotations

import pytest

from tests.names import BASE, DOCKER
from tests.vm.containers import (
    assign,
    conf_path,
    create,
    expect_label,
    init,
    journal,
    label,
    pct,
    stacked,
)
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import INSTALL_LOG, INSTALL_TIMEOUT
from tests.vm.harness.suites import RELEASES_AND_KERNEL

ONLY_SUITES = RELEASES_AND_KERNEL

# What the original design does: .conf alone. lxc-start never reads it.
ONLY_CONF = f"""\
#!/bin/sh
[ "$2" = pre-start ] || exit 0
sed -i '/^lxc.apparmor.profile:/d' "/etc/pve/lxc/$1.conf"
echo 'lxc.apparmor.profile: {BASE}' >>"/etc/pve/lxc/$1.conf"
"""
DROP_IN = "/etc/systemd/system/pve-container@.service.d/50-phoenix-apparmor.conf"


def very_next_start(vm: Machine, ctid: int, name: str) -> None:
    """The check itself: with name newly assigned, the next start is under it."""
    assign(vm, {ctid: name})
    pct(vm, "start", ctid)
    try:
        expect_label(vm, ctid, name)
    finally:
        pct(vm, "stop", ctid)


def test_a_changed_assignment_counts_at_the_very_next_start(vm: Machine) -> None:
    create(vm, 950)
    assign(vm, {950: None})
    pct(vm, "start", 950)
    expect_label(vm, 950, BASE)
    pct(vm, "stop", 950)
    very_next_start(vm, 950, DOCKER)
    very_next_start(vm, 950, BASE)
    assert f"\nlxc.apparmor.profile: {BASE}\n" in vm.read(conf_path(950))


def test_unconfined_is_proxmox_own_profile(vm: Machine) -> None:
    create(vm, 951, more=f"lxc.apparmor.profile: {BASE}\n")
    assign(vm, {951: "unconfined"})
    pct(vm, "start", 951)
    assert label(vm, 951).startswith("lxc-951_</var/lib/lxc>")
    assert "lxc.apparmor" not in vm.read(conf_path(951))
    pct(vm, "stop", 951)


def test_an_edit_of_conf_alone_does_not_count_at_the_next_start(vm: Machine) -> None:
    """The check above notices a hook that comes too late: it is worth something."""
    vm.write("/var/lib/vz/snippets/only-conf.sh", ONLY_CONF, 0o755)
    vm.sh(f"mkdir -p $(dirname {DROP_IN}); ln -s /dev/null {DROP_IN}; systemctl daemon-reload")
    create(vm, 952, hookscript="local:snippets/only-conf.sh")
    with pytest.raises(AssertionError, match="is under lxc-952_</var/lib/lxc>"):
        very_next_start(vm, 952, BASE)
    assert f"lxc.apparmor.profile: {BASE}" in vm.read(conf_path(952))
    very_next_start(vm, 952, BASE)  # one boot late
    vm.sh(f"rm {DROP_IN}; systemctl daemon-reload")


@pytest.mark.parametrize(
    "name", ["lxc_phoenix_v1", "/etc/passwd", "lxc-a\nlxc.rootfs.path: /", "lxc-not-there"]
)
def test_a_name_that_cannot_be_used_is_refused(vm: Machine, name: str) -> None:
    create(vm, 953)
    assign(vm, {953: name})
    before = vm.read(conf_path(953))
    refused = pct(vm, "start", 953, check=False)
    assert refused.rc == 255
    assert "CT 953: " in refused.stderr
    assert name.split("\n", maxsplit=1)[0] in refused.stderr
    assert "hookscript error for 953 on pre-start" in refused.stderr
    assert len(refused.stderr.splitlines()) == 3, "reason, way out, and Proxmox' own line"
    assert "CT 953: " in journal(vm)
    assert init(vm, 953) == -1
    assert vm.read(conf_path(953)) == before


def test_the_package_is_installed_and_removed(fresh_vm: Machine) -> None:
    """With apt. Profiles are loaded, and stay when the package goes, as does a label."""
    vm = fresh_vm
    create(vm, 954, hookscript=None)
    assign(vm, {954: None})
    printed = vm.read(INSTALL_LOG)
    loaded = vm.read("/sys/kernel/security/apparmor/profiles")
    for name in (BASE, DOCKER):
        assert f"{name} (enforce)" in loaded
        assert name in printed
    again = vm.run("phoenix-apparmor", "reload", timeout=200)
    assert "nothing" in again.stdout.lower()
    pct(vm, "start", 954)
    expect_label(vm, 954, BASE)
    vm.run("apt-get", "remove", "-y", "phoenix-apparmor", timeout=INSTALL_TIMEOUT)
    assert f"{BASE} (enforce)" in vm.read("/sys/kernel/security/apparmor/profiles")
    expect_label(vm, 954, BASE)


def test_stacked_labels_are_told_apart() -> None:
    """A check of the check: only the assigned profile, enforced, is good enough."""
    good = f"{DOCKER}//&:lxc-7_<-var-lib-lxc>:unconfined (enforce)"
    assert stacked(good, DOCKER, 7)
    assert not stacked(good, BASE, 7)
    assert not stacked(good, DOCKER, 8)
    assert not stacked(good.replace("enforce", "complain"), DOCKER, 7)
