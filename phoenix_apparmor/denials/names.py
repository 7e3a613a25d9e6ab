"""Names of which a part is another one each time: random suffixes, ids, process numbers. Pure.

A rule for the very name that the kernel refused would be useless tomorrow. So what is known to
change becomes a pattern, and so does what several names show to change: a number, or what looks
random, beside a fixed part. Whoever is refused chose those names, so no pattern takes a whole
folder of the system's, and what only differs is not taken for what changes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """A piece of a name: text as it is, or (wild) an AppArmor pattern for what changes."""

    text: str
    wild: bool = False


Name = tuple[Part, ...]

ANY = Part("*", wild=True)
NUMBER = Part("[0-9]*", wild=True)

# Ids that programs make up: UUIDs, hashes, Docker's and BuildKit's ids.
_ID = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?<![0-9A-Za-z])(?=[a-f]*[0-9])[0-9a-f]{12,}(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z])(?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-z]{24,}(?![0-9A-Za-z])"
)
_IDS = re.compile(_ID)
# mktemp(3), systemd's private folders: NAME-XXXXXX, NAME.XXXXXX, where things are temporary.
_RANDOM = re.compile(
    r"(?<=[-._])(?=[A-Za-z0-9]*(?:[0-9]|[a-z][A-Z]|[A-Z][a-z]))[A-Za-z0-9]{6,12}\Z"
)
# Process numbers and counters: agent.4711, go-build3210234234.
_COUNTER = re.compile(r"(?<=[-._])[0-9]{3,}\Z|(?<=[a-z])[0-9]{6,}\Z")
_PYTHON = re.compile(r"(?<=\Atmp)[a-z0-9_]{8}(?=\Z|\.)")
_TEMPORARY = ("/tmp/", "/var/tmp/", "/run/", "/dev/shm/", "/var/run/")  # noqa: S108
# Folders whose entries are ids of any kind: container engines' layers, snapshots, namespaces.
_OF_IDS = frozenset(
    ("overlay2", "overlay", "overlay-containers", "overlay-layers", "l", "subvolumes",
     "containers", "snapshots", "netns", "sandboxes")
)  # fmt: skip
# There folders that are called so have other files too.
_OTHERS = ("/etc/", "/dev/", "/usr/", "/boot/")
_ENTRY = re.compile(r"(?:(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,}|[0-9]+)(?=-init\Z|\Z)")
_DIGIT = re.compile(r"[0-9]")
_DIGITS = re.compile(r"[0-9]+\Z")
_OF_NUMBERS = frozenset(("task", "fd", "fdinfo"))
# A hexadecimal id where other files are as well: names that begin like one.
_HEX_NAME = Part("[0-9a-f]" * 8 + "*", wild=True)
_HEXADECIMAL = re.compile(r"[0-9a-f]{12,}\Z|[0-9a-f]{8}-[0-9a-f-]{27}\Z")
# Below these, a folder whose entries are ids has nothing else in it.
_DATA = ("/var/lib/", "/var/cache/", "/sys/fs/cgroup/", *_TEMPORARY)
# No pattern is learned for what is in them: each name has its own meaning.
_SYSTEMS = re.compile(r"/(?:proc|sys|dev|etc|boot|root|usr|bin|sbin|lib\w*)/|/(?:/|\Z)")
# What changes in a word when many others differ in the same: a number, or what looks random.
_TOKEN = re.compile(r"[0-9A-Za-z]{6,}|[0-9]+")
_PIECES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
# Letters and digits that stay the same beside what looks random, and beside a number.
_SPECIFIC = 3


def as_name(name: "str | Name") -> Name:
    """A plain text as a name without patterns."""
    return (Part(name),) if isinstance(name, str) else name


def generic(name: str) -> Name:
    """name with patterns for what is known to be another one next time."""
    temporary = name.startswith(_TEMPORARY)
    # ids have digits; what is random need not
    if not name.startswith("/") or not (temporary or _DIGIT.search(name)):
        return (Part(name),)
    words = name.split("/")
    changed: list[Sequence[Part]] = []
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        changed.append(_word(word, before, words[1], at, name))
    return joined(changed) if any(p.wild for word in changed for p in word) else (Part(name),)


def _word(word: str, before: str, first: str, at: int, name: str) -> Sequence[Part]:
    temporary = name.startswith(_TEMPORARY)
    if not word:
        return ()
    if first == "proc" and _DIGITS.match(word) and (at == 2 or before in _OF_NUMBERS):
        return (NUMBER,)
    if before in _OF_IDS and not name.startswith(_OTHERS) and (match := _ENTRY.match(word)):
        return (ANY, Part(word[match.end() :])) if match.end() < len(word) else (ANY,)
    if len(word) < 6:
        return (Part(word),)
    parts: list[Part] = []
    patterns = (_IDS, _RANDOM, _COUNTER, _PYTHON) if temporary else (_IDS,)
    spans = {m.span(): p for p in reversed(patterns) for m in p.finditer(word)}
    end = 0
    for (start, stop), pattern in sorted(spans.items(), key=lambda item: item[0]):
        if start < end:
            continue
        parts += [Part(word[end:start])] if start > end else []
        parts.append(NUMBER if pattern is _COUNTER else ANY)
        end = stop
    if end < len(word):
        return [*parts, Part(word[end:])]
    return parts if parts != [ANY] else _id(word, at, name)


def _id(word: str, at: int, name: str) -> Sequence[Part]:
    """A pattern for a word that is an id as a whole; not for all that is in a folder of others."""
    if any(name.startswith(folder) and at > folder.count("/") for folder in _DATA):
        return (ANY,)
    return (_HEX_NAME,) if _HEXADECIMAL.match(word) else (Part(word),)


def joined(words: Iterable[Sequence[Part]]) -> Name:
    """Words of a path as one name, neighbouring texts as one part."""
    parts: list[Part] = []
    for at, word in enumerate(words):
        for part in ((Part("/"),) if at else ()) + tuple(word):
            if parts and not parts[-1].wild and not part.wild:
                parts[-1] = Part(parts[-1].text + part.text)
            elif part.text:
                parts.append(part)
    return tuple(parts) or (Part(""),)


def split(name: Name) -> tuple[Name, ...]:
    """The words of a path, each with its patterns; the slashes are between them."""
    words: list[list[Part]] = [[]]
    for part in name:
        if part.wild:
            words[-1].append(part)
            continue
        first, *others = part.text.split("/")
        words[-1] += [Part(first)] if first else []
        words += [[Part(other)] if other else [] for other in others]
    return tuple(tuple(word) for word in words)


def holes(words: Sequence[Name]) -> Iterator[tuple[int, tuple[Name, ...]]]:
    """(place, the words with that one left out), for each word that is not empty.

    Only the last words of a deep path: where thousands of names differ, they do so there.
    """
    for at in range(max(1, len(words) - 6), len(words)):
        if words[at]:
            yield at, (*words[:at], (), *words[at + 1 :])


class Shape(NamedTuple):
    """A pattern for a word, and whether what changes looks random (or is only a number)."""

    word: Name
    random: bool


def shape(rest: Sequence[Name], word: Name) -> Shape | None:
    """The pattern of a word of which others may differ in one part; None: nothing is known to.

    rest: the name's words, this one left out. It holds only where several names have it.
    """
    name = plain(joined(rest))
    if len(word) != 1 or word[0].wild or _SYSTEMS.match(name):
        return None
    text = word[0].text
    tokens = [match for match in _TOKEN.finditer(text) if _is_random(match[0])]
    random = bool(tokens)
    if not random:
        tokens = list(re.finditer(r"[0-9]+", text))
    if len(tokens) != 1:
        return None
    before, after = text[: tokens[0].start()], text[tokens[0].end() :]
    said = len(re.findall(r"[0-9A-Za-z]", before + after))
    # a number in a folder of its own needs nothing beside it, but that folder has to be specific
    alone = not random and not said and name.count("/") > _SPECIFIC
    if said < _SPECIFIC and not alone:
        return None
    parts = (Part(before), ANY if random else NUMBER, Part(after))
    return Shape(tuple(part for part in parts if part.text), random)


def _is_random(token: str) -> bool:
    """Whether it looks random: letters of both cases and digits in turn, in no words."""
    kinds = [re.search(kind, token) for kind in ("[a-z]", "[A-Z]", "[0-9]")]
    return (
        len(token) >= 6
        and sum(kind is not None for kind in kinds) > 1
        and len(token) <= 2 * len(_PIECES.findall(token))
    )


def plain(name: Name) -> str:
    """A name as text, its patterns as stars."""
    return "".join("*" if part.wild else part.text for part in name)


def common(variants: Sequence[Name]) -> Name:
    """One pattern for words that differ: what they all begin and end with, and * between."""
    texts = [plain(word) for word in variants]
    start = _common_start(texts)
    end = _common_start([text[len(start) :][::-1] for text in texts])[::-1]
    if any(part.wild for word in variants for part in word):
        start, end = start.partition("*")[0], end.rpartition("*")[2]
    return tuple(part for part in (Part(start), ANY, Part(end)) if part.text)


def _common_start(texts: Sequence[str]) -> str:
    # what the first and the last in order have in common, all between them have
    first, last = min(texts), max(texts)
    same = (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def fits(pattern: Name, name: Name) -> bool:
    """Whether a name has the beginning and the end of a pattern."""
    first, last = pattern[0], pattern[-1]
    start, end = name[0], name[-1]
    if not first.wild and not (not start.wild and start.text.startswith(first.text)):
        return False
    return last.wild or (not end.wild and end.text.endswith(last.text))
