"""Evidence -> the profile that is suggested, why, and what it takes away. Pure: no I/O."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix_apparmor import hostmounts, labels, lxcsettings, paths, pveconf
from phoenix_apparmor.assignments import holes
from phoenix_apparmor.paths import BASE, DOCKER
from phoenix_apparmor.policy.rules import Profile
from phoenix_apparmor.suggest.evidence import Evidence

SCHEMA_VERSION = 1
RAW_KEY = "lxc.apparmor.raw"
SECCOMP_KEY = "lxc.seccomp.profile"
# What the kernel holds a container to that has no profile of a file.
NO_FILE = (labels.GENERATED, labels.LXC_DEFAULT)

# Profile -> its rules, None where they cannot be known.
RulesOf = Callable[[str], Profile | None]


def unknown(_name: str) -> Profile | None:
    """For who cannot read profiles."""
    return None


@dataclass(frozen=True)
class Suggestion:
    """What one container should be assigned.

    assigned: what the JSON has for it already, "" if nothing. why, takes_away: sentences.
    unsure: what could not be seen, "" if nothing was missing. running: None: nobody knows.
    """

    ctid: str
    name: str
    profile: str
    privileged: bool
    under: str
    assigned: str
    why: tuple[str, ...]
    takes_away: tuple[str, ...]
    unsure: str = ""
    running: bool | None = None

    def entry(self, *, trial: bool) -> dict[str, str]:
        """Its entry for the JSON."""
        name = {"name": self.name} if self.name else {}
        return {
            **name,
            "apparmor_profile": self.profile,
            **({"apparmor_mode": "trial"} if trial else {}),
        }


def ours_has_seccomp(profile: str) -> bool:
    """For who cannot read profiles: ours ask for the seccomp policy."""
    return profile in paths.SHIPPED


def suggest(
    seen: Evidence,
    assigned: str = "",
    rules_of: RulesOf = unknown,
    has_seccomp: Callable[[str], bool] = ours_has_seccomp,
) -> Suggestion:
    """The profile for a container, with the reasons.

    has_seccomp: whether a profile asks for our seccomp policy for privileged containers.
    """
    profile, why, unsure = _profile(seen, rules_of)
    return Suggestion(
        seen.conf.ctid,
        _name(seen),
        profile,
        not seen.unprivileged,
        seen.under,
        assigned,
        (*why, *_about(seen, profile, has_seccomp)),
        tuple(_takes_away(seen, profile, rules_of)),
        unsure,
        seen.running,
    )


def _name(seen: Evidence) -> str:
    """Its host name, "" without one that is plain text."""
    name = seen.conf.option("hostname") or ""
    if not seen.proxmox:
        said = lxcsettings.last(seen.conf.settings, "lxc.uts.name")
        name = said.value if said is not None else ""
    return name if name.isascii() and name.isprintable() else ""


def _profile(seen: Evidence, rules_of: RulesOf) -> tuple[str, list[str], str]:
    """(profile, reasons, what could not be seen)."""
    # of a stack, the profile that confines it on the host
    named = (seen.conf.used_profile or "").partition("//")[0]
    if named == DOCKER or (_is_own(named) and rules_of(named) is not None):
        return _as_named(seen, named)
    nesting = _nesting(seen, named)
    if seen.inside:
        return DOCKER, [f"runs containers inside: {', '.join(seen.inside)}"], ""
    keyctl = " and the feature keyctl=1, which Docker needs" if seen.has_feature("keyctl") else ""
    if named == BASE or not seen.unseen:
        why = "has no Docker, podman or containerd among its files"
        if nesting and named != BASE:
            # many turn these on for every container: what its files show says more
            why += f", though it has {nesting}{keyctl}"
        if seen.unseen:
            why = f"has the line lxc.apparmor.profile: {named}, under which Docker does not run"
        return BASE, [why], ""
    unseen = "Its files cannot be seen from here"
    if seen.running is None:
        unseen += ", nor whether it runs"
        ask = ": start it if it is down, and ask again as root."
    elif not seen.running:
        unseen += " while it is down"
        ask = ": start it, and ask again."
    else:
        ask = ": look inside, or ask again as root."
    unseen += f" ({seen.unseen})"
    if nesting:
        why = f"has {nesting}{keyctl}, so it may run Docker"
        return DOCKER, [why], f"{unseen}. If it runs no containers, {BASE} is narrower{ask}"
    why = "shows no sign of Docker in its configuration"
    return BASE, [why], f"{unseen}. If it runs Docker, it needs {DOCKER}{ask}"


def _nesting(seen: Evidence, named: str) -> str:
    """What of it is for containers inside, "" if nothing is."""
    if seen.has_feature("nesting"):
        return "the feature nesting=1"
    if seen.allow_nesting:
        return "lxc.apparmor.allow_nesting: 1"
    if named.startswith(labels.LXC_DEFAULT) and "nesting" in named:
        return f"the profile {named}"
    return ""


def _is_own(named: str) -> bool:
    """Whether it is the name of a profile of the site's, which a container can be assigned."""
    others = (*paths.NO_LINE, *paths.SHIPPED, paths.DEPRECATED)
    return (
        paths.is_profile(named) and named not in others and not named.startswith(labels.LXC_DEFAULT)
    )


