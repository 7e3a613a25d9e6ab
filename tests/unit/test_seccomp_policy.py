"""What the seccomp policy of privileged containers lets through, by its own rules."""

import os
import re
from collections.abc import Sequence

import pytest

from tests.unit.fakehost import REPO

FILE = REPO / "profiles/privileged.seccomp"
POLICY = FILE.read_text()
WITHOUT_BPF = REPO / "profiles/privileged-without-bpf.seccomp"
# The comment on bpf(2) and its rules.
BPF = re.compile(r"^# Of bpf\(2\).*\n(?:#.*\n)+(?:bpf .*\n)+", re.MULTILINE)
NO_BPF = """\
# A program that bpf(2) loads runs in the host's kernel. What runs no containers does without;
# systemd then leaves DeviceAllow= of units alone, as in an unprivileged container.
bpf errno 1
"""
# Nor does it need mounts that are shared with each other (phoenix_apparmor/mountpeers.py).
MOUNT = "mount allow [3,0,SCMP_CMP_MASKED_EQ,32]\n"
NO_PEERS = """\
# And no mount is made shared with others (0x100000): that pretends to be done, as systemd asks for
# it in each unit. What is mounted in one place would be in others too, which no rule knows.
mount allow [3,0,SCMP_CMP_MASKED_EQ,1048608]
mount allow [3,1052672,SCMP_CMP_MASKED_EQ,1052704]
mount errno 0 [3,1048576,SCMP_CMP_MASKED_EQ,1052704]
"""
# systemd makes a unit's credentials in a mount namespace and counts on seeing them outside, which
# it then does not.
CLONE = "clone\n"
NO_CREDENTIALS_ELSEWHERE = """\
# So that systemd makes a unit's credentials (LoadCredential=) in a folder: in another mount
# namespace, which it then asks for with this call and just these flags, they would stay there.
clone allow [0,131089,SCMP_CMP_NE]
clone errno 1 [0,131089,SCMP_CMP_EQ]
"""
IOCTL = re.compile(
    r"^ioctl allow \[1,(0x[0-9a-f]+),SCMP_CMP_MASKED_EQ,(0x[0-9a-f]+)\]$", re.MULTILINE
)
# All that is closed, first and last number; what is between is left to others. This is what one
# edits: PHOENIX_WRITE_GOLDEN=1 makes the rules of it.
RANGES = (
    (0x541D, 0x541D),  # TIOCCONS: the console's output of the host
    (0x5423, 0x5423),  # TIOCSETD: a terminal becomes a keyboard or a network card of the host
    (0x54E3, 0x54E3),  # TUNGETDEVNETNS: as SIOCGSKNS
    (0x583C, 0x5878),  # XFS; FIFREEZE and FITHAW at the end
    (0x587A, 0x58FF),  # XFS, and FS_IOC_SHUTDOWN; between the two is FITRIM
    (0x6607, 0x6608),  # ext4: grow, migrate
    (0x6610, 0x6611),  # ext4: resize, swap_boot
    (0x6618, 0x6619),  # encryption keys taken from the file system, also those of all users
    (0x6628, 0x662F),  # ext4: checkpoint, UUID, superblock
    (0x6E80, 0x6E8F),  # NILFS: checkpoints, resize
    (0x6F01, 0x6F03),  # OCFS2: grow
    (0x894C, 0x894C),  # SIOCGSKNS: the network namespace of whoever sent a socket
    (0x9360, 0x937F),  # autofs: an automount of the host's in a shared folder taken down
    (0x9400, 0x9408),  # Btrfs, but for clones
    (0x940A, 0x940C),  # and the container's own subvolumes
    (0x9410, 0x9435),
    (0x9437, 0x94FF),  # with the label of any file system
    (0x9701, 0x9705),  # CephFS: layouts
    (0xB70A, 0xB70F),  # NS_MNT_GET_NEXT and its kind: namespaces of others
    (0xBC00, 0xBCFF),  # bcachefs
    (0xCF00, 0xCFFF),  # CIFS: keys
    (0xF506, 0xF507),  # F2FS: garbage collection, checkpoints
    (0xF50A, 0xF50A),  # flush of a device
    (0xF510, 0xF510),  # resize
)
# Numbers of ioctl(2), the kind in the high byte (include/uapi): with these root changes, stops or
# reads a whole file system through one folder of it, or gets namespaces of the host or its console.
CLOSED = {
    "TIOCCONS": 0x541D,
    "TIOCSETD": 0x5423,
    "XFS_IOC_SCRUB_METADATA": 0x583C,
    "XFS_IOC_PATH_TO_HANDLE": 0x5869,
    "XFS_IOC_FD_TO_HANDLE": 0x586A,
    "XFS_IOC_OPEN_BY_HANDLE": 0x586B,
    "XFS_IOC_READLINK_BY_HANDLE": 0x586C,
    "XFS_IOC_FSGROWFSDATA": 0x586E,
    "FIFREEZE": 0x5877,
    "FITHAW": 0x5878,
    "FS_IOC_SHUTDOWN": 0x587D,
    "XFS_IOC_BULKSTAT": 0x587F,
    "EXT4_IOC_GROUP_EXTEND": 0x6607,
    "EXT4_IOC_RESIZE_FS": 0x6610,
    "EXT4_IOC_SWAP_BOOT": 0x6611,
    "FS_IOC_REMOVE_ENCRYPTION_KEY": 0x6618,
    "FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS": 0x6619,
    "EXT4_IOC_CHECKPOINT": 0x662B,
    "EXT4_IOC_SETFSUUID": 0x662C,
    "EXT4_IOC_SET_TUNE_SB_PARAM": 0x662E,
    "NILFS_IOCTL_RESIZE": 0x6E8B,
    "OCFS2_IOC_GROUP_EXTEND": 0x6F01,
    "SIOCGSKNS": 0x894C,
    "TUNGETDEVNETNS": 0x54E3,
    "AUTOFS_IOC_READY": 0x9360,
    "AUTOFS_IOC_CATATONIC": 0x9362,
    "AUTOFS_DEV_IOCTL_ISMOUNTPOINT": 0x937E,
    "BTRFS_IOC_SNAP_CREATE": 0x9401,
    "BTRFS_IOC_RESIZE": 0x9403,
    "BTRFS_IOC_TREE_SEARCH": 0x9411,
    "BTRFS_IOC_DEFAULT_SUBVOL": 0x9413,
    "BTRFS_IOC_SNAP_CREATE_V2": 0x9417,
    "FS_IOC_SETFSLABEL": 0x9432,
    "BTRFS_IOC_SNAP_DESTROY_V2": 0x943F,
    "CEPH_IOC_SET_LAYOUT": 0x9702,
    "NS_MNT_GET_NEXT": 0xB70B,
    "NS_MNT_GET_PREV": 0xB70C,
    "BCH_IOCTL_DISK_REMOVE": 0xBC05,
    "CIFS_DUMP_KEY": 0xCF08,
    "F2FS_IOC_RESIZE_FS": 0xF510,
}
# What programs use: terminals, copies, attributes, namespaces, sockets, GPUs.
OPEN = {
    "TCGETS": 0x5401,
    "FIONREAD": 0x541B,
    "FS_IOC_FSGETXATTR": 0x581F,
    "FS_IOC_FSSETXATTR": 0x5820,
    "FITRIM": 0x5879,
    "FS_IOC_GETFLAGS": 0x6601,
    "FS_IOC_SETFLAGS": 0x6602,
    "FS_IOC_FIEMAP": 0x660B,
    "FS_IOC_ADD_ENCRYPTION_KEY": 0x6617,
    "FS_IOC_ENABLE_VERITY": 0x6685,
    "FICLONE": 0x9409,
    "FICLONERANGE": 0x940D,
    "BTRFS_IOC_SUBVOL_CREATE": 0x940E,
    "BTRFS_IOC_SNAP_DESTROY": 0x940F,
    "FIDEDUPERANGE": 0x9436,
    "NS_GET_USERNS": 0xB701,
    "NS_GET_PARENT": 0xB702,
    "NS_GET_MNTNS_ID": 0xB705,
    "SIOCGIFCONF": 0x8912,
    "SIOCBRADDBR": 0x89A0,
    "OCFS2_IOC_REFLINK": 0x6F04,
    "F2FS_IOC_START_ATOMIC_WRITE": 0xF501,
    "TUNSETIFF": 0x54CA,
    "FUSE_DEV_IOC_CLONE": 0xE500,
    "KVM_CREATE_VM": 0xAE01,
    "DRM_IOCTL_VERSION": 0x6400,
    "NV_ESC_RM_ALLOC": 0x462B,
    "NV_ESC_CARD_INFO": 0x46C8,
    "UVM_INITIALIZE": 0x0001,
    "UVM_MIGRATE": 0x0033,
    "PIDFD_GET_INFO": 0xFF0B,
}
# Kinds of which anything is closed: terminals, XFS, ext4, NILFS, OCFS2, sockets, autofs, Btrfs,
# CephFS, namespaces, bcachefs, CIFS, F2FS.
KINDS = {0x54, 0x58, 0x66, 0x6E, 0x6F, 0x89, 0x93, 0x94, 0x97, 0xB7, 0xBC, 0xCF, 0xF5}


