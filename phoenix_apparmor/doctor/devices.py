"""NVIDIA's nodes: those of the host, those that a configuration names, and pct set for them."""

import os
import re
from collections.abc import Mapping, Sequence

from phoenix_apparmor import pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.host import Host

# What CUDA opens besides /dev/nvidiaN; what its tools open where the host has it.
CUDA = ("/dev/nvidiactl", "/dev/nvidia-uvm")
USEFUL = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
NODE = re.compile(r"/dev/nvidia[\w-]*(?:/[\w-]+)*/?")
# Options of devN (PVE::LXC::Config, $dev_desc); with another one parse_device ends the start.
OPTIONS: Mapping[str, str] = {
    "mode": "0[0-7]{3}",
    "uid": "[0-9]+",
    "gid": "[0-9]+",
    "deny-write": "(?i:0|1|on|off|yes|no|true|false)",
}
GPU = re.compile(r"/dev/nvidia\d+")


def host_nodes(host: Host) -> list[str]:
    """The NVIDIA nodes that the host has and a container needs for CUDA."""
    names = host.names("/dev")
    gpus = [f"/dev/{name}" for name in names if re.fullmatch(r"nvidia\d+", name)]
    return gpus + [node for node in (*CUDA, *USEFUL) if gpus and host.exists(node)]


def named_nodes(conf: Conf) -> list[str]:
    """NVIDIA nodes that a configuration gives its container (dev0:, lxc.mount.entry, an fstab).

    Those too whose devN Proxmox refuses: another check puts that one right, and a second one for
    the same node would end the start.
    """
    found = [device.node for device in pveconf.devices(conf.main)]
    found += [entry.source for entry in conf.mount_entries]
    return list(dict.fromkeys(node for node in found if NODE.fullmatch(node)))


def needed_nodes(conf: Conf) -> list[str]:
    """Those of them without which the container does not start.

    Proxmox looks at the node of each devN option (PVE::LXC, update_lxc_config:
    "Device /dev/… does not exist"), LXC mounts what is not optional.
    """
    found = [device.node for device in pveconf.devices(conf.main)]
    found += [entry.source for entry in conf.mount_entries if entry.must_be_there]
    return [node for node in found if NODE.fullmatch(node)]


def has_all(conf: Conf) -> bool:
    """Whether the host's whole /dev is its own: then a devN option would end its start."""
    return any(entry.is_bind and entry.place == "/dev" for entry in conf.mount_entries)


def single(host: Host, names: Sequence[str]) -> list[str]:
    """names, where a folder of nodes (/dev/nvidia-caps) is replaced by the nodes in it."""
    found: dict[str, None] = {}
    for name in names:
        inside = host.names(name) if _is_folder(host, name) else None
        for node in [name.rstrip("/")] if inside is None else [f"{name}/{n}" for n in inside]:
            found.setdefault(node.replace("//", "/"))
    return list(found)


def _is_folder(host: Host, name: str) -> bool:
    return os.path.isdir(host.path(name))


def set_devices(host: Host, confs: Sequence[Conf], wanted: Sequence[str]) -> str:
    """One pct set a container, with free devN slots and the nodes' own access; "": no node."""
    groups: dict[str, list[str]] = {}
    for conf in confs:
        free = pveconf.free_devices(conf.main)
        options = " ".join(
            f"--dev{number} {node}{access(host, node)}"
            for node, number in zip(single(host, wanted), free, strict=False)
        )
        if options:
            groups.setdefault(options, []).append(conf.ctid)
    return reading.all_of(
        [reading.for_each(ctids, f'pct set "$ct" {options}') for options, ctids in groups.items()]
    )


def taken(device: pveconf.Device) -> list[tuple[str, str]]:
    """Its options as Proxmox takes them: a mode with its 0, and none that it refuses."""
    found = []
    for name, word in device.options:
        lacks_zero = name == "mode" and re.fullmatch("[0-7]{3}", word)
        value = f"0{word}" if lacks_zero else word
        if takes(name, value):
            found.append((name, value))
    return found


def with_options(device: pveconf.Device) -> str:
    """What stands behind the path of a devN option that Proxmox takes, "" if nothing does."""
    return "".join(f",{name}={word}" for name, word in taken(device))


def takes(name: str, word: str) -> bool:
    """Whether Proxmox takes an option of devN."""
    return re.fullmatch(OPTIONS.get(name, "(?!)"), word) is not None


def access(host: Host, node: str) -> str:
    """mode and gid as the node has them on the host: Proxmox makes it 0660 of root without."""
    seen = host.stat(node)
    if seen is None:
        return ",mode=0666"
    mode = seen.st_mode & 0o777  # Proxmox takes no other bits (OPTIONS)
    # a group matters only where others may not use the node
    gid = f",gid={seen.st_gid}" if seen.st_gid and mode & 0o006 != 0o006 else ""
    return f"{gid},mode={mode:04o}"
