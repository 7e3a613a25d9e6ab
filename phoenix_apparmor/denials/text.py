"""The report as text for people. Pure."""

import time
from collections.abc import Iterable, Mapping
from itertools import groupby

from phoenix_apparmor.denials import known
from phoenix_apparmor.denials.groups import Group, Report
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.denials.source import AUDIT_LOG
from phoenix_apparmor.terminal.output import BOLD, RED, YELLOW, wrap

MOST_PROGRAMS = 3
MOST_CANDIDATES = 12
# Kinds that are told in full, those with the most denials first.
MOST_GROUPS = 20
# Of a line that is copied, and so not cut where others are.
LONGEST = 10_000
ALL_TOLD = "/sys/module/apparmor/parameters/audit"


def text(
    report: Report,
    names: Mapping[str, str],
    room: int = 80,
    *,
    colour: bool = False,
    everything: bool = False,
) -> str:
    """The report; names: CTID -> host name. Only commands and rules may be wider.

    everything: all kinds, and those that are marked as known too.
    """
    lines: list[str] = []
    shown = report.groups if everything else _top(report)
    for head, parts in groupby(shown, lambda part: _head(part, names)):
        lines += _coloured(wrap(head, room, ""), BOLD, colour=colour)
        for part in parts:
            lines += ["", *_group(part, room, colour=colour)]
        lines.append("")
    lines += _foot(report, shown, room, colour=colour)
    return "".join(f"{line}\n" for line in lines)


def _top(report: Report) -> tuple[Group, ...]:
    new = [part for part in report.groups if not part.known]
    limit = sorted((part.count for part in new), reverse=True)[:MOST_GROUPS]
    if len(new) <= MOST_GROUPS:
        return tuple(new)
    chosen = [part for part in new if part.count > limit[-1]]
    chosen += [part for part in new if part.count == limit[-1]][: MOST_GROUPS - len(chosen)]
    picked = {id(part) for part in chosen}
    return tuple(part for part in new if id(part) in picked)


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
        shown = f" ({readable(name)})" if name else ""
        return f"CT {readable(owner.ctid)}{shown}, {under}{sure}"
    if owner.candidates:
        some = ", ".join(readable(name) for name in owner.candidates[:MOST_CANDIDATES])
        more = len(owner.candidates) - MOST_CANDIDATES
        some += f" and {more} more" if more > 0 else ""
        return f"Some container under {under} (its process is gone): {some}"
    if owner.profile.startswith("lxc-"):
        return f"Some container under {under} (its process is gone)"
    return under[:1].upper() + under[1:]


def _group(part: Group, room: int, *, colour: bool) -> Iterable[str]:
    advice = part.advice
    programs = [readable(name, 40) for name in part.programs[:MOST_PROGRAMS]]
    more = len(part.programs) - len(programs)
    who = ", ".join(programs) + (f" and {more} more" if more else "") or "something"
    times = f"{part.count} times" if part.count > 1 else "once"
    yield from wrap(f"{who} tried to {part.words}", room, "  ", then="    ")
    known_one = " (marked as known)" if part.known else ""
    yield from wrap(f"{times}, {_span(part.first, part.last)}{known_one}", room, "    ")
    if advice.futile:
        warning = f"{advice.warning}. No allow rule can override that."
        yield from _coloured(wrap(warning, room, "    "), YELLOW, colour=colour)
    elif advice.line:
        where = f", in {advice.place}" if advice.place else ""
        inside = " of the container" if advice.kind == "inside" else ""
        yield from wrap(f"To allow it{where}{inside}:", room, "    ")
        yield f"      {advice.line}"
    if advice.words:
        yield from wrap(advice.words, room, "    ")
    if advice.kind == "nesting" and advice.fix:
        yield f"      {advice.fix}"
    is_shown = bool(advice.line) and not advice.futile
    if is_shown and advice.warning:
        warning = f"Better not: {advice.warning}."
        yield from _coloured(wrap(warning, room, "    "), RED, colour=colour)
    if not part.known and not (is_shown and part.mark.endswith(advice.rule)):
        yield from ("    The line that marks it as known:", f"      {readable(part.mark, LONGEST)}")


