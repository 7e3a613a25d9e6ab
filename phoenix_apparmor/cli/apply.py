"""apply: the assignments -> .conf of containers at rest."""

import argparse
import difflib
import os
from collections.abc import Iterator

from phoenix_apparmor import containers, ctconf, kernel, paths, start
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.cli.common import (
    Subparsers,
    add_containers,
    check_containers,
    warn_of_trouble,
)
from phoenix_apparmor.errors import PhoenixError, as_error
from phoenix_apparmor.host import NOTICE, Host
from phoenix_apparmor.policy import files
from phoenix_apparmor.terminal.output import say, show, warn

LOCK_SECONDS = 10


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of apply."""
    parser = verbs.add_parser(
        "apply",
        help="write the assigned profiles into /etc/pve/lxc/CTID.conf",
        description="Writes into /etc/pve/lxc/CTID.conf what the JSON assigns, as the hookscript "
        "does at the start. A running container keeps its profile until it is started again.",
        epilog="example: phoenix-apparmor apply --all --dry-run",
    )
    add_containers(parser, everything="all containers of this node that the JSON knows")
    parser.add_argument("--dry-run", action="store_true", help="print a diff and change nothing")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if every .conf says what is assigned, 1 if one could not, 2 if it will not do."""
    check_containers(args)
    known = lookup.everyone(host, save=not args.dry_run and os.geteuid() == 0)
    warn_of_trouble(known)
    here = containers.here(host)
    chosen = [ctid for ctid in here if known.of(ctid)] if args.all else args.ctids
    changed = right = failed = 0
    done: list[str] = []
    degraded = bool(known.trouble)
    for ctid in chosen:
        assignment = known.of(ctid)
        degraded = degraded or bool(assignment and assignment.problem)
        try:
            if apply_to(host, ctid, assignment, dry_run=args.dry_run):
                changed += 1
            else:
                right += 1
            done.append(ctid)
        except (PhoenixError, OSError, UnicodeError) as error:
            warn(str(as_error(error).about(ctid)))
            failed += 1
    for warning in without_profile(host, known, done):
        warn(f"warning: {warning}")
        degraded = True
    if args.all:
        elsewhere = len(known.assigned.keys() - set(here))
        say(summary(changed, right, failed, elsewhere, dry_run=args.dry_run))
    elif right and not args.dry_run:
        say(f"{right} already right.")
    return 1 if failed else 2 if degraded else 0


def without_profile(host: Host, known: lookup.Known, ctids: list[str]) -> Iterator[str]:
    """Of profiles that are neither in a file nor in the kernel: whom that keeps from starting."""
    users: dict[str, list[str]] = {}
    for ctid in ctids:
        assignment = known.of(ctid)
        if assignment is not None and assignment.name and assignment.profile is not None:
            users.setdefault(assignment.profile, []).append(ctid)
    listing = kernel.profile_list(host)
    for name, those in users.items():
        loaded = listing is not None and kernel.mode_of(listing, name) is not None
        if not loaded and files.find(host, name) is None:
            yield (
                f"there is no profile {name}: CT {', '.join(those)} will not start. "
                "Correct the name in the JSON, which this checks: phoenix-apparmor validate"
            )


def summary(changed: int, right: int, failed: int, elsewhere: int, *, dry_run: bool) -> str:
    """One sentence with the counts."""
    total = changed + right + failed
    if total and right == total:
        text = f"Nothing to do: {total} containers, all already right."
    else:
        words = "to change" if dry_run else "changed"
        text = f"{total} containers: {changed} {words}, {right} already right, {failed} failed."
    return text + (f" {elsewhere} of the JSON are not on this node." if elsewhere else "")


def apply_to(
    host: Host,
    ctid: str,
    assignment: Assignment | None,
    *,
    dry_run: bool,
    patience: float = LOCK_SECONDS,
) -> bool:
    """Makes one .conf right, or prints the diff that would; whether there was something to do.

    patience: seconds that another task may go on holding the configuration's lock.
    """
    if assignment is None:
        raise PhoenixError(
            "is not in the JSON, so it is not managed.",
            hint="Add it to lxc_configs to assign a profile to it.",
        )
    if assignment.problem:
        if not assignment.name:
            raise PhoenixError(
                f"{assignment.problem}.",
                hint="Fix it in the JSON. To check: phoenix-apparmor validate",
            )
        last_good = f"{assignment.problem}. Its last good assignment is used: {assignment.name}."
        warn(f"warning: CT {ctid}: {last_good}")
    name = paths.conf(ctid)
    containers.check_here(host, ctid)
    text = host.read(name)
    profile = assignment.profile
    if dry_run:
        return print_diff(name, text, profile)
    if ctconf.conf_says(text, profile):
        return False
    with host.lock(paths.conf_lock(ctid), wait=patience) as lock:
        if not lock.held:
            raise PhoenixError(
                f"its configuration is locked by another task for more than {patience:g} s.",
                hint=f"Try again when that has ended. What runs: pct config {ctid}; "
                f"fuser -v {paths.conf_lock(ctid)}",
            )
        change = start.edit_conf(host, ctid, profile)
    if change is not None:
        say(f"CT {ctid}: {change}")
        host.journal(NOTICE, f"CT {ctid}: {change}", ctid=ctid, profile=assignment.name)
    return change is not None


def print_diff(name: str, old: bytes, profile: str | None) -> bool:
    """Prints the unified diff of a .conf; whether there is a difference."""
    new = ctconf.set_conf_profile(old, profile)
    before, after = (ctconf.as_text(text).split("\n") for text in (old, new))
    diff = difflib.unified_diff(before, after, name, name, lineterm="", n=2)
    show("".join(f"{line}\n" for line in diff))
    return new != old
