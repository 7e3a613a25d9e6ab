"""What is compiled beside a VM for it (harness/policies.py) is what its own parser makes there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.names import BASE, DOCKER, JSON
from tests.vm.attacks.columns import BASE_TRIALS
from tests.vm.attacks.started import document
from tests.vm.containers import be_patient, create, pct
from tests.vm.harness import policies
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import proxmox
from tests.vm.harness.suites import COMPILE, EMULATED, PROXMOX_KERNEL

ONLY_SUITES = EMULATED
# Another test of this VM may have left a trial's.
OURS = (BASE, DOCKER)
PLACES = " ".join(f"{policies.PARSERS}/*/{name} {policies.KEPT}/{name}/*" for name in OURS)
BYTES = f"sha256sum {PLACES} | cut -d ' ' -f 1"
FORGET = f"rm -r {policies.KEPT}/{{0}} {policies.PARSERS}/*/{{0}}"


def test_the_same_policy_byte_for_byte(vm: Machine, deb: Path) -> None:
    """Under the same key. Both profiles on the newest kernel, elsewhere the one that takes less."""
    here = policies.kept_in(policies.compiled_here(proxmox(vm.suite), deb))
    assert {name.split("/")[0] for name in here} == set(OURS)
    if vm.suite not in COMPILE:  # (there it was at the package's installation)
        for name in OURS if vm.suite == PROXMOX_KERNEL else (BASE,):
            vm.sh(FORGET.format(name))
            said = vm.run("phoenix-apparmor", "reload", name, timeout=300)
            assert "Nothing to do" in said.stdout, "the kernel has another policy"
    # A policy's name is its key and its hash.
    there = {name for name in policies.kept(vm) if name.split("/")[0] in OURS}
    assert there == here
    hashes = sorted(vm.sh(BYTES).stdout.split())
    assert len(hashes) == 4 and len(set(hashes)) == 2, "the parser's cache has others"


@pytest.mark.suites(PROXMOX_KERNEL)
def test_a_trial_is_compiled_here_as_there(vm: Machine, deb: Path) -> None:
    """What a container on trial runs under is compiled at its start."""
    be_patient(vm)
    trials = [column for column in BASE_TRIALS if column.unprivileged]
    (trial,) = trials
    before = policies.kept(vm)
    create(vm, trial.ctid)
    vm.write(JSON, document(trials), 0o640)
    pct(vm, "start", trial.ctid)
    there = policies.kept(vm) - before
    assert len(there) == len(("the profile in complain mode", "its guard"))
    assert there == policies.kept_in(
        policies.compiled_here(proxmox(vm.suite), deb, policies.Wanted(document(trials)))
    )
