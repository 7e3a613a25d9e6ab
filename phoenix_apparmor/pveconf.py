"""How Proxmox reads the options of /etc/pve/lxc/CTID.conf: features, booleans, devices. Pure.

Facts from PVE::LXC::Config, PVE::JSONSchema and the runtime configurations they make
(pve-container 5 and 6). ctconf reads the text itself; this says what its words mean.
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import ctconf, lxcconf

# Capabilities that LXC's common.conf takes from every container that does not clear the list.
DROPPED = ("mac_admin", "mac_override", "sys_time", "sys_module", "sys_rawio")
MOST_DEVICES = 256

_OPTION = re.compile(r"([a-z][a-z_]*\d*):\s*(.+?)\s*")
_DEVICE = re.compile(r"(?:([abc])(?:\s+(\d+|\*):(\d+|\*))?(?:\s+([rwm]+))?)\s*")


class Device(NamedTuple):
    """A devN option: the node, and how it is made in the container (mode, uid, gid)."""

    number: int
    path: str
    options: tuple[tuple[str, str], ...] = ()


class Allow(NamedTuple):
    """A cgroup device line.

    kind: a (all), b, c; major, minor: None is any. cgroup: of which version (1, 2) the line is.
    access: of r, w, m.
    """

    kind: str
    major: int | None
    minor: int | None
    cgroup: int
    text: str
    access: str = "rwm"

    @property
    def key(self) -> str:
        """The key of its line."""
        return "lxc.cgroup2.devices.allow" if self.cgroup == 2 else "lxc.cgroup.devices.allow"

    def works(self, version: int | None) -> bool:
        """Whether LXC uses it on a host with cgroups of a version; it may, where nobody knows."""
        return version in (None, self.cgroup)

    @property
    def is_usable(self) -> bool:
        """Whether a device can be used with it; "m" alone (LXC's default) only makes nodes."""
        return self.kind == "a" or "r" in self.access or "w" in self.access

    @property
    def is_all(self) -> bool:
        """Whether it opens every device of its kind."""
        return self.kind == "a" or (self.major is None and self.minor is None)


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


def has_user_namespace(main: Sequence[bytes]) -> bool:
    """By the option, or by lxc.idmap lines."""
    return is_true(options(main).get("unprivileged")) or any(_id_maps(main))


def is_unprivileged(main: Sequence[bytes]) -> bool:
    """Whether it has a user namespace with nobody in it who is root of the host (as u 0 0 …)."""
    return has_user_namespace(main) and not any(map(lxcconf.maps_root, _id_maps(main)))


def _id_maps(main: Sequence[bytes]) -> Iterator[bytes]:
    return (
        ctconf.as_bytes(value) for key, value in lxc_lines(main) if key == "lxc.idmap" and value
    )


def is_template(main: Sequence[bytes]) -> bool:
    """Whether the container is a template: Proxmox never starts it, only clones of it."""
    return is_true(options(main).get("template"))


def lxc_lines(main: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """(key, value) of the lxc lines of a main section, in order."""
    for line in main:
        setting = ctconf.lxc_setting(line)
        if setting is not None:
            yield ctconf.as_text(setting[0]), ctconf.as_text(setting[1])


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


def dropped_capabilities(main: Sequence[bytes]) -> frozenset[str]:
    """Capabilities that LXC takes away: its own list, what .conf adds; an empty line clears both.

    lxc.cap.keep keeps just what it names (LXC knows it or lxc.cap.drop, not both).
    """
    dropped = set(DROPPED)
    kept: set[str] | None = None
    for key, value in lxc_lines(main):
        if key == "lxc.cap.drop":
            if value:
                dropped |= set(value.lower().split())
            else:
                dropped.clear()
        elif key == "lxc.cap.keep":
            kept = set() if not value else (kept or set()) | set(value.lower().split())
    if kept and "none" not in kept:
        dropped |= {name for name in DROPPED if name not in kept}
        dropped -= kept
    return frozenset(dropped)


def allowed_devices(main: Sequence[bytes]) -> list[Allow]:
    """The lines that allow devices by number, of both versions of cgroups: see Allow.works."""
    found = []
    for key, value in lxc_lines(main):
        if key not in ("lxc.cgroup2.devices.allow", "lxc.cgroup.devices.allow"):
            continue
        match = _DEVICE.fullmatch(value.strip())
        if match:
            major, minor = (None if n in (None, "*") else int(n) for n in (match[2], match[3]))
            version = 2 if key.startswith("lxc.cgroup2.") else 1
            found.append(Allow(match[1], major, minor, version, value, match[4] or "rwm"))
    return found


def denies_devices(main: Sequence[bytes]) -> bool:
    """Whether the container may use only devices that a line allows.

    LXC's common.conf denies a privileged container all devices but its own list (null, tty,
    fuse, …). In unprivileged ones userns.conf takes that back for both versions of cgroups, and
    Proxmox's userns.conf.d/01-pve.conf says lxc.cgroup2.devices.allow = a (pve-container 4.0 and
    later): their lines by number do nothing, unless .conf denies all by itself.
    """
    keys = ("lxc.cgroup2.devices.deny", "lxc.cgroup.devices.deny")
    by_itself = any(key in keys and value.strip() == "a" for key, value in lxc_lines(main))
    return by_itself or not has_user_namespace(main)


class Entry(NamedTuple):
    """A lxc.mount.entry: what is mounted, its options, and where. value: the line's.

    target: a path in the container, without the slash that it may or may not begin with.
    fstype: "" if the line has none; of a bind mount it means nothing.
    """

    source: str
    options: tuple[str, ...]
    value: str
    target: str = ""
    fstype: str = ""

    @property
    def must_be_there(self) -> bool:
        """Whether the container does not start without the source: a path, and not optional.

        LXC (conf.c, mount_entry) goes on after a mount that fails only with "optional".
        """
        is_path = self.source.startswith("/") and not self.source.startswith("//")
        return is_path and not {"optional", "relative"} & set(self.options)


def mount_entries(main: Sequence[bytes]) -> list[Entry]:
    r"""The mount entries, as getmntent(3) reads them: blanks in a path are \040."""
    found = (mount_entry(value) for key, value in lxc_lines(main) if key == "lxc.mount.entry")
    return [entry for entry in found if entry is not None]


def mount_entry(value: str) -> Entry | None:
    """The value of a lxc.mount.entry, or a line of an fstab; None of an empty one."""
    words = value.split()
    if not words:
        return None
    source, target = (
        re.sub(r"\\([0-3][0-7]{2})", lambda m: chr(int(m[1], 8)), word)
        for word in (words[0], words[1] if len(words) > 1 else "")
    )
    options = words[3].split(",") if len(words) > 3 else []
    fstype = words[2] if len(words) > 2 else ""
    return Entry(source, tuple(options), value, target.lstrip("/"), fstype)


def mount_points(main: Sequence[bytes]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(key, volume or folder of the host, the other options) of each mpN option."""
    for key, value in options(main).items():
        if re.fullmatch(r"mp\d+", key):
            volume, rest = _volume(value, "volume")
            yield key, volume, dict(rest)


def mounted(main: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """(key, path in the container) of all that its configuration mounts there."""
    for key, _, rest in mount_points(main):
        yield key, posixpath.normpath("/" + rest.get("mp", "").lstrip("/"))
    for entry in mount_entries(main):
        yield "lxc.mount.entry", posixpath.normpath(f"/{entry.target}")


def shared(main: Sequence[bytes]) -> Iterator[str]:
    """Paths in the container of the host's file systems that are mounted there."""
    for _, _, rest in mount_points(main):
        yield posixpath.normpath("/" + rest.get("mp", "").lstrip("/"))
    for entry in mount_entries(main):
        if {"bind", "rbind"} & set(entry.options):
            yield posixpath.normpath(f"/{entry.target}")


def lost_lines(main: Sequence[bytes]) -> list[str]:
    """Lines that Proxmox cannot read, warns of and drops, and that would set something if spelled
    as it takes them: without blanks or a byte order mark before the key, or blanks before its
    colon, and in small letters.
    """
    found = []
    for line in main:
        text = line.removeprefix(b"\xef\xbb\xbf").strip(ctconf.BLANK)
        if text.startswith(b"#") or _sets_something(line):
            continue
        key, colon, value = text.partition(b":")
        meant = key.rstrip(ctconf.BLANK).lower() + colon + value
        if _sets_something(text) or _sets_something(meant):
            found.append(ctconf.as_text(text))
    return found


def _sets_something(line: bytes) -> bool:
    return ctconf.lxc_setting(line) is not None or bool(_OPTION.fullmatch(ctconf.as_text(line)))
