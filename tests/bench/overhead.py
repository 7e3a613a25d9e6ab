"""What a profile costs inside a container, beside Proxmox' generated one. Prints ratios.

In a VM with a real kernel, in turn and several times over: open, stat, exec and mount loops in
containers that differ in their profile only. Then the same on a host whose kernel asks the programs
of kernelguard.py, as it does from the first start of a privileged container on, and in that one.
QEMU counts instructions, so that the numbers are the same on every machine, also on a busy one.
Needs root.

    /usr/bin/python3 -m tests.bench.overhead [--suite SUITE] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from tests.names import BASE, DOCKER
from tests.vm.containers import assign, create, label, pct
from tests.vm.harness import cache
from tests.vm.harness.image import command
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed
from tests.vm.harness.qemu import COUNTING
from tests.vm.harness.suites import SUITES

SOURCE = Path(__file__).with_name("loops.c")
# How often in one measurement.
LOOPS = {"open": 300, "stat": 600, "exec": 40, "mount": 100}
# CTID, its title, the assigned profile, lines of its .conf
GENERATED, NESTING = "generated", "generated, nesting=1"
KINDS = (
    (970, GENERATED, "generated", ""),
    (971, NESTING, "generated", "features: nesting=1\n"),
    (972, BASE, BASE, ""),
    (973, DOCKER, DOCKER, ""),
)

# What makes the kernel ask.
PRIVILEGED = (974, f"{BASE}, privileged", BASE, "")
ASKED = ", programs asked"

# title -> loop -> instructions of each round
Times = dict[str, dict[str, list[int]]]


def program() -> Path:
    def make(folder: Path) -> None:
        flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-static")
        command("gcc", *flags, "-o", str(folder / "loops"), str(SOURCE))

    return cache.entry("loops", cache.digest(SOURCE), make) / "loops"


def measure(vm: Machine, rounds: int) -> Times:
    vm.push(program(), "/root/loops")
    kinds = (*KINDS, PRIVILEGED)
    assign(vm, {ctid: assigned for ctid, _, assigned, _ in kinds})
    times: Times = defaultdict(lambda: defaultdict(list))
    for kind in KINDS:
        start(vm, *kind)
    count(vm, times, {ctid: title for ctid, title, *_ in KINDS}, rounds)
    start(vm, *PRIVILEGED, unprivileged=False)
    count(vm, times, {ctid: title + ASKED for ctid, title, *_ in kinds}, rounds)
    return times


def start(
    vm: Machine, ctid: int, title: str, _: str, more: str, *, unprivileged: bool = True
) -> None:
    create(vm, ctid, unprivileged=unprivileged, more=more)
    upper = f"/var/lib/standin/{ctid}/upper"
    owner = 100000 if unprivileged else 0
    vm.sh(f"mkdir -p {upper}; cp /root/loops {upper}; chown -R {owner}:{owner} {upper}/..")
    pct(vm, "start", ctid)
    print(f"CT {ctid} {title}: {label(vm, ctid)}", flush=True)


def count(vm: Machine, times: Times, titles: dict[int, str], rounds: int) -> None:
    for _ in range(rounds):
        for loop, often in LOOPS.items():
            for ctid, title in titles.items():
                command = ("lxc-attach", "-n", str(ctid), "--clear-env", "--", "/loops", loop)
                times[title][loop].append(int(vm.run(*command, str(often)).stdout))


def report(times: Times) -> str:
    """Medians, and each of ours beside the same round of generated."""
    lines = [f"{'thousand instructions':48}" + "".join(f"{loop:>9}" for loop in LOOPS)]
    for title, by_loop in times.items():
        medians = (statistics.median(by_loop[loop]) / 1000 for loop in LOOPS)
        lines.append(f"{title:48}" + "".join(f"{value:9.1f}" for value in medians))
    for base in (GENERATED, NESTING):
        for title in (title for title in times if title not in (GENERATED, NESTING)):
            cells = []
            for loop in LOOPS:
                pairs = zip(times[title][loop], times[base][loop], strict=True)
                cells.append(f"{statistics.median(a / b for a, b in pairs):9.2f}")
            lines.append(f"{title} / {base}")
            lines.append(f"{'':48}" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="trixie")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with Machine.boot(installed(options.suite), accelerator=COUNTING) as vm:
        print(report(measure(vm, options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
