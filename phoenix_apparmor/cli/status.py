"""status: what is assigned, what is configured, what the kernel enforces."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.status import collect, metrics, report, text
from phoenix_apparmor.terminal.output import Progress, has_colour, room, show

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers

EPILOG = """\
verdicts:
  ok               runs under what it is assigned
  restart pending  still runs under another profile: restart it
  drift            its .conf says another profile, or nothing confines it
  refused          its last start failed, or its entry in the JSON cannot be used
  down             does not run, and is configured as assigned
  not managed      is not in the JSON; phoenix-apparmor leaves it alone
  not here         on another node, configured as assigned (with --cluster)

exit status: 0 nothing is off, 2 something is, 1 error

examples:
  phoenix-apparmor status
  phoenix-apparmor status 952 953
  phoenix-apparmor status --prometheus --output /tmp/phoenix-apparmor.prom
  phoenix-apparmor status --json | jq -r '.containers[] | .ctid + " " + .verdict'
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of status."""
    parser = verbs.add_parser(
        "status",
        help="show what is assigned, configured and enforced",
        description="Shows for each container the profile that is assigned, that its .conf has\n"
        "and that the kernel enforces now; and for each profile its file and what the\n"
        "kernel has.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ctids", metavar="CTID", nargs="*", help="only these containers")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs (status.schema.json)")
    form.add_argument(
        "--prometheus", action="store_true", help="metrics for node-exporter's textfile collector"
    )
    parser.add_argument("--cluster", action="store_true", help="the other nodes' containers too")
    parser.add_argument("--output", metavar="FILE", help="write to FILE, replaced as a whole")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if nothing is off, 2 if something is."""
    progress = Progress(sys.stderr)
    try:
        found = collect.inspect(
            host, tuple(args.ctids), cluster=args.cluster, progress=progress.say
        )
    finally:
        progress.clear()
    if args.json:
        shown = json.dumps(report.as_json(found), indent=2, sort_keys=True) + "\n"
    elif args.prometheus:
        shown = metrics.text(found, count_denials(host))
    else:
        colour = has_colour(sys.stdout) and not args.output
        shown = text.text(found, room(sys.stdout), colour=colour)
    if args.output:
        Host().replace(os.path.abspath(args.output), shown.encode("utf-8", "backslashreplace"))
    else:
        show(shown, colour=has_colour(sys.stdout))
    return 2 if found.is_off else 0


def count_denials(host: Host) -> metrics.Denials | None:
    """Denials since boot by container and profile; None if the log cannot be read."""
    from phoenix_apparmor.cli import denials

    try:
        found = denials.report(host)
    except PhoenixError:
        return None
    counts: dict[tuple[str, str], int] = {}
    for part in found.groups:
        key = (part.owner.ctid, part.owner.profile or part.owner.inside)
        counts[key] = counts.get(key, 0) + part.count
    return counts
