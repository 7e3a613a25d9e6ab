"""AppArmor's path patterns. Pure.

A pattern is translated into a regular expression (apparmor.d(5), "Globbing (AARE)").
"""

import re
from functools import lru_cache

_OCTAL = re.compile(r"[0-3][0-7]{2}")


def matches(pattern: str, name: str) -> bool:
    """Whether an AARE pattern matches a whole name; False for one that cannot be read.

    Octal escapes name bytes, so names are compared as bytes are: each byte a character.
    """
    name = name.encode("utf-8", "surrogateescape").decode("latin-1")
    pattern = pattern.encode("utf-8", "surrogateescape").decode("latin-1")
    expression = _compiled(pattern)
    return expression is not None and expression.fullmatch(name) is not None


@lru_cache(maxsize=2048)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex(pattern), re.DOTALL)
    except re.error:
        return None


def regex(pattern: str) -> str:
    """The regular expression of an AARE pattern."""
    pattern = pattern[1:-1] if len(pattern) > 1 and pattern[0] == pattern[-1] == '"' else pattern
    out = []
    depth = at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            wide = pattern.startswith("*", at)
            at += wide
            # behind a slash, ** and * mean at least one character
            begins = at - 1 - wide > 0 and pattern[at - 2 - wide] == "/"
            ends = at == len(pattern) or pattern[at] == "/"
            count = "+" if begins and ends else "*"
            out.append(f".{count}" if wide else f"[^/]{count}")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and "]" in pattern[at:]:
            end = pattern.index("]", at)
            out.append("[" + pattern[at:end].replace("\\", "\\\\") + "]")
            at = end + 1
        elif char == "{":
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        elif char == "\\" and (octal := _OCTAL.match(pattern, at)):
            out.append(re.escape(chr(int(octal[0], 8))))
            at += 3
        elif char == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)
