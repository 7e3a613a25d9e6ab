"""What a check says, and how all of them are run."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from phoenix_apparmor.errors import PhoenixError, one_line
from phoenix_apparmor.host import Host

SCHEMA_VERSION = 2

# error: containers are not confined, or do not start. warning: something is not as it was
# meant. note: to be known, nothing is off. unknown: the check could not be made.
Severity = Literal["error", "warning", "note", "unknown"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "unknown", "note")


class Finding(NamedTuple):
    """One cause: what it is, how that was seen, and what helps.

    fix: a line for a shell that was run in a test and after which the finding is gone, "" where
    there is none. advice: words, for what a person has to decide or to do elsewhere.
    ctids: the containers that it concerns.
    """

    severity: Severity
    what: str
    evidence: str = ""
    fix: str = ""
    advice: str = ""
    ctids: tuple[str, ...] = ()


class Check(NamedTuple):
    """name: of the check, a word. question: what it asks, continues "cannot tell"."""

    name: str
    question: str
    run: Callable[[Host], Iterable[Finding]]


class Result(NamedTuple):
    """What one check found; nothing if all is well."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What all checks found."""

    results: tuple[Result, ...]

    def count(self, severity: Severity) -> int:
        """Findings of one severity."""
        return sum(f.severity == severity for r in self.results for f in r.findings)

    @property
    def is_off(self) -> bool:
        """Whether there is anything but notes."""
        return any(f.severity != "note" for r in self.results for f in r.findings)


def examine(host: Host, checks: Sequence[Check], progress: Callable[[str], None]) -> Diagnosis:
    """Runs every check, whatever becomes of the others."""
    results = []
    for check in checks:
        progress(f"checking {check.question}")
        findings: list[Finding] = []
        try:
            # what it found before it failed counts
            for finding in check.run(host):
                findings.append(finding)  # noqa: PERF402
        except PhoenixError as error:
            what = f"cannot tell {check.question}."
            findings.append(Finding("unknown", what, error.what, advice=error.hint))
        except Exception as error:  # noqa: BLE001  no check may take the command down
            what = f"cannot tell {check.question}: the check itself failed."
            reason = one_line(f"{type(error).__name__}: {error}")
            findings.append(Finding("unknown", what, reason))
        results.append(Result(check.name, tuple(findings)))
    return Diagnosis(tuple(results))


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """The diagnosis for programs: doctor.schema.json describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "fine": not diagnosis.is_off,
        "checks": [result.name for result in diagnosis.results],
        "findings": [
            {
                "check": result.name,
                "severity": finding.severity,
                "what": finding.what,
                "evidence": finding.evidence or None,
                "fix": finding.fix or None,
                "advice": finding.advice or None,
                "containers": list(finding.ctids),
            }
            for result in diagnosis.results
            for finding in result.findings
        ],
    }
