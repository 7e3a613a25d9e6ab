"""Check of what a start needs of the host beside the profile: devices, folders, scripts, files.

Each of these ends a start: Proxmox looks at the node of each devN (PVE::LXC, update_lxc_config)
and at the folder of each bind mount point (mountpoint_mount), before pre-start runs at the
hookscript (PVE::GuestHelpers::check_hookscript); LXC at the source of a mount that is not
optional, the scripts of its hooks, the seccomp policy, the fstab and the included files, and at a
line of these that it does not know.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from phoenix_apparmor import containers, lxcsettings, paths, pveconf, startways
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.denials import vocabulary
from phoenix_apparmor.doctor import device_options, devices, gpu, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import ENTRY, Entry
from phoenix_apparmor.package import attaching

# Hooks that run on the host and whose failure ends the start (lxc start.c, conf.c).
HOOKS = ("pre-start", "pre-mount", "mount", "autodev", "start-host")
# Every host has them: from the kernel itself, or as kmod's static nodes before a module is loaded.
ALWAYS = frozenset(
    f"/dev/{name}"
    for name in ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun", "kmsg")
)
LXC = "/usr/share/lxc"
# How options of devN are written.
WRITTEN: Mapping[str, str] = {
    "mode": "a mode is 0 and three octal digits: mode=0666",
    "uid": "uid is a number",
    "gid": "gid is a number",
    "deny-write": "deny-write is 1 or 0",
}
# Of these the last counts.
SECCOMP = "lxc.seccomp.profile"
FILES = (SECCOMP, lxcsettings.FSTAB)


class Need(NamedTuple):
    """Something that is not as a start needs it.

    what: a path, or the words that say what is wrong with it. line: of .conf, or of another file
    with that before it. remedy: how the container starts without it. early: whether no hook of the
    container can make it in time. of_host: whether it could also be put right on the host.
    """

    what: str
    line: str
    remedy: str
    early: bool = True
    of_host: bool = True


def missing(host: Host) -> Iterator[Finding]:
    """What is not there, all of it for each container."""
    if not containers.is_proxmox(host):
        return
    groups: dict[tuple[Need, ...], list[Conf]] = {}
    assigned = reading.assigned(host)
    for conf in reading.confs(host):
        if not pveconf.is_template(conf.main):
            known = assigned.get(conf.ctid)
            # its start writes the seccomp policy behind included files (lxcconf.with_our_lines)
            ours = known is not None and known.profile is not None
            needs = tuple(_needs(host, conf, ours=ours))
            if needs:
                groups.setdefault(needs, []).append(conf)
    for needs, confs in groups.items():
        ctids = tuple(conf.ctid for conf in confs)
        sure = any(need.early for need in needs) or not all(map(_may_make, confs))
        remedies = "; ".join(dict.fromkeys(need.remedy for need in needs))
        yield Finding(
            "error" if sure else "warning",
            f"{reading.cts(ctids)} cannot start{'' if sure else ', unless its hook makes it'}: "
            f"{'; '.join(need.what for need in needs)}.",
            _evidence(confs[0], needs),
            advice=("fix it on the host, or: " if any(need.of_host for need in needs) else "")
            + remedies.replace("CTID", ctids[0]),
            ctids=ctids,
        )
    yield from device_options.findings(host)


def _evidence(conf: Conf, needs: tuple[Need, ...]) -> str:
    """The lines, each with its file."""
    lines = [need.line for need in needs]
    its_own = [line for line in lines if not line.startswith("/")]
    others = [line for line in lines if line.startswith("/")]
    return "; ".join(
        filter(None, [f"{conf.path}: {'; '.join(its_own)}" if its_own else "", *others])
    )


def _may_make(conf: Conf) -> bool:
    """Whether a script of the admin's runs before LXC mounts anything."""
    hookscript = conf.option("hookscript")
    own = hookscript is not None and not paths.is_our_hookscript(hookscript)
    hooks = ("lxc.hook.pre-start", "lxc.hook.pre-mount")
    return own or any(one.key in hooks and one.value for one in conf.settings)


