"""What a site's own rules in local/ open, and which do nothing, for those under the profile.

The judge is that of denials, allow and validate: one rule is the same hole in the JSON and there.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.assignments import holes, verdicts
from phoenix_apparmor.denials.judge import Judge
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, policytext, rules
from phoenix_apparmor.policy.files import ProfileFile

LONGEST = 100


class Users(NamedTuple):
    """The containers under a profile. mapped: those of them that are unprivileged."""

    all: tuple[str, ...]
    mapped: frozenset[str]

    @property
    def privileged(self) -> bool | None:
        """Whether they are privileged, None if only some are, or there are none."""
        kinds = {ctid not in self.mapped for ctid in self.all}
        return kinds.pop() if len(kinds) == 1 else None


def judged(
    host: Host, file: ProfileFile, users: Users, told: Collection[str], reload: str
) -> Iterator[Finding]:
    """Rules of a profile's local/ file, and of what that includes, of which something is to say.

    told: rules of which another finding speaks. reload: the command that loads the profile.
    """
    local = f"local/{file.path.rpartition('/')[2]}"
    text = compiled.included(host, local) if f"<{local}>".encode() in file.text else None
    if not text or not compiled.compiles(host, file):
        return  # that it does not, another check tells
    judge = Judge(host)
    whose = judge.of("", file.name, users.privileged)
    for path, rule in _rules(host, f"{paths.APPARMOR_D}/{local}", text):
        if rule.denies or rule.text in told:
            continue
        shown = f'the rule "{readable(rule.text, LONGEST)}" in {path}'
        nothing = judge.nothing(rule.text, whose) or judge.there(rule.text, whose, path)
        # a variable's value may end in a slash
        never = None
        if not nothing and "@{" not in rule.text:
            never = verdicts.never_matches(rule.text, lambda one: judge.hole(one, whose))
        who = users.all
        if nothing:
            what, advice = f"{shown} does nothing: {nothing}.", "remove the rule"
        elif never is not None and not never.also_right:
            what = f"{shown} {never.what.removeprefix('this rule ')}"
            advice = f"{never.hint.removesuffix('.')}; remove the rule or change it"
        else:
            who, why = _concerned(judge, file.name, rule.text, users)
            if not why:
                partly = judge.partly(rule.text, whose)
                if partly:
                    what = f"some of what {shown} allows stays refused: {partly}."
                    advice = "name what is needed, so that it can be told whether it is"
                    yield Finding("note", what, f"{path}: {readable(rule.text)}", advice=advice)
                continue
            whom = reading.cts(who) if who else f"a container under {file.name}"
            what = f"{shown} opens a hole for {whom}: {why}."
            advice = f"better not. {holes.remedy(rule.text, why)}".strip()
            advice = f"{advice.removesuffix('.')}; remove the rule or change it"
        yield Finding(
            "note" if nothing or not users.all else "warning",
            what,
            f"{path}: {readable(rule.text)}",
            advice=f"{advice}, then: {reload}",
            ctids=who,
        )


def _concerned(judge: Judge, profile: str, rule: str, users: Users) -> tuple[tuple[str, ...], str]:
    """(the containers for which a rule opens a hole, why); of none, why it would for one."""
    if not users.all:
        return (), judge.hole(rule, judge.of("", profile, None))
    whys = {
        privileged: judge.hole(rule, judge.of("", profile, privileged))
        for privileged in {ctid not in users.mapped for ctid in users.all}
    }
    who = tuple(ctid for ctid in users.all if whys[ctid not in users.mapped])
    return who, whys.get(True) or whys.get(False) or ""


def _rules(host: Host, path: str, text: str) -> Iterator[tuple[str, rules.Rule]]:
    """(file, rule) of a text without its blocks."""

    def read(name: str) -> str | None:
        return compiled.included(host, name)

    for piece in policytext.expand(text, path, read):
        bare = policytext.without_includes(piece.text)
        for found in rules.parse(f"profile local {{\n{bare}\n}}\n")[:1]:
            yield from ((piece.path, rule) for rule in found.rules)
