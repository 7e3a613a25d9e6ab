"""Whether one rule allows all that another does, by their texts. Pure.

"Yes" is sure; of what cannot be told it says no. Rules are their words, as in rules.Rule: without
qualifiers and the comma, variables expanded (apparmor.d(5)).
"""

import re

from phoenix_apparmor.policy import aare, mountrules, rules
from phoenix_apparmor.policy.mountrules import MountRule

_PATTERN = re.compile(r"[*?\[\]{}^\\]")
_ACCESS = re.compile(r"(?P<kind>\w+) ?(?P<access>\([^)]*\)|[a-z]+(?![a-z=]))? ?(?P<rest>.*)")
_CONDITION = re.compile(r"\w+=(?:\([^)]*\)|\S+)|\S+")
# Of kinds, that of which a rule without conditions is for all of them.
_KINDS = {"remount": "mount", "unmount": "umount"}
# Without words behind them these are for everything of their kind.
_WHOLE = frozenset(
    ("mount", "umount", "pivot_root", "capability", "network", "signal", "ptrace", "unix", "dbus")
)


def covers(wide: str, narrow: str, *, is_4: bool = False) -> bool:
    """Whether all that narrow allows, wide allows too. is_4: as AppArmor 4 compiles them."""
    if _normal(wide) == _normal(narrow) or wide == "all":
        return True
    kind = narrow.partition(" ")[0]
    whole = _KINDS.get(kind, kind)
    if wide == whole and whole in _WHOLE:
        return True
    if kind in ("mount", "remount"):
        is_one = wide.partition(" ")[0] in ("mount", "remount")
        said = mountrules.read(wide), mountrules.read(narrow)
        # with a word beside its act AppArmor 3.0 takes a rule for more (MountRule.is_also_new)
        more = bool(said[0].options) and said[1].besides and not said[0].besides
        return is_one and _of_mount(*said) and (is_4 or not more)
    if kind in ("capability", "network", "umount", "unmount"):
        return _of_words(wide.split(), narrow.split())
    if kind in ("signal", "ptrace", "unix", "dbus"):
        return _between_processes(wide, narrow)
    return kind != "all" and _of_file(wide, narrow)


def _normal(words: str) -> str:
    return " ".join(words.replace('"', "").split())


def _of_words(wide: list[str], narrow: list[str]) -> bool:
    if wide[:1] != narrow[:1] or len(narrow) < 2:
        return False
    if narrow[0] == "network":  # network inet stream
        return narrow[: len(wide)] == wide
    if narrow[0] in ("umount", "unmount"):
        names = zip(map(_bare, wide), map(_bare, narrow), strict=False)
        return len(wide) == len(narrow) and all(_takes(one, other) for one, other in names)
    return set(narrow) <= set(wide)


def _between_processes(wide: str, narrow: str) -> bool:
    """Each condition makes it narrower: one with fewer, and none or more accesses, is wider."""
    one, other = _ACCESS.fullmatch(_normal(wide)), _ACCESS.fullmatch(_normal(narrow))
    if one is None or other is None or one["kind"] != other["kind"]:
        return False
    have, want = (set(mountrules.listed(match["access"] or "")) for match in (one, other))
    if have and not (want and want <= have):
        return False
    return set(_CONDITION.findall(one["rest"])) <= set(_CONDITION.findall(other["rest"]))


def _of_mount(wide: MountRule, narrow: MountRule) -> bool:
    if wide.remounts and not narrow.remounts:
        return False
    if wide.options and sorted(wide.options, key=str) != sorted(narrow.options, key=str):
        return False
    if wide.fstypes and not (
        narrow.fstypes and all(any(_takes(w, n) for w in wide.fstypes) for n in narrow.fstypes)
    ):
        return False
    pairs = ((wide.source, narrow.source), (wide.target, narrow.target))
    return all(not one or _takes(one, other) for one, other in pairs)


def _takes(wide: str, narrow: str) -> bool:
    """Whether a pattern takes all names that another one does."""
    if wide == narrow:
        return True
    if not narrow:
        return False
    special = _PATTERN.search(narrow)
    if special is None:
        return aare.matches(wide, narrow)
    itself = wide.endswith("/{,**}")  # the folder too
    wide = wide.removesuffix("{,**}") + "**" if itself else wide
    if not wide.endswith("/**"):
        return False
    # all names of it are below this folder, and of one of the pattern's all that is below is taken
    folder = narrow[: narrow.rfind("/", 0, special.start()) + 1]
    # "/*" and "/**" mean no folder itself; "/{,x}" may
    filled = itself or not aare.matches(narrow[len(folder) - 1 :], "/")
    ends = [at + 1 for at, char in enumerate(folder) if char == "/"]
    return any(
        aare.matches(wide.removesuffix("**"), folder[:end])
        for end in ends
        if filled or end < len(folder)
    )


def _of_file(wide: str, narrow: str) -> bool:
    """Rules for files, of which owner and where a program changes to are the same in both."""
    one, other = (
        rules.file_words(rules.Rule(words, denies=False, kind="file", words=words))
        for words in (wide, narrow)
    )
    if one is None or other is None or one[2] or other[2]:
        return False
    if "owner" in wide.partition("/")[0].split():
        return False
    have, want = set(one[1]), set(other[1])
    have |= {"a"} if "w" in have else set()
    if want & set("xiupUPcC") and not {"i", "x"} >= want & set("xiupUPcC"):
        return False
    return want <= have and _takes(_bare(one[0]), _bare(other[0]))


def _bare(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' else name
