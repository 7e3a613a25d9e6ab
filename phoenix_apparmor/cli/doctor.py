"""doctor: what is wrong on this host, how that was seen, and the command that fixes it."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from phoenix_apparmor.containers import check_ctid
from phoenix_apparmor.host import Host
from phoenix_apparmor.terminal.output import Progress, has_colour, room, show

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers

EPILOG = """\
severities:
  error    containers are not confined, or do not start
  warning  something is not as intended
  unknown  a check could not be done
  note     good to know; nothing is wrong

exit status: 0 nothing is wrong (at most notes), 2 something is wrong or unknown, 1 error

examples:
  phoenix-apparmor doctor
  phoenix-apparmor doctor 952
  phoenix-apparmor doctor --json | jq -r '.findings[] | select(.severity == "error") | .fix'
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of doctor."""
    parser = verbs.add_parser(
        "doctor",
        help="look for everything that can be wrong on this host",
        description="Checks AppArmor, the profiles, the JSON, the containers' configurations,\n"
        "Proxmox and the NVIDIA devices. For each finding it shows the evidence and the\n"
        "command that fixes it. With CTID: why that container did not start, on which\n"
        "other nodes of the cluster it could, and all that concerns it. Changes nothing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ctid", metavar="CTID", nargs="?", help="only this container")
    parser.add_argument("--json", action="store_true", help="for programs (doctor.schema.json)")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if nothing is off, 2 if something is."""
    from phoenix_apparmor.doctor import finding, last_start, text
    from phoenix_apparmor.doctor.checks import CHECKS, of_container
    from phoenix_apparmor.doctor.one_container import OneContainer

    progress = Progress(sys.stderr)
    if args.ctid is not None:
        check_ctid(args.ctid)
    checks = CHECKS if args.ctid is None else of_container(host, args.ctid)
    view = host if args.ctid is None else OneContainer(host, args.ctid)
    try:
        diagnosis = finding.examine(view, checks, progress.say)
        if args.ctid is not None:
            diagnosis = last_start.about(diagnosis, args.ctid)
    finally:
        progress.clear()
    if args.json:
        out = json.dumps(finding.as_json(diagnosis), indent=2, sort_keys=True) + "\n"
    else:
        out = text.text(diagnosis, room(sys.stdout), colour=has_colour(sys.stdout))
    show(out, colour=has_colour(sys.stdout))
    return 2 if diagnosis.is_off else 0
