"""Reads which mounts a container's configuration makes, and what their sources are now."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from phoenix_apparmor import (
    containers,
    ctconf,
    lxcconf,
    lxcfiles,
    lxcsettings,
    paths,
    pveconf,
    shares,
)
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import Entry, Setting
from phoenix_apparmor.mountwanted import Identity, Line, ReadOnly, Wanted, is_in

# LXC calls these after it, or before, has made the container's mounts, all but those in the
# container (lxc.hook.start).
HOOKS = ("lxc.hook.pre-start", "lxc.hook.pre-mount", "lxc.hook.mount", "lxc.hook.autodev")
# These mount on the container's own root.
USUAL_HOOKS = ("/usr/share/lxc/hooks/lxc-pve-", "/usr/share/lxcfs/")
OWN_MOUNTS = "/proc/self/mountinfo"


class _Shared(NamedTuple):
    """What is mounted writable. sources: of the host's. unread: as in Wanted."""

    lines: tuple[Line, ...]
    sources: tuple[str, ...]
    unread: tuple[str, ...] = ()


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
    own = lxcsettings.as_lxc_takes(lxcconf.settings_of_others(text))
    found = lxcfiles.look(Host(), own)
    unread = tuple(unread.file for unread in found.unread)
    # LXC mounts those of an fstab first (conf.c, lxc_setup)
    entries = lxcsettings.mount_entries(found.settings)
    entries.sort(key=lambda entry: not entry.setting.is_fstab)
    if not unread and not any(map(_is_read_only, entries)):
        return Wanted()
    shared = _shared(entries, environ)
    with open(OWN_MOUNTS, "rb") as file:
        hosts = shares.mounts(file.read())
    return Wanted(
        tuple(_read_only(entries, shared.sources)),
        shared.lines,
        frozenset(_parts(entries, hosts)),
        frozenset(line[2] for line in hosts),
        tuple(_hooks(found.settings)),
        unread + shared.unread,
    )


def _is_read_only(entry: Entry) -> bool:
    """A file system that LXC does not bind is made read-only at once."""
    return entry.is_bind and entry.access.startswith("ro")


def _read_only(entries: Sequence[Entry], shared: Sequence[str]) -> Iterator[ReadOnly]:
    """shared: see _Shared.sources."""
    for number, entry in enumerate(entries):
        if not _is_read_only(entry):
            continue
        line, is_there = _line(entry)
        later = (one for one, is_there in map(_line, entries[number + 1 :]) if is_there)
        above = tuple(
            one
            for one in later
            if (one.identity or one.kind)
            and (one.place == line.place or is_in(line.place, one.place))
        )
        source = _real(entry.source)
        is_taken = not (is_there or _is_own(entry)) and any(
            is_in(source, _real(folder)) for folder in shared
        )
        unclear = entry.access if "=" in entry.access else ""
        yield ReadOnly(line, is_there, is_taken, above, unclear)


def _line(entry: Entry) -> tuple[Line, bool]:
    """The line, and whether there is something of the host's that it mounts."""
    place = ctconf.as_bytes(entry.place)
    if not entry.is_bind:
        return Line(place, None, ctconf.as_bytes(entry.fstype)), True
    if _is_own(entry):
        return Line(place), False
    identity, is_there = _source(entry.source)
    return Line(place, identity), is_there


def _source(path: str) -> tuple[Identity | None, bool]:
    """Its identity, if it can be known, and whether it is there."""
    try:
        status = os.stat(ctconf.as_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        return None, False
    except (OSError, ValueError):
        return None, True
    return (status.st_dev, status.st_ino), True


def _is_own(entry: Entry) -> bool:
    """Whether it mounts something of the container's own."""
    return not entry.source.startswith("/") or "relative" in entry.options


def _real(path: str) -> bytes:
    try:
        return os.path.realpath(ctconf.as_bytes(path))
    except (OSError, ValueError):
        return ctconf.as_bytes(path)


def _shared(entries: Iterable[Entry], environ: Mapping[str, str]) -> _Shared:
    """The other lines, and Proxmox's mpN, which LXC's configuration has not."""
    others = [entry for entry in entries if not _is_read_only(entry)]
    # (what had a source and has none any more is no more to be believed)
    lines = [line for line, is_there in map(_line, others) if is_there or line.kind]
    lines += [_line(entry)[0] for entry in others if entry.is_bind and _is_own(entry)]
    sources = [entry.source for entry in others if entry.is_bind and not _is_own(entry)]
    host, ctid = Host(environ.get("PHOENIX_APPARMOR_ROOT", "")), environ.get("LXC_NAME", "")
    try:
        file = paths.conf(ctid)
        text = host.read(file, containers.BIGGEST_CONF)
        points = pveconf.mount_points(containers.Conf(ctid, file, text).main)
    except (OSError, ValueError):
        return _Shared(tuple(lines), tuple(sources), (f"/etc/pve/lxc/{ctid}.conf",))
    for _, source, rest in points:
        if pveconf.is_true(rest.get("ro")):
            continue
        place = ctconf.as_bytes(os.path.normpath("/" + rest.get("mp", "").lstrip("/")))
        identity, is_there = _source(source) if source.startswith("/") else (None, True)
        if is_there:
            lines.append(Line(place, identity))
        if source.startswith("/"):
            sources.append(source)
    return _Shared(tuple(lines), tuple(sources))


def _parts(
    entries: Iterable[Entry], hosts: "Iterable[shares.Line]"
) -> Iterator[tuple[bytes, bytes]]:
    """Of the host's writable mounts in what is bound with all that is in it."""
    whole = [_real(entry.source) for entry in entries if entry.is_recursive and not _is_own(entry)]
    for _, _, device, root, place, is_read_only, _ in hosts:
        if not is_read_only and any(is_in(place, source) for source in whole):
            yield device, root


def _hooks(settings: Iterable[Setting]) -> Iterator[str]:
    for setting in settings:
        if setting.key in HOOKS and setting.value and not setting.value.startswith(USUAL_HOOKS):
            yield setting.said
