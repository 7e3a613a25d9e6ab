"""What an AppArmor rule of one container would open that our profiles keep shut. Pure.

Explicit denies hold against every rule, so what the profile denies is opened by none. What counts
is what the denies cannot see: the kernel's views in another place, other profiles, other
processes. denials, allow and validate all ask here.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import lxcconf, paths
from phoenix_apparmor.assignments import places
from phoenix_apparmor.assignments.rules import BEFORE
from phoenix_apparmor.policy import aare, mountrules
from phoenix_apparmor.policy.mountrules import Mount

# Capabilities that our profiles deny on purpose, and what they are good for where they are the
# host's; each continues "with it, root in the container". All others our profiles give to every
# container: without sys_admin or net_admin no privileged one boots. In a user namespace of its
# own, which an unprivileged container has, none of these reaches the host: the kernel asks for
# them in the host's user namespace (capable()).
DANGERS = {
    "sys_module": "loads code into the host's kernel",
    "sys_time": "sets the host's clock",
    "syslog": "reads the host kernel's log and its addresses",
}
# What another process does to the container's, the profiles allow; the rest is done to a socket
# of its own and to no other process.
PASSIVE = {
    "ptrace": frozenset(("readby", "tracedby")),
    "signal": frozenset(("receive", "r", "read")),
    "unix": frozenset(
        ("receive", "r", "read", "create", "bind", "listen", "shutdown", "getattr", "setattr",
         "getopt", "setopt")
    ),
    "dbus": frozenset(("receive", "r", "read", "bind")),
}  # fmt: skip
# What SECURITY.md says of it: Docker mounts /proc and /sys where it likes.
NO_BOUNDARY = (
    f"{paths.DOCKER} is no security boundary for a privileged container: root in it can get at "
    "the host."
)
ANY_MOUNT = "without fstype= and a target it allows any mount that is not denied explicitly"
ANY_THERE = "it allows any mount there that is not denied explicitly"
ANY_MOVED = (
    "it allows any mount there that is made with the new interface (fsmount), of /proc and /sys too"
)
OLD_PARSER = "AppArmor 3.0 of this host takes it for any mount (CVE-2016-1585)"
ALSO_NEW = "AppArmor 3.0 of this host takes it for a new mount of any type as well (CVE-2016-1585)"

_PEER = re.compile(r"\bpeer=\s*(\([^)]*\)|\"[^\"]*\"|\S+)")
# A policy namespace or a generated profile (lxcconf.namespace_of), in a pattern too.
_CONTAINER = re.compile(r"lxc-([1-9][0-9]{2,8})_<")
_EXECUTES = re.compile(r"[rwalkm]*([uUpP])[iIuU]?[xX][rwalkm]*\Z")


def _none(asked: object) -> bool:
    del asked
    return False


class Container(NamedTuple):
    """Whose rule it is.

    profile: in which the rule is, "" if unknown; folder: of containers, where LXC keeps it if it
    made it. privileged: None where that is not known, or
    of several. loose: whether the parser is one with CVE-2016-1585. denied, without: whether the
    profile denies a mount, or a capability, explicitly.
    """

    ctid: str
    profile: str = ""
    privileged: bool | None = None
    loose: bool = False
    denied: Callable[[Mount], bool] = _none
    folder: str = ""
    without: Callable[[str], bool] = _none

    @property
    def unless(self) -> str:
        """What stands behind a danger that only privileged containers are."""
        return "" if self.privileged else ", unless the container is unprivileged"


def split(rule: str) -> tuple[str, ...]:
    """The words of a rule that allows, without what stands before it; none of one that denies."""
    words = rule.strip().removesuffix(",").split()
    while words and (words[0] in BEFORE or words[0].startswith("priority=")):
        if words.pop(0) == "deny":
            return ()
    return tuple(words)


def remedy(rule: str, why: str = "") -> str:
    """How a rule of this kind may be made narrower, "" where it names all that it can.

    why: what hole says of it.
    """
    words = split(rule)
    kind = words[0] if words else ""
    if kind in ("mount", "remount"):
        said = mountrules.read(" ".join(words))
        if why in (OLD_PARSER, ALSO_NEW) and said.is_also_new and not said.others:
            return f"Write options=({','.join(sorted(said.acts))}), which is just that."
        lacks = [] if said.fstypes or said.acts & mountrules.OTHER_ACTS else ["a type"]
        lacks += [] if said.target and said.target not in places.WIDE else ["a place"]
        return f"If it must be, name {' and '.join(lacks)}." if lacks else ""
    if kind in PASSIVE:
        if _PEER.search(rule):
            return f"The container's own processes are {_peer_of(kind, '@{profile_name}')}."
        return f"If it must be, name a peer: {_peer_of(kind, 'PROFILE')}."
    match kind:
        case "change_profile":
            found = _assign(words)
        case "capability":
            found = "" if words[1:] else "Name those that it needs."
        case "all":
            found = "Write a rule for each thing that it needs."
        case _:
            runs = "If it must run such a program, use ix: then it stays in the profile."
            found = runs if _of_execution(words) else ""
    return found


def _assign(words: Sequence[str]) -> str:
    """Of other profiles nobody can be assigned one, or several are meant."""
    name = words[-1].strip('"') if "->" in words else ""
    is_one = paths.is_profile(name) and name not in paths.NO_LINE
    return f"Assign the container {name} instead." if is_one else ""


def _peer_of(kind: str, label: str) -> str:
    return f"peer=(label={label})" if kind in ("dbus", "unix") and label else f"peer={label}"


def hole(rule: str, whose: Container) -> str:
    """Why the rule would open what the profiles keep shut, "" if nothing speaks against it."""
    words = split(rule)
    kind, rest = words[0] if words else "", " ".join(words[1:])
    match kind:
        case "all":
            return "it allows everything but what is denied explicitly"
        case "change_profile":
            return "with it, root in the container leaves its profile with one write"
        case "mount" | "remount":
            return _of_mount(" ".join(words), whose)
        case "ptrace" | "signal" | "unix" | "dbus":
            return _of_processes(kind, rest, whose)
        case "capability":
            return _of_capabilities(words[1:], whose)
    return _of_execution(words)


def of_view(fstype: str, target: str = "") -> str:
    """Why one of the kernel's own file systems should not be mounted anew."""
    what = f"{fstype} is the host kernel's own interface"
    if places.is_kernels(target):  # there the denies by path may know it
        return f"{what}, which our profiles let no container mount there"
    return f"{what}; mounted there, it is out of reach of the deny rules that guard it by path"


