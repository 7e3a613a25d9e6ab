"""What LXC makes of a container's device lines, lxc.cgroup2.devices.allow and deny. Pure.

Source: LXC's cgfsng.c (device_cgroup_rule_parse, device_cgroup_rule_parse_devpath and
device_cgroup_parse_access) and cgroup2_devices.c (bpf_list_add_device), the same in 6.0 and 7.0.
Of a line that it cannot read LXC logs "Failed to parse device rule", adds nothing and goes on
(bpf_device_cgroup_prepare returns a number that is no error). Lines lxc.cgroup.devices.… are for
version 1 of cgroups, where the kernel reads them, in the same way (devcgroup_update_access).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from phoenix_apparmor.lxcsettings import Setting

_KEY = re.compile(r"lxc\.cgroup(2?)\.devices\.(allow|deny)")
# One blank of any kind each, both numbers, and a blank behind them.
_NUMBERS = re.compile(r"([abc])\s(\*|[0-9]{1,49}):(\*|[0-9]{1,49})\s(.*)", re.ASCII | re.DOTALL)
# A path up to its first blank, any number of them, and a word; what is behind that is ignored.
_NODE = re.compile(r"(/[^ ]*) +([^ ]+).*", re.DOTALL)
_MOST = 2**31 - 1
# What somebody meant by a line that LXC cannot read.
_MEANT = re.compile(r"([bc])\s*(\d+|\*)(?:\s*:\s*(\d+|\*))?\s*([rwm]{1,3})?\s*(?:#.*)?", re.ASCII)
_MEANT_NODE = re.compile(r"(/[^\s#]+)\s*([rwm]{1,3})?\s*(?:#.*)?")


class Numbers(NamedTuple):
    """Of a device node: kind is b or c."""

    kind: str
    major: int
    minor: int


# The path of a node -> its numbers on this host; None where it has no such node.
NumbersOf = Callable[[str], Numbers | None]


class Line(NamedTuple):
    """A device line's value. kind: a (all), b, c; major, minor: None is any.

    node: the path that it names instead, whose numbers LXC asks the host for, "" if it has numbers.
    """

    kind: str
    major: int | None
    minor: int | None
    access: str
    node: str = ""


def read(value: str, *, allows: bool = True) -> Line | None:
    """A value as LXC reads it, None if it cannot. allows: of a line that allows; one that denies
    may not name a path.
    """
    if value == "a":
        return Line("a", None, None, "rwm")
    if value.startswith("/"):
        named = _NODE.fullmatch(value) if allows else None
        access = _access(named[2]) if named is not None else None
        return None if named is None or access is None else Line("", None, None, access, named[1])
    match = _NUMBERS.fullmatch(value)
    access = _access(match[4]) if match is not None else None
    if match is None or access is None:
        return None
    try:
        major, minor = map(_number, match.group(2, 3))
    except ValueError:
        return None
    return Line(match[1], major, minor, access)


def _access(text: str) -> str | None:
    """The first three letters; LXC does not look at what is behind them."""
    letters = text[:3].partition("\n")[0]
    return letters if set(letters) <= set("rwm") else None


def _number(word: str) -> int | None:
    """As lxc_safe_int takes it: with a 0 before it it is octal. Raises ValueError."""
    if word == "*":
        return None
    found = int(word, 8 if word.startswith("0") else 10)
    if found > _MOST:
        raise ValueError(word)
    return found


class Allow(NamedTuple):
    """A cgroup device line that allows.

    kind: a (all), b, c; major, minor: None is any. cgroup: of which version (1, 2) the line is.
    access: of r, w, m. file: that it is in, as in Setting.
    """

    kind: str
    major: int | None
    minor: int | None
    cgroup: int
    text: str
    access: str = "rwm"
    file: str = ""

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
        return "r" in self.access or "w" in self.access

    @property
    def is_all(self) -> bool:
        """Whether it opens every device of its kind."""
        return self.major is None and self.minor is None

    def opens(self, kind: str, major: int | None, minor: int | None) -> bool:
        """Whether it is for a device; None: for every one."""
        numbers = self.major in (None, major) and self.minor in (None, minor)
        return self.kind in ("a", kind) and numbers

    @property
    def setting(self) -> Setting:
        """The line that it is."""
        return Setting(self.key, self.text, self.file)


class _Each(NamedTuple):
    setting: Setting
    cgroup: int
    allows: bool

    @property
    def line(self) -> Line | None:
        return read(self.setting.value.strip(), allows=self.allows)


def _each(settings: Iterable[Setting]) -> Iterator[_Each]:
    for setting in settings:
        key = _KEY.fullmatch(setting.key)
        if key is not None and setting.value.strip():
            yield _Each(setting, 2 if key[1] else 1, key[2] == "allow")


def allowed(settings: Iterable[Setting], numbers_of: NumbersOf) -> list[Allow]:
    """The lines that allow devices, of both versions of cgroups: see Allow.works.

    A line "a" forgets those of before (bpf_list_add_device).
    """
    found: list[Allow] = []
    for each in _each(settings):
        line, value, file = each.line, each.setting.value, each.setting.file
        if line is None:
            continue
        if value.strip() == "a":
            found = [allow for allow in found if allow.cgroup != each.cgroup]
        if not each.allows:
            continue
        node = numbers_of(line.node) if line.node else None
        if node is not None:
            found.append(Allow(*node, each.cgroup, value, line.access, file))
        elif not line.node:
            found.append(
                Allow(line.kind, line.major, line.minor, each.cgroup, value, line.access, file)
            )
    return found


def named(settings: Iterable[Setting]) -> list[tuple[Setting, Line]]:
    """The lines that allow devices, as they are written."""
    return [
        (each.setting, line)
        for each in _each(settings)
        if each.allows and (line := each.line) is not None
    ]


class PassedOver(NamedTuple):
    """A line that does nothing. meant: a value that would do what it means, "" if nobody can tell.

    node: that it names and the host does not have, "" where the line itself cannot be read.
    """

    setting: Setting
    cgroup: int
    allows: bool
    meant: str
    node: str = ""


def passed_over(settings: Iterable[Setting], numbers_of: NumbersOf) -> list[PassedOver]:
    """The lines that LXC passes over."""
    found = []
    for setting, cgroup, allows in _each(settings):
        line = read(setting.value.strip(), allows=allows)
        if line is None:
            meant = _meant(setting.value.strip(), allows=allows)
            found.append(PassedOver(setting, cgroup, allows, meant))
        elif line.node and numbers_of(line.node) is None:
            found.append(PassedOver(setting, cgroup, allows, "", line.node))
    return found


def _meant(value: str, *, allows: bool) -> str:
    if re.match(r"a\b", value):
        return "" if allows else "a"  # that every device was meant, nobody can be sure
    node = _MEANT_NODE.fullmatch(value) if allows else None
    if node is not None:
        return f"{node[1]} {node[2] or 'rwm'}"
    match = _MEANT.fullmatch(value)
    if match is None:
        return ""
    text = f"{match[1]} {match[2]}:{match[3] or '*'} {match[4] or 'rwm'}"
    return text if read(text) is not None else ""


def denies_all_devices(settings: Iterable[Setting]) -> bool:
    """Whether a line denies all devices, and none behind it allows them again."""
    found = [*settings]
    return any(denies_all(found, version) is not None for version in (1, 2))


def denies_all(settings: Iterable[Setting], version: int | None) -> Setting | None:
    """That line, of one version of cgroups, or of either where nobody knows which holds."""
    last_of: dict[int, _Each] = {}
    for each in _each(settings):
        if each.setting.value.strip() == "a":
            last_of[each.cgroup] = each
    found = (last_of.get(one) for one in (1, 2) if version in (None, one))
    return next((one.setting for one in found if one is not None and not one.allows), None)
