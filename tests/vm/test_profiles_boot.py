"""systemd boots cleanly in a container under our profiles: running, nothing failed or denied."""

from __future__ import annotations

import pytest

from tests.names import BASE, DOCKER
from tests.vm.booting import boot, destroy, make
from tests.vm.containers import assign, expect_label
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROGRAMS, PROGRAMS_AND_KERNELS, USER_MODE

ONLY_SUITES = PROGRAMS_AND_KERNELS


# The other kinds boot in test_docker.py and test_docker_templates.py, under the same check.
@pytest.mark.parametrize(
    ("unprivileged", "profile"), [(True, BASE), (False, BASE), (False, DOCKER)]
)
def test_boots_cleanly(roots_vm: Machine, unprivileged: bool, profile: str) -> None:
    boots_cleanly(roots_vm, "trixie", profile, unprivileged=unprivileged)


@pytest.mark.suites(*PROGRAMS)  # an older systemd asks the kernel for less
@pytest.mark.parametrize("unprivileged", [True, False])
def test_debian_12_boots_cleanly(roots_vm: Machine, unprivileged: bool) -> None:
    boots_cleanly(roots_vm, "bookworm", BASE, unprivileged=unprivileged)


def boots_cleanly(roots_vm: Machine, root: str, profile: str, *, unprivileged: bool) -> None:
    make(roots_vm, 961, root, unprivileged=unprivileged)
    assign(roots_vm, {961: profile})
    try:
        found = boot(roots_vm, 961)
        expect_label(roots_vm, 961, profile)
    finally:
        destroy(roots_vm, 961)
    assert (found.state, found.failed, found.denials) == ("running", "", "")


@pytest.mark.suites(USER_MODE)
def test_the_check_can_fail(roots_vm: Machine) -> None:
    """Proxmox' own profile, without nesting: the container has failed units, and denials."""
    make(roots_vm, 962, "trixie", unprivileged=True)
    assign(roots_vm, {962: "generated"})
    try:
        found = boot(roots_vm, 962)
    finally:
        destroy(roots_vm, 962)
    assert found.state == "degraded"
    assert found.failed
    assert found.denials


def test_our_seccomp_policy_has_all_of_lxcs(roots_vm: Machine) -> None:
    """A privileged container loses nothing of what this release's LXC denies."""

    def rules(path: str) -> set[str]:
        lines = roots_vm.read(path).splitlines()[2:]
        return {line.split("#")[0].strip() for line in lines} - {"", "[all]"}

    theirs = rules("/usr/share/lxc/config/common.seccomp")
    assert len(theirs) > 4
    for name in ("privileged", "privileged-without-bpf"):
        assert theirs <= rules(f"/etc/phoenix-apparmor/{name}.seccomp")
