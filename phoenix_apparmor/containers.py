"""The containers of this node and of the cluster: their configurations, which run, which failed."""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from phoenix_apparmor import ctconf, lxcconf, lxcdevices, lxcfiles, lxcsettings, paths, pveconf
from phoenix_apparmor.errors import PhoenixError, from_os_error
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcdevices import Allow, Numbers, PassedOver
from phoenix_apparmor.lxcfiles import Found, Unread
from phoenix_apparmor.lxcsettings import Capabilities, Entry, Setting

SYSTEMCTL_SECONDS = 10
# pmxcfs holds no larger file (memdb.h, MEMDB_MAX_FILE_SIZE).
BIGGEST_CONF = 1 << 20
SEE_MOUNT = "See: systemctl status pve-cluster"


class Conf(NamedTuple):
    """A container's configuration: /etc/pve/lxc/CTID.conf, or without Proxmox LXC's own.

    node: that it is on, "" for this one. brought: what it has in the end, None where nobody looked
    into other files.
    """

    ctid: str
    path: str
    text: bytes
    node: str = ""
    brought: Found | None = None

    @property
    def main(self) -> list[bytes]:
        """Lines of the main section."""
        lines = self.text.split(b"\n")
        return lines[: ctconf.main_section(lines)]

    def lxc(self) -> Iterator[tuple[str, str]]:
        """(key, value) of the lxc lines of the main section itself, for who edits them."""
        for line in self.main:
            setting = ctconf.lxc_setting(line)
            if setting is not None:
                yield ctconf.as_text(setting[0]), ctconf.as_text(setting[1])

    @property
    def own_settings(self) -> tuple[Setting, ...]:
        """The same as settings, as LXC gets them: without what Proxmox does not pass on."""
        if not self.path.endswith("/config"):  # LXC's own, which has no colons
            return tuple(s for s in lxcsettings.own(self.main) if lxcsettings.is_passed_on(s.key))
        lines = filter(None, map(lxcconf.setting_of, self.text.split(b"\n")))
        return tuple(lxcsettings.as_lxc_takes(lines))

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All that LXC reads: its own, those of files that it includes, the mounts of its fstab."""
        brought = self.brought.settings if self.brought is not None else ()
        return brought or lxcsettings.in_force(self.own_settings)

    @property
    def unread(self) -> tuple[Unread, ...]:
        """Files that it names and that were not read: what is in them nobody can know."""
        return self.brought.unread if self.brought is not None else ()

    @property
    def is_whole(self) -> bool:
        """Whether all of it was read: otherwise what is nowhere may be there all the same."""
        return self.brought is not None and not self.brought.unread

    @property
    def mount_entries(self) -> list[Entry]:
        """As lxcsettings.mount_entries."""
        return lxcsettings.mount_entries(self.settings)

    @property
    def shares_read_only(self) -> bool:
        """Whether its configuration mounts something read-only: that is locked at its start."""
        points = (rest for _, _, rest in pveconf.mount_points(self.main))
        return any(pveconf.is_true(rest.get("ro")) for rest in points) or any(
            entry.access.startswith("ro") for entry in self.mount_entries
        )

    def allowed_devices(self, host: Host) -> list[Allow]:
        """As lxcdevices.allowed, with the nodes that this host has."""
        return lxcdevices.allowed(self.settings, lambda node: numbers_of(host, node))

    def passed_over_devices(self, host: Host) -> list[PassedOver]:
        """As lxcdevices.passed_over, with the nodes that this host has."""
        return lxcdevices.passed_over(self.settings, lambda node: numbers_of(host, node))

    @property
    def capabilities(self) -> Capabilities:
        """As lxcsettings.capabilities."""
        userns = pveconf.includes_userns(self.main)
        return lxcsettings.capabilities(self.settings, userns=userns)

    @property
    def denies_devices(self) -> bool:
        """As pveconf.denies_devices."""
        return pveconf.denies_devices(self.main, self.settings)

    def option(self, key: str) -> str | None:
        """Value of a plain option (features, hookscript, dev0)."""
        return ctconf.conf_value(self.text, key.encode())

    @property
    def has_user_namespace(self) -> bool:
        """Whether LXC maps user ids."""
        return bool(pveconf.id_maps(self.main, self.settings))

    @property
    def is_unprivileged(self) -> bool:
        """Whether it has a user namespace with nobody in it who is root of the host (u 0 0 …)."""
        maps = pveconf.id_maps(self.main, self.settings)
        return bool(maps) and not lxcsettings.maps_root(maps)

    @property
    def says_unprivileged(self) -> bool:
        """The same by .conf alone, which is all that Proxmox and our start go by."""
        maps = pveconf.id_maps(self.main, lxcsettings.in_force(self.own_settings))
        return bool(maps) and not lxcsettings.maps_root(maps)

    @property
    def features(self) -> dict[str, tuple[str, ...]]:
        """The features option, as pveconf.features."""
        return pveconf.features(self.option("features"))

    @property
    def profile(self) -> str | None:
        """Value of the profile line that is in force (the last one), None without one."""
        values = ctconf.conf_profiles(self.text)
        return values[-1] if values else None

    @property
    def used_profile(self) -> str | None:
        """The profile that LXC takes where no start of ours sets one: an included file may name it.

        None without a line for one: Proxmox's generated profile, or LXC's default.
        """
        used = lxcsettings.last(self.settings, ctconf.as_text(ctconf.PROFILE_KEY))
        return used.value if used is not None else None


def numbers_of(host: Host, node: str) -> Numbers | None:
    """The numbers of a device node, None where there is none. Raises OSError."""
    seen = host.stat(node)
    if seen is None or not (stat.S_ISBLK(seen.st_mode) or stat.S_ISCHR(seen.st_mode)):
        return None
    kind = "b" if stat.S_ISBLK(seen.st_mode) else "c"
    return Numbers(kind, os.major(seen.st_rdev), os.minor(seen.st_rdev))


def is_proxmox(host: Host) -> bool:
    """Whether Proxmox generates the runtime configurations of this host.

    Raises OSError where that cannot be known: "no" would let a start edit what Proxmox owns.
    """
    return host.stat(paths.PVE_MODULE) is not None


def is_unmounted(host: Host) -> bool:
    """Whether this is a Proxmox host on whose /etc/pve nothing is mounted.

    pmxcfs has .members and lxc whatever the cluster does; without it /etc/pve is an empty folder.
    Raises OSError where that cannot be known.
    """
    return (
        is_proxmox(host) and not host.exists(paths.MEMBERS) and not host.exists(paths.CONF_FOLDER)
    )


def ctids_in(host: Host, folder: str = paths.CONF_FOLDER) -> list[str]:
    """CTIDs that have a .conf in a folder, in numeric order."""
    names = (name.removesuffix(".conf") for name in host.names(folder) if name.endswith(".conf"))
    return sorted((name for name in names if paths.is_ctid(name)), key=int)


def here(host: Host) -> list[str]:
    """CTIDs of this node: by their .conf on Proxmox, elsewhere by LXC's own configuration."""
    if host.exists(paths.CONF_FOLDER):
        return ctids_in(host)
    names = (name for name in host.names(paths.LXC_FOLDER) if paths.is_ctid(name))
    return sorted((ctid for ctid in names if host.exists(paths.runtime(ctid))), key=int)


