"""denials: what AppArmor refused containers, in words, and the rule that would allow it."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from phoenix_apparmor import ctconf, paths, trial
from phoenix_apparmor.host import Host
from phoenix_apparmor.terminal.output import Progress, has_colour, room, show

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers
    from phoenix_apparmor.denials.groups import Report

EPILOG = """\
TIME: "2026-11-23 10:00", "10:00", today, yesterday, 2h, 30min, @SECONDS.

examples:
  phoenix-apparmor denials
  phoenix-apparmor denials 952 --since 30min
  phoenix-apparmor denials --json | jq '.denials[] | select(.ctid == "952") | .rule'
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of denials."""
    parser = verbs.add_parser(
        "denials",
        help="show what AppArmor refused containers, and why",
        description="Shows what the kernel's AppArmor refused containers since boot: who tried "
        "what, how often, when, the smallest rule that would allow it, and whether that rule "
        "would open what the profile closes on purpose.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ctid", metavar="CTID", nargs="?", help="only this container's")
    parser.add_argument("--since", metavar="TIME", help="only from this time on (since boot)")
    parser.add_argument("--json", action="store_true", help="for programs (denials.schema.json)")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 whether there were denials or not; 1 if the kernel's log cannot be read."""
    from phoenix_apparmor.denials import groups, source, text

    since = source.parse_since(args.since, time.time()) if args.since else None
    progress = Progress(sys.stderr)
    progress.say("reading the kernel's log")
    try:
        found = report(host, since, args.ctid)
    finally:
        progress.clear()
    if args.json:
        out = json.dumps(groups.as_json(found), indent=2, sort_keys=True) + "\n"
    else:
        out = text.text(found, names(host, found), room(sys.stdout), colour=has_colour(sys.stdout))
    show(out, colour=has_colour(sys.stdout))
    return 0


def report(host: Host, since: float | None = None, ctid: str | None = None) -> "Report":
    """All denials since a time (None: since boot), or those of one container."""
    from phoenix_apparmor.denials import groups, source
    from phoenix_apparmor.denials.closing import Closed
    from phoenix_apparmor.denials.owner import Owners

    log = source.read(host, since)
    closed = Closed(host)
    denials = [trial.as_assigned(host, denial) for denial in log.denials]
    parts, others = groups.group(denials, Owners(host), closed)
    if ctid is not None:
        parts, others = groups.only_of(parts, ctid), {}
    return groups.Report(
        log.since,
        log.sources,
        log.lost,
        log.problems,
        parts,
        others,
        dict(closed.silent()),
        closed.logs_all(),
    )


def names(host: Host, found: "Report") -> dict[str, str]:
    """CTID -> host name of the containers of a report that have one."""
    result = {}
    for ctid in {part.owner.ctid for part in found.groups if part.owner.ctid}:
        conf = host.read_if_there(paths.conf(ctid)) if paths.is_ctid(ctid) else None
        name = ctconf.conf_value(conf, b"hostname") if conf is not None else None
        if name:
            result[ctid] = name
    return result