def _as_named(seen: Evidence, named: str) -> tuple[str, list[str], str]:
    """The profile that its configuration names: somebody chose it, so it stays."""
    why = [f"has the line lxc.apparmor.profile: {named}, and keeps that profile"]
    if named != DOCKER:
        see = f"phoenix-apparmor doctor {seen.conf.ctid}"
        why.append(
            f"runs under a profile that is not one of this package's (how good it is: {see})"
        )
    if seen.inside:
        why.append(f"runs containers inside: {', '.join(seen.inside)}")
    elif not seen.unseen:
        narrower = f"; without them, {BASE} is narrower" if named == DOCKER else ""
        why.append(f"has no Docker, podman or containerd among its files{narrower}")
    return named, why, ""


def _about(seen: Evidence, profile: str, has_seccomp: Callable[[str], bool]) -> Iterator[str]:
    if seen.gpu:
        more = f" and {len(seen.gpu) - 1} more" if len(seen.gpu) > 1 else ""
        yield f"has a GPU ({seen.gpu[0]}{more})"
    elif seen.conf.is_whole:
        yield "has no GPU in its configuration, and the profile gives it none"
    if seen.unprivileged:
        yield "is unprivileged"
    else:
        # what an included file says of it, our start takes back
        own = lxcsettings.last(seen.conf.own_settings, SECCOMP_KEY)
        with_it = "a seccomp policy comes with it"
        if own is not None:
            with_it = (
                f"our seccomp policy is not used, as it has {SECCOMP_KEY}: {own.value}".rstrip()
            )
        elif not has_seccomp(profile):
            with_it = f"{profile} does not ask for our seccomp policy"
        yield f"is privileged, so root in it is root on this host: {with_it}"
        if profile == DOCKER:
            yield holes.NO_BOUNDARY.removesuffix(".")
        for mount in hostmounts.unguarded(seen.conf.main, seen.conf.mount_entries):
            where = f"{mount.what} at {mount.place} ({mount.file or mount.key})"
            yield f"has {where}, where no profile protects it, as rules name paths: better not"
    for file, why in seen.conf.unread:
        yield f"may have more of the host: {file}, which it names, is not read ({why})"
    if pveconf.is_template(seen.conf.main):
        yield "is a template, and its clones need entries of their own"


