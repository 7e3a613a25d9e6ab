"""Whether a container's start passes us: by the hookscript of its .conf, or the unit's drop-in.

With neither it starts as its .conf says, and what that says wrong stays wrong. Proxmox runs the
hookscript on pct start and the like, systemd the drop-in on every start.
"""

import os
from typing import NamedTuple

from phoenix_apparmor import containers, paths
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.host import Host
from phoenix_apparmor.package import attaching

DROP_IN = "50-phoenix-apparmor.conf"
UNITS = ("pve-container@.service", "pve-container-debug@.service")
SHIPPED = "/usr/lib/systemd/system"
SCRIPT = "/usr/libexec/phoenix-apparmor/unit"
# Of these systemd takes a file instead of the shipped one of its name.
OVERRIDES = ("/etc/systemd/system", "/run/systemd/system")


class Ways(NamedTuple):
    """How a start passes us; None where that cannot be known.

    refused: what is wrong with the hookscript that its .conf names, with which Proxmox refuses the
    start; "" if nothing is.
    """

    hookscript: bool | None
    drop_in: bool | None
    refused: str = ""

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
    volume = conf.option("hookscript")
    drop_in = _drop_in(host, conf.ctid)
    try:
        if not containers.is_proxmox(host):
            return USUAL
        if volume is None or not paths.is_our_hookscript(volume):
            return Ways(hookscript=False, drop_in=drop_in)
        return _hookscript(host, volume)._replace(drop_in=drop_in)
    except OSError:
        return Ways(None, drop_in)


def _hookscript(host: Host, volume: str) -> Ways:
    """What becomes of ours in a storage, by storage.cfg: to ask Proxmox itself takes long."""
    text = (host.read_if_there(attaching.STORAGE_CFG) or b"").decode("utf-8", "replace")
    known = attaching.storages(text)
    name, _, file = volume.partition(":")
    if name not in known:
        return Ways(None, None)
    for path in (paths.HOOKSCRIPT, f"{known[name]}/{file.removeprefix('snippets/')}"):
        problem = not_runnable(host, path)
        if problem:
            what = f"the hookscript {path}, which its .conf names, {problem}"
            sure = "cannot" not in problem
            return Ways(hookscript=False, drop_in=None, refused=what) if sure else Ways(None, None)
    return Ways(hookscript=True, drop_in=None)


def is_runnable(host: Host, name: str) -> bool:
    """Whether a file of the host's is one that can be run. Raises OSError."""
    seen = host.stat(name)
    return seen is not None and bool(seen.st_mode & 0o111)


def not_runnable(host: Host, path: str) -> str:
    """Why Proxmox would not run it ("-f and -x", links count as what they point to)."""
    try:
        target = _follow(host, path)
        if target is None or not os.path.isfile(target):
            return "is missing"
        return "" if os.stat(target).st_mode & 0o111 else "is not executable"
    except OSError as error:
        return f"cannot be checked ({error.strerror})"


def _follow(host: Host, path: str) -> str | None:
    """Where a path ends below the host's root: an absolute link is one from that root."""
    for _ in range(8):
        full = host.path(path)
        if not os.path.islink(full):
            return full if os.path.lexists(full) else None
        target = os.readlink(full)
        path = target if target.startswith("/") else f"{os.path.dirname(path)}/{target}"
    return None


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
