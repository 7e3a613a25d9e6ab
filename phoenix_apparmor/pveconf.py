"""How Proxmox reads the options of /etc/pve/lxc/CTID.conf: features, booleans, devices. Pure.

Facts from PVE::LXC::Config, PVE::JSONSchema and the runtime configurations they make
(pve-container 5 and 6). ctconf reads the text itself; this says what its words mean, and
lxcsettings what LXC makes of the lxc lines.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import ctconf, lxcdevices, lxcsettings
from phoenix_apparmor.lxcsettings import Entry, Setting

MOST_DEVICES = 256
# What Proxmox maps without lines of the container's own (PVE::LXC, update_lxc_config).
USUAL_MAPS = ("u 0 100000 65536", "g 0 100000 65536")

_OPTION = re.compile(r"([a-z][a-z_]*\d*):\s*(.+?)\s*")


class Device(NamedTuple):
    """A devN option: the node, and how it is made in the container (mode, uid, gid)."""

    number: int
    path: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The option: dev0."""
        return f"dev{self.number}"

    @property
    def node(self) -> str:
        """The node that is meant, also where Proxmox does not take the path as it is written."""
        path = self.path if self.path.startswith("/") else f"/dev/{self.path}"
        return posixpath.normpath(f"/{path.lstrip('/')}")


def is_true(value: str | None) -> bool:
    """A boolean as Proxmox reads it (parse_boolean): 1, on, yes, true."""
    return value is not None and value.strip().lower() in ("1", "on", "yes", "true")


def features(value: str | None) -> dict[str, tuple[str, ...]]:
    """The features option: key -> values.

    It is split at "," ";" and blanks; a word without "=" belongs to the key before it, so that
    mount=nfs;cifs and mount=nfs cifs are two file systems.
    """
    found: dict[str, tuple[str, ...]] = {}
    key = ""
    for word in re.split(r"[,;\s]+", value or ""):
        name, equals, rest = word.partition("=")
        if equals:
            key = name
            found[key] = found.get(key, ()) + ((rest,) if rest else ())
        elif word and key:
            found[key] = (*found[key], word)
    return found


def with_feature(value: str | None, name: str) -> str:
    """The value that has a boolean feature on and all others as they are, as pct takes it."""
    found = {key: values for key, values in features(value).items() if key != name and values}
    kept = [f"{k}={';'.join(v) if k == 'mount' else v[-1]}" for k, v in found.items()]
    return ",".join([*kept, f"{name}=1"])


def has_feature(found: dict[str, tuple[str, ...]], name: str) -> bool:
    """Whether a boolean feature (nesting, fuse, keyctl) is on."""
    return any(is_true(value) for value in found.get(name, ())[-1:])


def options(main: Sequence[bytes]) -> dict[str, str]:
    """Plain options of the main section; of several lines the last one is used."""
    found = {}
    for line in main:
        match = _OPTION.fullmatch(ctconf.as_text(line))
        if match:
            found[match[1]] = match[2]
    return found


def includes_userns(main: Sequence[bytes]) -> bool:
    """Whether Proxmox gives it LXC's userns.conf: by the option, or a lxc.idmap of its own."""
    has_map = any(setting.key == lxcsettings.IDMAP for setting in lxcsettings.own(main))
    return has_map or is_true(options(main).get("unprivileged"))


def id_maps(main: Sequence[bytes], settings: Iterable[Setting]) -> list[str]:
    """The values of lxc.idmap that LXC has in the end. settings: all that it reads.

    Without one in .conf Proxmox writes its own before them (PVE::LXC, update_lxc_config).
    """
    has_map = any(setting.key == lxcsettings.IDMAP for setting in lxcsettings.own(main))
    is_proxmoxs = not has_map and is_true(options(main).get("unprivileged"))
    maps = list(USUAL_MAPS) if is_proxmoxs else []
    for setting in settings:
        if setting.key == lxcsettings.IDMAP:
            maps = [*maps, setting.value] if setting.value else []
    return maps


def is_template(main: Sequence[bytes]) -> bool:
    """Whether the container is a template: Proxmox never starts it, only clones of it."""
    return is_true(options(main).get("template"))


def devices(main: Sequence[bytes]) -> list[Device]:
    """The devN options, by number: ``dev0: /dev/nvidia0,mode=0666`` or ``dev0: path=…``."""
    return sorted(
        Device(int(key[3:]), path, rest)
        for key, value in options(main).items()
        if re.fullmatch(r"dev\d+", key)
        for path, rest in [_volume(value, "path")]
    )


