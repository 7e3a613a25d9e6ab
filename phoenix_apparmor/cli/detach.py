"""detach: remove the hookscript from containers."""

import argparse

from phoenix_apparmor import containers
from phoenix_apparmor.cli.common import Subparsers, add_containers, check_containers
from phoenix_apparmor.errors import PhoenixError, as_error
from phoenix_apparmor.host import NOTICE, Host
from phoenix_apparmor.package import attaching
from phoenix_apparmor.terminal.output import say, warn


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of detach."""
    parser = verbs.add_parser(
        "detach",
        help="remove the hookscript from containers",
        description="Removes our hookscript, and no other, from containers of this node. Their "
        "profile lines stay, and so does the unit's drop-in.",
        epilog="example: phoenix-apparmor detach 952",
    )
    add_containers(parser, everything="all containers of this node that have it")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if none of the containers has our hookscript any more, 1 if one could not be changed."""
    check_containers(args)
    failed = 0
    for ctid in containers.here(host) if args.all else args.ctids:
        try:
            said = attaching.detach(host, ctid, dry_run=args.dry_run)
        except (PhoenixError, OSError, UnicodeError) as error:
            warn(str(as_error(error).about(ctid)))
            failed += 1
            continue
        if said:
            say(f"CT {ctid}: {said}")
            if not args.dry_run:
                host.journal(NOTICE, f"CT {ctid}: {said}", ctid=ctid)
        elif not args.all:
            say(f"CT {ctid}: does not have our hookscript, nothing done.")
    return 1 if failed else 0
