"""One message of the audit system -> one Denial. Pure.

The format is that of the kernel's security/apparmor/audit.c and lsm_audit.c: ``key=value``
words, where a value that an attacker may choose (audit_log_untrustedstring) stands in
quotes, or, if it has a quote, a blank or a byte outside of ASCII in it, as hex digits
without quotes. Kernels before 6.2 have no ``class=``.

The kernel's own records have type 1400 (AVC). Type 1107 (USER_AVC) is what a program sent to be
recorded, as D-Bus daemons do: root in a privileged container can send one as well, with any text
in it. The number of its process is the kernel's word.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from phoenix_apparmor.denials.names import Name, generic

# Written with audit_log_untrustedstring: unquoted means hex.
UNTRUSTED = frozenset(
    ("profile", "namespace", "label", "name", "comm", "ocomm", "target", "srcname", "fstype",
     "trans", "options", "capname", "peer", "addr", "peer_addr", "path", "exe", "peer_label",
     "tcontext")
)  # fmt: skip
_PASSIVE = ("receive", "readby", "tracedby")
DENIED = ("DENIED", "KILLED")
# A change of policy is a STATUS, also one that is refused (policy.c, audit_policy; -13 is EACCES).
# Other errors are of who asked: no such profile, not a policy, one that is there already.
STATUS, REFUSED = "STATUS", "-13"
KERNEL, USER = "1400", "1107"
_TYPES = {"AVC": KERNEL, "USER_AVC": USER}

_WORD = re.compile(r'([A-Za-z_]+)=("[^"]*"|\S*)')
_STAMP = r"audit\((\d{1,11})\.(\d{1,3}):(\d{1,19})\):\s+"
# Where a record begins: the kernel's console and dmesg, auditd's log, the journal's own audit
# transport. The text must begin so: further on it is what somebody chose. Numbers have an end.
_HEADS = tuple(
    re.compile(head)
    for head in (
        rf"(?:\[\s*\d{{1,9}}\.\d{{1,9}}\] )?(?:audit: )?type=(\d{{4}}) {_STAMP}",
        rf"(?:node=\S+ )?type=(AVC|USER_AVC) msg={_STAMP}",
        r"(AVC|USER_AVC)\s+",
    )
)
_SENDER = re.compile(r"(?:user )?pid=(\d{1,10}) ")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z")

# printk.c, audit.c (audit_log_lost), journald: messages that say that messages are missing.
Kind = Literal["left out", "lost", "missed", "limit"]

_LOST: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("left out", re.compile(r"kauditd_printk_skb: (\d{1,15}) callbacks suppressed")),
    ("lost", re.compile(r"audit: audit_lost=(\d{1,15})")),
    ("missed", re.compile(r"Missed (\d{1,15}) kernel messages")),
    ("limit", re.compile(r"audit: (?!type=).*(?:limit exceeded|queue overflow)")),
)


class Denial(NamedTuple):
    """A refused action of a process.

    time: seconds since 1970, 0.0 if unknown. serial: the audit event's number, 0 if unknown.
    fields: the message's words, decoded. sender: the process that recorded it, "" for the
    kernel. learned: names whose changing part was seen in the log itself. alike: some of these
    names; guess: whether they only differ, so that a pattern takes what nobody asked for.
    new: how many others, told apart from this, look as if they were made up just as it does.
    """

    time: float
    serial: int
    fields: Mapping[str, str]
    sender: str = ""
    learned: Mapping[str, Name] = {}
    alike: tuple[str, ...] = ()
    guess: bool = False
    new: int = 0

    def get(self, key: str) -> str:
        """A word's value, "" if the message has none."""
        return self.fields.get(key, "")

    def name(self, key: str = "name") -> Name:
        """A path, with patterns for what is another one next time."""
        return self.learned.get(key) or generic(self.get(key))

    @property
    def operation(self) -> str:
        """What the kernel calls it (open, mount, ptrace, …)."""
        return self.get("operation")

    @property
    def mask(self) -> str:
        """The refused permissions; kernels before 4.x wrote owner and other apart: ``w::``."""
        mask = self.get("denied_mask") or self.get("requested_mask") or self.get("denied")
        return (mask or self.get("requested")).replace(":", "")

    @property
    def capability(self) -> str:
        """The capability for the lack of which it was refused, "" if for another reason.

        The limits of a process under another profile are set with one (security/apparmor/
        resource.c, aa_task_setrlimit).
        """
        if self.operation == "capable":
            return self.get("capname")
        of_another = self.get("peer") or "cap_sys_resource" in self.get("info")
        return "sys_resource" if self.operation == "setrlimit" and of_another else ""

    def at_target(self) -> "Denial":
        """Of a hard link that its target forbids, as what is refused to the target; else itself.

        Without a rule for the pair, a link may not allow more than its target, and the mask has
        what that lacks, and no l (security/apparmor/file.c, profile_path_link).
        """
        target = self.get("target")
        if self.operation != "link" or not target.startswith("/") or not self.mask:
            return self
        # then it is the way to execute that differs
        if "l" in self.mask or "subset" in self.get("info"):
            return self
        return self._replace(fields={**self.fields, "operation": "open", "name": target})

    @property
    def is_of_target(self) -> bool:
        """Whether the profile is of the process that something was done to, not of who did it.

        The kernel asks the profiles of both (security/apparmor/ipc.c, task.c); comm and pid are
        those of the process that did it, which is under peer.
        """
        return self.operation in ("ptrace", "signal") and self.mask in _PASSIVE


