"""Is a rule of a container's a good idea? One judge for denials, allow and validate."""

from collections.abc import Iterator, Sequence

from phoenix_apparmor.assignments import holes, places
from phoenix_apparmor.assignments.holes import Container
from phoenix_apparmor.assignments.verdicts import Verdict, of_rule
from phoenix_apparmor.denials import denying, vocabulary
from phoenix_apparmor.denials.asked import asked, is_told
from phoenix_apparmor.denials.facts import Containers
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.profiles import Profiles
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import mountrules, policytext, rules, tunables
from phoenix_apparmor.policy.covers import covers
from phoenix_apparmor.policy.mountrules import Mount
from phoenix_apparmor.policy.policytext import Rule

NAME = "@{profile_name}"
EVERY_FILE = (
    "it allows every file, also those with which the kernel runs programs as root of the host: our "
    "profiles deny those beside it (abstractions/phoenix/kernel-files)"
)


class Judge:
    """Judges rules by what the host's profiles say; what it cannot know, it does not say."""

    def __init__(self, host: Host, profiles: Profiles | None = None) -> None:
        self._profiles = profiles or Profiles(host)
        self._containers = Containers(host)
        self.is_4 = self._profiles.is_4

    def container(self, ctid: str, profile: str, *, generated: str = "") -> Container:
        """The container of a rule, with what is known of it."""
        privileged = self._containers.facts(ctid, generated).privileged if ctid else None
        return self.of(ctid, profile, privileged, generated)

    def of(
        self, ctid: str, profile: str, privileged: bool | None, generated: str = ""
    ) -> Container:
        """The same of one of which that is known already; ctid "": of any under the profile."""

        def denied(mount: Mount) -> bool:
            found = self._profiles.get(profile, generated)
            return found is not None and any(denying.denies_mount(r, mount) for r in found.denies)

        def without(capability: str) -> bool:
            act = asked(f"capability {capability},")[0]
            return self._profiles.explicit(profile, act, generated) is not None

        loose = not self.is_4
        return Container(ctid, profile, privileged, loose, denied, generated, without)

    def hole(self, rule: str, whose: Container) -> str:
        """Why the rule should not be written, "" if nothing speaks against it."""
        rule = self._expanded(rule, whose)
        why = holes.hole(rule, whose)
        if why:
            return why
        if holes.split(rule) == ("file",):
            guarded = self._explicit(asked("/proc/sysrq-trigger w,")[0], whose) is not None
            return "" if guarded else EVERY_FILE
        acts = (act for act in asked(rule) if self._explicit(act, whose) is None)
        also = whose.privileged is not False
        ours = next((r for act in acts if (r := self._profiles.by_ours(act, base=also))), None)
        return f"our profiles close that on purpose: {cited(ours)}" if ours is not None else ""

    def nothing(self, rule: str, whose: Container) -> str:
        """Why the rule allows nothing, "" if it may allow something."""
        rule = self._expanded(rule, whose)
        denies = self._denied(rule, whose)
        whole = self._profiles.denying_all(whose.profile, rule, whose.folder)
        if whole is None and is_told(rule):
            whole = next(iter(denies), None)
        whole = whole or next((one for one in denies if self._is_wider(one.body, rule)), None)
        if whole is not None:
            return f"{readable(whose.profile)} denies that explicitly: {cited(whole)}"
        said = mountrules.read(" ".join(holes.split(rule)))
        types = vocabulary.meant(said.fstypes) if whose.privileged is False else ()
        if not types or not all(vocabulary.is_host_only(one) for one in types):
            return ""
        who = f"CT {whose.ctid} is" if whose.ctid else "the containers under it are"
        return (
            f"the kernel mounts {' and '.join(types)} only for root of the host, and {who} "
            "unprivileged"
        )

    def partly(self, rule: str, whose: Container) -> str:
        """That what the rule allows is denied explicitly, for the most part at least; or ""."""
        found = next(iter(self._denied(self._expanded(rule, whose), whose)), None)
        return f"{readable(whose.profile)} denies {cited(found)}" if found is not None else ""

    def _denied(self, rule: str, whose: Container) -> list[Rule]:
        """The rules with which its profile denies all examples of a rule; none if not all."""
        found = [self._explicit(act, whose) for act in asked(rule)]
        denies = [one for one in found if one is not None]
        return denies if len(denies) == len(found) else []

    def _is_wider(self, deny: str, rule: str) -> bool:
        return covers(deny, self._words(rule), is_4=self.is_4)

    def _words(self, rule: str) -> str:
        """The words of a rule as covers reads them, "" if it is none."""
        parsed = rules.parse(f"profile x {{\n{rule}\n}}\n")
        return parsed[0].rules[0].words if parsed and parsed[0].rules else ""

    def there(self, rule: str, whose: Container, itself: str = "") -> str:
        """That a rule of its profile allows all of it already, "" if none does.

        itself: the file that the rule is in, where it is one of the profile's.
        """
        profile = self._profiles.get(whose.profile, whose.folder) if whose.profile else None
        if profile is None or not holes.split(rule):
            return ""
        words = self._words(self._expanded(rule, whose))
        # with rules of its own a container is under a profile of another name
        named = NAME in rule
        for other in profile.rules.profile.rules if words else ():
            path = profile.rules.paths.get(other.text, "")
            if other.denies or path == itself or named is not (NAME in other.text):
                continue
            if denying.is_for_owners(other.text) and not denying.is_for_owners(rule):
                continue
            if covers(other.words, words, is_4=self.is_4):
                shown = f'"{readable(other.text, 100)}" in {path}'
                return f"{readable(whose.profile)} allows that already: {shown}"
        return ""

    def _expanded(self, rule: str, whose: Container) -> str:
        """The rule with the values of its variables, of which the profile's name is one."""
        known = self._profiles.variables(whose.profile, whose.folder)
        name = {"profile_name": (whose.profile,)} if whose.profile else {}
        return tunables.expanded(rule.removesuffix(","), {**known, **name}) + ","

    def _explicit(self, act: Denial, whose: Container) -> Rule | None:
        return self._profiles.explicit(whose.profile, act, whose.folder)

    def verdicts(
        self, rule: str, ctid: str, profile: str, entry: Sequence[str] = ()
    ) -> Iterator[Verdict]:
        """What validate says of a rule in a container's entry. entry: all its rules."""
        whose = self.container(ctid, profile)
        nothing = self.nothing(rule, whose) or self._denied_beside(rule, whose, entry)
        nothing = nothing or self.there(rule, whose)
        if nothing:
            yield Verdict(f"this rule does nothing: {nothing}.", "Remove it.")
            return
        partly = self.partly(rule, whose)
        if partly:
            what = f"some of what this rule allows stays refused: {partly}."
            yield Verdict(what, "Name what is needed, so that it can be told whether it is.")
        yield from _no_disk(rule, whose)
        yield from of_rule(rule, lambda one: self.hole(one, whose), ctid, profile)

    def _denied_beside(self, rule: str, whose: Container, entry: Sequence[str]) -> str:
        """Which other rule of its entry denies what this one allows; "" if none does."""
        whole = next((one for one in entry if denying.denies_all_of(one, rule)), "")
        if whole:
            return f'"{readable(whole, 100)}" in the same entry denies that'
        known = self._profiles.variables(whose.profile, whose.folder)
        expanded = self._expanded(rule, whose)
        found = (denying.first_of(entry, act, known, is_4=self.is_4) for act in asked(expanded))
        denies = list(found)
        if not denies or not all(denies):
            return ""
        if not is_told(expanded):
            text = policytext.Text("", "".join(f"{one}\n" for one in denies))
            wide = policytext.deny_rules([text], known, is_4=self.is_4)
            if not any(self._is_wider(one.body, expanded) for one in wide):
                return ""
        return f'"{readable(denies[0], 100)}" in the same entry denies that'


def _no_disk(rule: str, whose: Container) -> Iterator[Verdict]:
    """That a rule for a device mounts no file system of it. (It allows a tmpfs of that name.)"""
    said = mountrules.read(" ".join(holes.split(rule)))
    is_new = not said.fstypes and not said.acts & (mountrules.OTHER_ACTS | mountrules.SPREADS)
    # without options it is one for a bind of the device's node too, which is put on a file
    is_disk = places.NODE.match(said.source) and said.target.endswith("/")
    if is_new and is_disk and whose.privileged is False:
        yield Verdict(
            f"this rule mounts nothing that is on {readable(said.source)}: the kernel does that "
            f"only for root of the host, and CT {whose.ctid} is unprivileged.",
            "Remove it, and mount that on the host.",
        )


def cited(rule: Rule) -> str:
    """The rule and where it is; the long ones are read there."""
    return f'"{readable(rule.text, 100)}" in {rule.path}'
