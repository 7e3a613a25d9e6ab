"""The report as text for people. Pure."""

import time
from collections.abc import Iterable, Mapping
from itertools import groupby

from phoenix_apparmor.denials.groups import Group, Report
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.denials.source import AUDIT_LOG
from phoenix_apparmor.terminal.output import BOLD, RED, YELLOW, wrap

MOST_PROGRAMS = 3
ALL_TOLD = "/sys/module/apparmor/parameters/audit"


def text(report: Report, names: Mapping[str, str], room: int = 80, *, colour: bool = False) -> str:
    """All of the report; names: CTID -> host name. Only commands and rules may be wider."""
    lines: list[str] = []
    for head, parts in groupby(report.groups, lambda part: _head(part, names)):
        lines += _coloured(wrap(head, room, ""), BOLD, colour=colour)
        for part in parts:
            lines += ["", *_group(part, room, colour=colour)]
        lines.append("")
    lines += _foot(report, room, colour=colour)
    return "".join(f"{line}\n" for line in lines)


def _head(part: Group, names: Mapping[str, str]) -> str:
    owner = part.owner
    under = (
        f"profile {owner.inside} inside its own policy namespace"
        if owner.inside
        else f"profile {owner.profile}"
    )
    under = readable(under)
    if owner.ctid:
        name = names.get(owner.ctid, "")
        sure = " (the only one started under it)" if owner.how == "only" else ""
        return f"CT {owner.ctid}{f' ({readable(name)})' if name else ''}, {under}{sure}"
    if owner.candidates:
        return f"Some container under {under} (its process is gone): " + ", ".join(owner.candidates)
    if owner.profile.startswith("lxc-"):
        return f"Some container under {under} (its process is gone)"
    return under[:1].upper() + under[1:]


def _group(part: Group, room: int, *, colour: bool) -> Iterable[str]:
    programs = [readable(name) for name in part.programs[:MOST_PROGRAMS]]
    more = len(part.programs) - len(programs)
    who = ", ".join(programs) + (f" and {more} more" if more else "") or "something"
    times = f"{part.count} times" if part.count > 1 else "once"
    yield from wrap(f"{who} tried to {part.act.words}", room, "  ", then="    ")
    yield from wrap(f"{times}, {_span(part.first, part.last)}", room, "    ")
    if part.futile:
        warning = f"{part.warning}. No allow rule can take that back."
        yield from _coloured(wrap(warning, room, "    "), YELLOW, colour=colour)
        return
    if part.rule:
        yield from wrap(f"To allow it, in {part.place}:", room, "    ")
        yield f"      {part.rule}"
    if part.act.note:
        yield from wrap(part.act.note, room, "    ")
    if part.rule and part.warning:
        warning = f"Better not: {part.warning}."
        yield from _coloured(wrap(warning, room, "    "), RED, colour=colour)


def _foot(report: Report, room: int, *, colour: bool) -> Iterable[str]:
    since = f"since {_moment(report.since)}" if report.since else "since boot"
    where = " and ".join(report.sources)
    if not report.groups:
        yield from wrap(f"No denial of a container {since} in {where}.", room, "")
    else:
        count = sum(part.count for part in report.groups)
        found = f"{count} denial{'' if count == 1 else 's'} {since}, from {where}."
        local = any(part.rule and "/local/" in part.place for part in report.groups)
        after = " A rule in local/ is in force after: phoenix-apparmor reload" if local else ""
        yield from wrap(found + after, room, "")
    if report.others:
        total = sum(report.others.values())
        listed = ", ".join(f"{readable(p)} ({n})" for p, n in sorted(report.others.items())[:5])
        listed += ", …" if len(report.others) > 5 else ""
        yield from wrap(f"{total} more of profiles that confine no container: {listed}.", room, "")
    for problem in report.problems:
        yield from _coloured(wrap(f"Not read: {problem}", room, ""), YELLOW, colour=colour)
    for loss in report.lost:
        line = f"There may be more: {loss}."
        yield from _coloured(wrap(line, room, ""), YELLOW, colour=colour)
    if report.lost and AUDIT_LOG not in report.sources:
        yield from wrap("To lose none: apt install auditd", room, "")
    yield from _silence(report, room)


def _silence(report: Report, room: int) -> Iterable[str]:
    if not report.silent:
        return
    listed = ", ".join(f"{count} in {profile}" for profile, count in sorted(report.silent.items()))
    if report.logs_all:
        yield from wrap(
            f"Explicit deny rules are logged as well now ({ALL_TOLD}). Back to normal:", room, ""
        )
        yield f"  echo -n normal >{ALL_TOLD}"
        return
    yield from wrap(
        f"Not seen here: what explicit deny rules refuse ({listed}) leaves no message, by "
        "design. To have those logged too, until the next boot:",
        room,
        "",
    )
    yield f"  echo -n noquiet >{ALL_TOLD}"


def _span(first: float, last: float) -> str:
    """From when to when; the day once where it is the same."""
    if not first:
        return "at an unknown time"
    begin, end = _moment(first), _moment(last)
    if begin == end:
        return begin
    return f"{begin} to {end[11:] if begin[:10] == end[:10] else end}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _coloured(lines: Iterable[str], code: str, *, colour: bool) -> Iterable[str]:
    return (f"\x1b[{code}m{line}\x1b[0m" for line in lines) if colour else lines
