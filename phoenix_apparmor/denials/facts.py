"""What a container's own configuration says that matters for advice about it."""

from typing import NamedTuple

from phoenix_apparmor import containers, ctconf, lxcconf, paths, pveconf
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
            lines = text.split(b"\n")
            main = lines[: ctconf.main_section(lines)]
            features = ctconf.conf_value(text, b"features") or ""
            return Facts(
                file,
                ": ",
                not pveconf.is_unprivileged(main),
                pveconf.has_feature(pveconf.features(features), "nesting"),
                features,
                tuple(value for key, value in pveconf.lxc_lines(main) if key == RAW_KEY),
                pveconf.free_mount_point(main),
                frozenset(("/", *pveconf.shared(main))),
            )
        if "/" in ctid or ctid in ("", ".", ".."):
            return Facts("", " = ")
        file = f"{folder}/{ctid}/config"
        text = self._read(file)
        if text is None:
            return Facts(file, " = ")
        settings = [lxcconf.setting_of(line) for line in text.split(b"\n")]
        return Facts(
            file,
            " = ",
            not lxcconf.is_unprivileged(text),
            (b"lxc.apparmor.allow_nesting", b"1") in settings,
            "",
            tuple(
                setting[1].decode("utf-8", "surrogateescape")
                for setting in settings
                if setting is not None and setting[0] == RAW_KEY.encode()
            ),
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
