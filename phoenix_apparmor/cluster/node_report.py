"""A node's published report: its shape, its bytes, and the distrust with which it is read. Pure.

published.schema.json describes the bytes. Another node's root may write anything there, so what
is read is bounded, checked by type and length, and every text becomes one line of printable
characters before anything else sees it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, cast

from phoenix_apparmor import paths
from phoenix_apparmor.errors import one_line
from phoenix_apparmor.status.report import VERDICTS, Container, Note, Profile, Verdict

SCHEMA_VERSION = 1
# What pmxcfs takes, see memdb.h
BIGGEST = 1 << 20
# Of one text, in characters. A label has two names of profiles; a note quotes a parser's error.
LONGEST = 1000
MOST_NOTES = 20
MOST_PROFILES = 1000
MOST_DEVICES = 1000
MOST_CONTAINERS = 20000


class ProfileHere(NamedTuple):
    """A profile on a node.

    hash: SHA-256 of its file's text and of all that it includes, None: there is no file.
    policy: "ALGORITHM:HEX" of what the kernel holds, None: nothing, or it does not say.
    text: the kernel against the file (report.Text). blocks: why nothing can start under it.
    namespace, seccomp: whether it asks for a policy namespace, for our seccomp policy.
    """

    name: str
    conffile: str
    mode: str | None
    text: str
    hash: str | None
    policy: str | None
    blocks: str
    fine: bool
    namespace: bool
    seccomp: bool


@dataclass(frozen=True)
class NodeReport:
    """All that a node tells the others.

    written: when, seconds since 1970 by its own clock. source: the JSON its assignments are of.
    package, kernel, parser: versions, None: unknown. seccomp: SHA-256 of our seccomp policies.
    apparmor: whether the kernel has AppArmor; namespaces: whether it has policy namespaces.
    devices: device nodes of GPUs. left_out: containers that did not fit into 1 MiB.
    """

    node: str
    written: int
    package: str | None
    kernel: str | None
    parser: str | None
    source: str
    apparmor: bool
    namespaces: bool
    seccomp: str | None
    devices: tuple[str, ...]
    fine: bool
    trouble: tuple[Note, ...]
    profiles: tuple[ProfileHere, ...]
    containers: tuple[Container, ...]
    left_out: int = 0


class BadNodeReport(Exception):  # noqa: N818  (what it is, not that it went wrong)
    """Why a node's file cannot be used. newer: it was written by a newer version."""

    def __init__(self, why: str, *, newer: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.newer = newer


class Facts(NamedTuple):
    """What the files and the kernel say of a profile beside status; see ProfileHere."""

    hash: str | None = None
    policy: str | None = None
    namespace: bool = False
    seccomp: bool = False


def profile_here(p: Profile, facts: Facts) -> ProfileHere:
    """A profile of status' report, with what only its own node can know."""
    return ProfileHere(
        p.name[:LONGEST], p.conffile, p.mode, p.text, facts.hash, facts.policy,
        p.blocks[:LONGEST], not p.off, facts.namespace, facts.seccomp,
    )  # fmt: skip


def encode(report: NodeReport) -> bytes:
    """The bytes of the file: at most BIGGEST, a line a container, the time in the first line.

    Containers that do not fit are left out and counted; those that are fine first.
    """
    containers = list(report.containers)
    lines = [_compact(_container(c)) for c in containers]
    head = _head(report, 0)
    room = BIGGEST - len(head) - 200
    if sum(map(len, lines)) + 2 * len(lines) > room:
        order = sorted(range(len(lines)), key=lambda n: containers[n].verdict in ("ok", "down"))
        kept = set()
        for n in order:
            room -= len(lines[n]) + 2
            if room < 0:
                break
            kept.add(n)
        lines = [line for n, line in enumerate(lines) if n in kept]
        head = _head(report, len(containers) - len(lines))
    return (head + '"containers":[\n' + ",\n".join(lines) + "\n]}\n").encode("ascii")


def _head(b: NodeReport, left_out: int) -> str:
    values = {
        "schema_version": SCHEMA_VERSION,
        "written": b.written,
        "node": b.node,
        "package": b.package,
        "kernel": b.kernel,
        "parser": b.parser,
        "source": b.source,
        "apparmor": b.apparmor,
        "namespaces": b.namespaces,
        "seccomp": b.seccomp,
        "devices": list(b.devices[:MOST_DEVICES]),
        "fine": b.fine,
        "left_out": left_out + b.left_out,
        "trouble": [_note(note) for note in b.trouble[:MOST_NOTES]],
        "profiles": [p._asdict() for p in b.profiles[:MOST_PROFILES]],
    }
    return "{" + "".join(f"{_compact(key)}:{_compact(value)},\n" for key, value in values.items())


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _note(note: Note) -> list[str]:
    return [note.what[:LONGEST], note.hint[:LONGEST]]


def _container(c: Container) -> dict[str, Any]:
    return {
        "ctid": c.ctid,
        "name": c.name[:LONGEST],
        "assigned": c.assigned[:LONGEST],
        "in_conf": _cut(c.in_conf),
        "running": c.running,
        "label": _cut(c.label),
        "verdict": c.verdict,
        "notes": [_note(note) for note in c.notes[:MOST_NOTES]],
    }


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:LONGEST]


