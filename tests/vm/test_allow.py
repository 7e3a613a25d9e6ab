"""allow, with what a trial of real work saw: podman, and Docker with its data elsewhere."""

from __future__ import annotations

import json

from tests.names import DOCKER, JSON
from tests.vm.booting import boot, denials, inside, make
from tests.vm.containers import label
from tests.vm.dockers import DATA_ROOT, PODMAN, start_docker
from tests.vm.harness.machine import Machine

# The rules are of one kernel's log; the other's differ in what they print, which unit tests have.
ONLY_SUITES = ("trixie",)
CTID = 954
# As often as it goes: the kernel prints ten lines in five seconds, and says nothing of others.
ALL_LINES = "sysctl -q -w kernel.printk_ratelimit=0"
RUN = "docker run --rm bb echo docker runs elsewhere"


def assign(vm: Machine, **more: object) -> None:
    entry: dict[str, object] = {"apparmor_profile": DOCKER, **more}
    vm.write(JSON, json.dumps({"lxc_configs": {str(CTID): entry}}, indent=2), 0o640)


def work(vm: Machine) -> str:
    """What a day of the container prints."""
    data_root = inside(vm, CTID, DATA_ROOT, timeout=240)
    return data_root + inside(vm, CTID, RUN) + inside(vm, CTID, PODMAN)


def did_it(said: str) -> bool:
    lines = said.splitlines()
    return "docker runs elsewhere" in lines and "podman runs" in lines


def test_after_allow_the_same_work_is_not_refused(roots_vm: Machine) -> None:
    vm = roots_vm
    vm.sh(ALL_LINES)
    make(vm, CTID, "trixie", unprivileged=True)
    assign(vm, apparmor_mode="trial")
    boot(vm, CTID)
    assert label(vm, CTID).startswith(f"{DOCKER}.{CTID}.trial//&{DOCKER}.guard//&:lxc-{CTID}_<")
    start_docker(vm, CTID)
    said = work(vm)
    assert did_it(said), said
    told = vm.run("phoenix-apparmor", "allow", str(CTID), "--enforce", timeout=240, check=False)
    print(told.output)
    entry = json.loads(vm.read(JSON))["lxc_configs"][str(CTID)]
    assert entry["apparmor_rules"] and "apparmor_mode" not in entry
    vm.run("phoenix-apparmor", "validate", timeout=120)
    vm.run("pct", "stop", str(CTID), timeout=240)
    boot(vm, CTID)
    assert label(vm, CTID).startswith(f"{DOCKER}.{CTID}//&:lxc-{CTID}_<")
    assert label(vm, CTID).endswith(" (enforce)")
    since = vm.sh("date +%s").stdout.strip()
    start_docker(vm, CTID)
    said = work(vm)
    assert did_it(said), said
    assert f'profile="{DOCKER}' not in denials(vm, since)
