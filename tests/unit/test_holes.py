"""What a container's own rule would open, by its meaning and not by how it is written."""

import pytest

from phoenix_apparmor.assignments import holes
from phoenix_apparmor.assignments.holes import Container, remedy
from phoenix_apparmor.policy.mountrules import Mount

VIEW, PLACE, DISK = "own interface", "under another path", "crafted file system"
OPEN = {
    'mount options=(rw,bind) "/proc/" -> "/data/x/",': PLACE,
    "mount options=(rw,rbind) /{proc,sys}/ -> /x/,": PLACE,
    "mount options=(rw,rbind) /** -> /x/,": PLACE,
    "mount options=(rw,rbind) / -> /x/,": PLACE,
    "mount options in (rw,move) /sys/ -> /x/,": PLACE,
    'mount fstype="proc" -> /x/,': VIEW,
    "mount fstype in (tmpfs, proc) -> /x/,": VIEW,
    "mount fstype=(proc) -> /x/,": VIEW,
    "mount fstype={tmp,sys}fs -> /x/,": VIEW,
    "mount fstype=nfsd -> /x/,": VIEW,
    "mount fstype=proc -> /sys/,": VIEW,
    "mount fstype=proc -> /proc/x/,": VIEW,
    "mount fstype={proc,sysfs} -> /proc/,": VIEW,
    "mount fstype=cgroup2 -> /cgroup/,": VIEW,
    "mount options=(rw,bind) /proc/** -> /proc/**,": PLACE,
    "mount options=(rw,bind) /proc/sys/ -> /proc/sys/kernel/,": PLACE,
    "mount fstype=resctrl -> /x/,": VIEW,
    "mount fstype=* -> /x/,": VIEW,
    'mount fstype=proc -> "/x deny /y",': VIEW,
    'mount fstype=ext4 options=(rw) "/dev/sda1" -> "/mnt/x/",': DISK,
    "audit mount,": "any mount",
    "mount fstype = proc -> /x/,": VIEW,
    "mount options=( rw , B ) /proc/ -> /x/,": PLACE,
    "mount options=(rw,rbind),": PLACE,
    "mount fstype=ext4,": DISK,
    "mount fstype=(nfs, xfs) -> /mnt/,": DISK,
    "mount fstype=btrfs /dev/** -> /mnt/,": DISK,
    "mount /dev/sdb1 -> /mnt/x/,": DISK,
    "mount -> /mnt/**,": "any mount there",
    'mount -> "/data/docker/**",': "any mount there",
    "mount -> /srv/data/**,": "unless the container is unprivileged",
    "mount -> /srv/data/,": "any mount there",
    "mount options=(rw,move) -> /srv/data/**,": "any mount there",
    "mount options=(rw,remount) -> /x/,": "other options",
    "remount /,": "other options",
    "mount options=(rw,remount,bind) -> /x/,": "makes writable",
    "mount options in (rw,remount,bind) -> /x/,": "other options",
    "capability chown sys_module,": "loads code",
    "capability sys_time,": "unless the container is unprivileged",
    "ptrace (read) peer=unconfined,": "unconfined processes",
    "signal peer=**,": "unconfined processes",
    "signal (send,receive) peer=unconfined,": "unconfined processes",
    'unix peer=(label="unconfined"),': "unconfined processes",
    "signal (send) set=(kill),": "every process",
    "unix (create, connect) type=stream,": "every process",
    "signal peer=lxc-x//&:lxc-953_<-var-lib-lxc>:unconfined,": "of CT 953",
    'ptrace (read) peer="lxc-953_</var/lib/lxc>",': "of CT 953",
    'unix peer=(label="**//&:lxc-953_<*>:*",addr="@x"),': "of CT 953",
    "signal peer=lxc-nvidia-gpu-docker//&**,": "other containers",
    "ptrace peer=lxc-*_<**,": "other containers",
    "owner /x/** Pxr,": "under another one",
    "/x/** ux,": "unconfined",
    "rUx /bin/x,": "unconfined",
    "allow all,": "everything",
}
SHUT = (
    'mount options=(rw,rbind) "/" -> "/run/user/0/netns/netns-*",',
    "mount options=(rw,bind) / -> /run/netns/*,",
    'mount options in (rw,bind) "/srv/" -> /x/,',
    "mount options=(rw,bind) /dev/dri/ -> /x/,",
    "mount fstype=fuse* -> /x/,",
    "mount fstype={tmp,ram}fs,",
    "mount options=(ro,remount,bind),",
    "mount fstype=nfs,",
    "mount fstype=proc -> /proc/,",
    'mount fstype=sysfs options=(rw,nosuid) "sysfs" -> "/sys/",',
    "mount fstype=cgroup2 -> /sys/fs/cgroup/,",
    "mount fstype={cgroup,cgroup2} -> /sys/fs/cgroup/{,**},",
    'mount options=(rw,bind) "/proc/sys/" -> "/proc/sys/",',
    "mount fstype = nfs,",
    "mount vfstype in (nfs, nfs4) -> /mnt/**,",
    "mount fstype=fuse /dev/fuse -> /x/,",
    "mount options=(rw, make-rslave) -> /,",
    "mount options=(rw,bind) /srv/,",
    "signal (receive) peer=unconfined,",
    "ptrace (readby, tracedby),",
    "ptrace (trace) peer=lxc-x//child,",
    "signal peer=lxc-nvidia-gpu-docker//&:lxc-952_<-var-lib-lxc>:docker-default,",
    'ptrace (read) peer="lxc-952_</var/lib/lxc>",',
    "audit deny mount,",
    "unix (create, bind, listen) type=stream,",
    'unix (bind) type=stream addr="@/x/y",',
    "/x/** rix,",
    "/home/ux rw,",
    '"/proc/sysrq-trigger" w,',
)


