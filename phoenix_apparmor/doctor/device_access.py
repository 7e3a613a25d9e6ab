"""Checks of which devices of the host containers may open: disks, memory, all of them, or none.

What decides is the list that LXC gives the kernel (cgroup2_devices.c), the node's owner and mode,
and for making nodes or opening memory a capability that only counts where ids are not mapped
(mknod(2); drivers/char/mem.c, open_port). So lines by number open something only in a container
without a user namespace; in one with it, only nodes that it is given: Proxmox gives a devN to root
inside (create_passthrough_device_node), a bind mount shows the node as it is.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence

from phoenix_apparmor import containers, lxcdevices, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, majors, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcdevices import Allow, Line
from phoenix_apparmor.pveconf import Device

# How disks, their partitions and volumes are called, for a host that has not got them now.
_DISK = re.compile(
    r"/dev/(?:(?:sd|vd|xvd|hd)[a-z]+\d*|nvme\d+n\d+(?:p\d+)?|mmcblk\d+(?:p\d+)?|md\d+|dm-\d+|zd\d+"
    r"|(?:mapper|disk/by-[\w-]+|zvol|md|pve)/(?!control\Z).+)"
)
# Linux' Documentation/admin-guide/devices.txt: numbers of character devices.
MEMORY = ((1, 1), (1, 4))  # mem, port
SCSI_GENERIC = 21
NULL = (1, 3)
LIKE_UNPRIVILEGED = (
    "Proxmox includes LXC's userns.conf, with which it keeps every capability and device"
)
MOUNTS = "/proc/mounts"


def opened(host: Host, privileged: Sequence[Conf]) -> Iterator[Finding]:
    """What lines by number open to containers without a user namespace."""
    version = reading.cgroup_version(host)
    groups: dict[str, list[tuple[Conf, list[Allow]]]] = {}
    for conf in privileged:
        if not conf.has_user_namespace:
            for what, lines in _by_lines(host, conf, version).items():
                groups.setdefault(what, []).append((conf, lines))
    yield from (_may_use(what, each) for what, each in groups.items())


def _by_lines(host: Host, conf: Conf, version: int | None) -> dict[str, list[Allow]]:
    """What may be used -> the lines that say so; none of what LXC's own files do."""
    usable = [a for a in conf.allowed_devices(host) if a.works(version) and a.is_usable]
    wide = [allow for allow in usable if allow.is_all]
    found: dict[str, list[Allow]] = {}
    if wide:
        found[_all_of_kind(conf, {allow.kind for allow in wide})] = wide
    elif not conf.denies_devices:
        found[_all_of_kind(conf, {"a"})] = []  # by LXC's userns.conf, and no ids are mapped
    for allow in usable:
        what = "" if allow in wide else _by_number(host, conf, allow)
        if what:
            found.setdefault(what, []).append(allow)
    for setting, line in lxcdevices.named(conf.settings):
        # LXC takes the numbers that the node has when the container starts
        absent = line.node and containers.numbers_of(host, line.node) is None
        cgroup = 2 if setting.key.startswith("lxc.cgroup2.") else 1
        allow = Allow("b", 0, 0, cgroup, setting.value, line.access, setting.file)
        if absent and is_disk(host, line.node) and allow.works(version) and allow.is_usable:
            what = f"{line.node}, with all that is on it, when this host has it"
            found.setdefault(what, []).append(allow)
    return found


def _may_use(what: str, each: Sequence[tuple[Conf, Sequence[Allow]]]) -> Finding:
    files = list(dict.fromkeys(a.file for _, allowed in each for a in allowed if a.file))
    fixes = [
        conf_edits.take_out(conf.path, re.escape(allow.key), allow.text)
        for conf, allowed in each
        for allow in allowed
    ]
    conf, lines = each[0]
    advice = "name the devices that it needs: dev0: /dev/…"
    if files:
        advice = f"{reading.take_out('those lines', files)}; {advice}"
    if lines:
        said = lines[0].setting.said
        evidence = said if lines[0].file else f"{conf.path}: {said}"
    else:
        evidence = f"{conf.path}: unprivileged: 1, but no ids are mapped; {LIKE_UNPRIVILEGED}"
        advice = "give it maps of ids (lxc.idmap)"
    ctids = tuple(conf.ctid for conf, _ in each)
    return Finding(
        "warning",
        f"{reading.cts(ctids)}: privileged, and may use {what}.",
        evidence,
        fix="" if files else reading.all_of(fixes),
        advice=advice,
        ctids=ctids,
    )


def _all_of_kind(conf: Conf, kinds: set[str]) -> str:
    memory = " and its memory" if conf.capabilities.has("sys_rawio") else ""
    if "a" in kinds or kinds == {"b", "c"}:
        return f"every device, the host's disks{memory} too"
    if kinds == {"b"}:
        return "every block device, the host's disks too"
    return f"every character device, the host's consoles{memory} too"


def opens_what_is_the_hosts(host: Host, conf: Conf, line: Line) -> bool:
    """Whether a device line, in a container without a user namespace, opens such a device."""
    if line.node:
        return is_disk(host, line.node)
    allow = Allow(line.kind, line.major, line.minor, 2, "", line.access)
    return allow.is_all or bool(_by_number(host, conf, allow))


