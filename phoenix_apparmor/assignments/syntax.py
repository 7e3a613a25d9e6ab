"""What is wrong at a syntax error of JSON, and where: for all who tell of it. Pure."""

import re
from json import JSONDecodeError
from typing import NamedTuple

from phoenix_apparmor.assignments.positions import Lines, Place

CLOSING = ("}", "]")
# What is written bare: a number, a word.
_BARE = re.compile(r"[\w.+-]+")
# Python's, which are often meant.
WORDS = {"True": "true", "False": "false", "None": "null", "TRUE": "true", "FALSE": "false"}


class Said(NamedTuple):
    """What is wrong, how to fix it, and at which offset."""

    what: str
    hint: str
    at: int


def explain(error: JSONDecodeError) -> tuple[str, str, Place]:
    """What is wrong at a syntax error, how to fix it, and where: the same for each Python.

    Python 3.13 names a trailing comma and points at it, 3.11 says "Expecting property name"
    and points behind it.
    """
    found = _anywhere(error) or _by_message(error)
    if found is None:
        found = Said(f"{error.msg.removesuffix(' at')}.", "", error.pos)
    return found.what, found.hint, Lines(error.doc).place(found.at, found.at + 1)


def _anywhere(error: JSONDecodeError) -> Said | None:
    """What the text shows, whatever was expected there."""
    doc, at = error.doc, error.pos
    rest, before = doc[at : at + 2], doc[:at].rstrip()
    if not doc.strip():
        hint = 'Was it cut off? To manage no container: {"lxc_configs": {}}'
        return Said("it is empty.", hint, at)
    if not rest:
        hint = "A } or ] is missing, or the file was cut off."
        return Said("the text ends too early.", hint, at)
    behind = rest.startswith(CLOSING) and before.endswith(",")
    if behind or (rest[:1] == "," and doc[at + 1 :].lstrip().startswith(CLOSING)):
        where = len(before) - 1 if behind else at
        return Said("a comma before a closing bracket.", "Remove that comma.", where)
    if rest.startswith(("#", "//", "/*")):
        return Said("JSON has no comments.", "Remove it.", at)
    if rest.startswith("'"):
        return Said("JSON only has double quotes.", "Write \"…\" instead of '…'.", at)
    return None


def _by_message(error: JSONDecodeError) -> Said | None:
    """What it is by what json expected."""
    message = error.msg
    if message.startswith("Expecting ',' delimiter"):
        return _bare(error) or _not_a_comma(error)
    if message.startswith("Expecting ':' delimiter"):
        wrong = error.doc[error.pos]
        inner = _quote_inside(error)
        what = 'a ":" must be between a name and its value.'
        return inner or Said(what, f"Write : instead of {wrong}." if wrong in "=;," else "",
                             error.pos)  # fmt: skip
    if message.startswith("Expecting value"):
        return _bare(error)
    if message.startswith("Extra data"):
        hint = "One closing bracket too many?"
        return Said("text after the end of the document.", hint, error.pos)
    return None


def _bare(error: JSONDecodeError) -> Said | None:
    """A number or a word that JSON does not have: 01, 0x1f, 5G, True, lxc-x."""
    doc, at = error.doc, error.pos
    begin = at
    while begin and _BARE.match(doc[begin - 1]):
        begin -= 1
    word = _BARE.match(doc, begin)
    # "a" 5: the 5 itself is right, and something before it is not
    if word is None or word.end() <= at:
        return None
    if begin == at and error.msg.startswith("Expecting ','"):
        return None
    shown = word[0] if len(word[0]) <= 40 else f"{word[0][:39]}…"
    if re.fullmatch(r"-?0\d+", word[0]):
        hint = f'Write {int(word[0])}, or "{shown}" if it is a string.'
        return Said("a number must not begin with 0.", hint, begin)
    if word[0] in WORDS:
        return Said(f"JSON has no {shown}.", f"Write {WORDS[word[0]]}.", begin)
    what = f"{shown} is neither a number nor true, false or null."
    return Said(what, f'A string needs double quotes: "{shown}".', begin)


def _quote_inside(error: JSONDecodeError) -> Said | None:
    """A text that ended at a quote which belongs to it."""
    doc, at = error.doc, error.pos
    before = doc[:at].rstrip(" \t")
    if before.endswith('"') and doc[at].isalnum():
        what = "the string ends at the double quote before this."
        return Said(what, 'A double quote inside a string is written \\".', at)
    return None


def _not_a_comma(error: JSONDecodeError) -> Said:
    """Something else where a comma or the end of an object or list must be."""
    doc, at = error.doc, error.pos
    if doc[at] == ";":
        return Said("a ; where a comma must be.", "Write , instead of ;.", at)
    if doc[at] == ":":
        return Said("a : where a comma must be.", "Is a name in front of it, in quotes?", at)
    if doc[at] in CLOSING:
        other = CLOSING[1 - CLOSING.index(doc[at])]
        return Said(f"this bracket closes nothing: {other} is missing before it.", "", at)
    before = doc[:at].rstrip()
    hint = "Put it in front of this."
    if "\n" in doc[len(before) : at]:
        hint = f"Likely at the end of line {before.count(chr(10)) + 1}."
    plain = Said("a comma or a closing bracket is missing.", hint, at)
    return _quote_inside(error) or plain
