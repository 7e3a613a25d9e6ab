"""publish: this node's report, for the cluster's other nodes."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from phoenix_apparmor.host import Host

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers

EPILOG = """\
exit status: 0 published, or nothing to publish; 2 no quorum; 1 error

examples:
  phoenix-apparmor publish
  phoenix-apparmor publish --dry-run | jq .devices
  systemctl list-timers phoenix-apparmor-publish.timer
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of publish."""
    parser = verbs.add_parser(
        "publish",
        help="publish this node's report for the cluster's other nodes",
        description="Writes what status knows about this node to a file of its own in /etc/pve,\n"
        "where the other nodes' status --cluster reads it. Only root can read it. A timer\n"
        "does this every five minutes, and after each start and stop of a container.\n"
        "It is written only if it changed, and at most once a minute.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="wait until it may be written")
    how.add_argument("--dry-run", action="store_true", help="show the report, write nothing")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """2 where there is no quorum."""
    from phoenix_apparmor import paths
    from phoenix_apparmor.cluster import members, publish

    me = members.need(host).me
    if args.dry_run:
        sys.stdout.write(publish.document(host, me, time.time()).decode("ascii"))
        return 0
    result = publish.publish(host, wait=args.wait)
    path = paths.published(me)
    if result == "no quorum":
        sys.stderr.write(
            "not published: the cluster has no quorum, so /etc/pve is read-only.\n"
            "It is tried again every five minutes. See: pvecm status\n"
        )
        return 2
    said = {
        "written": f"Published in {path}.",
        "unchanged": f"Nothing changed since {path} was written.",
        "too soon": "Published less than a minute ago (or more, if the report is large); "
        "nothing written. To wait until it may be: phoenix-apparmor publish --wait",
        "busy": "Another publish is already running; nothing written.",
    }
    sys.stdout.write(f"{said[result]}\n")
    return 0
