"""Whether a deny rule of a profile is what refused something. Pure."""

import re
from collections.abc import Iterable

from phoenix_apparmor.assignments.holes import split
from phoenix_apparmor.assignments.rules import KINDS
from phoenix_apparmor.denials import channels, mounts
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.policy import mountrules, policytext
from phoenix_apparmor.policy.aare import matches
from phoenix_apparmor.policy.policytext import Rule
from phoenix_apparmor.policy.tunables import Variables

# Rules of the first kind are among those of the second.
_WHOLE = {"remount": "mount", "unmount": "umount", "link": "file"}
_PERMS = re.compile(r"[rwaxmklidcpuPUCI]+\Z")
_PEER = re.compile(r'peer=("[^"]*"|[^\s"]+)')
_SET = re.compile(r"set=\(([^)]*)\)|set=(\S+)")
_WAYS = re.compile(r"\A\(([^)]*)\)|\A([a-z]+)(?=\s|\Z)")
_WORDS = re.compile(r'"[^"]*"|\S+')


def first(rules: Iterable[Rule], denial: Denial) -> Rule | None:
    """The first rule that denies it."""
    return next((rule for rule in rules if denies(rule, denial)), None)


def first_of(lines: Iterable[str], denial: Denial, known: Variables, *, is_4: bool = False) -> str:
    """The first of rules that stand for themselves which denies it, "" if none does.

    known: variables of the profile that they are for. is_4: whether AppArmor 4 compiles them.
    """
    for line in lines:
        text = policytext.Text("", f"{line}\n")
        if first(policytext.deny_rules([text], known, is_4=is_4), denial) is not None:
            return line
    return ""


def denies(rule: Rule, denial: Denial) -> bool:
    """Whether the rule denies just that; False for one whose conditions are not read here."""
    kind, _, rest = rule.body.partition(" ")
    denial = denial.at_target()
    operation, rest = denial.operation, rest.strip()
    if operation == "mount":
        return denies_mount(rule, mounts.read(denial))
    if denial.capability:
        words = rest.split()
        return kind == "capability" and (not words or denial.capability in words)
    if operation in ("ptrace", "signal"):
        return kind == operation and _between_processes(rest, denial)
    if operation in ("umount", "pivotroot"):
        wanted = "pivot_root" if operation == "pivotroot" else operation
        return kind == wanted and _is_about(rest, denial)
    if channels.kind_of(denial):
        return bool(channels.ways(rule.body, denial))
    return _denies_name(rule, kind, rest, denial)


def _denies_name(rule: Rule, kind: str, rest: str, denial: Denial) -> bool:
    """A rule for a file, a hard link, a socket that is not a unix one, or another profile."""
    if kind == "change_profile":
        before, _, target = rest.partition("->")
        wanted = denial.get("target") or denial.get("name")
        is_change = denial.operation.startswith("change_") and not before.strip()
        return is_change and (not target or matches(target.strip(), wanted))
    if denial.get("family"):
        socket = (denial.get("family"), denial.get("sock_type"))
        return kind == "network" and all(word in socket for word in rest.split())
    name, mask = denial.get("name"), denial.mask
    if kind == "link":
        return denial.operation == "link" and _is_pair(rest, denial)
    applies = not is_for_owners(rule.text) or is_owned(denial) is not False
    return applies and bool(name.startswith("/") and mask) and denies_file(rule, name, mask)


def _is_pair(rest: str, denial: Denial) -> bool:
    """A rule for a hard link: [subset] NAME -> TARGET."""
    pair = [word for word in _WORDS.findall(rest) if word not in ("subset", "->")]
    names = (denial.get("name"), denial.get("target"))
    return len(pair) == len(names) and all(map(matches, pair, names))


def denies_all_of(deny: str, rule: str) -> bool:
    """Whether a deny rule is for all that a rule allows: it is in the same words, or has none.

    Both as written, with the comma.
    """
    words = split(rule)
    before, _, denied = f" {deny.strip().removesuffix(',')} ".partition(" deny ")
    body = denied.split()
    if not words or not body or "owner" in before.split() or "owner" in body:
        return False
    return body in ([*words], ["all"], [_WHOLE.get(words[0], words[0])]) or (
        body == ["file"] and words[0] not in KINDS - {"file", "link"}
    )


def is_for_owners(rule: str) -> bool:
    """Whether a rule is only for files of the process' own user."""
    return "owner" in rule.partition("/")[0].split()


def is_owned(denial: Denial) -> bool | None:
    """Whether the file is of the process' own user; None: the kernel does not say."""
    user, owner = denial.get("fsuid"), denial.get("ouid")
    return user == owner if user and owner else None


def _is_about(rest: str, denial: Denial) -> bool:
    """A rule for umount or pivot_root: [oldroot=NAME] [NAME]; what is behind -> is not read."""
    if "->" in rest:
        return False
    for word in _WORDS_WITH_KEYS.findall(rest):
        old = word.startswith("oldroot=")
        name = denial.get("srcname" if old else "name")
        if not matches(word.removeprefix("oldroot="), name):
            return False
    return True


_WORDS_WITH_KEYS = re.compile(r'(?:oldroot=)?"[^"]*"|[^\s"]+')


def denies_file(rule: Rule, name: str, mask: str) -> bool:
    """Whether a rule denies one of the permissions (the kernel's mask: r, w, c, d, …)."""
    words = _WORDS.findall(rule.body)
    words = [word for word in words if word not in ("file", "owner")]
    if len(words) != 2 or not any(_PERMS.match(word) for word in words):
        return False
    path, perms = words if _PERMS.match(words[1]) else reversed(words)
    # the parser's w covers what the kernel calls create, delete and append
    wanted = set(mask.replace("c", "w").replace("d", "w"))
    said = {*perms, *("a" if "w" in perms else "")}
    return bool(wanted & said) and matches(path, name)


def denies_mount(rule: Rule, mount: mountrules.Mount) -> bool:
    """Whether a mount rule denies this mount."""
    if rule.body.partition(" ")[0] not in ("mount", "remount", "all"):
        return False
    return mountrules.fits(mountrules.read(rule.body), mount)


def _between_processes(rest: str, denial: Denial) -> bool:
    ways = _WAYS.match(rest)
    if ways and denial.mask not in re.split(r"[,\s]+", (ways[1] or ways[2]).strip()):
        return False
    peer, chosen = _PEER.search(rest), _SET.search(rest)
    if chosen and denial.get("signal") not in re.split(r"[,\s]+", chosen[1] or chosen[2]):
        return False
    return peer is None or matches(peer[1], denial.get("peer"))
