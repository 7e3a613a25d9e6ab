"""Checks of NVIDIA devices: nodes that are there, and device numbers that still fit.

A container gets a node by Proxmox' devN option, by a bind mount (lxc.mount.entry) with a device
rule by number, or by NVIDIA's own hook for LXC, which mounts all that the container's environment
asks for.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from phoenix_apparmor import containers, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, devices, nvidia_modprobe, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

DEVICES = "/proc/devices"
# Linux' Documentation/admin-guide/devices.txt: char majors that are given out as drivers load.
DYNAMIC = (*range(234, 255), *range(384, 512))
NVIDIA_STATIC = 195
ONLY = "name only nodes that this host has"
HOOK = "/usr/share/lxc/hooks/nvidia"
# The hook runs it (libnvidia-container).
HOOK_PROGRAM = "nvidia-container-cli"


def nodes(host: Host) -> Iterator[Finding]:
    """NVIDIA nodes that a configuration names: on the host, and all that CUDA needs."""
    absent: dict[str, list[str]] = {}
    lacking: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Conf]] = {}
    for conf in reading.confs(host):
        named = devices.named_nodes(conf)
        for node in named:
            if not host.exists(node):
                absent.setdefault(node.rstrip("/"), []).append(conf.ctid)
        missing = tuple(node for node in devices.CUDA if node not in named)
        # numbers that no longer fit are told, with all nodes in one fix, by another check;
        # NVIDIA's hook gives those that are not named
        hooked = _has_hook(conf) and _asks(conf)
        if (
            any(map(devices.GPU.fullmatch, named))
            and missing
            and not (hooked or _has_stale(host, conf))
        ):
            lacking.setdefault((missing, tuple(named)), []).append(conf)
    for (missing, _), confs in lacking.items():
        named = devices.named_nodes(confs[0])
        here = [node for node in (*devices.CUDA, *devices.USEFUL) if host.exists(node)]
        also = [node for node in dict.fromkeys((*missing, *here)) if node not in named]
        made = "" if set(missing) <= set(here) else nvidia_modprobe.USUAL
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in confs)}: a GPU, but not {' and '.join(missing)}: CUDA "
            "does not start.",
            f"{confs[0].path} names {', '.join(named)}",
            fix=reading.all_of([made, devices.set_devices(host, confs, also)]),
            ctids=tuple(c.ctid for c in confs),
        )
    yield from _absent(host, absent)


def _absent(host: Host, absent: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Nodes that the host does not have: those that a command makes, and those that none does."""
    makes = {node: nvidia_modprobe.command(host, node) for node in sorted(absent)}
    for can in (True, False):
        named = [node for node in makes if bool(makes[node]) is can]
        if not named:
            continue
        ctids = tuple(dict.fromkeys(ctid for node in named for ctid in absent[node]))
        it = "it" if len(named) == 1 else "them"
        files = ", ".join(f"/etc/pve/lxc/{ctid}.conf" for ctid in ctids[:3])
        yield Finding(
            "warning",
            f"{reading.listed(named)}: not on the host; {reading.cts(ctids)} should have {it}.",
            f"{named[0]} is missing",
            fix=reading.all_of(list(dict.fromkeys(makes[node] for node in named))),
            advice=f"so that it is there at each boot, enable nvidia-persistenced, or {ONLY}"
            if can
            else f"the driver has no device for {it}: take {it} out of {files}, or add the "
            "hardware (nvidia-caps: switch MIG on)",
            ctids=ctids,
        )


def without_gpu(host: Host) -> Iterator[Finding]:
    """Containers under a GPU profile that get no NVIDIA node."""
    wanted = reading.wanted_profiles(host)
    assigned = {c for name, ctids in wanted.items() if "nvidia" in name for c in ctids}
    without = [
        conf
        for conf in reading.confs(host)
        if conf.ctid in assigned
        and not devices.named_nodes(conf)
        and not _has_hook(conf)
        and not pveconf.is_template(conf.main)
        and not _has_stale(host, conf)  # told with its own fix
    ]
    if without:
        there = devices.host_nodes(host)
        # advice: whether it shall have a GPU is for a person to decide
        give = devices.set_devices(host, without, there)
        yield Finding(
            "note",
            f"{reading.cts(c.ctid for c in without)}: assigned a GPU profile, but no NVIDIA node "
            "is configured.",
            "neither dev0:, lxc.mount.entry nor NVIDIA's hook gives one",
            advice=f"to give {'it' if len(without) == 1 else 'them'} all of this host: {give}"
            if there
            else "this host has no NVIDIA node: install its driver",
            ctids=tuple(c.ctid for c in without),
        )


