"""Which container a denial is of: by policy namespace, by name of its profile, by process."""

import os
import re
from typing import NamedTuple

from phoenix_apparmor import lxcconf, paths
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.source import boot_time
from phoenix_apparmor.host import Host

# LXC (lsm/apparmor.c): profile lxc-NAME_<PATH>, namespace the same with / as -.
_OWN_NAME = re.compile(r"lxc-(.+)_<[^>]*>\Z")
# cgroup of a container: lxc/CTID on Proxmox, lxc.payload.NAME elsewhere.
_CGROUP = re.compile(rb"/lxc(?:\.payload|\.monitor)?[./]([^/\n]+)")


class Owner(NamedTuple):
    """Whose denial it is.

    ctid: the container (a name on plain LXC), "" if unknown or if it is none's.
    profile: the host's profile that refused, "" if one inside a policy namespace did.
    inside: the refusing profile of the container's own policy namespace, "" otherwise.
    how: what tells the container: "namespace", "name", "process", or "only", when it is
    the only one that was started under the profile; "" if nothing does.
    candidates: with an unknown container, those that were started under the profile.
    """

    ctid: str
    profile: str
    inside: str = ""
    how: str = ""
    candidates: tuple[str, ...] = ()

    @property
    def concerns_containers(self) -> bool:
        """Whether it is a container's, or LXC's own about one."""
        return bool(self.ctid or self.inside) or self.profile.startswith(
            ("lxc-", "/usr/bin/lxc-", "/usr/sbin/lxc-")
        )


class Owners:
    """Finds owners on one host; what it read of the host it keeps for the next one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._boot = boot_time(host)
        self._users: dict[str, tuple[str, ...]] | None = None

    def of(self, denial: Denial) -> Owner:
        """Whose denial it is."""
        profile = denial.get("profile")
        # root//NAMESPACE from the kernel, :NAMESPACE: in labels
        namespace = denial.get("namespace").removeprefix("root//")
        if namespace:
            return Owner(_named_by(namespace), "", profile, "namespace")
        # a label is a stack of profiles, A//&:NAMESPACE:B
        stack = (profile or denial.get("label")).split("//&")
        outer = next((part for part in stack if not part.startswith(":")), "").split("//")[0]
        for part in stack:
            if part.startswith(":") and (ctid := _named_by(part[1:].partition(":")[0])):
                return Owner(ctid, outer, how="namespace")
        if own := _OWN_NAME.match(outer):
            return Owner(own[1], outer, how="name")
        ctid = self._by_process(denial)
        if ctid:
            return Owner(ctid, outer, how="process")
        users = self._started_under(outer) if outer.startswith("lxc-") else ()
        if len(users) == 1:
            return Owner(users[0], outer, how="only")
        return Owner("", outer, candidates=users)

    def _by_process(self, denial: Denial) -> str:
        """The container of the process, if that still runs and is no later one of that number."""
        pid = denial.get("pid")
        if not pid.isdigit() or pid == "0":
            return ""
        try:
            group = _CGROUP.search(self._host.read(f"/proc/{pid}/cgroup"))
            # proc(5): the name in brackets may hold blanks; starttime is the 20th word behind it
            stat = self._host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            started = self._boot + int(stat[19]) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return ""
        if group is None or started > denial.time + 2:
            return ""
        return group[1].decode("utf-8", "surrogateescape")

    def _started_under(self, profile: str) -> tuple[str, ...]:
        if self._users is None:
            users: dict[str, list[str]] = {}
            for name in self._host.names(paths.LXC_FOLDER):
                try:
                    text = self._host.read(paths.runtime(name))
                except OSError:
                    continue
                values = lxcconf.profiles(text)
                if values:
                    users.setdefault(values[-1].split("//")[0], []).append(name)
            self._users = {key: tuple(sorted(value, key=_order)) for key, value in users.items()}
        return self._users.get(profile, ())


def _named_by(namespace: str) -> str:
    """The container that LXC or this package made a policy namespace for, "" if neither did."""
    own = _OWN_NAME.match(namespace.partition("//")[0])
    return own[1] if own else ""


def _order(name: str) -> tuple[int, str]:
    return (int(name) if name.isascii() and name.isdigit() else 0, name)