GIVEN = ("sys_admin", "net_admin", "sys_rawio", "mknod", "sys_ptrace", "sys_boot", "mac_admin")


def hole(rule: str, ctid: str = "952", profile: str = "", **known: bool) -> str:
    return holes.hole(
        rule, Container(ctid, profile, known.get("privileged"), known.get("loose", False))
    )


@pytest.mark.parametrize("rule", OPEN)
def test_a_rule_that_opens_a_hole(rule: str) -> None:
    assert OPEN[rule] in hole(rule, "952")


@pytest.mark.parametrize("rule", SHUT)
def test_a_rule_that_opens_none(rule: str) -> None:
    assert hole(rule, "952") == ""


@pytest.mark.parametrize(
    ("rule", "privileged", "word"),
    [
        ("mount options=(rw,remount) -> /x/,", False, ""),
        ("mount options=(rw,remount) -> /x/,", True, "for the host as well"),
        ("mount options=(rw,remount,bind) -> /mnt/x/,", False, "by lxc.mount.entry"),
        ("mount options=(rw,remount,bind) -> /mnt/x/,", True, "makes writable"),
        # what engines and bubblewrap build there may be anything already
        ("mount options=(rw,remount,bind) -> /newroot/x/,", False, ""),
        ("mount options=(rw,remount,bind) -> /newroot/x/,", True, "makes writable"),
        ("mount options=(rw,remount,bind) -> /**,", False, "makes writable"),
        ("mount fstype=ext4,", False, ""),
        # README's rule for Docker's data
        ('mount -> "/data/docker/**",', False, ""),
        ('mount -> "/data/docker/**",', True, "/proc and /sys, file systems of disks, writable"),
        ("mount -> /mnt/**,", False, "any mount there"),
        ("mount options=(rw,move) -> /srv/data/**,", False, ""),
        ("mount options=(rw,move) -> /srv/data/,", True, ""),
        # which all of our profiles give, and without which no container boots
        *((f"capability {name},", True, "") for name in GIVEN),
        # asked of the host's user namespace, or of what the container's own one owns
        *((f"capability {name},", False, "") for name in holes.DANGERS),
        *((f"capability {name},", True, "in a privileged container") for name in holes.DANGERS),
    ],
)
def test_what_is_a_hole_by_what_the_container_is(rule: str, privileged: bool, word: str) -> None:
    found = hole(rule, privileged=privileged)
    assert word in found and bool(word) == bool(found), found


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("signal (send) peer=lxc-*,", "outside"),
        ("signal (send) peer=lxc-mine,", ""),
        ("signal (send) peer=@{profile_name},", ""),
        ("signal (send) peer=@{profile_name}//&**,", "other containers"),
        ("signal (send) peer=lxc-mine//child,", ""),
        ("signal (send) peer=lxc-mine//&:lxc-953_<-var-lib-lxc>:x,", "CT 953"),
        ("signal (send) peer=lxc-mine//&**,", "other containers"),
        ("ptrace (read) peer=docker-default,", "outside"),
        ("unix (send,receive) peer=(label=/usr/sbin/*),", "outside"),
        ("unix (receive) peer=(label=/usr/sbin/*),", ""),
        ('unix (connect) peer=(addr="@x"),', "every process"),
    ],
)
def test_peers_of_a_profile(rule: str, word: str) -> None:
    found = hole(rule, "952", "lxc-mine")
    assert word in found and bool(word) == bool(found), found


