"""Where the kernel's denials are written: the journal, auditd's log, dmesg.

Without auditd the kernel prints audit messages, and journald has them from there (transport
kernel) and, where its audit socket is on, from the audit multicast as well (transport
audit). With auditd they are no longer printed: they are in /var/log/audit/audit.log. All
that is there is read, a line at a time; an event that is in two places has the same number in
both.
"""

import functools
import heapq
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from phoenix_apparmor import logfiles
from phoenix_apparmor.denials.message import Denial, Loss, Losses, parse, tells_of_loss
from phoenix_apparmor.denials.processes import boot_time, is_this_machine
from phoenix_apparmor.denials.sender import Senders
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

AUDIT_LOG = "/var/log/audit/audit.log"
JOURNAL_SECONDS = 180
DMESG_SECONDS = 20
# Reading back further than this in rotated logs is for ausearch.
OLD_LOGS = 9
# What of the kernel's messages is wanted; the rest of a busy host's log would take minutes.
LOSSES = r"audit: .*(limit|lost|overflow)|kauditd|Missed \d+ kernel"
DENIED = 'apparmor="(DENIED"|KILLED"|STATUS" .*error=-13 )'
ALLOWED = 'apparmor="ALLOWED"'
FIELDS = (
    "MESSAGE", "_TRANSPORT", "SYSLOG_IDENTIFIER", "_AUDIT_ID", "_AUDIT_TYPE",
    "_SOURCE_REALTIME_TIMESTAMP",
)  # fmt: skip
# Two copies of an event are no further apart than this many others.
WINDOW = 1 << 15

_AUDIT_TIME = re.compile(rb"audit\((\d{1,11})\.")
_DMESG_TIME = re.compile(r"\[\s*(\d{1,11}\.\d{1,9})\] ")


class Event(NamedTuple):
    """A line of a log: when, and what it tells of."""

    time: float
    denial: Denial | None
    loss: Loss | None


class Log:
    """All denials since a time, or since boot: iterate once, then ask for the rest.

    tried: instead, what profiles in complain mode would have denied, told as denials.
    since: seconds since 1970. sources: where they come from, in words. problems: sources that
    could not be read, and why. untrusted: messages in the name of D-Bus by somebody else.
    Iterating raises PhoenixError if no source can be read.
    """

    def __init__(self, host: Host, since: float | None = None, *, tried: bool = False) -> None:
        self._host = host
        self._wanted = ALLOWED if tried else DENIED
        self._senders = Senders(host)
        self._losses = Losses()
        self.since = boot_time(host) if since is None else since
        self.sources: list[str] = []
        self.problems: list[str] = []
        self.untrusted = 0

    @property
    def lost(self) -> tuple[str, ...]:
        """What the kernel or the journal says of messages that are missing."""
        return self._losses.in_words()

    def __iter__(self) -> Iterator[Denial]:
        """The denials, oldest first, each event once."""
        seen: dict[tuple[int, int], None] = {}
        for event in self._events():
            if event.loss is not None:
                self._losses.add(event.loss)
            denial = event.denial
            # A boot time is whole seconds and drifts with the clock's corrections.
            if denial is None or denial.time < self.since - 2:
                continue
            if denial.serial:
                key = (round(denial.time * 1000), denial.serial)
                if key in seen:
                    continue
                seen[key] = None
                if len(seen) > WINDOW:
                    del seen[next(iter(seen))]
            if denial.sender and not self._senders.is_dbus(denial.sender, denial.time):
                self.untrusted += 1
                continue
            yield denial

    def _events(self) -> Iterator[Event]:
        journal = self._guarded("the journal", _journal)
        audit = self._audit_log()
        yield from heapq.merge(journal, audit, key=lambda event: event.time)
        # the journal has what dmesg has, and more
        if not self.sources:
            yield from self._guarded("dmesg", _dmesg)
        if not self.sources:
            raise PhoenixError(
                f"the kernel's log cannot be read: {' '.join(self.problems)}",
                hint="Run it as root. By hand: journalctl -k -g apparmor; dmesg",
            )

    def _audit_log(self) -> Iterator[Event]:
        """Events of auditd's logs, oldest first; one that cannot be read hides no other."""
        for name in _audit_logs(self._host, self.since):
            yield from self._guarded(AUDIT_LOG, functools.partial(_audit_log, name), file=name)

    def _guarded(
        self,
        name: str,
        reader: "Callable[[Host, float, str], Iterator[Event | None]]",
        *,
        file: str = "",
    ) -> Iterator[Event]:
        """Events of one source; None among them says that it is there. file: of several, which."""
        try:
            for event in reader(self._host, self.since, self._wanted):
                if name not in self.sources:
                    self.sources.append(name)
                if event is not None:
                    yield event
        except (PhoenixError, OSError) as error:
            # not str(error): that has the number of the error, and the path once more
            reason = error.what if isinstance(error, PhoenixError) else error.strerror or str(error)
            self.problems.append(f"{file or name}: {reason}")


