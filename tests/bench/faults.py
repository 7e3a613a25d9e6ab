#!/usr/bin/python3
"""Injected faults: every file-related system call of each command fails, or kills it.

    tests/bench/faults.py [COMMAND...]

Prints "N points, M runs, V violations", and each violation. Needs strace; runs for an hour or so.
"""

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.unit import injected
from tests.unit.fakehost import FakeHost

WORKERS = 2


def new_host() -> FakeHost:
    host = FakeHost(Path(tempfile.mkdtemp(prefix="pa-", dir="/tmp")))
    injected.prepare(host)
    return host


def one(name: str, point: injected.Point, what: str) -> list[str]:
    """What was wrong after one fault, on a host of its own."""
    host = new_host()
    try:
        status, said = injected.run_with(host, injected.COMMANDS[name], point, what)
        problems = [*injected.violations(host, name, status, said)]
        if name in ("hookscript", "unit", "apply"):
            problems += injected.repaired(host)
        return [f"{name} {point.call} {point.number} {what}: {problem}" for problem in problems]
    finally:
        shutil.rmtree(host.root, ignore_errors=True)


def main(names: list[str]) -> int:
    places = runs = wrong = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for name in names or injected.COMMANDS:
            host = new_host()
            found = injected.points(host, injected.COMMANDS[name])
            shutil.rmtree(host.root)
            jobs = [(name, p, what) for p in found for what in (*injected.ERRORS, "KILL")]
            places += len(found)
            runs += len(jobs)
            for problems in pool.map(lambda job: one(*job), jobs):
                wrong += len(problems)
                for problem in problems:
                    print(problem, flush=True)
            print(f"{name}: {len(found)} points", flush=True)
    print(f"{places} points, {runs} runs, {wrong} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