def _needs(host: Host, conf: Conf, *, ours: bool) -> Iterator[Need]:
    yield from _devices(host, conf)
    yield from _mount_points(host, conf)
    for entry in conf.mount_entries:
        told = devices.NODE.fullmatch(entry.source)  # by another check, with what makes it
        if entry.must_be_there and not told and _is_missing(host, entry.source):
            setting = entry.setting
            what = "line" if setting.is_fstab else ENTRY
            where = f" in {setting.file}" if setting.file else ""
            remedy = f'add "optional" to the options of that {what}{where}, or remove it'
            yield Need(f"{entry.source} is not on the host", setting.said, remedy, early=False)
        yield from _of_type(host, conf, entry)
    yield from _refused(conf)
    yield from _files(host, conf, ours=ours)
    yield from _hookscript(host, conf)


def _of_type(host: Host, conf: Conf, entry: Entry) -> Iterator[Need]:
    """What a new file system needs: the folders of an overlay, and root of the host for many."""
    if {"bind", "rbind", "optional", "remount"} & set(entry.options):
        return
    if conf.has_user_namespace and conf.is_whole and vocabulary.is_host_only(entry.fstype):
        what = f"the kernel mounts {entry.fstype} only for root of the host, not at {entry.place}"
        # what shows the host's kernel is for nobody in there
        remedy = (
            "leave it out: root of an unprivileged container can do without it"
            if entry.fstype in vocabulary.KERNELS
            else "mount it on the host and give the container that folder (mpN)"
        )
        yield Need(what, entry.setting.said, remedy, of_host=False)
    for option in entry.options if entry.fstype == "overlay" else ():
        key, _, value = option.partition("=")
        for folder in value.split(":") if key in ("lowerdir", "upperdir", "workdir") else ():
            if folder.startswith("/") and _is_missing(host, folder):
                remedy = f'correct that {key}, or add "optional" to the options'
                what = f"{folder} is not on the host"
                yield Need(what, entry.setting.said, remedy, early=False)


def _is_missing(host: Host, path: str) -> bool:
    return path not in ALWAYS and not host.exists(path)


def _devices(host: Host, conf: Conf) -> Iterator[Need]:
    told = (*pveconf.bad_devices(conf.main), *pveconf.repeated_devices(conf.main))
    for device in pveconf.devices(conf.main):
        key = device.key
        line, remedy = f"{key}: {conf.option(key)}", f"pct set CTID --delete {key}"
        if device in told:
            continue  # by device_options, with a fix
        for name, word in device.options:
            if not devices.takes(name, word):
                what = f"Proxmox takes no {name}={word} in {key}"
                yield Need(what, line, _corrected(device, key), of_host=False)
        if os.path.isdir(host.path(device.path)):
            nodes = _nodes_in(host, device.path)
            if nodes:
                named = reading.listed(nodes)
                remedy = (
                    f"name the nodes in it that it needs ({named}) instead of the folder: {key}"
                )
            what = f"{device.path} is a folder, not a device"
            yield Need(what, line, remedy, of_host=False)
        elif not devices.NODE.fullmatch(device.path) and _is_missing(host, device.path):
            yield Need(f"{device.path} is not on the host", line, remedy)


def _nodes_in(host: Host, folder: str) -> list[str]:
    """The device nodes of a folder, those of its folders too; none where that is not seen."""
    found = []
    for at, _, names in os.walk(host.path(folder)):
        inside = folder.rstrip("/") + at.removeprefix(host.path(folder).rstrip("/"))
        # a link, as in by-path, is to a node that has a name of its own
        found += [f"{inside}/{name}" for name in names if not os.path.islink(f"{at}/{name}")]
    return sorted(found)


