"""Saved VMs that tests start from: as a Proxmox host, and with our package installed on it."""

from __future__ import annotations

from pathlib import Path

from phoenix_apparmor.assignments.parse import assignments
from tests.build import built_deb

from . import cache, policies
from .errors import VmError
from .image import HERE
from .machine import Machine, Snapshot, booted, derived

STANDIN = HERE.parent / "proxmox"
DEB = "/root/phoenix-apparmor.deb"
INSTALL_LOG = "/root/phoenix-apparmor.log"
# apt unpacks and configures, python compiles, on one suite the profiles are compiled: emulated.
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
    host = proxmox(suite)
    compiled = policies.compiled(host, package)

    def prepare(machine: Machine) -> None:
        if compiled:
            policies.put(machine, compiled)
        machine.write(INSTALL_LOG, install(machine, package))
        if compiled and policies.kept(machine) != policies.kept_in(compiled):
            raise VmError(f"the {suite} VM compiled what was compiled for it: {compiled}")

    key = cache.digest(package, compiled.parent.name if compiled else "")
    return derived("installed", host, key, prepare)


def precompile(machine: Machine, document: str) -> None:
    """Has the profiles compiled that containers of a JSON need beside ours, before they start.

    For the package of this tree. Nothing where the VM is to compile them itself.
    """
    entries = assignments(document.encode()).values()
    if not any(entry.trial or entry.rules for entry in entries):
        return
    _precompile(machine, policies.Wanted(document))


def write_policy(machine: Machine, file: str, text: str) -> None:
    """Writes a file of /etc/apparmor.d or local/ there, of a profile's name, and as precompile."""
    machine.write(file, text)
    # For the parser's cache, which is taken only if it is the newer one.
    machine.run("touch", "-d", "2020-01-01", file)
    _precompile(machine, policies.Wanted(file=file, text=text))


def _precompile(machine: Machine, wanted: policies.Wanted) -> None:
    compiled = policies.compiled(proxmox(machine.suite), built_deb(), wanted)
    if compiled:
        policies.put(machine, compiled)
