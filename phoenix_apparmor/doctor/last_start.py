"""Why one container did not start: what its last start left behind, in words.

Read are, in this order: our own last refusal in the journal (PHOENIX_CTID), the task log of
Proxmox (/var/log/pve/tasks), what lxc-start wrote (/run/pve/ct-CTID.stderr), the unit's journal.
messages.MESSAGES says what a line means.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import containers, logfiles
from phoenix_apparmor.doctor import messages
from phoenix_apparmor.doctor.finding import Check, Diagnosis, Finding, Result
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

JOURNAL_SECONDS = 20
TASKS = "/var/log/pve/tasks"
# Of each source so much is read, from its end.
# of the index of tasks, of which Proxmox keeps the last thousands
MOST_INDEX = 4 << 20
MOST_BYTES = 64 << 10
MOST_LINES = 40
SHOWN = 3
START_TASKS = ("vzstart", "vzreboot")
_UPID = re.compile(r"UPID:[^:]+:[0-9A-F]+:[0-9A-F]+:([0-9A-F]{8}):(\w+):(\d+):[^:]+:")
# Of systemd and LXC, with nothing to tell on its own.
_NOISE = re.compile(
    r"^(Starting|Started|Stopping|Stopped|Consumed)\b|^TASK (OK|ERROR)|^\s*$"
    r"|^\S+\.service: (Control|Main) process exited|^(\S+\.service: )?Failed with result"
    r"|^Failed to start pve-container"
)
# How LXC itself writes a line: the function, and where in its source.
_OF_LXC = re.compile(r"^\s*(?:lxc-start: \S+ \S+ )?\w+: \d+ ")
_WARNS = re.compile(r"^\s*(?:WARN|explicitly configured lxc\.apparmor\.profile overrides)")
_BEGINS = re.compile(rb"^Starting pve-container@")
# Of LXC: what follows from the line before it, up to the end of the start.
_FOLLOWS = re.compile(
    r"Failed to setup container|Failed to spawn container|The container failed to start"
    r"|Failed to initialize container|An error occurred in another process|To get more details"
    r"|Additional information can be obtained"
)


class Source(NamedTuple):
    """Where lines come from, as one can look at it oneself, and the lines, oldest first."""

    command: str
    lines: tuple[str, ...]


def check(host: Host, ctid: str) -> Check:
    """The check of one container's last start."""
    try:
        containers.check_here(host, ctid)
    except PhoenixError as error:
        raise error.about(ctid) from error
    return Check("last-start", f"why CT {ctid} did not start", lambda h: last_start(h, ctid))


def about(diagnosis: Diagnosis, ctid: str) -> Diagnosis:
    """What of a diagnosis concerns one container: its own, and errors of the whole host.

    That its last start failed is told with the reason.
    """
    told = any(result.name == "last-start" and result.findings for result in diagnosis.results)
    return Diagnosis(
        tuple(
            Result(
                result.name,
                tuple(
                    finding
                    for finding in result.findings
                    if (
                        ctid in finding.ctids
                        or (not finding.ctids and finding.severity in ("error", "unknown"))
                    )
                    and not (told and "its last start failed" in finding.what)
                ),
            )
            for result in diagnosis.results
        )
    )


def last_start(host: Host, ctid: str) -> Iterator[Finding]:
    """The reason of a failed start; nothing for a container that runs, or was stopped in order."""
    running = containers.running(host)
    if running is not None and ctid in running:
        return
    task, status = _last_task(host, ctid)
    failed = ctid in containers.failed(host)
    # that it runs already is no failure, and it was stopped since
    fine = status in ("", "OK", "?") or status.startswith("WARNINGS") or "already running" in status
    if not failed and fine:
        return
    sources = [*_sources(host, ctid, task, status)]
    known: dict[str, tuple[messages.Message, str, str, str]] = {}
    for source in sources:
        before: list[str] = []
        for line in source.lines:
            message = messages.meaning(line)
            if message is None:
                before += [] if _WARNS.search(line) else [line.strip()]
                continue
            shown = _bare(line, ctid)
            if message.of_program and before:
                shown += f" (before that: {' / '.join(before[-SHOWN:])})"
            known.setdefault(message.shown, (message, line, shown, source.command))
            before = []
    exact = [entry for entry in known.values() if not entry[0].general]
    where, last = _unexplained(sources)
    if exact or not last:
        for message, line, shown, command in exact or known.values():
            yield Finding(
                "error",
                f"CT {ctid} did not start: {shown}.",
                command,
                advice=messages.told(message, line, ctid),
                ctids=(ctid,),
            )
        if known:
            return
    yield Finding(
        "error",
        f"CT {ctid} did not start, and its last messages are not in the list of known ones: "
        f"{' / '.join(last) or 'it left no message'}",
        where or f"systemctl status pve-container@{ctid}",
        advice=f"start it with LXC's own log: pct start {ctid} --debug; then read: /run/pve/"
        f"ct-{ctid}.stderr",
        ctids=(ctid,),
    )


