"""Container engines inside a container: Docker, containerd, podman. Pure."""

import re

from phoenix_apparmor.assignments import places
from phoenix_apparmor.denials import mounts
from phoenix_apparmor.denials.message import Denial

_PROGRAMS = re.compile(
    r"(?:dockerd?|docker-(?:init|proxy)|containerd(?:-shim.*)?|runc(?::.*)?|crun|netavark|"
    r"aardvark-dns|podman|conmon|buildkitd|buildah|skopeo|fuse-overlayfs|slirp4netns|pasta)\Z"
)
# Names in /run/netns that CNI plugins (cni-UUID) and podman (netns-UUID) give; the folder itself
# and other names are those of ip(8) and systemd.
_FOLDERS = re.compile(
    r"/var/lib/(?:docker|containerd|containers)/|/run/(?:docker|containerd|crun|runc|containers)/"
    r"|/run/netns/(?:cni|netns)-[0-9a-f]{8}-|/run/user/\d+/(?:netns|containers|crun|runc)/"
)
# Podman's: /var/lib/containers, below it storage with drivers and cache with blobs.
_PODMAN = re.compile(r"(?P<root>/var/lib/containers|/.*?/containers(?=/(?:storage|cache)/))/")
# The first folder of a storage driver, a snapshotter or a runtime below an engine's data.
_DATA = re.compile(
    r"(?P<root>/.+?)(?:/storage)?/(?:overlay2|overlay|overlay-containers|overlay-layers|vfs|btrfs|"
    r"aufs|zfs|fuse-overlayfs|rootfs|containers|image|buildkit|volumes|io\.containerd\.[^/]+)/"
)


def is_engine(denial: Denial) -> bool:
    """Whether an engine did it, or it was in an engine's folders."""
    if denial.operation in ("mount", "umount", "pivotroot") and _FOLDERS.match(denial.get("name")):
        return True
    return not denial.is_of_target and _PROGRAMS.match(denial.get("comm")) is not None


def is_sandbox_of_programs(denial: Denial) -> bool:
    """Whether bubblewrap builds a root, of which rules allow the mounts and not what follows."""
    mounts_something = denial.operation in ("mount", "umount", "pivotroot")
    return mounts_something and denial.get("comm") == "bwrap"


# What engines mount in the roots of their containers, beside binds; other types are somebody's.
_TYPES = frozenset(
    ("", "overlay", "fuse-overlayfs", "fuse.fuse-overlayfs", "tmpfs", "proc", "sysfs", "cgroup",
     "cgroup2", "mqueue", "devpts", "btrfs", "zfs")
)  # fmt: skip


def root_of(denial: Denial) -> str:
    """The folder of an engine's data in which it is refused to mount, "" if it is none.

    Whoever is root inside can call itself by an engine's name, and chooses the folder.
    """
    if denial.operation != "mount" or not _PROGRAMS.match(denial.get("comm")):
        return ""
    mount = mounts.read(denial)
    if mount.fstype not in _TYPES or places.is_kernels(mount.source):
        return ""
    writable = "remount" in mount.flags and not {"bind", "ro"} <= mount.flags
    name = denial.get("name")
    match = None if writable else _PODMAN.match(name) or _DATA.match(name)
    return match["root"] if match else ""