def bad_devices(main: Sequence[bytes]) -> list[Device]:
    """devN options that Proxmox refuses, and the container's start with them.

    A path begins with /dev/ and has no . or .. in it (verify_lxc_dev_string in
    PVE::LXC::Config). A line with another is only warned of when it is read, but each start
    parses it again (foreach_passthrough_device) and dies.
    """
    return [
        device
        for device in devices(main)
        if not device.path.startswith("/dev/") or re.search(r"/\.\.?(/|$)", device.path)
    ]


def repeated_devices(main: Sequence[bytes]) -> list[Device]:
    """devN options for a node that another one gives already; those that Proxmox refuses last.

    It makes each node in one folder (create_passthrough_device_node), and of the second mknod(2)
    says "File exists", which ends the start.
    """
    bad = bad_devices(main)
    seen: set[str] = set()
    found = []
    for device in sorted(devices(main), key=lambda one: (one in bad, one.number)):
        if device.node in seen:
            found.append(device)
        seen.add(device.node)
    return found


def _volume(value: str, default: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A property string: its default key's value, and the others."""
    first = ""
    rest = []
    for part in value.split(","):
        key, equals, word = part.strip().partition("=")
        if not equals:
            first = key
        elif key == default:
            first = word
        elif key:
            rest.append((key, word))
    return first, tuple(rest)


def free_mount_point(main: Sequence[bytes]) -> int:
    """The first N for which there is no mpN option yet."""
    used = options(main)
    return next(number for number in range(len(used) + 1) if f"mp{number}" not in used)


def free_devices(main: Sequence[bytes]) -> Iterator[int]:
    """Numbers N for which there is no devN option yet."""
    used = {device.number for device in devices(main)}
    return (number for number in range(MOST_DEVICES) if number not in used)


def denies_devices(main: Sequence[bytes], settings: Iterable[Setting]) -> bool:
    """Whether the container may use only devices that a line allows. settings: all that LXC reads.

    LXC's common.conf denies a privileged container all devices but its own list (null, tty,
    fuse, …). In unprivileged ones userns.conf takes that back for both versions of cgroups, and
    Proxmox's userns.conf.d/01-pve.conf says lxc.cgroup2.devices.allow = a (pve-container 4.0 and
    later): their lines by number do nothing, unless a line denies all.
    """
    return not includes_userns(main) or lxcdevices.denies_all_devices(settings)


def mount_points(main: Sequence[bytes]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(key, volume or folder of the host, the other options) of each mpN option."""
    for key, value in options(main).items():
        if re.fullmatch(r"mp\d+", key):
            volume, rest = _volume(value, "volume")
            yield key, volume, dict(rest)


def mounted(main: Sequence[bytes], entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """(key, path in the container) of all that its configuration mounts there."""
    for key, _, rest in mount_points(main):
        yield key, posixpath.normpath("/" + rest.get("mp", "").lstrip("/"))
    for entry in entries:
        yield entry.setting.file or entry.setting.key, entry.place


def shared(main: Sequence[bytes], entries: Iterable[Entry]) -> Iterator[str]:
    """Paths in the container of the host's file systems that are mounted there."""
    for _, _, rest in mount_points(main):
        yield posixpath.normpath("/" + rest.get("mp", "").lstrip("/"))
    for entry in entries:
        if entry.is_bind:
            yield entry.place


def lost_lines(main: Sequence[bytes]) -> list[str]:
    """Lines that Proxmox cannot read, warns of and drops, and that would set something if spelled
    as it takes them: without blanks or a byte order mark before the key, or blanks before its
    colon, and in small letters; and those with a lxc key that it does not take.
    """
    found = []
    for line in main:
        text = line.removeprefix(b"\xef\xbb\xbf").strip(ctconf.BLANK)
        setting = next(lxcsettings.own((line,)), None)
        if setting is not None and not lxcsettings.is_passed_on(setting.key):
            found.append(ctconf.as_text(text))
        if text.startswith(b"#") or _sets_something(line):
            continue
        key, colon, value = text.partition(b":")
        meant = key.rstrip(ctconf.BLANK).lower() + colon + value
        if _sets_something(text) or _sets_something(meant):
            found.append(ctconf.as_text(text))
    return found


def _sets_something(line: bytes) -> bool:
    return ctconf.lxc_setting(line) is not None or bool(_OPTION.fullmatch(ctconf.as_text(line)))