def _unexplained(sources: Sequence[Source]) -> tuple[str, list[str]]:
    """(command that shows them, the last lines that say more than that it failed)."""
    for source in sources:
        said: list[str] = []
        for line in source.lines:
            message = messages.meaning(line)
            if message is None and not _FOLLOWS.search(line):
                said.append(line.strip())
            elif said and "sync_wait" in line:
                break  # what is below only follows from it
        if said:
            return source.command, _telling(said)
    return "", []


def _telling(said: Sequence[str]) -> list[str]:
    """The few lines that say most: what came right before LXC's, and the first of those.

    LXC says of each of its functions, from the inmost on, that it failed; why, says who it ran.
    """
    lxcs = [*itertools.takewhile(_OF_LXC.search, reversed(said))][::-1]
    before = [line for line in said[: len(said) - len(lxcs)] if not _WARNS.search(line)]
    if not lxcs:
        return list((before or said)[-SHOWN:])
    few = lxcs if len(lxcs) <= SHOWN else [lxcs[0], *lxcs[1 - SHOWN :]]
    return [*before[-1:], *few]


def _bare(line: str, ctid: str) -> str:
    """A line without what is known: that it is a warning, and whom it is about."""
    return line.strip().removeprefix("WARN: ").removeprefix(f"CT {ctid}: ").rstrip(".")


def _sources(host: Host, ctid: str, task: str, status: str) -> Iterator[Source]:
    ours = ["journalctl", "-b", "-t", "phoenix-apparmor", "-p", "err", f"PHOENIX_CTID={ctid}"]
    yield _journal(host, ours, last=1)
    if task:
        lines = _tail(host, task)
        yield Source(f"cat {task}", (*lines, *([status] if status not in lines else [])))
    stderr = f"/run/pve/ct-{ctid}.stderr"
    yield Source(f"cat {stderr}", _tail(host, stderr))
    yield _journal(host, ["journalctl", "-b", "-u", f"pve-container@{ctid}"], last=MOST_LINES)


def _journal(host: Host, command: list[str], *, last: int) -> Source:
    shown = " ".join(command)
    try:
        ran = host.run(
            [*command, "-o", "cat", "--no-pager", "-n", str(last)], timeout=JOURNAL_SECONDS
        )
    except PhoenixError:
        return Source(shown, ())
    if ran.status != 0:
        return Source(shown, ())
    lines = ran.out.splitlines()
    last_begin = max((n for n, line in enumerate(lines) if _BEGINS.match(line)), default=0)
    return Source(shown, _lines(b"\n".join(lines[last_begin:])))


def _tail(host: Host, name: str) -> tuple[str, ...]:
    try:
        return _lines(logfiles.end(host, name, MOST_BYTES))
    except OSError:
        return ()


def _lines(data: bytes) -> tuple[str, ...]:
    lines = data.decode("utf-8", "replace").split("\n")
    return tuple(line for line in lines if not _NOISE.search(line))[-MOST_LINES:]


def _last_task(host: Host, ctid: str) -> tuple[str, str]:
    """(path of the log, how it ended) of the container's last start; ("", "") if there is none.

    /var/log/pve/tasks/index has a line "UPID ENDTIME STATUS" a task; its log is in the folder
    named by the last digit of the start's time.
    """
    found: list[tuple[str, str, str]] = []
    for name in (f"{TASKS}/index.1", f"{TASKS}/index"):
        for line in _index(host, name):
            upid, _, rest = line.partition(" ")
            match = _UPID.match(upid)
            if match and match[2] in START_TASKS and match[3] == ctid:
                found.append((match[1], upid, rest.partition(" ")[2].strip()))
    if not found:
        return "", ""
    started, upid, status = max(found)
    path = f"{TASKS}/{started[-1]}/{upid}"
    return (path if "/" not in upid else ""), status


def _index(host: Host, name: str) -> list[str]:
    try:
        text = logfiles.end(host, name, MOST_INDEX)
    except OSError:
        return []
    return text.decode("utf-8", "replace").split("\n")
