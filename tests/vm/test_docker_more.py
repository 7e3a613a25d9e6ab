"""Docker in other kinds of containers, with Debian 12 (systemd 252, Docker 20.10)."""

from __future__ import annotations

from tests.vm.booting import Boot, boot, destroy, inside, make
from tests.vm.containers import assign, conf_path, create, label, pct
from tests.vm.dockers import DOCKER, STACKED, nested, start_docker
from tests.vm.harness.machine import Machine

CTID = 955
# As some templates have it (Ubuntu's, in LXC's own configuration for it).
TEMPLATE = (
    "lxc.mount.entry: /sys/kernel/security sys/kernel/security none bind,create=dir,optional 0 0\n"
)
# The apparmor package is not there: a whiteout hides its parser.
NO_PARSER = "d=/var/lib/standin/{}/upper/usr/sbin; mkdir -p $d && mknod $d/apparmor_parser c 0 0"


def test_unprivileged_with_securityfs_of_the_template_and_no_apparmor_inside(
    roots_vm: Machine,
) -> None:
    vm = roots_vm
    make(vm, CTID, "bookworm", unprivileged=True, more=TEMPLATE)
    vm.sh(NO_PARSER.format(CTID))
    assign(vm, {CTID: DOCKER})
    try:
        assert boot(vm, CTID) == Boot("running", "", "")
        assert "No such file" in inside(vm, CTID, "ls /usr/sbin/apparmor_parser")
        assert "overlay2" in start_docker(vm, CTID)
        assert nested(vm, CTID) == STACKED.format(CTID, "unconfined")
    finally:
        destroy(vm, CTID)


def test_privileged_has_the_plain_label(roots_vm: Machine) -> None:
    vm = roots_vm
    make(vm, CTID, "bookworm", unprivileged=False)
    assign(vm, {CTID: DOCKER})
    plain = f"{DOCKER} (enforce)"
    try:
        assert boot(vm, CTID) == Boot("running", "", "")
        assert label(vm, CTID) == plain
        assert "overlay2" in start_docker(vm, CTID)
        assert nested(vm, CTID) == plain
    finally:
        destroy(vm, CTID)


def test_an_excepted_container_has_the_plain_label(roots_vm: Machine) -> None:
    vm = roots_vm
    create(vm, 956)
    entry = f'{{"apparmor_profile": "{DOCKER}", "apparmor_policy_namespace": false}}'
    vm.write("/etc/pve/phoenix_lxc_configs.json", f'{{"lxc_configs": {{"956": {entry}}}}}')
    pct(vm, "start", 956)
    try:
        assert label(vm, 956) == f"{DOCKER} (enforce)"
        assert f"\nlxc.apparmor.profile: {DOCKER}\n" in vm.read(conf_path(956))
    finally:
        pct(vm, "stop", 956)
