"""denials: what AppArmor refused containers, in words, and what to do about it."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from phoenix_apparmor import ctconf, paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.terminal.output import Progress, has_colour, room, show

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers
    from phoenix_apparmor.denials.groups import Report

EPILOG = """\
TIME: "2026-11-23 10:00", "10:00", today, yesterday, 2h, 30min, @SECONDS.

Harmless ones: add a line for each to /etc/phoenix-apparmor/known-denials: the
profile (* and ? as in AppArmor) and the rule as it is shown here. They are then
only counted.

exit status: 0 none, or only known ones, 2 there were others, 1 error, 64 usage

examples:
  phoenix-apparmor denials
  phoenix-apparmor denials vllm --since 30min
  phoenix-apparmor denials --json | jq -r '.denials[] | select(.ctid == "952") | .rule'
  phoenix-apparmor denials --json | jq -r '.denials[].known_as'
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of denials."""
    parser = verbs.add_parser(
        "denials",
        help="show what AppArmor refused containers, and why",
        description="Shows what the kernel's AppArmor refused containers since boot: who tried\n"
        "what, how often, when, and what to do: the smallest rule that would allow it and\n"
        "its place, another profile, or nothing; and whether that rule would open what\n"
        "the profile closes on purpose.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "container", metavar="CTID", nargs="?", help="only this container's (or its host name)"
    )
    parser.add_argument("--since", metavar="TIME", help="from this time on (default: since boot)")
    parser.add_argument("--all", action="store_true", help="all kinds, and the known ones too")
    parser.add_argument("--json", action="store_true", help="for programs (denials.schema.json)")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if there was no denial that is not known, else 2."""
    from phoenix_apparmor.denials import collect, groups, text
    from phoenix_apparmor.denials.since import parse_since

    since = parse_since(args.since, time.time()) if args.since is not None else None
    ctid = None if args.container is None else container(host, args.container)
    progress = Progress(sys.stderr)
    progress.say("reading the kernel's log")
    try:
        found = collect.report(host, since, ctid)
    finally:
        progress.clear()
    if ctid is not None and not found.groups and not _is_here(host, ctid):
        raise PhoenixError(
            f"there is no container {ctid} on this host, and the log has no denial of one.",
            hint="See: pct list",
            status=64,
        )
    if args.json:
        out = json.dumps(groups.as_json(found), indent=2, sort_keys=True) + "\n"
    else:
        out = text.text(
            found,
            names(host, found),
            room(sys.stdout),
            colour=has_colour(sys.stdout),
            everything=args.all,
        )
    show(out, colour=not args.json and has_colour(sys.stdout))
    return 2 if found.is_off else 0


def container(host: Host, word: str) -> str:
    """The container of a CTID or a host name; a name on plain LXC. Raises PhoenixError (usage)."""
    if paths.is_ctid(word):
        return word
    if word in host.names(paths.LXC_FOLDER) and host.exists(paths.runtime(word)):
        return word
    named = [
        name.removesuffix(".conf")
        for name in host.names(paths.CONF_FOLDER)
        if name.endswith(".conf") and _host_name(host, name.removesuffix(".conf")) == word
    ]
    if len(named) == 1:
        return named[0]
    if named:
        raise PhoenixError(
            f'containers {", ".join(named)} all have the host name "{word}".',
            hint="Name one by its CTID.",
            status=64,
        )
    raise PhoenixError(
        f'"{word}" is neither a valid CTID nor the host name of a container of this host.',
        hint="A CTID is a number from 100 to 999999999. See: pct list",
        status=64,
    )


def _is_here(host: Host, ctid: str) -> bool:
    return host.exists(paths.conf(ctid)) or host.exists(paths.runtime(ctid))


def _host_name(host: Host, ctid: str) -> str | None:
    conf = host.read_if_there(paths.conf(ctid)) if paths.is_ctid(ctid) else None
    return ctconf.conf_value(conf, b"hostname") if conf is not None else None


def names(host: Host, found: "Report") -> dict[str, str]:
    """CTID -> host name of the containers of a report that have one."""
    ctids = {part.owner.ctid for part in found.groups if part.owner.ctid}
    known = {ctid: _host_name(host, ctid) for ctid in ctids}
    return {ctid: name for ctid, name in known.items() if name}