def decode(data: bytes, node: str) -> NodeReport:
    """What node published. Raises BadNodeReport for whatever is not that."""
    if len(data) > BIGGEST:
        raise BadNodeReport("it is larger than 1 MiB")
    try:
        value = json.loads(data, parse_constant=_no_constant, parse_float=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadNodeReport("it is not JSON") from error
    given = _Fields(value, "it")
    version = given.integer("schema_version")
    if version > SCHEMA_VERSION:
        raise BadNodeReport("it is of a newer version of phoenix-apparmor", newer=True)
    if version != SCHEMA_VERSION:
        raise BadNodeReport(f"its schema_version is {version}")
    if given.exact("node") != node:
        raise BadNodeReport("it is about another node")
    return NodeReport(
        node,
        given.integer("written"),
        given.text_or_none("package"),
        given.text_or_none("kernel"),
        given.text_or_none("parser"),
        given.text("source"),
        given.boolean("apparmor"),
        given.boolean("namespaces"),
        given.text_or_none("seccomp"),
        tuple(_text(x, "devices") for x in given.items("devices", MOST_DEVICES)),
        given.boolean("fine"),
        _notes(given, "trouble"),
        _read_profiles(given.items("profiles", MOST_PROFILES)),
        tuple(_read_containers(given.items("containers", MOST_CONTAINERS), node)),
        given.integer("left_out"),
    )


def _no_constant(_: str) -> NoReturn:
    """Infinity, NaN and fractions: no field of ours has one."""
    raise ValueError


def _read_profiles(values: list[Any]) -> tuple[ProfileHere, ...]:
    """Each of another name: of two that contradict each other nobody knows which holds."""
    found = tuple(map(_read_profile, values))
    if len({p.name for p in found}) < len(found):
        raise BadNodeReport("a profile appears twice")
    return found


def _read_profile(value: Any) -> ProfileHere:
    given = _Fields(value, "a profile")
    return ProfileHere(
        given.text("name"),
        given.text("conffile"),
        given.text_or_none("mode"),
        given.text("text"),
        given.text_or_none("hash"),
        given.text_or_none("policy"),
        given.text("blocks"),
        given.boolean("fine"),
        given.boolean("namespace"),
        given.boolean("seccomp"),
    )


def _read_containers(values: list[Any], node: str) -> Iterable[Container]:
    seen = set()
    for value in values:
        given = _Fields(value, "a container")
        ctid = given.exact("ctid")
        verdict = given.exact("verdict")
        if not paths.is_ctid(ctid) or ctid in seen:
            raise BadNodeReport("a container's ctid is wrong")
        if verdict not in VERDICTS:
            raise BadNodeReport("a container's verdict is wrong")
        seen.add(ctid)
        yield Container(
            ctid,
            given.text("name"),
            node,
            given.text("assigned"),
            given.text_or_none("in_conf"),
            given.boolean_or_none("running"),
            given.text_or_none("label"),
            cast("Verdict", verdict),
            _notes(given, "notes"),
        )


def _notes(given: "_Fields", key: str) -> tuple[Note, ...]:
    result = []
    for pair in given.items(key, MOST_NOTES):
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadNodeReport(f"{key} is wrong")
        result.append(Note(_text(pair[0], key), _text(pair[1], key)))
    return tuple(result)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST:
        raise BadNodeReport(f"{what} is wrong")
    return value if value.isascii() and value.isprintable() else one_line(value)


class _Fields:
    """An object's members by type; another type, or none, is a BadNodeReport."""

    __slots__ = ("_of", "_value")

    def __init__(self, value: Any, of: str) -> None:
        if not isinstance(value, dict):
            raise BadNodeReport(f"{of} is no object")
        self._value: dict[str, Any] = value
        self._of = of

    def text(self, key: str) -> str:
        return _text(self._value.get(key), f"{self._of}: {key}")

    def exact(self, key: str) -> str:
        """A text that was readable as it came."""
        value = self.text(key)
        if value != self._value[key]:
            raise BadNodeReport(f"{self._of}: {key} is wrong")
        return value

    def text_or_none(self, key: str) -> str | None:
        return None if self._value.get(key, "") is None else self.text(key)

    def integer(self, key: str) -> int:
        value = self._value.get(key)
        # up to the year 5000, so that nothing that is computed with it overflows
        if type(value) is not int or not 0 <= value < 100_000_000_000:
            raise BadNodeReport(f"{self._of}: {key} is wrong")
        return value

    def boolean(self, key: str) -> bool:
        value = self._value.get(key)
        if not isinstance(value, bool):
            raise BadNodeReport(f"{self._of}: {key} is wrong")
        return value

    def boolean_or_none(self, key: str) -> bool | None:
        return None if self._value.get(key, 0) is None else self.boolean(key)

    def items(self, key: str, most: int) -> list[Any]:
        value = self._value.get(key)
        if not isinstance(value, list) or len(value) > most:
            raise BadNodeReport(f"{self._of}: {key} is wrong")
        return value
