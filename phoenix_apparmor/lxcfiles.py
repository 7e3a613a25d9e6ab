"""All settings that a container has in the end: its own, and those of files that it names.

LXC reads these as root when the container starts: included files as if their lines were in its
place (confile.c, set_config_includefiles; of a folder those that end in .conf), and of several
lxc.mount.fstab the last (set_config_mount_fstab).
"""

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from phoenix_apparmor import ctconf, lxcconf, lxcsettings
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import ENTRY, FSTAB, INCLUDE, Setting
from phoenix_apparmor.reader import NOT_REGULAR

BIGGEST = 1 << 20
# Files that include each other without an end; LXC itself would not start.
MOST = 64


class Unread(NamedTuple):
    """A file that was not looked into, and why."""

    file: str
    why: str


class Refused(NamedTuple):
    """A line of an included file with which LXC starts no container, and why. number 0: unknown."""

    file: str
    number: int
    text: str
    why: str


class Found(NamedTuple):
    """settings: in LXC's order, without those that a later one takes back; the mounts of the fstab
    behind them.

    unread: of what is in these files nobody can know; refused: LXC stops at the first of them.
    """

    settings: tuple[Setting, ...] = ()
    unread: tuple[Unread, ...] = ()
    refused: tuple[Refused, ...] = ()


def look(host: Host, own: Iterable[Setting], *, node: str = "") -> Found:
    """What these settings of a configuration are together with those that they bring in.

    A file that somebody else than root can change may say another thing at the next start: it is
    not read, and neither is one whose place depends on where LXC runs, or which is on another
    node. One that is not there brings in nothing.
    """
    reader = _Reader(host, node)
    settings = lxcsettings.in_force(reader.settings(own))
    fstab = lxcsettings.last(settings, FSTAB) or lxcsettings.last(settings, "lxc.mount")
    mounts = reader.of_fstab(fstab.value) if fstab is not None else ()
    return Found((*settings, *mounts), tuple(dict.fromkeys(reader.unread)), tuple(reader.refused))


class _Reader:
    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self._node = node
        self._read: list[str] = []
        self.unread: list[Unread] = []
        self.refused: list[Refused] = []

    def settings(self, own: Iterable[Setting], within: tuple[str, ...] = ()) -> Iterator[Setting]:
        """These, each include with what is in its file behind it. within: files that include it."""
        for setting in own:
            yield setting
            if setting.key == INCLUDE and setting.value and not _is_standard(setting.value):
                for file in self._files(setting.value):
                    if file in within:
                        why = f"{file} would include itself without an end"
                        self.refused.append(Refused(setting.file, 0, setting.line, why))
                    yield from self.settings(self._lines(file), (*within, file))

    def of_fstab(self, file: str) -> Iterator[Setting]:
        """The mounts of an fstab."""
        for line in self._text(file).split(b"\n") if file else ():
            value = ctconf.as_text(line.strip(ctconf.BLANK))
            if value and not value.startswith("#"):
                yield Setting(ENTRY, value, file, is_fstab=True)

    def _lines(self, file: str) -> Iterator[Setting]:
        """The settings in a file. What begins otherwise LXC passes over (confile.c, parse_line)."""
        for number, line in enumerate(self._text(file).split(b"\n"), 1):
            text = line.strip(ctconf.BLANK)
            if not text.startswith(b"lxc."):
                continue
            setting = lxcconf.setting_of(text)
            key = ctconf.as_text(setting[0]) if setting is not None else ""
            why = f"LXC has no {key}" if setting is not None else 'it has no "="'
            if setting is None or not lxcsettings.is_known(key):
                self.refused.append(Refused(file, number, ctconf.as_text(text), why))
            if setting is not None:
                yield from lxcsettings.as_lxc_takes([setting], file)

    def _files(self, name: str) -> list[str]:
        """The file itself, or those of a folder that LXC takes."""
        if self._node:
            return [name]  # told by _text
        try:
            seen = self._host.stat(name) if name.startswith("/") else None
            if seen is None and name.endswith("/"):
                return []  # of a folder that is not there LXC takes nothing
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
            if self._node:
                why = f"it is on {self._node}"
            elif not file.startswith("/"):
                why = "its name has no folder"
            elif len(self._read) > MOST:
                why = "there are too many"
            elif not (why := self._host.distrust(file)):
                text = self._host.read(file, BIGGEST)
                why = "it is larger than 1 MiB" if len(text) > BIGGEST else ""
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except (OSError, ValueError) as error:
            why = _said(error)
        if why:
            self.unread.append(Unread(file, why))
        return b"" if why else text


def _is_standard(name: str) -> bool:
    """Whether it is LXC's own that says what every container has."""
    in_folder = name.startswith(lxcconf.STANDARD_INCLUDES.decode()) and ".." not in name
    return in_folder and name.endswith("common.conf")


def _said(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
