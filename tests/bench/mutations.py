#!/usr/bin/python3
"""Mutations of the code that decides at a start: does a test fail for each?

    tests/bench/mutations.py [MODULE...]        e.g. lastgood start
    SAMPLE=20 tests/bench/mutations.py          only so many a module, chosen by a fixed seed

Each mutation changes one thing (a comparison, a constant, a condition, a statement) in a copy of
the tree, and the unit tests of that module run on it until the first failure. Prints the
survivors; those known, each with its reason, are in mutations.txt beside this. mutmut and its
like are not in Debian.
"""

import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

REPO = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).with_suffix(".txt")
SECONDS = 300

# Module -> the tests that know it best, quickest first.
TESTS = {
    "hookscript": ("test_faults", "test_start", "test_bad_json"),
    "settled": ("test_settled", "test_faults", "test_our_lines", "test_trial"),
    "start": ("test_start", "test_faults", "test_our_lines", "test_trial"),
    "policy/load": ("test_start", "test_faults", "test_reload", "test_compiled_policy"),
    "policy/files": ("test_generated", "test_faults", "test_start", "test_reload"),
    "kernel": ("test_generated", "test_faults", "test_start", "test_reload", "test_status"),
    "lastgood": ("test_assignments", "test_generated", "test_settled"),
    "assignments/lookup": ("test_bad_json", "test_faults", "test_generated", "test_assignments"),
    "assignments/parse": ("test_assignments", "test_generated", "test_bad_json", "test_trial"),
    "lxcconf": ("test_lxcconf", "test_generated", "test_our_lines"),
    "ctconf": ("test_ctconf", "test_generated", "test_apply"),
    "host": ("test_faults", "test_readable", "test_pmxcfs", "test_apply", "test_bad_json"),
    "commands": ("test_faults", "test_start"),
    "labels": ("test_start", "test_faults", "test_trial", "test_status"),
    "package/attaching": ("test_attach", "test_faults"),
    "package/maintscript": ("test_attach", "test_faults"),
}

COMPARISONS = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


class Mutation(NamedTuple):
    """line: of the module. what: in words. text: of the mutated module."""

    line: int
    what: str
    text: str


def mutations(source: str) -> Iterator[Mutation]:
    """Each single change of a module's code."""
    count = len(list(ast.walk(ast.parse(source))))
    for number in range(count):
        for way in range(2):
            tree = ast.parse(source)
            node = list(ast.walk(tree))[number]
            before = ast.unparse(node) if hasattr(node, "lineno") else ""
            if not _mutate(node, way):
                continue
            after = ast.unparse(node)
            if after == before:
                continue
            what = f"{before.splitlines()[0]} -> {after.splitlines()[0]}"
            yield Mutation(getattr(node, "lineno", 0), what, ast.unparse(tree))


def _mutate(node: Any, way: int) -> bool:  # noqa: C901  (a table of changes)
    """Changes a node in place; whether there was something to change."""
    match node, way:
        case ast.Compare(ops=[op, *rest]), 0 if type(op) in COMPARISONS:
            node.ops = [COMPARISONS[type(op)](), *rest]
        case ast.BoolOp(), 0:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.BoolOp(), 1:
            node.values = node.values[:-1]
        case ast.If() | ast.IfExp() | ast.While(), 0:
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.UnaryOp(op=ast.Not()), 0:
            node.op = ast.UAdd()
        case ast.Constant(value=bool(value)), 0:
            node.value = not value
        case ast.Constant(value=int(value)), 0:
            node.value = value + 1
        case ast.BinOp(op=ast.BitOr(), left=left), 0:
            node.op, node.right = ast.BitOr(), left
        case ast.Expr(value=ast.Call()), 0:
            node.value = ast.Constant(None)
        case ast.Raise(), 0:
            node.exc, node.cause = ast.Name("Warning"), None
        case _:
            return False
    ast.fix_missing_locations(node)
    return True


def survives(tree: Path, module: str, mutation: Mutation) -> bool:
    """Whether all tests of the module pass with the mutation."""
    path = tree / "phoenix_apparmor" / f"{module}.py"
    original = path.read_text()
    path.write_text(mutation.text)
    tests = [f"tests/unit/{name}.py" for name in TESTS[module]]
    command = [
        "/usr/bin/python3",
        "-B",
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(original)
    return done.returncode == 0


def main(modules: list[str]) -> int:
    """Exit status 1 if a mutation survives that mutations.txt has no reason for."""
    known = {line.partition("  #")[0].strip() for line in KNOWN.read_text().splitlines()}
    sample = int(os.environ.get("SAMPLE", "0"))
    tried = killed = unknown = 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            REPO, tree, ignore=shutil.ignore_patterns(".git", "__pycache__", ".hypothesis")
        )
        for module in modules or TESTS:
            source = (tree / "phoenix_apparmor" / f"{module}.py").read_text()
            chosen = list(mutations(source))
            if sample:
                chosen = random.Random(7).sample(chosen, min(sample, len(chosen)))
            for mutation in chosen:
                tried += 1
                if not survives(tree, module, mutation):
                    killed += 1
                    continue
                name = f"{module}: {mutation.what}"
                unknown += name not in known
                said = "known" if name in known else "SURVIVES"
                print(f"{said} {name}  (line {mutation.line})", flush=True)
            print(f"{module}: {len(chosen)} mutations tried", flush=True)
    print(
        f"{tried} mutations, {killed} killed, {tried - killed - unknown} known, {unknown} survive"
    )
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