def elsewhere(source: str) -> str:
    """Why a part of /proc or /sys should not have another path. source: as it may be shown."""
    return f"{source} under another path is out of reach of the deny rules by path"


def _of_capabilities(names: Sequence[str], whose: Container) -> str:
    # one that names none is for all of them
    named = next((n for n in DANGERS if (n in names or not names) and not whose.without(n)), "")
    if not named or whose.privileged is False:
        return ""
    where = "in a privileged container, root" if whose.privileged else "root in the container"
    return f"with it, {where} {DANGERS[named]}{whose.unless}"


def _of_mount(words: str, whose: Container) -> str:
    said = mountrules.read(words)
    targets = aare.examples(said.target) if said.target else list(places.USUAL)

    def opens(fstype: str, source: str, *flags: str) -> bool:
        """Whether such a mount is not denied in every place."""
        chosen = next((exact for exactly, exact in said.options if exactly), frozenset(flags))
        each = (Mount(chosen, fstype, source, target) for target in targets)
        return any(not whose.denied(mount) for mount in each)

    if said.is_loose and whose.loose:
        return OLD_PARSER
    if said.acts & mountrules.SPREADS:
        return ""
    if "remount" in said.acts:
        why = _of_remount(said, targets, whose) if opens("", "", "remount") else ""
    elif not said.fstypes and said.acts & {"bind", "rbind", "move"}:
        why = _of_second_path(said, opens, whose)
    else:
        return _of_new_mount(said, opens, whose)
    return why or (ALSO_NEW if whose.loose and _opens_new(said, targets, whose) else "")


