"""Whether the peer of a process is in the same container, and its label in a rule. Pure."""

import re

from phoenix_apparmor import trial
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.names import Name, Part
from phoenix_apparmor.denials.owner import by_label
from phoenix_apparmor.denials.quoting import readable

OWN = Part("@{profile_name}", wild=True)


def container_in(label: str) -> str:
    """The container that a label names, by its policy namespace or by a profile; "" if none."""
    owner = by_label(label, "", "")
    if owner.ctid:
        return owner.ctid
    made = trial.made_of(owner.profile)
    return made.ctid if made is not None else ""


def label(denial: Denial, key: str = "peer") -> Name:
    """The peer's label for a rule, with the profile's own name as the variable for it.

    A profile with rules of one container's has another name than the one that it is made of. In a
    child the variable is the child's whole name.
    """
    peer, own = denial.get(key), by_label(denial.get("profile") or denial.get("label"), "", "")
    if denial.get("namespace") or own.generated_in or not own.profile.startswith("lxc-"):
        return (Part(peer),)
    parts: list[Part] = []
    for at, one in enumerate(peer.split("//&")):
        name, separator, child = one.partition("//")
        parts.append(Part("//&" if at else ""))
        if own.child and name == own.profile and one != f"{name}//{own.child}":
            made = [Part(f"{{,.{own.ctid}}}", wild=True)] if own.ctid else []
            parts += [Part(name), *made, Part(separator + child)]
        elif own.child and name == own.profile:
            parts.append(OWN)
        else:
            parts += [OWN, Part(separator + child)] if name == own.profile else [Part(one)]
    merged: list[Part] = []
    for part in parts:
        if merged and not merged[-1].wild and not part.wild:
            merged[-1] = Part(merged[-1].text + part.text)
        elif part.text:
            merged.append(part)
    return tuple(merged)


def under(denial: Denial, profile: str, name: str) -> Denial:
    """The same where its peers of that profile are under one made of it, which has that name."""
    fields = dict(denial.fields)
    for key in ("peer", "peer_label"):
        parts = [one.partition("//") for one in denial.get(key).split("//&")]
        named = [(name if first == profile else first, *rest) for first, *rest in parts]
        if key in fields:
            fields[key] = "//&".join("".join(one) for one in named)
    return denial._replace(fields=fields)


def outside(denial: Denial, what: str, ctid: str) -> str:
    """Why a rule for such a peer reaches out of the container, "" if it does not.

    All containers under one profile have its name in their labels, so the container that the
    label names is asked first. ctid: the container that tried it, "" if unknown.
    """
    peer, own = denial.get("peer"), denial.get("profile") or denial.get("label")
    theirs, ours = container_in(peer), ctid or container_in(own)
    if not theirs:
        inside = not peer or own.split("//")[0] in re.split(r"//&|//", peer)
        whose = "outside of itself"
    else:
        inside = theirs == ours
        whose = (
            f"of CT {readable(theirs)}" if ours else f"of CT {readable(theirs)}, if that is another"
        )
    return "" if inside else f"with it, the container {what} processes {whose} ({readable(peer)})"
