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
            node, function = list(_places(tree))[index]
            before = ast.unparse(node)
            if not _mutate(node, way, at_top=function == ""):
                continue
            after = ast.unparse(node)
            if after == before:
                continue
            name = f"{module} {function or '-'}: {_short(before)} -> {_short(after)}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name += f" ({seen[name]})"
            last = node.test.end_lineno if hasattr(node, "test") else node.end_lineno
            lines = range(node.lineno, (last or node.lineno) + 1)
            yield Mutant(name, lines, function, ast.unparse(tree))


def _short(text: str) -> str:
    first = text.partition("\n")[0]
    return first if len(first) <= 120 else first[:117] + "..."


def _places(tree: ast.AST, function: str = "") -> Iterator[tuple[Any, str]]:
    """(node, name of the function that it is in) of all that can be changed."""
    for field, value in ast.iter_fields(tree):
        if field in LEFT_OUT:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or _for_types(node):
                continue
            name = function
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = f"{function}.{node.name}".lstrip(".")
            if isinstance(node, ast.expr | ast.stmt):
                yield node, function
            yield from _places(node, name)


def _for_types(node: ast.AST) -> bool:
    """What is only for the type checker, or for memory."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING" | "__slots__"), *_]):
            return True
        case ast.Assert():
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
        case ast.If() | ast.IfExp() | ast.While(), 0:
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


# Found in a hand-made trial to pass all tests of release 1.0.0. (module, text, its replacement)
BY_HAND: tuple[tuple[str, str, str], ...] = ()
