"""Searches long for a chain of steps that leads out of a container (tests/vm/attacks/search).

A line a column: steps tried, how many of them worked, different states, kinds of findings, seconds.
Needs root. The lines are added to searched.tsv in the cache, to keep in tests/vm/attacks.

    /usr/bin/python3 -m tests.bench.chains [--suite SUITE] [--steps N] [--random SEED]
                                           [--profiles REVISION] [COLUMN...]

--profiles: as git has them at REVISION, for a control; nothing is added to searched.tsv then.
Those of 1.0.0 are at b515510.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.build import TREE
from tests.vm.attacks.chains import push, search, start
from tests.vm.attacks.columns import BASE_TRIALS, COLUMNS, TRIALS
from tests.vm.attacks.started import assign
from tests.vm.attacks.table import SEARCHED
from tests.vm.containers import pct
from tests.vm.harness import cache
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed
from tests.vm.harness.suites import SUITES

# A search that takes longer than this hangs, seconds.
LONGEST = 7200.0


def put_profiles(vm: Machine, revision: str) -> None:
    """Loads the profiles that git has at a revision instead of the package's."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=TREE, check=True, stdout=subprocess.PIPE)
        return done.stdout.decode()

    for path in git("ls-tree", "-r", "--name-only", revision, "profiles").split():
        if path.startswith(("profiles/lxc-", "profiles/abstractions/")):
            text = git("show", f"{revision}:{path}")
            vm.write(path.replace("profiles", "/etc/apparmor.d", 1), text)
    vm.run("phoenix-apparmor", "reload", timeout=LONGEST)


def main() -> int:
    columns = {column.key: column for column in (*COLUMNS, *TRIALS, *BASE_TRIALS)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="trixie")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--random", type=int, default=0, help="a seed: deep walks by chance")
    parser.add_argument("--profiles", metavar="REVISION")
    parser.add_argument("columns", nargs="*", metavar="COLUMN")
    options = parser.parse_args()
    found = 0
    with Machine.resume(installed(options.suite)) as vm:
        push(vm)
        if options.profiles:
            put_profiles(vm, options.profiles)
        assign(vm, columns.values())
        for key in options.columns or columns:
            column = columns[key]
            start(vm, column)
            steps = ("--steps", options.steps, "--random", options.random)
            done = search(vm, column, *steps, seconds=LONGEST)
            pct(vm, "stop", column.ctid)
            print(
                f"{options.suite} {key}: {done.tried} steps, {done.worked} worked, "
                f"{done.states} states, {len(done.found)} kinds found, {done.seconds} s",
                flush=True,
            )
            figures = (options.suite, key, done.tried, done.worked, done.states, len(done.found))
            if not options.profiles:
                with (cache.folder() / SEARCHED.name).open("a") as kept:
                    print(*figures, sep="\t", file=kept)
            if column.ours:
                found += len(done.found)
                print(done.text, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
