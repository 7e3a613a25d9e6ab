"""A denial in words, and the smallest rule that would allow it. Pure."""

from collections.abc import Callable

from phoenix_apparmor.denials import ipc, mounts, peers, sockets, transitions
from phoenix_apparmor.denials.act import Act, strange
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.quoting import is_path, quoted, readable

# Permissions as the kernel writes them (security/apparmor/file.c, aa_audit_perm_mask).
FILE_WORDS = {
    "r": "read",
    "w": "write",
    "a": "append to",
    "c": "create",
    "d": "delete",
    "m": "map executable",
    "l": "link",
    "k": "lock",
    "x": "execute",
}
OPERATION_WORDS = {
    "mkdir": "make the folder",
    "rmdir": "remove the folder",
    "unlink": "delete",
    # of any file: the kernel asks so before open(2) creates one (path_mknod)
    "mknod": "create",
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

# Flag of a profile -> what only with it has a name (the kernel's d_namespace_path).
NAMELESS = {
    "attach_disconnected": "Its path is outside of the container's tree",
    "mediate_deleted": "The file is deleted already",
}


# With several rules for a link, each that says nothing of its target has it compared.
NOT_SUBSET = (
    "No rule can be given: a hard link may not allow more than its target, and the rules for "
    "these two names execute them in different ways (ix, px, ux). Make them the same."
)


def act_of(denial: Denial, ctid: str = "") -> Act:
    """What was tried; an operation that is not known here is named as the kernel names it.

    ctid: the container that tried it, "" if unknown.
    """
    act = _act_of(denial)
    return act._replace(hole=peers.outside(denial, act.reach, ctid)) if act.reach else act


def _act_of(denial: Denial) -> Act:
    kind = "dbus" if denial.operation.startswith("dbus_") else denial.get("class")
    act = _HANDLERS.get(f"class {kind}") or _HANDLERS.get(denial.operation)
    if act is not None:
        return act(denial)
    if denial.get("family"):
        return sockets.act_of(denial)
    # Kernels before 6.2 say no class. The same letters mean something else in another one.
    if denial.get("name") and denial.mask and denial.get("class") in ("", "file"):
        return _file(denial)
    about = f" {readable(denial.name())}" if denial.get("name") else ""
    called = readable(denial.operation, 40)
    words = f"do what the kernel calls {called}{about}" if called else f"do something{about}"
    return Act(words, note="No rule can be given: it is not known here what would allow it.")


def _file(denial: Denial) -> Act:
    mask = denial.mask
    verb = OPERATION_WORDS.get(denial.operation)
    if verb is None:
        # the kernel's own order is "wr"
        shown = sorted((c for c in mask if not (c == "c" and "w" in mask)), key=_order)
        verb = " and ".join(FILE_WORDS.get(c, readable(c)) for c in shown[:9])
    words = f"{verb} {readable(denial.name())}"
    odd = _unruly(denial)
    if odd:
        return Act(words, note=odd)
    target = denial.get("target")
    path, note = denial.name(), _new(denial)
    if denial.operation == "link" and is_path(target):
        path = denial.name("target")
        words += f" to {readable(path)}"
        if "subset" in denial.get("info"):
            return Act(words, note=NOT_SUBSET)
        if "l" in mask or not mask:
            return Act(words, f"link {quoted(denial.name())} -> {quoted(path)},")
        note = "A hard link may not allow more than its target: the rule is for the target."
    letters = "".join(
        letter
        for letter in "rwamlk"
        if letter in mask or (letter == "w" and set(mask) & {"c", "d"})
    )
    letters += "ix" if "x" in mask else ""
    if "w" in letters:
        letters = letters.replace("a", "")
    return Act(words, f"{quoted(path)} {letters},", note=note)


def _new(denial: Denial) -> str:
    """That a rule for this name will not help next time, "" where that is not known."""
    if not denial.new:
        return ""
    return (
        f"{denial.new} names of that folder look new each time: rules for just these names will "
        "not help next time. If the program can, let it use a folder of its own, and write a rule "
        "for that."
    )


def _order(letter: str) -> int:
    return [*FILE_WORDS, letter].index(letter)


def needed_flag(denial: Denial) -> str:
    """The flag without which the profile has no name for what was refused; "" if it has one."""
    info = denial.get("info")
    if "disconnected path" in info:
        return "attach_disconnected"
    return "mediate_deleted" if "deleted" in info else ""


def _unruly(denial: Denial) -> str:
    """Why no rule for a file can be given, "" if one can."""
    info = denial.get("info")
    flag = needed_flag(denial)
    if flag:
        what = NAMELESS[flag]
        return f"{what}; a rule can name it only if the profile has the flag {flag}."
    if denial.operation == "exec" and "no new privs" in info:
        return transitions.NO_NEW_PRIVS
    if denial.operation == "exec" and "profile" in info:
        return f"The kernel says: {readable(info)}."
    if not is_path(denial.get("name")):
        return "No rule can be given: its name is not a path."
    odd = next((letter for letter in denial.mask if letter not in FILE_WORDS), None)
    return strange("permission for a file", denial.mask) if odd else ""


_HANDLERS: dict[str, Callable[[Denial], Act]] = {
    "mount": mounts.act_of,
    "umount": mounts.umount,
    "pivotroot": mounts.pivot_root,
    "ptrace": ipc.ptrace,
    "signal": ipc.signal,
    "capable": ipc.capability,
    "setrlimit": ipc.resource_limit,
    "userns_create": ipc.user_namespace,
    "change_profile": transitions.change_profile,
    "change_onexec": transitions.change_profile,
    "change_hat": transitions.change_hat,
    "stack": transitions.change_profile,
    "stack_onexec": transitions.change_profile,
    "profile_load": transitions.policy,
    "profile_replace": transitions.policy,
    "profile_remove": transitions.policy,
    "class net": sockets.act_of,
    "class posix_mqueue": ipc.message_queue,
    "class sysv_mqueue": ipc.message_queue,
    "class io_uring": ipc.io_uring,
    "class dbus": ipc.dbus,
}
