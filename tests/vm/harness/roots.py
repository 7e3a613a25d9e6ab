"""The second disk: container roots with systemd and Docker, of both releases.

Mounted read-only at /srv/big in a VM that is resumed with it; /srv/big/trixie is owned by root,
/srv/big/trixie-100000 by the ids of an unprivileged container (idmap at 100000), and the same
for bookworm. Use them as the lower layer of an overlay.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cache
from .image import HERE, command, debootstrap, filesystem
from .machine import ROOTS_SIZE
from .suites import STOCK

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "apparmor",
    "docker.io",
    "docker-compose",
    "iptables",
    "podman",
    "netavark",
    "iproute2",
    "python3-minimal",
    "busybox-static",
    "procps",
    "util-linux",
    "kmod",
    "bubblewrap",
    "bindfs",
)
# Debian 13 has Docker's command and BuildKit's in packages of their own.
MORE = {"trixie": ("docker-cli", "docker-buildx"), "bookworm": ()}

MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "docker.service",
    "docker.socket",
    "containerd.service",
    "systemd-timesyncd.service",
)


def roots() -> Path:
    """The image with the container roots; made if it is not there (a few minutes)."""
    key = cache.digest(HERE / "roots.py", HERE / "image.py")
    return cache.entry("roots", key, _make) / "roots.img"


def _make(folder: Path) -> None:
    def fill(tree: Path) -> None:
        def one(suite: str) -> None:
            cache.say(f"container root {suite}")
            debootstrap(suite, PACKAGES + MORE[suite], tree / suite)
            _configure(tree / suite)
            shifted = tree / f"{suite}-100000"
            command("cp", "-a", str(tree / suite), str(shifted))
            shift(shifted, 100000)

        # Each waits for the mirror and the disk for half of its time.
        with ThreadPoolExecutor() as beside:
            list(beside.map(one, STOCK))

    disk(folder, fill)


def disk(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes folder/roots.img, a disk for container roots, of what fill() puts into a folder."""
    with tempfile.TemporaryDirectory(prefix="tree.", dir=folder) as temporary:
        tree = Path(temporary) / "roots"
        tree.mkdir()
        tree.chmod(0o755)
        fill(tree)
        # The saved VM has an empty disk in this place; only its contents may differ.
        filesystem(tree, folder / "roots.img", ROOTS_SIZE)


def _configure(tree: Path) -> None:
    for name in MASKED:
        link = tree / "etc/systemd/system" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    (tree / "etc/fstab").write_text("")
    (tree / "etc/machine-id").write_text("")
    # Debian 13 has a hundred profiles that name a program and leave it unconfined: loading them
    # into a container's policy namespace is more than half of an emulated boot. Those of programs
    # that are in the container (podman, runc, bwrap) stay.
    for profile in (tree / "etc/apparmor.d").iterdir():
        there = any((tree / "usr" / folder / profile.name).exists() for folder in ("bin", "sbin"))
        if profile.is_file() and not there and "flags=(unconfined)" in profile.read_text():
            profile.unlink()
    for name in ("var/lib/apt/lists", "var/cache/apt", "usr/lib/modules"):
        shutil.rmtree(tree / name, ignore_errors=True)


def shift(tree: Path, by: int) -> None:
    """Add `by` to every owner and group, as an unprivileged container's root has them."""
    for path in (tree, *tree.rglob("*")):
        status = path.lstat()
        os.chown(path, status.st_uid + by, status.st_gid + by, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(status.st_mode & 0o7777)  # chown takes setuid away