def _by_number(host: Host, conf: Conf, allow: Allow) -> str:
    """What a line for one driver or device opens that is the host's, "" if nothing that matters."""
    numbers = f"{allow.major if allow.major is not None else '*'}:"
    numbers += "*" if allow.minor is None else f"{allow.minor}"
    if allow.kind in ("a", "b"):
        drivers = majors.block_majors(host).get(allow.major or -1, ())
        named = f", {', '.join(drivers)}" if drivers else ""
        return f"block devices of the host by number (b {numbers}{named}), with all that is on them"
    if allow.major == SCSI_GENERIC:
        return f"the host's disks by number (c {numbers}, /dev/sg*)"
    memory = any(major == allow.major and allow.minor in (None, minor) for major, minor in MEMORY)
    if memory and conf.capabilities.has("sys_rawio"):
        return f"the host's memory by number (c {numbers})"
    return ""


def findings(host: Host) -> Iterator[Finding]:
    """Disks of the host's that a container is given, and lines that take every device away."""
    assigned = reading.assigned(host)
    for conf in reading.confs(host):
        if pveconf.is_template(conf.main):
            continue
        if conf.ctid in assigned:
            yield from _disks(host, conf)
        yield from _denied(host, conf)


def _disks(host: Host, conf: Conf) -> Iterator[Finding]:
    """Nodes of disks that root in it may open; a volume that Proxmox mounts is none."""
    in_use: dict[bool, list[tuple[str, str, str]]] = {}
    for device in pveconf.devices(conf.main):
        if device not in pveconf.bad_devices(conf.main) and is_disk(host, device.node):
            does = "reads" if _is_read_only(device) else "reads and writes"
            line = f"{device.key}: {conf.option(device.key)}"
            used = _is_used(host, device.node)
            in_use.setdefault(used, []).append((device.node, line, does))
    # by a bind mount it is still root of the host's
    if conf.has_user_namespace and not conf.is_unprivileged:
        for entry in conf.mount_entries:
            if entry.is_bind and is_disk(host, entry.source):
                does = "reads" if "ro" in entry.options else "reads and writes"
                used = _is_used(host, entry.source)
                found = (entry.source, entry.setting.said, does)
                in_use.setdefault(used, []).append(found)
    for used, each in in_use.items():
        nodes = [node for node, _, _ in each]
        does = max((does for _, _, does in each), key=len)
        whose = ", which this host has in use" if used else ""
        keys = [line.partition(":")[0] for _, line, _ in each if line.startswith("dev")]
        out = f"pct set {conf.ctid} --delete {','.join(keys)}" if keys else "take that line out"
        yield Finding(
            "warning" if used else "note",
            f"CT {conf.ctid}: root in it {does} {reading.listed(nodes)}{whose}, past every file "
            "system and profile.",
            "; ".join(line if line.startswith("/") else f"{conf.path}: {line}"
                      for _, line, _ in each),
            advice="unless the whole disk is meant for it, give it a folder or a volume (mpN) "
            f"instead: {out}",
            ctids=(conf.ctid,),
        )  # fmt: skip


def _is_read_only(device: Device) -> bool:
    return any(key == "deny-write" and pveconf.is_true(word) for key, word in device.options)


def is_disk(host: Host, node: str) -> bool:
    """Whether a node is a block device; by its name where the host does not have it."""
    seen = host.stat(node) if node.startswith("/dev/") else None
    if seen is not None and stat.S_ISCHR(seen.st_mode):
        return False
    return (seen is not None and stat.S_ISBLK(seen.st_mode)) or bool(_DISK.fullmatch(node))


def _is_used(host: Host, node: str) -> bool:
    """Whether this host mounts a disk or a part of it, or something is made of it (LVM, RAID)."""
    real = os.path.realpath(host.path(node)).removeprefix(host.root)
    name = real.rpartition("/")[2]
    parts = [part for part in host.names(f"/sys/class/block/{name}") if part.startswith(name)]
    text = (host.read_if_there(MOUNTS) or b"").decode("utf-8", "replace")
    mounted = {line.split(" ")[0] for line in text.split("\n")}
    held = any(host.names(f"/sys/class/block/{part}/holders") for part in (name, *parts))
    return held or bool(mounted & {node, real, *(f"/dev/{part}" for part in parts)})


def _denied(host: Host, conf: Conf) -> Iterator[Finding]:
    """A line that denies all devices: it takes back what LXC and Proxmox allowed before it."""
    version = reading.cgroup_version(host)
    line = lxcdevices.denies_all(conf.settings, version)
    if line is None:
        return
    left = [a for a in conf.allowed_devices(host) if a.works(version) and a.is_usable]
    if any(allow.opens("c", *NULL) for allow in left):
        return
    given = [device.key for device in pveconf.devices(conf.main)]
    own = f", and that of {', '.join(given)}" if given else ""
    yield Finding(
        "warning",
        f"CT {conf.ctid}: {line.line} takes back every device that was allowed before it: LXC's "
        f"own list, with /dev/null{own}. Nothing in it can open them.",
        line.said if line.file else f"{conf.path}: {line.said}",
        fix="" if line.file else conf_edits.take_out(conf.path, re.escape(line.key), "a"),
        advice=f"take that line out of {line.file}" if line.file else "",
        ctids=(conf.ctid,),
    )
