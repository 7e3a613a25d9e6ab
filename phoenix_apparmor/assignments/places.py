"""File systems and places of which a mount matters to the host. Pure."""

import re

# What the host's kernel shows of itself; mounted elsewhere, the denies by path do not know it.
KERNEL_VIEWS = (
    "proc", "sysfs", "debugfs", "tracefs", "securityfs", "configfs", "bpf", "pstore", "efivarfs",
    "devtmpfs", "binfmt_misc", "nfsd", "resctrl", "cgroup", "cgroup2",
)  # fmt: skip
# Where systems mount some of them, and where the denies by path know them: our profiles allow it.
_USUAL = {
    "proc": re.compile(r"/proc/"),
    "sysfs": re.compile(r"/sys/"),
    "cgroup": re.compile(r"/sys/fs/cgroup/.*"),
    "cgroup2": re.compile(r"/sys/fs/cgroup/.*"),
}
# File systems of a disk, which the kernel reads itself.
DISKS = (
    "adfs", "affs", "bcachefs", "befs", "bfs", "btrfs", "cramfs", "efs", "erofs", "exfat", "ext2",
    "ext3", "ext4", "f2fs", "gfs2", "hfs", "hfsplus", "hpfs", "iso9660", "jffs2", "jfs", "minix",
    "msdos", "nilfs2", "ntfs", "ntfs3", "ocfs2", "omfs", "qnx4", "qnx6", "reiserfs", "romfs",
    "squashfs", "sysv", "ubifs", "udf", "ufs", "vfat", "xfs", "zonefs",
)  # fmt: skip
# Why a disk should not be mounted inside.
WHY_NO_DISK = (
    "the host's kernel would read a disk that the container can write; a crafted file system "
    "attacks the kernel"
)
# A device, but for LXC's own files there and what FUSE calls its source.
NODE = re.compile(r"/dev/(?!\.lxc|fuse\Z)")
# Folders there; what else is in /dev itself is a device.
_OF_NODES = re.compile(
    r"/dev/(?:block|bus|char|cpu|disk|dri|fd|hugepages|input|mapper|mqueue|net|nvidia-caps[\w-]*|pts"
    r"|shm|snd|usb|vfio)/?\Z"
)
# Of each, places that a pattern can mean.
KERNEL = (
    "/proc/", "/proc/sys/", "/proc/sys/kernel/", "/proc/sysrq-trigger", "/sys/", "/sys/kernel/",
    "/sys/module/", "/sys/firmware/", "/dev/.lxc/", "/dev/.lxc/proc/", "/dev/.lxc/sys/",
)  # fmt: skip
# Namespace files (ip netns, podman): AppArmor calls their source "/".
NAMESPACES = re.compile(r"/netns/[^/]+\Z")
# Folders of a system as a whole, which hold more than one program's data.
WIDE = frozenset(
    f"/{folder}{end}"
    for folder in ("", "home/", "media/", "mnt/", "opt/", "root/", "run/", "srv/", "tmp/", "var/",
                   "var/lib/", "var/tmp/", "usr/", "etc/", "dev/")
    for end in ("**", "{,**}", "**/", "{,**/}")
)  # fmt: skip
# Where one might mount something: a folder of each kind that profiles tell apart.
USUAL = tuple(
    f"/{folder}x/"
    for folder in ("", "data/", "dev/shm/", "etc/", "home/", "media/", "mnt/", "opt/", "root/",
                   "run/", "srv/", "tmp/", "usr/", "var/lib/", "var/tmp/")
)  # fmt: skip
# Where bubblewrap and container engines build roots. lxc-nvidia-gpu-docker allows them any mount
# there, so that a rule for one opens nothing that is shut for engines (a test compares).
BUILT = re.compile(
    r"/newroot/|/(?:var/lib|run)/(?:docker|containerd|containers)/."
    r"|/home/[^/]+/\.local/share/(?:docker|containers)/."
)


def is_usual(fstype: str, target: str) -> bool:
    """Whether a rule's target, "" for any, is just where a view of the kernel always is."""
    usual = _USUAL.get(fstype)
    return usual is not None and usual.fullmatch(target) is not None


def is_kernels(name: str) -> bool:
    """Whether it is /proc, /sys, LXC's own copies of them, or below."""
    return re.match(r"/(?:proc|sys|dev/\.lxc)(?:/|\Z)", name) is not None


def is_device(name: str) -> bool:
    """Whether it can only be a device's node: in /dev, and none of the folders there."""
    name = name.rstrip("/")
    return (
        name.startswith("/dev/")
        and not re.search(r"[*?\[{]", name)
        and not (
            _OF_NODES.match(name) or name.startswith(("/dev/shm/", "/dev/.lxc"))  # noqa: S108
        )
    )
