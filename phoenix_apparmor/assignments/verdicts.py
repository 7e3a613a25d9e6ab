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
    yield from never_matches(rule)
    yield from opens(rule, holes.hole(rule, holes.Container(ctid, profile)), ctid, profile)


def opens(rule: str, why: str, ctid: str, profile: str) -> Iterator[Verdict]:
    """That the rule opens a hole. why: as the judge says it, "" if nothing speaks against it."""
    others = holes.of_its_profile(rule, ctid, profile)
    if why or (others and not holes.is_passive(rule)):
        hint = f"Better not. {holes.remedy(rule, why)}".strip()
        yield Verdict(f"this rule opens a hole: {why or others}.", hint)
    elif others:
        yield Verdict(f"this rule is not for the container's own: {others}.", holes.remedy(rule))


def never_matches(rule: str) -> Iterator[Verdict]:
    """That a rule for a mount can mean no folder."""
    name = mountrules.never_a_folder(" ".join(holes.split(rule)))
    if name:
        yield Verdict(
            "this rule never matches a folder: AppArmor's name of a folder ends in a slash.",
            f'Write "{name}/".',
        )