def _takes_away(seen: Evidence, profile: str, rules_of: RulesOf) -> Iterator[str]:
    """What the container may do today, or is configured for, and would not under the profile."""
    if seen.under == profile:
        return
    if seen.under == "unconfined":
        if seen.unprivileged:
            yield "what AppArmor would refuse but its user namespace allows (it is unconfined now)"
        else:
            yield "what reaches the host's kernel (it is unconfined now)"
    elif seen.under.endswith("(complain)"):
        yield "what its profile only logs now"
    named = (seen.conf.used_profile or "").partition("//&")[0]
    if named not in ("", profile, paths.DEPRECATED, *paths.SHIPPED, *NO_FILE, *paths.NO_LINE):
        why = "" if rules_of(named) is not None else " (no file says what: it cannot be kept)"
        yield f"what {named} allows and {profile} does not{why}"
    yield from _mounts_away(seen, rules_of(profile), rules_of)
    if profile == BASE and seen.has_feature("nesting"):
        yield "containers inside (nesting=1), which its files do not show"
    for key, value, *_ in seen.conf.settings:
        taken = _of_line(seen, key, value, profile)
        if taken:
            yield taken


def _mounts_away(seen: Evidence, then: Profile | None, rules_of: RulesOf) -> Iterator[str]:
    types = tuple(filter(seen.can_mount, seen.conf.features.get("mount", ())))
    for kind in types:
        if _may_mount(seen, kind, rules_of) and not _allows(then, kind):
            yield f"mounts of {kind} inside (mount={kind}); {_to_keep(kind)}"
    for kind in seen.network_mounts:
        if seen.can_mount(kind) and kind not in types and not _allows(then, kind):
            yield f"mounts of {kind} that it makes itself (fstab or mounted now); {_to_keep(kind)}"


def _to_keep(fstype: str) -> str:
    """The rule that keeps mounts of a type, where it is read for this container alone."""
    rule = f"mount fstype={fstype},"
    why = holes.hole(rule, holes.Container(""))
    danger = f" (better not: {why})" if why else ""
    return f'to keep them, in its "apparmor_rules": {rule}{danger}'


def _allows(profile: Profile | None, fstype: str) -> bool:
    return profile is not None and profile.new_mount_rule(fstype, "source", "/mnt/x/") is not None


def _may_mount(seen: Evidence, fstype: str, rules_of: RulesOf) -> bool:
    """Whether it can now: under a profile of a file, features: mount= allows nothing."""
    if seen.conf.used_profile in (None, "", *NO_FILE, "unconfined"):
        return True
    now = rules_of(seen.conf.used_profile or "")
    return now is None or _allows(now, fstype)


def _of_line(seen: Evidence, key: str, value: str, profile: str) -> str:
    """What of an lxc line of the container's own the profile makes void, "" if nothing."""
    if key == RAW_KEY and value and seen.conf.used_profile in (None, "", *NO_FILE):
        return f"its own rule {value} ({RAW_KEY} is for the generated profile only)"
    if key == "lxc.apparmor.allow_nesting" and value == "1" and profile == BASE:
        return "containers inside (lxc.apparmor.allow_nesting)"
    is_open = key == "lxc.mount.auto" and re.search(r"\b(sys|proc)(:rw|\b(?!:))", value)
    if is_open and not seen.unprivileged:  # a user namespace owns none of these
        return f"writing to the kernel's settings in /proc/sys and /sys (lxc.mount.auto: {value})"
    return ""


def entries(suggestions: Sequence[Suggestion], *, trial: bool) -> dict[str, dict[str, str]]:
    """CTID -> entry, of those that the JSON does not have."""
    return {s.ctid: s.entry(trial=trial) for s in suggestions if not s.assigned}


def as_json(
    suggestions: Sequence[Suggestion], target: str, managed: int, *, trial: bool
) -> dict[str, Any]:
    """For programs: suggest.schema.json describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "target": target,
        "managed": managed,
        "lxc_configs": entries(suggestions, trial=trial),
        "suggestions": [
            {
                "ctid": s.ctid,
                "name": s.name or None,
                "profile": s.profile,
                "privileged": s.privileged,
                "under": s.under,
                "assigned": s.assigned or None,
                "why": list(s.why),
                "takes_away": list(s.takes_away),
                "unsure": s.unsure or None,
            }
            for s in suggestions
        ],
    }
