"""Searches long for a chain of steps that leads out of a container (tests/vm/attacks/search).

A line a column: steps tried, how many of them worked, different states, kinds of findings, seconds.
Needs root. The lines are added to searched.tsv in the cache, to keep in tests/vm/attacks.

    /usr/bin/python3 -m tests.bench.chains [--suite SUITE] [--steps N] [--random SEED] [COLUMN...]
"""

from __future__ import annotations

import argparse
import sys

from tests.vm.attacks.chains import KNOWN, push, search, start
from tests.vm.attacks.columns import COLUMNS
from tests.vm.attacks.table import SEARCHED
from tests.vm.containers import assign, pct
from tests.vm.harness import cache
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed
from tests.vm.harness.suites import SUITES

# A search that takes longer than this hangs, seconds.
LONGEST = 7200.0


def main() -> int:
    columns = {column.key: column for column in COLUMNS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="trixie")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--random", type=int, default=0, help="a seed: deep walks by chance")
    parser.add_argument("columns", nargs="*", metavar="COLUMN")
    options = parser.parse_args()
    found = 0
    with Machine.resume(installed(options.suite)) as vm:
        push(vm)
        assign(vm, {column.ctid: column.assigned for column in COLUMNS if column.ours})
        for key in options.columns or columns:
            column = columns[key]
            start(vm, column)
            done = search(
                vm, column, "--steps", options.steps, "--random", options.random, *KNOWN[key],
                seconds=LONGEST,
            )  # fmt: skip
            pct(vm, "stop", column.ctid)
            print(
                f"{options.suite} {key}: {done.tried} steps, {done.worked} worked, "
                f"{done.states} states, {len(done.found)} kinds found, {done.seconds} s",
                flush=True,
            )
            figures = (options.suite, key, done.tried, done.worked, done.states, len(done.found))
            with (cache.folder() / SEARCHED.name).open("a") as kept:
                print(*figures, sep="\t", file=kept)
            if column.ours:
                found += len(done.found)
                print(done.text, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
