"""The diagnosis as text for people. Pure."""

import re
from collections.abc import Iterable

from phoenix_apparmor.doctor.finding import SEVERITIES, Diagnosis, Finding, Severity
from phoenix_apparmor.errors import one_line
from phoenix_apparmor.terminal.output import BOLD, RED, YELLOW, wrap

COLOURS: dict[Severity, str] = {"error": RED, "warning": YELLOW, "unknown": YELLOW, "note": BOLD}


def text(diagnosis: Diagnosis, room: int = 80, *, colour: bool = False) -> str:
    """All of the diagnosis, worst first; only what is to be pasted may be wider than room."""
    lines: list[str] = []
    for severity in SEVERITIES:
        for result in diagnosis.results:
            for finding in result.findings:
                if finding.severity == severity:
                    lines += [*_finding(finding, room, colour=colour), ""]
    lines += wrap(_summary(diagnosis), room)
    return "".join(f"{line}\n" for line in lines)


def _finding(finding: Finding, room: int, *, colour: bool) -> Iterable[str]:
    head, *rest = wrap(f"{finding.severity}: {one_line(finding.what)}", room, then="  ")
    if colour:
        code = COLOURS[finding.severity]
        head = f"\x1b[{code}m{finding.severity}\x1b[0m" + head.removeprefix(finding.severity)
    yield head
    yield from rest
    if finding.evidence:
        yield from wrap(f"seen: {one_line(finding.evidence)}", room, "  ", then="        ")
    if finding.fix:
        # never broken: it is to be pasted
        yield f"  fix:  {one_line(finding.fix)}"
    if finding.advice:
        kept = _whole_commands(one_line(finding.advice))
        label = "or:   " if finding.fix else "help: "
        lines = wrap(f"{label}{kept}", room, "  ", then="        ")
        yield from (line.replace("\xa0", " ") for line in lines)


def _whole_commands(words: str) -> str:
    """words with commands (behind ": ", up to the end or a semicolon) in one piece."""
    return re.sub(r"(?<=: )(?:phoenix-apparmor|pct|apt|journalctl|systemctl)[^;]+",
                  lambda m: m[0].replace(" ", "\xa0"), words)  # fmt: skip


def _summary(diagnosis: Diagnosis) -> str:
    total = len(diagnosis.results)
    quiet = sum(not result.findings for result in diagnosis.results)
    counts = [(severity, diagnosis.count(severity)) for severity in SEVERITIES]
    words = [
        f"{count} {severity}{'' if count == 1 or severity == 'unknown' else 's'}"
        for severity, count in counts
        if count
    ]
    if not words:
        return f"{total} checks, nothing is off."
    return f"{total} checks, {quiet} found nothing; {', '.join(words)}."
