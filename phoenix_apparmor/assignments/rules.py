"""A container's own AppArmor rules: is it one rule, and what would it open? Pure.

apparmor.d(5) has the grammar. The rules are put into the text of a profile, so a rule must not
be able to end that profile, include a file or begin another profile. The parser decides
whether a rule compiles; this decides whether it is one.
"""

import re

# First words of rules; a file rule may also begin with a path or its permissions.
KINDS = frozenset(
    ("capability", "network", "mount", "remount", "umount", "unmount", "pivot_root", "signal",
     "ptrace", "unix", "dbus", "file", "link", "userns", "mqueue", "io_uring", "change_profile",
     "rlimit", "all")
)  # fmt: skip
BEFORE = frozenset(("audit", "allow", "deny", "owner", "quiet", "set"))
# What the host's kernel shows of itself; mounted elsewhere, the denies by path do not know it.
KERNEL_VIEWS = (
    "proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "pstore", "efivarfs",
    "devtmpfs", "binfmt_misc", "cgroup", "cgroup2",
)  # fmt: skip

_PERMISSIONS = re.compile(r"[rwaxmklidcpuPUCI]+\Z")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def problem(rule: str) -> str:
    """Why this is not one rule, to stand behind the rule; "" if it is one."""
    if not rule.endswith(",") or "#" in rule or not rule.isprintable():
        return ""  # the schema says so
    bare = _QUOTED.sub('"', rule)
    if bare.count('"') != len(_QUOTED.findall(rule)):
        return "has a quote without its other half"
    why = _brackets(bare)
    if why:
        return why
    words = rule.removesuffix(",").split()
    while words and (words[0] in BEFORE or words[0].startswith("priority=")):
        del words[0]
    first = words[0] if words else ""
    if first in KINDS or first.startswith(("/", '"/', "@{")) or _PERMISSIONS.match(first):
        return ""
    return f'begins with "{first}", which no rule does'


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
            return "has a blank inside of braces"
    return f'does not close its "{depth[-1]}"' if depth else ""


def is_deny(rule: str) -> bool:
    """Whether it is an explicit deny."""
    return "deny" in rule.split(" /", 1)[0].split()


def hole(rule: str) -> str:
    """Why the rule would open what the profiles keep shut, "" if nothing speaks against it.

    Explicit denies hold against every rule, so a file rule opens nothing that is denied.
    """
    if is_deny(rule):
        return ""
    words = rule.removesuffix(",").split()
    while words and (words[0] in BEFORE or words[0].startswith("priority=")):
        del words[0]
    rest = " ".join(words[1:])
    match words[0] if words else "":
        case "all":
            return "it allows everything but what is denied explicitly"
        case "change_profile":
            return "with it root in the container leaves its profile by one write"
        case "mount" | "remount":
            return _hole_of_mount(rest)
        case "ptrace" | "signal" | "unix" if "peer=" not in rest and "receive" not in rest:
            return "without peer= it reaches every process, those of the host too"
    return ""


def _hole_of_mount(rest: str) -> str:
    fstype = re.search(r"fstype=(\S+)", rest)
    types = re.split(r"[{},()\s]+", fstype[1]) if fstype else []
    views = [kind for kind in types if kind in KERNEL_VIEWS or ("*" in kind and kind != "fuse.*")]
    target = re.search(r"->\s*(\S+)", rest)
    if views:
        return (
            f"{views[0]} is the host kernel's own interface; mounted there, it is out of reach of "
            "the deny rules that guard it by path"
        )
    if not fstype and target is None:
        return "without fstype= and a target it allows any mount that is not denied explicitly"
    source = re.search(r"(?:^|\s)(/\S*)\s*(?:->|$)", rest)
    if source and re.match(r"/(proc|sys|dev/\.lxc)(/|$|\*)", source[1]):
        return f"{source[1]} under another path is out of reach of the deny rules by path"
    if source and source[1].startswith("/dev/") and "bind" not in rest:
        return (
            "the host's kernel would read a disk that the container can write; a crafted file "
            "system attacks the kernel"
        )
    return ""
