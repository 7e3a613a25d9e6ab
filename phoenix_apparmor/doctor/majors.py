"""Check of device numbers that are written into .conf: whether they are still NVIDIA's.

Most of its numbers are given out as drivers load. They decide only where LXC denies devices.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from phoenix_apparmor import pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, devices, nvidia_modprobe, pci, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcdevices import Allow, PassedOver
from phoenix_apparmor.lxcsettings import HOOK

DEVICES, BLOCK = "/proc/devices", "Block devices:"
# Linux' Documentation/admin-guide/devices.txt: char majors that are given out as drivers load.
DYNAMIC = (*range(234, 255), *range(384, 512))
NVIDIA_STATIC = 195


def fitting(host: Host) -> Iterator[Finding]:
    """Device numbers written into .conf that are another driver's or nobody's by now, or missing.

    They matter where LXC denies devices: Conf.denies_devices.
    """
    concerned = [
        conf
        for conf in reading.confs(host)
        if _is_by_number(host, conf) or (_is_gpu(host, conf) and _numbers(host, conf))
    ]
    if not concerned:
        return
    registered = char_majors(host)
    numbered = [conf for conf in concerned if _is_by_number(host, conf) and _numbers(host, conf)]
    if not _ours(registered):
        if numbered:
            yield _no_driver(host, [conf.ctid for conf in numbered])
        return
    causes: dict[tuple[str, bool], list[tuple[Conf, str]]] = {}
    for conf in (conf for conf in concerned if _is_by_number(host, conf)):
        said = _stale(host, conf, registered)
        if said:
            what = "; ".join(misfit.what for misfit in said)
            causes.setdefault((what, conf in numbered), []).append((conf, said[0].seen))
    for (what, by_number), found in causes.items():
        confs = [conf for conf, _ in found]
        who = reading.cts(c.ctid for c in confs)
        why = (
            f"hard-coded device numbers no longer fit: {what}. They change with the order in which "
            "drivers load; dev0: does not."
            if by_number
            else f"LXC denies a privileged container devices that no line allows: {what}. "
            "lxc.mount.entry alone gives it nodes that it cannot open."
        )
        yield Finding(
            "warning",
            f"{who}: {why}",
            f"{confs[0].path}: {found[0][1]}, against {DEVICES}",
            fix=""
            if (files := _of_other_files(host, confs))
            else reading.all_of([_use_devices(host, conf, registered) for conf in confs]),
            advice=f"give {'it' if len(confs) == 1 else 'them'} dev0: options for NVIDIA's nodes "
            f"(pct set), and take the lines for NVIDIA's devices out of {reading.listed(files)}"
            if files
            else "",
            ctids=tuple(c.ctid for c in confs),
        )
    yield from _idle(host, registered)


def _no_driver(host: Host, ctids: Sequence[str]) -> Finding:
    cardless = pci.nvidia_cards(host) == []
    why = "this host has no NVIDIA card" if cardless else "its driver is not loaded"
    return Finding(
        "unknown",
        f"cannot tell whether the device numbers in .conf are NVIDIA's: {why} "
        f"({reading.cts(ctids)}).",
        f"{DEVICES} has no nvidia",
        fix="" if cardless else f"modprobe nvidia && {nvidia_modprobe.USUAL}",
        advice="take the lines for NVIDIA's devices out, or start it where the card is"
        if cardless
        else "",
        ctids=tuple(ctids),
    )


def _use_devices(host: Host, conf: Conf, registered: Mapping[int, list[str]]) -> str:
    """devN options for the nodes that a container has, and its NVIDIA lines by number taken out.

    What it names, and no other GPU; where it names none, what its numbers open.
    """
    rules = [allow for allow in conf.allowed_devices(host) if _is_nvidias(allow)]
    theirs = [a for a in rules if not _is_for_other(host, conf, registered, a.major)]
    here = devices.host_nodes(host) or nvidia_modprobe.MADE
    named = devices.named_nodes(conf) or [node for node in here if _opens(node, theirs)]
    nodes = devices.single(host, named)
    # without these CUDA does not start: the next run would want them
    hooked = any(s.key.startswith(HOOK) and "nvidia" in s.value for s in conf.settings)
    if not hooked and any(map(devices.GPU.fullmatch, nodes)):
        more = (node for node in devices.USEFUL if host.exists(node))
        nodes = list(dict.fromkeys((*nodes, *devices.CUDA, *more)))
    made = {node: nvidia_modprobe.command(host, node) for node in nodes if not host.exists(node)}
    # A node that nothing makes now keeps its lines: whoever takes them out takes the GPU away.
    wanted = [node for node in nodes if made.get(node, node) and node != nvidia_modprobe.FOLDER]
    kept = set(nodes) - set(wanted)
    have = [device.node for device in pveconf.devices(conf.main)]
    lines = list(dict.fromkeys(made[node] for node in wanted if node in made))
    lines.append(devices.set_devices(host, [conf], [node for node in wanted if node not in have]))
    version = reading.cgroup_version(host)
    needed = {a.major for a in theirs if any(_driver(n) in registered.get(a.major or 0, ())
                                             for n in kept)}  # fmt: skip
    lines += [
        conf_edits.take_out(conf.path, r"lxc\.cgroup2?\.devices\.allow", text)
        for text in sorted(
            {a.text for a in theirs if a.major not in needed or not a.works(version)}
        )
    ]
    entries = [v for k, v in conf.lxc() if k == "lxc.mount.entry" and devices.NODE.match(v)]
    lines += [
        conf_edits.take_out(conf.path, r"lxc\.mount\.entry", text)
        for text in entries
        if text.split()[0].rstrip("/") not in kept
    ]
    return reading.all_of(lines)


def _of_other_files(host: Host, confs: Sequence[Conf]) -> list[str]:
    """Files beside .conf in which lines for NVIDIA's devices are: others may read them too."""
    found: dict[str, None] = {}
    for conf in confs:
        lines = [a.file for a in conf.allowed_devices(host) if _is_nvidias(a)]
        lines += [e.setting.file for e in conf.mount_entries if devices.NODE.match(e.source)]
        found |= dict.fromkeys(filter(None, lines))
    return list(found)


