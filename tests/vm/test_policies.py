"""What is compiled beside a VM for it (harness/policies.py) is what its own parser makes there."""

from __future__ import annotations

from pathlib import Path

from tests.names import BASE, DOCKER
from tests.vm.harness import policies
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import proxmox
from tests.vm.harness.suites import COMPILE, EMULATED

ONLY_SUITES = EMULATED
BYTES = f"sha256sum {policies.PARSERS}/*/lxc-nvidia-gpu-* {policies.KEPT}/*/* | cut -d ' ' -f 1"
FORGET = f"rm -r {policies.KEPT}/{BASE} {policies.PARSERS}/*/{BASE}"


def test_the_same_policy_byte_for_byte(vm: Machine, deb: Path) -> None:
    """Under the same key. Where the VM compiles itself, that was at the package's installation."""
    here = policies.kept_in(policies.compiled_here(proxmox(vm.suite), deb))
    assert {name.split("/")[0] for name in here} == {BASE, DOCKER}
    if vm.suite not in COMPILE:
        vm.sh(FORGET)  # of the two the one that takes less time
        said = vm.run("phoenix-apparmor", "reload", BASE, timeout=300)
        assert "Nothing to do" in said.stdout, "the kernel has another policy"
    # A policy's name is its key and its hash.
    assert policies.kept(vm) == here
    hashes = sorted(vm.sh(BYTES).stdout.split())
    assert len(hashes) == 4 and len(set(hashes)) == 2, "the parser's cache has others"
