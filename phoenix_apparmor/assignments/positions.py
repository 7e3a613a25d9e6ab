"""Where things stand in the text of a JSON document that json.loads has taken. Pure: no I/O."""

import itertools
import json
import re
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]

# A choice for each character of a string would take 120 bytes of memory for it.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


class Span(NamedTuple):
    """Offsets of a member's name (its value's, where it has none) and of its value."""

    name: int
    name_end: int
    value: int
    value_end: int


class Place(NamedTuple):
    """Line and column, counted from 1, and the length of what stands there (in one line)."""

    line: int
    column: int
    length: int


def spans(text: str) -> dict[Path, list[Span]]:
    """Path -> where it stands; more than once where an object has a name twice.

    Iterative, so that a document as deep as json.loads takes cannot end it; arrays by index.
    """
    found: dict[Path, list[Span]] = {}
    # Of each open object or array: its path and span, then the name or index of what is next.
    path: list[str | int] = []
    open_at: list[tuple[str, int, tuple[int, int] | None]] = []
    name: tuple[int, int] | None = None

    def add(key: Path, name: tuple[int, int] | None, begin: int, end: int) -> None:
        found.setdefault(key, []).append(Span(*(name or (begin, end)), begin, end))

    tokens = itertools.chain(_TOKEN.finditer(text), (None,))
    for token, following in itertools.pairwise(tokens):
        if token is None:
            break
        kind = token[0][0]
        if kind in "{[":
            open_at.append((kind, token.start(), name))
            path.append(0 if kind == "[" else "")
            name = None
        elif kind in "}]":
            _, begin, its_name = open_at.pop()
            path.pop()
            add(tuple(path), its_name, begin, token.end())
            name = None
        elif kind == ",":
            if open_at[-1][0] == "[":
                last = path[-1]
                path[-1] = last + 1 if isinstance(last, int) else last
        elif kind == '"' and following is not None and following[0] == ":":
            path[-1] = json.loads(token[0], strict=False)
            name = token.span()
        elif kind != ":":
            add(tuple(path), name, *token.span())
            name = None
    return found


class Lines:
    """Offsets of a text to lines and columns, and the lines themselves."""

    def __init__(self, text: str) -> None:
        self._text = text
        # \n only, as editors and json count; \r stays part of the line and is not shown.
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, begin: int, end: int) -> Place:
        """The place of text[begin:end], of which only the part in its first line counts."""
        number = bisect_right(self._starts, begin)
        start = self._starts[number - 1]
        stop = self._text.find("\n", begin)
        stop = len(self._text) if stop < 0 else stop
        return Place(number, begin - start + 1, max(1, min(end, stop) - begin))

    def line(self, number: int) -> str:
        """A line, counted from 1, without its end."""
        start = self._starts[number - 1]
        stop = self._text.find("\n", start)
        return self._text[start : len(self._text) if stop < 0 else stop].rstrip("\r")


def jq_path(path: Path) -> str:
    """A path as one can paste it into jq: .lxc_configs["952"].apparmor_profile."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", step):
            text += f".{step}"
        else:
            text += f"[{json.dumps(step)}]" if text else f".[{json.dumps(step)}]"
    return text or "."
