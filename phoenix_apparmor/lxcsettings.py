"""What LXC makes of a container's lxc settings: capabilities, mounts, hooks. Pure.

Where they come from, Conf.settings says: the configuration itself and all that it brings in
(lxcfiles). Source: LXC's confile.c (config_jump_table, set_config_* and lxc_clear_*), conf.c.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import ctconf, lxcconf

CAP_DROP, CAP_KEEP = "lxc.cap.drop", "lxc.cap.keep"
ENTRY, FSTAB = "lxc.mount.entry", "lxc.mount.fstab"
HOOK, IDMAP, INCLUDE = "lxc.hook.", "lxc.idmap", "lxc.include"
# Capabilities that LXC's common.conf takes from every container that does not clear the list.
DROPPED = ("mac_admin", "mac_override", "sys_time", "sys_module", "sys_rawio")

# To these each line adds, and an empty one forgets those of before. (Of capabilities too, but LXC
# stops at a line for both lists even so.)
_LISTS = re.compile(
    r"lxc\.(?:idmap|mount\.entry|environment(?:\.\w+)?|apparmor\.raw"
    r"|cgroup2?\..+|hook\.(?!version)[\w-]+)"
)
_HOOKS = re.compile(r"lxc\.hook\..+")
# All keys of LXC 5, 6 and 7; those that end in a dot, or in none of their own, have others behind.
_KNOWN = re.compile(
    r"lxc\.(?:apparmor\.(?:allow_incomplete|allow_nesting|profile|raw)|arch|autodev(?:\.tmpfs\.size)?"
    r"|cap\.(?:drop|keep)|cgroup.*|console\.(?:buffer\.size|logfile|path|rotate|size)"
    r"|environment(?:\.(?:hooks|runtime))?|ephemeral|execute\.cmd|group"
    r"|hook(?:\.(?:autodev|clone|destroy|mount|post-stop|pre-mount|pre-start|start|start-host|stop"
    r"|version))?|idmap|include|init\.(?:cmd|cwd|gid|groups|uid)|keyring\.session"
    r"|log\.(?:file|level|syslog)|monitor\.(?:signal\.pdeath|unshare)|mount\.(?:auto|entry|fstab)"
    r"|namespace\.(?:clone|keep|share\..*)|net(?:\..*)?|no_new_privs|prlimit.*|proc.*|pty\.max"
    r"|rootfs\.(?:managed|mount|options|path)|sched\.core"
    r"|seccomp\.(?:allow_nesting|notify\.cookie|notify\.proxy|profile)"
    r"|selinux\.context(?:\.keyring)?|signal\.(?:halt|reboot|stop)|start\.(?:auto|delay|order)"
    r"|sysctl.*|time\.offset\.(?:boot|monotonic)|tty\.(?:dir|max)|uts\.name)"
)
# Names that LXC 2 had and Proxmox passes on all the same (PVE::LXC::Config,
# is_valid_lxc_conf_key), and today's, "" for none. (Of lxc.aa_profile another check tells.)
RENAMED = {
    "lxc.aa_allow_incomplete": "lxc.apparmor.allow_incomplete", "lxc.console": "lxc.console.path",
    "lxc.devttydir": "lxc.tty.dir", "lxc.devtty.dir": "lxc.tty.dir",
    "lxc.haltsignal": "lxc.signal.halt", "lxc.id_map": IDMAP, "lxc.init_cmd": "lxc.init.cmd",
    "lxc.kmsg": "", "lxc.logfile": "lxc.log.file", "lxc.loglevel": "lxc.log.level",
    "lxc.mount": FSTAB, "lxc.pts": "lxc.pty.max", "lxc.rebootsignal": "lxc.signal.reboot",
    "lxc.se_context": "lxc.selinux.context", "lxc.seccomp": "lxc.seccomp.profile",
    "lxc.stopsignal": "lxc.signal.stop", "lxc.tty": "lxc.tty.max", "lxc.utsname": "lxc.uts.name",
}  # fmt: skip
# Of LXC's own keys, those that Proxmox takes from a .conf: of others it warns, and loses the line
# (is_valid_lxc_conf_key of pve-container 5 and 6).
_PASSED_ON = re.compile(
    r"lxc\.(?:apparmor\.(?:profile|allow_incomplete|allow_nesting|raw)|selinux\.context|include|arch"
    r"|uts\.name|signal\.(?:halt|reboot|stop)|init\.(?:cmd|cwd|uid|gid|groups)|pty\.max"
    r"|console\.(?:logfile|path)|tty\.max|autodev|mount\.(?:fstab|entry|auto)|rootfs\.mount"
    r"|cap\.(?:drop|keep)|seccomp\.(?:profile|notify\.proxy|notify\.cookie)|idmap"
    r"|hook\.(?:autodev|pre-start|pre-mount|mount|start|stop|post-stop|clone|destroy|version)"
    r"|log\.(?:level|file)|start\.(?:auto|delay|order)|group|environment(?:\.(?:runtime|hooks))?"
    r"|sysctl\.(?:fs\.mqueue|kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni"
    r"|shm_rmid_forced))|cgroup2?\..*|prlimit\..*|net\..*)"
)
_RENAMED_PARTS = (("lxc.network.", "lxc.net.0."), ("lxc.limit.", "lxc.prlimit."))
# With another place that begins with a slash LXC ignores the mount (conf.c,
# mount_entry_on_absolute_rootfs); these are the container's root as the host sees it.
_ROOT = re.compile(r"/var/lib/lxc/[^/]+/rootfs(?=/|\Z)")


class Setting(NamedTuple):
    """A setting of LXC's. file: that it is in, "" for the container's configuration itself.

    is_fstab: whether it is a line of an fstab, which has no key and is as a lxc.mount.entry.
    """

    key: str
    value: str
    file: str = ""
    is_fstab: bool = False

    @property
    def line(self) -> str:
        """As it is written, in the configuration with a colon."""
        if self.is_fstab:
            return self.value
        return f"{self.key}{' = ' if self.file else ': '}{self.value}".rstrip()

    @property
    def said(self) -> str:
        """The line, and where it is if that is in another file."""
        return f"{self.file}: {self.line}" if self.file else self.line


def own(main: Iterable[bytes]) -> Iterator[Setting]:
    """The lxc lines of the main section of a .conf, in order."""
    return as_lxc_takes(filter(None, map(ctconf.lxc_setting, main)))


def as_lxc_takes(lines: Iterable[tuple[bytes, bytes]], file: str = "") -> Iterator[Setting]:
    """The settings of lines, by their keys and values as they are written. file: see Setting."""
    for key, value in lines:
        yield Setting(ctconf.as_text(key), unquoted(ctconf.as_text(value)), file)


def unquoted(value: str) -> str:
    """A value as LXC takes it: quotes around the whole are none of its (confile.c, parse_line)."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def in_force(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    """Without what a later empty value takes back. That one stays: it takes LXC's own back too."""
    kept: list[Setting] = []
    for setting in settings:
        if not setting.value and (gone := _forgotten(setting.key)):
            kept = [one for one in kept if not gone.fullmatch(one.key)]
        kept.append(setting)
    return tuple(kept)


