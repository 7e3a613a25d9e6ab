"""What a container's configuration mounts read-only in a folder that others have too.

LXC makes a bind mount, and makes it read-only after that, both by its path (conf.c, mount_entry).
Who may rename in the folder that it is in has LXC take another one the second time, so that the
first stays writable; if it is optional, LXC does not even say so. So what is there is compared with
the lines. (Of an mpN Proxmox makes sure itself, by open files: PVE::LXC, __bindmount_verify.)
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from phoenix_apparmor import containers, ctconf, lxcconf, lxcfiles, lxcsettings, paths, pveconf
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import Entry, Setting
from phoenix_apparmor.mounterrors import not_read_only, writable_too

# (device, inode) of what is mounted.
Identity = tuple[int, int]


class Seen(NamedTuple):
    """A mount that is there."""

    place: bytes
    read_only: bool
    identity: Identity


class Line(NamedTuple):
    """Of one lxc.mount.entry with ro. identity: of its source, None where nobody can know.

    is_there: whether there is such a source. is_hidden: whether a later line mounts above it.
    """

    place: bytes
    identity: Identity | None
    is_there: bool
    is_hidden: bool


class Wanted(NamedTuple):
    """writable: of sources that are to be writable there too; None where nobody can know.

    unread: files with lines that nobody can know.
    """

    lines: tuple[Line, ...] = ()
    writable: frozenset[Identity] | None = None
    unread: tuple[str, ...] = ()

    def has_in(self, share: bytes) -> bool:
        """Whether a line mounts in a share, given by its place."""
        return any(_is_in(line.place, share) for line in self.lines)

    def check(self, seen: Sequence[Seen], shares: Iterable[bytes]) -> str:
        """Raises AdvisedError where what is there is not as the lines say.

        seen: all that is in the shares. shares: their places. Returns what nobody can know.
        """
        places = frozenset(shares)
        at = {mount.place: mount for mount in seen}
        for line in self.lines:
            if any(_is_in(line.place, share) for share in places):
                self._check(line, at.get(line.place))
        own = {line.identity for line in self.lines}
        inside = [mount for mount in seen if mount.place not in places and not mount.read_only]
        for mount in inside if self.writable is not None else ():
            if mount.identity in own and mount.identity not in (self.writable or ()):
                raise writable_too(mount.place)
        if inside and self.unread:
            file = self.unread[0]
            return f"whether all in a share is read-only that has to be: {file} is not read"
        return ""

    def _check(self, line: Line, found: Seen | None) -> None:
        if found is not None and found.read_only and line.identity in (None, found.identity):
            return
        if line.is_hidden or (found is None and not line.is_there):
            return
        raise not_read_only(line.place)


def of(environ: Mapping[str, str]) -> Wanted:
    """By the runtime configuration with which LXC made the mounts. environ: see shares.main."""
    config = environ.get("LXC_CONFIG_FILE", "")
    if not config:
        return Wanted()
    try:
        with open(config, "rb") as file:
            text = file.read()
    except OSError:
        return Wanted(unread=(config,))
    own = lxcconf.settings_of_others(text)
    found = lxcfiles.look(Host(), (Setting(ctconf.as_text(k), ctconf.as_text(v)) for k, v in own))
    # LXC mounts those of an fstab first (conf.c, lxc_setup)
    entries = lxcsettings.mount_entries(found.settings)
    entries.sort(key=lambda entry: not entry.setting.is_fstab)
    lines = tuple(_lines(entries))
    writable = _writable(entries, environ) if lines else None
    return Wanted(lines, writable, tuple(unread.file for unread in found.unread))


def _lines(entries: Sequence[Entry]) -> Iterator[Line]:
    for number, entry in enumerate(entries):
        if entry.is_bind and _is_read_only(entry):
            place = ctconf.as_bytes(entry.place)
            above = (ctconf.as_bytes(later.place) for later in entries[number + 1 :])
            is_hidden = any(place == one or _is_in(place, one) for one in above)
            yield Line(place, *_source(entry), is_hidden)


def _is_read_only(entry: Entry) -> bool:
    """LXC: the last word of the two."""
    words = [word for word in entry.options if word in ("ro", "rw")]
    return words[-1:] == ["ro"]


def _source(entry: Entry) -> tuple[Identity | None, bool]:
    if _is_own(entry):
        return None, False
    try:
        return _identity(entry.source), True
    except (FileNotFoundError, NotADirectoryError):
        return None, False
    except (OSError, ValueError):
        return None, True


def _is_own(entry: Entry) -> bool:
    """Whether it mounts something of the container's own."""
    return not entry.source.startswith("/") or "relative" in entry.options


def _identity(path: str) -> Identity:
    status = os.stat(ctconf.as_bytes(path))
    return status.st_dev, status.st_ino


def _writable(entries: Iterable[Entry], environ: Mapping[str, str]) -> frozenset[Identity] | None:
    """Of the other lines, and of Proxmox's mpN, which LXC's configuration has not."""
    binds = [entry for entry in entries if entry.is_bind and not _is_read_only(entry)]
    if any("rbind" in entry.options or _is_own(entry) for entry in binds):
        return None  # all that is mounted in it is there too
    sources = [entry.source for entry in binds]
    host, ctid = Host(environ.get("PHOENIX_APPARMOR_ROOT", "")), environ.get("LXC_NAME", "")
    found = set()
    try:
        place = paths.conf(ctid)
        text = host.read(place, containers.BIGGEST_CONF)
        points = pveconf.mount_points(containers.Conf(ctid, place, text).main)
        sources += [source for _, source, rest in points if not pveconf.is_true(rest.get("ro"))]
        for source in sources:
            if source.startswith("/") and os.path.exists(source):
                found.add(_identity(source))
    except (OSError, ValueError):
        return None
    return frozenset(found)


def _is_in(place: bytes, folder: bytes) -> bool:
    return place != folder and place.startswith(folder.rstrip(b"/") + b"/")
