#!/usr/bin/python3
"""Mutations of the code that decides at a start: does a test fail for each?

    tests/bench/mutations.py [MODULE...]        e.g. lastgood start
    tests/bench/mutations.py --by-hand          those that mutants.py lists by hand

Each mutant is a copy of the tree in which one thing of one module is changed (mutants.py). The
unit tests that run the changed line run on it, those first that killed its neighbours, until one
fails. Prints the survivors; those known, each with its reason, are in mutations.txt beside this.

What is done is kept in the tests' cache: a mutant whose killer did not change since is not tried
again, so this can be interrupted. Runs as root, in a mount and process namespace of its own in
which all but the cache and an empty /tmp is read-only: a mutant may do anything. mutmut and its
like are not in Debian.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.covered import Test, covered
from tests.bench.mutants import BY_HAND, Mutant, mutants
from tests.bench.trees import CACHE, REPO, STATE, digest, new_tree, start, wait

KNOWN = Path(__file__).with_suffix(".txt")
WORKERS = int(os.environ.get("WORKERS", "2"))
# Most mutants are killed by one of the first few tests; to collect all takes longer than these.
FIRST = 5
BY_HAND_NAME = "by hand"
# Tests of a mutant take at most this together, as long as they pass; seconds.
MOST_TESTS = float(os.environ.get("SECONDS", "20"))

MODULES = (
    "hookscript", "settled", "start", "init_process", "policy/load", "policy/compiled",
    "policy/variants", "kernel", "lastgood", "assignments/lookup", "assignments/parse", "lxcconf",
    "ctconf", "package/attaching", "package/maintscript",
)  # fmt: skip


def chosen(mutant: Mutant, module: str, tests: dict[str, Test], killers: list[str]) -> list[str]:
    """The tests to run, best first: of the line, else (a thread, the module itself) of what is
    just before it; as many as may be run.
    """
    source = (REPO / f"phoenix_apparmor/{module}.py").read_text().split("\n")
    lines = {f"{module}:{source[n - 1].strip()}" for n in mutant.lines}
    names = [name for name, test in tests.items() if not lines.isdisjoint(test.lines)]
    if mutant.function in ("", BY_HAND_NAME) or mutant.function.endswith("."):
        # The module itself runs once; who reads its constants is not noted, but quickly tried.
        names += [
            name
            for name, test in tests.items()
            if test.seconds < 0.05 or any(x.startswith(f"{module}:") for x in test.lines)
        ]
    before = mutant.lines.start
    while not names and before > 1:
        before -= 1
        line = f"{module}:{source[before - 1].strip()}"
        names = [name for name, test in tests.items() if line in test.lines]
    rank = {name: number for number, name in enumerate(reversed(killers))}

    def order(name: str) -> tuple[int, float]:
        # Quick ones, and those that run little else: they look closest.
        return rank.get(name, 1 << 30), tests[name].seconds * (200 + len(tests[name].lines))

    result, total = [], 0.0
    for name in sorted(set(names), key=order):
        total += tests[name].seconds
        if total > MOST_TESTS:
            break
        result.append(name)
    return result


# -- the mutants --------------------------------------------------------------------------------


def by_hand() -> Iterator[tuple[str, Mutant]]:
    for module, text, instead in BY_HAND:
        source = (REPO / f"phoenix_apparmor/{module}.py").read_text()
        if source.count(text) != 1:
            sys.exit(f"{module}: {source.count(text)} times: {text}")
        line = source[: source.index(text)].count("\n") + 1
        lines = range(line, line + text.count("\n") + 1)
        first = " ".join(text.split())
        name = f"{module} by hand: {first} -> {' '.join(instead.split())}"
        yield module, Mutant(name, lines, BY_HAND_NAME, source.replace(text, instead))


class Kept:
    """Results of earlier runs: mutant -> the test that killed it, with the hash of its file."""

    def __init__(self) -> None:
        self._path = STATE / "killed.json"
        text = self._path.read_text() if self._path.exists() else "{}"
        self._known: dict[str, list[str]] = json.loads(text)

    def get(self, key: str) -> str:
        """The killer, "" if there is none that is as it was."""
        killer, file = self._known.get(key, ["", ""])
        return killer if killer and file == self._file(killer) else ""

    def put(self, key: str, killer: str) -> None:
        self._known[key] = [killer, self._file(killer)]
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._known))
        new.rename(self._path)

    @staticmethod
    def _file(killer: str) -> str:
        path = REPO / killer.partition("::")[0]
        return digest(path) if path.is_file() else ""


def killer_in(text: str) -> str:
    """The first test that failed, of what pytest said."""
    found = re.search(
        r"^(?:FAILED|ERROR) (tests/\S+?\.py(?:::.+?)?)(?: - .*)?$", text, re.MULTILINE
    )
    return found[1] if found else "an error"


class Try(NamedTuple):
    """A mutant under test. rest: the tests that come if it passes those that run."""

    module: str
    mutant: Mutant
    key: str
    tree: Path
    rest: list[str]


class Trials:
    """Runs mutants, one in each tree at a time."""

    def __init__(self, tests: dict[str, Test], trees: list[Path]) -> None:
        self._tests = tests
        self._free = list(trees)
        self._kept = Kept()
        self._killers: dict[str, list[str]] = {}  # by function, the last one last
        self._running: dict[int, Try] = {}
        self._until: dict[int, float] = {}
        self._stamp = 1_000_000_000
        self._todo: list[tuple[str, Mutant]] = []
        self._trusted: set[str] = set()  # tests that pass without a mutation

    def run(self, work: list[tuple[str, Mutant]]) -> Iterator[tuple[Mutant, str]]:
        """Each mutant with its killer, "" if it survives, as they come."""
        self._todo = list(reversed(work))
        while self._todo or self._running:
            if not self._todo or not self._free:
                yield from self._wait()
                continue
            module, mutant = self._todo.pop()
            key = hashlib.sha1(f"{module}\0{mutant.text}".encode()).hexdigest()
            before = self._kept.get(key)
            near = self._killers.setdefault(f"{module} {mutant.function}", [])
            names = chosen(mutant, module, self._tests, near)
            if before or not names:
                yield mutant, before
                continue
            tree = self._free.pop()
            path = tree / f"phoenix_apparmor/{module}.py"
            path.write_text(mutant.text)
            # Python takes compiled code for current by size and whole seconds.
            self._stamp += 2
            os.utime(path, (self._stamp, self._stamp))
            self._start(Try(module, mutant, key, tree, names[FIRST:]), names[:FIRST])

    def _start(self, one: Try, names: list[str]) -> None:
        pid = start(one.tree, ["-x", *names], say=one.tree / "said")
        self._running[pid] = one
        self._until[pid] = time.monotonic() + 30 + 6 * sum(self._tests[n].seconds for n in names)

    def _wait(self) -> Iterator[tuple[Mutant, str]]:
        pid, status = wait(self._running, self._until)
        one = self._running.pop(pid)
        if status == 0 and one.rest:
            self._start(one._replace(rest=[]), one.rest)
            return
        module = f"phoenix_apparmor/{one.module}.py"
        shutil.copy2(REPO / module, one.tree / module)
        shutil.rmtree(one.tree / ".hypothesis", ignore_errors=True)
        self._free.append(one.tree)
        killer = "" if status == 0 else "no end"
        if status:
            killer = killer_in((one.tree / "said").read_text(errors="replace"))
            if not self._is_trusted(killer, one.tree):
                print(f"{killer} fails without a mutation and is left out:", flush=True)
                print((one.tree / "said").read_text(errors="replace")[-1500:], flush=True)
                self._tests.pop(killer, None)
                self._todo.append((one.module, one.mutant))
                return
            near = self._killers[f"{one.module} {one.mutant.function}"]
            if killer in near:
                near.remove(killer)
            if killer in self._tests:
                near.append(killer)
            self._kept.put(one.key, killer)
        yield one.mutant, killer

    def _is_trusted(self, name: str, tree: Path) -> bool:
        """Whether a test passes on the tree as it is: the control of each killer."""
        if name in self._tests and name not in self._trusted:
            pid = start(tree, [name], say=tree / "said")
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
                return False
            self._trusted.add(name)
        return True


def reasons() -> dict[str, str]:
    """Known survivors and why they may survive: a name, below it an indented reason."""
    found: dict[str, str] = {}
    name = ""
    for line in KNOWN.read_text().splitlines():
        if line.startswith("    "):
            found[name] = found.get(name, "") + line.strip()
        elif line and not line.startswith("#"):
            name = line
    return found


def main(words: list[str]) -> int:
    """Exit status 1 if a mutant survives that mutations.txt has no reason for."""
    if "MUTATIONS_ISOLATED" not in os.environ:
        return isolated(words)
    STATE.mkdir(parents=True, exist_ok=True)
    import hypothesis.strategies  # noqa: F401  (each fork of this process has them then)
    import jsonschema  # noqa: F401
    import pytest  # noqa: F401

    os.nice(int(os.environ.get("NICE", "12")))
    trees = [new_tree(Path(f"/tmp/tree-{number}")) for number in range(WORKERS)]
    tests = covered(trees)
    known, trials = reasons(), Trials(tests, trees)
    totals = [0, 0, 0]
    for module in words or ("--by-hand", *MODULES):
        if module == "--by-hand":
            work = list(by_hand())
        else:
            source = (REPO / f"phoenix_apparmor/{module}.py").read_text()
            work = [(module, mutant) for mutant in mutants(module, source)]
        killed = excused = survivors = 0
        for mutant, killer in trials.run(work):
            if killer:
                killed += 1
            elif mutant.name in known:
                excused += 1
            else:
                survivors += 1
                print(f"SURVIVES (line {mutant.lines.start}) {mutant.name}", flush=True)
        print(f"{module}: {len(work)} mutants, {killed} killed, {excused} survive with a reason, "
              f"{survivors} without", flush=True)  # fmt: skip
        totals = [totals[0] + len(work), totals[1] + killed, totals[2] + excused]
    without = totals[0] - totals[1] - totals[2]
    print(f"{totals[0]} mutants, {totals[1]} killed, {totals[2]} survive with a reason, "
          f"{without} without")  # fmt: skip
    return 1 if without else 0


def isolated(words: list[str]) -> int:
    """This script once more, where it can break nothing."""
    CACHE.mkdir(parents=True, exist_ok=True)
    script = (
        'mount --bind "$1" "$1" && mount -t tmpfs tmpfs /tmp && mount -o remount,bind,ro / && '
        'shift && exec "$@"'
    )
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation", "private",
               "bash", "-c", script, "bash", str(CACHE)]  # fmt: skip
    again = ["/usr/bin/python3", "-B", str(Path(__file__).resolve()), *words]
    # Of generated inputs a few do: what they find first, they find soon.
    environment = {"PHOENIX_TEST_EXAMPLES": "50", **os.environ, "MUTATIONS_ISOLATED": "1"}
    return subprocess.run([*command, *again], env=environment, cwd="/", check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
