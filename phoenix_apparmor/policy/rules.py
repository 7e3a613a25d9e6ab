"""What a profile allows, asked of its own rules: includes, local/ and variables resolved.

``apparmor_parser -p`` writes a profile file with all that it includes in place; the rules are
read from there (apparmor.d(5)). A rule that is not understood allows and denies nothing here.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, files, mountrules, tunables
from phoenix_apparmor.policy.aare import matches
from phoenix_apparmor.policy.files import ProfileFile
from phoenix_apparmor.policy.mountrules import OTHER_ACTS, SPREADS, Mount, MountRule
from phoenix_apparmor.policy.tunables import Variables

PREFIXES = ("audit", "allow", "deny", "quiet", "owner", "other", "prompt")
# AppArmor's, the first without CVE-2016-1585.
FIXED_VERSION = 4
# Between characters that mean something to the scanner.
_PLAIN = re.compile(r'[^\\"#\n{}(),]+')
_VARIABLE = re.compile(r"\s*[@$]\{?\w+\}?\s*\+?=")
_PERMS = re.compile(r"[rwaxmklidcpuPUCI]+")
# Every question reads every rule anew, and a profile has hundreds.
_READ_RULES = 4096
# The profiles that a command is about: each is asked about several times.
_READ_POLICIES = 4


class Rule(NamedTuple):
    """One rule. words: as written, without qualifiers and the comma; kind: its first word."""

    text: str
    denies: bool
    kind: str
    words: str


@dataclass(frozen=True)
class Profile:
    """A profile as the parser sees it. flags: complain, unconfined, …; children: those in it."""

    name: str
    flags: frozenset[str]
    rules: tuple[Rule, ...]
    children: tuple["Profile", ...] = ()

    def _of(self, kind: str, *, denies: bool) -> Sequence[Rule]:
        """Every question asks again for the same few kinds."""
        found = self._sorted.get((kind, denies))
        if found is None:
            found = self._sorted[kind, denies] = tuple(
                rule
                for rule in self.rules
                if rule.denies is denies and (rule.kind == kind or rule.words == "all")
            )
        return found

    @functools.cached_property
    def _sorted(self) -> dict[tuple[str, bool], Sequence[Rule]]:
        return {}

    def allows_capability(self, name: str) -> bool:
        """Whether a capability (mac_admin) is allowed."""
        return self._has_capability(name, denies=False) and not self._has_capability(
            name, denies=True
        )

    def names_capability(self, name: str) -> Rule | None:
        """The rule that allows just this capability by name, if none denies it."""
        if not self.allows_capability(name):
            return None
        rules = self._of("capability", denies=False)
        return next((rule for rule in rules if name in rule.words.split()[1:]), None)

    def _has_capability(self, name: str, *, denies: bool) -> bool:
        rules = self._of("capability", denies=denies)
        return any(not rule.words.split()[1:] or name in rule.words.split() for rule in rules)

    def allows_file(self, path: str, perms: str) -> bool:
        """Whether all of these permissions (r, w, …) are allowed on a path."""
        wanted = set(perms)
        held: set[str] = set()
        for rule in self._of("file", denies=False):
            if held >= wanted:
                break
            held |= _file_perms(rule, path, wanted)
        if not wanted <= held:
            return False
        return not any(_file_perms(rule, path, wanted) for rule in self._of("file", denies=True))

    def mount_rule(
        self, fstype: str, flags: frozenset[str], source: str, target: str
    ) -> Rule | None:
        """The rule that allows a mount, None where nothing does or a deny forbids it."""
        mount = Mount(flags, fstype, source, target)
        found = next((r for r in self._of_mounts(denies=False) if _fits(r, mount)), None)
        if found is None or any(_fits(rule, mount) for rule in self._of_mounts(denies=True)):
            return None
        return found

    def _of_mounts(self, *, denies: bool) -> Iterator[Rule]:
        yield from self._of("mount", denies=denies)
        yield from (r for r in self._of("remount", denies=denies) if r.kind == "remount")

    def new_mount_rule(
        self, fstype: str, source: str, target: str, *, loose: bool = False
    ) -> Rule | None:
        """As mount_rule, with whatever flags a rule asks for.

        loose: as AppArmor below 4.0 compiles it: a rule for another act with a word beside that
        (rw,make-rslave) allows a new mount as well (CVE-2016-1585).
        """
        for rule in self._of_mounts(denies=False):
            flags = _flags_of(rule)
            if flags & (OTHER_ACTS | SPREADS):
                new = _as_new(rule) if loose and "ro" not in flags else None
                if new and self._is_open(new[0], Mount(new[1], fstype, source, target)):
                    return rule
                continue
            mount = Mount(flags, fstype, source, target)
            if _fits(rule, mount) and self.mount_rule(fstype, flags, source, target) is not None:
                return rule
        return None

    def denies_new_mount(self, fstype: str, source: str, target: str) -> bool:
        """Whether a rule denies a new mount without flags, which no rule that allows takes back."""
        mount = Mount(frozenset(), fstype, source, target)
        return any(_fits(deny, mount) for deny in self._of_mounts(denies=True))

    def _is_open(self, said: MountRule, mount: Mount) -> bool:
        denied = (_fits(deny, mount) for deny in self._of_mounts(denies=True))
        return mountrules.fits(said, mount) and not any(denied)

    def allows(self, kind: str) -> bool:
        """Whether there is any rule of a kind (pivot_root, userns), and none that denies all."""
        denied = any(rule.words == kind for rule in self._of(kind, denies=True))
        return not denied and any(True for _ in self._of(kind, denies=False))

    def of_kind(self, kind: str) -> list[Rule]:
        """Rules of a kind that allow."""
        return [rule for rule in self.rules if rule.kind == kind and not rule.denies]


def effective(host: Host, file: ProfileFile) -> Profile:
    """The profile with all that it includes. Raises PhoenixError where that cannot be known."""
    compiled.check_size(host, file)
    command = [*files.parser(host), "-p", host.path(file.path)]
    ran = host.run(command, timeout=files.PARSER_SECONDS)
    files.check_parser(file, ran.status, ran.err)
    found = next(
        (p for p in _policy(ran.out.decode("utf-8", "replace")) if p.name == file.name), None
    )
    if found is None:
        raise PhoenixError(
            f"apparmor_parser does not show profile {file.name} of {file.path}.",
            hint=f"See: apparmor_parser -p {file.path}",
        )
    return found


@functools.lru_cache(_READ_POLICIES)
def _policy(text: str) -> tuple[Profile, ...]:
    return tuple(parse(text))


def takes_any_mount(host: Host) -> bool:
    """Whether this host's parser compiles propagation rules into any mount (see new_mount_rule)."""
    ran = host.run([*files.parser(host), "--version"], timeout=files.PARSER_SECONDS)
    match = re.search(rb"version (\d+)\.", ran.out)
    return match is None or int(match[1]) < FIXED_VERSION


