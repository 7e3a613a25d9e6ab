"""One kernel message -> one Denial. Pure.

The format is that of the kernel's security/apparmor/audit.c and lsm_audit.c: ``key=value``
words, where a value that an attacker may choose (audit_log_untrustedstring) stands in
quotes, or, if it has a quote, a blank or a byte outside of ASCII in it, as hex digits
without quotes. Kernels before 6.2 have no ``class=``.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

# Written with audit_log_untrustedstring: unquoted means hex.
UNTRUSTED = frozenset(
    ("profile", "namespace", "label", "name", "comm", "ocomm", "target", "srcname", "fstype",
     "trans", "options", "capname", "peer", "addr", "peer_addr", "path", "exe")
)  # fmt: skip
DENIED = ("DENIED", "KILLED")

_WORD = re.compile(r'([A-Za-z_]+)=("[^"]*"|\S*)')
_STAMP = re.compile(r"audit\((\d+)\.(\d+):(\d+)\)")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z")

# printk.c, audit.c (audit_log_lost), journald: messages that say that messages are missing.
Kind = Literal["left out", "lost", "missed", "limit"]

_LOST: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("left out", re.compile(r"\bkauditd_printk_skb: (\d+) callbacks suppressed")),
    ("lost", re.compile(r"\baudit: audit_lost=(\d+)")),
    ("missed", re.compile(r"\bMissed (\d+) kernel messages")),
    ("limit", re.compile(r"\baudit: .*(?:limit exceeded|queue overflow)")),
)


class Denial(NamedTuple):
    """A refused action of a process.

    time: seconds since 1970, 0.0 if unknown. serial: the audit event's number, 0 if unknown.
    fields: the message's words, decoded.
    """

    time: float
    serial: int
    fields: Mapping[str, str]

    def get(self, key: str) -> str:
        """A word's value, "" if the message has none."""
        return self.fields.get(key, "")

    @property
    def operation(self) -> str:
        """What the kernel calls it (open, mount, ptrace, …)."""
        return self.get("operation")


def parse(text: str, time: float = 0.0, serial: int = 0) -> Denial | None:
    """The denial that a message tells of, None if it tells of none.

    time and serial count where the message has no ``audit(time:serial)`` of its own (the
    journal's audit transport has them in fields).
    """
    if 'apparmor="' not in text:
        return None
    stamp = _STAMP.search(text)
    if stamp is not None:
        time = int(stamp[1]) + int(stamp[2]) / 1000
        serial = int(stamp[3])
    # dbus-daemon's own (USER_AVC): words in front of msg='…' are of the daemon.
    inner = text.find("msg='")
    # \x1d: auditd repeats some words in words of its own behind it (log_format=ENRICHED).
    body = text[inner + 5 if inner >= 0 else 0 :].partition("\x1d")[0]
    fields: dict[str, str] = {}
    for key, value in _WORD.findall(body[body.find('apparmor="') :]):
        fields.setdefault(key, decode(key, value))
    if fields.get("apparmor") not in DENIED:
        return None
    return Denial(time, serial, fields)


def decode(key: str, value: str) -> str:
    """A word's value without quotes and hex; bytes that are no UTF-8 as surrogates."""
    if value.startswith('"'):
        return value[1:].removesuffix('"')
    if key in UNTRUSTED and _HEX.match(value):
        return bytes.fromhex(value).decode("utf-8", "surrogateescape")
    return value


class Loss(NamedTuple):
    """A message that says that messages are missing: which kind, and how many (0: unknown)."""

    kind: Kind
    number: int = 0


def tells_of_loss(text: str) -> Loss | None:
    """What a message says of missing messages, None if it says nothing of that."""
    for kind, pattern in _LOST:
        match = pattern.search(text)
        if match is not None:
            return Loss(kind, int(match[1]) if match.groups() else 0)
    return None


def losses_in_words(losses: Iterable[Loss]) -> list[str]:
    """One sentence for each kind; audit_lost is a sum already, the others are added up."""
    counts: dict[str, int] = {}
    for kind, count in losses:
        before = counts.get(kind, 0)
        counts[kind] = max(before, count) if kind == "lost" else before + count
    words = {
        "left out": "the kernel left out {} audit messages (rate limit of printk)",
        "lost": "the kernel lost {} audit messages (audit_lost)",
        "missed": "the journal missed {} kernel messages",
        "limit": "the kernel's audit queue or rate limit was exceeded",
    }
    return [words[kind].format(count) for kind, count in counts.items()]
