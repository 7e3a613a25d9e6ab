"""Names of which a part is another one each time: random suffixes, ids, process numbers. Pure.

A rule for the very name that the kernel refused would be useless tomorrow. So what is known to
change becomes a pattern; what several names show to change, forms.py finds.
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
HEX = Part("[0-9a-f]*", wild=True)

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
HEX_NAME = Part("[0-9a-f]" * 8 + "*", wild=True)
_HEX = "[0-9a-f]"
_IS_HEX = re.compile(r"[0-9a-f-]+\Z")
# Characters of one id that are told apart by their kind.
_MOST_CLASSES = 32
_HEXADECIMAL = re.compile(r"[0-9a-f]{12,}\Z|[0-9a-f]{8}-[0-9a-f-]{27}\Z")
# Below these, a folder whose entries are ids has nothing else in it.
_DATA = ("/var/lib/", "/var/cache/", "/sys/fs/cgroup/", *_TEMPORARY)
# Names of which it is known what changes, whole: the shared memory of PyTorch and CUDA, Python's
# semaphores, systemd's streams of the journal by their sockets' inodes, terminals by their order.
_KNOWN = (
    ("/dev/pts/", re.compile(r"([0-9]+)\Z"), NUMBER),
    ("/dev/shm/", re.compile(r"torch_([0-9]+)_([0-9]+)_([0-9]+)\Z"), NUMBER),  # noqa: S108
    ("/dev/shm/", re.compile(r"cuda\.shm\.([0-9a-f]+)\.([0-9a-f]+)\.([0-9a-f]+)\Z"), HEX),  # noqa: S108
    ("/dev/shm/", re.compile(r"sem\.mp-([a-z0-9_]{8})\Z"), ANY),  # noqa: S108
    ("/run/systemd/journal/streams/", re.compile(r"[0-9]+:([0-9]+)\Z"), NUMBER),
)


def as_name(name: "str | Name") -> Name:
    """A plain text as a name without patterns."""
    return (Part(name),) if isinstance(name, str) else name


def generic(name: str) -> Name:
    """name with patterns for what is known to be another one next time."""
    temporary = name.startswith(_TEMPORARY)
    # ids have digits; what is random need not
    if not name.startswith("/") or not (temporary or _DIGIT.search(name)):
        return (Part(name),)
    for folder, known, pattern in _KNOWN:
        if name.startswith(folder) and (match := known.match(name, len(folder))):
            return _known(name, match, pattern)
    words = name.split("/")
    changed: list[Sequence[Part]] = []
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        changed.append(_word(word, before, words[1], at, name))
    return joined(changed) if any(p.wild for word in changed for p in word) else (Part(name),)


def _known(name: str, match: re.Match[str], pattern: Part) -> Name:
    parts, end = [], 0
    for group in range(1, match.re.groups + 1):
        parts += [Part(name[end : match.start(group)]), pattern]
        end = match.end(group)
    return tuple(parts)


def _word(word: str, before: str, first: str, at: int, name: str) -> Sequence[Part]:
    temporary = name.startswith(_TEMPORARY)
    if not word or (first == "proc" and at == 2 and word == "1"):
        return (Part(word),)  # the container's init has this number at each start
    if first == "proc" and _DIGITS.match(word) and (at == 2 or before in _OF_NUMBERS):
        return (NUMBER,)
    if before in _OF_IDS and not name.startswith(_OTHERS) and (match := _ENTRY.match(word)):
        return (ANY, Part(word[match.end() :])) if match.end() < len(word) else (ANY,)
    if len(word) < 6:
        return (Part(word),)
    parts: list[Part] = []
    patterns = (_IDS, _RANDOM, _COUNTER, _PYTHON) if temporary else (_IDS,)
    spans = {m.span(): p for p in reversed(patterns) for m in p.finditer(word)}
    if spans.get((0, len(word))) is _IDS:
        return _id(word, at, name)
    end = 0
    for (start, stop), pattern in sorted(spans.items(), key=lambda item: item[0]):
        if start < end:
            continue
        parts += [Part(word[end:start])] if start > end else []
        parts += [NUMBER] if pattern is _COUNTER else _as_long(word[start:stop], pattern)
        end = stop
    return [*parts, Part(word[end:])] if end < len(word) else parts


def _as_long(made: str, pattern: re.Pattern[str]) -> Iterator[Part]:
    """Patterns of as many such characters: /run/x.?????? does not take /run/x.sock.

    Of an id all its dashes stay; the end of a very long one may be anything, as rules are short.
    """
    if pattern is _RANDOM:
        yield Part("?" * len(made), wild=True)
        return
    digits = "[a-z0-9_]" if pattern is _PYTHON else _HEX if _IS_HEX.match(made) else "[0-9a-z]"
    for piece in re.findall(r"-|[^-]+", made):
        classes = digits * min(len(piece), _MOST_CLASSES) + "?" * (len(piece) - _MOST_CLASSES)
        yield Part("-") if piece == "-" else Part(classes, wild=True)


def _id(word: str, at: int, name: str) -> Sequence[Part]:
    """A pattern for a word that is an id as a whole; not for all that is in a folder of others."""
    if any(name.startswith(folder) and at > folder.count("/") for folder in _DATA):
        return (ANY,)
    return (HEX_NAME,) if _HEXADECIMAL.match(word) else (Part(word),)


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


def plain(name: Name) -> str:
    """A name as text, its patterns as stars."""
    return "".join("*" if part.wild else part.text for part in name)


def common(variants: Sequence[Name]) -> Name:
    """One pattern for words that differ: what they all begin and end with, and * between."""
    texts = [plain(word) for word in variants]
    start = common_start(texts)
    end = common_start([text[len(start) :][::-1] for text in texts])[::-1]
    if any(part.wild for word in variants for part in word):
        start, end = start.partition("*")[0], end.rpartition("*")[2]
    return tuple(part for part in (Part(start), ANY, Part(end)) if part.text)


def common_start(texts: Sequence[str]) -> str:
    """What all of them begin with."""
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
