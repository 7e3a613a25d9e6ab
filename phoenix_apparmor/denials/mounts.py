"""A refused mount(2) in words, and as a rule. Pure.

Kernel: security/apparmor/mount.c. ``flags`` are the mount's options, but newer ones
(nosymfollow) are not among the words that it prints. With the new mount API (fsopen,
fsmount, move_mount) the kernel sees a move without source and type.
"""

from typing import NamedTuple

from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.quoting import literal, readable

PROPAGATION = frozenset(
    ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")
)
# What our profiles never mount, or only in one place: abstractions/phoenix/{mounts,kernel-mounts}.
KERNEL_VIEWS = frozenset(
    ("proc", "sysfs", "binfmt_misc", "debugfs", "tracefs", "configfs", "securityfs", "pstore",
     "efivarfs", "bpf", "devtmpfs", "nfsd", "resctrl", "cgroup", "cgroup2")
)  # fmt: skip
# These are the container's own and hold nothing of the kernel's.
HARMLESS = frozenset(("tmpfs", "ramfs", "hugetlbfs", "mqueue", "devpts", "overlay", "rpc_pipefs"))


class Mount(NamedTuple):
    """As acts.Act; flags, fstype, source and target as a deny rule is matched against them."""

    words: str
    rule: str
    note: str
    hole: str
    flags: frozenset[str]
    fstype: str
    source: str
    target: str


def read(denial: Denial) -> Mount:
    """The refused mount."""
    target, source = denial.get("name"), denial.get("srcname")
    fstype = denial.get("fstype")
    words = [word.strip() for word in denial.get("flags").split(",") if word.strip()]
    flags = frozenset(words)
    on = readable(target)
    note = ""
    options = f" options=({','.join(words)})" if words else ""
    if "remount" in flags:
        others = ", ".join(word for word in words if word not in ("remount", "bind", "silent"))
        said = f"remount {on} ({others})"
        rule = f"mount -> {literal(target)},"
        note = ("The rule allows any mount there: AppArmor 3.0 matches no narrower one "
                "for a remount.")  # fmt: skip
    elif flags & {"bind", "rbind"}:
        said = f"bind-mount {readable(source)} on {on}"
        rule = f"mount{options} {literal(source)} -> {literal(target)},"
    elif "move" in flags:
        said = (
            f"move the mount {readable(source)} to {on}" if source else f"mount something on {on}"
        )
        rule = f"mount{options}{' ' + literal(source) if source else ''} -> {literal(target)},"
        if not source:
            note = ("Made with the new mount API, which does not tell AppArmor what it is: "
                    "the rule allows anything there.")  # fmt: skip
    elif flags & PROPAGATION:
        kind = next(word for word in words if word in PROPAGATION)
        said = f"make {on} {kind}"
        options = options.replace(kind, f"make-{kind}")
        rule = f"mount{options} -> {literal(target)},"
        note = "AppArmor 3.0 (PVE 8) takes this rule for any mount (CVE-2016-1585)."
    else:
        # a device or a server is worth naming, the arbitrary word of a tmpfs is not
        device = f" {literal(source)}" if "/" in source else ""
        said = f"mount {readable(fstype) or 'something'} on {on}"
        said += " read-only" if "ro" in flags else ""
        said += f" from {readable(source)}" if device else ""
        kind = f" fstype={literal(fstype)}" if fstype else ""
        rule = f"mount{kind}{options}{device} -> {literal(target)},"
        if denial.get("info") == "failed flags match" and fstype in HARMLESS:
            note = (
                "If that does not do: the mount has an option that the kernel does not print "
                f"(nosymfollow). Then: mount fstype={fstype} -> {literal(target)},"
            )
    hole = _hole(flags, fstype, source, target)
    return Mount(said, rule, note, hole, flags, fstype, source, target)


def _within(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == folder or name.startswith(folder + "/") for folder in folders)


def _hole(flags: frozenset[str], fstype: str, source: str, target: str) -> str:
    """Why such a mount should stay forbidden, "" if nothing speaks against it."""
    kernel = ("/proc", "/sys", "/dev/.lxc")
    if fstype in KERNEL_VIEWS:
        return (
            f"{fstype} is the host kernel's own interface; mounted there, it is out of reach of "
            "the deny rules that guard it by path"
        )
    if flags & {"bind", "rbind", "move"} and _within(source.rstrip("/"), kernel):
        return f"{readable(source)} under another path is out of reach of the deny rules by path"
    if "move" in flags and not source and _within(target.rstrip("/"), kernel):
        return "what is mounted over /proc or /sys hides what the deny rules know by path"
    if source.startswith("/dev/") and not flags & {"bind", "rbind", "move", "remount"}:
        return (
            "the host's kernel would read a disk that the container can write; a crafted file "
            "system attacks the kernel"
        )
    return ""
