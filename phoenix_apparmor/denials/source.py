"""Where the kernel's denials are written: the journal, auditd's log, dmesg.

Without auditd the kernel prints audit messages, and journald has them from there (transport
kernel) and, where its audit socket is on, from the audit multicast as well (transport
audit). With auditd they are no longer printed: they are in /var/log/audit/audit.log. All
that is there is read; an event that is in two places has the same number in both.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from phoenix_apparmor.denials.message import Denial, Loss, losses_in_words, parse, tells_of_loss
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

AUDIT_LOG = "/var/log/audit/audit.log"
JOURNAL_SECONDS = 120
DMESG_SECONDS = 20
# Reading back further than this in rotated logs is for ausearch.
OLD_LOGS = 9
# What of the kernel's messages is wanted; the rest of a busy host's log would take minutes.
WANTED = r'apparmor="(DENIED|KILLED)"|audit: .*(limit|lost|overflow)|kauditd|Missed \d+ kernel'

_AUDIT_TIME = re.compile(rb"audit\((\d+)\.")
_DMESG_TIME = re.compile(r"^\[\s*(\d+\.\d+)\]")


class Log(NamedTuple):
    """What was found.

    denials: oldest first. since: seconds since 1970. sources: where they come from, in
    words. lost: what the kernel or the journal says of messages that are missing.
    problems: sources that could not be read, and why.
    """

    denials: tuple[Denial, ...]
    since: float
    sources: tuple[str, ...]
    lost: tuple[str, ...]
    problems: tuple[str, ...]


def boot_time(host: Host) -> float:
    """When this kernel was booted (seconds since 1970), 0.0 if unknown."""
    match = re.search(rb"^btime (\d+)$", host.read_if_there("/proc/stat") or b"", re.MULTILINE)
    return float(match[1]) if match else 0.0


def parse_since(text: str, now: float) -> float:
    """A time as people write it, in seconds since 1970. Raises PhoenixError (usage).

    ``2026-11-23``, ``2026-11-23 10:00[:30]``, ``10:00``, ``today``, ``yesterday``,
    ``@SECONDS``, and how long ago: ``30min``, ``2h``, ``1d``, ``-2h``, ``2h ago``.
    """
    words = text.strip().lower()
    today = time.localtime(now)[:3]
    if words in ("today", "yesterday"):
        return time.mktime((*today[:2], today[2] - (words == "yesterday"), 0, 0, 0, 0, 0, -1))
    if match := re.fullmatch(r"-?(\d+)\s*(s|min|m|h|d|w)[a-z]*(\s+ago)?", words):
        unit = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]
        return now - int(match[1]) * unit
    if match := re.fullmatch(r"@(\d+(?:\.\d+)?)", words):
        return float(match[1])
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dt%H:%M:%S"):
        try:
            return time.mktime((*time.strptime(words, form)[:8], -1))
        except ValueError:
            continue
    if match := re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", words):
        clock = (int(match[1]), int(match[2]), int(match[3] or 0))
        return time.mktime((*today, *clock, 0, 0, -1))
    raise PhoenixError(
        f'"{text}" is no time.',
        hint='Say it like "2026-11-23 10:00", "10:00", today, yesterday, 2h or 30min (ago).',
        status=64,
    )


def read(host: Host, since: float | None = None) -> Log:
    """All denials since a time, or since boot. Raises PhoenixError if no source can be read."""
    start = boot_time(host) if since is None else since
    found: dict[tuple[int, int], Denial] = {}
    losses: list[Loss] = []
    sources: list[str] = []
    problems: list[str] = []
    for name, reader in (
        ("the journal", _journal),
        (AUDIT_LOG, _audit_log),
        ("dmesg", _dmesg),
    ):
        if name == "dmesg" and sources:
            break  # the journal has what dmesg has, and more
        try:
            events = reader(host, start)
        except (PhoenixError, OSError) as error:
            problems.append(f"{name}: {_reason(error)}")
            continue
        if events is None:
            continue
        sources.append(name)
        for denial, loss in events:
            if loss is not None:
                losses.append(loss)
            # A boot time is whole seconds and drifts with the clock's corrections.
            if denial is not None and denial.time >= start - 2:
                key = (round(denial.time * 1000), denial.serial or -len(found) - 1)
                found.setdefault(key, denial)
    if not sources:
        raise PhoenixError(
            f"the kernel's log cannot be read: {' '.join(problems)}",
            hint="Run it as root. By hand: journalctl -k -g apparmor; dmesg",
        )
    ordered = tuple(found[key] for key in sorted(found))
    return Log(ordered, start, tuple(sources), tuple(losses_in_words(losses)), tuple(problems))


Event = tuple[Denial | None, Loss | None]


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, PhoenixError) else str(error)


def _journal(host: Host, since: float) -> Iterator[Event] | None:
    if not host.has_program("journalctl"):
        return None
    root = [f"--root={host.root}"] if host.root else []
    command = ["journalctl", *root, "--quiet", "--no-pager", "--output=json", f"--grep={WANTED}"]
    command += [f"--since=@{int(since)}", "_TRANSPORT=kernel", "_TRANSPORT=audit"]
    ran = host.run(command, timeout=JOURNAL_SECONDS)
    # With --grep, 1 is also the status of "nothing found".
    if ran.status not in (0, 1) or (ran.status == 1 and ran.err.strip()):
        raise PhoenixError(f"journalctl failed: {ran.err.strip() or ran.status}")
    if not ran.out and not _has_journal(host):
        return None
    return _journal_events(ran.out)


def _has_journal(host: Host) -> bool:
    return any(host.exists(f"/{top}/log/journal") for top in ("var", "run"))


def _journal_events(out: bytes) -> Iterator[Event]:
    for line in out.split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the empty last line, or one cut off by a crash
        if isinstance(entry, dict):
            yield _event(_journal_text(entry), *_journal_stamp(entry))


def _journal_text(entry: dict[str, Any]) -> str:
    """MESSAGE; journalctl writes one with bytes that cannot be printed as an array of them."""
    message = entry.get("MESSAGE")
    if isinstance(message, list):
        return bytes(message).decode("utf-8", "surrogateescape")
    return message if isinstance(message, str) else ""


def _journal_stamp(entry: dict[str, Any]) -> tuple[float, int]:
    """(time, serial): of the audit event itself where the journal keeps it."""
    serial = str(entry.get("_AUDIT_ID", ""))
    stamp = entry.get("_SOURCE_REALTIME_TIMESTAMP") if serial else None
    stamp = str(stamp or entry.get("__REALTIME_TIMESTAMP", ""))
    return (
        int(stamp) / 1e6 if stamp.isdigit() else 0.0,
        int(serial) if serial.isdigit() else 0,
    )


def _event(text: str, when: float = 0.0, serial: int = 0) -> Event:
    denial = parse(text, when, serial)
    return denial, None if denial is not None else tells_of_loss(text)


def _audit_log(host: Host, since: float) -> Iterator[Event] | None:
    if not host.exists(AUDIT_LOG):
        return None
    # read here, so that one that may not be read is told
    return _audit_events(host, since, host.read(AUDIT_LOG))


def _audit_events(host: Host, since: float, data: bytes) -> Iterator[Event]:
    texts = [data]
    for number in range(1, OLD_LOGS + 1):
        # The oldest comes first; older files can only hold what is too old already.
        first = _AUDIT_TIME.search(texts[-1])
        if first is not None and int(first[1]) < since:
            break
        older = host.read_if_there(f"{AUDIT_LOG}.{number}")
        if older is None:
            break
        texts.append(older)
    for text in reversed(texts):
        for line in _lines(text):
            yield _event(line)


def _lines(text: bytes) -> Iterable[str]:
    return (
        line.decode("utf-8", "surrogateescape")
        for line in text.split(b"\n")
        if b"apparmor=" in line
    )


def _dmesg(host: Host, since: float) -> Iterator[Event] | None:
    del since
    if not host.has_program("dmesg"):
        return None
    ran = host.run(["dmesg"], timeout=DMESG_SECONDS)
    if ran.status != 0:
        raise PhoenixError(f"dmesg failed: {ran.err.strip() or ran.status}")
    return _dmesg_events(ran.out, boot_time(host))


def _dmesg_events(out: bytes, boot: float) -> Iterator[Event]:
    for line in out.decode("utf-8", "surrogateescape").split("\n"):
        stamp = _DMESG_TIME.match(line)
        yield _event(line, boot + float(stamp[1]) if stamp else 0.0)
