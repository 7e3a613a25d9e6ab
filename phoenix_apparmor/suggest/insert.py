r"""New entries into the text of a phoenix_lxc_configs.json, every other byte as it is. Pure.

The document is not written anew: real ones are edited by hand, with an order, an
indentation and line ends that their owner wants to see again in git diff.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from phoenix_apparmor.assignments import parse, positions
from phoenix_apparmor.assignments.parse import Twice
from phoenix_apparmor.errors import PhoenixError

BOM = "\ufeff"
UNIT = "    "


def new_document(entries: Mapping[str, Mapping[str, Any]]) -> bytes:
    """A document of nothing but these entries."""
    return (json.dumps({"lxc_configs": entries}, indent=4) + "\n").encode()


def insert(text: bytes, entries: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The document with these entries behind those of lxc_configs.

    CTIDs that it has already keep their entry. Raises PhoenixError where the document
    cannot be read, or has lxc_configs twice, so that nobody knows which is meant.
    """
    whole = parse.document(text)
    if isinstance(whole, Twice) and "lxc_configs" in whole.twice:
        raise PhoenixError("lxc_configs appears twice in it.", hint="Remove one of them.")
    new = {c: e for c, e in entries.items() if c not in whole["lxc_configs"]}
    if not new:
        return text
    decoded = text.decode("utf-8")
    bom = BOM if decoded.startswith(BOM) else ""
    return (bom + _insert(decoded.removeprefix(BOM), new)).encode("utf-8")


def set_key(text: bytes, ctid: str, key: str, value: object | None) -> bytes:
    """The document with another value of one key of a container's entry; None takes it out.

    Raises PhoenixError as insert does, and where the container has no entry.
    """
    _entry(text, ctid, key)
    decoded = text.decode("utf-8")
    bom = BOM if decoded.startswith(BOM) else ""
    decoded = decoded.removeprefix(BOM)
    spans = positions.spans(decoded)
    where = spans.get(("lxc_configs", ctid, key))
    if where is None:
        if value is None:
            return text
        style = _Style(decoded, spans)
        decoded = _append(decoded, ("lxc_configs", ctid), {key: value}, style)
    elif value is None:
        decoded = _cut(decoded, where[-1].name, where[-1].value_end)
    else:
        span = where[-1]
        style = _Style(decoded, spans)
        shown = style.dump(value, style.indent_at(span.name))
        decoded = decoded[: span.value] + shown + decoded[span.value_end :]
    return (bom + decoded).encode("utf-8")


def add_items(text: bytes, ctid: str, key: str, items: Sequence[str]) -> bytes:
    """The document with more at the end of a list of a container's entry, which may be absent.

    What the list has already stays as it is written. Raises PhoenixError as set_key does.
    """
    old = _entry(text, ctid, key).get(key)
    new = [item for item in items if not isinstance(old, list) or item not in old]
    if not new:
        return text
    if not isinstance(old, list) or not old:
        return set_key(text, ctid, key, new)
    decoded = text.decode("utf-8")
    bom = BOM if decoded.startswith(BOM) else ""
    decoded = decoded.removeprefix(BOM)
    spans = positions.spans(decoded)
    last = spans[("lxc_configs", ctid, key, len(old) - 1)][-1]
    style = _Style(decoded, spans)
    between = f",{style.after_comma}"
    if style.on_own_line(last.value):
        between = f",{style.newline}{style.indent_at(last.value)}"
    more = "".join(f"{between}{json.dumps(item)}" for item in new)
    return (bom + decoded[: last.value_end] + more + decoded[last.value_end :]).encode("utf-8")


def _entry(text: bytes, ctid: str, key: str) -> dict[str, Any]:
    """A container's entry. Raises PhoenixError where it has none, or it is not known which."""
    whole = parse.document(text)
    entries = whole["lxc_configs"]
    entry = entries.get(ctid)
    if not isinstance(entry, dict):
        raise PhoenixError("it has no entry in the JSON.", ctid=ctid)
    twice = [o for o in (whole, entries, entry) if isinstance(o, Twice)]
    if any({"lxc_configs", ctid, key} & set(o.twice) for o in twice):
        raise PhoenixError(
            "its entry appears twice in the JSON.", hint="See: phoenix-apparmor validate"
        )
    return entry


def _insert(text: str, new: Mapping[str, Mapping[str, Any]]) -> str:
    return _append(text, ("lxc_configs",), new, _Style(text, positions.spans(text)))


