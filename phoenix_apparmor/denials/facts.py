"""What a container's own configuration says that matters for advice about it."""

from typing import NamedTuple

from phoenix_apparmor import containers, lxcsettings, paths, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.host import Host

RAW_KEY = "lxc.apparmor.raw"


class Facts(NamedTuple):
    """privileged, nesting: None where it is not known. features: value of that option.

    raw: the AppArmor rules in it, for a generated profile. free_mount_point: N of the next mpN.
    shared: where file systems that the host mounted are in it.

    file: the configuration into which its own lines go, separator: between key and value there
    (with the other one LXC does not start it).
    """

    file: str
    separator: str
    privileged: bool | None = None
    nesting: bool | None = None
    features: str = ""
    raw: tuple[str, ...] = ()
    free_mount_point: int = 0
    shared: frozenset[str] = frozenset("/")


class Containers:
    """Looks each container up once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[tuple[str, str], Facts] = {}
        self._nodes: tuple[str, ...] | None = None

    def facts(self, ctid: str, folder: str = "") -> Facts:
        """What is known of a container; folder: of containers, of plain LXC's."""
        key = (ctid, folder)
        if key not in self._known:
            self._known[key] = self._look(ctid, folder or paths.LXC_FOLDER)
        return self._known[key]

    def _look(self, ctid: str, folder: str) -> Facts:
        if paths.is_ctid(ctid) and self._is_of_proxmox(ctid):
            file, text = self._conf(ctid)
            if text is None:
                return Facts(file, ": ")
            node = "" if file == paths.conf(ctid) else file.split("/")[4]
            conf = containers.with_files(self._host, Conf(ctid, file, text, node))
            return Facts(
                file,
                ": ",
                # a file that was not read may map the ids otherwise
                not conf.is_unprivileged if conf.is_whole else None,
                pveconf.has_feature(conf.features, "nesting") or _nests(conf),
                conf.option("features") or "",
                _raw(conf),
                pveconf.free_mount_point(conf.main),
                frozenset(("/", *pveconf.shared(conf.main, conf.mount_entries))),
            )
        if "/" in ctid or ctid in ("", ".", ".."):
            return Facts("", " = ")
        file = f"{folder}/{ctid}/config"
        text = self._read(file)
        if text is None:
            return Facts(file, " = ")
        conf = containers.with_files(self._host, Conf(ctid, file, text))
        return Facts(
            file,
            " = ",
            not conf.is_unprivileged if conf.is_whole else None,
            _nests(conf),
            "",
            _raw(conf),
        )

    def _conf(self, ctid: str) -> tuple[str, bytes | None]:
        """(path, text) of its .conf; the JSON has the containers of every node."""
        file = paths.conf(ctid)
        text = self._read(file)
        if text is not None:
            return file, text
        if self._nodes is None:
            self._nodes = tuple(self._host.names(paths.NODES))
        for node in self._nodes:
            there = f"{paths.NODES}/{node}/lxc/{ctid}.conf"
            text = self._read(there)
            if text is not None:
                return there, text
        return file, None

    def _is_of_proxmox(self, ctid: str) -> bool:
        try:
            if containers.is_proxmox(self._host) or self._host.exists(paths.conf(ctid)):
                return True
            plain = self._host.exists(paths.runtime(ctid))
            return not plain and self._host.exists(paths.CONF_FOLDER)
        except OSError:
            return True

    def _read(self, file: str) -> bytes | None:
        try:
            return self._host.read(file, 1 << 20)
        except (OSError, ValueError):
            return None


def _nests(conf: Conf) -> bool:
    nesting = lxcsettings.last(conf.settings, "lxc.apparmor.allow_nesting")
    return nesting is not None and nesting.value == "1"


def _raw(conf: Conf) -> tuple[str, ...]:
    return tuple(setting.value for setting in lxcsettings.of_key(conf.settings, RAW_KEY))