def parse(text: str, known: Variables | None = None) -> list[Profile]:
    """The profiles in a preprocessed policy. known: variables beside those of the text."""
    variables = dict(known or {})
    result: list[Profile] = []
    # comments are most of the text, and hold much that is no plain run
    text = re.sub(r'(?m)(?<!\S)#[^\n"]*$', "", text)
    # Open blocks: name, flags, rules, children
    open_blocks: list[tuple[str, frozenset[str], list[Rule], list[Profile]]] = []
    for kind, statement in _statements(text):
        if kind == "end":
            if not open_blocks:
                continue
            name, flags, rules, children = open_blocks.pop()
            profile = Profile(name, flags, tuple(rules), tuple(children))
            (open_blocks[-1][3] if open_blocks else result).append(profile)
        elif kind == "begin":
            name, flags = _header(statement)
            outer = f"{open_blocks[-1][0]}//" if open_blocks else ""
            open_blocks.append((outer + name, flags, [], []))
        elif kind == "variable":
            tunables.assign(variables, statement)
        elif open_blocks:
            variables["profile_name"] = (open_blocks[-1][0],)
            open_blocks[-1][2].append(_rule(statement, variables))
    return result


def _statements(text: str) -> Iterator[tuple[str, str]]:  # noqa: C901, PLR0912  (a scanner)
    """("begin" | "end" | "rule" | "variable", text), comments taken out."""
    now = ""
    depth = 0
    quoted = False
    at = 0
    while at < len(text):
        if plain := _PLAIN.match(text, at):
            now += plain[0]
            at = plain.end()
            continue
        char = text[at]
        before = text[at - 1] if at else "\n"
        after = text[at + 1] if at + 1 < len(text) else "\n"
        if char == "\\" and at + 1 < len(text):
            now += char + text[at + 1]
            at += 2
            continue
        if char == '"':
            quoted = not quoted
        elif quoted:
            pass
        elif char == "#" and before.isspace():
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
            continue
        elif char == "\n" and _VARIABLE.match(now):
            yield "variable", " ".join(now.split())
            now = ""
        elif (
            char == "{"
            and depth == 0
            and (before.isspace() or before == ")")
            and now.strip()
            and not _VARIABLE.match(now)
        ):
            yield "begin", " ".join(now.split())
            now = ""
            at += 1
            continue
        elif char in "{(":
            depth += 1
        elif char in "})" and depth:
            depth -= 1
        elif char == "}":
            yield "end", ""
            now = ""
            at += 1
            continue
        elif char == "," and depth == 0 and (after.isspace() or after in "#}" or "/" not in now):
            if now.strip() and not now.split()[0].startswith(("abi", "include", "#include")):
                yield "rule", " ".join(now.split())
            now = ""
            at += 1
            continue
        now += char
        at += 1


