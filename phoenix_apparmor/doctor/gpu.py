"""Checks of NVIDIA devices: nodes that are there, and NVIDIA's hook for LXC.

A container gets a node by Proxmox's devN option, by a bind mount (lxc.mount.entry) with a device
rule by number, or by NVIDIA's own hook for LXC, which mounts all that the container's environment
asks for.
"""

import itertools
from collections.abc import Iterator, Mapping

from phoenix_apparmor import containers, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import devices, majors, nvidia_modprobe, pci, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

ONLY = "name only nodes that this host has"
HOOK = "/usr/share/lxc/hooks/nvidia"
# The hook runs it (libnvidia-container).
HOOK_PROGRAM = "nvidia-container-cli"


def nodes(host: Host) -> Iterator[Finding]:
    """NVIDIA nodes that a configuration names: on the host, and all that CUDA needs."""
    absent: dict[tuple[str, bool], list[str]] = {}
    lacking: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Conf]] = {}
    for conf in reading.confs(host):
        if pveconf.is_template(conf.main):
            continue  # it never starts, and its clones are told of themselves
        named = devices.named_nodes(conf)
        needed = devices.needed_nodes(conf)
        for node in named:
            if not host.exists(node):
                absent.setdefault((node.rstrip("/"), node in needed), []).append(conf.ctid)
        missing = tuple(node for node in devices.CUDA if node not in named)
        # numbers that no longer fit are told, with all nodes in one fix, by another check;
        # NVIDIA's hook gives those that are not named
        hooked = _has_hook(conf) and _asks(conf)
        if (
            any(map(devices.GPU.fullmatch, named))
            and missing
            and conf.is_whole
            and not devices.has_all(conf)
            and not (hooked or majors.has_stale(host, conf))
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


def _absent(host: Host, absent: Mapping[tuple[str, bool], list[str]]) -> Iterator[Finding]:
    """Nodes that the host does not have: those that a command makes, and those that none does.

    absent: (node, whether the container does not start without it) -> CTIDs.
    """
    # no command makes the node of a card that is not there
    cardless = pci.nvidia_cards(host) == []
    makes = {
        node: "" if cardless else nvidia_modprobe.command(host, node) for node, _ in sorted(absent)
    }
    for is_needed, can in itertools.product((True, False), repeat=2):
        named = [n for n in makes if bool(makes[n]) is can and (n, is_needed) in absent]
        if not named:
            continue
        ctids = tuple(dict.fromkeys(ctid for n in named for ctid in absent[n, is_needed]))
        it = "it" if len(named) == 1 else "them"
        files = ", ".join(f"/etc/pve/lxc/{ctid}.conf" for ctid in ctids[:3])
        who = reading.cts(ctids)
        yield Finding(
            "error" if is_needed else "warning",
            f"{reading.listed(named)}: not on the host; "
            + (f"{who} cannot start without {it}." if is_needed else f"{who} should have {it}."),
            f"{named[0]} is missing",
            fix=reading.all_of(list(dict.fromkeys(makes[node] for node in named))),
            advice=f"so that it is there at each boot, enable nvidia-persistenced, or {ONLY}"
            if can
            else f"this host has no NVIDIA card: remove {it} from {files}"
            if cardless
            else f"the driver has no device for {it}: remove {it} from {files}, or add the "
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
        and conf.is_whole
        and not devices.named_nodes(conf)
        and not devices.has_all(conf)
        and not _has_hook(conf)
        and not pveconf.is_template(conf.main)
        and not majors.has_stale(host, conf)  # told with its own fix
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
            else pci.why_no_node(host),
            ctids=tuple(c.ctid for c in without),
        )


def hook(host: Host) -> Iterator[Finding]:
    """NVIDIA's hook for LXC: what it needs on the host, and to be asked for a GPU."""
    found = [conf for conf in reading.confs(host) if _has_hook(conf)]
    if not found:
        return
    ctids = tuple(conf.ctid for conf in found)
    mounting = (s for s in found[0].settings if s.value.split()[:1] == [HOOK])
    where = "; ".join(f"{s.file or found[0].path}: {s.line}" for s in mounting)
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
    return any(
        s.key.startswith("lxc.hook.") and s.value.split()[:1] == [HOOK] for s in conf.settings
    )


def _asks(conf: Conf) -> bool:
    """Whether its environment asks the hook for a GPU, or may: a file was not read."""
    names = "NVIDIA_VISIBLE_DEVICES="
    asked = [s.value for s in conf.settings if s.key == "lxc.environment"]
    asked = [value for value in asked if value.startswith(names)]
    return asked[-1] != names if asked else not conf.is_whole
