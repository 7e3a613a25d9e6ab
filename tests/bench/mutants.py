"""Mutants of a module: each a copy of its text in which one thing is changed.

Left out is what cannot matter: docstrings and other texts, annotations, what is for the type
checker alone, and slots.
"""

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

COMPARISONS = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
# Nodes that no mutation goes into.
LEFT_OUT = ("annotation", "returns", "decorator_list")


class Mutant(NamedTuple):
    """name: MODULE FUNCTION: BEFORE -> AFTER. lines: that it changes. text: of the module."""

    name: str
    lines: range
    function: str
    text: str


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Each single change of a module's code."""
    places = list(_places(ast.parse(source)))
    seen: dict[str, int] = {}
    for index in range(len(places)):
        for way in range(3):
            tree = ast.parse(source)
            node, function, runs = list(_places(tree))[index]
            before = ast.unparse(node)
            if not _mutate(node, way, at_top=function == "" or function.endswith(".")):
                continue
            after = ast.unparse(node)
            if after == before:
                continue
            name = f"{module} {function.rstrip('.') or '-'}: {_short(before)} -> {_short(after)}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name += f" ({seen[name]})"
            last = node.test.end_lineno if hasattr(node, "test") else node.end_lineno
            lines = runs or range(node.lineno, (last or node.lineno) + 1)
            yield Mutant(name, lines, function, ast.unparse(tree))


def _short(text: str) -> str:
    first = text.partition("\n")[0]
    return first if len(first) <= 120 else first[:117] + "..."


def _places(
    tree: ast.AST, function: str = "", runs: range | None = None
) -> Iterator[tuple[Any, str, range | None]]:
    """(node, name of the function that it is in, lines to see run) of all that can be changed.

    lines: of what is used in a function though it is outside of it, its defaults; else None.
    """
    for field, value in ast.iter_fields(tree):
        if field in LEFT_OUT:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or _for_types(node):
                continue
            name, body = function, runs
            if isinstance(node, ast.FunctionDef):
                name = f"{function.rstrip('.')}.{node.name}".lstrip(".")
            if isinstance(node, ast.ClassDef):
                name = f"{node.name}."  # what stands there is run once, as the module is
            if isinstance(node, ast.arguments) and isinstance(tree, ast.FunctionDef):
                first = tree.body[min(1, len(tree.body) - 1)]  # behind the docstring
                body = range(first.lineno, first.lineno + 1)
            if isinstance(node, ast.expr | ast.stmt):
                yield node, function, runs
            yield from _places(node, name, body)


