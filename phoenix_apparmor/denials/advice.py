"""What to do about a denial, and the cases in which that is something else than a rule."""

import shlex
from typing import Literal, NamedTuple

from phoenix_apparmor import lxcconf, paths, pveconf
from phoenix_apparmor.assignments import holes
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.denials import mounts, vocabulary
from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.engines import is_engine
from phoenix_apparmor.denials.facts import Facts
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import Owner
from phoenix_apparmor.denials.profiles import Profile
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.denials.transitions import LXC_START
from phoenix_apparmor.paths import BASE, DOCKER

# rule: write that rule. assign: give the container another profile. nesting: turn that on.
# inside: a rule in the container's own /etc/apparmor.d. profile: the profile reads no file of
# the site's, a profile of your own is needed. none: no rule helps, the words say what is so.
Kind = Literal["rule", "assign", "nesting", "inside", "profile", "none"]

_SANDBOXES = ("/run/systemd/", "/run/credentials/", "/dev/shm/", "/dev/mqueue/", "/run/lock/")  # noqa: S108

# Of LXC's generated profile with nesting (lsm/apparmor.c, AA_PROFILE_NESTING_BASE): what it
# allows then that it does not without, and what of these it denies all the same.
NESTING_RULES = ("mount,", "pivot_root,", "ptrace,", "signal,")
NESTING_DENIES = (
    "deny mount options=(ro, remount) -> /,",
    "deny mount options=(ro, remount, silent) -> /,",
    "deny mount fstype=debugfs -> /var/lib/ureadahead/debugfs/,",
)

# Names of profiles that the kernel makes in complain mode, for a program that no rule lets run.
LEARNED = "null-"


class Advice(NamedTuple):
    """What to do.

    rule: the AppArmor rule. place: the file for it, line: what goes into that; "" where there is
    none. words: what to do besides or instead. fix: a shell line that does it, "" where there is
    none. warning: why the rule should not be written. futile: whether a rule would do nothing.
    cause: denials with the same one are told together, in the words that are with it. allowed:
    whether there is a rule for it already; with rule set, only in the container's own entry.
    about: what else the rule does, wherever it is written. many: whether it is for more names than
    were told one by one.
    """

    kind: Kind
    place: str = ""
    line: str = ""
    rule: str = ""
    words: str = ""
    fix: str = ""
    warning: str = ""
    futile: bool = False
    cause: str = ""
    allowed: bool = False
    about: str = ""
    many: bool = False


def of_the_hosts_root(
    owner: Owner, denial: Denial, facts: Facts, *, nested: bool
) -> tuple[Advice | None, str]:
    """(advice where the kernel leaves it to root of the host, a note where that may be so).

    nested: whether it may be in a container inside, whose root and mounts are its own.
    """
    kind = mounts.host_only(denial)
    is_hosts = mounts.is_remount_of(denial, facts.shared) and not is_engine(denial)
    if facts.privileged or not (kind or is_hosts):
        return None, ""
    if facts.privileged is False and (kind or not nested):
        return _host_only(owner, kind, facts) if kind else _not_its_own(), ""
    if owner.profile in LXC_START:
        return None, ""
    if kind:
        why = f"the kernel mounts {kind} only for root of the host."
        return None, f"No rule helps in an unprivileged container: {why}"
    inner = ", unless it is one of a container inside" if nested else ""
    note = "No rule helps in an unprivileged container: what is mounted there is the host's"
    return None, f"{note}{inner}."


def _host_only(owner: Owner, kind: str, facts: Facts) -> Advice:
    """A mount that the kernel refuses root of a user namespace, with any profile and any rule."""
    words = (
        f"No rule helps: the kernel mounts {kind} only for root of the host, and this container is "
        "unprivileged."
    )
    if kind in vocabulary.KERNELS:
        words += " systemd goes on without it; its unit for that can be masked inside"
        return Advice("none", words=f"{words} (systemctl mask).")
    words += " Mount it on the host and give the container that folder"
    if paths.is_ctid(owner.ctid):
        words += f": pct set {owner.ctid} --mp{facts.free_mount_point} /FOLDER,mp=/FOLDER"
    return Advice("none", words=f"{words}.")


def _not_its_own() -> Advice:
    """A remount, without bind, of what is mounted from the host: the kernel refuses it."""
    words = (
        "No rule helps: the options of a file system of the host's can be changed by root of the "
        "host only, and this container is unprivileged."
    )
    return Advice("none", words=words)


def learned(owner: Owner) -> Advice:
    """What a program did for which the kernel made a profile, as complain mode let it run.

    Source: security/apparmor/domain.c (profile_transition), policy.c (aa_new_learning_profile).
    """
    program = owner.child.rpartition("//")[2].removeprefix(LEARNED)
    words = (
        f"{readable(owner.profile)} has no rule with which {readable(program)} may run; it ran in "
        "complain mode, under a profile that the kernel made for that. A rule for this goes "
        f"nowhere: what is allowed to {readable(owner.profile)} is allowed to it, once that runs "
        "it (ix)."
    )
    return Advice("none", words=words)