def confs(host: Host, folder: str = paths.CONF_FOLDER, node: str = "") -> Iterator[Conf]:
    """The configurations in one node's folder, by CTID.

    One that is destroyed while we look is not there. Raises PhoenixError where they cannot be
    read.
    """
    for _, conf in each_conf(host, folder, node):
        if isinstance(conf, PhoenixError):
            raise conf
        yield conf


def each_conf(
    host: Host, folder: str = paths.CONF_FOLDER, node: str = ""
) -> Iterator[tuple[str, Conf | PhoenixError]]:
    """As confs, for who has something to say of the others: (CTID, conf or why it is unread).

    Raises PhoenixError where the folder cannot be read.
    """
    try:
        names = ctids_in(host, folder)
    except OSError as error:
        raise from_os_error(error, f"cannot read {error.filename or folder}") from error
    for ctid in names:
        path = f"{folder}/{ctid}.conf"
        try:
            text = host.read(path, BIGGEST_CONF)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            yield ctid, from_os_error(error, f"cannot read {path}")
            continue
        if len(text) > BIGGEST_CONF:
            yield (
                ctid,
                PhoenixError(
                    f"cannot read {path}: it is larger than 1 MiB.",
                    hint=f"Proxmox has no such file; see what it is: ls -l {path}",
                ),
            )
            continue
        yield ctid, with_files(host, Conf(ctid, path, text, node))


