"""Who decides what to do about a denial: a rule and its one place, or another advice."""

import re
import shlex
from collections.abc import Iterable, Mapping

from phoenix_apparmor import paths, trial
from phoenix_apparmor.assignments import holes
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.denials import allowed, denying, inner_profiles, peers
from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.advice import (
    LEARNED,
    NESTING_DENIES,
    NESTING_RULES,
    Advice,
    assign_docker,
    engines_profile,
    is_sandbox,
    learned,
    nesting,
    of_the_hosts_root,
    policy,
    sandbox,
)
from phoenix_apparmor.denials.engines import is_engine, is_sandbox_of_programs, root_of
from phoenix_apparmor.denials.explanation import NAMELESS, needed_flag
from phoenix_apparmor.denials.facts import Containers, Facts
from phoenix_apparmor.denials.inside import Inside
from phoenix_apparmor.denials.judge import Judge, cited
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import Owner
from phoenix_apparmor.denials.profiles import Profile, Profiles
from phoenix_apparmor.denials.quoting import quoted, readable
from phoenix_apparmor.denials.transitions import LXC_START, POLICY, asks_for_engines_profile
from phoenix_apparmor.host import Host
from phoenix_apparmor.paths import BASE, DOCKER
from phoenix_apparmor.policy import files, mountrules
from phoenix_apparmor.policy.tunables import Variables

# Names that a warning of a pattern cites.
SHOWN = 3
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+\Z")


