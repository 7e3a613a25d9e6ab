"""Which unit test runs which lines of the package, and how long it takes."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.trees import REPO, STATE, digest, start, wait

# Of other modules only what is listed by hand is tried. No start comes to what these test:
NOT_FOR_STARTS = re.compile(
    r"test_(denials|doctor|suggest|insert|mount_rules|cluster|publish|docs|metrics|table|check|driver|gpu|vm_readme"
    r"|profile_rules|compiled_policy|injected|many)"
)

# Put at the end of the package's __init__.py: notes for each test which lines it runs.
TRACER = """
import _thread, os as _os, sys as _sys
_tree = {tree!r}
class _Lines:
    def __init__(self):
        self.begin(open(_tree + "/current").read())
    def begin(self, name):
        self.seen = set()
        how = _os.O_WRONLY | _os.O_CREAT | _os.O_APPEND
        self.fd = _os.open(_tree + "/lines/" + name, how, 0o666)
    def call(self, frame, event, arg):
        if frame.f_code.co_filename.startswith(_tree + "/phoenix_apparmor/"):
            return self.line
    def line(self, frame, event, arg):
        at = (frame.f_code.co_filename, frame.f_lineno)
        if at not in self.seen:
            self.seen.add(at)
            _os.write(self.fd, ("%s:%d\\n" % at).encode())
        return self.line
try:
    _lines = _Lines()
    _sys.settrace(_lines.call)
    _begin = _thread.start_new_thread
    def _traced(function, *more):
        def run(*args, **named):
            _sys.settrace(_lines.call)
            return function(*args, **named)
        return _begin(run, *more)
    _thread.start_new_thread = _traced
    # The tests fork a process that has imported all.
    _os.register_at_fork(after_in_child=lambda: _lines.begin(open(_tree + "/current").read()))
except OSError:
    pass
"""


# A plugin of pytest: says which test runs, and how long it took.
PLUGIN = """
import sys, hashlib
def pytest_runtest_logstart(nodeid):
    name = hashlib.sha1(nodeid.encode()).hexdigest()
    open("current", "w").write(name)
    lines = getattr(sys.modules.get("phoenix_apparmor"), "_lines", None)
    if lines: lines.begin(name)
def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        open("times", "a").write("%.3f %s\\n" % (report.duration, report.nodeid))
"""


class Test(NamedTuple):
    """seconds: that it took. lines: "MODULE:TEXT" that it runs, wherever they are by now."""

    seconds: float
    lines: frozenset[str]


def covered(trees: list[Path]) -> dict[str, Test]:
    """Node id -> what that test runs; from the cache where nothing changed."""
    unit = REPO / "tests/unit"
    files = [p for p in sorted(unit.glob("test_*.py")) if not NOT_FOR_STARTS.match(p.name)]
    kept = {p: STATE / f"lines2-{p.stem}-{digest(p)[:8]}.json" for p in files}
    note(trees, {file: place for file, place in kept.items() if not place.exists()})
    return {
        name: Test(seconds, frozenset(lines))
        for place in kept.values()
        for name, (seconds, lines) in json.loads(place.read_text()).items()
    }


def note(trees: list[Path], wanted: dict[Path, Path]) -> None:
    """Runs test files and writes for each what its tests run."""
    init = (REPO / "phoenix_apparmor/__init__.py").read_text()
    for tree in trees:
        tracer = TRACER.format(tree=str(tree))
        (tree / "phoenix_apparmor/__init__.py").write_text(init + tracer)
        (tree / "noting.py").write_text(PLUGIN)
    todo = list(wanted.items())
    running: dict[int, tuple[Path, Path, Path]] = {}
    until: dict[int, float] = {}
    free = list(trees)
    while todo or running:
        if todo and free:
            file, place = todo.pop()
            tree = free.pop()
            (tree / "current").write_text("none")
            (tree / "times").write_text("")
            shutil.rmtree(tree / "lines", ignore_errors=True)
            (tree / "lines").mkdir()
            pid = start(tree, ["-p", "noting", "-m", "not slow", f"tests/unit/{file.name}"],
                        say=tree / "said")  # fmt: skip
            running[pid], until[pid] = (tree, file, place), time.monotonic() + 1200
            continue
        pid, status = wait(running, until)
        tree, file, place = running.pop(pid)
        free.append(tree)
        if status != 0:
            print(f"{file.name} fails without any mutation; what fails there is left out:")
            print((tree / "said").read_text()[-2000:], flush=True)
        part = {name: (seconds, sorted(lines)) for name, seconds, lines in noted(tree)}
        place.write_text(json.dumps(part))
        print(f"lines that {file.name} runs: noted", flush=True)
    for tree in trees:
        (tree / "phoenix_apparmor/__init__.py").write_text(init)


def noted(tree: Path) -> Iterator[tuple[str, float, set[str]]]:
    """(node id, seconds, lines) of each test that ran in a tree."""
    prefix = f"{tree}/phoenix_apparmor/"
    sources = {str(p): p.read_text().split("\n") for p in Path(prefix).rglob("*.py")}
    for line in (tree / "times").read_text().splitlines():
        seconds, _, name = line.partition(" ")
        log = tree / "lines" / hashlib.sha1(name.encode()).hexdigest()
        lines = set()
        for place in log.read_text().splitlines() if log.exists() else ():
            file, _, number = place.rpartition(":")
            module = file.removeprefix(prefix).removesuffix(".py")
            if number.isdigit():  # else of a process that was killed while it wrote
                lines.add(f"{module}:{sources[file][int(number) - 1].strip()}")
        yield name, float(seconds), lines
