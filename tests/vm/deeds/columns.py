"""Under what the deeds are done: our profiles, and Proxmox' own for comparison."""

from __future__ import annotations

from typing import NamedTuple

from tests.names import BASE, DOCKER
from tests.vm.nvidia.driver import MOUNTS

FUSE_AND_TUN = "".join(
    f"lxc.mount.entry: /dev/{name} dev/{name} none bind,create=file 0 0\n"
    for name in ("fuse", "net/tun")
)
# What a privileged container needs for these; without an entry an unprivileged one may all.
DEVICES = "lxc.cgroup2.devices.allow: c 10:229 rwm\nlxc.cgroup2.devices.allow: c 10:200 rwm\n"


class Column(NamedTuple):
    """A container in which all deeds, or those of some files, are done."""

    ctid: int
    key: str
    unprivileged: bool
    assigned: str | None  # by the JSON; None: Proxmox' generated, or what `more` says
    files: tuple[str, ...] = ()  # the deeds of every run; all: with PHOENIX_TEST_DEEDS=all
    more: str = ""

    @property
    def title(self) -> str:
        kind = "unprivileged" if self.unprivileged else "privileged"
        return f"{self.assigned or self.key[2:]}, {kind}"

    @property
    def lines(self) -> str:
        """Of its .conf."""
        devices = "" if self.unprivileged else DEVICES
        return self.more + devices + FUSE_AND_TUN + MOUNTS


# Docker's profile only adds to what the other allows. Dear are the boots, and what starts slowly is
# done now and then only (55-slow-services.sh, 85-slow-containers.sh).
# (Nor could all be done in u-docker: profiles that a container loads for itself see mprotect(2) of
# a file with its name in the lower layer of the overlay that is the root here, so unbound and
# PAM's unix_chkpwd fail. Proxmox' roots are no overlays. Seen on Linux 6.12 and 7.2.)
CONTAINERS = ("40-sandboxes.sh", "80-containers.sh", "90-nvidia.sh")
GENERAL = (
    *("10-kernel.sh", "20-mounts.sh", "30-systemd.sh", "40-sandboxes.sh", "50-services.sh"),
    *("60-network.sh", "70-programs.sh"),
)

OURS = (
    Column(701, "u-base", True, BASE, GENERAL),
    Column(702, "u-docker", True, DOCKER, CONTAINERS),
    Column(703, "p-base", False, BASE, GENERAL),
    Column(704, "p-docker", False, DOCKER, CONTAINERS),
)
NESTING = "features: nesting=1\n"
UNCONFINED = "lxc.apparmor.profile: unconfined\n"
# Dear, and they change only with Debian: measured now and then (PHOENIX_TEST_DEEDS=compare), kept.
OTHERS = (
    Column(705, "u-generated", True, None, more=NESTING),
    Column(706, "p-generated", False, None, more=NESTING),
    Column(707, "u-unconfined", True, None, more=UNCONFINED),
    Column(708, "p-unconfined", False, None, more=UNCONFINED),
)
