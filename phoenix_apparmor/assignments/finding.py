"""One thing that is wrong in a JSON, with its place in the text."""

import functools
import json
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from phoenix_apparmor.assignments import positions
from phoenix_apparmor.assignments.positions import Lines, Path, Place, Span
from phoenix_apparmor.errors import one_line

Severity = Literal["error", "warning"]

# What Python's json takes besides.
CONSTANTS = ("NaN", "Infinity")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Finding(NamedTuple):
    """One thing that is wrong.

    path: as jq takes it. value: what stands there, as JSON in one line; "" of what is wrong with
    a name, or if nothing stands there.
    source: the line it stands in.
    """

    severity: Severity
    place: Place
    path: str
    value: str
    what: str
    hint: str
    source: str


class Where:
    """Paths to findings."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = Lines(text)

    @functools.cached_property
    def _spans(self) -> dict[Path, list[Span]]:
        """Of all that stands there, which is much of a big document: for who has a finding."""
        return positions.spans(self._text)

    def spans(self, path: Path) -> list[Span]:
        """Where a path stands; where its parent does, if it is not there."""
        while path not in self._spans and path:
            path = path[:-1]
        return self._spans.get(path, [Span(0, 1, 0, 1)])

    def constants(self) -> list[Path]:
        """Paths whose value is a word that Python reads and JSON does not have."""
        if not any(word in self._text for word in CONSTANTS):
            return []
        return [
            path
            for path, spans in self._spans.items()
            if any(self._text[s.value : s.value_end].removeprefix("-") in CONSTANTS for s in spans)
        ]

    def halves(self) -> list[tuple[Path, bool]]:
        """(path, whether it is its name) of strings with half a character (a lone surrogate)."""
        if not _SURROGATE.search(self._text):
            return []
        return [
            (path, at_name)
            for path, spans in self._spans.items()
            for at_name in (True, False)
            if any(self._has_half(span, at_name=at_name) for span in spans)
        ]

    def _has_half(self, span: Span, *, at_name: bool) -> bool:
        is_named = (span.name, span.name_end) != (span.value, span.value_end)
        if at_name and not is_named:
            return False
        begin, end = (span.name, span.name_end) if at_name else (span.value, span.value_end)
        written = self._text[begin:end]
        if not written.startswith('"') or not _SURROGATE.search(written):
            return False
        return any("\ud800" <= c <= "\udfff" for c in json.loads(written, strict=False))

    def finding(
        self,
        severity: Severity,
        path: Path,
        what: str,
        hint: str = "",
        *,
        at_name: bool = False,
        value: object = None,
        number: int = -1,
    ) -> Finding:
        """A finding at a path's value or name, of several at that number's."""
        span = self.spans(path)[number]
        written = self._text[span.value : span.value_end]
        begin, end = (span.name, span.name_end) if at_name else (span.value, span.value_end)
        place = self._lines.place(begin, end)
        said = json.dumps(value, ensure_ascii=False) if value is not None else written
        shown = "" if at_name and value is None else shorten(said)
        source = self._lines.line(place.line)
        return Finding(severity, place, positions.jq_path(path), shown, what, hint, source)


def shorten(text: str, room: int = 60) -> str:
    """text in one line of at most room characters."""
    text = one_line(text)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Findings in the order of the text, each once."""
    return sorted(set(found), key=lambda f: (f.place, f.severity, f.what))


def at(text: bytes, path: Path, what: str, hint: str, value: object) -> Finding:
    """An error at a path of a document that can be read."""
    return Where(text.decode("utf-8-sig")).finding("error", path, what, hint, value=value)
