"""What several checks read of a host."""

from collections.abc import Mapping, Sequence

from phoenix_apparmor import containers, kernel, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

MOST_NAMED = 8


def assigned(host: Host) -> Mapping[str, Assignment]:
    """CTID -> what the JSON (or the last good copy) assigns; empty if nobody knows."""
    return lookup.everyone(host, save=False).assigned


def wanted_profiles(host: Host) -> dict[str, list[str]]:
    """Profile -> CTIDs on this node that are assigned it."""
    here = {conf.ctid for conf in containers.confs(host)}
    result: dict[str, list[str]] = {}
    for ctid, assignment in assigned(host).items():
        if ctid in here and assignment.name and assignment.profile is not None:
            result.setdefault(assignment.profile, []).append(ctid)
    return result


def modes(host: Host) -> dict[str, str]:
    """Loaded profile -> mode. Raises PhoenixError where the kernel cannot be asked."""
    listing = kernel.profile_list(host)
    if listing is None:
        raise PhoenixError(
            f"{paths.KERNEL_PROFILES} cannot be read.", hint="Run it as root, with AppArmor on."
        )
    return kernel.all_modes(listing)


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more."""
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return shown + (f" and {more} more" if more > 0 else "")


def cts(ctids: Sequence[str]) -> str:
    """Like "CT 950" or "CT 950, 951"."""
    return f"CT {listed(ctids)}"
