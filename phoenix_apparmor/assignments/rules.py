"""A container's own AppArmor rules: is it one rule? (holes.py: what would it open?) Pure.

apparmor.d(5) has the grammar. The rules are put into the text of a profile, so a rule must not
be able to end that profile, include a file or begin another profile. The parser decides
whether a rule compiles; this decides whether it is one.
"""

import itertools
import re

# First words of rules; a file rule may also begin with a path or its permissions.
KINDS = frozenset(
    ("capability", "network", "mount", "remount", "umount", "unmount", "pivot_root", "signal",
     "ptrace", "unix", "dbus", "file", "link", "userns", "mqueue", "io_uring", "change_profile",
     "rlimit", "all")
)  # fmt: skip
BEFORE = frozenset(("audit", "allow", "deny", "owner", "quiet", "set"))

_PERMISSIONS = re.compile(r"[rwaxmklidcpuPUCI]+\Z")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def problem(rule: str) -> str:
    """Why this is not one rule, to stand behind the rule; "" if it is one."""
    if not rule.endswith(",") or "#" in rule or not rule.isprintable():
        return ""  # the schema says so
    bare = _QUOTED.sub('"', rule)
    if bare.count('"') != len(_QUOTED.findall(rule)):
        return "has an unmatched quote"
    why = _brackets(bare)
    if why:
        return why
    words = rule.removesuffix(",").split()
    before = list(itertools.takewhile(_stands_before, words))
    if "deny" not in before and any(word.startswith("priority=") for word in before):
        return "has a priority, which in AppArmor 4.1 overrides what the profile denies explicitly"
    words = words[len(before) :]
    first = words[0] if words else ""
    if first in KINDS or first.startswith(("/", '"/', "@{")) or _PERMISSIONS.match(first):
        return ""
    return f'begins with "{first}", which no rule does'


def _stands_before(word: str) -> bool:
    return word in BEFORE or word.startswith("priority=")


def _brackets(bare: str) -> str:
    """Commas and brackets: one rule has one comma outside of brackets, at its end."""
    depth: list[str] = []
    closing = {")": "(", "]": "[", "}": "{"}
    escaped = False
    for number, char in enumerate(bare):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "([{":
            # apparmor.d(5): blocks begin with a brace that stands alone, patterns have no blanks
            if char == "{" and bare[number + 1 : number + 2] in ("", " ", "\t"):
                return "opens a block"
            depth.append(char)
        elif char in closing:
            if not depth or depth.pop() != closing[char]:
                return f'closes a "{char}" that it did not open'
        elif char == "," and not depth and number != len(bare) - 1:
            return "is more than one rule: write each as a string of its own"
        elif char in " \t" and "{" in depth:
            return "has a space inside braces"
    return f'does not close its "{depth[-1]}"' if depth else ""
