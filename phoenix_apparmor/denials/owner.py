"""Which container a denial is of: by policy namespace, by name of its profile, by process."""

import re
from typing import NamedTuple

from phoenix_apparmor import lxcconf, paths
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.processes import Processes
from phoenix_apparmor.host import Host

# LXC (lsm/apparmor.c): profile lxc-NAME_<PATH>, namespace the same with / as -.
_OWN_NAME = re.compile(r"lxc-(.+)_<([^>]*)>\Z", re.DOTALL)
# cgroup of a container: lxc/CTID on Proxmox, lxc.payload.NAME elsewhere.
_CGROUP = re.compile(r"/lxc(?:\.payload|\.monitor)?[./]([^/]+)")
# More names of profiles than this at once were made up inside a container.
MOST_LABELS = 4096


class Owner(NamedTuple):
    """Whose denial it is.

    ctid: the container (a name on plain LXC), "" if unknown or if it is none's.
    profile: the host's profile that refused, "" if one inside a policy namespace did; a child
    of it is in child. inside: the refusing profile of the container's own policy namespace, ""
    otherwise. how: what tells the container: "namespace", "name", "process", or "only", when it
    is the only one that was started under the profile; "" if nothing does.
    candidates: with an unknown container, those that were started under the profile.
    deeper: the policy namespace within the container's in which that profile is, "" for its own.
    """

    ctid: str
    profile: str
    inside: str = ""
    how: str = ""
    candidates: tuple[str, ...] = ()
    child: str = ""
    deeper: str = ""

    @property
    def concerns_containers(self) -> bool:
        """Whether it is a container's, or LXC's own about one."""
        return bool(self.ctid or self.inside) or self.profile.startswith(
            ("lxc-", "/usr/bin/lxc-", "/usr/sbin/lxc-")
        )

    @property
    def generated_in(self) -> str:
        """The folder of containers whose LXC made the profile at the start; "": no such one."""
        own = _OWN_NAME.match(self.profile)
        return own[2] if own else ""


class Owners:
    """Finds owners on one host; what it read of the host it keeps for the next one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._processes = Processes(host)
        self._users: dict[str, tuple[str, ...]] | None = None
        self._labels: dict[tuple[str, str, str], Owner] = {}

    def of(self, denial: Denial) -> Owner:
        """Whose denial it is."""
        key = (denial.get("profile"), denial.get("namespace"), denial.get("label"))
        owner = self._labels.get(key)
        if owner is None:
            if len(self._labels) >= MOST_LABELS:
                self._labels.clear()
            owner = self._labels[key] = by_label(*key)
        if owner.ctid or owner.inside or not owner.profile:
            return owner
        if denial.is_of_target:
            return self._by_users(owner)
        group = _CGROUP.search(self._processes.cgroup(denial.get("pid"), denial.time))
        if group:
            return owner._replace(ctid=group[1], how="process")
        return self._by_users(owner)

    def _by_users(self, owner: Owner) -> Owner:
        users = self._started_under(owner.profile) if owner.profile.startswith("lxc-") else ()
        if len(users) == 1:
            return owner._replace(ctid=users[0], how="only")
        return owner._replace(candidates=users)

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
                    # in a trial a guard stands beside the profile
                    stack = values[-1].split("//&")
                    for part in {p.split("//")[0] for p in stack if not p.startswith(":")}:
                        users.setdefault(part, []).append(name)
            self._users = {key: tuple(sorted(value, key=order)) for key, value in users.items()}
        return self._users.get(profile, ())


def by_label(profile: str, namespace: str, label: str) -> Owner:
    """What names alone tell."""
    # root//NAMESPACE from the kernel, :NAMESPACE: in labels
    namespace = namespace.removeprefix("root//")
    if namespace:
        deeper = namespace.partition("//")[2]
        return Owner(_named_by(namespace), "", profile, "namespace", deeper=deeper)
    # a label is a stack of profiles, A//&:NAMESPACE:B
    stack = (profile or label).split("//&")
    outer = next((part for part in stack if not part.startswith(":")), "")
    outer, _, child = outer.partition("//")
    if own := _OWN_NAME.match(outer):
        return Owner(own[1], outer, how="name", child=child)
    for part in stack:
        if part.startswith(":") and (ctid := _named_by(part[1:].partition(":")[0])):
            return Owner(ctid, outer, how="namespace", child=child)
    return Owner("", outer, child=child)


def _named_by(namespace: str) -> str:
    """The container that LXC or this package made a policy namespace for, "" if neither did."""
    own = _OWN_NAME.match(namespace.partition("//")[0])
    return own[1] if own else ""


def order(name: str) -> tuple[int, str]:
    """Sorts CTIDs by number, and before them names that are none."""
    return (int(name) if name.isascii() and name.isdigit() and len(name) < 10 else 0, name)
