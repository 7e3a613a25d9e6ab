"""A denial in words, and the smallest rule that would allow it. Pure."""

import re
from collections.abc import Callable
from typing import NamedTuple

from phoenix_apparmor.denials import mounts
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.quoting import literal, readable
from phoenix_apparmor.errors import one_line


class Act(NamedTuple):
    """What a process tried.

    words: continues "tried to". rule: the smallest AppArmor rule that allows it, "" if no
    rule does. note: what to do instead or besides, may be empty. hole: why the rule would
    open what should stay closed, "" if it would not.
    """

    words: str
    rule: str = ""
    note: str = ""
    hole: str = ""


# Permissions as the kernel writes them (security/apparmor/file.c, aa_audit_perm_mask).
FILE_WORDS = {
    "r": "read",
    "w": "write",
    "a": "append to",
    "c": "create",
    "d": "delete",
    "m": "map as code",
    "l": "link",
    "k": "lock",
    "x": "execute",
}
OPERATION_WORDS = {
    "mkdir": "make the folder",
    "rmdir": "remove the folder",
    "unlink": "delete",
    "mknod": "make the node",
    "truncate": "truncate",
    "symlink": "make the link",
    "link": "make the hard link",
    "rename_src": "rename",
    "rename_dest": "rename something to",
    "chmod": "change the mode of",
    "chown": "change the owner of",
    "exec": "execute",
    "getattr": "look at",
}


def act_of(denial: Denial) -> Act:
    """What was tried; an operation that is not known here is named as the kernel names it."""
    kind = "dbus" if denial.operation.startswith("dbus_") else denial.get("class")
    act = _HANDLERS.get(denial.operation) or _HANDLERS.get(f"class {kind}")
    if act is not None:
        return act(denial)
    if denial.get("family"):
        return _network(denial)
    if denial.get("name") and _mask(denial):
        return _file(denial)
    about = f" {readable(denial.get('name'))}" if denial.get("name") else ""
    return Act(f"do {one_line(denial.operation) or 'something'}{about}")


def _mask(denial: Denial) -> str:
    """The refused permissions; kernels before 4.x wrote owner and other apart: ``w::``."""
    mask = denial.get("denied_mask") or denial.get("requested_mask") or denial.get("denied")
    return mask.replace(":", "")


def _file(denial: Denial) -> Act:
    name, mask = denial.get("name"), _mask(denial)
    verb = OPERATION_WORDS.get(denial.operation)
    if verb is None:
        shown = [c for c in mask if not (c == "c" and "w" in mask)]
        verb = " and ".join(FILE_WORDS.get(c, c) for c in shown)
    words = f"{verb} {readable(generic(name))}"
    info = denial.get("info")
    if "disconnected path" in info:
        return Act(words, note="Its path is outside of the container's tree; a rule cannot name "
                   "it. The profile needs the flag attach_disconnected.")  # fmt: skip
    if "deleted" in info:
        return Act(words, note="The file is deleted already; no rule names it. The profile needs "
                   "the flag mediate_deleted.")  # fmt: skip
    if denial.operation == "exec" and ("profile" in info or "no new privs" in info):
        return Act(words, note=f"The kernel says: {info}.")
    letters = "".join(
        letter
        for letter in "rwamlk"
        if letter in mask or (letter == "w" and set(mask) & {"c", "d"})
    )
    letters += "ix" if "x" in mask else ""
    if "w" in letters:
        letters = letters.replace("a", "")
    if not letters:
        return Act(words)
    target = denial.get("target")
    if denial.operation == "link" and target:
        return Act(f"{words} to {readable(target)}", f"link {_path(name)} -> {_path(target)},")
    return Act(words, f"{_path(name)} {letters},")


def generic(name: str) -> str:
    """name with process ids as *: the next one will have another."""
    return re.sub(r"\A/proc/[0-9]+(?=/|\Z)", "/proc/*", name)


def _path(name: str) -> str:
    """name as a pattern in a rule."""
    rest = re.sub(r"\A/proc/[0-9]+(?=/|\Z)", "", name)
    return literal(name) if rest == name else literal(rest, "/proc/[0-9]*")


def _mount(denial: Denial) -> Act:
    mount = mounts.read(denial)
    return Act(mount.words, mount.rule, mount.note, mount.hole)


def _umount(denial: Denial) -> Act:
    name = denial.get("name")
    return Act(f"unmount {readable(name)}", f"umount {literal(name)},")


def _pivot_root(denial: Denial) -> Act:
    new, old = denial.get("name"), denial.get("srcname")
    rule = f"pivot_root oldroot={literal(old)} " if old else "pivot_root "
    return Act(f"make {readable(new)} its root (pivot_root)", f"{rule}{literal(new)},")


