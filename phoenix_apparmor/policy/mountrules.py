"""What a mount rule says, and which mounts it is about. Pure.

Source: apparmor.d(5) and apparmor_parser's mount.cc (mnt_opts_table). The kernel compares flags
as bits, so words that only clear one say nothing, and names as they are: a folder's with a slash
at its end, which the parser does not put there.
"""

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

from phoenix_apparmor.policy import aare

# Flags of mount(2) that make no new file system.
OTHER_ACTS = frozenset(("remount", "bind", "rbind", "move"))
# Words for a flag that is not set.
UNSET = frozenset(
    ("rw", "w", "suid", "dev", "exec", "async", "nomand", "symfollow", "atime", "diratime", "loud",
     "noacl", "norelatime", "noiversion", "nostrictatime", "nolazytime", "user")
)  # fmt: skip
_SPREAD = ("shared", "slave", "private", "unbindable")
_ALIASES = {
    "r": "ro", "read-only": "ro", "B": "bind", "R": "rbind", "M": "move", "verbose": "silent",
    **{f"{r}{word}": f"make-{r}{word}" for word in _SPREAD for r in ("", "r")},
}  # fmt: skip
# What a remount may change (mount.h of apparmor_parser, MS_REMOUNT_FLAGS), and itself.
_FLAGS = frozenset(
    ("ro", "nosuid", "nodev", "noexec", "sync", "remount", "mand", "dirsync", "noatime",
     "nodiratime", "bind", "silent", "acl", "relatime", "iversion", "strictatime", "lazytime",
     "nosymfollow", "nouser")
)  # fmt: skip
# Folders of every system: no file has such a name.
_FOLDERS = frozenset(
    ("/tmp", "/var/tmp", "/dev/shm",  # noqa: S108
     "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt",
     "/opt", "/proc", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sys/fs", "/proc/sys/kernel",
     "/proc/sys/net", "/proc/sys/vm", "/root", "/run", "/sbin", "/srv", "/sys", "/sys/bus",
     "/sys/class", "/sys/dev", "/sys/devices", "/sys/firmware", "/sys/fs", "/sys/fs/cgroup",
     "/sys/kernel", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing",
     "/sys/module", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin",
     "/usr/share", "/var", "/var/cache", "/var/lib", "/var/log")
)  # fmt: skip
SPREADS = frozenset(word for word in _ALIASES.values() if word.startswith("make-"))
_TOKEN = re.compile(
    r"(?P<key>v?fstype|options?)(?:\s*=\s*|\s+in\s+)(?P<value>\([^)]*\)|\"[^\"]*\"|[^\s(\"]\S*)"
    r'|(?P<arrow>->)|(?P<path>"(?:[^"\\]|\\.)*"|\S+)'
)
_IS_IN = re.compile(r"(?:v?fstype|options?)\s+in\s")
_MOST = 4096


class Mount(NamedTuple):
    """What mount(2) is asked for; flags in the words of rules or of the kernel's log."""

    flags: frozenset[str]
    fstype: str
    source: str
    target: str


class MountRule(NamedTuple):
    """Conditions of a rule; an empty one is none.

    options: (exactly these, or at most these); without words for flags that are not set.
    remounts: whether it is a rule for remounts only. besides: whether its options have a word
    beside those for what it does, "rw" too.
    """

    fstypes: tuple[str, ...]
    options: tuple[tuple[bool, frozenset[str]], ...]
    source: str
    target: str
    remounts: bool = False
    besides: bool = False

    @property
    def is_loose(self) -> bool:
        """Whether AppArmor 3.0 takes it for any mount that its other conditions allow."""
        if not all(exactly for exactly, _ in self.options):
            return True
        return bool(self.acts & SPREADS) and self.besides

    @property
    def is_also_new(self) -> bool:
        """Whether AppArmor 3.0 takes it for a new mount too: of any type, with the other flags.

        Measured with apparmor_parser 3.0.8: (rw,move) is one, (move) is none; make-* likewise.
        """
        said = bool(self.others) if self.remounts else self.besides
        return bool(self.acts & (OTHER_ACTS | SPREADS)) and said

    @property
    def others(self) -> frozenset[str]:
        """The flags that do not say what it does."""
        return self.acts - OTHER_ACTS - SPREADS

    @property
    def acts(self) -> frozenset[str]:
        """All flags that it names."""
        return frozenset(word for _, words in self.options for word in words)


def normal(words: Iterable[str]) -> frozenset[str]:
    """Flags in one spelling, without those that are not set."""
    return frozenset(_ALIASES.get(word, word) for word in words if word not in UNSET)


