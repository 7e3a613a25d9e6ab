"""What several verbs share: which containers are meant."""

import argparse

from phoenix_apparmor import containers
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.terminal.output import warn

Subparsers = argparse._SubParsersAction  # noqa: SLF001  (argparse has no public name for it)


def add_containers(parser: argparse.ArgumentParser, *, everything: str) -> None:
    """CTID... or --all, one of which must be given."""
    parser.add_argument("ctids", metavar="CTID", nargs="*", help="containers of this node")
    parser.add_argument("--all", action="store_true", help=everything)


def check_containers(args: argparse.Namespace) -> None:
    """Raises PhoenixError (usage) unless there are CTIDs or --all, and only valid ones."""
    if bool(args.ctids) == args.all:
        raise PhoenixError("name at least one container, or use --all.", status=64)
    for ctid in args.ctids:
        containers.check_ctid(ctid)


def tell_late(late: PhoenixError) -> None:
    """Says who holds a lock that was not waited for longer."""
    warn(f"warning: {late}")


def warn_of_trouble(known: Known) -> None:
    """Says loudly that the last good assignments are used; raises if there are none."""
    if known.late is not None:
        tell_late(known.late)
    if known.trouble is None:
        return
    if not known.ever:
        raise known.trouble
    warn(f"warning: {known.trouble.what} The last good assignments are used.")
    if known.trouble.hint:
        warn(known.trouble.hint)
