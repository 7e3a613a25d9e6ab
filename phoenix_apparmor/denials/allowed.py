"""Whether rules that are there already allow what was refused. Pure.

A rule that is not understood allows nothing here, so that its denial is told as any other.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from phoenix_apparmor.denials import channels, denying, mounts
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.policy import mountrules, policytext, rules
from phoenix_apparmor.policy.policytext import Text
from phoenix_apparmor.policy.tunables import Variables

_PLAIN = re.compile(r"[^\s\"{}()]+\Z")
_FILE_CLASSES = ("", "file")


class Rules(NamedTuple):
    """Rules that allow, each with the file that it is in, and the denies beside them."""

    profile: rules.Profile
    paths: Mapping[str, str]

    def first(self, denial: Denial, wanted: str) -> tuple[str, str] | None:
        """(rule, its file) that allows it, None if none does. wanted: the rule made for it."""
        found = _first(self.profile, denial)
        for name in denial.alike if found is not None else ():
            # of many names, all have to be allowed
            fields = {**denial.fields, "name": name}
            found = found and _first(self.profile, denial._replace(fields=fields))
        if found is None:
            exact = (rule for rule in self.profile.rules if rule.text == wanted)
            found = next((rule for rule in exact if not rule.denies), None)
        return (found.text, self.paths.get(found.text, "")) if found is not None else None

    def first_of_made(self, denial: Denial, made: Denial, wanted: str) -> tuple[str, str] | None:
        """The same for a container under a profile made of this one. made: the denial there.

        The plain name does not match there, @{profile_name} does.
        """
        if made.fields == denial.fields:
            return self.first(denial, wanted)
        named = tuple(rule for rule in self.profile.rules if "@{profile_name}" in rule.text)
        plain = tuple(rule for rule in self.profile.rules if rule not in named)
        by_name = self._replace(profile=replace(self.profile, rules=named))
        others = self._replace(profile=replace(self.profile, rules=plain))
        return by_name.first(denial, wanted) or others.first(made, wanted)

    def short_of_a_slash(self, denial: Denial) -> tuple[str, str] | None:
        """(rule, its file) that would allow it if folders had no slash at the end; else None."""
        if _first(self.profile, denial) is not None:
            return None
        given = {key: denial.get(key) for key in ("name", "srcname")}
        bare = {k: v.rstrip("/") for k, v in given.items() if v.endswith("/") and v != "/"}
        if denial.operation == "mount" and not mounts.is_of_path(mounts.read(denial)):
            bare.pop("srcname", None)
        for keys in (("name",), ("srcname",), ("name", "srcname")):
            if all(key in bare for key in keys):
                fields = {**denial.fields, **{key: bare[key] for key in keys}}
                found = _first(self.profile, denial._replace(fields=fields))
                if found is not None:
                    return found.text, self.paths.get(found.text, "")
        return None


def read(name: str, texts: Iterable[Text], known: Variables, *, is_4: bool = False) -> Rules:
    """The rules of an expanded profile. known: its variables; is_4: as AppArmor 4 compiles them."""
    name = name if _PLAIN.match(name) else "x"
    found: list[rules.Rule] = []
    paths: dict[str, str] = {}
    for piece in texts:
        own = policytext.without_includes(piece.text)
        for profile in rules.parse(f"profile {name} {{\n{own}\n}}\n", known)[:1]:
            found += (_as_compiled(rule) if is_4 else rule for rule in profile.rules)
            for rule in profile.rules:
                paths.setdefault(rule.text, piece.path)
    return Rules(rules.Profile(name, frozenset(), tuple(found)), paths)


def _as_compiled(rule: rules.Rule) -> rules.Rule:
    return rule._replace(words=mountrules.with_any_options(rule.words))


def of_lines(
    lines: Iterable[str],
    profile: str = "x",
    known: Variables | None = None,
    *,
    is_4: bool = False,
) -> Rules:
    """Rules that stand for themselves, as in a container's configuration, of a profile."""
    texts = [Text("", f"{line}\n") for line in lines]
    return read(profile, texts, known or {}, is_4=is_4)


def _first(profile: rules.Profile, denial: Denial) -> rules.Rule | None:
    denial = denial.at_target()
    operation = denial.operation
    if operation == "mount":
        flags, *names = mounts.read(denial)
        return profile.mount_rule(names[0], flags, names[1], names[2])
    if denial.capability:
        name = denial.capability
        if not profile.allows_capability(name):
            return None
        return profile.names_capability(name) or _whole(profile, "capability")
    is_file = denial.get("class") in _FILE_CLASSES and denial.get("name").startswith("/")
    if is_file and denial.mask and not denial.get("family") and operation not in _NO_FILE:
        return _of_file(profile, denial)
    if operation == "link" or channels.kind_of(denial):
        return (_of_link if operation == "link" else _of_channel)(profile, denial)
    return next((rule for rule in profile.rules if _is_for(rule, denial)), None)


_NO_FILE = ("link", "umount", "pivotroot", "ptrace", "signal", "change_profile", "change_onexec")


def _whole(profile: rules.Profile, kind: str) -> rules.Rule | None:
    allowing = (rule for rule in profile.rules if not rule.denies)
    return next((rule for rule in allowing if rule.words in (kind, "all")), None)


def _of_file(profile: rules.Profile, denial: Denial) -> rules.Rule | None:
    name, mask = denial.get("name"), denial.mask
    owned = denying.is_owned(denial)
    # a rule for owners is one for nobody else
    its = tuple(rule for rule in profile.rules if owned or not denying.is_for_owners(rule.text))
    profile = replace(profile, rules=its)
    if not profile.allows_file(name, mask):
        return None
    each = [replace(profile, rules=(rule,)) for rule in profile.rules if not rule.denies]
    # several rules together may allow it: then the first that allows a part of it
    for wanted in (mask, *mask):
        found = next((one.rules[0] for one in each if one.allows_file(name, wanted)), None)
        if found is not None:
            return found
    return None


def _of_link(profile: rules.Profile, denial: Denial) -> rules.Rule | None:
    """Of a hard link only that its name may be one."""
    if "subset" in denial.get("info"):
        return None
    if not profile.allows_file(denial.get("name"), "l"):
        return None
    return _whole(profile, "file")


def _of_channel(profile: rules.Profile, denial: Denial) -> rules.Rule | None:
    """The first of the rules that allow all of what was tried with a socket, or over a bus."""
    found: dict[rules.Rule, frozenset[str]] = {}
    for rule in profile.rules:
        ways = channels.ways(rule.words, denial)
        if ways and rule.denies:
            return None
        if ways:
            found[rule] = ways
    covered = frozenset().union(*found.values())
    return next(iter(found), None) if channels.wanted(denial) <= covered else None


def _is_for(rule: rules.Rule, denial: Denial) -> bool:
    """Whether a rule of another class allows just that."""
    if rule.denies or rule.kind == "mount":
        return False
    if rule.words == "all":
        return True
    return denying.denies(policytext.Rule(rule.text, "", audited=False, body=rule.words), denial)
