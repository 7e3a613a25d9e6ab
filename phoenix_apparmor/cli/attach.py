"""attach: set the hookscript on containers of the JSON."""

import argparse

from phoenix_apparmor import containers
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.cli.common import (
    Subparsers,
    add_containers,
    check_containers,
    warn_of_trouble,
)
from phoenix_apparmor.errors import PhoenixError, as_error
from phoenix_apparmor.host import NOTICE, Host
from phoenix_apparmor.package import attaching
from phoenix_apparmor.terminal.output import say, warn


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of attach."""
    parser = verbs.add_parser(
        "attach",
        help="set the hookscript on containers",
        description="Sets our hookscript on the containers of this node that the JSON knows. One "
        "that has a hookscript of its own keeps it; the unit's drop-in guards it.",
        epilog="example: phoenix-apparmor attach --all",
    )
    add_containers(parser, everything="all containers of this node that the JSON knows")
    parser.add_argument(
        "--storage", default="local", help="storage for the hookscript (default: local)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if each container is guarded, 1 if one could not be attached."""
    check_containers(args)
    known = lookup.everyone(host, save=not args.dry_run)
    warn_of_trouble(known)
    storage = attaching.check_storage(host, args.storage)
    snippet = attaching.snippet_of(storage)
    if not host.exists(snippet):
        raise PhoenixError(
            f"the hookscript is not in storage {storage.name}: {snippet} is missing.",
            hint=f"Put it there: {attaching.link_command(storage)}",
        )
    chosen = [c for c in containers.here(host) if c in known.assigned] if args.all else args.ctids
    failed = 0
    for ctid in chosen:
        try:
            if ctid not in known.assigned:
                raise PhoenixError(
                    "is not in the JSON, so it is not managed.",
                    hint="Add it to lxc_configs to assign a profile to it.",
                )
            containers.check_here(host, ctid)
            said = attaching.attach(host, ctid, storage, dry_run=args.dry_run)
        except (PhoenixError, OSError, UnicodeError) as error:
            warn(str(as_error(error).about(ctid)))
            failed += 1
            continue
        say(f"CT {ctid}: {said}")
        if said.startswith("hookscript set"):
            host.journal(NOTICE, f"CT {ctid}: {said}", ctid=ctid)
    if args.all and not chosen:
        say("No container of this node is in the JSON: nothing to attach.")
    return 1 if failed else 0
