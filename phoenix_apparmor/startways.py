"""Whether a container's start passes us: by the hookscript of its .conf, or the unit's drop-in.

With neither it starts as its .conf says, and what that says wrong stays wrong. Proxmox runs the
hookscript on pct start and the like, systemd the drop-in on every start.
"""

import os
from typing import NamedTuple

from phoenix_apparmor import containers, paths
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.host import Host

DROP_IN = "50-phoenix-apparmor.conf"
UNITS = ("pve-container@.service", "pve-container-debug@.service")
SHIPPED = "/usr/lib/systemd/system"
SCRIPT = "/usr/libexec/phoenix-apparmor/unit"
# Of these systemd takes a file instead of the shipped one of its name.
OVERRIDES = ("/etc/systemd/system", "/run/systemd/system")


class Ways(NamedTuple):
    """How a start passes us; None where that cannot be known.

    missing: whether the hookscript that its .conf names is not there, so that Proxmox refuses the
    start.
    """

    hookscript: bool | None
    drop_in: bool | None
    missing: bool = False

    @property
    def any(self) -> bool | None:
        """Whether the next pct start does."""
        if self.hookscript or self.drop_in:
            return True
        return None if None in (self.hookscript, self.drop_in) else False


# Where Proxmox is not, or of a host that nobody asks here.
USUAL = Ways(hookscript=True, drop_in=True)


def of(host: Host, conf: Conf) -> Ways:
    """The ways of a container of this node."""
    try:
        if not containers.is_proxmox(host):
            return USUAL
        names_ours = paths.is_our_hookscript(conf.option("hookscript"))
        is_there = is_runnable(host, paths.HOOKSCRIPT)
    except OSError:
        return Ways(None, _drop_in(host, conf.ctid))
    ways = Ways(names_ours and is_there, _drop_in(host, conf.ctid))
    return ways._replace(missing=names_ours and not is_there)


def is_runnable(host: Host, name: str) -> bool:
    """Whether a file of the host's is one that can be run. Raises OSError."""
    seen = host.stat(name)
    return seen is not None and bool(seen.st_mode & 0o111)


def _drop_in(host: Host, ctid: str) -> bool | None:
    """Whether the drop-in of pve-container@ is in force for a container."""
    try:
        found = overrides(host, UNITS[0])
        if found:
            return False if is_masked(host, found[0]) else None
        # without the script it lets every start go on
        if not host.exists(f"{SHIPPED}/{UNITS[0]}.d/{DROP_IN}") or not is_runnable(host, SCRIPT):
            return False
        return not of_one(host, ctid)
    except OSError:
        return None


def overrides(host: Host, unit: str) -> list[str]:
    """Files that systemd takes instead of a unit's drop-in. Raises OSError."""
    names = (f"{folder}/{unit}.d/{DROP_IN}" for folder in OVERRIDES)
    return [name for name in names if host.exists(name)]


def is_masked(host: Host, override: str) -> bool:
    """Whether such a file is a link to /dev/null."""
    return os.path.realpath(host.path(override)) == "/dev/null"


def of_one(host: Host, ctid: str) -> list[str]:
    """A container's own drop-ins that empty ExecStartPre. Raises OSError."""
    found = []
    for folder in OVERRIDES:
        place = f"{folder}/pve-container@{ctid}.service.d"
        for part in host.names(place):
            lines = (host.read_if_there(f"{place}/{part}") or b"").split(b"\n")
            if any(line.replace(b" ", b"") == b"ExecStartPre=" for line in lines):
                found.append(f"{place}/{part}")
    return found
