"""Refused changes of profile and of policy in words, and as a rule. Pure."""

import re

from phoenix_apparmor import paths
from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.quoting import quoted, readable
from phoenix_apparmor.policy import files

NO_NEW_PRIVS = (
    "No rule helps: the process has the kernel's flag no_new_privs (NoNewPrivileges= of its "
    "systemd unit), under which no process changes to a profile that may allow more."
)


# LXC's file names its profile by the path.
LXC_START = ("/usr/bin/lxc-start", "lxc-start")
# Changes of policy.
POLICY = ("profile_load", "profile_replace", "profile_remove")
_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9._/-]*\Z")
# What engines call the profiles that they make and load themselves.
_ENGINES = re.compile(
    r"(?:docker|crio|nerdctl|buildkit)-default\Z|containers-default-|cri-containerd\.apparmor\.d\Z"
)


def asks_for_engines_profile(denial: Denial) -> bool:
    """Whether a container engine's own profile was asked for where it is not loaded."""
    name = denial.get("name") or denial.get("target")
    changes = ("change_profile", "change_onexec", "stack", "stack_onexec")
    return (
        denial.operation in changes
        and "not found" in denial.get("info")
        and _ENGINES.match(re.split(r"//&|//", name)[0]) is not None
    )


def _not_found(name: str, namespace: str = "") -> str:
    """What to do where the kernel has no such profile. name: of the outermost one.

    namespace: the policy namespace that is stacked on it, "" if none is. The kernel says the same
    of either that is missing, and reload makes no namespace.
    """
    if namespace:
        ctid = namespace.removeprefix("lxc-").partition("_")[0]
        known = paths.is_ctid(ctid)
        return (
            f"The kernel has no policy namespace {readable(namespace)}, which our hookscript or "
            f"drop-in makes at each start, or no profile {readable(name)} (after adding its file: "
            f"{_reload(name)}). Which: phoenix-apparmor doctor{f' {ctid}' if known else ''}"
            + (f"; then: pct start {ctid}" if known else "")
        )
    if _ENGINES.match(name):
        return (
            "The container engine loads that profile itself, into the container's own policy "
            "namespace, which lxc-nvidia-gpu-docker gives it at its start. Restart the container."
        )
    if name.startswith("lxc-"):
        return f"That profile is not loaded. After adding its file: {_reload(name)}"
    return (
        "The profile is not loaded where the process is. A container with a policy namespace of "
        "its own loads its profiles itself (apparmor_parser -r, inside); on the host, after "
        f"adding its file: {_reload(name)}"
    )


def _reload(name: str) -> str:
    """The command that loads a profile which nobody assigns."""
    return f"{files.RELOAD} {name if _PLAIN.match(name) else 'PROFILE'}"


def change_profile(denial: Denial) -> Act:
    """A change of the process' own profile."""
    name = denial.get("name") or denial.get("target")
    words = f"change to profile {readable(name)}"
    info = denial.get("info")
    if "no new privs" in info:
        return Act(words, note=NO_NEW_PRIVS)
    outer = re.split(r"//&|//", name)[0]
    if (
        denial.get("profile") in LXC_START
        and outer != "unconfined"
        and (not outer.startswith(("lxc-", ":", "&")) and outer)
    ):
        return Act(words, note="lxc-start may only change to profiles whose name begins with "
                   '"lxc-". Rename the profile.')  # fmt: skip
    if "not found" in info:
        stacked = re.search(r"//&:([^:]+):", name)
        return Act(words, note=_not_found(outer, stacked[1] if stacked else ""))
    if not name or name.startswith("&"):
        return Act(words, note="No rule can be given: the kernel does not say to which one.")
    return Act(words, f"change_profile -> {quoted(name)},")


def change_hat(denial: Denial) -> Act:
    """A change to a hat, a part of its profile that a program asks for by name."""
    name = denial.get("name") or denial.get("target")
    about = f" {readable(name)}" if name else ""
    return Act(f"change to the hat{about}", note="Hats are for profiles that have them; "
               "containers' profiles have none.")  # fmt: skip


def policy(denial: Denial) -> Act:
    """A change of AppArmor's policy itself."""
    verb = denial.operation.removeprefix("profile_")
    return Act(
        f"{readable(verb)} the AppArmor profile {readable(denial.get('name'))}",
        note="No rule allows that. An unprivileged container loads profiles only into a policy "
        "namespace of its own, as a container under lxc-nvidia-gpu-docker has one.",
    )
