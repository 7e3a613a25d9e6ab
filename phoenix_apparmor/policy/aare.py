"""AppArmor's path patterns. Pure.

A pattern is translated into a regular expression (apparmor.d(5), "Globbing (AARE)").
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

# Names that one pattern gives as examples.
MOST = 48
_OCTAL = re.compile(r"[0-3][0-7]{2}")
_OCTAL_ESCAPE = re.compile(r"\\([0-3][0-7]{2})")


def matches(pattern: str, name: str) -> bool:
    """Whether an AARE pattern matches a whole name; False for one that cannot be read.

    Octal escapes name bytes, so names are compared as bytes are: each byte a character.
    """
    expression = _compiled(pattern)
    if not name.isascii():
        try:
            name = _as_bytes(name)
        except UnicodeEncodeError:
            return False  # half a character, as only JSON can say it
    return expression is not None and expression.fullmatch(name) is not None


@lru_cache(maxsize=2048)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex(_as_bytes(pattern)), re.DOTALL)
    except (re.error, UnicodeEncodeError):
        return None


def _as_bytes(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


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
            out.append("[" + _class(pattern[at:end]) + "]")
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


def _class(inside: str) -> str:
    """A character class as a regular expression has it; octal escapes are characters there too."""
    parts = _OCTAL_ESCAPE.split(inside)
    for number, part in enumerate(parts):
        parts[number] = f"\\x{int(part, 8):02x}" if number % 2 else part.replace("\\", "\\\\")
    return "".join(parts)


class _Piece(NamedTuple):
    """A piece of a pattern: texts that stand for it.

    ends: whether it can end in a slash. is_all: whether the texts are all that it matches.
    """

    texts: tuple[str, ...]
    ends: bool
    may_be_empty: bool = False
    is_all: bool = True


def may_end_in_slash(pattern: str) -> bool:
    """Whether a pattern can mean a folder, of which the kernel's name ends in a slash."""
    return _ends(_pieces(_bare(pattern)))


def examples(pattern: str) -> list[str]:
    """Some names that a pattern matches, of each alternative one at least where they are few."""
    found = _texts(_pieces(_bare(pattern)))
    return list(dict.fromkeys(name for name in found if matches(pattern, name)))


def is_list(pattern: str) -> bool:
    """Whether examples() gives all names that a pattern matches."""
    return _is_all(_pieces(_bare(pattern)))


def _is_all(pieces: Sequence[_Piece]) -> bool:
    few = math.prod(len(piece.texts) for piece in pieces) <= MOST
    return few and all(piece.is_all for piece in pieces)


def _bare(pattern: str) -> str:
    return pattern[1:-1] if len(pattern) > 1 and pattern[0] == pattern[-1] == '"' else pattern


def _texts(pieces: Sequence[_Piece]) -> list[str]:
    # the alternatives of the first pieces change most often: those tell places apart
    turned = itertools.product(*(piece.texts for piece in reversed(pieces)))
    return ["".join(reversed(texts)) for texts in itertools.islice(turned, MOST)]


def _ends(pieces: Sequence[_Piece]) -> bool:
    for piece in reversed(pieces):
        if piece.ends or not piece.may_be_empty:
            return piece.ends
    return False


def _pieces(pattern: str) -> list[_Piece]:
    """The pieces of a pattern without quotes around it."""
    found: list[_Piece] = []
    at = 0
    while at < len(pattern):
        char, rest = pattern[at], pattern[at + 1 :]
        if char == "*":
            wide = rest.startswith("*")
            behind = pattern[at + 1 + wide :]
            # behind a slash they mean at least one character
            filled = pattern[:at].endswith("/") and behind[:1] in ("", "/")
            texts = ("x", "x/", "") if wide else ("x", "")
            found.append(_Piece(texts, wide, may_be_empty=not filled, is_all=False))
            at += 1 + wide
        elif char == "?":
            found.append(_Piece(("x",), ends=False, is_all=False))
            at += 1
        elif char == "[" and "]" in rest:
            inside = rest[: rest.index("]")]
            found.append(_of_class(inside))
            at += len(inside) + 2
        elif char == "{" and (end := _closing(pattern, at)):
            parts = [_pieces(part) for part in _alternatives(pattern[at + 1 : end])]
            texts = tuple(text for part in parts for text in _texts(part))
            empty = any(all(piece.may_be_empty for piece in part) for part in parts)
            whole = all(map(_is_all, parts))
            found.append(_Piece(texts, any(map(_ends, parts)), may_be_empty=empty, is_all=whole))
            at = end + 1
        elif char == "\\" and (octal := _OCTAL.match(rest)):
            found.append(_Piece((chr(int(octal[0], 8)),), ends=octal[0] == "057"))
            at += 4
        else:
            at += char == "\\" and bool(rest)
            found.append(_Piece((pattern[at],), ends=pattern[at] == "/"))
            at += 1
    return found


def _of_class(inside: str) -> _Piece:
    inside = _OCTAL_ESCAPE.sub(lambda found: chr(int(found[1], 8)), inside)
    if not inside.startswith("^"):
        return _Piece((inside[:1],), ends="/" in inside, is_all=len(inside) == 1)
    others = tuple(char for char in "x/z0" if char not in inside)
    return _Piece(others or ("~",), ends="/" not in inside, is_all=False)


def _closing(pattern: str, at: int) -> int:
    """Where the brace at a place is closed, 0 if it is not."""
    depth = 0
    for place in range(at, len(pattern)):
        depth += {"{": 1, "}": -1}.get(pattern[place], 0)
        if depth == 0:
            return place
    return 0


def _alternatives(text: str) -> Iterator[str]:
    depth = start = 0
    for at, char in enumerate(text):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            yield text[start:at]
            start = at + 1
    yield text[start:]