def _for_types(node: ast.AST) -> bool:
    """What is only for the type checker, or for memory."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING" | "__slots__"), *_]):
            return True
        case ast.Assert() | ast.Subscript(value=ast.Name(id="Literal")):
            return True
    return False


def _turns(test: ast.expr) -> bool:
    """Whether a condition is turned round by a mutation of its own."""
    match test:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[ast.Eq() | ast.NotEq() | ast.In() | ast.NotIn() | ast.Is()]):
            return True
        case ast.Compare(ops=[ast.IsNot()]):
            return True
    return False


def _mutate(node: Any, way: int, *, at_top: bool) -> bool:  # noqa: C901, PLR0912  (a table)
    """Changes a node in place; whether there was something to change."""
    match node, way:
        case ast.Compare(ops=[op, *rest]), 0 if type(op) in COMPARISONS:
            node.ops = [COMPARISONS[type(op)](), *rest]
        case ast.BoolOp(), 0:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.BoolOp(), 1:
            node.values = node.values[:-1]
        case ast.BoolOp(), 2:
            node.values = node.values[1:]
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test), 0 if not _turns(test):
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.UnaryOp(op=ast.Not()), 0:
            node.op = ast.UAdd()
        case ast.Constant(value=bool(value)), 0:
            node.value = not value
        case ast.Constant(value=int(value)), 0:
            node.value = 0 if at_top and value else value + 1
        case ast.BinOp(op=ast.BitOr(), left=left), 0:
            node.right = left
        case ast.BinOp(op=ast.BitOr(), right=right), 1:
            node.left = right
        case ast.Expr(value=ast.Call()), 0:
            node.value = ast.Constant(None)
        case ast.Raise(), 0:
            node.exc, node.cause = ast.Name("Warning"), None
        case ast.Tuple(elts=[_, *rest], ctx=ast.Load()), 0 if rest and at_top:
            node.elts = rest
        case _:
            return False
    ast.fix_missing_locations(node)
    return True


# The first 25 passed all tests of release 1.0.0. (module, text, its replacement)
BY_HAND: tuple[tuple[str, str, str], ...] = (
    ("hookscript", "        refusal = PhoenixError(\n            f\"{type", "        return 0\n"
     "        refusal = PhoenixError(\n            f\"{type"),
    ("start", "with Lock(host, paths.conf_lock(ctid), wait=0):", "if True:"),
    ("start", "        if not lxcconf.says(old, expected):\n            raise",
     "        if False:\n            raise"),
    ("start", "(apparmor\\\\.profile|aa_profile)", "(apparmor\\\\.profile)"),
    ("labels", 'return mode == "mixed" if trial else mode in HOLDING', "return True"),
    ("reader", "seen.st_mode & stat.S_IWOTH or (", "("),
    ("assignments/parse", "if not ctid.isascii() or not ctid.isdigit():\n            continue",
     "if False:\n            continue"),
    ("kernel", 'ENFORCING = ("enforce", "kill")', 'ENFORCING = ("enforce", "kill", "prompt")'),
    ("policy/load", '"-r", "-T", "-W"', '"-r", "-W"'),
    ("policy/load", "*how, host.path(path)], timeout=", "*how, host.path(path)], timeout=9 or "),
    ("lastgood", "SETTLED_NS = 2_000_000_000", "SETTLED_NS = 0"),
    ("lastgood", "if not digits.isdigit() or not _is_whole(text):", "if not digits.isdigit():"),
    ("reader", " or (seen.st_mode & stat.S_IWGRP and seen.st_gid != 0)", ""),
    ("assignments/lookup",
     "if after is not None and lastgood.identity(source, after, read_ns) == head:", "if True:"),
    ("lxcconf", "return without_our_lines(text[:begin] + rest)", "return text[:begin] + rest"),
    ("kernel", 'start = b"\\n" + start', "pass"),
    ("kernel", " or not entry[len(name) + 1 :].isdigit()", ""),
    ("kernel", '("sha256", "sha1")', '("sha256",)'),
    ("host", "                if durable:\n", "                if False:\n"),
    ("host", "            posix.fsync(fd)\n", "            pass\n"),
    ("host", "posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, mode",
     "posix.O_WRONLY | posix.O_CREAT, mode"),
    ("host",
     'and (pid == str(posix.getpid()) or not _is_there(f"/proc/{pid}"))', ""),
    ("commands", "os.killpg(process.pid, 9)", "process.kill()"),
    ("package/attaching", "if not lock.held:", "if False:"),
    ("package/maintscript", "    if failed:\n        for", "    if False:\n        for"),
    # Of later releases.
    ("batch", "            self._sync()\n", ""),
    ("batch", "            self._host.sync_folder(self._folder)\n", ""),
    ("batch", "                os.fsync(fd)\n", "                pass\n"),
    ("batch", "os.unlink", "os.stat"),
    ("locks", "os.O_CREAT | os.O_NOFOLLOW", "os.O_CREAT"),
    ("cli/apply", "elif not locks.enter_context(Lock(host, paths.conf_lock(ctid), wait=0)).held:",
     "elif False:"),
    ("hookscript", "if not begun or status != UNCONFINED:", "if True:"),
    ("hookscript", "if not has_come and posix.fork() == 0:", "if False:"),
    ("stopped", "if (has_namespace or has_variants) and _is_any_left(host, ctid):", "if False:"),
    ("start", "_has_our_hookscript(conf) or _has_our_profile(conf)", "_has_our_hookscript(conf)"),
    ("policy/files", 'status > 0 and "Failed setting up policy cache" in messages', "False"),
)  # fmt: skip
