"""A refused mount(2) in words, and as a rule. Pure.

Kernel: security/apparmor/mount.c. ``flags`` are the mount's options, but newer ones
(nosymfollow) are not among the words that it prints. With the new mount API (fsopen,
fsmount, move_mount) the kernel sees a move without source and type.
"""

from collections.abc import Collection

from phoenix_apparmor.denials import vocabulary
from phoenix_apparmor.denials.act import Act, strange
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.quoting import is_path, quoted, quoted_source, readable
from phoenix_apparmor.denials.vocabulary import PROPAGATION
from phoenix_apparmor.policy.mountrules import UNSET, Mount

# These are the container's own and hold nothing of the kernel's.
HARMLESS = frozenset(("tmpfs", "ramfs", "hugetlbfs", "mqueue", "devpts", "overlay", "rpc_pipefs"))
# What they mount has a name that is no path: a share of the host's, a data set.
NAMED = frozenset(("9p", "virtiofs", "zfs"))
_NOT_NEW = PROPAGATION | {"bind", "rbind", "move", "remount"}


def read(denial: Denial) -> Mount:
    """The refused mount as it was asked for."""
    words = [word.strip() for word in denial.get("flags").split(",") if word.strip()]
    return Mount(frozenset(words), denial.get("fstype"), denial.get("srcname"), denial.get("name"))


def act_of(denial: Denial) -> Act:
    """A mount, umount or pivot_root: all have the class mount."""
    if denial.operation == "umount":
        return umount(denial)
    if denial.operation == "pivotroot":
        return pivot_root(denial)
    mount = read(denial)
    target, source = denial.name(), denial.name("srcname")
    said = _said(mount, _words(denial), readable(target), readable(source))
    odd = _unruly(mount, _words(denial))
    if odd:
        return Act(said, note=odd)
    what, note = _what(mount, _words(denial), quoted_source(source))
    return Act(said, f"mount{what} -> {quoted(target)},", note)


def host_only(denial: Denial) -> str:
    """The type of a new mount that only root of the host can make; "" if it is another."""
    mount = read(denial)
    is_new = denial.operation == "mount" and not mount.flags & _NOT_NEW
    return mount.fstype if is_new and vocabulary.is_host_only(mount.fstype) else ""


def is_remount_of(denial: Denial, places: Collection[str]) -> bool:
    """Whether it changes a file system itself, not only a mount of it, that is mounted there.

    places: without a slash at the end. The kernel lets only root of the user namespace in which
    it was mounted do so (fs/namespace.c, do_remount).
    """
    mount = read(denial)
    is_one = denial.operation == "mount" and "remount" in mount.flags and "bind" not in mount.flags
    return is_one and (mount.target.rstrip("/") or "/") in places


def _words(denial: Denial) -> list[str]:
    return [word.strip() for word in denial.get("flags").split(",") if word.strip()]


def _unruly(mount: Mount, words: list[str]) -> str:
    """Why no rule can be given, "" if one can."""
    odd = next((word for word in words if word not in vocabulary.MOUNT_FLAGS), None)
    if odd is not None:
        return strange("option of a mount", odd)
    if {"ro", "rw"} <= mount.flags:
        return strange("option of a mount", "ro, rw")
    if mount.fstype and not vocabulary.is_file_system(mount.fstype):
        return strange("type of file system", mount.fstype)
    if not is_path(mount.target):
        return "No rule can be given: the mount point is not a path."
    if is_of_path(mount) and not is_path(mount.source):
        return "No rule can be given: what is mounted is not a path."
    return ""


def is_of_path(mount: Mount) -> bool:
    """Whether something that is there already is mounted in another place.

    Then the kernel has its name from the folder or file itself; that of another source (of a FUSE
    program) it takes as it was written.
    """
    flags = mount.flags
    if "remount" in flags:
        return False
    return bool(flags & {"bind", "rbind"} or ("move" in flags and mount.source))


def _what(mount: Mount, words: list[str], source: str) -> tuple[str, str]:
    """(the rule's conditions up to the place, a note)."""
    flags = mount.flags
    if flags & _NOT_NEW:
        # rw says nothing there, and makes AppArmor 3.0 take the rule for a new mount as well
        words = [word for word in words if word not in UNSET]
    options = f" options=({','.join(words)})" if words else ""
    if "remount" in flags:
        return options, ""
    if is_of_path(mount):
        return f"{options} {source}", ""
    if "move" in flags:
        return options, ("Made with the new mount API, which does not tell AppArmor what it is: "
                         "the rule allows anything there.")  # fmt: skip
    if flags & PROPAGATION:
        made = [f"make-{word}" if word in PROPAGATION else word for word in words]
        note = "AppArmor 3.0 (PVE 8) takes this rule for any mount (CVE-2016-1585)."
        note = note if flags - PROPAGATION - UNSET else ""
        return f" options=({','.join(made)})", note
    # What holds nothing but the container's own may have any option: the kernel does not print
    # all of them (nosymfollow). A device or a server is worth naming, the arbitrary word of a
    # tmpfs is not.
    kind = f" fstype={mount.fstype}" if mount.fstype else ""
    # Without any flag the kernel prints none, and a rule without options is for all of them.
    options = "" if mount.fstype in HARMLESS else options or " options=(rw)"
    named = "/" in mount.source or (mount.fstype in NAMED and mount.source)
    if mount.source.startswith("/") and mount.source.endswith("/"):
        # the kernel does not look for what has no device: the name is as the program wrote it
        source = f'{source[:-1].rstrip("/")}{{,/}}"'
    return f"{kind}{options}{f' {source}' if named else ''}", ""


def _said(mount: Mount, words: list[str], on: str, source: str) -> str:
    flags = mount.flags
    if "remount" in flags:
        shown = [word for word in words if word not in ("remount", "bind", "silent")]
        return f"remount {on} ({readable(', '.join(shown))})"
    if flags & {"bind", "rbind"}:
        return f"bind-mount {source} on {on}"
    if "move" in flags:
        return f"move the mount {source} to {on}" if mount.source else f"mount something on {on}"
    if flags & PROPAGATION:
        return f"make {on} {next(word for word in words if word in PROPAGATION)}"
    said = f"mount {readable(mount.fstype, 40) or 'something'} on {on}"
    said += " read-only" if "ro" in flags else ""
    named = "/" in mount.source or (mount.fstype in NAMED and mount.source)
    return said + (f" from {source}" if named else "")


def umount(denial: Denial) -> Act:
    """A mount taken away."""
    words = f"unmount {readable(denial.name())}"
    if not is_path(denial.get("name")):
        return Act(words, note="No rule can be given: the mount point is not a path.")
    return Act(words, f"umount {quoted(denial.name())},")


def pivot_root(denial: Denial) -> Act:
    """Another root for the mount namespace."""
    new, old = denial.name(), denial.name("srcname")
    words = f"make {readable(new)} its root (pivot_root)"
    if not is_path(denial.get("name")):
        return Act(words, note="No rule can be given: the new root is not a path.")
    before = f"oldroot={quoted(old)} " if is_path(denial.get("srcname")) else ""
    return Act(words, f"pivot_root {before}{quoted(new)},")