def parse(text: str, time: float = 0.0, serial: int = 0) -> Denial | None:
    """The denial that a message tells of, None if it tells of none.

    time and serial are used where the message has no ``audit(time:serial)`` of its own (the
    journal's audit transport has them in fields).
    """
    begin = text.find('apparmor="')
    if begin < 0:
        return None
    head = next((match for match in (head.match(text) for head in _HEADS) if match), None)
    if head is None:
        return None
    kind = _TYPES.get(head[1], head[1])
    if head.lastindex == 4:
        time = int(head[2]) + int(head[3]) / 1000
        serial = int(head[4])
    sender = ""
    if kind == USER:
        # words in front of msg='…' are the kernel's, about who sent it
        said = text.find("msg='", head.end())
        process = _SENDER.match(text, head.end())
        if process is None or said < 0:
            return None
        sender = process[1]
        begin = text.find('apparmor="', said)
    elif kind != KERNEL or begin != head.end():
        return None
    # \x1d: auditd repeats some words in words of its own behind it (log_format=ENRICHED).
    body = text[begin:].partition("\x1d")[0]
    fields: dict[str, str] = {}
    for key, value in _WORD.findall(body):
        if key not in fields:
            fields[key] = value[1:-1] if value[-1:] == '"' == value[:1] else decode(key, value)
    # the kernel's strings end at a zero byte, so none has one
    verdict = fields["apparmor"]
    refused = verdict in DENIED or (verdict == STATUS and fields.get("error") == REFUSED)
    if not refused or "\0" in "".join(fields.values()):
        return None
    return Denial(time, serial, fields, sender)


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
        match = pattern.match(text)
        if match is not None:
            return Loss(kind, int(match[1]) if match.groups() else 0)
    return None


class Losses:
    """Adds up what is missing; audit_lost is a sum already."""

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        self._counts: dict[str, int] = {}
        for loss in losses:
            self.add(loss)

    def add(self, loss: Loss) -> None:
        """One message more."""
        before = self._counts.get(loss.kind, 0)
        number = loss.number
        self._counts[loss.kind] = max(before, number) if loss.kind == "lost" else before + number

    def in_words(self) -> tuple[str, ...]:
        """One sentence for each kind."""
        words = {
            "left out": "the kernel left out {} audit messages (rate limit of printk)",
            "lost": "the kernel lost {} audit messages (audit_lost)",
            "missed": "the journal missed {} kernel messages",
            "limit": "the kernel's audit queue or rate limit was exceeded",
        }
        return tuple(words[kind].format(count) for kind, count in self._counts.items())