def _forgotten(key: str) -> re.Pattern[str] | None:
    """The keys of which an empty value of a key forgets those of before."""
    if key == "lxc.hook":
        return _HOOKS
    return re.compile(re.escape(key)) if _LISTS.fullmatch(key) else None


def of_key(settings: Iterable[Setting], key: str) -> list[Setting]:
    """The settings of a key that have a value."""
    return [setting for setting in settings if setting.key == key and setting.value]


def last(settings: Iterable[Setting], key: str) -> Setting | None:
    """Of a key with one value the one that is used, None without any; its value may be empty."""
    return next((one for one in reversed(tuple(settings)) if one.key == key), None)


def is_known(key: str) -> bool:
    """Whether LXC has such a key; with another one it starts no container."""
    return _KNOWN.fullmatch(key) is not None


def renamed(key: str) -> str | None:
    """What a key of LXC 2 is called since, "" if there is none any more; None: it was none."""
    parts = (new + key[len(old) :] for old, new in _RENAMED_PARTS if key.startswith(old))
    return RENAMED.get(key, next(parts, None))


def is_passed_on(key: str) -> bool:
    """Whether Proxmox takes a line of .conf with such a key, and LXC then gets it."""
    known = renamed(key) is not None or key == ctconf.as_text(ctconf.DEAD_KEY)
    return known or _PASSED_ON.fullmatch(key) is not None


class Capabilities(NamedTuple):
    """What LXC leaves of a container's capabilities. names: those dropped, or kept and no others.

    refused: a line with which LXC does not start it: it keeps or drops, not both.
    """

    names: frozenset[str]
    keeps: bool = False
    refused: Setting | None = None

    def has(self, name: str) -> bool:
        """Whether the container has it."""
        return (name in self.names) is self.keeps


