"""Checks of NVIDIA devices: nodes that are there, and device numbers that still fit.

A container gets a node by Proxmox' devN option, by a bind mount (lxc.mount.entry) with a device
rule by number, or by NVIDIA's own hook for LXC, which mounts all that the container's environment
asks for.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence

from phoenix_apparmor import containers, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import edits, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

DEVICES = "/proc/devices"
# Linux' Documentation/admin-guide/devices.txt: char majors that are given out as drivers load.
DYNAMIC = (*range(234, 255), *range(384, 512))
NVIDIA_STATIC = 195
# What CUDA opens besides /dev/nvidiaN; what its tools open where the host has it.
CUDA = ("/dev/nvidiactl", "/dev/nvidia-uvm")
USEFUL = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
MAKE_NODES = "nvidia-modprobe -u -c 0"
HOOK = "/usr/share/lxc/hooks/nvidia"
# The hook runs it (libnvidia-container).
HOOK_PROGRAM = "nvidia-container-cli"

_NODE = re.compile(r"/dev/nvidia[\w-]*(?:/[\w-]+)*/?")
GPU = re.compile(r"/dev/nvidia\d+")


def nodes(host: Host) -> Iterator[Finding]:
    """NVIDIA nodes that a configuration names: on the host, and all that CUDA needs."""
    absent: dict[str, list[str]] = {}
    lacking: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Conf]] = {}
    for conf in containers.confs(host):
        named = named_nodes(conf)
        for node in named:
            if not host.exists(node):
                absent.setdefault(node.rstrip("/"), []).append(conf.ctid)
        missing = tuple(node for node in CUDA if node not in named)
        # numbers that no longer fit are told, with all nodes in one fix, by another check
        if any(map(GPU.fullmatch, named)) and missing and not _has_stale(host, conf):
            lacking.setdefault((missing, tuple(named)), []).append(conf)
    for (missing, _), confs in lacking.items():
        named = named_nodes(confs[0])
        here = [node for node in (*CUDA, *USEFUL) if host.exists(node)]
        also = [node for node in dict.fromkeys((*missing, *here)) if node not in named]
        made = "" if set(missing) <= set(here) else MAKE_NODES
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in confs)}: a GPU, but not {' and '.join(missing)}: CUDA "
            "does not start.",
            f"{confs[0].path} names {', '.join(named)}",
            fix=reading.all_of([made, _set_devices(host, confs, also)]),
            ctids=tuple(c.ctid for c in confs),
        )
    if absent:
        named = sorted(absent)
        ctids = tuple(dict.fromkeys(ctid for node in named for ctid in absent[node]))
        yield Finding(
            "warning",
            f"{reading.listed(named)}: not on the host; {reading.cts(ctids)} should have "
            f"{'it' if len(named) == 1 else 'them'}.",
            f"{named[0]} is missing",
            fix=MAKE_NODES,
            advice="so that it is there at each boot, enable nvidia-persistenced, or name only "
            "nodes that this host has",
            ctids=ctids,
        )


def without_gpu(host: Host) -> Iterator[Finding]:
    """Containers under a GPU profile that get no NVIDIA node."""
    wanted = reading.wanted_profiles(host)
    assigned = {c for name, ctids in wanted.items() if "nvidia" in name for c in ctids}
    without = [
        conf
        for conf in containers.confs(host)
        if conf.ctid in assigned
        and not named_nodes(conf)
        and not _has_hook(conf)
        and not pveconf.is_template(conf.main)
    ]
    if without:
        there = host_nodes(host)
        # advice: whether it shall have a GPU is for a person to decide
        give = _set_devices(host, without, there)
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
    found = [conf for conf in containers.confs(host) if _has_hook(conf)]
    if not found:
        return
    ctids = tuple(conf.ctid for conf in found)
    where = f"{found[0].path}: lxc.hook.mount: {HOOK}"
    if not host.exists(HOOK):
        yield Finding(
            "error",
            f"{reading.cts(ctids)} cannot start: NVIDIA's hook {HOOK} is missing.",
            where,
            fix="apt-get install --reinstall lxc-pve",
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
    concerned = [conf for conf in containers.confs(host) if _is_gpu(conf) and _numbers(conf)]
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
            fix=f"modprobe nvidia && {MAKE_NODES}",
            ctids=tuple(conf.ctid for conf in concerned),
        )
        return
    causes: dict[str, list[Conf]] = {}
    for conf in concerned:
        said = _stale(conf, registered)
        if said:
            causes.setdefault("; ".join(said), []).append(conf)
    for what, confs in causes.items():
        first = next(iter(pveconf.allowed_devices(confs[0].main)))
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in confs)}: hard-coded device numbers no longer fit: "
            f"{what}. They change with the order in which drivers load; dev0: does not.",
            f"{confs[0].path}: device line {first.text}, against {DEVICES}",
            fix=reading.all_of([_use_devices(host, conf) for conf in confs]),
            ctids=tuple(c.ctid for c in confs),
        )


def _use_devices(host: Host, conf: Conf) -> str:
    """devN options for all nodes of a container, and its lines by number taken out."""
    named = named_nodes(conf)
    wanted = [node for node in _single(host, [*named, *host_nodes(host)]) if host.exists(node)]
    have = [device.path for device in pveconf.devices(conf.main)]
    lines = [_set_devices(host, [conf], [node for node in wanted if node not in have])]
    gone = {allow.text for allow in pveconf.allowed_devices(conf.main) if _is_nvidias(allow)}
    lines += [
        edits.take_out(conf.path, r"lxc\.cgroup2?\.devices\.allow", text) for text in sorted(gone)
    ]
    entries = [v for k, v in conf.lxc() if k == "lxc.mount.entry" and _NODE.match(v)]
    lines += [edits.take_out(conf.path, r"lxc\.mount\.entry", text) for text in entries]
    return reading.all_of(lines)


def _is_nvidias(allow: pveconf.Allow) -> bool:
    return allow.kind == "c" and allow.major is not None and (
        allow.major == NVIDIA_STATIC or allow.major in DYNAMIC
    )  # fmt: skip


def _has_stale(host: Host, conf: Conf) -> bool:
    if not _numbers(conf):
        return False
    try:
        return bool(_stale(conf, char_majors(host)))
    except OSError:
        return False


def _stale(conf: Conf, registered: dict[int, list[str]]) -> list[str]:
    """What is wrong with the numbers of one container, in words."""
    ours = _ours(registered)
    if not ours:
        return []
    rules = [allow for allow in pveconf.allowed_devices(conf.main) if allow.kind == "c"]
    working = {allow.major for allow in rules if allow.works}
    any_major = any(allow.works and allow.is_all for allow in pveconf.allowed_devices(conf.main))
    stale = [
        n
        for n in dict.fromkeys(a.major for a in rules if a.works and a.major is not None)
        if n not in ours and (n in DYNAMIC or n == NVIDIA_STATIC)
    ]
    needed = set() if any_major else {n for n in ours if _needs(conf, registered[n])}
    lacking = sorted(needed - working)
    dead = [a for a in rules if not a.works and a.major in ours and a.major not in working]
    said = [f"{n} is {_whose(registered, n)}" for n in stale]
    said += [f"{n} ({', '.join(registered[n])}) is not allowed" for n in lacking]
    if dead:
        said.append("lxc.cgroup.devices.allow does nothing (cgroup v1; it is cgroup2 now)")
    return said


def _numbers(conf: Conf) -> list[pveconf.Allow]:
    return [allow for allow in pveconf.allowed_devices(conf.main) if allow.major is not None]


def _ours(registered: dict[int, list[str]]) -> set[int]:
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


def host_nodes(host: Host) -> list[str]:
    """The NVIDIA nodes that the host has and a container needs for CUDA."""
    names = host.names("/dev")
    gpus = [f"/dev/{name}" for name in names if re.fullmatch(r"nvidia\d+", name)]
    return gpus + [node for node in (*CUDA, *USEFUL) if gpus and host.exists(node)]


def named_nodes(conf: Conf) -> list[str]:
    """NVIDIA nodes that a configuration gives its container (dev0:, lxc.mount.entry)."""
    found = [device.path for device in pveconf.devices(conf.main)]
    found += [v.split()[0] for k, v in conf.lxc() if k == "lxc.mount.entry" and v.strip()]
    return list(dict.fromkeys(node for node in found if _NODE.fullmatch(node)))


def _single(host: Host, names: Sequence[str]) -> list[str]:
    """names, where a folder of nodes (/dev/nvidia-caps) is replaced by the nodes in it."""
    found: dict[str, None] = {}
    for name in names:
        inside = host.names(name) if _is_folder(host, name) else None
        for node in [name.rstrip("/")] if inside is None else [f"{name}/{n}" for n in inside]:
            found.setdefault(node.replace("//", "/"))
    return list(found)


def _is_folder(host: Host, name: str) -> bool:
    return os.path.isdir(host.path(name))


def _set_devices(host: Host, confs: Sequence[Conf], wanted: Sequence[str]) -> str:
    """One pct set a container, with free devN slots and the nodes' own access; "": no node."""
    groups: dict[str, list[str]] = {}
    for conf in confs:
        free = pveconf.free_devices(conf.main)
        options = " ".join(
            f"--dev{number} {node}{_access(host, node)}"
            for node, number in zip(_single(host, wanted), free, strict=False)
        )
        if options:
            groups.setdefault(options, []).append(conf.ctid)
    return reading.all_of(
        [reading.for_each(ctids, f'pct set "$ct" {options}') for options, ctids in groups.items()]
    )


def _access(host: Host, node: str) -> str:
    """mode and gid as the node has them on the host: Proxmox makes it 0660 of root without."""
    seen = host.stat(node)
    if seen is None:
        return ",mode=0666"
    mode = stat.S_IMODE(seen.st_mode)
    # a group matters only where others may not use the node
    gid = f",gid={seen.st_gid}" if seen.st_gid and mode & 0o006 != 0o006 else ""
    return f"{gid},mode={mode:04o}"


def _is_gpu(conf: Conf) -> bool:
    return bool(named_nodes(conf)) or any(a.major == NVIDIA_STATIC for a in _numbers(conf))


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
