"""The kernel's own words: only these reach a rule without quotes, or as a word in quotes.

What stands in a message instead of one of them was made up by a container. Sources: the kernel's
security/apparmor/{mount,capability,net,ipc}.c and what apparmor_parser 3.0 and 4.1 both take.
"""

import re
from collections.abc import Iterable

from phoenix_apparmor.policy import aare

CAPABILITIES = frozenset(
    ("audit_control", "audit_read", "audit_write", "block_suspend", "bpf", "checkpoint_restore",
     "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "ipc_lock", "ipc_owner",
     "kill", "lease", "linux_immutable", "mac_admin", "mac_override", "mknod", "net_admin",
     "net_bind_service", "net_broadcast", "net_raw", "perfmon", "setfcap", "setgid", "setpcap",
     "setuid", "sys_admin", "sys_boot", "sys_chroot", "sys_module", "sys_nice", "sys_pacct",
     "sys_ptrace", "sys_rawio", "sys_resource", "sys_time", "sys_tty_config", "syslog",
     "wake_alarm")
)  # fmt: skip

SIGNALS = frozenset(
    ("hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2",
     "pipe", "alrm", "term", "stkflt", "chld", "cont", "stop", "stp", "ttin", "ttou", "urg",
     "xcpu", "xfsz", "vtalrm", "prof", "winch", "io", "pwr", "sys", "emt", "exists")
)  # fmt: skip
_REAL_TIME = re.compile(r"rtmin\+(?:[12]?[0-9]|3[0-2])\Z")

FAMILIES = frozenset(
    ("inet", "ax25", "ipx", "appletalk", "netrom", "bridge", "atmpvc", "x25", "inet6", "rose",
     "netbeui", "security", "key", "netlink", "packet", "ash", "econet", "atmsvc", "rds", "sna",
     "irda", "pppox", "wanpipe", "llc", "ib", "mpls", "can", "tipc", "bluetooth", "iucv", "rxrpc",
     "isdn", "phonet", "ieee802154", "caif", "alg", "nfc", "vsock", "kcm", "qipcrtr", "smc", "xdp",
     "mctp", "unix")
)  # fmt: skip
SOCKETS = frozenset(("stream", "dgram", "seqpacket", "rdm", "raw", "packet"))
UNIX = frozenset(
    ("create", "bind", "listen", "accept", "connect", "shutdown", "getattr", "setattr", "getopt",
     "setopt", "send", "receive")
)  # fmt: skip
PTRACE = frozenset(("read", "trace", "readby", "tracedby"))
SIGNAL_WAYS = frozenset(("send", "receive"))
DBUS = frozenset(("send", "receive", "bind", "eavesdrop"))
BUSES = frozenset(("system", "session", "accessibility"))
QUEUES = frozenset(("create", "open", "delete", "read", "write", "getattr", "setattr"))

PROPAGATION = frozenset(
    ("shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")
)
MOUNT_FLAGS = PROPAGATION | frozenset(
    ("ro", "rw", "nosuid", "nodev", "noexec", "sync", "remount", "mand", "dirsync", "noatime",
     "nodiratime", "bind", "rbind", "move", "silent", "acl", "relatime", "iversion",
     "strictatime", "nouser")
)  # fmt: skip
FILE_SYSTEMS = frozenset(
    ("9p", "adfs", "affs", "afs", "apparmorfs", "aufs", "autofs", "bcachefs", "befs", "bfs",
     "binder", "binfmt_misc", "bpf", "btrfs", "ceph", "cgroup", "cgroup2", "cifs", "coda",
     "configfs", "cpuset", "cramfs", "debugfs", "devpts", "devtmpfs", "ecryptfs", "efivarfs",
     "efs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuse", "fuseblk", "fusectl", "gfs2",
     "hfs", "hfsplus", "hostfs", "hpfs", "hugetlbfs", "iso9660", "jffs2", "jfs", "lustre",
     "minix", "mqueue", "msdos", "nfs", "nfs4", "nfsd", "nilfs2", "ntfs", "ntfs3", "ocfs2",
     "omfs", "overlay", "overlayfs", "proc", "pstore", "qnx4", "qnx6", "ramfs", "reiserfs",
     "resctrl", "romfs", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "shiftfs", "smb3",
     "smackfs", "squashfs", "sysfs", "sysv", "tmpfs", "tracefs", "ubifs", "udf", "ufs", "vboxsf",
     "vfat", "virtiofs", "xenfs", "xfs", "zfs", "zonefs")
)  # fmt: skip
# Interfaces of the kernel that it mounts only there.
KERNELS = frozenset(
    ("autofs", "configfs", "debugfs", "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "nfsd",
     "pstore", "resctrl", "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "tracefs")
)  # fmt: skip
# Of them those that the kernel mounts only in the host's own user namespace (their struct
# file_system_type has no FS_USERNS_MOUNT): network file systems and those of a disk.
HOST_ONLY = frozenset(
    ("9p", "adfs", "affs", "afs", "bcachefs", "befs", "bfs", "btrfs", "ceph", "cifs", "coda",
     "cramfs", "ecryptfs", "efs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk",
     "gfs2", "hfs", "hfsplus", "hpfs", "iso9660", "jffs2", "jfs", "lustre", "minix", "msdos",
     "nfs", "nfs4", "nilfs2", "ntfs", "ntfs3", "ocfs2", "omfs", "qnx4", "qnx6", "reiserfs",
     "romfs", "smb3", "squashfs", "sysv", "ubifs", "udf", "ufs", "vboxsf", "vfat", "virtiofs",
     "xfs", "zonefs")
)  # fmt: skip
# A program's own name for its type may have dots too: fuse.foo_x86_64.AppImage.
_FUSE = re.compile(r"fuse(?:blk)?\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")


def is_signal(word: str) -> bool:
    """Whether the parser knows the signal (rtmin+3)."""
    return word in SIGNALS or _REAL_TIME.match(word) is not None


def is_file_system(word: str) -> bool:
    """Whether it is a type of file system, or a FUSE one (fuse.sshfs)."""
    return word in FILE_SYSTEMS or _FUSE.match(word) is not None


def meant(patterns: Iterable[str]) -> tuple[str, ...]:
    """The types that these patterns for types mean; a name that is not known here as it is."""
    return tuple(
        name
        for one in patterns
        for name in (sorted(t for t in FILE_SYSTEMS if aare.matches(one, t)) or (one,))
    )


def is_host_only(word: str) -> bool:
    """Whether root in a user namespace cannot mount this type, whatever AppArmor allows."""
    return word in HOST_ONLY or word in KERNELS or word.startswith("fuseblk.")
