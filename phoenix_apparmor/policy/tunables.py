"""Variables of profiles (/etc/apparmor.d/tunables), and rules with their values in place. Pure.

Source: apparmor.d(5), "Variables". apparmor_parser makes a rule of each value, and then one slash
of several in a path, but for just two at its beginning (parser_regex.c, filter_slashes).
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

# Variable -> its values, which may name others.
Variables = Mapping[str, Sequence[str]]

_ASSIGNED = re.compile(r"\s*[@$]\{?(\w+)\}?\s*(\+?)=\s*(.*)\Z", re.DOTALL)
_VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_USED = re.compile(r"(?<!\\)@\{(\w+)\}")
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_SLASHES = re.compile(r"(?<!\A)(?<!\A\")/{2,}|/{3,}")
# Of other rules, what is behind "->" is a profile, whose name may have two slashes.
_OF_PATHS = frozenset(("mount", "remount", "link"))
# More values than this no tunable has.
_MOST = 256


def assign(known: dict[str, Sequence[str]], statement: str) -> None:
    """Takes the values of a line like ``@{X}=/a /b`` or ``@{X}+=/c``."""
    said = _ASSIGNED.match(statement)
    if said is not None:
        before = known.get(said[1], ()) if said[2] else ()
        values = (quoted or bare for quoted, bare in _VALUE.findall(said[3]))
        known[said[1]] = (*before, *values)


def expanded(rule: str, known: Variables) -> str:
    """A rule without its comma, where patterns stand for the values of its variables."""
    if "@{" not in rule and "//" not in rule:
        return rule
    words = _WORD.findall(rule)
    of_paths = not _OF_PATHS.isdisjoint(words)
    before = ""
    found = []
    for word in words:
        new = _USED.sub(lambda match: _pattern(match, known), word)
        if new.startswith(("/", '"/', "{")) and (of_paths or before != "->"):
            new = _SLASHES.sub("/", new)
        found.append(new)
        before = word
    return " ".join(found)


def _pattern(match: re.Match[str], known: Variables) -> str:
    """A pattern for all values of a variable, at the place where it is used."""
    if match[1] not in known:
        return match[0]
    before, after = match.string[: match.start()], match.string[match.end() :]
    all_values = _values(match[1], known, frozenset())
    values = list(dict.fromkeys(itertools.islice(all_values, _MOST)))
    if len(values) > 1:
        values = [_without_commas(value) for value in values]
    if after.startswith("/"):
        values = [value.rstrip("/") for value in values]
    if before.endswith("/") and not before.endswith("//"):
        values = [value.lstrip("/") for value in values]
    if not match.string.startswith('"'):
        values = [value.replace(" ", r"\040") for value in values]
    if len(values) == 1:
        return values[0]
    # a rule of a file begins with a slash; behind one, * is another than behind a brace
    if before in ("", '"') and all(value[:1] == "/" and value[1:2] != "*" for value in values):
        return "/{" + ",".join(value[1:] for value in values) + "}"
    return "{" + ",".join(values) + "}"


def _values(name: str, known: Variables, within: frozenset[str]) -> Iterator[str]:
    """The values of a variable, those of others in their places; within: which it is one of."""
    if name in within or name not in known:
        yield f"@{{{name}}}"
        return
    for value in known[name]:
        yield from _replaced(value, known, within | {name})


def _replaced(text: str, known: Variables, within: frozenset[str]) -> Iterator[str]:
    used = _USED.search(text)
    if used is None:
        yield text
        return
    for inner in _values(used[1], known, within):
        for rest in _replaced(text[used.end() :], known, within):
            yield text[: used.start()] + inner + rest


def _without_commas(value: str) -> str:
    """A value that has commas only in braces of its own."""
    depth = 0
    found = []
    for char in value:
        depth += {"{": 1, "}": -1}.get(char, 0)
        found.append("\\," if char == "," and depth == 0 else char)
    return "".join(found)
