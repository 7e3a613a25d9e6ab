"""Evidence -> the profile that is suggested, why, and what it takes away. Pure: no I/O."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix_apparmor.suggest.evidence import Evidence

BASE, DOCKER = "lxc-nvidia-gpu-base", "lxc-nvidia-gpu-docker"
SCHEMA_VERSION = 1
RAW_KEY = "lxc.apparmor.raw"
ASK = ": start it, and ask again."


@dataclass(frozen=True)
class Suggestion:
    """What one container should be assigned.

    assigned: what the JSON has for it already, "" if nothing. why, takes_away: sentences.
    unsure: what could not be seen, "" if nothing was missing.
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

    def entry(self, *, trial: bool) -> dict[str, str]:
        """Its entry for the JSON."""
        name = {"name": self.name} if self.name else {}
        return {
            **name,
            "apparmor_profile": self.profile,
            **({"apparmor_mode": "trial"} if trial else {}),
        }


def suggest(seen: Evidence, assigned: str = "") -> Suggestion:
    """The profile for a container, with the reasons."""
    profile, why, unsure = _profile(seen)
    return Suggestion(
        seen.conf.ctid,
        _name(seen),
        profile,
        not seen.unprivileged,
        seen.under,
        assigned,
        (*why, *_about(seen)),
        tuple(_takes_away(seen, profile)),
        unsure,
    )


def _name(seen: Evidence) -> str:
    """Its host name, "" without one that is plain text."""
    name = seen.conf.option("hostname") or ""
    if not seen.proxmox:
        name = next((value for key, value in seen.conf.lxc() if key == "lxc.uts.name"), "")
    return name if name.isascii() and name.isprintable() else ""


def _profile(seen: Evidence) -> tuple[str, list[str], str]:
    """(profile, reasons, what could not be seen)."""
    nesting = seen.features.get("nesting") == "1" or ("lxc.apparmor.allow_nesting", "1") in list(
        seen.conf.lxc()
    )
    keyctl = seen.features.get("keyctl") == "1"
    if seen.inside:
        return DOCKER, [f"runs containers inside: {', '.join(seen.inside)}"], ""
    if keyctl and nesting:
        return DOCKER, ["has the features nesting=1 and keyctl=1, which Docker needs"], ""
    if seen.looked:
        return BASE, ["has no Docker, podman or containerd among its files"], ""
    unseen = "Its files cannot be seen from here"
    if not seen.running:
        unseen += " while it is down"
    if nesting:
        why = "has the feature nesting=1, so it may run Docker"
        return DOCKER, [why], f"{unseen}. If it runs no containers, {BASE} is narrower{ASK}"
    why = "shows no sign of Docker in its configuration"
    return BASE, [why], f"{unseen}. If it runs Docker, it needs {DOCKER}{ASK}"


def _about(seen: Evidence) -> Iterator[str]:
    if seen.gpu:
        more = f" and {len(seen.gpu) - 1} more" if len(seen.gpu) > 1 else ""
        yield f"has a GPU ({seen.gpu[0]}{more})"
    else:
        yield "has no GPU in its configuration, and the profile gives it none"
    if seen.unprivileged:
        yield "is unprivileged"
    else:
        yield "is privileged, so root in it is root on this host: a seccomp policy comes with it"
    if seen.conf.option("template") == "1":
        yield "is a template, and its clones need entries of their own"


def _takes_away(seen: Evidence, profile: str) -> Iterator[str]:
    """What the container may do today, or is configured for, and would not under the profile."""
    if seen.under == "unconfined":
        if seen.unprivileged:
            yield "what AppArmor refuses and its user namespace does not: it is unconfined now"
        else:
            yield "what reaches the host's kernel: it is unconfined now"
    elif seen.under.endswith("(complain)"):
        yield "what its profile only logs now"
    types = [kind for kind in re.split(r"[;\s]+", seen.features.get("mount", "")) if kind]
    for kind in types:
        yield f"mounts of {kind} inside (mount={kind}); to keep them: mount fstype={kind},"
    for kind in seen.network_mounts:
        if kind not in types:
            yield (
                f"mounts of {kind} that it makes itself (fstab or mounted now); to keep them: "
                f"mount fstype={kind},"
            )
    if profile == BASE and seen.features.get("nesting") == "1":
        yield "containers inside (nesting=1), which its files do not show"
    for key, value in seen.conf.lxc():
        taken = _of_line(key, value, profile)
        if taken:
            yield taken


def _of_line(key: str, value: str, profile: str) -> str:
    """What of an lxc line of the container's own the profile makes void, "" if nothing."""
    if key == RAW_KEY:
        return f"its own rule {value} ({RAW_KEY} is for the generated profile only)"
    if key == "lxc.apparmor.allow_nesting" and value == "1" and profile == BASE:
        return "containers inside (lxc.apparmor.allow_nesting)"
    if key == "lxc.mount.auto" and re.search(r"\b(sys|proc)(:rw|\b(?!:))", value):
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
