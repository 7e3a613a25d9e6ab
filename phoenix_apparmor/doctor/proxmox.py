"""Checks of what Proxmox must have so that starts come to us: hookscript, drop-in, versions."""

import os
from collections.abc import Iterator

from phoenix_apparmor import containers, paths
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.package import attaching

SYSTEMCTL_SECONDS = 10
DPKG_SECONDS = 30
DROP_IN = "50-phoenix-apparmor.conf"
UNITS = ("pve-container@.service", "pve-container-debug@.service")
REINSTALL = "apt-get install --reinstall phoenix-apparmor"
# Of pve-container's major version: (PVE, first lxc-pve with which runc fixed for CVE-2025-52881
# works under the generated profile).
FIXED = {5: ("8", "6.0.0-2"), 6: ("9", "6.0.5-2")}


def hookscript(host: Host) -> Iterator[Finding]:
    """The script that containers name: there, executable, in a storage that holds snippets."""
    if not containers.is_proxmox(host):
        return
    problem = _not_runnable(host, paths.HOOKSCRIPT)
    if problem:
        yield Finding(
            "error",
            f"the hookscript {problem}: containers that name it do not start.",
            paths.HOOKSCRIPT,
            REINSTALL,
        )
    users: dict[str, list[str]] = {}
    for conf in containers.confs(host):
        volume = conf.option("hookscript")
        if volume is not None and paths.is_our_hookscript(volume):
            users.setdefault(volume.partition(":")[0], []).append(conf.ctid)
    text = (host.read_if_there(attaching.STORAGE_CFG) or b"").decode("utf-8", "replace")
    storages = attaching.storages(text)
    for name, ctids in sorted(users.items()):
        storage = storages.get(name)
        who = f"{reading.cts(ctids)} cannot start"
        if storage is None:
            yield Finding(
                "error",
                f'{who}: there is no storage "{name}" for the hookscript.',
                f"{attaching.STORAGE_CFG} does not name it",
                f"phoenix-apparmor attach {' '.join(ctids)}",
            )
            continue
        if "snippets" not in storage.content:
            content = ",".join((*storage.content, "snippets"))
            yield Finding(
                "error",
                f'{who}: storage "{name}" does not hold snippets.',
                f"{attaching.STORAGE_CFG}: content {','.join(storage.content)}",
                f"pvesm set {name} --content {content}",
            )
        link = attaching.snippet_of(storage)
        wrong = _not_runnable(host, link)
        if wrong:
            yield Finding(
                "error",
                f"{who}: the hookscript {wrong}.",
                link,
                f"mkdir -p {storage.path}/snippets && ln -sfn {paths.HOOKSCRIPT} {link}",
            )


def _not_runnable(host: Host, path: str) -> str:
    """Why Proxmox would not run it ("-f and -x", links count as what they point to)."""
    try:
        target = _follow(host, path)
        if target is None or not os.path.isfile(target):
            return "is missing"
        return "" if os.stat(target).st_mode & 0o111 else "is not executable"
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"


def _follow(host: Host, path: str) -> str | None:
    """Where a path ends below the host's root: an absolute link is one from that root."""
    for _ in range(8):
        full = host.path(path)
        if not os.path.islink(full):
            return full if os.path.lexists(full) else None
        target = os.readlink(full)
        path = target if target.startswith("/") else f"{os.path.dirname(path)}/{target}"
    return None


def attached(host: Host) -> Iterator[Finding]:
    """Managed containers without our hookscript: only the drop-in guards them."""
    if not containers.is_proxmox(host):
        return
    known = reading.assigned(host)
    without = [
        conf.ctid
        for conf in containers.confs(host)
        if conf.ctid in known and conf.option("hookscript") is None
    ]
    if without:
        yield Finding(
            "note",
            f"{reading.cts(without)} {'is' if len(without) == 1 else 'are'} in the JSON, but "
            "without our hookscript. The unit's drop-in guards the starts; .conf follows only "
            "on apply.",
            "no hookscript: in .conf",
            "phoenix-apparmor attach --all",
        )


def drop_in(host: Host) -> Iterator[Finding]:
    """The unit's drop-ins: there, and not masked; without them a reboot from inside is not ours."""
    if not containers.is_proxmox(host):
        return
    for unit in UNITS:
        shipped = f"/usr/lib/systemd/system/{unit}.d/{DROP_IN}"
        if not host.exists(shipped):
            yield Finding(
                "error",
                f"the drop-in of {unit} is missing: a reboot from inside a container and "
                "systemctl start go past us.",
                f"{shipped} is missing",
                REINSTALL,
            )
        for folder in ("/etc/systemd/system", "/run/systemd/system"):
            override = f"{folder}/{unit}.d/{DROP_IN}"
            if not host.exists(override):
                continue
            masked = os.path.realpath(host.path(override)) == "/dev/null"
            yield Finding(
                "warning",
                f"the drop-in of {unit} is {'masked' if masked else 'replaced'}: a reboot from "
                "inside a container and systemctl start may go past us.",
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
    patterns = [unit.replace("@.", "@*.") for unit in UNITS]
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
            "reboot from inside still goes by the old ones.",
            f"NeedDaemonReload=yes: {reading.listed(units)}",
            "systemctl daemon-reload",
        )


def _single_containers(host: Host) -> Iterator[Finding]:
    """A container's own drop-in that empties ExecStartPre."""
    for folder in ("/etc/systemd/system", "/run/systemd/system"):
        for name in host.names(folder):
            if not name.startswith("pve-container@") or name.startswith("pve-container@."):
                continue
            for part in host.names(f"{folder}/{name}"):
                path = f"{folder}/{name}/{part}"
                lines = (host.read_if_there(path) or b"").split(b"\n")
                if any(line.replace(b" ", b"") == b"ExecStartPre=" for line in lines):
                    ctid = name.partition("@")[2].removesuffix(".service.d")
                    yield Finding(
                        "warning",
                        f"CT {ctid} is started without us: its own drop-in empties ExecStartPre.",
                        path,
                        f"rm {path} && systemctl daemon-reload",
                    )


def versions(host: Host) -> Iterator[Finding]:
    """lxc-pve new enough for a runc with the fix of CVE-2025-52881."""
    if not containers.is_proxmox(host):
        return
    from debian.debian_support import Version

    command = ["dpkg-query", f"--admindir={host.path('/var/lib/dpkg')}", "-W"]
    ran = host.run([*command, "-f=${Package} ${Version}\\n", "lxc-pve", "pve-container"],
                   timeout=DPKG_SECONDS)  # fmt: skip
    lines = ran.out.decode("utf-8", "replace").split("\n")
    found = {words[0]: words[1] for words in map(str.split, lines) if len(words) == 2}
    missing = [name for name in ("lxc-pve", "pve-container") if name not in found]
    if missing:
        yield Finding(
            "unknown",
            f"cannot tell the version of {' and '.join(missing)}.",
            f"dpkg-query: {ran.err.strip().splitlines()[0] if ran.err.strip() else 'no version'}",
            "dpkg-query -W lxc-pve pve-container",
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
            f"lxc-pve {found['lxc-pve']}; Proxmox VE {pve} has the fix from {fixed} on",
            "apt update && apt install lxc-pve",
        )