def _journal(host: Host, since: float, wanted: str) -> Iterator[Event | None]:
    if not host.has_program("journalctl"):
        return
    root = [f"--root={host.root}"] if host.root else []
    command = ["journalctl", *root, "--quiet", "--no-pager", "--output=json"]
    command += [
        f"--output-fields={','.join(FIELDS)}",
        f"--grep={wanted}|{LOSSES}",
        f"--since=@{int(since)}",
    ]
    command += ["_TRANSPORT=kernel", "_TRANSPORT=audit", "_TRANSPORT=driver"]
    stream = host.stream(command, timeout=JOURNAL_SECONDS)
    if any(host.exists(f"/{top}/log/journal") for top in ("var", "run")):
        yield None
    for line in stream:
        event = _journal_event(line, wanted)
        if event is not None:
            yield event
    # With --grep, 1 is also the status of "nothing found".
    if stream.status not in (0, 1) or (stream.status == 1 and stream.err.strip()):
        raise PhoenixError(f"journalctl failed: {stream.err.strip() or stream.status}")


def _journal_event(line: bytes, wanted: str) -> Event | None:
    """None for what is no message of the kernel's: a line cut off by a crash, another writer."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    transport = entry.get("_TRANSPORT", "kernel")
    text = _journal_text(entry)
    if transport == "kernel":
        # what programs write to /dev/kmsg has their own identifier
        if entry.get("SYSLOG_IDENTIFIER", "kernel") != "kernel":
            return None
        when, serial = _number(entry, "__REALTIME_TIMESTAMP") / 1e6, 0
    elif transport == "audit":
        serial = _number(entry, "_AUDIT_ID")
        stamp = "_SOURCE_REALTIME_TIMESTAMP"
        when = (_number(entry, stamp) or _number(entry, "__REALTIME_TIMESTAMP")) / 1e6
    elif transport == "driver":
        return Event(0.0, None, tells_of_loss(text))
    else:
        return None
    return _event(text, wanted, when, serial)


def _journal_text(entry: dict[str, Any]) -> str:
    """MESSAGE; journalctl writes one with bytes that cannot be printed as an array of them."""
    message = entry.get("MESSAGE")
    if isinstance(message, str):
        return message
    try:
        return bytes(message).decode("utf-8", "surrogateescape") if message else ""
    except (TypeError, ValueError):
        return ""


def _number(entry: dict[str, Any], key: str) -> int:
    text = str(entry.get(key, ""))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _event(text: str, wanted: str, when: float = 0.0, serial: int = 0) -> Event:
    if wanted == ALLOWED:
        # Of the same form as a denial; a denial of the same profile is none that was tried.
        if wanted not in text:
            return Event(when, None, tells_of_loss(text))
        text = text.replace(wanted, 'apparmor="DENIED"', 1)
    denial = parse(text, when, serial)
    if denial is not None:
        return Event(denial.time, denial, None)
    return Event(when, None, tells_of_loss(text))


def _audit_logs(host: Host, since: float) -> list[str]:
    """The logs of auditd that may hold something of since or later, oldest first."""
    try:
        if not host.exists(AUDIT_LOG):
            return []
    except OSError:
        return [AUDIT_LOG]  # its reader says what is wrong
    logs = [AUDIT_LOG]
    for number in range(1, OLD_LOGS + 1):
        try:
            # The oldest comes first; older files can only hold what is too old already.
            first = _AUDIT_TIME.search(host.read(logs[-1], 1 << 16))
        except OSError:
            first = None
        older = f"{AUDIT_LOG}.{number}"
        if (first is not None and int(first[1]) < since) or not host.exists(older):
            break
        logs.append(older)
    return logs[::-1]


def _audit_log(name: str, host: Host, since: float, wanted: str) -> Iterator[Event | None]:
    lines = logfiles.lines(host, name)
    line = next(lines, b"")
    yield None
    while line:
        if b"apparmor=" in line:
            stamp = _AUDIT_TIME.search(line)
            if stamp is None or int(stamp[1]) >= since - 2:
                yield _event(line.decode("utf-8", "surrogateescape").rstrip("\n"), wanted)
        line = next(lines, b"")


def _dmesg(host: Host, since: float, wanted: str) -> Iterator[Event | None]:
    del since
    if not host.has_program("dmesg"):
        return
    if not is_this_machine(host):
        raise PhoenixError(f"it would be this machine's, not that of {host.root}")
    # not what programs write to /dev/kmsg
    stream = host.stream(["dmesg", "--kernel"], timeout=DMESG_SECONDS)
    boot = boot_time(host)
    for raw in stream:
        line = raw.decode("utf-8", "surrogateescape").rstrip("\n")
        stamp = _DMESG_TIME.match(line)
        if stamp is not None:
            yield _event(line[stamp.end() :], wanted, boot + float(stamp[1]))
        else:
            yield _event(line, wanted)
    if stream.status != 0:
        raise PhoenixError(f"dmesg failed: {stream.err.strip() or stream.status}")
    yield None