def _header(statement: str) -> tuple[str, frozenset[str]]:
    """(name, flags) of what stands before a block's brace."""
    flags = re.search(r"(?:flags\s*=\s*)?\(([^)]*)\)\s*$", statement)
    words = statement[: flags.start()].split() if flags else statement.split()
    words = [word for word in words if word not in ("profile", "hat")]
    name = words[0].strip('"').removeprefix("^") if words else ""
    return name, frozenset(re.split(r"[,\s]+", flags[1].strip())) if flags else frozenset()


def _rule(statement: str, variables: Variables) -> Rule:
    words = statement.split()
    denies = False
    while words and (words[0] in PREFIXES or words[0].startswith("priority=")):
        denies = denies or words[0] == "deny"
        words.pop(0)
    rest = tunables.expanded(" ".join(words), variables)
    first = rest.split(" ", 1)[0].strip('"') if rest else ""
    is_file = first.startswith(("/", "@{", "{")) or (
        _PERMS.fullmatch(first) is not None and " /" in rest
    )
    return Rule(statement + ",", denies, "file" if is_file else first, rest)


@functools.lru_cache(_READ_RULES)
def file_words(rule: Rule) -> tuple[str, str, str] | None:
    """(path, permissions, target of an exec) of a file rule; None: not understood."""
    body, _, target = rule.words.partition(" -> ")
    words = re.findall(r'"[^"]*"|\S+', body.removeprefix("file").strip())
    words = [word for word in words if word != "owner"]
    if rule.words in ("file", "all"):
        return "/{,**}", "rwalkmix", ""
    if len(words) != 2:
        return None
    path, perms = words if _PERMS.fullmatch(words[1]) else (words[1], words[0])
    return (path, perms, target.strip()) if _PERMS.fullmatch(perms) else None


def exec_modes(rule: Rule) -> tuple[str, str]:
    """(letters around x of a file rule, target it names); ("", "") where it executes nothing."""
    found = file_words(rule) if rule.kind == "file" and not rule.denies else None
    if found is None or "x" not in found[1]:
        return "", ""
    return "".join(c for c in found[1] if c in "ipucPUCx"), found[2]


def _file_perms(rule: Rule, path: str, wanted: set[str]) -> set[str]:
    """Those of the wanted permissions about which a rule says something for a path."""
    found = file_words(rule)
    if found is None:
        return set()
    # the parser's w is append, create and delete too
    perms = wanted.intersection(found[1] + ("acd" if "w" in found[1] else ""))
    return perms if perms and matches(found[0], path) else set()


@functools.lru_cache(_READ_RULES)
def _as_new(rule: Rule) -> tuple[MountRule, frozenset[str]] | None:
    """(the new mounts that AppArmor 3.0 takes a rule for another act for, with these flags)."""
    said = mountrules.read(rule.words)
    return (said._replace(options=(), remounts=False), said.others) if said.is_also_new else None


@functools.lru_cache(_READ_RULES)
def _flags_of(rule: Rule) -> frozenset[str]:
    """The flags that a mount rule asks for; empty where it takes any."""
    exact = [words for exactly, words in mountrules.read(rule.words).options if exactly]
    return exact[0] if exact else frozenset()


def _fits(rule: Rule, mount: Mount) -> bool:
    return mountrules.fits(mountrules.read(rule.words), mount)