def _foot(report: Report, shown: tuple[Group, ...], room: int, *, colour: bool) -> Iterable[str]:
    since = f"since {_moment(report.since)}" if report.since else "since boot"
    where = " and ".join(report.sources)
    if not report.groups:
        yield from wrap(f"No denial of a container {since} in {where}.", room, "")
    else:
        yield from _counts(report, shown, room, f"{since}, from {where}")
    if report.left_out:
        line = f"{report.left_out} more are not listed: there were too many different kinds."
        yield from _coloured(wrap(line, room, ""), YELLOW, colour=colour)
    if report.others:
        total = sum(report.others.values())
        most = sorted(report.others.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{readable(p, 60)} ({n})" for p, n in most[:5])
        listed += ", …" if len(report.others) > 5 else ""
        yield from wrap(f"{total} more by profiles that confine no container: {listed}.", room, "")
    if report.untrusted:
        line = (
            f"{report.untrusted} ignored: sent in the name of D-Bus, by a process that is "
            "not this host's D-Bus, or is gone."
        )
        yield from _coloured(wrap(line, room, ""), YELLOW, colour=colour)
    for problem in report.problems:
        line = f"Not read: {readable(problem)}"
        yield from _coloured(wrap(line, room, ""), YELLOW, colour=colour)
    for loss in report.lost:
        line = f"There may be more: {loss}."
        yield from _coloured(wrap(line, room, ""), YELLOW, colour=colour)
    if report.lost and AUDIT_LOG not in report.sources:
        yield from wrap("To lose none: apt install auditd", room, "")
    yield from _silence(report, room)


def _counts(report: Report, shown: tuple[Group, ...], room: int, where: str) -> Iterable[str]:
    count = sum(part.count for part in report.groups)
    found = f"{count} denial{'' if count == 1 else 's'} {where}."
    local = [p for p in shown if p.advice.line and "/local/" in p.advice.place]
    after = ""
    if any(part.advice.kind == "rule" for part in local):
        after = " A rule in local/ takes effect after: phoenix-apparmor reload PROFILE."
        if any(part.owner.ctid for part in local):
            after += " Rules for one container alone: phoenix-apparmor allow CTID"
    yield from wrap(found + after, room, "")
    marked = [part for part in report.groups if part.known]
    rest = len(report.groups) - len(shown) - len([p for p in marked if p not in shown])
    if rest:
        total = count - sum(p.count for p in shown) - sum(p.count for p in marked)
        line = f"{rest} more kinds ({total} denials) are not shown: --all shows them."
        yield from wrap(line, room, "")
    if marked:
        total = sum(part.count for part in marked)
        verb = "is" if total == 1 else "are"
        yield from wrap(f"{total} of them {verb} marked as known in {known.FILE}.", room, "")
    if any(not part.known for part in shown):
        line = (
            "To mark one as known, put a line with its profile and its rule, or the line that is "
            f"shown, in {known.FILE}."
        )
        yield from wrap(line, room, "")


def _silence(report: Report, room: int) -> Iterable[str]:
    if not report.silent:
        return
    listed = ", ".join(
        f"{count} in {readable(profile)}" for profile, count in sorted(report.silent.items())
    )
    if report.logs_all:
        yield from wrap(
            f"All explicit deny rules are logged now ({ALL_TOLD}). Back to normal:", room, ""
        )
        yield f"  echo -n normal >{ALL_TOLD}"
        return
    yield from wrap(
        f'Not seen here: what deny rules without "audit" refuse ({listed}) leaves no message, by '
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
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "an unknown time"


def _coloured(lines: Iterable[str], code: str, *, colour: bool) -> Iterable[str]:
    return (f"\x1b[{code}m{line}\x1b[0m" for line in lines) if colour else lines
