"""allow: from what a container was refused to the rules that allow it."""

import argparse
import os
import time
from typing import TYPE_CHECKING

from phoenix_apparmor import containers, kernel, paths
from phoenix_apparmor.assignments import lookup, rules
from phoenix_apparmor.assignments.parse import FIX, Assignment
from phoenix_apparmor.cli.common import tell_late, warn_of_trouble
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import NOTICE, Host
from phoenix_apparmor.policy import files, load, variants
from phoenix_apparmor.suggest import allowing, insert, json_file
from phoenix_apparmor.suggest.allowing import Helped, Plan
from phoenix_apparmor.terminal.output import say, show, wrap

if TYPE_CHECKING:
    from phoenix_apparmor.cli.common import Subparsers

WIDTH = 80

EPILOG = """\
The rules go into "apparmor_rules" of the container's JSON entry; with --profile into
/etc/apparmor.d/local/PROFILE, for all containers under it. A rule that would open what
the profile closes on purpose is taken only if it is named: --also 'RULE'.

exit status: 0 all is allowed now, 2 something is left, 1 error

examples:
  phoenix-apparmor allow 952 --dry-run
  phoenix-apparmor allow 952
  phoenix-apparmor allow 952 --enforce
"""


def add(verbs: "Subparsers[argparse.ArgumentParser]") -> None:
    """The arguments of allow."""
    parser = verbs.add_parser(
        "allow",
        help="allow a container what it was refused",
        description="Makes rules of what AppArmor refused a container, or would have refused it\n"
        "in its trial: the narrowest that still match next time. It lists what it left\n"
        "out, and why.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ctid", metavar="CTID", help="the container")
    parser.add_argument(
        "--profile", action="store_true", help="for all containers under its profile"
    )
    parser.add_argument(
        "--also",
        metavar="RULE",
        action="append",
        default=[],
        help="also this rule (can be repeated)",
    )
    parser.add_argument("--since", metavar="TIME", help="only what was refused from this time on")
    parser.add_argument("--enforce", action="store_true", help="end the container's trial")
    parser.add_argument("--dry-run", action="store_true", help="print the diff and change nothing")
    parser.set_defaults(run=run)


def run(host: Host, args: argparse.Namespace) -> int:
    """0 if nothing is left, 2 if something is."""
    from phoenix_apparmor.denials import collect
    from phoenix_apparmor.denials.judge import Judge
    from phoenix_apparmor.denials.since import parse_since

    ctid = args.ctid
    containers.check_ctid(ctid)
    known = lookup.everyone(host, save=not args.dry_run and os.geteuid() == 0)
    warn_of_trouble(known)
    assignment = _usable(ctid, known.of(ctid))
    since = parse_since(args.since, time.time()) if args.since is not None else None
    refused = collect.report(host, since, ctid).groups
    parts = allowing.found(host, ctid, assignment, refused, args.also)
    if since is not None:
        parts = [part for part in parts if part.last >= since]
    present = _present(host, assignment, of_all=args.profile)
    judge = Judge(host)
    whose = judge.container("" if args.profile else ctid, assignment.profile or "")
    plan = allowing.plan(parts, ctid, present, judge, whose, args.also)
    _check_named(plan, args.also)
    many = [helped for helped in plan.left if helped.many]
    goes_on = bool(args.enforce and assignment.trial and many)
    # what works in the trial would not work after it
    args.enforce = args.enforce and not goes_on
    into_json = not args.dry_run and not args.profile
    _compile(host, ctid, assignment, plan.rules, keep=into_json)
    if args.profile:
        _into_profile(host, ctid, assignment, plan, dry_run=args.dry_run)
    if args.enforce or (plan.rules and not args.profile):
        _into_json(host, known.source, ctid, assignment, plan, args)
    if not args.dry_run:
        _say_what_is_next(host, ctid, assignment, plan, args)
    _tell(plan, dry_run=args.dry_run)
    if goes_on:
        say("Its trial goes on, as so much was left out. Take that with --also, or end the trial "
            f"without it: phoenix-apparmor allow {ctid} --enforce --since 0s")  # fmt: skip
    return 2 if plan.left else 0


def _usable(ctid: str, assignment: Assignment | None) -> Assignment:
    if assignment is None:
        raise PhoenixError(
            "is not in the JSON, so it has no rules of its own.",
            hint=f"Give it a profile first: phoenix-apparmor suggest {ctid} --write",
            ctid=ctid,
        )
    if assignment.problem:
        raise PhoenixError(
            f"{assignment.problem}.",
            hint=FIX,
            ctid=ctid,
        )
    if assignment.profile is None:
        raise PhoenixError(
            f"is assigned {assignment.name}, which takes no rules.",
            hint=f"See which profile it could have: phoenix-apparmor suggest {ctid}",
            ctid=ctid,
        )
    return assignment


def _local(assignment: Assignment) -> str:
    return f"{paths.APPARMOR_D}/local/{assignment.profile}"


def _present(host: Host, assignment: Assignment, *, of_all: bool) -> tuple[str, ...]:
    """Rules that the container has already: its own, and its profile's local ones.

    of_all: only those that all containers under its profile have.
    """
    local = host.read_if_there(_local(assignment)) or b""
    lines = local.decode("utf-8", "surrogateescape").split("\n")
    return (*(() if of_all else assignment.rules), *(line.strip() for line in lines))


