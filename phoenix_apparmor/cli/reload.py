"""reload: profile files -> kernel, only what differs."""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from phoenix_apparmor import containers, kernel, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.cli.common import tell_late
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import ERROR, NOTICE, Host
from phoenix_apparmor.policy import files, load, variants
from phoenix_apparmor.terminal.output import say, warn

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of reload."""
    parser = verbs.add_parser(
        "reload",
        help="load the profiles that differ from what the kernel has",
        description="Loads the profiles in /etc/apparmor.d that differ from what the kernel has: "
        "ours, a site's own that use our abstractions, and all that a container is assigned. "
        "Running containers keep their label and get the new rules. Nothing is ever unloaded.",
        epilog="example: phoenix-apparmor reload --dry-run",
    )
    parser.add_argument(
        "profiles", metavar="PROFILE", nargs="*", help="only these profiles (default: all)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be loaded")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if the kernel has what the files say, 1 if a profile failed."""
    if kernel.listing(host) is None:
        say("AppArmor is not in this kernel (or this is a chroot): nothing to load.")
        return 0
    everyone = _everyone(host)
    assigned = everyone.values()
    wanted = frozenset(a.profile for a in assigned if a.name and a.profile is not None)
    chosen = _named(host, args.profiles) if args.profiles else files.ours(host, wanted)
    failed = 0 if args.profiles else _tell_of_the_rest(host, chosen, everyone)
    if not chosen and not failed:
        say(f"No profile of ours in {paths.APPARMOR_D}: nothing to load.")
        return 0
    unchanged = done = 0
    for outcome in load.reload(host, chosen, dry_run=args.dry_run, late=tell_late):
        if outcome.action == "unchanged":
            unchanged += 1
        elif outcome.action in ("failed", "skipped"):
            failed += outcome.action == "failed"
            text = f"{outcome.action} {outcome.name}: {outcome.why}"
            warn(f"{text}\n{outcome.hint}")
            if outcome.action == "failed":
                host.journal(ERROR, f"{text} {outcome.hint}", profile=outcome.name)
        else:
            done += 1
            did = f"to be {outcome.action}:" if args.dry_run else outcome.action
            say(f"{did} {outcome.name}")
            if not args.dry_run:
                text = f"{outcome.action} profile {outcome.name} from {outcome.path}"
                host.journal(NOTICE, text, profile=outcome.name)
    if not args.dry_run:
        failed += _reload_variants(host, everyone)
    if unchanged and not done and not failed:
        say(f"Nothing to do: the kernel has all {unchanged} profiles as they are in the files.")
    return 1 if failed else 0


def _everyone(host: Host) -> Mapping[str, Assignment]:
    known = lookup.everyone(host, save=os.geteuid() == 0)
    if known.late is not None:
        tell_late(known.late)
    return known.assigned


def _tell_of_the_rest(
    host: Host, found: Iterable[files.ProfileFile], everyone: Mapping[str, Assignment]
) -> int:
    """Says which profiles should be there and have no text; how many."""
    unread = list(_without_file(host, found, everyone))
    for name, error in unread:
        warn(f"failed {name}: {error}")
        host.journal(ERROR, f"failed {name}: {' '.join(error.lines())}", profile=name)
    return len(unread)


def _without_file(
    host: Host, found: Iterable[files.ProfileFile], everyone: Mapping[str, Assignment]
) -> Iterator[tuple[str, PhoenixError]]:
    """Profiles that this node's containers need, or that we ship: why there is no text of them."""
    assigned = (everyone.get(ctid) for ctid in containers.here(host))
    needed = {a.profile for a in assigned if a is not None and a.name and a.profile is not None}
    needed |= {name for name in paths.SHIPPED if host.exists(f"{paths.APPARMOR_D}/{name}")}
    for name in sorted(needed - {file.name for file in found}):
        try:
            if files.find(host, name) is None:
                what = f"no file in {paths.APPARMOR_D} holds this profile."
                hint = f"Put {paths.APPARMOR_D}/{name} back, or correct the name in the JSON."
                yield name, PhoenixError(what, hint=hint)
        except PhoenixError as error:
            yield name, error


def _named(host: Host, names: list[str]) -> list[files.ProfileFile]:
    found = []
    for name in sorted(set(names)):
        file = files.find(host, name)
        if file is None:
            raise PhoenixError(
                f"no file in {paths.APPARMOR_D} holds a profile {name}.",
                hint="To list all: phoenix-apparmor status",
            )
        found.append(file)
    return found


def _reload_variants(host: Host, everyone: Mapping[str, Assignment]) -> int:
    """Profiles made for one container, of those that run: made anew; how many failed."""
    loaded = kernel.profile_list(host) or b""
    failed = 0
    for ctid, assignment in everyone.items():
        own = assignment.name and (assignment.trial or assignment.rules)
        if not own or kernel.mode_of(loaded, assignment.variants(ctid)[0]) is None:
            continue
        try:
            until = time.monotonic() + files.PARSER_SECONDS
            for name in variants.ensure(host, ctid, assignment, until, tell_late):
                say(f"replaced {name}")
                host.journal(NOTICE, f"replaced profile {name}", ctid=ctid, profile=name)
        except PhoenixError as error:
            failed += 1
            warn(str(error.about(ctid)))
    return failed
