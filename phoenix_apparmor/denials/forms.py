"""What several names show to be another one each time: the form that their words have. Pure.

Whoever is refused chose those names. So a pattern takes no more than the form that was seen, in
no folder of the system's, and what only differs is not taken for what changes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from phoenix_apparmor.denials.names import (
    ANY,
    HEX_NAME,
    NUMBER,
    Name,
    Part,
    common_start,
    joined,
    plain,
    split,
)

# So many names show what looks random, or is a date; so many, what is only a number.
FEW = 3
MANY = 20
# No form is learned for what is in them: each name has its own meaning.
_SYSTEMS = re.compile(r"/(?:proc|sys|dev|etc|boot|root|usr|bin|sbin|lib\w*)/|/(?:/|\Z)")
# Where things are temporary; there mkstemp(3) and mkdtemp(3) make names: ccXXXXXX.s.
_TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108
_MADE = re.compile(r"([^.]{2,}?)([A-Za-z0-9]{6})(\..*)?")
# Folders of which each entry is another service's, or user's.
_SHARED = re.compile(r"/(?:var/[^/]+|run/user|home/[^/]+|dev/shm)/\Z")
# A date as ISO 8601 writes it, alone or with a time.
_DATE = re.compile(
    r"(?<![0-9])(?:19|20)[0-9]{2}([-_.])(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])"
    r"(?:[T_-][0-2][0-9]([:.-]?)[0-5][0-9](?:\2[0-5][0-9])?)?(?![0-9])"
)
_RANDOM = re.compile(r"[0-9A-Za-z]{6,}")
_NUMBERS = re.compile(r"[0-9]+")
_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_NUMBERED = re.compile(r"([0-9]+)([^0-9]*)")
_HEX_FOLDER = re.compile(r"[0-9a-f]{1,2}\Z")
# Letters and digits that stay the same beside what changes.
_SPECIFIC = 3
# More numbers than this in one word no program writes.
_MOST_NUMBERS = 8

# The numbers in one name.
Row = tuple[str, ...]
Kind = Literal["made", "date", "random", "numbers"]
_ORDER: tuple[Kind, ...] = ("made", "date", "random", "numbers")


class Form(NamedTuple):
    """A form that a word has. word: as a pattern, all that may change wild."""

    kind: Kind
    word: Name

    @property
    def order(self) -> int:
        """The most exact forms come first."""
        return _ORDER.index(self.kind)


def of(rest: Sequence[Name], at: int, word: Name) -> Iterator[Form]:
    """Forms of a word at a place of a name, the most exact one first. rest: the other words."""
    where = plain(joined(rest[:at])) + "/"
    name = plain(joined(rest))
    temporary = name.startswith(_TEMPORARY)
    if len(word) != 1 or word[0].wild:
        return
    text = word[0].text
    if _SYSTEMS.match(name) and not temporary:
        return
    made = _MADE.fullmatch(text) if temporary else None
    if made is not None:
        parts = (Part(made[1]), Part("?" * len(made[2]), wild=True), Part(made[3] or ""))
        yield Form("made", _without_empty(parts))
    # what has nothing beside it has to be in a folder of its own
    its_own = where.count("/") >= _SPECIFIC and not _SHARED.match(where)
    dates = list(_DATE.finditer(text))
    if len(dates) == 1 and (its_own or _said(text, dates) >= _SPECIFIC):
        yield Form("date", _date(text, dates[0]))
    tokens = [match for match in _RANDOM.finditer(text) if is_random(match[0])]
    if len(tokens) == 1 and _said(text, tokens) >= _SPECIFIC:
        yield Form("random", _with(text, tokens, ANY))
    numbers = list(_NUMBERS.finditer(text))
    if tokens or not 0 < len(numbers) <= _MOST_NUMBERS:
        return
    said = _said(text, numbers)
    if said >= _SPECIFIC or (its_own and not said and len(numbers) == 1):
        yield Form("numbers", _with(text, numbers, NUMBER))


def shown(form: Form, texts: Sequence[str]) -> Iterator[tuple[Name, Sequence[str]]]:
    """Patterns for which there are names enough, each with those that it takes."""
    if form.kind == "numbers":
        yield from _numbers(texts)
        return
    if form.kind == "made":
        ends = [match[2] for text in texts if (match := _MADE.fullmatch(text))]
        random = sum(map(is_random, ends))
        if random >= FEW and 2 * random >= len(texts):
            yield form.word, texts
    elif form.kind == "random":
        yield from _random(texts)
    elif len(texts) >= FEW:
        yield form.word, texts


def takes(pattern: Name, word: Name) -> bool:
    """Whether a pattern of this module's takes a word."""
    if len(word) != 1 or word[0].wild:
        return False
    return re.fullmatch("".join(map(_expression, pattern)), word[0].text) is not None


def _expression(part: Part) -> str:
    """Of classes and "?"; a number has nothing but digits here, so a guess takes no more."""
    if not part.wild:
        return re.escape(part.text)
    return "[0-9]+" if part == NUMBER else part.text.replace("?", ".")


def looks_new(word: Name) -> bool:
    """Whether a word looks as if a program made it up."""
    text = plain(word)
    return bool(_DATE.search(text)) or any(is_random(token) for token in _RANDOM.findall(text))