def _opens_new(said: mountrules.MountRule, targets: Sequence[str], whose: Container) -> bool:
    """Whether AppArmor 3.0 takes it for a new mount as well that gives away what is the host's."""
    if not said.is_also_new or "ro" in said.others:
        return False
    if whose.privileged is not False and not said.source:
        disks = (Mount(said.others, "ext4", "/dev/x", target) for target in targets)
        if any(not whose.denied(mount) for mount in disks):
            return True
    each = (
        Mount(said.others, view, said.source or view, target)
        for view in ("proc", "sysfs")
        for target in targets
        if not places.is_usual(view, target) and not places.BUILT.match(target)
    )
    return any(not whose.denied(mount) for mount in each)


def _of_new_mount(said: mountrules.MountRule, opens: Callable[..., bool], whose: Container) -> str:
    types = said.fstypes
    views = (v for v in places.KERNEL_VIEWS if any(aare.matches(t, v) for t in types))
    there = [v for v in views if not places.is_usual(v, said.target)]
    view = next((v for v in there if opens(v, said.source or v)), "")
    if view:
        return of_view(view, said.target)
    disk = any(aare.matches(t, one) for t in types for one in places.DISKS)
    on_node = places.NODE.match(said.source) is not None
    on_node = on_node and (not types or any(aare.matches(t, "fuseblk") for t in types))
    if (disk or on_node) and whose.privileged is not False and opens("ext4", said.source):
        return places.WHY_NO_DISK
    if types:
        return ""
    if said.source and said.target:
        return _of_second_path(said, opens, whose) or _of_a_source(said, opens, whose)
    return _of_any_there(said.target, opens, whose) if said.target else ANY_MOUNT


def _of_a_source(said: mountrules.MountRule, opens: Callable[..., bool], whose: Container) -> str:
    """A new mount of any type: the source of /proc and its like is any word, "none" for example."""
    if whose.privileged is False and said.target not in places.WIDE:
        return ""
    usual = any(places.is_usual(view, said.target) for view in places.KERNEL_VIEWS)
    views = () if usual else places.KERNEL_VIEWS
    opened = next((view for view in views if opens(view, said.source)), "")
    return f"without fstype= it allows a mount of {opened} too: {of_view(opened)}" if opened else ""


def _of_any_there(target: str, opens: Callable[..., bool], whose: Container) -> str:
    """Any mount at a place: what the container has there is its own to fill."""
    is_wide = target in places.WIDE
    if whose.privileged is False and not is_wide:
        return ""  # for one folder README gives such a rule: Docker's data there
    opened = ["a second /proc and /sys"] if opens("proc", "proc") or opens("sysfs", "sysfs") else []
    if whose.privileged is not False and opens("ext4", "/dev/x"):
        opened.append("file systems of disks")
    if opens("", "", "remount", "bind"):
        opened.append("writable remounts of what the host shares")
    unless = "" if is_wide else whose.unless
    return f"{ANY_THERE}: {', '.join(opened)}{unless}" if opened else ""


def _of_second_path(
    said: mountrules.MountRule, opens: Callable[..., bool], whose: Container
) -> str:
    """A bind or a move; of a rule without options, all of them."""
    source, flags = said.source, said.acts & {"bind", "rbind", "move"} or {"bind"}
    if not source:
        if "move" in flags and places.is_kernels(said.target):
            return "what is mounted over /proc or /sys hides what the deny rules know by path"
        # a move of the new mount interface has no source, whatever is mounted; to a named place it
        # is narrow
        is_any = "move" in flags and "**" in said.target and whose.privileged is not False
        if is_any and opens("", "", *flags):
            return f"{ANY_MOVED}{whose.unless}"
        narrow = "move" in flags and said.target
        found = next((name for name in ("/proc/", "/sys/") if opens("", name, *flags)), "")
        return elsewhere(found) if found and not narrow else ""
    if source == "/" and "rbind" in flags and not places.NAMESPACES.search(said.target):
        return elsewhere(source) if opens("", source, *flags) else ""
    if source == said.target and not re.search(r"[*?[{^]", source):
        return ""  # a mount of its own in its place (systemd, runc): the same path
    kernels = [name for name in places.KERNEL if aare.matches(source, name)]
    kernels += [name for name in aare.examples(source) if places.is_kernels(name)]
    return elsewhere(source) if any(opens("", name, *flags) for name in kernels) else ""


