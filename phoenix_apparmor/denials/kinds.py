"""Denials of any number -> a bounded number of kinds, each with how often, when and by whom.

Kinds are told apart by what the kernel says of the act, not by process or time. Names that
change become patterns: those that are known to (names), and that several show to (forms). Where
very many only differ in one word, they are one kind too, but that is marked as a guess. What comes
when there are too many kinds even so is counted and left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from phoenix_apparmor.denials import forms, names
from phoenix_apparmor.denials.engines import is_engine
from phoenix_apparmor.denials.forms import FEW, MANY
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.names import Name
from phoenix_apparmor.denials.owner import Owner, Owners

# Kinds that are kept; programs of each; profiles of the host's own.
MOST = 3000
MOST_PROGRAMS = 50
MOST_OTHERS = 200
# Looks for patterns when there are too many kinds: each takes as long as some 5,000 messages, and
# whoever makes names up could ask for one again and again.
MOST_ROUNDS = 10
# So many names that only differ are told as one, of which a rule would take more than was seen.
TOO_MANY = 100

# What tells one kind of act from another.
_MEANING = (
    "operation", "class", "info", "denied_mask", "requested_mask", "denied", "requested",
    "fstype", "flags", "capname", "capability", "family", "sock_type", "peer", "addr",
    "peer_addr", "signal", "bus", "path", "interface", "member", "method", "mask", "peer_label",
    "tcontext", "rlimit",
)  # fmt: skip
_PATHS = ("srcname", "target")
# There each word has its own meaning: no pattern is learned from many.
_FIXED = ("/proc/", "/sys/")

Kind = tuple[object, ...]
Hole = tuple[Kind, int, tuple[Name, ...]]
# A hole, and the form of its word; () for one that is a guess.
Learned = tuple[Hole, Name]


@dataclass(frozen=True)
class Found:
    """One kind of denial of one owner. first, last: seconds since 1970."""

    owner: Owner
    denial: Denial
    count: int
    first: float
    last: float
    programs: tuple[str, ...]


class _Bucket:
    __slots__ = ("count", "denial", "first", "last", "owner", "programs")

    def __init__(self, owner: Owner, denial: Denial) -> None:
        self.owner = owner
        self.denial = denial
        self.count = 0
        self.first = self.last = denial.time
        self.programs: dict[str, None] = {}

    def add(self, denial: Denial) -> None:
        self.count += 1
        time = denial.time
        if time < self.first:
            self.first = time
        elif time > self.last:
            self.last = time
        program = denial.get("comm")
        if program and program not in self.programs and len(self.programs) < MOST_PROGRAMS:
            self.programs[program] = None

    def take(self, other: "_Bucket") -> None:
        self.count += other.count
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        for program in list(other.programs)[: MOST_PROGRAMS - len(self.programs)]:
            self.programs[program] = None


class Collector:
    """Takes denials one at a time.

    others: profile -> count, of denials that concern no container. left_out: denials of kinds
    that were too many.
    """

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._buckets: dict[tuple[Kind, Name], _Bucket] = {}
        self._learned: dict[Learned, dict[Name, Name]] = {}
        self._holes: set[Hole] = set()
        self._patterns = False
        self._full = False
        self._rounds = 0
        self.others: dict[str, int] = {}
        self.left_out = 0

    def add(self, denial: Denial) -> None:
        """One more."""
        owner = self._owners.of(denial)
        if not owner.concerns_containers:
            profile = owner.profile or "?"
            if profile not in self.others and len(self.others) >= MOST_OTHERS:
                profile = "others"
            self.others[profile] = self.others.get(profile, 0) + 1
            return
        field = denial.fields.get
        kind: Kind = (
            owner,
            is_engine(denial),
            field("comm", "").startswith("("),
            *map(field, _MEANING),
            *(names.generic(value) if value else value for value in map(field, _PATHS)),
        )
        name = names.generic(field("name", ""))
        bucket = self._buckets.get((kind, name)) or self._by_pattern(kind, name)
        if bucket is None:
            bucket = self._new(kind, name, owner, denial)
        if bucket is None:
            self.left_out += 1
        else:
            bucket.add(denial)

    def _by_pattern(self, kind: Kind, name: Name) -> _Bucket | None:
        if not self._patterns:
            return None
        bucket = self._by_folders(kind, name)
        if bucket is not None:
            return bucket
        words = names.split(name)
        for at, rest in names.holes(words):
            hole = (kind, at, rest)
            if hole not in self._holes:
                continue
            for form in forms.of(rest, at, words[at]):
                for word, pattern in self._learned.get((hole, form.word), {}).items():
                    if forms.takes(word, words[at]):
                        return self._buckets.get((kind, pattern))
            for pattern in self._learned.get((hole, ()), {}).values():
                if names.fits(pattern, name):
                    return self._buckets.get((kind, pattern))
        return None

    def _by_folders(self, kind: Kind, name: Name) -> _Bucket | None:
        numbered = forms.in_numbered_folders(name)
        patterns = (forms.in_hash_folders(name), numbered[0] if numbered is not None else None)
        return next((self._buckets[kind, p] for p in patterns if p and (kind, p) in self._buckets),
                    None)  # fmt: skip

    def _new(self, kind: Kind, name: Name, owner: Owner, denial: Denial) -> _Bucket | None:
        if len(self._buckets) >= MOST and not self._full:
            self._learn()
            self._rounds += 1
            self._full = len(self._buckets) > MOST * 3 // 4 or self._rounds >= MOST_ROUNDS
            bucket = self._by_pattern(kind, name)
            if bucket is not None:
                return bucket
        if self._full and len(self._buckets) >= MOST:
            return None
        bucket = self._buckets[(kind, name)] = _Bucket(owner, denial)
        return bucket

    def _learn(self, too_many: int = MANY) -> None:
        """Names that differ in one word become one: where that changes, or there are too many."""
        self._learn_folders()
        self._learn_numbered_folders()
        several = self._several()
        for hole, variants in several:
            self._learn_forms(hole, self._left(hole, variants))
        for hole, variants in several:
            left = self._left(hole, variants)
            if len(left) >= too_many:
                self._merge(hole, left, names.common([names.split(n)[hole[1]] for n in left]), ())

    def _several(self) -> list[tuple[Hole, list[Name]]]:
        """Names that differ in one word, where there are a few, most first."""
        alike: dict[Hole, list[Name]] = {}
        for kind, name in self._buckets:
            text = name[0].text
            if text.startswith("/") and not text.startswith(_FIXED):
                for at, rest in names.holes(names.split(name)):
                    alike.setdefault((kind, at, rest), []).append(name)
        several = [item for item in alike.items() if len(item[1]) >= FEW]
        return sorted(several, key=lambda item: -len(item[1]))

    def _left(self, hole: Hole, variants: list[Name]) -> list[Name]:
        """Those of them that did not become one with others."""
        return [name for name in variants if (hole[0], name) in self._buckets]

    def _learn_folders(self) -> None:
        """Ids that are in folders of their first or last digits become one."""
        found: dict[tuple[Kind, Name], list[Name]] = {}
        for kind, name in self._buckets:
            pattern = forms.in_hash_folders(name)
            if pattern is not None:
                found.setdefault((kind, pattern), []).append(name)
        for (kind, pattern), same in found.items():
            if len(same) >= FEW:
                self._become(kind, same, pattern)

    def _learn_numbered_folders(self) -> None:
        """Files with a number in folders with one become one."""
        found: dict[tuple[Kind, Name], dict[forms.Row, Name]] = {}
        for kind, name in self._buckets:
            numbered = forms.in_numbered_folders(name)
            if numbered is not None:
                found.setdefault((kind, numbered[0]), {})[numbered[1]] = name
        for (kind, pattern), same in found.items():
            for word, rows in forms.numbers_that_change(pattern, tuple(same)):
                self._become(kind, [same[row] for row in rows], word)

    def _learn_forms(self, hole: Hole, variants: list[Name]) -> None:
        """Of names that differ in one word, those whose words have the same form become one."""
        kind, at, rest = hole
        found: dict[forms.Form, dict[str, Name]] = {}
        for name in variants:
            word = names.split(name)[at]
            for form in forms.of(rest, at, word):
                found.setdefault(form, {})[word[0].text] = name
        for form in sorted(found, key=lambda form: form.order):
            left = {
                text: name for text, name in found[form].items() if (kind, name) in self._buckets
            }
            for pattern, texts in forms.shown(form, tuple(left)):
                self._merge(hole, [left[text] for text in texts], pattern, form.word)

    def _merge(self, hole: Hole, same: list[Name], word: Name, form: Name) -> None:
        """Makes one of several. word: the pattern for what differs; form: (), if it is a guess."""
        kind, at, rest = hole
        pattern = names.joined([*rest[:at], word, *rest[at + 1 :]])
        self._become(kind, same, pattern, guess=not form)
        self._learned.setdefault((hole, form), {})[word] = pattern
        self._holes.add(hole)

    def _become(self, kind: Kind, same: list[Name], pattern: Name, *, guess: bool = False) -> None:
        self._patterns = True
        taken = [self._buckets.pop((kind, name)) for name in same]
        bucket = self._buckets.setdefault((kind, pattern), taken[0])
        for other in taken:
            if other is not bucket:
                bucket.take(other)
        bucket.denial = bucket.denial._replace(
            learned={"name": pattern},
            alike=tuple(map(names.plain, same[:MANY])),
            guess=bucket.denial.guess or guess,
        )

    def _note_new_ones(self) -> None:
        """Tells with the first of such names that there are more, and will be others."""
        for hole, variants in self._several():
            kind, at, _ = hole
            new = [name for name in variants if forms.looks_new(names.split(name)[at])]
            if len(new) >= FEW:
                bucket = self._buckets[kind, new[0]]
                bucket.denial = bucket.denial._replace(new=len(new))

    def found(self) -> Iterator[Found]:
        """What there was."""
        self._learn(TOO_MANY)
        self._note_new_ones()
        for bucket in self._buckets.values():
            yield Found(
                bucket.owner,
                bucket.denial,
                bucket.count,
                bucket.first,
                bucket.last,
                tuple(bucket.programs),
            )
