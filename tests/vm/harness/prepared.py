"""Saved VMs that tests start from: as a Proxmox host, and with our package installed on it."""

from __future__ import annotations

from pathlib import Path

from tests.build import built_deb

from . import cache
from .image import HERE
from .machine import Machine, Snapshot, booted, derived

STANDIN = HERE.parent / "proxmox"
DEB = "/root/phoenix-apparmor.deb"
INSTALL_LOG = "/root/phoenix-apparmor.log"
# apt unpacks and configures, python compiles, the profiles are compiled: all emulated.
INSTALL_TIMEOUT = 300.0


def proxmox(suite: str) -> Snapshot:
    """A host with the Proxmox stand-in, without our package."""
    return derived("proxmox", booted(suite), cache.digest(STANDIN), install_proxmox)


def install_proxmox(machine: Machine) -> None:
    """Makes a VM look like a Proxmox host."""
    machine.push(STANDIN, "/usr/local/lib/phoenix-test/proxmox")
    machine.sh("cd /usr/local/lib/phoenix-test/proxmox && ./install")


def install(machine: Machine, deb: Path) -> str:
    """Installs a .deb in the VM, as an admin does it; what apt printed."""
    machine.push(deb, DEB)
    return machine.run("apt-get", "install", "-y", DEB, timeout=INSTALL_TIMEOUT).output


def installed(suite: str, deb: Path | None = None) -> Snapshot:
    """A host with the stand-in and our package (the tree's, unless another .deb is given)."""
    package = deb or built_deb()

    def prepare(machine: Machine) -> None:
        machine.write(INSTALL_LOG, install(machine, package))

    return derived("installed", proxmox(suite), cache.digest(package), prepare)
