"""What to do where a profile refused something that was loaded inside a container. Pure but for
looking for it there: such profiles are the container's own, and a host's rules change none.
"""

import re

from phoenix_apparmor import paths
from phoenix_apparmor.denials import denying
from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.advice import Advice
from phoenix_apparmor.denials.inside import Inside, Place
from phoenix_apparmor.denials.judge import cited
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import Owner
from phoenix_apparmor.denials.quoting import readable

# The setting of Ubuntu's kernels, a sysctl.
UNPRIVILEGED_USERNS = "kernel.apparmor_restrict_unprivileged_userns"
# With it such a kernel (security/apparmor/task.c, aa_profile_ns_perm) puts an unconfined program
# that makes a user namespace under a profile of this name. Ubuntu's apparmor package ships it.
TRANSITION = "unprivileged_userns"
_WHY_TRANSITION = (
    "The kernel puts a program without a profile of its own under this one when it makes a user "
    f"namespace ({UNPRIVILEGED_USERNS}). What helps is a profile for that program, inside: "
    "profile NAME /PATH/OF/IT flags=(unconfined) { userns, }."
)
# What Ubuntu's denies explicitly: "audit deny capability," and "audit deny change_profile,".
_DENIED_THERE = ("capable", "change_profile", "change_onexec", "change_hat")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+\Z")
# Names of profiles that programs make while they run, so that no file of /etc/apparmor.d has them:
# Docker's contrib/apparmor, containers/common, containerd's CRI plugin, nerdctl, CRI-O, BuildKit.
_OF_ENGINES = re.compile(
    r"(?:docker-default|containers-default.*|containers-.*|cri-containerd\.apparmor\.d"
    r"|nerdctl-default|crio-default.*|buildkit-default)\Z"
)
# Who makes others, and where a change of one's own goes (snapd: interfaces/apparmor; LXD, Incus and
# LXC: lsm/apparmor; libvirt: virt-aa-helper).
_MAKERS = (
    (
        re.compile(r"snap\.|snap-update-ns\.|/snap/|/usr/lib/snapd/"),
        "snapd",
        "What a snap may do, its interfaces say (snap connections).",
    ),
    (
        re.compile(r"(?:lxd|incus)[-_]"),
        "LXD or Incus",
        "Rules of one's own go into its setting raw.apparmor.",
    ),
    (
        re.compile(r"lxc-"),
        "LXC",
        "Rules of one's own go into lxc.apparmor.raw of its configuration.",
    ),
    (
        re.compile(r"libvirt-"),
        "libvirt",
        "Rules of one's own go into /etc/apparmor.d/local/abstractions/libvirt-qemu there.",
    ),
)


def advise(own: Inside, owner: Owner, act: Act, denial: Denial) -> Advice:
    """What to do about it inside. own: what can be seen of the container's files."""
    name = owner.inside
    where = f"container {readable(owner.ctid)}" if owner.ctid else "the container"
    stopped = own.is_stopped(owner.ctid)
    if name == "unconfined":
        restricted = f"No profile did. The kernel restricts that: {UNPRIVILEGED_USERNS}."
        refused = restricted if denial.operation == "userns_create" else "No profile did."
        return Advice("none", words=act.note or refused)
    made = _made(name, where, owner.deeper)
    if made:
        return Advice("none", words=made)
    words = f"This profile was loaded inside {where}, from its own /etc/apparmor.d."
    if name == TRANSITION:
        words = f"{words} {_WHY_TRANSITION}"
    if not act.rule or not _PLAIN.match(name):
        return Advice("none", words=f"{act.note} {words}".strip())
    place = own.place(owner.ctid, name)
    denies = denying.first(place.denies, denial) if place is not None else None
    if denies is not None:
        warning = f"{readable(name)} denies that on purpose: {cited(denies)}"
        return Advice("none", rule=act.rule, words=words, warning=warning, futile=True)
    if place is None and name == TRANSITION and denial.operation in _DENIED_THERE:
        unseen = f" (what is inside cannot be seen{_as_stopped(stopped=stopped)})"
        warning = f"Ubuntu's {TRANSITION} denies that on purpose{unseen}"
        return Advice("none", rule=act.rule, words=words, warning=warning, futile=True)
    part = name.partition("//")[2]
    if place is None:
        place, more = _unseen(name, stopped=stopped)
        words += more
    if part:
        words += f" The rule goes into the part {part} of {place.path}."
    elif not place.local:
        words += f" It reads no local file: the rule goes into {place.path}, before its end."
    words = f"{act.note} {words} Then, inside: apparmor_parser -r {place.path}".strip()
    return Advice("inside", "" if part else place.local, act.rule, act.rule, words)


def _unseen(name: str, *, stopped: bool) -> tuple[Place, str]:
    """Where a profile that nobody can see usually is, and what that means."""
    outer, _, part = name.partition("//")
    file = outer.removeprefix("/").replace("/", ".")
    local = "" if part else f"{paths.APPARMOR_D}/local/{file}"
    why = _as_stopped(stopped=stopped)
    words = (
        f" Whether this profile denies that on purpose cannot be seen{why}. If the file there has "
        f"another name than {file}: grep -rlwF {outer} /etc/apparmor.d."
    )
    return Place(f"{paths.APPARMOR_D}/{file}", local), words


def _as_stopped(*, stopped: bool) -> str:
    return ", as the container does not run" if stopped else ""


def _made(name: str, where: str, deeper: str) -> str:
    """Who made a profile that is in no file of the container's, "" for one that may be in one."""
    if _OF_ENGINES.match(name):
        return (
            f"The container engine in {where} made this profile. Start that inner container with a "
            "profile of your own (--security-opt apparmor=NAME; in Kubernetes, appArmorProfile)."
        )
    if deeper:
        return (
            f"This profile was loaded in a policy namespace inside {where}, {readable(deeper)}: in "
            "a container within it, from files of that one."
        )
    for made, maker, words in _MAKERS:
        if made.match(name):
            return f"{maker} in {where} made this profile, and makes it anew. {words}"
    return ""
