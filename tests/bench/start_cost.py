"""What a container's start costs the host under our profiles, and under Proxmox' generated one.

In a VM with a real kernel, the same container started again and again, in turn: as Proxmox does it
(generated, on a host without our package), and with a profile of ours, which the JSON and .conf
say already (hookscript and drop-in; then the drop-in alone). Counted is all that the machine did
until the start was over, in instructions (QEMU counts them), so the numbers are the same on every
machine. Needs root.

    /usr/bin/python3 -m tests.bench.start_cost [--suite SUITE] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import sys

from tests.names import BASE, DOCKER
from tests.vm.containers import OUR_HOOKSCRIPT, assign, create, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed, proxmox
from tests.vm.harness.qemu import COUNTING
from tests.vm.harness.suites import SUITES

GENERATED = "generated, without our package"
PRIVILEGED = 980  # from this CTID on
# CTID, title, assigned profile, with the hookscript
OURS = (
    (970, f"{BASE}, hookscript and drop-in", BASE, True),
    (971, f"{BASE}, drop-in", BASE, False),
    (972, f"{DOCKER}, hookscript and drop-in", DOCKER, True),
    (973, f"{DOCKER}, drop-in", DOCKER, False),
    (980, f"{BASE}, privileged, hookscript and drop-in", BASE, True),
    (981, f"{BASE}, privileged, drop-in", BASE, False),
    (982, f"{DOCKER}, privileged, hookscript and drop-in", DOCKER, True),
    (983, f"{DOCKER}, privileged, drop-in", DOCKER, False),
)
# Linux counts the time that processors were busy, in microseconds of a clock on which an
# instruction is a nanosecond. The second after is for what the start leaves to others.
SCRIPT = """\
busy() { sed -n 's/^usage_usec //p' /sys/fs/cgroup/cpu.stat; }
before=$(busy); pct start %d >/dev/null; sleep 1; echo $(($(busy) - before))
pct stop %d >/dev/null; sleep 1
"""


def start(vm: Machine, ctid: int) -> int:
    """Thousands of instructions of one start."""
    return int(vm.sh(SCRIPT % (ctid, ctid), timeout=600).stdout)


def measure(vm: Machine, titles: dict[int, str], rounds: int) -> dict[str, float]:
    """Title -> median, in millions of instructions; the first start is not counted."""
    found: dict[int, list[int]] = {ctid: [] for ctid in titles}
    for number in range(rounds + 1):
        for ctid, numbers in found.items():
            cost = start(vm, ctid)
            if number:
                numbers.append(cost)
    return {titles[ctid]: statistics.median(numbers) / 1000 for ctid, numbers in found.items()}


def idle(vm: Machine) -> float:
    """Millions of instructions of the script's own, without a start."""
    script = SCRIPT.replace("pct start %d", "true").replace("pct stop %d", "true")
    return statistics.median(int(vm.sh(script).stdout) for _ in range(3)) / 1000


def generated(suite: str, rounds: int) -> dict[str, float]:
    """As on a host that has nothing of ours."""
    titles = {970: GENERATED, PRIVILEGED: f"{GENERATED}, privileged"}
    with Machine.boot(proxmox(suite), accelerator=COUNTING) as vm:
        for ctid, title in titles.items():
            create(vm, ctid, hookscript=None, unprivileged=ctid < PRIVILEGED)
            pct(vm, "start", ctid)
            print(f"{title}: {label(vm, ctid)}", flush=True)
            pct(vm, "stop", ctid)
        return {"nothing": idle(vm), **measure(vm, titles, rounds)}


def ours(suite: str, rounds: int) -> dict[str, float]:
    with Machine.boot(installed(suite), accelerator=COUNTING) as vm:
        assign(vm, {ctid: profile for ctid, _, profile, _ in OURS})
        for ctid, title, _, hookscript in OURS:
            script = OUR_HOOKSCRIPT if hookscript else None
            create(vm, ctid, hookscript=script, unprivileged=ctid < PRIVILEGED)
            pct(vm, "start", ctid)
            print(f"{title}: {label(vm, ctid)}", flush=True)
            pct(vm, "stop", ctid)
        # the drop-in leaves .conf alone
        vm.sh("phoenix-apparmor apply --all")
        return measure(vm, {ctid: title for ctid, title, _, _ in OURS}, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="trixie")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = generated(options.suite, options.rounds) | ours(options.suite, options.rounds)
    own = found.pop("nothing")
    print(f"{'million instructions of a start':60}")
    for title, cost in found.items():
        print(f"{title:60}{cost - own:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
