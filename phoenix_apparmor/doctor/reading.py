"""What several checks read of a host."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from phoenix_apparmor import ctconf, kernel, lookup, paths
from phoenix_apparmor.assignments import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

MOST_NAMED = 8


class Conf(NamedTuple):
    """A container's /etc/pve/lxc/CTID.conf."""

    ctid: str
    path: str
    text: bytes

    @property
    def main(self) -> list[bytes]:
        """Lines of the main section."""
        lines = self.text.split(b"\n")
        return lines[: ctconf.main_section(lines)]

    def lxc(self) -> Iterator[tuple[str, str]]:
        """(key, value) of the lxc lines of the main section."""
        for line in self.main:
            setting = ctconf.lxc_setting(line)
            if setting is not None:
                yield ctconf.as_text(setting[0]), ctconf.as_text(setting[1])

    def option(self, key: str) -> str | None:
        """Value of a plain option (features, hookscript, dev0)."""
        return ctconf.conf_value(self.text, key.encode())

    @property
    def profile(self) -> str | None:
        """Value of the profile line that counts, None without one."""
        values = ctconf.conf_profiles(self.text)
        return values[-1] if values else None


def confs(host: Host) -> list[Conf]:
    """Containers of this node, by CTID."""
    result = []
    for name in host.names(paths.CONF_FOLDER):
        ctid = name.removesuffix(".conf")
        if ctid != name and paths.is_ctid(ctid):
            path = paths.conf(ctid)
            text = host.read_if_there(path)
            if text is not None:
                result.append(Conf(ctid, path, text))
    return sorted(result, key=lambda conf: int(conf.ctid))


def assigned(host: Host) -> Mapping[str, Assignment]:
    """CTID -> what the JSON (or the last good copy) assigns; empty if nobody knows."""
    return lookup.everyone(host, save=False).assigned


def wanted_profiles(host: Host) -> dict[str, list[str]]:
    """Profile -> CTIDs on this node that are assigned it."""
    here = {conf.ctid for conf in confs(host)}
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


def is_proxmox(host: Host) -> bool:
    """Whether this is a Proxmox host, or was one meant to be."""
    return host.exists(paths.PVE_MODULE) or host.exists("/etc/pve/storage.cfg")


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more."""
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return shown + (f" and {more} more" if more > 0 else "")


def cts(ctids: Sequence[str]) -> str:
    """Like "CT 950" or "CT 950, 951"."""
    return f"CT {listed(ctids)}"
