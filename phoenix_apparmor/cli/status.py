"""status: what is assigned, what is configured, what the kernel enforces."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.status import collect, metrics, report, text
from phoenix_apparmor.status.report import Report
from phoenix_apparmor.terminal.output import Progress, has_colour, room, show

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers
    from phoenix_apparmor.cluster.overview import Overview

# Columns of a table that nothing limits.
UNLIMITED = 10_000

EPILOG = """\
verdicts:
  ok               runs under what it is assigned
  restart pending  still runs under another profile: restart it
  drift            its .conf says another profile, nothing confines it, or its
                   entry in the JSON is invalid and the last good one is used
  refused          its last start failed, or its next one will be refused
  down             does not run, and is configured as assigned
  not managed      is not in the JSON; phoenix-apparmor leaves it alone
  unknown          what the kernel enforces on it is unknown

exit status: 0 all is well, 2 something is wrong or unknown, 1 error
with --check: 0 OK, 1 WARNING, 2 CRITICAL (containers that run without being
confined or cannot start), 3 UNKNOWN

examples:
  phoenix-apparmor status
  phoenix-apparmor status 952 953
  phoenix-apparmor status --prometheus --output /tmp/phoenix-apparmor.prom
  phoenix-apparmor status --cluster 952
  phoenix-apparmor status --check
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
    form.add_argument(
        "--check", action="store_true", help="one line for Icinga, Nagios and Checkmk, see below"
    )
    parser.add_argument(
        "--cluster", action="store_true", help="the whole cluster, as its nodes publish it"
    )
    parser.add_argument("--output", metavar="FILE", help="write to FILE, replaced as a whole")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if nothing is off, 2 if something is; with --check as Nagios has it."""
    if args.check:
        return _check(host, args)
    progress = Progress(sys.stderr)
    colour = has_colour(sys.stdout) and not args.output
    try:
        found: Report | Overview
        if args.cluster:
            shown, found = _cluster(host, args, progress, colour=colour)
        else:
            shown, found = _this_node(host, args, progress, colour=colour)
    finally:
        progress.clear()
    if args.output:
        Host().replace(os.path.abspath(args.output), shown.encode("utf-8", "backslashreplace"))
    else:
        show(shown, colour=colour)
    return 2 if found.is_off else 0


def _check(host: Host, args: argparse.Namespace) -> int:
    """One line, whatever happens: a plugin that says nothing is no answer."""
    from phoenix_apparmor.status import check

    try:
        if args.cluster:
            from phoenix_apparmor.cluster import alarms, overview

            seen = overview.inspect(host, tuple(args.ctids), progress=lambda _: None)
            found = alarms.checked(seen)
        else:
            found = check.check(collect.inspect(host, tuple(args.ctids), progress=lambda _: None))
    except PhoenixError as error:
        found = check.unknown(" ".join(error.lines()))
    except OSError as error:
        found = check.unknown(f"cannot read {error.filename}: {error.strerror}")
    line = f"{found.line}\n"
    if args.output:
        Host().replace(os.path.abspath(args.output), line.encode("utf-8", "backslashreplace"))
    else:
        show(line)
    return found.status


def _this_node(
    host: Host, args: argparse.Namespace, progress: Progress, *, colour: bool
) -> tuple[str, Report]:
    found = collect.inspect(host, tuple(args.ctids), progress=progress.say)
    if args.json:
        return json.dumps(report.as_json(found), indent=2, sort_keys=True) + "\n", found
    if args.prometheus:
        return metrics.text(found, count_denials(host)), found
    return text.text(found, room(sys.stdout), _table_room(args), colour=colour), found


def _table_room(args: argparse.Namespace) -> int:
    """Names are cut for a terminal only: who reads a pipe or a file wants all of them."""
    return room(sys.stdout) if sys.stdout.isatty() and not args.output else UNLIMITED


def _cluster(
    host: Host, args: argparse.Namespace, progress: Progress, *, colour: bool
) -> tuple[str, "Overview"]:
    from phoenix_apparmor.cluster import export, overview
    from phoenix_apparmor.cluster import text as cluster_text

    found = overview.inspect(host, tuple(args.ctids), progress=progress.say)
    if args.json:
        return json.dumps(export.as_json(found), indent=2, sort_keys=True) + "\n", found
    if args.prometheus:
        return export.prometheus(found), found
    width = room(sys.stdout)
    parts = (cluster_text.text(found, width, colour=colour),
             text.text(found.report, width, _table_room(args), colour=colour))  # fmt: skip
    return "".join(parts), found


def count_denials(host: Host) -> metrics.Denials | None:
    """Denials since boot by container and profile; None if the log cannot be read."""
    from phoenix_apparmor.denials import collect

    try:
        return collect.counts(host)
    except PhoenixError:
        return None
