"""What speaks against a rule of a container's own, in validate's words. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor.assignments import holes, places
from phoenix_apparmor.policy import mountrules


class Verdict(NamedTuple):
    """What speaks against a rule that is one, as a finding says it.

    also_right: whether the rule may be just what is meant.
    """

    what: str
    hint: str
    also_right: bool = False


# (rule, CTID, name of its profile, all rules of its entry) -> what speaks against it.
Judge = Callable[[str, str, str, Sequence[str]], Iterable[Verdict]]


def by_text(rule: str, ctid: str, profile: str, entry: Sequence[str] = ()) -> Iterator[Verdict]:
    """The judge where nothing is known but the text."""
    del entry
    whose = holes.Container(ctid, profile)
    yield from of_rule(rule, lambda one: holes.hole(one, whose), ctid, profile)


def of_rule(rule: str, judge: Callable[[str], str], ctid: str, profile: str) -> Iterator[Verdict]:
    """What speaks against a rule. judge: why a rule opens a hole, "" if it does not."""
    never = never_matches(rule, judge)
    if never is not None:
        yield never
        said = mountrules.read(" ".join(holes.split(rule)))
        if (said.acts or said.fstypes) and not never.also_right:
            return  # (one without options is for a file on another as well)
    yield from opens(rule, judge(rule), ctid, profile)


def opens(rule: str, why: str, ctid: str, profile: str) -> Iterator[Verdict]:
    """That the rule opens a hole. why: as the judge says it, "" if nothing speaks against it."""
    others = holes.of_its_profile(rule, ctid, profile)
    if why or (others and not holes.is_passive(rule)):
        hint = f"Better not. {holes.remedy(rule, why)}".strip()
        yield Verdict(f"this rule opens a hole: {why or others}.", hint)
    elif others:
        yield Verdict(f"this rule is not for the container's own: {others}.", holes.remedy(rule))


def never_matches(rule: str, judge: Callable[[str], str]) -> Verdict | None:
    """That a rule for a mount can mean no folder, or nothing; None if it can. judge: as of_rule.

    The one that was meant is judged too, so that no hole is advised.
    """
    meant, lacking = mountrules.with_slashes(" ".join(holes.split(rule)))
    if not lacking:
        return None
    why = judge(f"{meant},")
    names = " and ".join(f'"{short.name}"' for short in lacking)
    first = lacking[0]
    is_right = first.may_be_file and not first.of_file
    what = "this rule never matches a folder: AppArmor's name of a folder ends in a slash."
    if first.of_file and places.is_device(first.name):
        return Verdict(
            "this rule matches nothing: AppArmor's name of a device or a file has no slash at its "
            "end, and it can be bound to such a one only.",
            f'Write "{first.of_file.rstrip("/")}".',
        )
    hint = f"Write {names}."
    if first.of_file:
        what = (
            "this rule matches nothing: AppArmor's name of a folder ends in a slash, that of a "
            "file does not, and only like is bound to like."
        )
        hint = f'Write {names} if it is a folder, "{first.of_file.rstrip("/")}" if it is a file.'
    elif is_right:
        what = (
            "this rule matches a file only, not a folder: AppArmor's name of a folder ends in a "
            "slash."
        )
        hint = f"If it is a folder, write {names}."
    if why and not is_right:
        hint = f"Better remove it: with a slash there it would open a hole: {why}."
    return Verdict(what, hint, also_right=is_right)
