"""Checks of AppArmor itself, and of what its own package ships."""

import os
from collections.abc import Iterator

from phoenix_apparmor import kernel, paths
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

ENABLED = "/sys/module/apparmor/parameters/enabled"
TUNABLES_HOME = paths.APPARMOR_D + "/tunables/home"
SERVICE = "/etc/systemd/system/apparmor.service"


def in_kernel(host: Host) -> Iterator[Finding]:
    """AppArmor on, and its file system there."""
    try:
        listing, why = kernel.listing(host), ""
    except PhoenixError as error:
        listing, why = None, error.what
    if listing is not None:
        yield from _overriding(host)
        return
    if why and (host.root or os.geteuid() == 0):
        yield Finding(
            "unknown",
            "cannot tell which profiles the kernel has.",
            why,
            advice="see what the kernel says: journalctl -k",
        )
        return
    if not host.root and os.geteuid() != 0:
        yield Finding(
            "unknown",
            "cannot tell whether AppArmor is on: only root sees that.",
            f"{paths.KERNEL_PROFILES} cannot be read",
            advice="run it as root: sudo phoenix-apparmor doctor",
        )
        return
    value = (host.read_if_there(ENABLED) or b"").strip()
    if value == b"Y":
        yield Finding(
            "error",
            "AppArmor is on, but securityfs is not mounted, so no profile can be loaded.",
            f"{ENABLED} says Y, {paths.KERNEL_PROFILES} cannot be read",
            "mount -t securityfs securityfs /sys/kernel/security",
        )
        return
    yield Finding(
        "error",
        "AppArmor is off: nothing confines any container.",
        f"{paths.KERNEL_PROFILES} is missing"
        + (f", {ENABLED} says {value.decode()}" if value else ""),
        advice="add apparmor=1 security=apparmor to the kernel command line (/etc/default/grub and "
        "update-grub, or /etc/kernel/cmdline and proxmox-boot-tool refresh), then reboot",
    )


def _overriding(host: Host) -> Iterator[Finding]:
    mode = kernel.overriding_mode(host)
    if mode:
        yield Finding(
            "error",
            f"AppArmor as a whole is in {mode} mode: no profile stops anything, though the kernel "
            "says enforce of each.",
            f"{kernel.GLOBAL_MODE} says {mode}",
            kernel.TO_ENFORCE,
            advice=kernel.OFF_COMMAND_LINE,
        )


def parser(host: Host) -> Iterator[Finding]:
    """apparmor_parser there."""
    if not host.has_program("apparmor_parser"):
        yield Finding(
            "error",
            "apparmor_parser is missing: no profile can be loaded.",
            "it is not on PATH",
            "apt-get install apparmor",
        )


def service(host: Host) -> Iterator[Finding]:
    """apparmor.service loads all profiles at boot."""
    if host.exists(SERVICE) and os.path.realpath(host.path(SERVICE)) == "/dev/null":
        yield Finding(
            "warning",
            "apparmor.service is masked: no profile is loaded at boot, each one only when the "
            "first container that needs it starts.",
            f"{SERVICE} -> /dev/null",
            "systemctl unmask apparmor && systemctl enable --now apparmor",
        )


def tunables_home(host: Host) -> Iterator[Finding]:
    """tunables/home, which old setup scripts overwrote: nearly every profile includes it."""
    text = host.read_if_there(TUNABLES_HOME)
    fix = (
        f"mv {TUNABLES_HOME} /root/tunables-home.old; apt-get install --reinstall "
        "-o Dpkg::Options::=--force-confmiss apparmor && systemctl reload apparmor"
    )
    if text is None:
        if host.exists(paths.APPARMOR_D + "/tunables/global"):
            yield Finding(
                "error",
                "tunables/home is gone: profiles that include <tunables/global> do not compile.",
                f"{TUNABLES_HOME} is missing",
                fix,
            )
        return
    missing = [name for name in ("@{HOMEDIRS}", "@{HOME}") if not _defines(text, name)]
    if missing:
        yield Finding(
            "error",
            "tunables/home was overwritten: profiles that use what it defined do not compile.",
            f"{TUNABLES_HOME} does not set {' and '.join(missing)}",
            fix,
        )


def _defines(text: bytes, name: str) -> bool:
    lines = (line.strip() for line in text.split(b"\n"))
    return any(line.startswith(name.encode()) and b"=" in line for line in lines)