def _opens(node: str, rules: Sequence[Allow]) -> bool:
    """Whether lines by number are for a node: NVIDIA's minor is the GPU's number, 255 the ctl's."""
    if _driver(node) != "nvidia":
        return any(allow.major != NVIDIA_STATIC for allow in rules)
    minor = {"/dev/nvidiactl": 255, "/dev/nvidia-modeset": 254}.get(node)
    if minor is None:
        minor = int(node.removeprefix("/dev/nvidia"))
    return any(a.major == NVIDIA_STATIC and a.minor in (None, minor) for a in rules)


def is_told(host: Host, conf: Conf, allow: Allow) -> bool:
    """Whether this check tells of a line, with what to do about it."""
    return _is_nvidias(allow) and has_stale(host, conf)


def _is_nvidias(allow: Allow) -> bool:
    return allow.kind == "c" and allow.major is not None and (
        allow.major == NVIDIA_STATIC or allow.major in DYNAMIC
    )  # fmt: skip


def _is_for_other(
    host: Host, conf: Conf, registered: Mapping[int, list[str]], number: int | None
) -> bool:
    """Whether a number is that of another device that the configuration gives.

    By the node itself, or by its name where /proc/devices has a driver of it (hidraw0: hidraw).
    A number that nobody has now may be that of a named device which is not plugged in.
    """
    drivers = registered.get(number or 0, [])
    if number is None or any("nvidia" in name for name in drivers):
        return False
    for node in devices.single(host, _other_nodes(conf)):
        try:
            seen = host.stat(node)
        except OSError:
            seen = None
        if seen is not None and stat.S_ISCHR(seen.st_mode):
            if os.major(seen.st_rdev) == number:
                return True
        elif seen is None and not drivers:
            return True
        base = node.rpartition("/")[2]
        if any(base.startswith(name) or f"/{name}/" in node for name in drivers):
            return True
    return False


def _other_nodes(conf: Conf) -> list[str]:
    """Nodes of other drivers that a configuration gives its container."""
    found = [device.node for device in pveconf.devices(conf.main)]
    found += [entry.source for entry in conf.mount_entries]
    return [n for n in found if n.startswith("/dev/") and not devices.NODE.fullmatch(n)]


def _is_by_number(host: Host, conf: Conf) -> bool:
    """Whether lines by number decide which NVIDIA nodes it may use.

    Not where a line was meant for a device and does nothing: another check puts that right first.
    """
    if not conf.denies_devices or any(map(is_meant, conf.passed_over_devices(host))):
        return False
    return bool(_is_gpu(host, conf) and (_numbers(host, conf) or _bound(conf)))


def is_meant(line: PassedOver) -> bool:
    """Whether a line that LXC passes over would allow a device if it were right, or it there."""
    return line.allows and bool(line.meant or line.node)


def has_stale(host: Host, conf: Conf) -> bool:
    """Whether this check tells of a container, with a fix that gives it all its nodes."""
    if not _is_by_number(host, conf):
        return False
    try:
        return bool(_stale(host, conf, char_majors(host)))
    except OSError:
        return False


class Misfit(NamedTuple):
    """What is wrong with a number, and where that is seen."""

    what: str
    seen: str


def _stale(host: Host, conf: Conf, registered: Mapping[int, list[str]]) -> list[Misfit]:
    """What is wrong with the numbers of one container."""
    ours = _ours(registered)
    if not ours:
        return []
    version = reading.cgroup_version(host)
    usable = [a for a in conf.allowed_devices(host) if a.is_usable]
    rules = [allow for allow in usable if allow.kind != "b"]
    working = {allow.major for allow in rules if allow.works(version)}
    any_major = any(allow.works(version) and allow.is_all for allow in rules)
    said = [misfit for misfit, _ in _foreign(host, conf, registered)]
    needed = set() if any_major else {n for n in ours if _needs(conf, registered[n])}
    for number in sorted(needed - working):
        drivers = ", ".join(registered[number])
        said.append(Misfit(f"{number} ({drivers}) is not allowed", f"no device line of {number}"))
    dead = [a for a in rules if not a.works(version) and a.major in ours - working]
    if dead:
        why = (
            f"{dead[0].key} does nothing (it is for cgroup v{dead[0].cgroup}, this host has "
            f"v{version})"
        )
        said.append(Misfit(why, _line(dead[0])))
    return list({misfit.what: misfit for misfit in reversed(said)}.values())[::-1]