def is_random(token: str) -> bool:
    """Whether it looks random: letters of both cases and digits in turn, in no words."""
    kinds = [re.search(kind, token) for kind in ("[a-z]", "[A-Z]", "[0-9]")]
    return (
        len(token) >= 6
        and sum(kind is not None for kind in kinds) > 1
        and len(token) <= 2 * len(_PIECES.findall(token))
    )


def in_hash_folders(name: Name) -> Name | None:
    """The same with patterns for folders like 0/0b of an id's own digits; None: there are none."""
    words = list(split(name))
    if words[-1] not in ((ANY,), (HEX_NAME,)) or _SYSTEMS.match(plain(name)):
        return None
    at = len(words) - 1
    while at > _SPECIFIC and len(words[at - 1]) == 1 and _HEX_FOLDER.match(words[at - 1][0].text):
        at -= 1
        words[at] = (Part("[0-9a-f]" * len(words[at][0].text), wild=True),)
    return joined(words) if at < len(words) - 1 else None


def in_numbered_folders(name: Name) -> tuple[Name, Row] | None:
    """(the same with patterns, numbers) of a file with a number in a folder with one: base/5/1259.

    None where it is none.
    """
    words = list(split(name))
    if any(part.wild for part in name) or _SYSTEMS.match(plain(name)):
        return None
    found: list[str] = []
    first = 0
    for at, word in enumerate(words):
        match = _NUMBERED.fullmatch(plain(word)) if word else None
        if match is None or (match[2] and at < len(words) - 1):
            continue
        first = first or at
        found.append(match[1])
        words[at] = _without_empty((NUMBER, Part(match[2])))
    where = plain(joined(words[:first])) + "/"
    several = len(found) > 1 and words[-1][0] == NUMBER
    own = where.count("/") >= _SPECIFIC and not _SHARED.match(where)
    return (joined(words), tuple(found)) if several and own else None


def numbers_that_change(pattern: Name, rows: Sequence[Row]) -> Iterator[tuple[Name, Sequence[Row]]]:
    """Of names in numbered folders, patterns where several of their numbers change, each with rows.

    rows: the numbers of each name. What has few values keeps them.
    """
    if len(rows) < MANY:
        return
    fixed = [at for at, column in enumerate(zip(*rows, strict=True)) if len(set(column)) < FEW]
    groups: dict[Row, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[at] for at in fixed), []).append(row)
    if len(groups) > 1:
        for group in groups.values():
            yield from numbers_that_change(pattern, group)
    elif len(rows[0]) - len(fixed) > 1:
        places = [at for at, part in enumerate(pattern) if part == NUMBER]
        kept = {places[at]: Part(rows[0][at]) for at in fixed}
        yield joined(split(tuple(kept.get(at, part) for at, part in enumerate(pattern)))), rows


def _numbers(texts: Sequence[str]) -> Iterator[tuple[Name, Sequence[str]]]:
    """Of words that have numbers at the same places, patterns for those that are others."""
    if len(texts) < MANY:
        return
    rows = [_NUMBERS.findall(text) for text in texts]
    columns: list[Counter[str]] = [Counter(column) for column in zip(*rows, strict=True)]
    fixed = [at for at, column in enumerate(columns) if len(column) < FEW]
    groups: dict[tuple[str, ...], list[str]] = {}
    for text, row in zip(texts, rows, strict=True):
        groups.setdefault(tuple(row[at] for at in fixed), []).append(text)
    if len(groups) > 1:
        for group in groups.values():
            yield from _numbers(group)
        return
    matches = list(_NUMBERS.finditer(texts[0]))
    yield _with(texts[0], [m for at, m in enumerate(matches) if at not in fixed], NUMBER), texts


def _random(texts: Sequence[str]) -> Iterator[tuple[Name, Sequence[str]]]:
    """Patterns of as many letters and digits; what several begin with alike is not by chance."""
    groups: dict[int, list[str]] = {}
    for text in texts:
        groups.setdefault(len(text), []).append(text)
    for same in groups.values():
        if len(same) < FEW:
            continue
        token = next(match for match in _RANDOM.finditer(same[0]) if is_random(match[0]))
        alike = len(common_start(same))
        start = alike if alike >= token.start() + 2 else token.start()
        wild = Part("[0-9A-Za-z]" * (token.end() - start), wild=True)
        yield _without_empty((Part(same[0][:start]), wild, Part(same[0][token.end() :]))), same


def _date(text: str, date: re.Match[str]) -> Name:
    parts = [Part(text[: date.start()])]
    for piece in re.findall(r"[0-9]+|[^0-9]+", date[0]):
        digits = piece[0].isdigit()
        parts.append(Part("[0-9]" * len(piece), wild=True) if digits else Part(piece))
    return _without_empty([*parts, Part(text[date.end() :])])


def _with(text: str, tokens: Sequence[re.Match[str]], pattern: Part) -> Name:
    """A word with a pattern for each of these."""
    parts, end = [], 0
    for token in tokens:
        parts += [Part(text[end : token.start()]), pattern]
        end = token.end()
    return _without_empty([*parts, Part(text[end:])])


def _said(text: str, tokens: Sequence[re.Match[str]]) -> int:
    """How many letters and digits stay the same."""
    changing = sum(len(re.findall(r"[0-9A-Za-z]", token[0])) for token in tokens)
    return len(re.findall(r"[0-9A-Za-z]", text)) - changing


def _without_empty(parts: Sequence[Part]) -> Name:
    return tuple(part for part in parts if part.text)
