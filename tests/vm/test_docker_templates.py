"""Docker in other kinds of containers, mostly with Debian 12 (systemd 252, Docker 20.10)."""

from __future__ import annotations

import pytest

from tests.names import DOCKER
from tests.vm.booting import Boot, boot, destroy, make
from tests.vm.containers import assign, conf_path, create, label, pct
from tests.vm.deeds.program import do
from tests.vm.dockers import STACKED, nested, start_docker
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import LOGIC, USER_MODE
from tests.vm.nvidia import driver

# test_docker.py is for kernels; this is about what is in the container.
ONLY_SUITES = LOGIC
of_programs = pytest.mark.suites(USER_MODE)

CTID = 955
# As some templates have it (Ubuntu's, in LXC's own configuration for it).
TEMPLATE = (
    "lxc.mount.entry: /sys/kernel/security sys/kernel/security none bind,create=dir,optional 0 0\n"
)
# The apparmor package is not there: whiteouts hide its parser and its unit.
NO_PARSER = """\
cd /var/lib/standin/{}/upper; mkdir -p usr/sbin usr/lib/systemd/system
mknod usr/sbin/apparmor_parser c 0 0; mknod usr/lib/systemd/system/apparmor.service c 0 0
chown -R 100000:100000 usr
"""


# Release of the host -> (root, whether the apparmor package is in it, Docker's profile there). Each
# tries the root of the other release.
WITH_SECURITYFS = {
    "trixie": ("bookworm", True, "docker-default"),
    "bookworm": ("trixie", False, "unconfined"),
}


@of_programs
def test_unprivileged_with_securityfs_of_the_template(roots_vm: Machine) -> None:
    """Without the apparmor package inside Docker runs, and only the outer profile holds.

    (Docker 20.10 refuses to run then, as it does on any host; the README says what to do.)
    """
    vm = roots_vm
    root, parser, inner = WITH_SECURITYFS[vm.debian]
    make(vm, CTID, root, unprivileged=True, more=TEMPLATE)
    if not parser:
        vm.sh(NO_PARSER.format(CTID))
    assign(vm, {CTID: DOCKER})
    try:
        assert boot(vm, CTID) == Boot("running", "", "")
        assert "overlay2" in start_docker(vm, CTID)
        assert nested(vm, CTID) == STACKED.format(CTID, inner)
    finally:
        destroy(vm, CTID)


def test_privileged_has_the_plain_label_and_cdi(roots_vm: Machine) -> None:
    """NVIDIA's legacy hook remounts a whole file system, which the seccomp policy refuses."""
    vm = roots_vm
    driver.install(vm)
    make(vm, CTID, "bookworm", unprivileged=False, more=driver.MOUNTS)
    assign(vm, {CTID: DOCKER})
    plain = f"{DOCKER} (enforce)"
    try:
        assert boot(vm, CTID) == Boot("running", "", "")
        assert label(vm, CTID) == plain
        assert "overlay2" in start_docker(vm, CTID, gpu=True)
        assert nested(vm, CTID) == plain
        done = do(vm, CTID, ("90-nvidia.sh",), "nvidia_podman_cdi nvidia_docker_gpus")
        assert done["nvidia_podman_cdi"].word == "works", done
        assert done["nvidia_docker_gpus"].word == "fails", done
        assert "Operation not permitted" in done["nvidia_docker_gpus"].said
    finally:
        destroy(vm, CTID)


@of_programs
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
