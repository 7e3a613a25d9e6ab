"""Files that a container's configuration brings in: lxc.include, and the fstab of its mounts.

LXC reads both as root when the container starts: included files as if their lines were in its
place (confile.c, set_config_includefiles; of a folder those that end in .conf), and of several
lxc.mount.fstab the last (set_config_mount_fstab).
"""

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from phoenix_apparmor import ctconf, lxcconf
from phoenix_apparmor.host import NOT_REGULAR, Host

INCLUDE = "lxc.include"
# The second is LXC 2's name, which Proxmox writes anew.
FSTAB = ("lxc.mount.fstab", "lxc.mount")
BIGGEST = 1 << 20
# Files that include each other without an end; LXC itself would not start.
MOST = 64


class Line(NamedTuple):
    """A setting, and the file that it is in."""

    file: str
    key: str
    value: str


class Unread(NamedTuple):
    """A file that was not looked into, and why."""

    file: str
    why: str


class Found(NamedTuple):
    """lines: of the included files. mounts: of the fstab, each as a lxc.mount.entry."""

    lines: tuple[Line, ...] = ()
    mounts: tuple[Line, ...] = ()
    unread: tuple[Unread, ...] = ()


NOTHING = Found()


def look(host: Host, settings: Iterable[tuple[str, str]]) -> Found:
    """What these settings of a configuration bring in.

    A file that somebody else than root can change may say another thing at the next start: it is
    not read, and neither is one whose place depends on where LXC runs. One that is not there brings
    in nothing.
    """
    reader = _Reader(host)
    lines = list(reader.included(settings))
    mounts = list(reader.of_fstab())
    return Found(tuple(lines), tuple(mounts), tuple(dict.fromkeys(reader.unread)))


class _Reader:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._fstab = ""
        self._read: list[str] = []
        self.unread: list[Unread] = []

    def included(self, settings: Iterable[tuple[str, str]]) -> Iterator[Line]:
        for key, value in settings:
            if key in FSTAB:
                self._fstab = value
            if key != INCLUDE or not value or _is_standard(value):
                continue
            for file in self._files(value):
                text = self._text(file)
                inner = [_as_text(s) for s in map(lxcconf.setting_of, text.split(b"\n")) if s]
                for each in inner:
                    yield Line(file, *each)
                    yield from self.included([each])

    def of_fstab(self) -> Iterator[Line]:
        if not self._fstab:
            return
        for line in self._text(self._fstab).split(b"\n"):
            value = ctconf.as_text(line.strip(ctconf.BLANK))
            if value and not value.startswith("#"):
                yield Line(self._fstab, "lxc.mount.entry", value)

    def _files(self, name: str) -> list[str]:
        """The file itself, or those of a folder that LXC takes."""
        try:
            seen = self._host.stat(name) if name.startswith("/") else None
            if seen is None or not stat.S_ISDIR(seen.st_mode):
                return [name]
            why = self._host.distrust(name).replace(NOT_REGULAR, "")
            inside = self._host.names(name)
        except (OSError, ValueError) as error:
            why, inside = _said(error), []
        if why:
            self.unread.append(Unread(name, why))
            return []
        return [f"{name.rstrip('/')}/{one}" for one in inside if one.endswith(".conf")]

    def _text(self, file: str) -> bytes:
        """A file's text; b"" of one that is not read."""
        if file in self._read:
            return b""
        self._read.append(file)
        why = ""
        try:
            if not file.startswith("/"):
                why = "its name has no folder"
            elif len(self._read) > MOST:
                why = "there are too many"
            elif not (why := self._host.distrust(file)):
                text = self._host.read(file, BIGGEST)
                why = "it is larger than 1 MiB" if len(text) > BIGGEST else ""
        except FileNotFoundError:
            return b""
        except (OSError, ValueError) as error:
            why = _said(error)
        if why:
            self.unread.append(Unread(file, why))
        return b"" if why else text


def _is_standard(name: str) -> bool:
    """Whether it is LXC's own, which says what every container has."""
    return name.startswith(lxcconf.STANDARD_INCLUDES.decode()) and ".." not in name


def _said(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _as_text(setting: tuple[bytes, bytes]) -> tuple[str, str]:
    return ctconf.as_text(setting[0]), ctconf.as_text(setting[1])
