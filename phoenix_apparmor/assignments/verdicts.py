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
    yield from never_matches(rule, profile)
    why = holes.hole(rule, holes.Container(ctid, profile))
    if why:
        hint = f"Better not. {holes.remedy(rule)}".strip()
        yield Verdict(f"this rule opens a hole: {why}.", hint)


def never_matches(rule: str, profile: str = "") -> Iterator[Verdict]:
    """That a rule for a mount can mean no folder, or one for a peer not the container's own.

    profile: in which the rule is; with rules of the container's it has another name.
    """
    name = mountrules.never_a_folder(" ".join(holes.split(rule)))
    if name:
        yield Verdict(
            "this rule never matches a folder: AppArmor's name of a folder ends in a slash.",
            f'Write "{name}/".',
        )
    if profile and profile in holes.peers_of(rule):
        yield Verdict(
            "this rule never matches: under rules of its own the container's profile, and so the "
            "label of its processes, has another name.",
            "Write @{profile_name} instead.",
        )
