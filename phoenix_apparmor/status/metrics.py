"""The report in the text format of Prometheus, for node-exporter's textfile collector. Pure."""

from collections.abc import Iterable, Mapping

from phoenix_apparmor.status.report import NOT_FINE, VERDICTS, Report

# Label values; see the text-based format, github.com/prometheus/docs exposition_formats.
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

# (CTID, profile) -> number of denials
Denials = Mapping[tuple[str, str], int]


def text(report: Report, denials: Denials | None) -> str:
    """All metrics; denials is None where the kernel's log cannot be read."""
    return "".join(f"{line}\n" for line in _lines(report, denials))


def _lines(report: Report, denials: Denials | None) -> Iterable[str]:
    yield from head("fine", "1 if status finds no problem, else 0.")
    yield line("fine", int(not report.is_off))
    yield from head("containers", "Containers of this node by verdict.")
    for verdict in VERDICTS:
        yield line("containers", report.count(verdict), verdict=verdict)
    yield from head("container_off", "1 for each container with which something is off.")
    for c in report.containers:
        if c.verdict in NOT_FINE:
            yield line("container_off", 1, ctid=c.ctid, name=c.name, verdict=c.verdict)
    yield from head("container_weak", "1 for each container that should be confined and is not.")
    for c in report.containers:
        if c.is_weak:
            yield line("container_weak", 1, ctid=c.ctid, name=c.name)
    yield from _profiles(report)
    if denials is not None:
        yield from head("denials", "What the kernel refused containers since boot, as logged.")
        for (ctid, profile), count in sorted(denials.items()):
            yield line("denials", count, ctid=ctid, profile=profile)


def _profiles(report: Report) -> Iterable[str]:
    yield from head("profile_fine", "Whether nothing is wrong with a profile (1), or something.")
    for p in report.profiles:
        yield line("profile_fine", int(not p.off), profile=p.name)
    yield from head("profile_mode", "1 for the mode of a profile in the kernel.")
    for p in report.profiles:
        yield line("profile_mode", 1, profile=p.name, mode=p.mode or "none")
    yield from head("profile_current", "Whether the kernel runs the text of the profile's file.")
    for p in report.profiles:
        if p.text != "unknown":
            yield line("profile_current", int(p.text == "same"), profile=p.name)


def head(name: str, what: str) -> Iterable[str]:
    """The two lines before a metric's first."""
    yield f"# HELP phoenix_apparmor_{name} {what}"
    yield f"# TYPE phoenix_apparmor_{name} gauge"


def line(name: str, value: int, /, **labels: str) -> str:
    """One sample of a gauge."""
    pairs = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
    return (
        f"phoenix_apparmor_{name}{{{pairs}}} {value}"
        if pairs
        else f"phoenix_apparmor_{name} {value}"
    )


def _escape(label: str) -> str:
    # Bytes that are no UTF-8 came in as surrogates, which the format cannot carry.
    # What cannot be printed has no meaning in a label, and the file may be shown on a terminal.
    text = label.encode("utf-8", "replace").decode()
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return shown.translate(ESCAPES)