def _of_remount(said: mountrules.MountRule, targets: Sequence[str], whose: Container) -> str:
    """What it does to what the host shares with the container. Without bind it is the file
    system itself that is changed, which only root of the host may.
    """
    exact = all(exactly for exactly, _ in said.options)
    if ("bind" not in said.acts or not exact) and whose.privileged is not False:
        what = "gives a file system of the host's other options, for the host as well"
        return f"with it, root in a privileged container {what}{whose.unless}"
    if "bind" not in said.acts or (exact and "ro" in said.acts):
        return ""
    if whose.privileged is False and all(places.BUILT.match(target) for target in targets):
        return ""
    how = " by lxc.mount.entry" if whose.privileged is False else ""
    # (What was mounted at the start is locked, see shares.py; what was added since is not.)
    what = f"makes writable what the host shared with it read-only{how} since its start"
    return f"with it, root in the container {what}"


def _of_processes(kind: str, rest: str, whose: Container) -> str:
    if is_passive(f"{kind} {rest}"):
        return ""
    access = set(mountrules.listed(_before_conditions(rest)))
    names = _peers(rest)
    if not names:
        what = "listens to" if "eavesdrop" in access else "reaches"
        return f"without {_peer_of(kind, '')} it {what} every process, those of the host too"
    return next((why for name in names if (why := _of_peer(name, whose))), "")


def peers_of(rule: str) -> list[str]:
    """Labels that the rule names as peers."""
    words = split(rule)
    return _peers(" ".join(words[1:])) if words and words[0] in PASSIVE else []


def of_its_profile(rule: str, ctid: str, profile: str) -> str:
    """Whom a rule of a container's own reaches by its profile's name; "" if it names that not.

    The container is under PROFILE.CTID then. Just PROFILE is the label of those without rules.
    """
    own = f"{profile}.{ctid}"
    names = (name.replace("@{profile_name}", own) for name in peers_of(rule))
    if not profile or not any(aare.matches(name, profile) for name in names):
        return ""
    return f"its peer= takes processes of other containers, those under {profile} without own rules"


def is_passive(rule: str) -> bool:
    """Whether the rule is only for what another process does to the container's."""
    words = split(rule)
    kind, rest = words[0] if words else "", " ".join(words[1:])
    access = set(mountrules.listed(_before_conditions(rest)))
    return kind in PASSIVE and bool(access) and access <= PASSIVE[kind]


def _peers(rest: str) -> list[str]:
    peer = _PEER.search(rest)
    words = mountrules.listed(peer[1].replace("label=", " ")) if peer is not None else []
    return [word for word in words if not word.startswith(("addr=", "name="))]


def _of_peer(name: str, whose: Container) -> str:
    """Why processes that a pattern for labels takes are not the container's."""
    name = name.replace("@{profile_name}", whose.profile) if whose.profile else name
    if aare.matches(name, "unconfined"):
        return "its peer= takes unconfined processes, which are those of the host"
    others = (found[1] for found in _CONTAINER.finditer(name))
    other = next((ctid for ctid in others if ctid != whose.ctid), "")
    if other:
        return f"its peer= takes processes of CT {other}"
    if any(aare.matches(name, label) for label in _labels_of_others(whose)):
        return "its peer= takes processes of other containers"
    near = (f"{whose.profile}.{ctid}" for ctid in ("999999998", f"{whose.ctid}0", f"{whose.ctid}1"))
    labels = [*aare.examples(name), *(label for label in near if aare.matches(name, label))]
    if whose.profile and not all(_is_own(label, whose) for label in labels):
        return f"its peer= takes processes outside of the container ({name})"
    return ""


def _is_own(label: str, whose: Container) -> bool:
    named = _CONTAINER.search(label)
    if named is not None:
        return named[1] == whose.ctid
    # with rules of its own it is under a profile that is made for it (lxcconf.variants)
    own = {whose.profile, f"{whose.profile}.{whose.ctid}"}
    return not own.isdisjoint(re.split(r"//&|//", label))


def _labels_of_others(whose: Container) -> Iterator[str]:
    """Labels as those of a container have them that is not this one."""
    other = "999999998" if whose.ctid == "999999999" else "999999999"
    yield f"{lxcconf.namespace_of(other).partition('_')[0]}_</var/lib/lxc>"
    for profile in {*paths.SHIPPED, whose.profile} - {""}:
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