def hook(host: Host) -> Iterator[Finding]:
    """NVIDIA's hook for LXC: what it needs on the host, and to be asked for a GPU."""
    found = [conf for conf in reading.confs(host) if _has_hook(conf)]
    if not found:
        return
    ctids = tuple(conf.ctid for conf in found)
    where = f"{found[0].path}: lxc.hook.mount: {HOOK}"
    if not host.exists(HOOK):
        yield Finding(
            "error",
            f"{reading.cts(ctids)} cannot start: NVIDIA's hook {HOOK} is missing.",
            where,
            fix="apt-get install --reinstall lxc-pve" if containers.is_proxmox(host) else "",
            advice="" if containers.is_proxmox(host) else "reinstall the package that has it: lxc",
            ctids=ctids,
        )
    if not host.has_program(HOOK_PROGRAM):
        yield Finding(
            "warning",
            f"{reading.cts(ctids)}: NVIDIA's hook gives no GPU, as {HOOK_PROGRAM} is missing.",
            where,
            advice="install nvidia-container-toolkit from NVIDIA's repository, or use dev0: "
            "options instead of the hook",
            ctids=ctids,
        )
    silent = [conf for conf in found if not _asks(conf)]
    if silent:
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in silent)}: NVIDIA's hook is not asked for any GPU.",
            f"{silent[0].path} has no lxc.environment: NVIDIA_VISIBLE_DEVICES=…",
            advice="add a line such as: lxc.environment: NVIDIA_VISIBLE_DEVICES=all",
            ctids=tuple(c.ctid for c in silent),
        )
    inside = [conf for conf in found if conf.is_unprivileged]
    if inside and silent != found:
        yield Finding(
            "note",
            f"{reading.cts(c.ctid for c in inside)}: NVIDIA's hook mounts the nodes and the "
            "host's driver libraries at each start. Do not install the driver inside.",
            where,
            ctids=tuple(c.ctid for c in inside),
        )


def _has_hook(conf: Conf) -> bool:
    return any(k.startswith("lxc.hook.") and v.split()[:1] == [HOOK] for k, v in conf.lxc())


def _asks(conf: Conf) -> bool:
    names = "NVIDIA_VISIBLE_DEVICES="
    return any(
        key == "lxc.environment" and value.startswith(names) and value != names
        for key, value in conf.lxc()
    )


def majors(host: Host) -> Iterator[Finding]:
    """Device numbers written into .conf that are another driver's or nobody's by now."""
    concerned = [conf for conf in reading.confs(host) if _is_gpu(conf) and _numbers(conf)]
    if not concerned:
        return
    registered = char_majors(host)
    ours = _ours(registered)
    if not ours:
        yield Finding(
            "unknown",
            "cannot tell whether the device numbers in .conf are NVIDIA's: its driver is not "
            f"loaded ({reading.cts([conf.ctid for conf in concerned])}).",
            f"{DEVICES} has no nvidia",
            fix=f"modprobe nvidia && {nvidia_modprobe.USUAL}",
            ctids=tuple(conf.ctid for conf in concerned),
        )
        return
    causes: dict[str, list[tuple[Conf, str]]] = {}
    for conf in concerned:
        said = _stale(host, conf, registered)
        if said:
            what = "; ".join(misfit.what for misfit in said)
            causes.setdefault(what, []).append((conf, said[0].seen))
    for what, found in causes.items():
        confs = [conf for conf, _ in found]
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in confs)}: hard-coded device numbers no longer fit: "
            f"{what}. They change with the order in which drivers load; dev0: does not.",
            f"{confs[0].path}: {found[0][1]}, against {DEVICES}",
            fix=reading.all_of([_use_devices(host, conf, registered) for conf in confs]),
            ctids=tuple(c.ctid for c in confs),
        )


def _use_devices(host: Host, conf: Conf, registered: Mapping[int, list[str]]) -> str:
    """devN options for the nodes that a container has, and its NVIDIA lines by number taken out.

    What it names, and no other GPU; where it names none, what its numbers open.
    """
    rules = [allow for allow in pveconf.allowed_devices(conf.main) if _is_nvidias(allow)]
    theirs = [a for a in rules if not _is_for_other(host, conf, registered, a.major)]
    here = devices.host_nodes(host) or nvidia_modprobe.MADE
    named = devices.named_nodes(conf) or [node for node in here if _opens(node, theirs)]
    nodes = devices.single(host, named)
    made = {node: nvidia_modprobe.command(host, node) for node in nodes if not host.exists(node)}
    # A node that nothing makes now keeps its lines: whoever takes them out takes the GPU away.
    wanted = [node for node in nodes if made.get(node, node) and node != nvidia_modprobe.FOLDER]
    kept = set(nodes) - set(wanted)
    have = [device.path for device in pveconf.devices(conf.main)]
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