def _outside(denial: Denial, what: str) -> str:
    """Why a rule for such a peer reaches out of the container, "" if it does not."""
    peer, own = denial.get("peer"), denial.get("profile") or denial.get("label")
    if not peer or own.split("//")[0] in re.split(r"//&|//", peer):
        return ""
    return f"with it, the container {what} processes outside of itself ({readable(peer)})"


def _ptrace(denial: Denial) -> Act:
    mask, peer = _mask(denial) or "trace", denial.get("peer")
    words = {
        "read": "look into a process",
        "trace": "trace a process",
        "readby": "be looked into by a process",
        "tracedby": "be traced by a process",
    }
    return Act(
        f"{words.get(mask, mask)} under {readable(peer)}",
        f"ptrace ({mask}) peer={literal(peer)},",
        hole="" if mask.endswith("by") else _outside(denial, "can look into or control"),
    )


def _signal(denial: Denial) -> Act:
    mask, peer = _mask(denial) or "send", denial.get("peer")
    name = denial.get("signal")
    verb = "send" if mask == "send" else "get"
    to = "to" if mask == "send" else "from"
    return Act(
        f"{verb} signal {name} {to} a process under {readable(peer)}",
        f"signal ({mask}) set=({name}) peer={literal(peer)},",
        hole=_outside(denial, "can signal") if mask == "send" else "",
    )


def _capability(denial: Denial) -> Act:
    name = denial.get("capname") or denial.get("capability")
    return Act(f"use the capability {name}", f"capability {name}," if denial.get("capname") else "")


def _network(denial: Denial) -> Act:
    family, kind = denial.get("family"), denial.get("sock_type")
    if family == "unix":
        address = denial.get("peer_addr") or denial.get("addr")
        of = f" {readable(address)}" if address not in ("", "none") else ""
        words = f"{denial.operation} a unix socket{of}"
        peer = denial.get("peer")
        mask = _mask(denial).replace(" ", ", ")
        to = f" peer=(label={literal(peer)})" if peer else ""
        return Act(
            words + (f" of {readable(peer)}" if peer else ""),
            f"unix ({mask}) type={kind}{to},",
            hole=_outside(denial, "talks to"),
        )
    return Act(f"{denial.operation} a socket: {family} {kind}", f"network {family} {kind},")


def _change_profile(denial: Denial) -> Act:
    name = denial.get("name") or denial.get("target")
    words = f"change to profile {readable(name)}"
    if "not found" in denial.get("info"):
        return Act(words, note="That profile is not loaded: phoenix-apparmor reload")
    if denial.get("profile") == "/usr/bin/lxc-start":
        return Act(words, note="lxc-start may only change to profiles whose name begins with "
                   '"lxc-". Rename the profile.')  # fmt: skip
    return Act(
        words,
        f"change_profile -> {literal(name)},",
        hole="with it, root in the container leaves its profile with one write",
    )


def _policy(denial: Denial) -> Act:
    verb = denial.operation.removeprefix("profile_")
    return Act(
        f"{verb} the AppArmor profile {readable(denial.get('name'))}",
        note="No rule allows that. An unprivileged container loads profiles only into a policy "
        "namespace of its own, as lxc-nvidia-gpu-docker gets one.",
    )


def _mqueue(denial: Denial) -> Act:
    name, mask = denial.get("name"), _mask(denial)
    mask = mask.replace(" ", ", ")
    return Act(f"use the message queue {readable(name)}", f"mqueue ({mask}) {literal(name)},",
               note="AppArmor 3.0 (PVE 8) does not know this rule.")  # fmt: skip


def _dbus(denial: Denial) -> Act:
    mask, bus = denial.get("mask"), denial.get("bus")
    member = denial.get("member")
    what = f"{denial.get('interface')}.{member}" if member else denial.get("name")
    return Act(f"{mask} {readable(what)} over the D-Bus {bus} bus", f"dbus ({mask}) bus={bus},")


_HANDLERS: dict[str, Callable[[Denial], Act]] = {
    "mount": _mount,
    "umount": _umount,
    "pivotroot": _pivot_root,
    "ptrace": _ptrace,
    "signal": _signal,
    "capable": _capability,
    "userns_create": lambda _: Act(
        "create a user namespace",
        "userns create,",
        note="AppArmor 3.0 (PVE 8) does not know this rule; there nothing refuses it.",
    ),
    "change_profile": _change_profile,
    "change_onexec": _change_profile,
    "stack": _change_profile,
    "stack_onexec": _change_profile,
    "profile_load": _policy,
    "profile_replace": _policy,
    "profile_remove": _policy,
    "class posix_mqueue": _mqueue,
    "class io_uring": lambda denial: Act(f"use io_uring ({denial.operation})"),
    "class dbus": _dbus,
}
