"""What holds a container beside its profile, and what doctor says where it does not."""

import json

from tests.names import BASE, DOCKER, JSON
from tests.unit.doctor_host import (
    Case,
    conf,
    on_cgroup_v1,
    privileged,
)
from tests.unit.fakehost import FakeHost


def not_in_the_json(host: FakeHost) -> None:
    """A privileged container under a profile that counts on our seccomp policy."""
    host.conf("951", f"arch: amd64\nhostname: x\nlxc.apparmor.profile: {BASE}\n")


def privileged_docker(host: FakeHost) -> None:
    privileged()(host)
    entry = json.loads(host.read(JSON))
    entry["lxc_configs"]["950"]["apparmor_profile"] = DOCKER
    host.write(JSON, json.dumps(entry))
    assert host.cli("apply", "950").status == 0


CASES = {
    "privileged, and not in the JSON": Case(
        not_in_the_json,
        "other-locks",
        "warning",
        ("CT 951: privileged, and it starts without the seccomp policy", "no entry in the JSON"),
        after=("other-locks", "attached", "gpu-configured"),
    ),
    "privileged, under the docker profile": Case(
        privileged_docker,
        "other-locks",
        "note",
        (f"root in it is root on the host, and {DOCKER} is no security boundary",),
        has_fix=False,
    ),
    "the host's /sys and / at other paths": Case(
        privileged(
            "mp0: /sys,mp=/hostsys\nmp1: /,mp=/host,ro=1\nmp2: /etc,mp=/e,ro=1\n"
            "lxc.mount.entry: proc srv/proc proc rw,create=dir 0 0\n"
        ),
        "other-locks",
        "warning",
        (
            "it has the host's /sys at /hostsys, the host's / at /host, the host's /etc at /e, "
            "proc at /srv/proc; the profile's rules name paths",
            "--delete mp0,mp1,mp2; take the lxc.mount.entry out of /etc/pve/lxc/950.conf",
        ),
        besides=("needs",),
        has_fix=False,
    ),
    "read-only, and no user namespaces": Case(
        lambda host: (
            host.write("/proc/sys/user/max_user_namespaces", "0\n"),
            conf("mp0: /srv/models,mp=/models,ro=1\n")(host),
        ),
        "read-only",
        "warning",
        ("what CT 950 has read-only of the host is not locked", "user.max_user_namespaces=1000"),
        besides=("needs",),
        has_fix=False,
    ),
    "read-only, and a program of the container before": Case(
        conf("lxc.mount.entry: /srv mnt none bind,ro 0 0\nlxc.hook.start: /opt/first\n"),
        "read-only",
        "warning",
        ("CT 950: LXC runs /opt/first in the container before",),
        besides=("needs",),
        has_fix=False,
    ),
    "read-only, in another's words": Case(
        conf("lxc.mount.entry: /srv mnt none bind,readonly 0 0\n"),
        "read-only",
        "warning",
        (
            'CT 950: its mount at /mnt may not be read-only: LXC does not know "readonly"',
            'write "ro" instead of "readonly" in /etc/pve/lxc/950.conf',
        ),
        besides=("needs",),
        has_fix=False,
    ),
    "read-only, as an mpN says it": Case(
        conf("lxc.mount.entry: /srv mnt none bind,ro=1 0 0\n"),
        "read-only",
        "warning",
        ('"ro=1" is for LXC 6 what "ro" is; LXC 5 makes it writable',),
        besides=("needs",),
        has_fix=False,
    ),
    "read-only, then not": Case(
        conf("lxc.mount.entry: /srv mnt none ro,bind,rw 0 0\n"),
        "read-only",
        "warning",
        ('may not be read-only: "rw" makes it writable', 'remove "rw" in'),
        besides=("needs",),
        has_fix=False,
    ),
    "all devices of each kind": Case(
        privileged("lxc.cgroup2.devices.allow: c *:* rwm\nlxc.cgroup2.devices.allow: b *:* rwm\n"),
        "other-locks",
        "warning",
        ("every device",),
    ),
    "capabilities cleared, some set": Case(
        privileged("lxc.cap.drop:\nlxc.cap.drop: sys_module mac_admin\n"),
        "other-locks",
        "warning",
        ("LXC leaves it sys_rawio, with which", "950.conf: lxc.cap.drop: (empty) |"),
    ),
    "every block device": Case(
        privileged("lxc.cgroup2.devices.allow: b *:* rwm\n"),
        "other-locks",
        "warning",
        ("every block device, the host's disks too.",),
    ),
    "every character device": Case(
        privileged("lxc.cgroup2.devices.allow: c *:* rw\n"),
        "other-locks",
        "warning",
        ("every character device, the host's consoles too.",),
    ),
    "every device, and what opens memory": Case(
        privileged("lxc.cgroup2.devices.allow: a\nlxc.cap.drop:\n"),
        "other-locks",
        "warning",
        ("may use every device, the host's disks and its memory too.",),
    ),
    "a driver of disks by number": Case(
        privileged("lxc.cgroup2.devices.allow: b 259:* rwm\nlxc.cgroup2.devices.allow: b 8:0 r\n"),
        "other-locks",
        "warning",
        (
            "may use block devices of the host by number (b 259:*, blkext), with all that is on",
            "| /etc/pve/lxc/950.conf: lxc.cgroup2.devices.allow: b 259:* rwm |",
        ),
    ),
    "disks by /dev/sg": Case(
        privileged("lxc.cgroup2.devices.allow: c 21:* rw\n"),
        "other-locks",
        "warning",
        ("may use the host's disks by number (c 21:*, /dev/sg*).",),
    ),
    "memory by number": Case(
        privileged(
            "lxc.cap.drop:\nlxc.cap.drop: sys_module mac_admin\n"
            "lxc.cgroup2.devices.allow: c 1:* rw\n"
        ),
        "other-locks",
        "warning",
        ("may use the host's memory by number (c 1:*).",),
    ),
    "a disk that the host has in use": Case(
        lambda host: (
            host.write("/dev/sda", ""),
            host.write("/sys/class/block/sda/sda2/dev", ""),
            host.write("/proc/mounts", "/dev/sda2 / ext4 rw 0 0\n"),
            conf("dev5: /dev/sda\n")(host),
        ),
        "devices",
        "warning",
        (
            "CT 950: root in it reads and writes /dev/sda, which this host has in use",
            "950.conf: dev5: /dev/sda |",
            "pct set 950 --delete dev5",
        ),
        has_fix=False,
    ),
    "a volume that something is made of, only read": Case(
        lambda host: (
            host.write("/dev/sdb", ""),
            host.write("/sys/class/block/sdb/holders/dm-0", ""),
            conf("dev5: /dev/sdb,deny-write=1\n")(host),
        ),
        "devices",
        "warning",
        ("CT 950: root in it reads /dev/sdb, which this host has in use",),
        has_fix=False,
    ),
    "a disk that is its own": Case(
        lambda host: (host.write("/dev/sdb1", ""), conf("dev5: /dev/sdb1\n")(host)),
        "devices",
        "note",
        ("CT 950: root in it reads and writes /dev/sdb1, past every file",),
        has_fix=False,
    ),
    "every device denied, LXC's own and those given before it": Case(
        conf("lxc.cgroup2.devices.allow: c 1:3 rwm\nlxc.cgroup2.devices.deny: a\n"),
        "devices",
        "warning",
        (
            "CT 950: lxc.cgroup2.devices.deny: a takes back every device that was allowed before "
            "it: LXC's own list, with /dev/null, and that of dev0, dev1, dev2.",
        ),
    ),
    "a device line that LXC cannot read": Case(
        privileged("lxc.cgroup2.devices.allow: c  226:* rwm\n"),
        "device-lines",
        "warning",
        (
            "CT 950: a device line allows nothing: LXC cannot read it",
            "| /etc/pve/lxc/950.conf: lxc.cgroup2.devices.allow: c  226:* rwm |",
        ),
        besides=("other-locks",),
    ),
    "a device line of v1": Case(
        privileged("lxc.cgroup.devices.allow: c 226:* rwm\n"),
        "device-lines",
        "warning",
        ("CT 950: a device line does nothing (it is for cgroup v1, this host has v2)",),
        besides=("other-locks",),
    ),
    "a limit of cgroup v1, by the key of v2": Case(
        conf("lxc.cgroup2.memory.limit_in_bytes: 4G\n"),
        "cgroup-keys",
        "error",
        ("CT 950 cannot start: memory.limit_in_bytes is for cgroup v1, this host has v2",),
    ),
    "a weight of cgroup v1, by the key of v2": Case(
        conf("lxc.cgroup2.cpu.shares: 512\nlxc.cgroup2.cpu.weight: 50\n"),
        "cgroup-keys",
        "error",
        ("CT 950 cannot start: cpu.shares is", "pct set 950 --cpulimit and --cpuunits"),
    ),
    "a limit of cgroup v1": Case(
        conf("lxc.cgroup.memory.limit_in_bytes: 4G\n"),
        "cgroup-keys",
        "warning",
        ("CT 950: lxc.cgroup.memory.limit_in_bytes does nothing: it is for cgroup v1",),
    ),
    "a setting of no cgroup": Case(
        conf("lxc.cgroup2.memory.maxx: 4G\n"),
        "cgroup-keys",
        "warning",
        ("CT 950 cannot start unless the kernel has memory.maxx",),
        has_fix=False,
    ),
    "all devices by v1": Case(
        on_cgroup_v1(privileged("lxc.cgroup.devices.allow: a\n")),
        "other-locks",
        "warning",
        ("may use every device", "lxc.cgroup.devices.allow: a"),
    ),
}
