"""The text of a profile, as far as its own rules answer what it refuses, and where. Pure.

Comments, includes, variables and the blocks of profiles are read as apparmor_parser reads them
(apparmor.d(5)); of the rules, those that are asked about: deny rules, and includes of local/.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor.policy import mountrules, tunables
from phoenix_apparmor.policy.tunables import Variables

_COMMENT = re.compile(r"(^|[ \t])#(?!include\b).*$", re.MULTILINE)
# What ends a rule or hides the end of one.
_MARK = re.compile(r'["{}(),]')
_INCLUDE = re.compile(
    r'^[ \t]*#?include[ \t]+(?:if[ \t]+exists[ \t]+)?(?:<([^>\n]+)>|"([^"\n]+)")[ \t]*,?',
    re.MULTILINE,
)
# The head of a block and its brace, which stands alone; those of patterns (/{a,b}) do not.
_HEAD = re.compile(
    r'^[ \t]*(?:(profile|hat)[ \t]+)?("[^"\n]+"|[^\s"#,{][^\s"#{]*)?[^\n{}]*(?<=[\s)"])\{(?=\s|\Z)',
    re.MULTILINE,
)
_BRACE = re.compile(r'"(?:[^"\\\n]|\\.)*"|(?<=[\s)"])\{(?=\s|\Z)|(?<=[\s,])\}(?=\s|\Z)|\A\}')
_VARIABLE = re.compile(r"^[ \t]*@\{\w+\}[ \t]*\+?=.+$", re.MULTILINE)
_FLAGS = re.compile(r"flags\s*=\s*\(([^)]*)\)")
_QUALIFIER = re.compile(r"(audit|deny|allow|quiet|priority=-?\d+)\s+")
DEEPEST = 8
# Profiles include the same parts.
_READ_TEXTS = 64


class Rule(NamedTuple):
    """A deny rule: its text, where it is, whether the kernel logs what it denies.

    body: the rule without qualifiers, with variables replaced.
    """

    text: str
    path: str
    audited: bool
    body: str


class Text(NamedTuple):
    """A piece of a profile: the file that it is in, and its text without comments."""

    path: str
    text: str


def names(text: str) -> list[str]:
    """Names of the top-level profiles of a file."""
    return [name for name, _ in _blocks(_COMMENT.sub("", text))]


def body(text: str, name: str) -> str | None:
    """What is between the braces of a profile or of a child (a//b), without its own children."""
    found = _found(text, name)
    if found is None:
        return None
    inner = found[1]
    for _, _, child in _blocks_with_heads(inner):
        inner = inner.replace(child, "", 1)
    return inner


def flags(text: str, name: str) -> frozenset[str]:
    """The flags of a profile or of a child; none where there is no such profile."""
    found = _found(text, name)
    said = _FLAGS.search(found[0]) if found is not None else None
    return frozenset(re.split(r"[,\s]+", said[1].strip())) if said else frozenset()


def _found(text: str, name: str) -> tuple[str, str] | None:
    """(head, what is between the braces) of a profile or of a child (a//b)."""
    inner, head = _COMMENT.sub("", text), ""
    for part in name.split("//"):
        found = next((b for b in _blocks_with_heads(inner) if b[0].removeprefix("^") == part), None)
        if found is None:
            return None
        _, head, inner = found
    return head, inner


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(name, what is between the braces) of each block at the top of a text."""
    return ((name, inner) for name, _, inner in _blocks_with_heads(text))


def _blocks_with_heads(text: str) -> Iterator[tuple[str, str, str]]:
    """(name, head, what is between the braces) of each block at the top of a text."""
    at = 0
    while head := _HEAD.search(text, at):
        depth, end = 1, len(text)
        for brace in _BRACE.finditer(text, head.end()):
            depth += {"{": 1, "}": -1}.get(brace[0], 0)
            if depth == 0:
                end = brace.start()
                break
        if head[2]:
            yield head[2].strip('"'), head[0], text[head.end() : end]
        at = end + 1


def includes(text: str) -> list[str]:
    """Paths of what a text includes."""
    return [f"/etc/apparmor.d/{a}" if a else quoted for a, quoted in _INCLUDE.findall(text)]


def without_includes(text: str) -> str:
    """A text without its lines that include others."""
    return _INCLUDE.sub("", text)


def local_file(text: str) -> str | None:
    """The file for the site's own rules that a profile's body includes itself."""
    own = [name for name in includes(text) if name.startswith("/etc/apparmor.d/local/")]
    return own[-1] if own else None


def expand(text: str, path: str, read: Callable[[str], str | None]) -> Iterator[Text]:
    """A text and what it includes, each once; read gives the text of a file, or None."""
    seen = {path}
    todo = [(path, text, 0)]
    while todo:
        path, text, depth = todo.pop(0)
        text = _without_comments(text)
        yield Text(path, text)
        for name in includes(text):
            if name in seen or depth >= DEEPEST:
                continue
            seen.add(name)
            included = read(name)
            if included is not None:
                todo.append((name, included, depth + 1))


@functools.lru_cache(_READ_TEXTS)
def _without_comments(text: str) -> str:
    return _COMMENT.sub("", text)


def variables(texts: Iterable[Text]) -> dict[str, Sequence[str]]:
    """Variable -> its values."""
    known: dict[str, Sequence[str]] = {}
    for piece in texts:
        for line in _VARIABLE.findall(piece.text):
            tunables.assign(known, line)
    return known


def deny_rules(
    texts: Iterable[Text], known: Variables | None = None, *, is_4: bool = False
) -> list[Rule]:
    """All deny rules of an expanded profile. is_4: as AppArmor 4 compiles them."""
    found = []
    for piece in texts:
        for rule in _statements(_INCLUDE.sub("", piece.text)):
            words: list[str] = []
            rest = rule
            while match := _QUALIFIER.match(rest):
                words.append(match[1])
                rest = rest[match.end() :]
            if "deny" in words:
                shown = f"deny {' '.join(rest.split())},"
                body = tunables.expanded(rest, known or {})
                body = mountrules.with_any_options(body) if is_4 else body
                found.append(Rule(shown, piece.path, "audit" in words, body))
    return found


def _statements(text: str) -> Iterator[str]:
    """Rules, without the comma that ends each: one outside of brackets, before a blank."""
    start = depth = 0
    quoted = False
    for mark in _MARK.finditer(text):
        at, char = mark.start(), mark[0]
        if char == '"' and text[at - 1 : at] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif char in "{}" and _is_block(text, at):
            start = at + 1
        elif char in "({":
            depth += 1
        elif char in ")}":
            depth = max(0, depth - 1)
        elif char == "," and depth == 0 and (at + 1 == len(text) or text[at + 1].isspace()):
            yield text[start:at].strip()
            start = at + 1


def _is_block(text: str, at: int) -> bool:
    """Whether the brace there is one of a block of rules: it stands alone."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return (not before or before.isspace() or before in ')",') and (not after or after.isspace())
