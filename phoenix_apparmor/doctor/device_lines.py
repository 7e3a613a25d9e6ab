"""Checks of device lines that do nothing: LXC cannot read them, or they are for cgroup v1."""

import re
from collections.abc import Iterator, Sequence

from phoenix_apparmor import containers, lxcdevices, pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, device_access, devices, majors, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcdevices import Allow, PassedOver

FORM = (
    "LXC reads: c 226:* rwm, with one blank in each gap and both numbers (* is all); a comment "
    "only behind all of rwm; and a alone, for every device"
)
# What LXC's common.conf allows every container.
USUAL = (
    *(Allow("c", 1, minor, 2, "") for minor in (3, 5, 7, 8, 9)),
    *(Allow("c", 5, minor, 2, "") for minor in (0, 1, 2)),
    Allow("c", 10, 229, 2, ""),
    Allow("c", 136, None, 2, ""),
)


def findings(host: Host) -> Iterator[Finding]:
    """Of each container that is started."""
    version = reading.cgroup_version(host)
    for conf in reading.confs(host):
        if pveconf.is_template(conf.main):
            continue
        if version != 1:  # there the kernel itself reads the lines of its own version
            passed_over = [p for p in conf.passed_over_devices(host) if p.cgroup == 2]
            yield from _unreadable(host, conf, [p for p in passed_over if not p.node])
            yield from _absent(host, conf, [p for p in passed_over if p.node])
        if version == 2 and conf.denies_devices:
            yield from _of_version_1(host, conf)


def _unreadable(host: Host, conf: Conf, lines: Sequence[PassedOver]) -> Iterator[Finding]:
    if not lines:
        return
    denies = any(not line.allows for line in lines)
    matters = conf.denies_devices or denies
    one = len(lines) == 1
    does = "denies nothing" if denies else "allows nothing"
    said = does if one else "allow and deny nothing" if denies else "allow nothing"
    who = "a device line" if one else f"{len(lines)} device lines"
    yield Finding(
        "warning" if matters else "note",
        f"CT {conf.ctid}: {who} {said}: LXC cannot read {'it' if one else 'them'}, and starts the "
        "container all the same."
        + ("" if matters else " Unprivileged, it may use every device that it is given anyway."),
        "; ".join(_said(conf, line) for line in lines),
        fix=""
        if any(line.setting.file for line in lines)
        else reading.all_of([_mend(host, conf, line) for line in lines]),
        advice=_advice(host, conf, lines),
        ctids=(conf.ctid,),
    )


def _said(conf: Conf, line: PassedOver) -> str:
    return line.setting.said if line.setting.file else f"{conf.path}: {line.setting.said}"


def _is_to_stay(host: Host, conf: Conf, line: PassedOver) -> bool:
    """Whether it should do what it means."""
    meant = lxcdevices.read(line.meant, allows=line.allows) if line.meant else None
    if meant is None or not line.allows:
        return meant is not None
    return conf.denies_devices and not device_access.opens_what_is_the_hosts(host, conf, meant)


def _mend(host: Host, conf: Conf, line: PassedOver) -> str:
    key, value = line.setting.key, line.setting.value
    if _is_to_stay(host, conf, line):
        return conf_edits.rewrite(conf.path, re.escape(key), value, f"{key}: {line.meant}")
    return conf_edits.take_out(conf.path, re.escape(key), value)


def _advice(host: Host, conf: Conf, lines: Sequence[PassedOver]) -> str:
    files = list(dict.fromkeys(line.setting.file for line in lines if line.setting.file))
    said = [f"{FORM}; correct it in {reading.listed(files)}"] if files else []
    if any(line.allows and not _is_to_stay(host, conf, line) for line in lines):
        named = "name the devices that it needs: dev0: /dev/…"
        said += [named] if conf.denies_devices else []
    return "; ".join(said)


def _absent(host: Host, conf: Conf, lines: Sequence[PassedOver]) -> Iterator[Finding]:
    """Lines with the path of a node that is not there: another check tells of those of disks."""
    nodes = [line.node for line in lines]
    needed = [device.node for device in pveconf.devices(conf.main)]
    needed += devices.named_nodes(conf)
    nodes = [n for n in nodes if n not in needed and not device_access.is_disk(host, n)]
    if not nodes or not conf.denies_devices:
        return
    yield Finding(
        "warning",
        f"CT {conf.ctid}: LXC denies it {reading.listed(nodes)}, which this host does not have "
        "now: it asks for the numbers of a path when the container starts.",
        "; ".join(_said(conf, line) for line in lines if line.node in nodes),
        advice="load the driver, or plug the device in, before the container starts; or write its "
        "numbers, such as c 188:* rwm",
        ctids=(conf.ctid,),
    )


def _of_version_1(host: Host, conf: Conf) -> Iterator[Finding]:
    """Lines of version 1, where nothing else opens the same device."""
    allowed = conf.allowed_devices(host)
    works = [*USUAL, *(allow for allow in allowed if allow.works(2) and allow.is_usable)]
    given = [containers.numbers_of(host, device.node) for device in pveconf.devices(conf.main)]
    dead = [
        allow
        for allow in allowed
        if not allow.works(2)
        and allow.is_usable
        and not any(other.opens(allow.kind, allow.major, allow.minor) for other in works)
        and not any(numbers is not None and allow.opens(*numbers) for numbers in given)
        and not majors.is_told(host, conf, allow)
    ]
    if not dead:
        return
    one = len(dead) == 1
    opens = any(_opens(host, conf, allow) for allow in dead)
    files = list(dict.fromkeys(allow.file for allow in dead if allow.file))
    named = "name the devices that it needs: dev0: /dev/…" if opens else ""
    if files:
        named = f"write lxc.cgroup2 there, in {reading.listed(files)}, or {named or 'use dev0:'}"
    yield Finding(
        "warning",
        f"CT {conf.ctid}: {'a device line does' if one else f'{len(dead)} device lines do'} "
        f"nothing ({'it is' if one else 'they are'} for cgroup v1, this host has v2): LXC denies "
        f"a privileged container what {'it allows' if one else 'they allow'}.",
        "; ".join(
            allow.setting.said if allow.file else f"{conf.path}: {allow.setting.said}"
            for allow in dead
        ),
        fix="" if files else reading.all_of([_renew(host, conf, allow) for allow in dead]),
        advice=named,
        ctids=(conf.ctid,),
    )


def _opens(host: Host, conf: Conf, allow: Allow) -> bool:
    line = lxcdevices.read(allow.text.strip())
    return line is None or device_access.opens_what_is_the_hosts(host, conf, line)


def _renew(host: Host, conf: Conf, allow: Allow) -> str:
    key = re.escape(allow.key)
    if _opens(host, conf, allow):
        return conf_edits.take_out(conf.path, key, allow.text)
    line = f"lxc.cgroup2.devices.allow: {allow.text.strip()}"
    return conf_edits.rewrite(conf.path, key, allow.text, line)
