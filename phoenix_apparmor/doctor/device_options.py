"""Checks of devN options that end a start whatever the host has: what Proxmox refuses, or twice.

Facts from pve-container 5 and 6: verify_lxc_dev_string and foreach_passthrough_device
(PVE::LXC::Config), create_passthrough_device_node (PVE::LXC), lxc-pve-autodev-hook; and from LXC's
conf.c, lxc_setup: the mount entries are made before that hook runs.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import lxcsettings, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, devices, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import ENTRY, Entry
from phoenix_apparmor.pveconf import Device


def findings(host: Host) -> Iterator[Finding]:
    """Of each container that is started; after all these fixes each node is given once."""
    for conf in reading.confs(host):
        if not pveconf.is_template(conf.main):
            yield from _refused(host, conf)
            yield from _repeated(conf)
            yield from _clashing(host, conf)


def _refused(host: Host, conf: Conf) -> Iterator[Finding]:
    """Paths that Proxmox does not take."""
    again = pveconf.repeated_devices(conf.main)
    for device in pveconf.bad_devices(conf.main):
        whole = device.node
        is_node = whole.startswith("/dev/") and host.exists(whole)
        options = devices.with_options(device) or devices.access(host, whole)
        drop = f"pct set {conf.ctid} --delete {device.key}"
        if device in again:
            fix = drop  # the other one stays: two for one node would end the start as well
        elif is_node:
            fix = shlex.join(["pct", "set", conf.ctid, f"--{device.key}", whole + options])
        else:
            fix = ""
        yield Finding(
            "error",
            f"CT {conf.ctid} cannot start: Proxmox takes only devices named /dev/…, without . "
            "and .. in their names.",
            f"{conf.path}: {_line(conf, device)}",
            fix=fix,
            advice=""
            if fix
            else f"name the node by its whole path in {device.key}, or remove the option: {drop}",
            ctids=(conf.ctid,),
        )


def _repeated(conf: Conf) -> Iterator[Finding]:
    """Several options for one node."""
    bad = pveconf.bad_devices(conf.main)
    again = [one for one in pveconf.repeated_devices(conf.main) if one not in bad]
    if not again:
        return
    groups = {
        one.node: [d for d in pveconf.devices(conf.main) if d.node == one.node and d not in bad]
        for one in again
    }
    named = [device for group in groups.values() for device in group]
    differs = any(one.options != group[0].options for group in groups.values() for one in group)
    stay = ", ".join(group[0].key for group in groups.values())
    yield Finding(
        "error",
        f"CT {conf.ctid} cannot start: Proxmox makes a node only once, and "
        + "; ".join(f"{_and(group)} are for {node}" for node, group in groups.items())
        + ".",
        f"{conf.path}: {'; '.join(_line(conf, device) for device in named)}",
        fix=f"pct set {conf.ctid} --delete {','.join(device.key for device in again)}",
        advice=f"their options differ: see whether those of {stay} are right" if differs else "",
        ctids=(conf.ctid,),
    )


def _and(group: Sequence[Device]) -> str:
    return " and ".join(device.key for device in group)


class _Clash(NamedTuple):
    device: Device
    entry: Entry


def _clashing(host: Host, conf: Conf) -> Iterator[Finding]:
    """Nodes that a lxc.mount.entry has made when Proxmox' hook makes them."""
    autodev = lxcsettings.last(conf.settings, "lxc.autodev")
    if autodev is not None and autodev.value == "0":
        return  # LXC then runs no such hook
    clashes = [
        _Clash(device, entry)
        for device in pveconf.devices(conf.main)
        for entry in conf.mount_entries
        if _makes(host, entry, device.node)
    ]
    if not clashes:
        return
    entries = list(dict.fromkeys(clash.entry for clash in clashes))
    keys = list(dict.fromkeys(clash.device.key for clash in clashes))
    nodes = list(dict.fromkeys(clash.device.node for clash in clashes))
    same = all(clash.entry.place == clash.device.node for clash in clashes)
    own = not any(entry.setting.file for entry in entries)
    lines = [entry.setting.said for entry in entries]
    drop = f"pct set {conf.ctid} --delete {','.join(keys)}"
    yield Finding(
        "error",
        f"CT {conf.ctid} cannot start: {reading.listed(nodes)} {_are(nodes)} there already, by a "
        f"mount, when Proxmox makes {'it' if len(nodes) == 1 else 'them'} for {', '.join(keys)}.",
        f"{conf.path}: {'; '.join(lines)}",
        # the option gives the same node, and with it the right to open it
        fix=reading.all_of([_take_out(conf, entry) for entry in entries]) if same and own else "",
        advice="" if same and own else _choice(entries, drop, same=same),
        ctids=(conf.ctid,),
    )


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _choice(entries: Sequence[Entry], drop: str, *, same: bool) -> str:
    files = list(dict.fromkeys(entry.setting.file or ".conf" for entry in entries))
    out = f"take the {ENTRY} out of {reading.listed(files)}"
    if same:
        return out
    return f"either {out}, and name in devN options what else of that folder it needs; or: {drop}"


def _take_out(conf: Conf, entry: Entry) -> str:
    return conf_edits.take_out(conf.path, r"lxc\.mount\.entry", entry.setting.value)


def _makes(host: Host, entry: Entry, node: str) -> bool:
    """Whether something is at a node's path after a mount; each /dev begins empty."""
    if entry.place == node:
        return "create=file" in entry.options
    inside = node.removeprefix(f"{entry.place}/")
    return entry.is_bind and inside != node and host.exists(f"{entry.source}/{inside}")


def _line(conf: Conf, device: Device) -> str:
    return f"{device.key}: {conf.option(device.key)}"
