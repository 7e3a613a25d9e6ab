"""Tables with aligned columns that fit a terminal. Pure: no I/O."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from phoenix_apparmor.errors import one_line
from phoenix_apparmor.terminal.output import PLAIN

NARROWEST = 8
LONGEST = 300


class Cell(NamedTuple):
    """A text and its colour (of SGR), PLAIN for none."""

    text: str
    colour: str = PLAIN


class Column(NamedTuple):
    """A heading; shrinks: whether it may be cut to make the table fit."""

    title: str
    shrinks: bool = False


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, room: int) -> str:
    """text in at most room columns, cut in its middle: names differ at their ends."""
    if width(text) <= room:
        return text
    tail = (room - 1) * 2 // 3
    head = room - 1 - tail
    begin = end = ""
    for c in text:
        if width(begin + c) > head:
            break
        begin += c
    for c in reversed(text):
        if width(c + end) > tail:
            break
        end = c + end
    return f"{begin}…{end}"


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], room: int, *, colour: bool
) -> Iterable[str]:
    """Lines of a table, at most room wide where the shrinking columns allow it.

    Cells may quote what others wrote: they are made readable, and no longer than LONGEST.
    """
    rows = [[cell._replace(text=one_line(cell.text)[:LONGEST]) for cell in row] for row in rows]
    widths = [
        max([width(column.title)] + [width(row[n].text) for row in rows])
        for n, column in enumerate(columns)
    ]
    _shrink(widths, [n for n, column in enumerate(columns) if column.shrinks], room)
    yield _line([Cell(column.title) for column in columns], widths, colour=False)
    for row in rows:
        yield _line(row, widths, colour=colour)


def _shrink(widths: list[int], able: Sequence[int], room: int) -> None:
    while sum(widths) + 2 * (len(widths) - 1) > room and able:
        widest = max(able, key=lambda n: widths[n])
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def _line(cells: Sequence[Cell], widths: Sequence[int], *, colour: bool) -> str:
    parts = []
    for number, (cell, room) in enumerate(zip(cells, widths, strict=True)):
        text = cut(cell.text, room)
        pad = "" if number == len(cells) - 1 else " " * (room - width(text))
        if colour and cell.colour:
            text = f"\x1b[{cell.colour}m{text}\x1b[0m"
        parts.append(text + pad)
    return "  ".join(parts).rstrip()