def _append(text: str, path: tuple[str, ...], members: Mapping[str, Any], style: "_Style") -> str:
    """text with members at the end of the object at path."""
    spans = style.spans
    span = spans[path][-1]
    inner = [
        s for p, found in spans.items() for s in found if p[:-1] == path and len(p) > len(path)
    ]
    inner = [s for s in inner if span.value < s.name < span.value_end]
    if inner:
        last = max(inner, key=lambda s: s.value_end)
        indent = style.indent_at(last.name) if style.on_own_line(last.name) else None
        shown = style.members(members, indent)
        between = f",{style.newline}{indent}" if indent is not None else f",{style.after_comma}"
        return text[: last.value_end] + between + shown + text[last.value_end :]
    if style.is_flat:
        return text[: span.value + 1] + style.members(members, None) + text[span.value_end - 1 :]
    outer = style.indent_at(span.name)
    indent = outer + style.unit
    shown = f"{style.newline}{indent}{style.members(members, indent)}{style.newline}{outer}"
    return text[: span.value + 1] + shown + text[span.value_end - 1 :]


def _cut(text: str, begin: int, end: int) -> str:
    """text without a member, and without the one comma that goes with it."""
    behind = re.match(r"\s*,", text[end:])
    before = re.search(r",\s*\Z", text[:begin])
    if before is not None:
        return text[: before.start()] + text[end:]
    if behind is not None:
        end += behind.end()
        rest = text[end:]
        return text[:begin] + rest.lstrip(" \t\r\n")
    return text[:begin].rstrip() + text[end:].lstrip()


class _Style:
    """How a document is written: its line ends, its indentation, its blanks."""

    def __init__(self, text: str, spans: dict[positions.Path, list[positions.Span]]) -> None:
        self.spans = spans
        self._text = text
        crlf = text.count("\r\n")
        self.newline = "\r\n" if crlf and crlf * 2 > text.count("\n") else "\n"
        top = spans[("lxc_configs",)][-1]
        self.is_flat = not self.on_own_line(top.name)
        self.unit = self.indent_at(top.name) or UNIT
        between = text[top.name_end : top.value]
        self.colon = between if "\n" not in between else ": "
        comma = re.search(r'[}\]"\w],([ \t]*)"', text)
        self.after_comma = comma[1] if comma else ("" if self.colon == ":" else " ")
        self._entries_flat = self._are_entries_flat()

    def _are_entries_flat(self) -> bool:
        """Whether each container's entry is in one line."""
        found = [s for p, all_ in self.spans.items() if len(p) == 2 for s in all_
                 if p[0] == "lxc_configs"]  # fmt: skip
        shown = [self._text[s.value : s.value_end] for s in found]
        full = [t for t in shown if t[:1] == "{" and t[1:-1].strip()]
        return bool(full) and all("\n" not in t for t in full)

    def on_own_line(self, at: int) -> bool:
        """Whether only blanks are before a place in its line."""
        start = self._text.rfind("\n", 0, at) + 1
        return start > 0 and not self._text[start:at].strip(" \t")

    def indent_at(self, at: int) -> str:
        """The blanks at the begin of the line of a place."""
        start = self._text.rfind("\n", 0, at) + 1
        match = re.compile(r"[ \t]*").match(self._text, start)
        return match[0] if match else ""

    def members(self, members: Mapping[str, Any], indent: str | None) -> str:
        """Members in this style; indent: of the first one's line, None: all in one line."""
        between = f",{self.after_comma}" if indent is None else f",{self.newline}{indent}"
        return between.join(
            f"{json.dumps(name)}{self.colon}{self.dump(value, indent)}"
            for name, value in members.items()
        )

    def dump(self, value: object, indent: str | None) -> str:
        """A value in this style, its lines below indent."""
        flat = indent is None or (isinstance(value, dict) and self._entries_flat)
        if isinstance(value, dict) and value:
            inner = None if flat else f"{indent}{self.unit}"
            shown = self.members(value, inner)
            edge = ("", "") if flat else (f"{self.newline}{inner}", f"{self.newline}{indent}")
            return "{" + edge[0] + shown + edge[1] + "}"
        if isinstance(value, list) and value and not flat:
            inner = f"{indent}{self.unit}"
            items = f",{self.newline}{inner}".join(json.dumps(item) for item in value)
            return f"[{self.newline}{inner}{items}{self.newline}{indent}]"
        return json.dumps(value)
