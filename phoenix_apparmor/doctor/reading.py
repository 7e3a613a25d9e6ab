"""What several checks read of a host."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from phoenix_apparmor import containers, kernel, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, rules
from phoenix_apparmor.policy.files import ProfileFile

MOST_NAMED = 8
LXC_SHARE = "/usr/share/lxc/"
CGROUPS = "/sys/fs/cgroup"
# LXC's own profiles: one unit, /etc/apparmor.d/lxc-containers includes the folder.
LXC_PROFILES = f"{paths.APPARMOR_D}/lxc"
LXC_UNIT = f"{paths.APPARMOR_D}/lxc-containers"


def cgroup_version(host: Host) -> int | None:
    """Which version of cgroups holds devices here: 1 or 2, None where nobody can tell.

    cgroups(7): cgroup.controllers is at the top of version 2 (every PVE 9, PVE 8 unless it was
    booted with systemd.unified_cgroup_hierarchy=0); the controller "devices" is version 1's alone.
    """
    try:
        if host.exists(f"{CGROUPS}/cgroup.controllers"):
            return 2
        return 1 if host.exists(f"{CGROUPS}/devices") else None
    except OSError:
        return None


def confs(host: Host) -> Iterator[Conf]:
    """The configurations of this node's containers; of one that cannot be read another check says.

    Raises PhoenixError where no one can know which there are.
    """
    for _, conf in containers.each_conf(host):
        if not isinstance(conf, PhoenixError):
            yield conf


def assigned(host: Host) -> Mapping[str, Assignment]:
    """CTID -> what the JSON (or the last good copy) assigns; empty if nobody knows."""
    return lookup.everyone(host, save=False).assigned


def managed(host: Host) -> frozenset[str]:
    """CTIDs that phoenix-apparmor apply can set: they have an assignment that can be used."""
    return frozenset(ctid for ctid, known in assigned(host).items() if known.name)


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


def modes_if_known(host: Host) -> dict[str, str] | None:
    """Loaded profile -> mode, None where the kernel cannot be asked."""
    listing = kernel.profile_list(host)
    return None if listing is None else kernel.all_modes(listing)


def file_of(host: Host, name: str) -> ProfileFile | None:
    """The file that holds a profile, one of LXC's own too (its unit then); None: none does."""
    found = files.find(host, name)
    if found is not None or not host.exists(LXC_UNIT):
        return found
    for path in files.policy_files(host, LXC_PROFILES):
        try:
            text = host.read(path, 1 << 20)
        except OSError:
            continue
        if name in files.declared_names(text):
            return ProfileFile(name, LXC_UNIT, text)
    return None


def rules_of(host: Host, name: str) -> rules.Profile | None:
    """What a profile allows; None where that cannot be known (no file, or it does not parse)."""
    file = file_of(host, name)
    if file is None:
        return None
    try:
        return rules.effective(host, file)
    except PhoenixError:
        return None


def profile_in_file(host: Host, name: str) -> str:
    """The profile in the file of that path or name, "" if there is none, or several."""
    paths_of = [name] if name.startswith(f"{paths.APPARMOR_D}/") else []
    if "/" not in name and name:
        paths_of = [f"{paths.APPARMOR_D}/{name}", f"{LXC_PROFILES}/{name}"]
    for path in paths_of:
        try:
            declared = files.declared_names(host.read(path, 1 << 20))
        except OSError:
            continue
        usable = [found for found in declared if found.startswith("lxc-")]
        if len(usable) == 1:
            return usable[0]
    return ""


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more."""
    shown = ", ".join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return shown + (f" and {more} more" if more > 0 else "")


def take_out(what: str, files: Sequence[str]) -> str:
    """Words for what somebody has to take out of included files; of LXC's own ones, the include."""
    lxcs = [name for name in files if name.startswith(LXC_SHARE)]
    others = [name for name in files if name not in lxcs]
    said = [f"take {what} out of {listed(others)}"] if others else []
    return "; ".join([*said, *(f"take the include of {name} out of .conf" for name in lxcs)])


def cts(ctids: Iterable[str]) -> str:
    """Like "CT 950" or "CT 950, 951"."""
    return f"CT {listed(list(ctids))}"


def for_each(ctids: Sequence[str], command: str) -> str:
    """A shell line that runs a command for each of some CTIDs; $ct in it is the CTID."""
    if len(ctids) == 1:
        return command.replace('"$ct"', ctids[0]).replace("$ct", ctids[0])
    return f"for ct in {' '.join(ctids)}; do {command}; done"


def all_of(lines: Sequence[str]) -> str:
    """Shell lines, one after the other."""
    return " && ".join(line for line in lines if line)
