"""The report as text for people: aligned columns, the notes below. Pure: no I/O."""

import re
from collections.abc import Iterable, Sequence

from phoenix_apparmor.errors import one_line
from phoenix_apparmor.labels import GENERATED
from phoenix_apparmor.status.report import NOT_FINE, Container, Note, Profile, Report
from phoenix_apparmor.terminal.output import GREEN, PLAIN, RED, YELLOW, wrap
from phoenix_apparmor.terminal.table import Cell, Column, table

SAME = "same"
# So many containers are named one by one.
FEW = 3


def text(report: Report, room: int = 80, table_room: int = 80, *, colour: bool = False) -> str:
    """All of the report: lines of at most room columns but for commands to paste, tables of at
    most table_room.
    """
    lines = [*_paragraphs(report.trouble, "", room, colour=colour)]
    parts = [lines, [*_container_lines(report, table_room, colour=colour)]]
    parts.append([*_profile_lines(report.profiles, table_room, colour=colour)])
    notes: list[str] = []
    for where, note in _gathered(report.containers):
        notes += _paragraphs([note], where, room, colour=colour)
    for profile in report.profiles:
        notes += _paragraphs(profile.notes, f"{profile.name}: ", room, colour=colour)
    parts += [notes, [*_summary(report, room)]]
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts if part)


def _gathered(containers: Sequence[Container]) -> Iterable[tuple[str, Note]]:
    """("CT 952: ", note) of each, the same words about more than a few containers once."""
    alike: dict[str, list[tuple[str, Note]]] = {}
    for c in containers:
        for note in c.notes:
            alike.setdefault(note.what, []).append((c.ctid, note))
    for group in alike.values():
        if len(group) <= FEW:
            for ctid, note in group:
                yield f"CT {ctid}: ", note
        else:
            first = ", ".join(ctid for ctid, _ in group[:FEW])
            ctid, note = group[0]
            hint = note.hint.replace(ctid, "CTID")
            yield f"CT {first} and {len(group) - FEW} more: ", Note(note.what, hint)


def _container_lines(report: Report, room: int, *, colour: bool) -> Iterable[str]:
    if not report.containers:
        return []
    cluster = any(c.node for c in report.containers)
    columns = [Column("CTID"), Column("NAME", shrinks=True)]
    columns += [Column("NODE", shrinks=True)] if cluster else []
    columns += [Column(title, shrinks=True) for title in ("ASSIGNED", "IN .CONF", "ENFORCED")]
    columns += [Column("SEEN")] if cluster else []
    columns.append(Column("VERDICT"))
    rows = []
    for c in report.containers:
        row = [Cell(c.ctid), Cell(c.name.strip() or "-")]
        row += [Cell(c.node or "(this)")] if cluster else []
        row += [Cell(c.profile if c.assigned else "-"), Cell(_conf(c)), _enforced(c)]
        row += [Cell(short_age(c.age))] if cluster else []
        rows.append([*row, Cell(c.verdict, _verdict_colour(c))])
    return table(columns, rows, room, colour=colour)


def short_age(age: int | None) -> str:
    """Seconds as a table shows them: "now", "45 s", "3 min", "2 h", "5 d"; "?": unknown."""
    if age is None:
        return "?"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if age >= size:
            return f"{age // size} {unit}"
    return f"{age} s" if age else "now"


def _conf(c: Container) -> str:
    # the right name, but twice, or "generated" written out
    wrong = any(note.fix.startswith("phoenix-apparmor apply") for note in c.notes)
    return SAME if c.assigned and c.in_conf == c.profile and not wrong else (c.in_conf or "?")


def _enforced(c: Container) -> Cell:
    if c.enforced is None:
        return Cell("-" if c.running is False else "?")
    if c.enforced == "unconfined":
        return Cell(c.enforced, RED)
    return Cell(SAME if c.assigned and c.enforced == c.profile else c.enforced)


def _verdict_colour(c: Container) -> str:
    if c.verdict == "ok":
        return GREEN
    if c.verdict in NOT_FINE:
        return YELLOW if c.verdict in ("restart pending", "unknown") else RED
    return PLAIN


def _profile_lines(profiles: Sequence[Profile], room: int, *, colour: bool) -> Iterable[str]:
    if not profiles:
        return []
    columns = [
        Column("PROFILE", shrinks=True),
        Column("FILE"),
        Column("KERNEL"),
        Column("KERNEL RUNS"),
        Column("USED BY"),
    ]
    words = {"same": "this file", "differs": "another text", "not loaded": "-", "broken": "?"}
    rows = []
    for p in profiles:
        kernel = p.mode or ("?" if p.text == "unknown" else "not loaded")
        rows.append(
            [
                Cell(p.name, PLAIN),
                Cell(p.conffile),
                Cell(kernel, PLAIN if p.mode in ("enforce", "kill", None) and not p.off else RED),
                Cell(words.get(p.text, "?"), RED if p.text == "differs" else PLAIN),
                Cell(_used_by(p.used_by)),
            ]
        )
    return table(columns, rows, room, colour=colour)


def _used_by(ctids: Sequence[str]) -> str:
    if not ctids:
        return "-"
    if len(ctids) <= FEW:
        return " ".join(ctids)
    return f"{len(ctids)} containers"


def _paragraphs(notes: Sequence[Note], where: str, room: int, *, colour: bool) -> Iterable[str]:
    """Each note wrapped, its way out on lines of its own, indented by two."""
    for note in notes:
        what = wrap(one_line(where + note.what), room, "")
        if colour and not where:
            what = [f"\x1b[{RED}m{line}\x1b[0m" for line in what]
        yield from what
        if note.hint:
            # A command, after ": " up to ";", stays in one line, to be pasted.
            kept = re.sub(r"(?<=: )[^;]+", lambda m: m[0].replace(" ", "\xa0"), one_line(note.hint))
            yield from (line.replace("\xa0", " ") for line in wrap(kept, room, "  "))


def _summary(report: Report, room: int) -> Iterable[str]:
    verdicts: dict[str, int] = {}
    for c in report.containers:
        verdicts[c.verdict] = verdicts.get(c.verdict, 0) + 1
    total = len(report.containers)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    text = f"{total} container{'' if total == 1 else 's'}: {counts}." if total else "No containers."
    if report.elsewhere:
        count = len(report.elsewhere)
        text += f" {count} more in the JSON {'is' if count == 1 else 'are'} not on this node."
    yield from wrap(text, room, "")
    plain = [c.ctid for c in report.containers if c.assigned == "unconfined"]
    if plain:
        which = ", ".join(plain) if len(plain) <= 5 else f"{len(plain)} containers"
        yield from wrap(
            f'"unconfined" (assigned to {which}) means no profile line, so Proxmox\'s own '
            f"{GENERATED} profile applies.",
            room,
            "",
        )
