"""apply: the assignments -> .conf of containers at rest."""

import argparse
import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from phoenix_apparmor import containers, ctconf, kernel, paths, start
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.batch import Batch
from phoenix_apparmor.cli.common import (
    Subparsers,
    add_containers,
    check_containers,
    warn_of_trouble,
)
from phoenix_apparmor.errors import PhoenixError, as_error
from phoenix_apparmor.host import NOTICE, Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.policy import files
from phoenix_apparmor.terminal.output import say, show, warn

LOCK_SECONDS = 10
# So many configurations are written at once: each is locked meanwhile, which takes a descriptor.
AT_ONCE = 100
BAD_DAYS = (PhoenixError, OSError, UnicodeError)


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
    tally = Tally()
    one_by_one = chosen
    if args.all and not args.dry_run:
        one_by_one = []
        for begin in range(0, len(chosen), AT_ONCE):
            one_by_one += _apply_many(host, known, chosen[begin : begin + AT_ONCE], tally)
    for ctid in one_by_one:
        try:
            changed = apply_to(host, ctid, known.of(ctid), dry_run=args.dry_run)
        except BAD_DAYS as error:
            tally.fail(ctid, error)
        else:
            tally.add(ctid, changed=changed)
    degraded = bool(known.trouble) or any(a and a.problem for a in map(known.of, chosen))
    for warning in without_profile(host, known, tally.done):
        warn(f"warning: {warning}")
        degraded = True
    if args.all:
        elsewhere = len(known.assigned.keys() - set(here))
        say(summary(tally.changed, tally.right, tally.failed, elsewhere, dry_run=args.dry_run))
    elif tally.right and not args.dry_run:
        say(f"{tally.right} already correct.")
    return 1 if tally.failed else 2 if degraded else 0


class Tally:
    """What became of the containers. done: those whose .conf is right now."""

    def __init__(self) -> None:
        self.changed = self.right = self.failed = 0
        self.done: list[str] = []

    def add(self, ctid: str, *, changed: bool) -> None:
        """One that is right now."""
        self.changed += changed
        self.right += not changed
        self.done.append(ctid)

    def fail(self, ctid: str, error: BaseException) -> None:
        """One that is not: it is said, and stops no other."""
        self.failed += 1
        warn(str(as_error(error).about(ctid)))


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
                "Correct the name in the JSON, then check it: phoenix-apparmor validate"
            )


def summary(changed: int, right: int, failed: int, elsewhere: int, *, dry_run: bool) -> str:
    """One sentence with the counts."""
    total = changed + right + failed
    of_all = f"{total} container{'' if total == 1 else 's'}"
    if total and right == total:
        text = f"Nothing to do: {of_all}, all already correct."
    else:
        words = "to change" if dry_run else "changed"
        text = f"{of_all}: {changed} {words}, {right} already correct, {failed} failed."
    there = f" {elsewhere} in the JSON {'is' if elsewhere == 1 else 'are'} not on this node."
    return text + (there if elsewhere else "")


def _apply_many(host: Host, known: lookup.Known, ctids: Sequence[str], tally: Tally) -> list[str]:
    """Makes some .conf right with one wait for the disk; CTIDs whose lock another task holds.

    Each is locked from before it is read until it is replaced, and no lock is waited for while
    others are held.
    """
    busy: list[str] = []
    edits: dict[str, str] = {}
    with ExitStack() as locks, Batch(host, paths.CONF_FOLDER) as batch:
        for ctid in ctids:
            name = paths.conf(ctid)
            try:
                profile = _wanted(ctid, known.of(ctid)).profile
                if ctconf.conf_says(_read_conf(host, ctid), profile):
                    tally.add(ctid, changed=False)
                elif not locks.enter_context(Lock(host, paths.conf_lock(ctid), wait=0)).held:
                    busy.append(ctid)
                else:
                    old = host.read(name)
                    batch.add(name, ctconf.set_conf_profile(old, profile))
                    edits[ctid] = start.describe_edit(old, profile)
            except BAD_DAYS as error:
                tally.fail(ctid, error)
        failed = batch.commit()
    done = []
    for ctid, change in edits.items():
        bad = failed.get(paths.conf(ctid))
        if bad is not None:
            tally.fail(ctid, bad)
        else:
            tally.add(ctid, changed=True)
            done.append((ctid, f"CT {ctid}: {change}"))
    _tell(host, known, done)
    return busy


def _tell(host: Host, known: lookup.Known, done: Sequence[tuple[str, str]]) -> None:
    """(CTID, what was done) to the terminal and to the journal."""
    names = {ctid: assigned.name for ctid, _ in done if (assigned := known.of(ctid)) is not None}
    host.journal_all(NOTICE, ((text, ctid, names.get(ctid)) for ctid, text in done))
    if done:
        say("\n".join(text for _, text in done))


def _wanted(ctid: str, assignment: Assignment | None) -> Assignment:
    """The assignment, if it can be applied; that it is only the last good one is said."""
    if assignment is None:
        raise PhoenixError(
            "is not in the JSON, so it is not managed.",
            hint="Add it to lxc_configs to assign a profile to it.",
        )
    trouble = assignment.trouble
    if trouble is not None and not assignment.name:
        raise trouble
    if trouble is not None:
        warn(f"warning: CT {ctid}: {trouble.what}")
    return assignment


def _read_conf(host: Host, ctid: str) -> bytes:
    try:
        return host.read(paths.conf(ctid))
    except (FileNotFoundError, NotADirectoryError):
        containers.check_here(host, ctid)
        raise


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
    assignment = _wanted(ctid, assignment)
    text = _read_conf(host, ctid)
    profile = assignment.profile
    if dry_run:
        return print_diff(paths.conf(ctid), text, profile)
    if ctconf.conf_says(text, profile):
        return False
    with Lock(host, paths.conf_lock(ctid), wait=patience) as lock:
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