@functools.lru_cache(_MOST)
def read(words: str) -> MountRule:
    """A rule without qualifiers and the comma: "mount …", "remount …", or "all"."""
    kind, _, rest = words.partition(" ")
    fstypes: list[str] = []
    options: list[tuple[bool, frozenset[str]]] = []
    paths = ["", ""]
    besides = False
    behind = kind not in {"mount", "all"}
    for token in _TOKEN.finditer(rest):
        if token["arrow"]:
            behind = True
        elif token["path"]:
            paths[behind] = token["path"]
        elif token["key"].endswith("fstype"):
            fstypes += listed(token["value"])
        else:
            said = listed(token["value"])
            options.append((not _IS_IN.match(token[0]), normal(said)))
            besides = besides or any(_ALIASES.get(w, w) not in OTHER_ACTS | SPREADS for w in said)
    if kind == "remount":
        options = [(exactly, words_of | {"remount"}) for exactly, words_of in options]
        options = options or [(True, frozenset(("remount",)))]
    # the parser makes one slash of several, but not of two at the start alone
    bare = [re.sub("(?<!^)/{2,}|^/{3,}", "/", _bare(path)) for path in paths]
    is_remount = kind == "remount"
    return MountRule(tuple(fstypes), tuple(options), bare[0], bare[1], is_remount, besides)


def with_any_options(words: str) -> str:
    """A rule as AppArmor 4 compiles it: ``remount`` without options is one with any others.

    AppArmor 3.0 takes it for one without any (both measured).
    """
    kind, _, rest = words.partition(" ")
    if kind != "remount" or re.search(r"\boptions?\b", rest):
        return words
    return f"remount options in ({','.join(sorted(_FLAGS))}) {rest}".rstrip()


def listed(value: str) -> list[str]:
    """The words of a condition: x, "x", (x,y); braces are of one pattern."""
    words, depth = [""], 0
    for char in value:
        depth += (char == "{") - (char == "}")
        if depth <= 0 and (char in ",()" or char.isspace()):
            words.append("")
        else:
            words[-1] += char
    return [word.strip('"') for word in words if word.strip('"')]


def _bare(path: str) -> str:
    return path[1:-1] if len(path) > 1 and path[0] == path[-1] == '"' else path


def fits(rule: MountRule, mount: Mount) -> bool:
    """Whether a rule is about a mount."""
    # what most often tells two apart comes first: a whole profile is asked
    if rule.target and not aare.matches(rule.target, mount.target):
        return False
    if rule.fstypes and not any(aare.matches(one, mount.fstype) for one in rule.fstypes):
        return False
    flags = normal(mount.flags)
    if rule.remounts and "remount" not in flags:
        return False
    for exactly, words in rule.options:
        if (exactly and words != flags) or not flags <= words:
            return False
    return not rule.source or aare.matches(rule.source, mount.source)


class Short(NamedTuple):
    """A name of a rule that lacks the slash with which a folder's ends.

    may_be_file: whether it can be that of a file, so that the rule may be right as it is. of_file:
    the other name, if that has a slash and would be a file's with it: so the rule is for nothing.
    """

    name: str
    may_be_file: bool = False
    of_file: str = ""


def never_a_folder(words: str) -> Short | None:
    """Which name of a rule should end in a slash to mean a folder; None if none.

    words: as for read, "umount …" and "pivot_root …" too. What may be bound to a file is left
    alone.
    """
    # (of several, one after the other: see with_slashes)
    rule = read(words)
    kind = words.partition(" ")[0]
    if kind == "pivot_root":
        names = [_bare(word.removeprefix("oldroot=")) for word in _words(words)[1:]]
        return next((Short(name) for name in names if name != "->" and _is_short(name)), None)
    if kind not in ("mount", "remount", "umount", "unmount") or not _is_short(rule.target):
        # a folder is not bound to a file
        is_bound = bool(rule.acts & {"bind", "rbind", "move"})
        if not is_bound or not rule.source or not _is_short(rule.source):
            return None
        if rule.source in _FOLDERS:
            return Short(rule.source)
        ends = rule.target.endswith("/")
        return Short(rule.source, may_be_file=True, of_file=rule.target) if ends else None
    if not rule.acts & (OTHER_ACTS - {"remount"}) or rule.source.endswith("/"):
        # a file on which another was bound can be unmounted, remounted, made private
        of_a_mount = kind in ("umount", "unmount", "remount") or bool(
            rule.acts & ({"remount"} | SPREADS)
        )
        is_file = of_a_mount and rule.target not in _FOLDERS and not rule.fstypes
        return Short(rule.target, may_be_file=is_file)
    found = next((name for name in (rule.source, rule.target) if name in _FOLDERS), "")
    return Short(found) if found else None


def with_slashes(words: str) -> tuple[str, list[Short]]:
    """(the rule with the slashes that it lacks to mean folders, the names that have one now)."""
    added: list[Short] = []
    for _ in range(2):
        short = never_a_folder(words)
        if short is not None:
            added.append(short._replace(name=f"{short.name}/"))
            whole = rf"(?<![^\s\"=]){re.escape(short.name)}(?=[\s\"]|\Z)"
            words = re.sub(whole, lambda found: f"{found[0]}/", words, count=1)
    return words, added


def _words(words: str) -> list[str]:
    return re.findall(r'(?:oldroot=)?"[^"]*"|\S+', words)


def _is_short(name: str) -> bool:
    return name.startswith(("/", "{", "@{")) and not aare.may_end_in_slash(name)