def _check_named(plan: Plan, named: list[str]) -> None:
    known = {helped.rule for helped in (*plan.taken, *plan.present, *plan.left)}
    for rule in named:
        wrong = rules.problem(rule) if rule.endswith(",") else "has no comma at its end"
        if wrong:
            raise PhoenixError(f"--also: the rule {wrong}: {rule}", status=64)
        if rule not in known:
            raise PhoenixError(
                f"nothing that was refused needs the rule: {rule}",
                hint="--also takes a rule as allow shows it, or one that allows the same and more.",
                status=64,
            )


def _compile(
    host: Host, ctid: str, assignment: Assignment, rules: tuple[str, ...], *, keep: bool
) -> None:
    """Raises PhoenixError where the profile with these rules would not compile."""
    if rules and host.has_program("apparmor_parser"):
        variants.check(host, ctid, assignment, (*assignment.rules, *rules), keep=keep)


def _into_json(
    host: Host,
    source: str,
    ctid: str,
    assignment: Assignment,
    plan: Plan,
    args: argparse.Namespace,
) -> None:
    new = () if args.profile else plan.rules

    def change(old: bytes | None) -> bytes:
        text = old or b""
        if new:
            text = insert.add_items(text, ctid, "apparmor_rules", new)
        if args.enforce:
            text = insert.set_key(text, ctid, "apparmor_mode", None)
        return text

    if args.dry_run:
        before = host.read(source)
        show(json_file.diff(source, before, change(before)))
        return
    if json_file.replace_json(host, source, change):
        what = [f"wrote {_rules(len(new))}"] if new else []
        what += ["ended its trial"] if args.enforce and assignment.trial else []
        say(f"CT {ctid}: {' and '.join(what)} in {source}.")
        host.journal(NOTICE, f"allow CT {ctid}: {' '.join(new)}", ctid=ctid)


def _rules(number: int) -> str:
    return f"{number} rule{'' if number == 1 else 's'}"


def _into_profile(
    host: Host, ctid: str, assignment: Assignment, plan: Plan, *, dry_run: bool
) -> None:
    name = _local(assignment)
    old = host.read_if_there(name)
    if not plan.rules:
        return
    text = old or b""
    if text and not text.endswith(b"\n"):
        text += b"\n"
    lines = "".join(f"{rule}\n" for rule in plan.rules)
    new = text + f"# CT {ctid}\n{lines}".encode("utf-8", "surrogateescape")
    if dry_run:
        show(json_file.diff(name, old, new))
        return
    host.make_folder(os.path.dirname(name))
    host.replace(name, new)
    say(f"{_rules(len(plan.rules))} written into {name}.")
    file = files.find(host, assignment.profile or "")
    outcomes = list(load.reload(host, [file], late=tell_late)) if file is not None else []
    for outcome in outcomes:
        if outcome.action == "failed":
            raise PhoenixError(outcome.why, hint=outcome.hint)


def _say_what_is_next(
    host: Host, ctid: str, assignment: Assignment, plan: Plan, args: argparse.Namespace
) -> None:
    """Loads what is loaded already anew, and says whether a restart is needed."""
    if not plan.rules and not args.enforce:
        return
    later = lookup.everyone(host, save=os.geteuid() == 0).of(ctid)
    modes = kernel.all_modes(kernel.profile_list(host) or b"")
    if later is None or later.problem:
        what = (
            f"its entry is invalid: {later.problem}" if later else "its entry is gone from the JSON"
        )
        raise PhoenixError(f"{what}.", hint=FIX, ctid=ctid)
    names = later.variants(ctid)
    if names == assignment.variants(ctid) and names[0] in modes:
        until = time.monotonic() + files.PARSER_SECONDS
        variants.ensure(host, ctid, later, until, tell_late)
        say("They are in force now.")
    elif not args.profile or args.enforce:
        say(f"This takes effect at its next start: pct reboot {ctid}")


def _tell(plan: Plan, *, dry_run: bool) -> None:
    if plan.taken:
        say("To be allowed:" if dry_run else "Allowed:")
        for helped in plan.taken:
            _line(helped)
    if plan.present:
        count = len(plan.present)
        say(f"{count} more {'is' if count == 1 else 'are'} already allowed by its rules.")
    for many, why in (
        (False, "they would open what is closed on purpose"),
        (True, "they are guesses, for names that nobody asked for too"),
    ):
        holes = [helped for helped in plan.left if helped.named and helped.many is many]
        if holes:
            say(f"Left out, as {why} (to add one: --also 'RULE'):")
        for helped in holes:
            _line(helped)
            say("\n".join(wrap(f"Better not: {helped.why}.", WIDTH, "    ")))
    _tell_why(
        "Not written by allow (to see where a rule for it goes: phoenix-apparmor denials):",
        [helped for helped in plan.left if helped.beyond],
    )
    others = [helped for helped in plan.left if not helped.named and not helped.beyond]
    _tell_why("No rule can allow these:", others)
    if not (plan.taken or plan.present or plan.left):
        say("Nothing was refused: there is nothing to allow.")


def _tell_why(head: str, left: list[Helped]) -> None:
    if left:
        say(head)
    for helped in left:
        _line(helped)
        say("\n".join(wrap(f"{helped.why}.", WIDTH, "    ")))


def _line(helped: Helped) -> None:
    times = "once" if helped.count == 1 else f"{helped.count} times"
    say("\n".join(wrap(f"{helped.words} ({times})", WIDTH, "  ", then="    ")))
    if helped.rule:
        say(f"    {helped.rule}")
    if helped.rule and helped.about:
        say("\n".join(wrap(helped.about, WIDTH, "    ")))