def test_what_a_profile_denies_is_no_hole() -> None:
    def denied(mount: Mount) -> bool:
        return mount.fstype == "proc" or mount.source == "/proc/"

    whose = Container("952", "lxc-mine", denied=denied)
    for rule, shut in (
        ("mount fstype=proc -> /x/,", True),
        ("mount fstype=(proc, sysfs) -> /x/,", False),
        ("mount options=(rw,bind) /proc/ -> /x/,", True),
        ("mount options=(rw,bind) /{proc,sys}/ -> /x/,", False),
    ):
        assert (holes.hole(rule, whose) == "") is shut, rule


def test_propagation_on_a_parser_that_takes_it_for_any_mount() -> None:
    rule = "mount options=(rw,make-rprivate) -> /opt/x/,"
    assert hole(rule) == "" and "CVE-2016-1585" in hole(rule, loose=True)
    rule = 'mount options in (rw,bind) "/srv/" -> /x/,'
    assert hole(rule) == "" and "CVE-2016-1585" in hole(rule, loose=True)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("mount,", "a type and a place"),
        ("audit mount,", "a type and a place"),
        ("ptrace,", "peer="),
        ("signal (send),", "peer="),
        ("unix,", "peer="),
        ("change_profile -> lxc-x,", "Assign the container lxc-x instead."),
        ("allow all,", "for each thing"),
        ("/** Ux,", "ix"),
    ],
)
def test_the_remedy_is_of_the_rules_kind(rule: str, words: str) -> None:
    assert hole(rule, "952") and words in remedy(rule)
    assert ("type" in remedy(rule)) == ("mount" in rule)


@pytest.mark.parametrize(
    "rule",
    [
        "mount fstype=proc -> /x/,",
        "mount options=(rw,bind) /proc/ -> /x/,",
        'change_profile -> "unconfined",',
        "change_profile -> /usr/bin/x,",
        "change_profile -> lxc-*,",
        "change_profile,",
    ],
)
def test_no_remedy_names_what_is_named(rule: str) -> None:
    assert hole(rule) and remedy(rule) == ""


def test_what_is_in_its_usual_place_is_not_said_to_be_out_of_reach() -> None:
    assert "by path" not in hole("mount fstype=debugfs -> /sys/kernel/debug/,")
    assert "by path" in hole("mount fstype=debugfs -> /mnt/,")


def test_of_any_mount_there_only_what_is_not_denied_is_said() -> None:
    def denied(mount: Mount) -> bool:
        return mount.fstype in ("proc", "sysfs") or "remount" in mount.flags

    rule = "mount -> /srv/data/**,"
    whose = Container("952", privileged=True, denied=denied)
    assert holes.hole(rule, whose) == f"{holes.ANY_THERE}: file systems of disks"
    assert holes.hole(rule, whose._replace(denied=lambda _: True)) == ""