def _corrected(device: pveconf.Device, key: str) -> str:
    """How a devN option with some that Proxmox does not take is put right."""
    if len(devices.taken(device)) == len(device.options):
        return f"pct set CTID --{key} {shlex.quote(device.path + devices.with_options(device))}"
    wrong = [name for name, word in device.options if not devices.takes(name, word)]
    hints = ", ".join(WRITTEN.get(name, f"there is no {name}") for name in dict.fromkeys(wrong))
    return f"correct {key} ({hints})"


def _mount_points(host: Host, conf: Conf) -> Iterator[Need]:
    for key, value in sorted(pveconf.options(conf.main).items()):
        volume = value.partition(",")[0].removeprefix("volume=")
        is_point = re.fullmatch(r"mp\d+", key) is not None
        if not (is_point or key == "rootfs") or not volume.startswith("/"):
            continue
        # "-d" (mountpoint_mount); a device is mounted, not bound
        there = host.exists(volume)
        if not there or not (volume.startswith("/dev/") or os.path.isdir(host.path(volume))):
            what = "is not a folder" if there else "is not on the host"
            remedy = f"pct set CTID --delete {key}" if is_point else f"correct {key}"
            yield Need(f"{volume} {what}", f"{key}: {value}", remedy)


def _refused(conf: Conf) -> Iterator[Need]:
    """Lines that LXC does not take: of LXC 2, which Proxmox passes on, or in other files."""
    for one in conf.own_settings:
        new = lxcsettings.renamed(one.key)
        if new is not None:
            remedy = f"write {new} instead of {one.key}" if new else f"remove the line {one.key}"
            yield Need(f"LXC has no {one.key} any more", one.line, remedy, of_host=False)
    both = conf.capabilities.refused
    if both is not None:
        what = "LXC drops capabilities or keeps some, and does not take lines for both"
        remedy = f"clear those of before, with an empty line lxc.cap.drop in front of {both.line}"
        yield Need(what, both.said, remedy, of_host=False)
    for file, number, text, why in conf.brought.refused if conf.brought is not None else ():
        what = f"{f'line {number}' if number else 'a line'} of {file} is none that LXC takes: {why}"
        yield Need(what, f"{file}: {text}", f"correct that line of {file}", of_host=False)


def _files(host: Host, conf: Conf, *, ours: bool) -> Iterator[Need]:
    """ours: whether our start sets the seccomp policy, whatever included files say."""
    settings = [s for s in conf.settings if not (ours and s.file and s.key == SECCOMP)]
    used = {one for key in FILES if (one := lxcsettings.last(settings, key)) is not None}
    for one in settings:
        hook = one.key.removeprefix("lxc.hook.") in HOOKS
        path = next(iter(one.value.split()), "") if hook else one.value
        is_file = hook or one in used or one.key == lxcsettings.INCLUDE
        if not is_file or not path.startswith("/") or path == gpu.HOOK:
            continue
        if one.key == lxcsettings.INCLUDE and path.endswith("/"):
            continue  # of a folder that is not there LXC takes nothing
        lxcs = path.startswith(f"{LXC}/") and not host.exists(LXC)  # then that is what is wrong
        if not lxcs and not host.exists(path):
            remedy = f"remove the line {one.key} from {one.file or '.conf'}"
            yield Need(f"{path} is not on the host", one.said, remedy)


def _hookscript(host: Host, conf: Conf) -> Iterator[Need]:
    """A hookscript of the admin's own; of ours another check tells."""
    volume = conf.option("hookscript")
    if volume is None or paths.is_our_hookscript(volume):
        return
    line, remedy = f"hookscript: {volume}", "pct set CTID --delete hookscript"
    try:
        path = attaching.snippet(host, volume)
    except PhoenixError as error:
        yield Need(f"Proxmox does not find the hookscript {volume} ({error.what})", line, remedy)
        return
    problem = startways.not_runnable(host, path)
    if problem:
        remedy = f"chmod +x {path}" if "executable" in problem else remedy
        yield Need(f"the hookscript {path} {problem}", line, remedy)
