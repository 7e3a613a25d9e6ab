"""What an AppArmor rule of one container would open that our profiles keep shut. Pure.

Explicit denies hold against every rule, so a file rule opens nothing that is denied. What counts
is what the denies cannot see: the kernel's views in another place, other profiles, other processes.
"""

import re
from collections.abc import Iterator, Sequence

from phoenix_apparmor import lxcconf, paths
from phoenix_apparmor.assignments.rules import BEFORE
from phoenix_apparmor.policy import aare

# What the host's kernel shows of itself; mounted elsewhere, the denies by path do not know it.
KERNEL_VIEWS = (
    "proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "pstore", "efivarfs",
    "devtmpfs", "binfmt_misc", "nfsd", "resctrl", "cgroup", "cgroup2",
)  # fmt: skip
# Why a disk should not be mounted inside.
DISK = (
    "the host's kernel would read a disk that the container can write; a crafted file system "
    "attacks the kernel"
)
# Of each, places that a pattern can mean.
KERNEL_PLACES = (
    "/proc/", "/proc/sys/", "/proc/sys/kernel/", "/proc/sysrq-trigger", "/sys/", "/sys/kernel/",
    "/sys/module/", "/sys/firmware/", "/dev/.lxc/", "/dev/.lxc/proc/", "/dev/.lxc/sys/",
)  # fmt: skip
# Namespace files (ip netns, podman): AppArmor calls their source "/".
NAMESPACES = re.compile(r"/netns/[^/]+\Z")
# What another process does to the container's, the profiles allow; the rest is done to a socket
# of its own and to no other process.
PASSIVE = {
    "ptrace": frozenset(("readby", "tracedby")),
    "signal": frozenset(("receive", "r", "read")),
    "unix": frozenset(
        ("receive", "r", "read", "create", "bind", "listen", "shutdown", "getattr", "setattr",
         "getopt", "setopt")
    ),
}  # fmt: skip

_CONDITION = r"(?:=|\s+in\s+)\s*(\([^)]*\)|\"[^\"]*\"|\S+)"
_FSTYPE = re.compile(r"\bv?fstype" + _CONDITION)
_OPTIONS = re.compile(r"\boptions?" + _CONDITION)
_PEER = re.compile(r"\bpeer=\s*(\([^)]*\)|\"[^\"]*\"|\S+)")
# A policy namespace or a generated profile (lxcconf.namespace_of), in a pattern too.
_CONTAINER = re.compile(r"lxc-([1-9][0-9]{2,8})_<")
_EXECUTES = re.compile(r"[rwalkm]*([uUpP])[iIuU]?[xX][rwalkm]*\Z")


def remedy(rule: str) -> str:
    """How a rule of this kind may be made narrower, where it must be."""
    words = rule.removesuffix(",").split()
    while words and (words[0] in BEFORE or words[0].startswith("priority=")):
        words.pop(0)
    match words[0] if words else "":
        case "mount" | "remount":
            return "If it must be, name a type and a place."
        case "ptrace" | "signal" | "unix":
            return "If it must be, name a peer: peer=PROFILE."
        case "change_profile":
            return "Assign the container that profile instead."
        case "all":
            return "Write a rule for each thing that it needs."
    return "If it must run such a program, use ix: then it stays in the profile."


def hole(rule: str, ctid: str) -> str:
    """Why the rule would open what the profiles keep shut, "" if nothing speaks against it.

    ctid: the container whose rule it is.
    """
    words = rule.removesuffix(",").split()
    while words and (words[0] in BEFORE or words[0].startswith("priority=")):
        if words.pop(0) == "deny":
            return ""
    kind, rest = words[0] if words else "", " ".join(words[1:])
    match kind:
        case "all":
            return "it allows everything but what is denied explicitly"
        case "change_profile":
            return "with it root in the container leaves its profile by one write"
        case "mount" | "remount":
            return _of_mount(rest)
        case "ptrace" | "signal" | "unix":
            return _of_processes(kind, rest, ctid)
    return _of_execution(words)


def of_view(fstype: str) -> str:
    """Why one of KERNEL_VIEWS should not be mounted anew."""
    return (
        f"{fstype} is the host kernel's own interface; mounted there, it is out of reach of "
        "the deny rules that guard it by path"
    )


def elsewhere(source: str) -> str:
    """Why a part of /proc or /sys should not have another path. source: as it may be shown."""
    return f"{source} under another path is out of reach of the deny rules by path"


def _list_of(value: str) -> list[str]:
    """The words of a condition: x, "x", (x,y); braces are of one pattern."""
    return [word.strip('"') for word in re.split(r"[\s,()]+(?![^{]*\})", value) if word.strip('"')]


def _of_mount(rest: str) -> str:
    found = _FSTYPE.search(rest)
    types = _list_of(found[1]) if found else []
    view = next((v for v in KERNEL_VIEWS if any(aare.matches(t, v) for t in types)), "")
    if view:
        return of_view(view)
    given = _OPTIONS.search(rest)
    options = set(_list_of(given[1])) if given else set()
    before, arrow, behind = _OPTIONS.sub("", _FSTYPE.sub("", rest)).partition("->")
    source, target = before.strip().strip('"'), behind.strip().strip('"')
    if not types and not arrow:
        return "without fstype= and a target it allows any mount that is not denied explicitly"
    if not source or options & {"remount"}:
        return ""
    whole = source == "/" and "rbind" in options and not NAMESPACES.search(target)
    if whole or any(aare.matches(source, place) for place in KERNEL_PLACES):
        return elsewhere(source)
    if re.match(r"/dev/(?!\.lxc)", source) and not options & {"bind", "rbind", "move"}:
        return DISK
    return ""


def _of_processes(kind: str, rest: str, ctid: str) -> str:
    access = set(_list_of(_before_conditions(rest)))
    if access and access <= PASSIVE[kind]:
        return ""
    peer = _PEER.search(rest)
    if peer is None:
        return "without peer= it reaches every process, those of the host too"
    names = _list_of(peer[1].replace("label=", " "))
    if any(aare.matches(name, "unconfined") for name in names):
        return "its peer= takes unconfined processes, which are those of the host"
    for name in names:
        other = next((found[1] for found in _CONTAINER.finditer(name) if found[1] != ctid), "")
        if other:
            return f"its peer= takes processes of CT {other}"
        if any(aare.matches(name, label) for label in _labels_of_others(ctid)):
            return "its peer= takes processes of other containers"
    return ""


def _labels_of_others(ctid: str) -> Iterator[str]:
    """Labels as those of a container have them that is not this one."""
    other = "999999998" if ctid == "999999999" else "999999999"
    yield f"{lxcconf.namespace_of(other).partition('_')[0]}_</var/lib/lxc>"
    for profile in paths.SHIPPED:
        yield f"{profile}//&:{lxcconf.namespace_of(other)}:unconfined"


def _before_conditions(rest: str) -> str:
    """Like "(read, trace)" or "send" of what stands before set= and peer=."""
    return re.split(r"\b\w+=", rest, maxsplit=1)[0]


def _of_execution(words: Sequence[str]) -> str:
    """A file rule that lets programs run under another profile, or none."""
    for word in words:
        modes = _EXECUTES.match(word)
        if modes:
            where = "outside the profile, unconfined" if modes[1] in "uU" else "under another one"
            return f"a program that it names runs {where}"
    return ""