def with_files(host: Host, conf: Conf) -> Conf:
    """The configuration with what it brings in from other files (lxcfiles.look)."""
    # most name none, and there are hosts with ten thousand
    if b"lxc.include" not in conf.text and b"lxc.mount" not in conf.text:
        return conf._replace(brought=Found())
    return conf._replace(brought=lxcfiles.look(host, conf.own_settings, node=conf.node))


def check_ctid(text: str) -> None:
    """Raises PhoenixError (usage) where text cannot be a CTID."""
    if not paths.is_ctid(text):
        raise PhoenixError(
            f'"{text}" is not a valid CTID.',
            hint="A CTID is a number from 100 to 999999999.",
            status=64,
        )


def check_here(host: Host, ctid: str) -> None:
    """Raises PhoenixError, which says where it is or what has that number, unless it is here."""
    if is_unmounted(host):
        raise PhoenixError(
            "nobody can tell whether it is here: Proxmox's /etc/pve is not mounted.",
            hint=SEE_MOUNT,
        )
    if ctid in here(host):
        return
    nodes = host.names(paths.NODES)
    node = next((n for n in nodes if host.exists(f"{paths.NODES}/{n}/lxc/{ctid}.conf")), "")
    if node:
        raise PhoenixError(f"is on node {node}, not on this one.", hint=f"Run it on {node}.")
    if any(host.exists(f"{paths.NODES}/{n}/qemu-server/{ctid}.conf") for n in nodes):
        raise PhoenixError("is a virtual machine, not a container.", hint=f"See: qm config {ctid}")
    if not host.exists(paths.CONF_FOLDER):
        raise PhoenixError(f"there is no {paths.runtime(ctid)}.", hint="See: lxc-ls")
    raise PhoenixError(
        f"there is no such container, neither here (no {paths.conf(ctid)}) nor on another node.",
        hint="Which containers are here: pct list",
    )


def running(host: Host) -> frozenset[str] | None:
    """CTIDs of the containers that run, None if that cannot be seen.

    LXC's monitor listens on the abstract socket LXCPATH/NAME/command as long as its
    container runs (lxc commands_utils.c, lxc_make_abstract_socket_name). One read instead of
    an lxc-info for each of a thousand.
    """
    try:
        lines = host.read("/proc/net/unix").split(b"\n")
    except OSError:
        return None
    prefix, suffix = b"@" + paths.LXC_FOLDER.encode() + b"/", b"/command"
    names = (line.rpartition(b" ")[2] for line in lines)
    return frozenset(
        name[len(prefix) : -len(suffix)].decode("ascii", "replace")
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    )


def failed(host: Host) -> frozenset[str]:
    """CTIDs whose unit pve-container@CTID is failed: the last start was refused or went wrong."""
    if not host.exists("/run/systemd/system") or not host.has_program("systemctl"):
        return frozenset()
    command = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"]
    units = ["pve-container@*", "pve-container-debug@*"]
    try:
        ran = host.run([*command, *units], timeout=SYSTEMCTL_SECONDS)
    except PhoenixError:
        return frozenset()
    lines = ran.out.decode("utf-8", "replace").split("\n")
    names = (line.split()[0] for line in lines if line.strip())
    return frozenset(
        name.partition("@")[2].removesuffix(".service") for name in names if "@" in name
    )