class Adviser:
    """Judges what containers of one host tried."""

    def __init__(
        self, host: Host, profiles: Profiles, assigned: Mapping[str, Assignment] | None = None
    ) -> None:
        """assigned: CTID -> what the JSON says, for rules that a container has there."""
        self._profiles = profiles
        self._assigned = assigned or {}
        self._containers = Containers(host)
        self._own = Inside(host)
        self._judge = Judge(host, profiles)

    def advise(self, owner: Owner, act: Act, denial: Denial) -> Advice:
        """What to do about it."""
        facts = self._containers.facts(owner.ctid, owner.generated_in)
        profile = self._profiles.get(owner.profile, owner.generated_in)
        nested = bool(owner.inside) or (profile is not None and profile.supports_docker)
        hopeless, note = of_the_hosts_root(owner, denial, facts, nested=nested)
        if hopeless is not None or owner.inside:
            return hopeless or inner_profiles.advise(self._own, owner, act, denial)
        act = act._replace(note=f"{act.note} {note}".strip())
        now = self._now(owner, denial)
        if now is not None:
            advice = self._of_host(now, facts, act, denial)
            then = "a generated profile" if owner.generated_in else readable(owner.profile)
            words = f"It ran under {then} then. {now.profile} is assigned now"
            if advice.allowed and not advice.rule:
                cause = f"do what {now.profile} allows"
                return Advice("none", words=f"{words}, and allows that.", allowed=True, cause=cause)
            return advice._replace(words=f"{words}. {advice.words}".strip())
        return self._of_host(owner, facts, act, denial)

    def _now(self, owner: Owner, denial: Denial) -> Owner | None:
        """The same under the profile that the container is assigned since; None: as it was.

        Whom a rule for other processes names there, a log from before cannot tell.
        """
        assignment = self._assignment(owner)
        if assignment is None or not assignment.profile or denial.get("peer"):
            return None
        made = trial.made_of(owner.profile)
        then = made.profile if made is not None else owner.profile
        if then == assignment.profile or not then.startswith("lxc-") or then in LXC_START:
            return None
        return owner._replace(profile=assignment.profile, child="")

    def _of_host(self, owner: Owner, facts: Facts, act: Act, denial: Denial) -> Advice:
        """Of a profile of the host's."""
        profile = self._profiles.get(owner.profile, owner.generated_in)
        made = self._by_made(owner, profile, act, denial)
        if made is not None:
            return made
        act = self._with_slash(owner, profile, facts, act, denial)
        special = self._special(owner, profile, facts, act, denial)
        if act.rule and (special is None or special.kind == "rule"):
            special = self._there(owner, profile, facts, act, denial) or special
        if special is not None:
            return special
        if not act.rule or (act.needs_4 and not self._judge.is_4):
            unknown = (
                "This host's AppArmor 3.0 does not know such a rule: it would break the profile."
            )
            words = unknown if act.rule else self._has_flag(owner, profile, denial) or act.note
            return Advice("none", words=words)
        warning = self._warning(owner, act, denial, facts)
        # of which the note says the same for other hosts
        act = act._replace(note="") if warning == holes.OLD_PARSER else act
        advice = self._rule(owner, profile, act, facts, warning)
        return advice._replace(about=act.note, many=denial.guess)

    def _by_made(
        self, owner: Owner, profile: Profile | None, act: Act, denial: Denial
    ) -> Advice | None:
        """By a profile of which no rule is read: a trial's guard, or one of the kernel's own."""
        if owner.child.startswith(LEARNED):
            return learned(owner)
        guard = trial.made_of(owner.profile)
        if guard is None or not guard.guard or profile is not None:
            return None
        # a guard holds only the explicit denies of the profile that is on trial
        name = guard.profile
        own = self._profiles.explicit(name, denial)
        rule = f": {cited(own)}" if own is not None else ""
        words = f"Its guard enforces the denies of {readable(name)} in a container's trial too."
        warning = f"{readable(name)} denies that on purpose{rule}"
        return Advice("none", rule=act.rule, words=words, warning=warning, futile=True)

    def _there(
        self, owner: Owner, profile: Profile | None, facts: Facts, act: Act, denial: Denial
    ) -> Advice | None:
        """That a rule for it is there already, and whether it is in force; None: there is none."""
        own, name = self._own_rules(owner), self._made_name(owner)
        made = peers.under(denial, owner.profile, name)
        known = self._profiles.variables(owner.profile, owner.generated_in)
        lines = self._of_lines(() if owner.child else own, name, known)
        its_own = lines.first(made, act.rule)
        if owner.child:
            part = f"{owner.profile}//{owner.child}"
            profile = self._profiles.get(part, owner.generated_in)
        found = None
        if profile is not None:
            found = profile.rules.first_of_made(denial, made, act.rule)
        if found is not None:
            words = self._in_force(owner, *found)
            if denial.operation == "mount" and not self._judge.is_4:
                said = mountrules.read(" ".join(holes.split(found[0])))
                old = holes.OLD_PARSER if said.is_loose else holes.ALSO_NEW
                words += f" ({old}.)" if said.is_loose or said.is_also_new else ""
            return Advice("none", words=words, allowed=True)
        if its_own is not None:
            words = (
                f'"apparmor_rules" of CT {owner.ctid} has a rule for it already: {its_own[0]} It '
                f"takes effect at its next start: pct reboot {owner.ctid}"
            )
            return Advice("none", rule=act.rule, words=words, allowed=True)
        if owner.generated_in and self._of_lines(facts.raw, "x", known).first(denial, act.rule):
            words = f"There is already a rule for it, in {facts.file}; "
            words += "it takes effect at its next start"
            words += f": pct reboot {owner.ctid}" if paths.is_ctid(owner.ctid) else ""
            return Advice("none", words=f"{words}.", allowed=True)
        if owner.generated_in and facts.nesting and self._by_nesting(denial, act, known):
            words = f"Nesting, which is on in {facts.file}, allows it: the denial is older than "
            words += "that, or it takes effect at the next start"
            words += f": pct reboot {owner.ctid}" if paths.is_ctid(owner.ctid) else ""
            return Advice("none", words=f"{words}.", allowed=True)
        return None

    def _by_nesting(self, denial: Denial, act: Act, known: Variables) -> bool:
        """Whether what LXC adds to a generated profile for nesting allows it."""
        if denying.first_of(NESTING_DENIES, denial, known, is_4=self._judge.is_4):
            return False
        return self._of_lines(NESTING_RULES, "x", known).first(denial, act.rule) is not None

    def _of_lines(self, lines: Iterable[str], profile: str, known: Variables) -> allowed.Rules:
        return allowed.of_lines(lines, profile, known, is_4=self._judge.is_4)

    def _with_slash(
        self, owner: Owner, profile: Profile | None, facts: Facts, act: Act, denial: Denial
    ) -> Act:
        """The act with a note, where a rule for it lacks the slash of a folder's name."""
        known = self._profiles.variables(owner.profile, owner.generated_in)
        own = self._of_lines(self._own_rules(owner), owner.profile, known)
        raw = self._of_lines(facts.raw if owner.generated_in else (), "x", known)
        its = () if profile is None or owner.child else (profile.rules,)
        for rules in (own, *its, raw):
            short = rules.short_of_a_slash(denial)
            if short is not None:
                where = f" in {short[1]}" if short[1] else ""
                note = (
                    f"{readable(short[0])}{where} does not match: AppArmor's name of a folder ends "
                    "in a slash."
                )
                return act._replace(note=f"{act.note} {note}".strip())
        return act

    def _explicit(self, owner: Owner, denial: Denial) -> tuple[str, str]:
        """(the rule with which the profile itself denies it and where that is, what to do if that
        is a rule of the site's); "" for none.
        """
        own = self._profiles.explicit(owner.profile, denial, owner.generated_in, owner.child)
        if own is not None and own.path.startswith(f"{paths.APPARMOR_D}/local/"):
            return cited(own), f"Remove that rule if it is not wanted, then: {self._reload(owner)}"
        if own is not None:
            return cited(own), ""
        known = self._profiles.variables(owner.profile, owner.generated_in)
        lines = () if owner.child else self._own_rules(owner)
        rule = denying.first_of(lines, denial, known, is_4=self._judge.is_4)
        if not rule:
            return "", ""
        return f'"{readable(rule, 100)}" in the entry of CT {owner.ctid}', (
            f"Remove that rule if it is not wanted, then: pct reboot {owner.ctid}"
        )

    def _assignment(self, owner: Owner) -> Assignment | None:
        return self._assigned.get(owner.ctid) if owner.ctid else None

    def _own_rules(self, owner: Owner) -> tuple[str, ...]:
        assignment = self._assignment(owner)
        return assignment.rules if assignment and assignment.profile == owner.profile else ()

    def _made_name(self, owner: Owner) -> str:
        """The name of the profile that its container is under: one is made if it has rules."""
        assignment = self._assignment(owner)
        made = assignment is not None and assignment.profile == owner.profile
        has_own = made and assignment is not None and (assignment.rules or assignment.trial)
        return f"{owner.profile}.{owner.ctid}" if has_own else owner.profile

    def _has_flag(self, owner: Owner, profile: Profile | None, denial: Denial) -> str:
        """That the profile has the flag for the lack of which it is refused; "" if it has not."""
        flag = needed_flag(denial)
        if flag and owner.generated_in:
            return (
                f"{NAMELESS[flag]}, where LXC's generated profile has the flag {flag} already: "
                "no rule helps."
            )
        if owner.child or profile is None or not flag or flag not in profile.flags:
            return ""
        return self._in_force(owner, f"flags=({flag})", profile.path, NAMELESS[flag])

    def _in_force(self, owner: Owner, rule: str, path: str, why: str = "") -> str:
        there = f"There is already a rule for it: {readable(rule)} in {path}"
        if why:
            there = f"{why}, for which the profile has {readable(rule)} in {path}"
        if owner.generated_in:
            return f"{there}. The denial is older than that."
        loaded = self._profiles.kernel_has(owner.profile)
        if loaded is None:
            return (
                f"{there}. Whether the kernel has it cannot be known here. To load it: "
                f"{self._reload(owner)}"
            )
        if loaded:
            return f"{there}, and the kernel has it: the denial is older than that."
        return f"{there}. It takes effect after: {self._reload(owner)}"

    def _reload(self, owner: Owner) -> str:
        """The command that loads the profile: without its name, only what is assigned is."""
        managed = {a.profile for a in self._assigned.values() if a.profile is not None}
        if not _PLAIN.match(owner.profile):
            return files.RELOAD
        return files.reload_command(owner.profile, managed)

    def _special(
        self, owner: Owner, profile: Profile | None, facts: Facts, act: Act, denial: Denial
    ) -> Advice | None:
        """Where a rule for just this act is not the answer; None where it is."""
        changes = denial.operation in POLICY
        if changes or asks_for_engines_profile(denial):
            return (
                policy(owner, profile, facts, act, denial, self._assignment(owner))
                if changes
                else engines_profile(owner, profile, facts, act, self._assignment(owner))
            )
        own, mine = self._explicit(owner, denial)
        root = root_of(denial) if profile and profile.supports_docker else ""
        # What one profile closes on purpose to engines, the one made for them may allow.
        engine = is_engine(denial) and not (profile and profile.supports_docker)
        closed = engine and self._profiles.explicit(DOCKER, denial) is not None
        if own and (closed or not engine):
            also = f", as does {DOCKER}" if closed else ""
            return self._futile(owner, act, f"{own}{also}", root, mine)
        if is_sandbox(owner, denial, facts):
            return nesting(owner, facts)
        bubblewrap = owner.profile == BASE and is_sandbox_of_programs(denial)
        if bubblewrap or (engine and not closed):
            return sandbox(owner, facts) if bubblewrap else assign_docker(owner, facts)
        if not root:
            return None
        act = act._replace(rule=f"mount -> {_below(root)},", hole="", note="")
        cause = f"mount file systems of its containers below {readable(root)}"
        whose = self._judge.of(owner.ctid, owner.profile, facts.privileged)
        warning = holes.hole(act.rule, whose)
        return self._rule(owner, profile, act, facts, warning)._replace(cause=cause)

    def _warning(self, owner: Owner, act: Act, denial: Denial, facts: Facts) -> str:
        if act.hole:
            return act.hole
        if owner.profile in LXC_START:
            # it is the host's, and mounts what containers are
            reach = "with it, processes of a container reach LXC on the host"
            return reach if denial.is_of_target else ""
        whose = self._judge.of(owner.ctid, owner.profile, facts.privileged, owner.generated_in)
        hole = self._judge.hole(act.rule, whose)
        if not denial.guess:
            return hole
        some = ", ".join(readable(name, 60) for name in denial.alike[:SHOWN])
        guess = (
            f"it is a guess: many names were refused that differ only there ({some}), and it is "
            "for every other name that fits as well"
        )
        return f"{hole}; and {guess}" if hole else guess

    def _futile(self, owner: Owner, act: Act, rule: str, root: str, words: str) -> Advice:
        if root and not words:
            words = (
                "Move the folder of the container engine's data: below /var/lib, or to a mount "
                "point of the container there."
            )
        warning = f"{readable(owner.profile)} denies that on purpose: {rule}"
        return Advice("none", rule=act.rule, words=words, warning=warning, futile=True)

    def _rule(
        self, owner: Owner, profile: Profile | None, act: Act, facts: Facts, warning: str = ""
    ) -> Advice:
        """The rule, and the one place where it is read."""
        if owner.generated_in:
            # LXC makes the profile anew at each start
            if not facts.file:
                return Advice("none", words="No container's generated profile has that name.")
            words = f"{act.note} It is read at the next start.".strip()
            line = f"lxc.apparmor.raw{facts.separator}{act.rule}"
            return Advice("rule", facts.file, line, act.rule, words, warning=warning)
        if profile is None:
            words = f"No file in {paths.APPARMOR_D} has this profile: it goes into the file that it was loaded from."  # noqa: E501
            return Advice(
                "profile", "", act.rule, act.rule, f"{act.note} {words}".strip(), warning=warning
            )
        if owner.child:
            words = f"It goes into the part {readable(owner.child)} of {profile.path}."
            if self._profiles.get(f"{owner.profile}//{owner.child}", owner.generated_in) is None:
                words = f"{profile.path} has no part {readable(owner.child)} any more."
            return Advice(
                "profile", "", act.rule, act.rule, f"{act.note} {words}".strip(), warning=warning
            )
        if profile.local:
            fix = ""
            if not warning and _PLAIN.match(profile.local):
                # a line of its own also behind a last line without an end
                line = f"printf '\\n%s\\n' {shlex.quote(act.rule)} >>{profile.local}"
                fix = f"{line} && {self._reload(owner)}"
            return Advice("rule", profile.local, act.rule, act.rule, act.note, fix, warning)
        return self._without_local(owner, profile, act, warning)

    def _without_local(self, owner: Owner, profile: Profile, act: Act, warning: str) -> Advice:
        name = profile.path.rpartition("/")[2]
        if "/" in profile.path.removeprefix(paths.APPARMOR_D + "/") or self._profiles.of_a_package(
            profile.path
        ):
            words = (
                f"{readable(owner.profile)} reads no file of rules of your own, and "
                f"{profile.path} belongs to a package."
            )
            if owner.profile.startswith("lxc-"):
                words += (
                    f" Assign {BASE} or {DOCKER} instead, or a profile of your own "
                    f"({paths.APPARMOR_D}/lxc-NAME) with this rule."
                )
            return Advice(
                "profile", "", act.rule, act.rule, f"{act.note} {words}".strip(), warning=warning
            )
        place = f"{paths.APPARMOR_D}/local/{name}"
        words = f"The profile does not read that file yet: add include if exists <local/{name}> to it ({profile.path}, before its closing brace)."  # noqa: E501
        return Advice(
            "rule", place, act.rule, act.rule, f"{act.note} {words}".strip(), warning=warning
        )


def _below(root: str) -> str:
    """A pattern for all that is below a folder."""
    return f'{quoted(root)[:-1]}/**"'