def capabilities(settings: Iterable[Setting], *, userns: bool) -> Capabilities:
    """As LXC reads them, behind its own list (confile.c, set_config_cap_keep and _drop).

    An empty value of either key clears both. userns: whether LXC's userns.conf clears that list.
    """
    names, keeps = set(() if userns else DROPPED), False
    refused = None
    for setting in settings:
        if setting.key not in (CAP_DROP, CAP_KEEP):
            continue
        keep = setting.key == CAP_KEEP
        if not setting.value:
            names, keeps = set(), False
        elif keep is not keeps and (names or keeps):
            refused = refused or setting
        else:
            words = setting.value.lower().split()
            names, keeps = (set() if "none" in words else names) | set(words) - {"none"}, keep
    return Capabilities(frozenset(names), keeps, refused)


class Entry(NamedTuple):
    """A lxc.mount.entry, or a line of an fstab: what is mounted, its options, and where.

    target: a path in the container, without the slash that it may or may not begin with.
    fstype: "" if the line has none; of a bind mount it means nothing. setting: the line.
    is_ignored: whether LXC passes over it, as it names a place on the host.
    """

    source: str
    options: tuple[str, ...]
    target: str
    fstype: str
    setting: Setting
    is_ignored: bool = False

    @property
    def is_bind(self) -> bool:
        """Whether it gives the container a file or folder that the host has."""
        return any(word.startswith(("bind", "rbind")) for word in self.options)

    @property
    def is_recursive(self) -> bool:
        """Whether what is mounted in its source comes with it."""
        return any(word.startswith("rbind") for word in self.options)

    @property
    def access(self) -> str:
        """The last of its options for ro or rw, "" if it has none.

        LXC takes each word that begins with one of them for it (conf.c, parse_vfs_attr); of
        "ro=1" LXC 6 does so, and LXC 5 does not.
        """
        return next((word for word in self.options[::-1] if word.startswith(("ro", "rw"))), "")

    @property
    def must_be_there(self) -> bool:
        """Whether the container does not start without the source: a path, and not optional.

        LXC (conf.c, mount_entry) goes on after a mount that fails only with "optional".
        """
        is_path = self.source.startswith("/") and not self.source.startswith("//")
        return is_path and not {"optional", "relative"} & set(self.options)

    @property
    def place(self) -> str:
        """Where it is mounted, as the container sees it."""
        return posixpath.normpath(f"/{self.target}")


def mount_entries(settings: Iterable[Setting]) -> list[Entry]:
    """The mounts of the configuration that LXC makes, those of an fstab too."""
    return [entry for entry in _all_entries(settings) if not entry.is_ignored]


def ignored_entries(settings: Iterable[Setting]) -> list[Entry]:
    """The others: of "/mnt" LXC only warns in its own log."""
    return [entry for entry in _all_entries(settings) if entry.is_ignored]


def without_place(settings: Iterable[Setting]) -> list[Entry]:
    """Binds of nodes at a place in /dev where LXC has nothing to mount on.

    /dev is an empty tmpfs then, whatever the root has there (conf.c, mount_autodev, before
    setup_mount_entries); only create= makes the place (mount_entry_create_dir_file).
    """
    found = [*settings]
    autodev = last(found, "lxc.autodev")
    if autodev is not None and autodev.value == "0":
        return []
    entries = mount_entries(found)
    lacking = []
    for number, entry in enumerate(entries):
        is_node = entry.source.startswith("/dev/") and entry.place.startswith("/dev/")
        makes = {"create=file", "create=dir"} & set(entry.options)
        before = (f"{one.place.rstrip('/')}/" for one in entries[:number])
        if entry.is_bind and is_node and not makes and not any(map(entry.place.startswith, before)):
            lacking.append(entry)
    return lacking


def _all_entries(settings: Iterable[Setting]) -> Iterator[Entry]:
    for setting in settings:
        entry = _entry(setting) if setting.key == ENTRY else None
        if entry is not None:
            yield entry


def _entry(setting: Setting) -> Entry | None:
    r"""As getmntent(3) reads a line: blanks in a path are \040. None of an empty one."""
    words = setting.value.split()
    if not words:
        return None
    source, target = (
        re.sub(r"\\([0-3][0-7]{2})", lambda m: chr(int(m[1], 8)), word)
        for word in (words[0], words[1] if len(words) > 1 else "")
    )
    options = words[3].split(",") if len(words) > 3 else []
    fstype = words[2] if len(words) > 2 else ""
    inside = _ROOT.sub("", target, count=1) if _ROOT.match(target) else target
    is_ignored = target.startswith("/") and inside == target
    return Entry(source, tuple(options), inside.lstrip("/"), fstype, setting, is_ignored)


def maps_root(maps: Sequence[str]) -> bool:
    """Whether one of these lxc.idmap values has root of the host."""
    return any(lxcconf.maps_root(ctconf.as_bytes(value)) for value in maps)
