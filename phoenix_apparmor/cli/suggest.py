"""suggest: a profile for each container that has none assigned, and why."""

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from phoenix_apparmor import containers, paths
from phoenix_apparmor.assignments import lookup, parse, validate
from phoenix_apparmor.errors import PhoenixError, from_os_error, one_line
from phoenix_apparmor.host import NOTICE, Host
from phoenix_apparmor.policy import files, rules
from phoenix_apparmor.suggest import evidence, insert, json_file, report
from phoenix_apparmor.suggest.report import Suggestion
from phoenix_apparmor.terminal.output import YELLOW, Progress, has_colour, room, warn, wrap
from phoenix_apparmor.terminal.table import Cell, Column, table

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers

EPILOG = """\
Without CTIDs: all containers of this node that the JSON does not have.

examples:
  phoenix-apparmor suggest
  phoenix-apparmor suggest --write --dry-run
  phoenix-apparmor suggest --write --trial
  phoenix-apparmor suggest --json | jq .lxc_configs
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of suggest."""
    parser = verbs.add_parser(
        "suggest",
        help="suggest a profile for containers that have none assigned",
        description="Looks at containers, from outside, and says which profile each should be\n"
        "assigned, why, and what it would no longer be allowed to do.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ctids", metavar="CTID", nargs="*", help="only these containers")
    parser.add_argument(
        "--all", action="store_true", help="also containers that already have an entry"
    )
    parser.add_argument("--write", action="store_true", help="put missing entries into the JSON")
    parser.add_argument(
        "--trial", action="store_true", help='entries with "apparmor_mode": "trial"'
    )
    parser.add_argument("--dry-run", action="store_true", help="with --write: print the diff only")
    parser.add_argument("--json", action="store_true", help="for programs (suggest.schema.json)")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0, 1 if a container cannot be looked at; what there is to do is no error."""
    source, managed = _managed(host)
    progress = Progress(sys.stderr)
    here = containers.here(host)
    try:
        named = tuple(here if args.all else args.ctids)
        found, unread = _look(host, named, managed, progress.say)
    finally:
        progress.clear()
    if args.json:
        known = sum(ctid in managed for ctid in here)
        shown = report.as_json(found, source, known, trial=args.trial)
        _print(json.dumps(shown, indent=2, sort_keys=True) + "\n")
    elif not (args.write and args.dry_run):
        colour = has_colour(sys.stdout)
        _print(_text(found, len(here), room(sys.stdout), colour=colour))
        if not args.ctids and not args.all:
            _print(_without_profile(here, managed, room(sys.stdout)))
    for error in unread:
        warn(str(error))
    if args.write:
        status = _write(host, source, report.entries(found, trial=args.trial), args)
        return status or (1 if unread else 0)
    new = report.entries(found, trial=args.trial)
    if new and not args.json:
        _print(_to_paste(source, new, room(sys.stdout)))
    return 1 if unread else 0


def _managed(host: Host) -> tuple[str, dict[str, str]]:
    """(the JSON that is read, or would be; CTID -> assigned name, "" where none is usable)."""
    found = lookup.find_json(host)
    if not found.source:
        cluster = host.exists("/etc/pve")
        return paths.JSON_FILES[0 if cluster else 1], {}
    if found.trouble is not None:
        raise found.trouble
    source = found.source
    text = host.read(source, parse.BIGGEST_JSON)
    try:
        assigned = parse.assignments(text)
    except PhoenixError as error:
        raise PhoenixError(
            f"{source} cannot be read: {error.what}",
            hint=error.hint or f"Fix it, then check it: phoenix-apparmor validate {source}",
        ) from error
    return source, {ctid: a.name or "?" for ctid, a in assigned.items()}


def _look(
    host: Host, ctids: tuple[str, ...], managed: dict[str, str], say: Callable[[str], None]
) -> tuple[list[Suggestion], list[PhoenixError]]:
    """(what is suggested, why some containers cannot be looked at)."""
    chosen = evidence.chosen(host, ctids, frozenset(managed))
    running = containers.running(host) if chosen else frozenset()
    result = []
    unread = []

    @functools.cache
    def rules_of(name: str) -> rules.Profile | None:
        file = files.find(host, name)
        try:
            return rules.effective(host, file) if file is not None else None
        except PhoenixError:
            return None

    def has_seccomp(name: str) -> bool:
        file = files.find(host, name)
        return file is not None and bool(file.seccomp)

    for number, ctid in enumerate(chosen):
        say(f"looking at CT {ctid} ({number + 1} of {len(chosen)})")
        try:
            seen = evidence.collect(host, ctid, running)
        except FileNotFoundError:
            continue  # destroyed meanwhile
        except OSError as error:
            unread.append(from_os_error(error).about(ctid))
            continue
        result.append(report.suggest(seen, managed.get(ctid, ""), rules_of, has_seccomp))
    return result, unread


def _print(text: str) -> None:
    sys.stdout.write(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    sys.stdout.flush()


def _text(found: list[Suggestion], here: int, width: int, *, colour: bool) -> str:
    if not found:
        text = (
            f"Nothing to suggest: {_all(here)} in the JSON."
            if here
            else "There is no container on this node."
        )
        return text + "\n"
    columns = [
        Column("CTID"),
        Column("NAME", shrinks=True),
        Column("KIND"),
        Column("RUNS UNDER", shrinks=True),
        Column("SUGGESTED", shrinks=True),
    ]
    rows = []
    for s in found:
        kind = "privileged" if s.privileged else "unprivileged"
        weak = s.under == "unconfined" or s.under.endswith(")")
        now = {True: one_line(s.under), False: "down", None: "?"}[s.running]
        under = Cell(now, YELLOW if weak and s.running is not None else "")
        rows.append([Cell(s.ctid), Cell(s.name or "-"), Cell(kind), under, Cell(s.profile)])
    lines = [*table(columns, rows, width, colour=colour), ""]
    for s in found:
        lines += _reasons(s, width)
    return "".join(f"{line}\n" for line in lines)


def _all(here: int) -> str:
    return (
        "the one container on this node is"
        if here == 1
        else f"all {here} containers on this node are"
    )


def _without_profile(here: list[str], managed: dict[str, str], width: int) -> str:
    """A word on those that the JSON has, but with no profile."""
    plain = [ctid for ctid in here if managed.get(ctid) in paths.NO_LINE]
    if not plain:
        return ""
    which = " ".join(plain)
    text = (
        f'{len(plain)} more {"is" if len(plain) == 1 else "are"} assigned "unconfined" or '
        f'"generated", so none of our profiles applies. To see which would fit:'
    )
    return "".join(f"{line}\n" for line in wrap(text, width, "")) + (
        f"  phoenix-apparmor suggest {which}\n"
    )


def _reasons(s: Suggestion, width: int) -> Iterable[str]:
    name = f" ({s.name})" if s.name else ""
    yield from wrap(f"CT {s.ctid}{name}: {s.profile}", width, "")
    yield from wrap(f"It {'; '.join(map(one_line, s.why))}.", width, "  ")
    if s.unsure:
        yield from wrap(s.unsure, width, "  ")
    if s.takes_away:
        yield from wrap("It would no longer have:", width, "  ")
        for line in s.takes_away:
            yield from wrap(f"- {one_line(line)}", width, "  ", then="    ")
    if s.assigned:
        same = "the same" if s.assigned == s.profile else s.assigned
        yield from wrap(f"The JSON has {same} for it.", width, "  ")
    yield ""


def _to_paste(source: str, new: dict[str, dict[str, str]], width: int) -> str:
    body = json.dumps(new, indent=4).split("\n")[1:-1]
    text = f'Add this to "lxc_configs" in {source} (or run: phoenix-apparmor suggest --write):'
    lines = wrap(text, width, "")
    return "".join(f"{line}\n" for line in [*lines, *body])


def _write(
    host: Host, source: str, new: dict[str, dict[str, str]], args: argparse.Namespace
) -> int:
    if args.dry_run:
        old = host.read_if_there(source)
        _print(json_file.diff(source, old, _with(source, old, new)))
        return 0
    written = json_file.replace_json(host, source, lambda old: _with(source, old, new))
    if args.json:
        return 0
    if not written:
        _print(f"{source} has them all already.\n")
        return 0
    listed = ", ".join(new)
    host.journal(NOTICE, f"suggest wrote CT {listed} into {source}")
    _print(f"{source}: {len(new)} {'entry' if len(new) == 1 else 'entries'} added ({listed}).\n")
    _print(
        "Each takes effect at the container's next start, through our hookscript or\n"
        "drop-in: pct reboot CTID; then: phoenix-apparmor status\n"
    )
    return 0


def _with(source: str, old: bytes | None, new: dict[str, dict[str, str]]) -> bytes:
    """The document with the new entries. Raises PhoenixError where that is not possible."""
    if not new:
        return old if old is not None else insert.new_document({})
    text = insert.new_document(new) if old is None else _inserted(source, old, new)
    broken = [
        f
        for f in validate.findings(text, lookup.schema())
        if f.severity == "error" and any(f'"{ctid}"' in f.path for ctid in new)
    ]
    if broken:
        raise PhoenixError(f"{source}: an entry would not be valid: {broken[0].what}")
    return text


def _inserted(source: str, old: bytes, new: dict[str, dict[str, str]]) -> bytes:
    try:
        return insert.insert(old, new)
    except PhoenixError as error:
        raise PhoenixError(f"{source}: {error.what}", hint=error.hint) from error
