"""Kernel messages about files and mounts as kernels write them, and what denials says."""

from typing import NamedTuple

BOOKWORM = "bookworm, 6.1"  # no class=
PVE8 = "PVE 8, 6.8"
TRIXIE = "trixie, 6.12"
PVE9 = "PVE 9, 6.17"
P = 'profile="lxc-nvidia-gpu-base"'


class Case(NamedTuple):
    kernel: str
    body: str
    words: str
    rule: str
    hole: str = ""
    note: str = ""
    ctid: str = ""


CASES = (
    Case(
        PVE8,
        f'operation="exec" class="file" info="profile transition not found" error=-13 {P} '
        'name="/usr/bin/man" pid=1 comm="sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0',
        "execute /usr/bin/man",
        "",
        note="The kernel says: profile transition not found.",
    ),
    Case(
        TRIXIE,
        f'operation="link" class="file" {P} name="/new" pid=1 comm="ln" requested_mask="l" '
        'denied_mask="l" fsuid=0 ouid=0 target="/old"',
        "make the hard link /new to /old",
        'link "/new" -> "/old",',
    ),
    Case(
        TRIXIE,
        f'operation="open" class="file" {P} name="/log" pid=1 comm="sh" requested_mask="a" '
        'denied_mask="a" fsuid=0 ouid=0 target="/other"',
        "append to /log",
        '"/log" a,',
    ),
    Case(
        BOOKWORM,
        f'operation="file_mmap" {P} name="/x" pid=1 comm="sh" requested_mask="wam::" '
        'denied_mask="wam::" fsuid=0 ouid=0',
        "write and append to and map executable /x",
        '"/x" wm,',
    ),
    Case(
        BOOKWORM,
        f'operation="open" {P} name="/proc/sysrq-trigger" pid=4711 comm="sh" requested_mask="w" '
        'denied_mask="w" fsuid=100000 ouid=0',
        "write /proc/sysrq-trigger",
        '"/proc/sysrq-trigger" w,',
    ),
    Case(
        TRIXIE,
        f'operation="open" class="file" {P} name="/proc/sys/kernel/core_pattern" pid=4711 '
        'comm="sh" requested_mask="wc" denied_mask="wc" fsuid=100000 ouid=65534',
        "write /proc/sys/kernel/core_pattern",
        '"/proc/sys/kernel/core_pattern" w,',
    ),
    Case(
        PVE8,
        f'operation="open" class="file" {P} name="/proc/831/environ" pid=831 comm="ps" '
        'requested_mask="r" denied_mask="r" fsuid=100000 ouid=100000',
        "read /proc/*/environ",
        '"/proc/[0-9]*/environ" r,',
    ),
    Case(
        PVE9,
        f'operation="mkdir" class="file" {P} name="/srv/a b/" pid=1 comm="mkdir" '
        'requested_mask="c" denied_mask="c" fsuid=0 ouid=0',
        "make the folder /srv/a b/",
        '"/srv/a b/" w,',
    ),
    Case(
        PVE9,
        f'operation="exec" class="file" {P} name="/usr/bin/id" pid=1 comm="sh" '
        'requested_mask="x" denied_mask="x" fsuid=0 ouid=0',
        "execute /usr/bin/id",
        '"/usr/bin/id" ix,',
    ),
    Case(
        BOOKWORM,
        f'operation="open" info="Failed name lookup - disconnected path" error=-13 {P} '
        'name="sysrq-trigger" pid=9 comm="x" requested_mask="w" denied_mask="w" fsuid=0 ouid=0',
        "write sysrq-trigger",
        "",
        note="attach_disconnected",
    ),
    Case(
        BOOKWORM,
        f'operation="mount" info="failed mntpnt match" error=-13 {P} name="/mnt/" pid=4712 '
        'comm="mount" fstype="proc" srcname="proc"',
        "mount proc on /mnt/",
        'mount fstype=proc options=(rw) -> "/mnt/",',
        hole="host kernel's own interface",
    ),
    Case(
        PVE8,
        'operation="mount" class="mount" info="failed flags match" error=-13 '
        'profile="lxc-101_</var/lib/lxc>" name="/run/systemd/unit-root/" pid=4178 '
        'comm="(networkd)" srcname="/" flags="rw, rbind"',
        "bind-mount / on /run/systemd/unit-root/",
        'mount options=(rbind) "/" -> "/run/systemd/unit-root/",',
        "under another path",
    ),
    Case(
        TRIXIE,
        f'operation="mount" class="mount" info="failed flags match" error=-13 {P} '
        'name="/dev/shm/" pid=80 comm="(sd-mkdcreds)" fstype="ramfs" srcname="ramfs" '
        'flags="rw, nosuid, nodev, noexec"',
        "mount ramfs on /dev/shm/",
        'mount fstype=ramfs -> "/dev/shm/",',
    ),
    Case(
        TRIXIE,
        f'operation="mount" class="mount" info="failed mntpnt match" error=-13 {P} '
        'name="/proc/" pid=80 comm="mount" flags="rw, move"',
        "mount something on /proc/",
        'mount options=(move) -> "/proc/",',
        hole="hides what the deny rules know",
        note="new mount API",
    ),
    Case(
        PVE9,
        f'operation="mount" class="mount" info="failed srcname match" error=-13 {P} name="/mnt/" '
        'pid=80 comm="mount" srcname="/proc/sys/" flags="rw, move"',
        "move the mount /proc/sys/ to /mnt/",
        'mount options=(move) "/proc/sys/" -> "/mnt/",',
        hole="/proc/sys/ under another path",
    ),
    Case(
        PVE9,
        f'operation="mount" class="mount" info="failed perms check" error=-13 {P} name="/x/" '
        'pid=80 comm="mount" flags="rw, rslave"',
        "make /x/ rslave",
        'mount options=(make-rslave) -> "/x/",',
    ),
    Case(
        BOOKWORM,
        f'operation="mount" info="failed flags match" error=-13 {P} name="/run/" pid=80 '
        'comm="mount" flags="ro, nosuid, remount, bind"',
        "remount /run/ (ro, nosuid)",
        'mount options=(ro,nosuid,remount,bind) -> "/run/",',
    ),
    Case(
        BOOKWORM,
        f'operation="mount" info="failed type match" error=-13 {P} name="/mnt/" pid=80 '
        'comm="mount" fstype="ext4" srcname="/dev/vdb" flags="rw"',
        "mount ext4 on /mnt/ from /dev/vdb",
        'mount fstype=ext4 options=(rw) "/dev/vdb" -> "/mnt/",',
        hole="crafted file system",
    ),
    Case(
        PVE8,
        f'operation="mount" class="mount" info="failed type match" error=-13 {P} name="/mnt/" '
        'pid=80 comm="mount.nfs" fstype="nfs" srcname="10.0.0.1:/export" flags="rw"',
        "mount nfs on /mnt/ from 10.0.0.1:/export",
        'mount fstype=nfs options=(rw) "10.0.0.1:/export" -> "/mnt/",',
    ),
    Case(
        TRIXIE,
        f'operation="mount" class="mount" info="failed flags match" error=-13 {P} name="/run/s/" '
        'pid=611 comm="mount" fstype="sysfs" srcname="none" flags="ro, silent"',
        "mount sysfs on /run/s/ read-only",
        'mount fstype=sysfs options=(ro,silent) -> "/run/s/",',
        hole="own interface",
    ),
    Case(
        BOOKWORM,
        f'operation="umount" {P} name="/x/" pid=80 comm="umount"',
        "unmount /x/",
        'umount "/x/",',
    ),
    Case(
        PVE8,
        f'operation="pivotroot" class="mount" {P} name="/new/" pid=8 comm="runc" srcname="/new/o/"',
        "make /new/ its root (pivot_root)",
        'pivot_root oldroot="/new/o/" "/new/",',
    ),
)
