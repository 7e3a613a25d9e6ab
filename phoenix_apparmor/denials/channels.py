"""Rules for sockets, D-Bus, queues, io_uring and user namespaces: what they are about. Pure.

They are of one form (apparmor.d(5)): access, conditions, those of the peer, a name. A rule with a
condition of which the kernel's message does not tell is about nothing here.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from phoenix_apparmor.denials import vocabulary
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.policy.aare import examples, matches

TO_PEERS = frozenset(("accept", "connect", "send", "receive"))
_MESSAGES = frozenset(("send", "receive"))
_CLASSES = {
    "dbus": "dbus",
    "io_uring": "io_uring",
    "posix_mqueue": "mqueue",
    "sysv_mqueue": "mqueue",
    "namespace": "userns",
}
_ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "unix": {"r": ("receive",), "read": ("receive",), "w": ("send",), "write": ("send",),
             "rw": ("receive", "send")},
    "mqueue": {"r": ("read",), "w": ("write",), "rw": ("read", "write")},
}  # fmt: skip
_ALIASES["dbus"] = _ALIASES["unix"]
_ALL = {
    "unix": vocabulary.UNIX,
    "dbus": vocabulary.DBUS,
    "mqueue": vocabulary.QUEUES,
    "io_uring": frozenset(("sqpoll", "override_creds", "cmd")),
    "userns": frozenset(("create",)),
}
KINDS = frozenset(_ALL)
# Condition -> word of the message, for each kind; "" for what it does not tell.
_FIELDS: dict[str, dict[str, str]] = {
    "unix": {"type": "sock_type", "addr": "addr", "peer addr": "peer_addr", "peer label": "peer"},
    "dbus": {"bus": "bus", "path": "path", "interface": "interface", "member": "member",
             "name": "name", "peer name": "name", "peer label": "peer_label"},
    "mqueue": {"type": "", "": "name"},
    "io_uring": {"label": "tcontext"},
    "userns": {},
}  # fmt: skip
_OF_MESSAGES = frozenset(("path", "interface", "member", "peer name", "peer label"))
# Examples of one rule, at most.
_MOST = 16
_VALUE = r'"[^"]*"|(?:\{[^}]*\}|[^\s,"(){}])+'
_PEER = re.compile(rf"\bpeer=(?:\(([^)]*)\)|({_VALUE}))")
_CONDITION = re.compile(rf"\b(\w+)=({_VALUE})")
_WORD = re.compile(r'"[^"]*"|[^\s,()"]+')


class Said(NamedTuple):
    """What a rule says. access: as the kernel calls it, all if it names none."""

    kind: str
    access: frozenset[str]
    conditions: tuple[tuple[str, str], ...]


def read(words: str) -> Said | None:
    """A rule without qualifiers and the comma; None if it is of another kind."""
    kind, _, rest = words.partition(" ")
    if kind not in KINDS:
        return None
    conditions = []
    peer = _PEER.search(rest)
    if peer is not None:
        inner = _CONDITION.findall(peer[1] or "") or [("label", peer[2] or peer[1] or "")]
        conditions += [(f"peer {key}", value) for key, value in inner]
        rest = rest[: peer.start()] + rest[peer.end() :]
    conditions += _CONDITION.findall(rest)
    names = _WORD.findall(_CONDITION.sub(" ", rest))
    aliases = _ALIASES.get(kind, {})
    access = [word for name in names for word in aliases.get(name, (name,)) if word in _ALL[kind]]
    conditions += [("", name) for name in names if name not in aliases and name not in _ALL[kind]]
    return Said(kind, _possible(kind, access or _ALL[kind], conditions), tuple(conditions))


def _possible(
    kind: str, access: list[str] | frozenset[str], conditions: list[tuple[str, str]]
) -> frozenset[str]:
    """Of the access that a rule names, that of which its conditions leave something."""
    found = frozenset(access)
    keys = {key for key, _ in conditions}
    if kind == "unix" and any(key.startswith("peer ") for key in keys):
        found &= TO_PEERS  # what is done to a socket itself has no peer
    if kind == "dbus" and keys & _OF_MESSAGES:
        found &= _MESSAGES
    if kind == "dbus" and "name" in keys:
        found &= {"bind"}
    # of what is received, the message tells to whom it was sent, and not who sent it
    return found & {"send"} if kind == "dbus" and "peer name" in keys else found


def kind_of(denial: Denial) -> str:
    """The kind of rules for what was refused, "" if it is none of these."""
    if denial.operation.startswith("dbus_"):
        return "dbus"
    return "unix" if denial.get("family") == "unix" else _CLASSES.get(denial.get("class"), "")


def wanted(denial: Denial) -> frozenset[str]:
    """The access that was refused."""
    kind = kind_of(denial)
    if kind == "userns":
        return _ALL[kind]
    mask = denial.get("mask") if kind == "dbus" else denial.mask
    found = frozenset(re.split(r"[,\s]+", mask.strip())) - {""}
    return found or frozenset((denial.operation,))


def ways(words: str, denial: Denial) -> frozenset[str]:
    """Which of what was tried a rule is about; none if it is about something else."""
    asked = wanted(denial)
    if words == "all" or words == kind_of(denial):
        return asked
    said = read(words)
    if said is None or said.kind != kind_of(denial):
        return frozenset()
    fits = all(_fits(said.kind, key, value, denial) for key, value in said.conditions)
    return asked & said.access if fits else frozenset()


def _fits(kind: str, key: str, value: str, denial: Denial) -> bool:
    if kind == "mqueue" and key == "type":
        return value == denial.get("class").partition("_")[0]
    field = _FIELDS[kind].get(key, "")
    # dbus-broker says method where dbus-daemon says member
    told = denial.get(field) or (denial.get("method") if field == "member" else "")
    return bool(field) and matches(value, told)


def acts(words: str) -> Iterator[Denial]:
    """Examples of what a rule allows, each as the kernel would tell it."""
    said = read(words)
    if said is None:
        return
    values = dict(said.conditions)
    fields = _FIELDS[said.kind]
    if not values.keys() <= fields.keys():
        return
    known = {field: examples(values[key]) for key, field in fields.items() if key in values}
    known.pop("", None)
    for access in sorted(said.access):
        for told in itertools.islice(itertools.product(*known.values()), _MOST):
            given = dict(zip(known, told, strict=True))
            yield Denial(0.0, 0, {**_about(said.kind, access, values), **given})


def _about(kind: str, access: str, values: dict[str, str]) -> dict[str, str]:
    """The words of a message that say what it is about."""
    if kind == "dbus":
        return {"operation": "dbus_method_call", "mask": access}
    if kind == "unix":
        return {"operation": access, "family": "unix", "denied_mask": access}
    if kind == "mqueue":
        named = values.get("type") or ("posix" if values.get("", "/").startswith("/") else "sysv")
        return {"operation": access, "class": f"{named}_mqueue", "denied_mask": access}
    named = {"userns": "namespace"}.get(kind, kind)
    return {"operation": access, "class": named, "denied_mask": access}