def allowed() -> list[int]:
    """How many rules let each of the 65,536 numbers through."""
    rules = [(int(value, 16), int(mask, 16)) for value, mask in IOCTL.findall(POLICY)]
    return [sum(number & mask == value for value, mask in rules) for number in range(1 << 16)]


def allowing(ranges: Sequence[tuple[int, int]]) -> str:
    """Rules for all numbers but these: what is left, in blocks of powers of two.

    A rule of LXC's compares what is under a mask, and two for one number would be merged.
    """
    lines, at = [], 0
    for first, last in (*ranges, (1 << 16, 1 << 16)):
        while at < first:
            size = at & -at or 1 << 16
            while at + size > first:
                size //= 2
            lines.append(f"ioctl allow [1,{at:#x},SCMP_CMP_MASKED_EQ,{0x10000 - size:#x}]\n")
            at += size
        at = last + 1
    return "".join(lines)


def test_the_rules_of_ioctl_are_made_of_the_list() -> None:
    text, found = re.subn(r"(?:^ioctl allow .*\n)+", allowing(RANGES), POLICY, flags=re.MULTILINE)
    assert found == 1
    if os.environ.get("PHOENIX_WRITE_GOLDEN"):
        FILE.write_text(text)
    assert FILE.read_text() == text


def test_each_ioctl_is_let_through_by_one_rule_or_by_none() -> None:
    rules = allowed()
    assert {name for name, number in CLOSED.items() if rules[number]} == set()
    assert {name for name, number in OPEN.items() if not rules[number]} == set()
    assert {number >> 8 for number, count in enumerate(rules) if not count} == KINDS
    assert max(rules) == 1, "rules of one call must not overlap: libseccomp merges them"
    # one without a condition would let all through
    assert len(re.findall(r"^ioctl\b", POLICY, re.MULTILINE)) == len(IOCTL.findall(POLICY))


