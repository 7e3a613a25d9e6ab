"""What speaks against a rule of a container's own, in validate's words. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor.assignments import holes
from phoenix_apparmor.policy import mountrules


class Verdict(NamedTuple):
    """What speaks against a rule that is one, as a finding says it."""

    what: str
    hint: str


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
        if said.acts or said.fstypes:
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
    """That a rule for a mount can mean no folder; None if it can. judge: as for of_rule.

    The one that was meant is judged too, so that no hole is advised.
    """
    meant, names = mountrules.with_slashes(" ".join(holes.split(rule)))
    if not names:
        return None
    why = judge(f"{meant},")
    quoted = [f'"{name}"' for name in names]
    hint = f"Write {' and '.join(quoted)}."
    if why:
        hint = f"Better remove it: with a slash there it would open a hole: {why}."
    what = "this rule never matches a folder: AppArmor's name of a folder ends in a slash."
    return Verdict(what, hint)