def _opens(node: str, rules: Sequence[pveconf.Allow]) -> bool:
    """Whether lines by number are for a node: NVIDIA's minor is the GPU's number, 255 the ctl's."""
    if _driver(node) != "nvidia":
        return any(allow.major != NVIDIA_STATIC for allow in rules)
    minor = {"/dev/nvidiactl": 255, "/dev/nvidia-modeset": 254}.get(node)
    if minor is None:
        minor = int(node.removeprefix("/dev/nvidia"))
    return any(a.major == NVIDIA_STATIC and a.minor in (None, minor) for a in rules)


def _is_nvidias(allow: pveconf.Allow) -> bool:
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
    found = [device.path for device in pveconf.devices(conf.main)]
    found += [v.split()[0] for k, v in conf.lxc() if k == "lxc.mount.entry" and v.strip()]
    return [n for n in found if n.startswith("/dev/") and not devices.NODE.fullmatch(n)]


def _has_stale(host: Host, conf: Conf) -> bool:
    if not _numbers(conf):
        return False
    try:
        return bool(_stale(host, conf, char_majors(host)))
    except OSError:
        return False


class Misfit(NamedTuple):
    """What is wrong with a number, and where that is seen."""

    what: str
    seen: str


def _stale(host: Host, conf: Conf, registered: dict[int, list[str]]) -> list[Misfit]:
    """What is wrong with the numbers of one container."""
    ours = _ours(registered)
    if not ours:
        return []
    version = reading.cgroup_version(host)
    usable = [a for a in pveconf.allowed_devices(conf.main) if a.is_usable]
    rules = [allow for allow in usable if allow.kind == "c"]
    working = {allow.major for allow in rules if allow.works(version)}
    any_major = any(allow.works(version) and allow.is_all for allow in usable)
    said = []
    for allow in rules:
        number = allow.major
        if (
            allow.works(version)
            and number is not None
            and number not in ours
            and (number in DYNAMIC or number == NVIDIA_STATIC)
            and not _is_for_other(host, conf, registered, number)
        ):
            said.append(Misfit(f"{number} is {_whose(registered, number)}", _line(allow)))
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


def _line(allow: pveconf.Allow) -> str:
    return f"device line {allow.text}"


def _numbers(conf: Conf) -> list[pveconf.Allow]:
    return [allow for allow in pveconf.allowed_devices(conf.main) if allow.major is not None]


def _ours(registered: Mapping[int, list[str]]) -> set[int]:
    return {number for number, names in registered.items() if any("nvidia" in n for n in names)}


def char_majors(host: Host) -> dict[int, list[str]]:
    """Major number -> drivers, of the character devices that the kernel has now."""
    text = host.read(DEVICES).decode("utf-8", "replace")
    result: dict[int, list[str]] = {}
    for line in text.partition("Block devices:")[0].split("\n"):
        number, _, name = line.strip().partition(" ")
        if number.isdigit():
            result.setdefault(int(number), []).append(name.strip())
    return result


def _is_gpu(conf: Conf) -> bool:
    return bool(devices.named_nodes(conf)) or any(a.major == NVIDIA_STATIC for a in _numbers(conf))


def _needs(conf: Conf, drivers: list[str]) -> bool:
    """Whether a node of one of these drivers is bound in by path (dev0: allows itself)."""
    bound = [v.split()[0] for k, v in conf.lxc() if k == "lxc.mount.entry" and v.strip()]
    kinds = {_driver(node) for node in bound if node.startswith("/dev/nvidia")}
    return bool(kinds & set(drivers))


def _driver(node: str) -> str:
    """The name under which /proc/devices lists a node's driver."""
    base = node.removeprefix("/dev/").partition("/")[0]
    if base == "nvidia-uvm-tools":
        return "nvidia-uvm"
    return base if base in ("nvidia-uvm", "nvidia-caps", "nvidia-caps-imex-channels") else "nvidia"


def _whose(registered: dict[int, list[str]], number: int) -> str:
    names = registered.get(number)
    return f"{', '.join(names)} now" if names else "nobody's now"