def _foreign(
    host: Host, conf: Conf, registered: Mapping[int, list[str]]
) -> Iterator[tuple[Misfit, Allow]]:
    """Numbers in use that are not NVIDIA's any more, nor those of another device that it has."""
    version = reading.cgroup_version(host)
    for allow in conf.allowed_devices(host):
        number = allow.major
        if (
            allow.kind == "c"
            and allow.is_usable
            and allow.works(version)
            and number is not None
            and number not in _ours(registered)
            and (number in DYNAMIC or number == NVIDIA_STATIC)
            and not _is_for_other(host, conf, registered, number)
        ):
            yield Misfit(f"{number} is {_whose(registered, number)}", _line(allow)), allow


def _idle(host: Host, registered: Mapping[int, list[str]]) -> Iterator[Finding]:
    """The same numbers in unprivileged containers, where no line by number does anything."""
    causes: dict[str, list[tuple[Conf, list[tuple[Misfit, Allow]]]]] = {}
    for conf in reading.confs(host):
        if _is_gpu(host, conf) and not conf.denies_devices:
            found = list(_foreign(host, conf, registered))
            if found:
                what = "; ".join(dict.fromkeys(misfit.what for misfit, _ in found))
                causes.setdefault(what, []).append((conf, found))
    for what, those in causes.items():
        ctids = tuple(conf.ctid for conf, _ in those)
        first, lines = those[0]
        files = list(dict.fromkeys(a.file for _, found in those for _, a in found if a.file))
        yield Finding(
            "note",
            f"{reading.cts(ctids)}: hard-coded device numbers no longer fit: {what}. They do "
            "nothing: Proxmox lets an unprivileged container use every device that it is given.",
            f"{first.path}: {lines[0][0].seen}, against {DEVICES}; "
            "/usr/share/lxc/config/userns.conf.d/01-pve.conf",
            fix=""
            if files
            else reading.all_of(
                [
                    conf_edits.take_out(conf.path, re.escape(allow.key), allow.text)
                    for conf, found in those
                    for _, allow in {allow.text: (m, allow) for m, allow in found}.values()
                ]
            ),
            advice=f"take them out of {reading.listed(files)}" if files else "",
            ctids=ctids,
        )


def _line(allow: Allow) -> str:
    return f"device line {allow.text}" + (f" of {allow.file}" if allow.file else "")


def _numbers(host: Host, conf: Conf) -> list[Allow]:
    return [allow for allow in conf.allowed_devices(host) if allow.major is not None]


def _ours(registered: Mapping[int, list[str]]) -> set[int]:
    return {number for number, names in registered.items() if any("nvidia" in n for n in names)}


def char_majors(host: Host) -> dict[int, list[str]]:
    """Major number -> drivers, of the character devices that the kernel has now."""
    return _majors(host.read(DEVICES).decode("utf-8", "replace").partition(BLOCK)[0])


def block_majors(host: Host) -> dict[int, list[str]]:
    """The same of the block devices; nothing where that cannot be read."""
    text = (host.read_if_there(DEVICES) or b"").decode("utf-8", "replace")
    return _majors(text.partition(BLOCK)[2])


def _majors(text: str) -> dict[int, list[str]]:
    result: dict[int, list[str]] = {}
    for line in text.split("\n"):
        number, _, name = line.strip().partition(" ")
        if number.isdigit():
            result.setdefault(int(number), []).append(name.strip())
    return result


def _is_gpu(host: Host, conf: Conf) -> bool:
    numbers = _numbers(host, conf)
    return bool(devices.named_nodes(conf)) or any(a.major == NVIDIA_STATIC for a in numbers)


def _needs(conf: Conf, drivers: list[str]) -> bool:
    """Whether a node of one of these drivers is bound in by path (dev0: allows itself)."""
    return bool({_driver(node) for node in _bound(conf)} & set(drivers))


def _bound(conf: Conf) -> list[str]:
    """NVIDIA's nodes that are bound in by path."""
    return [entry.source for entry in conf.mount_entries if entry.source.startswith("/dev/nvidia")]


def _driver(node: str) -> str:
    """The name under which /proc/devices lists a node's driver."""
    base = node.removeprefix("/dev/").partition("/")[0]
    if base == "nvidia-uvm-tools":
        return "nvidia-uvm"
    return base if base in ("nvidia-uvm", "nvidia-caps", "nvidia-caps-imex-channels") else "nvidia"


def _whose(registered: Mapping[int, list[str]], number: int) -> str:
    names = registered.get(number)
    return f"{', '.join(names)} now" if names else "nobody's now"
