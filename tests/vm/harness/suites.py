"""Which Debian with which kernel a VM has: the columns of all tests in VMs."""

from __future__ import annotations

import os
from typing import NamedTuple

STOCK_KERNEL = "linux-image-cloud-amd64"
USER_MODE_KERNEL = "user-mode-linux"


class Suite(NamedTuple):
    """What a VM is made of.

    debian: Debian's release; kernel: a package of it, or of its backports.
    """

    debian: str
    kernel: str = STOCK_KERNEL

    @property
    def backports(self) -> bool:
        """Whether the kernel may have to come from there."""
        return self.kernel != STOCK_KERNEL and self.debian in STOCK

    @property
    def emulated(self) -> bool:
        """Whether the kernel runs on a machine of its own, under QEMU; else see uml.py."""
        return self.kernel != USER_MODE_KERNEL


# As Debian releases them.
STOCK = ("trixie", "bookworm")
# What Proxmox VE boots from 9.1 on. Newer Linux releases also have another format of compiled
# policy (permission tables), which Debian's own kernels do not know.
PROXMOX_KERNEL = "trixie-6.17"
# Quick ones for what tests our logic, with the programs (LXC, AppArmor's parser, Python, systemd)
# of both releases.
USER_MODE = "uml"
USER_MODE_12 = "uml-12"
PROGRAMS = (USER_MODE, USER_MODE_12)
# For what asks something of the kernel too: with an emulated processor and its kernel as well.
LOGIC = (USER_MODE, "bookworm")
# The programs of both releases, those of Debian 13 with the kernel of Proxmox.
RELEASES_AND_KERNEL = (USER_MODE_12, PROXMOX_KERNEL)
# The oldest kernel and the newest, with the programs of both releases. (What Debian 13 boots is
# between the two, and no Proxmox host has it: attacks are tried on it, and policies compared.)
KERNELS = ("bookworm", PROXMOX_KERNEL)
PROGRAMS_AND_KERNELS = (*PROGRAMS, *KERNELS)
# For what is about how kernels differ.
LOGIC_AND_KERNEL = (*LOGIC, PROXMOX_KERNEL)
# Any other, for once: PHOENIX_TEST_KERNEL names a kernel's package, PHOENIX_TEST_DEBIAN a release.
OTHER = "other"
# Its VM compiles each policy itself, as a host does: see policies.py.
COMPILE = (OTHER,)


def _suites() -> dict[str, Suite]:
    found = {name: Suite(name) for name in STOCK}
    found[PROXMOX_KERNEL] = Suite("trixie", "linux-image-6.17.13+deb13-cloud-amd64")
    found[USER_MODE] = Suite("trixie", USER_MODE_KERNEL)
    found[USER_MODE_12] = Suite("bookworm", USER_MODE_KERNEL)
    kernel = os.environ.get("PHOENIX_TEST_KERNEL")
    debian = os.environ.get("PHOENIX_TEST_DEBIAN")
    if kernel or debian:
        found[OTHER] = Suite(debian or "trixie", kernel or STOCK_KERNEL)
    return found


SUITES = _suites()
# What every module runs on that does not say otherwise (ONLY_SUITES).
EMULATED = tuple(name for name, suite in SUITES.items() if suite.emulated and name != OTHER)
