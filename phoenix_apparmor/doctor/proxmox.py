"""Checks of what Proxmox must have so that starts come to us: hookscript, drop-in, versions."""

import json
from collections.abc import Iterator

from phoenix_apparmor import containers, paths, startways
from phoenix_apparmor.doctor import messages, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.doctor.lock_messages import MOUNTED
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.package import attaching
from phoenix_apparmor.policy import conffiles

SYSTEMCTL_SECONDS = 10
MEMBERS = paths.MEMBERS
COROSYNC = "/etc/pve/corosync.conf"
REINSTALL = "apt-get install --reinstall phoenix-apparmor"
# Whether the drop-in is in force, and what that means.
GUARDS = {
    True: "The unit's drop-in guards the starts; only apply changes .conf.",
    False: "The unit's drop-in is not in force either: nothing guards the starts.",
    None: "Whether the unit's drop-in guards the starts is unknown.",
}
# Of pve-container's major version: (PVE, first lxc-pve with which runc fixed for CVE-2025-52881
# works under the generated profile).
FIXED = {5: ("8", "6.0.0-2"), 6: ("9", "6.0.5-2")}


def hookscript(host: Host) -> Iterator[Finding]:
    """The script that containers name: there, and executable, where Proxmox looks for it."""
    if not containers.is_proxmox(host):
        return
    problem = startways.not_runnable(host, paths.HOOKSCRIPT)
    if problem:
        yield Finding(
            "error",
            f"the hookscript {problem}: containers that name it do not start.",
            paths.HOOKSCRIPT,
            REINSTALL,
        )
    users: dict[str, list[str]] = {}
    for conf in reading.confs(host):
        volume = conf.option("hookscript")
        if volume is not None and paths.is_our_hookscript(volume):
            users.setdefault(volume.partition(":")[0], []).append(conf.ctid)
    for name, ctids in sorted(users.items()):
        yield from _in_storage(host, name, ctids)


def _in_storage(host: Host, name: str, ctids: list[str]) -> Iterator[Finding]:
    who = f"{reading.cts(ctids)} cannot start"
    try:
        storage = attaching.check_storage(host, name)
    except PhoenixError as error:
        known = reading.managed(host)
        ours = [ctid for ctid in ctids if ctid in known]
        others = [ctid for ctid in ctids if ctid not in known]
        fixes = [f"phoenix-apparmor attach {' '.join(ours)}"] if ours else []
        if others:
            fixes.append(reading.for_each(others, 'pct set "$ct" --delete hookscript'))
        yield Finding(
            "error",
            f"{who}: {error.what}",
            f"hookscript: {attaching.volume_of(name)}",
            fix=reading.all_of(fixes),
            ctids=tuple(ctids),
        )
        return
    wrong = startways.not_runnable(host, storage.snippet)
    if wrong and not startways.not_runnable(host, paths.HOOKSCRIPT):
        yield Finding(
            "error",
            f"{who}: the hookscript {wrong}.",
            storage.snippet,
            fix=attaching.link_command(storage),
            ctids=tuple(ctids),
        )


def quorum(host: Host) -> Iterator[Finding]:
    """Without quorum /etc/pve is read-only and pct refuses nearly everything."""
    if containers.is_unmounted(host):
        yield Finding(
            "error",
            "Proxmox's /etc/pve is not mounted: no container can be started or configured.",
            f"there is no {MEMBERS}",
            advice="see: systemctl status pve-cluster",
        )
        return
    try:
        members = json.loads(host.read_if_there(MEMBERS) or b"{}")
        # Without corosync there is no cluster in it, though there is one.
        alone = not members or not host.exists(COROSYNC)
        quorate = members.get("cluster", {}).get("quorate", 1 if alone else None)
    except (ValueError, AttributeError):
        yield Finding("unknown", "cannot tell whether the cluster has quorum.", MEMBERS)
        return
    if quorate is None:
        yield Finding(
            "unknown",
            "cannot tell whether the cluster has quorum: corosync says nothing.",
            MEMBERS,
            advice="see: systemctl status corosync",
        )
    elif not quorate:
        yield Finding(
            "error",
            "the cluster has no quorum: no container starts, and nothing in /etc/pve can be "
            "changed.",
            f'{MEMBERS}: "quorate": 0',
            advice="bring the other nodes back; see: pvecm status",
        )


def locked(host: Host) -> Iterator[Finding]:
    """A lock in .conf (backup, snapshot, …): pct start, set and stop refuse."""
    found: dict[str, list[str]] = {}
    for conf in reading.confs(host):
        lock = conf.option("lock")
        if lock:
            found.setdefault(lock, []).append(conf.ctid)
    for lock, ctids in found.items():
        line = f"CT is locked ({lock})"
        message = messages.meaning(line)
        refuse = "pct set refuses" if lock == MOUNTED else "pct start and pct set refuse"
        yield Finding(
            "note",
            f"{reading.cts(ctids)}: locked ({lock}): {refuse} until the task ends.",
            f"{paths.conf(ctids[0])}: lock: {lock}",
            advice="" if message is None else messages.told(message, line, ctids[0]),
            ctids=tuple(ctids),
        )