def test_the_policy_without_bpf_is_the_other_one_but_for_bpf_and_shared_mounts() -> None:
    """LXC's policies have no includes: PHOENIX_WRITE_GOLDEN=1 makes this one of the other."""
    head = "# From privileged.seccomp, for profiles whose containers run no others in them.\n#\n"
    text, found = BPF.subn(NO_BPF, POLICY)
    assert found == POLICY.count(MOUNT) == POLICY.count(f"\n{CLONE}") == 1
    text = text.replace(f"\n{CLONE}", f"\n{NO_CREDENTIALS_ELSEWHERE}").replace(MOUNT, NO_PEERS)
    text = text.replace("# LXC's seccomp", f"{head}# LXC's seccomp", 1)
    if os.environ.get("PHOENIX_WRITE_GOLDEN"):
        WITHOUT_BPF.write_text(text)
    assert WITHOUT_BPF.read_text() == text
    assert re.findall(r"^bpf.*$", text, re.MULTILINE) == ["bpf errno 1"]


MOUNT_RULE = re.compile(r"^mount (.+) \[3,(\d+),SCMP_CMP_MASKED_EQ,(\d+)\]$", re.MULTILINE)
REMOUNT, BIND, SHARED = 0x20, 0x1000, 0x100000


@pytest.mark.parametrize("flags", range(8))
def test_each_mount_has_one_answer(flags: int) -> None:
    """As the kernel reads the flags (fs/namespace.c, path_mount)."""
    value = REMOUNT * (flags & 1) | BIND * (flags >> 1 & 1) | SHARED * (flags >> 2)
    right = "errno 1" if value & REMOUNT and not value & BIND else "allow"
    for policy, answer in (
        (POLICY, right),
        (WITHOUT_BPF.read_text(), "errno 0" if value == SHARED else right),
    ):
        rules = MOUNT_RULE.findall(policy)
        assert [to for to, is_, mask in rules if value & int(mask) == int(is_)] == [answer]
        assert len(rules) == len(re.findall(r"^mount\b", policy, re.MULTILINE))


def test_calls_that_are_closed_on_purpose() -> None:
    words = {line.split()[0] for line in POLICY.splitlines() if line and line[0] not in "#[2"}
    for name in (
        "listmount", "statmount", "fsopen", "fsmount", "open_tree", "open_tree_attr", "move_mount",
        "mount_setattr", "keyctl", "add_key", "request_key", "quotactl", "quotactl_fd",
        "userfaultfd", "fanotify_mark", "acct", "iopl", "ioperm", "lookup_dcookie",
    ):  # fmt: skip
        assert name not in words, name
    assert {"setns", "unshare", "mount", "clone3", "io_uring_setup"} <= words
