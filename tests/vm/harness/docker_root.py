"""A second disk with one small container root: busybox's init that starts Docker, nothing else.

For the demo, on a machine that has nothing yet: made in half a minute, as no package is configured.
At /srv/big/docker-100000 in the VM, owned by the ids of an unprivileged container.
"""

from __future__ import annotations

from pathlib import Path

from . import cache
from .image import HERE, debootstrap
from .roots import disk, shift

PACKAGES = ("docker.io", "docker-cli", "busybox-static", "bash", "coreutils", "tar")
# Where people put Docker's data when the root file system is too small for it.
DATA = "data/docker"
INITTAB = f"""\
::sysinit:/bin/busybox mount -t cgroup2 none /sys/fs/cgroup
::sysinit:/bin/busybox mount -t tmpfs none /run
::respawn:/usr/bin/env PATH=/usr/sbin:/usr/bin /usr/sbin/dockerd --data-root /{DATA} \
--bridge=none --iptables=false --ip6tables=false --ip-forward=false
::ctrlaltdel:/sbin/reboot
"""


def docker_root() -> Path:
    """The image; made if it is not there."""
    key = cache.digest(Path(__file__), HERE / "roots.py", HERE / "image.py")
    return cache.entry("docker-root", key, _make) / "roots.img"


def _make(folder: Path) -> None:
    disk(folder, _fill)


def _fill(tree: Path) -> None:
    root = tree / "docker-100000"
    debootstrap("trixie", PACKAGES, root, "--variant=extract")
    (root / DATA).mkdir(parents=True)
    (root / "etc/inittab").write_text(INITTAB)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\ndocker:x:999:\n")
    for name in ("sbin/init", "sbin/reboot", "bin/sh"):
        link = root / "usr" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/bin/busybox")
    shift(root, 100000)
