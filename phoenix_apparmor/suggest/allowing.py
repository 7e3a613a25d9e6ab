"""What a container was refused, or would have been, -> rules that allow it. Pure but for found().

The rules are those that denials shows. What would open a hole is left out unless it was named.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from phoenix_apparmor import trial
from phoenix_apparmor.assignments import rules
from phoenix_apparmor.assignments.holes import Container
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.denials import allowed, collect
from phoenix_apparmor.denials.asked import asked
from phoenix_apparmor.denials.groups import Group
from phoenix_apparmor.denials.judge import Judge
from phoenix_apparmor.denials.owner import Owner
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.host import Host

# A rule for a file as denials makes them: its name, its permissions.
_FILE = re.compile(r'(".*") ([rwamlk]*(?:ix)?),')


@dataclass(frozen=True)
class Helped:
    """One thing that was refused, and the rule for it.

    rule: "" if there is none. why: why it is left out, or no rule can allow it; "" if it is taken.
    named: whether a rule that is left out can be named to be taken all the same. present:
    whether its rules or its profile's allow it already. about: what else the rule does.
    beyond: whether there may be a rule for it, but in another place than allow writes to. many:
    whether it was left out for the number of its names.
    """

    words: str
    count: int
    rule: str
    why: str = ""
    named: bool = False
    present: bool = False
    about: str = ""
    beyond: bool = False
    many: bool = False


@dataclass(frozen=True)
class Plan:
    """What allow does: rules that are taken, those the container has, what is left."""

    taken: tuple[Helped, ...]
    present: tuple[Helped, ...]
    left: tuple[Helped, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The new rules, each once."""
        return tuple(dict.fromkeys(helped.rule for helped in self.taken))


def found(
    host: Host,
    ctid: str,
    assignment: Assignment,
    refused: Iterable[Group],
    named: Sequence[str] = (),
) -> list[Group]:
    """All that the container was refused, and what its trial saw.

    That of a trial that has ended is still asked for until the container has left it, and where
    rules are named: they were shown while it lasted.
    """
    result = list(refused)
    profile = assignment.profile
    if profile is not None and (assignment.trial or named or trial.began(host, ctid, profile)):
        seen = trial.seen(host, {ctid: profile})[ctid]
        result += collect.judged(host, seen.denials or ())
    return result


def plan(
    parts: Iterable[Group],
    ctid: str,
    present: Sequence[str],
    judge: Judge,
    whose: Container,
    named: Sequence[str] = (),
) -> Plan:
    """What to do about these. named: rules to take although they open a hole.

    whose: the rules will be; those of no container are for all under the profile.
    """
    merged: dict[tuple[str, str, str], Helped] = {}
    for part in parts:
        if part.advice.allowed and part.advice.rule and not whose.ctid:
            # its own entry allows it, and the others under the profile have none
            part = replace(part, advice=part.advice._replace(allowed=False))  # noqa: PLW2901
        helped = _by_name(_helped(part, ctid, named, judge, whose), named)
        key = (helped.rule or helped.words, helped.why, "" if helped.rule else helped.words)
        before = merged.get(key)
        count = helped.count + (before.count if before is not None else 0)
        merged[key] = replace(helped, count=count)
    taken, had, left = [], [], []
    for helped in merged.values():
        if helped.present or (helped.rule and helped.rule in present):
            had.append(helped)
        elif helped.why:
            left.append(helped)
        else:
            taken.append(helped)
    return Plan(tuple(_with_widest(taken, named)), tuple(had), tuple(left))


def _with_widest(taken: Sequence[Helped], named: Sequence[str]) -> Iterator[Helped]:
    """The same, each with the rule among them that covers its own, so that it is not written."""
    written = [helped.rule for helped in taken]
    for helped in taken:
        own = helped.rule
        # the widest has the most permissions
        wider = max((r for r in written if _covers(r, own)), key=len, default=own)
        yield helped if own in named else replace(helped, rule=wider)


def _covers(wider: str, rule: str) -> bool:
    """Whether a rule for a file allows on the same names all that another does, and more."""
    more, less = _FILE.fullmatch(wider), _FILE.fullmatch(rule)
    if more is None or less is None or more[1] != less[1]:
        return False
    return {*less[2], *_with(less[2])} < {*more[2], *_with(more[2])}


def _with(perms: str) -> str:
    return "a" if "w" in perms else ""  # whoever may write may append


def _by_name(helped: Helped, named: Sequence[str]) -> Helped:
    """The same with the rule that was named and allows it, if there is one."""
    acts = asked(helped.rule) if helped.rule and not helped.present else ()
    for rule in named:
        allows = allowed.of_lines([rule])
        if acts and all(allows.first(act, helped.rule) is not None for act in acts):
            return replace(helped, rule=rule, why="", named=False, many=False)
    return helped


def _helped(part: Group, ctid: str, named: Sequence[str], judge: Judge, whose: Container) -> Helped:
    words, rule = part.words, part.advice.rule
    if part.advice.futile:
        why = f"{part.advice.warning}; no rule can override that"
        why += f". {part.advice.words.removesuffix('.')}" if part.advice.words else ""
        return Helped(words, part.count, "", why)
    why = _of_another_place(part, ctid, rule, "" if whose.ctid else whose.profile)
    if why:
        return Helped(words, part.count, "", why, beyond=True)
    if not part.advice.allowed and (not rule or rules.problem(rule)):
        why = part.advice.words.removesuffix(".") or "no rule allows that"
        return Helped(words, part.count, "", why)
    if part.advice.allowed:
        return Helped(words, part.count, "", present=True)
    hole = part.advice.warning or judge.hole(rule, whose)
    if hole and rule not in named:
        many, about = part.advice.many, part.advice.about
        return Helped(words, part.count, rule, hole, named=True, about=about, many=many)
    return Helped(words, part.count, rule, about=part.advice.about)


def _of_another_place(part: Group, ctid: str, rule: str, profile: str) -> str:
    """Why a rule of the container's would not help, "" if one would.

    profile: that for which the rules are; then it does not matter which container it was.
    """
    if part.owner.inside:
        return f"profile {part.owner.inside} inside its own policy namespace refused it"
    its_own = bool(profile) and part.owner.profile == profile and ctid in part.owner.candidates
    if part.owner.ctid != ctid and not its_own:
        others = ", ".join(part.owner.candidates)
        return (
            f"the log does not say whose it was ({others}); a trial of this container would, and "
            "--profile allows it to all of them"
        )
    return _under_another(part.owner, rule) if not part.advice.allowed else ""


def _under_another(owner: Owner, rule: str) -> str:
    """That what refused it is no profile in which rules of the container's are; "" if it is."""
    if owner.how == "name":
        return "it ran under Proxmox's generated profile then"
    if rule and (owner.child or not owner.profile.startswith("lxc-")):
        name = readable(f"{owner.profile}//{owner.child}" if owner.child else owner.profile)
        return f"profile {name} refused it, which does not read the container's rules"
    return ""
