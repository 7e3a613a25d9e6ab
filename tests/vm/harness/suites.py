"""Which Debian with which kernel a VM has: the columns of all tests in VMs."""

from __future__ import annotations

import os
from typing import NamedTuple

STOCK_KERNEL = "linux-image-cloud-amd64"


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


# As Debian releases them.
STOCK = ("trixie", "bookworm")
# What Proxmox VE boots from 9.1 on. Newer Linux releases also have another format of compiled
# policy (permission tables), which Debian's own kernels do not know.
PROXMOX_KERNEL = "trixie-6.17"
# Any other, for once: PHOENIX_TEST_KERNEL names a kernel's package, PHOENIX_TEST_DEBIAN a release.
OTHER = "other"


def _suites() -> dict[str, Suite]:
    found = {name: Suite(name) for name in STOCK}
    found[PROXMOX_KERNEL] = Suite("trixie", "linux-image-6.17.13+deb13-cloud-amd64")
    kernel = os.environ.get("PHOENIX_TEST_KERNEL")
    debian = os.environ.get("PHOENIX_TEST_DEBIAN")
    if kernel or debian:
        found[OTHER] = Suite(debian or "trixie", kernel or STOCK_KERNEL)
    return found


SUITES = _suites()
