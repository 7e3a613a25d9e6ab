"""Whether the peer of a process is in the same container. Pure."""

import re

from phoenix_apparmor import trial
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import by_label
from phoenix_apparmor.denials.quoting import readable


def container_in(label: str) -> str:
    """The container that a label names, by its policy namespace or by a profile; "" if none."""
    owner = by_label(label, "", "")
    if owner.ctid:
        return owner.ctid
    made = trial.made_of(owner.profile)
    return made.ctid if made is not None else ""


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