def attached(host: Host) -> Iterator[Finding]:
    """Managed containers without our hookscript: only the drop-in guards them, if it does."""
    if not containers.is_proxmox(host):
        return
    known = reading.assigned(host)
    without: dict[bool | None, list[str]] = {}
    for conf in reading.confs(host):
        if conf.ctid in known and conf.option("hookscript") is None:
            without.setdefault(startways.of(host, conf).drop_in, []).append(conf.ctid)
    for guarded, ctids in without.items():
        yield Finding(
            "warning" if guarded is False else "note",
            f"{reading.cts(ctids)} {'is' if len(ctids) == 1 else 'are'} in the JSON, but "
            f"without our hookscript. {GUARDS[guarded]}",
            f"{paths.conf(ctids[0])} has no hookscript:",
            f"phoenix-apparmor attach {' '.join(ctids)}",
            ctids=tuple(ctids),
        )


def drop_in(host: Host) -> Iterator[Finding]:
    """The unit's drop-ins: there, and not masked; without them a reboot from inside is not ours."""
    if not containers.is_proxmox(host):
        return
    for unit in startways.UNITS:
        shipped = f"{startways.SHIPPED}/{unit}.d/{startways.DROP_IN}"
        if not host.exists(shipped):
            yield Finding(
                "error",
                f"the drop-in of {unit} is missing: a reboot from inside a container and "
                "systemctl start bypass phoenix-apparmor.",
                f"{shipped} is missing",
                REINSTALL,
            )
        for override in startways.overrides(host, unit):
            masked = startways.is_masked(host, override)
            yield Finding(
                "warning",
                f"the drop-in of {unit} is {'masked' if masked else 'replaced'}: a reboot from "
                "inside a container and systemctl start may bypass phoenix-apparmor.",
                f"{override}{' -> /dev/null' if masked else ' is there'}",
                f"rm {override} && systemctl daemon-reload",
            )
    yield from _single_containers(host)
    yield from _unread(host)


def _unread(host: Host) -> Iterator[Finding]:
    """Files of running containers' units that changed since systemd read them.

    systemctl show names only units that are loaded; each block of its output is one.
    """
    if not host.exists("/run/systemd/system") or not host.has_program("systemctl"):
        return
    patterns = [unit.replace("@.", "@*.") for unit in startways.UNITS]
    command = ["systemctl", "show", "--property=Id,NeedDaemonReload", *patterns]
    ran = host.run(command, timeout=SYSTEMCTL_SECONDS)
    blocks = [block.split("\n") for block in ran.out.decode("utf-8", "replace").split("\n\n")]
    units = sorted(
        line.removeprefix("Id=")
        for block in blocks
        if "NeedDaemonReload=yes" in block
        for line in block
        if line.startswith("Id=")
    )
    if units:
        yield Finding(
            "warning",
            "systemd has not read the units of running containers since their files changed: a "
            "reboot from inside still uses the old ones.",
            f"NeedDaemonReload=yes: {reading.listed(units)}",
            "systemctl daemon-reload",
        )


def _single_containers(host: Host) -> Iterator[Finding]:
    """A container's own drop-in that empties ExecStartPre."""
    names = {name for folder in startways.OVERRIDES for name in host.names(folder)}
    for name in sorted(n for n in names if n.startswith("pve-container@") and n.endswith(".d")):
        ctid = name.partition("@")[2].removesuffix(".service.d")
        for path in startways.of_one(host, ctid) if ctid else ():
            yield Finding(
                "warning",
                f"CT {ctid} starts without phoenix-apparmor: its own drop-in empties ExecStartPre.",
                path,
                f"rm {path} && systemctl daemon-reload",
                ctids=(ctid,) if paths.is_ctid(ctid) else (),
            )


def versions(host: Host) -> Iterator[Finding]:
    """lxc-pve new enough for a runc with the fix of CVE-2025-52881."""
    if not containers.is_proxmox(host):
        return
    from debian.debian_support import Version

    packages = ["lxc-pve", "pve-container"]
    ran = conffiles.query(host, ["-W", "-f=${Package} ${Version}\\n", *packages])
    lines = ran.out.decode("utf-8", "replace").split("\n")
    found = {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}
    missing = [name for name in ("lxc-pve", "pve-container") if name not in found]
    if missing:
        yield Finding(
            "unknown",
            f"cannot tell the version of {' and '.join(missing)}.",
            f"dpkg-query: {ran.err.strip().splitlines()[0] if ran.err.strip() else 'no version'}",
            advice="see: dpkg-query -W lxc-pve pve-container",
        )
        return
    major = found["pve-container"].partition(".")[0]
    if not major.isdigit() or int(major) not in FIXED:
        if major.isdigit() and int(major) > max(FIXED):
            return  # a later Proxmox VE began with a fixed one
        yield Finding(
            "unknown",
            "cannot tell whether lxc-pve is new enough: this is neither Proxmox VE 8 nor 9.",
            f"pve-container {found['pve-container']}",
        )
        return
    pve, fixed = FIXED[int(major)]
    if Version(found["lxc-pve"]) < Version(fixed):
        yield Finding(
            "warning",
            "lxc-pve is too old for current Docker: under the generated profile runc fails with "
            '"open sysctl net.ipv4.ip_unprivileged_port_start: permission denied".',
            f"lxc-pve {found['lxc-pve']}; fixed in {fixed} (Proxmox VE {pve})",
            "apt-get update && apt-get install lxc-pve",
        )