def nesting(owner: Owner, facts: Facts) -> Advice:
    """systemd sets up services in a generated profile without nesting."""
    start = "systemd in a container needs these mounts for its services. It is best to assign "
    start += f"{BASE} or {DOCKER}"
    cause = "set up the sandboxes of its services (systemd)"
    if facts.privileged:
        words = f"{start}. (With nesting, root in this privileged container can get at the host.)"
        return Advice("assign", words=words, cause=cause)
    if not paths.is_ctid(owner.ctid) or facts.separator != ": ":
        words = f"{start}; or turn nesting on: lxc.apparmor.allow_nesting = 1 in {facts.file}."
        return Advice("nesting", words=words, cause=cause)
    value = pveconf.with_feature(facts.features, "nesting")
    words = f"{start}; or turn nesting on, then start it again (pct reboot {owner.ctid})."
    # without its configuration it is not known what else to keep, or whether it is privileged
    known = facts.privileged is not None
    fix = f"pct set {owner.ctid} --features {shlex.quote(value)}" if known else ""
    return Advice("nesting", words=words, fix=fix, cause=cause)


def is_sandbox(owner: Owner, denial: Denial, facts: Facts) -> bool:
    """Whether it is systemd setting up a service in a generated profile without nesting."""
    if not owner.generated_in or facts.nesting:
        return False
    if denial.operation not in ("mount", "umount", "pivotroot"):
        return False
    by_systemd = denial.get("comm").startswith("(") or denial.get("comm") == "systemd"
    return by_systemd or denial.get("name").startswith(_SANDBOXES)


def assign_docker(owner: Owner, facts: Facts, who_needs: str = "Docker and podman need") -> Advice:
    """An engine under a profile that is not made for one."""
    who = f"CT {readable(owner.ctid)}" if owner.ctid else "that container"
    weak = "" if facts.privileged is False else f" {holes.NO_BOUNDARY}"
    words = (
        f"{who_needs} the profile {DOCKER}. Assign it to {who} "
        f'("apparmor_profile": "{DOCKER}" in its entry of {paths.JSON_FILES[0].rpartition("/")[2]}) '  # noqa: E501
        f"and start the container again.{weak}"
    )
    return Advice("assign", words=words, cause="run containers (Docker or podman)")


def sandbox(owner: Owner, facts: Facts) -> Advice:
    """bubblewrap under a profile in which nothing gets a root of its own."""
    advice = assign_docker(owner, facts, "bubblewrap (Flatpak too) needs")
    return advice._replace(cause="set up a sandbox (bubblewrap)")


def engines_profile(
    owner: Owner, profile: Profile | None, facts: Facts, act: Act, assignment: Assignment | None
) -> Advice:
    """The engine's own profile is missing, as it is loaded into a namespace of the container's.

    Which of the reasons for that it is decides what helps.
    """
    if facts.privileged:
        words = (
            "A privileged container has no policy namespace to load that profile into. Start "
            "that inner container with --security-opt apparmor=unconfined: the container's own "
            "profile still confines it."
        )
        return Advice("none", words=words)
    if profile is not None and not owner.generated_in and not profile.supports_docker:
        return assign_docker(owner, facts)._replace(cause="")
    words = _without_namespace(owner, assignment)
    return Advice("none", words=words or act.note)


def policy(
    owner: Owner,
    profile: Profile | None,
    facts: Facts,
    act: Act,
    denial: Denial,
    assignment: Assignment | None,
) -> Advice:
    """A change of policy: who may make one, and which namespace it would go into."""
    no = "No rule allows that"
    if f":{lxcconf.namespace_of(owner.ctid)}:" in denial.get("label"):
        words = "only root of the container may, and not in a user namespace inside it."
        return Advice("none", words=f"{no}: {words}")
    if facts.privileged:
        words = "A privileged container has no policy namespace to load profiles into."
        return Advice("none", words=f"{no}. {words}")
    if profile is None or not profile.supports_docker:
        return Advice("none", words=act.note)
    words = _without_namespace(owner, assignment) or (
        f"{readable(owner.profile)} gives the container a policy namespace at its start, into "
        "which it may load them. Restart the container."
    )
    return Advice("none", words=f"{no}. {words}")


def _without_namespace(owner: Owner, assignment: Assignment | None) -> str:
    """That its entry keeps the container from having one; "" where it does not."""
    if assignment is None or assignment.policy_namespace:
        return ""
    return (
        f'"apparmor_policy_namespace": false in the entry of CT {owner.ctid} keeps it from '
        "having a policy namespace to load profiles into. Remove that, then: "
        f"pct reboot {owner.ctid}"
    )
