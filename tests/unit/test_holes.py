"""What a container's own rule would open, by its meaning and not by how it is written."""

import pytest

from phoenix_apparmor.assignments.holes import hole, remedy

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
    "mount fstype=resctrl -> /x/,": VIEW,
    "mount fstype=* -> /x/,": VIEW,
    'mount fstype=proc -> "/x deny /y",': VIEW,
    'mount fstype=ext4 options=(rw) "/dev/sda1" -> "/mnt/x/",': DISK,
    "audit mount,": "any mount",
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
    'mount -> "/data/docker/**",',
    'mount options=(rw,rbind) "/" -> "/run/user/0/netns/netns-*",',
    "mount options=(rw,bind) / -> /run/netns/*,",
    'mount options in (rw,bind) "/srv/" -> /x/,',
    "mount options=(rw,bind) /dev/dri/ -> /x/,",
    "mount fstype=fuse* -> /x/,",
    "mount fstype={tmp,ram}fs,",
    "mount options=(rw,remount) -> /x/,",
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


@pytest.mark.parametrize("rule", OPEN)
def test_a_rule_that_opens_a_hole(rule: str) -> None:
    assert OPEN[rule] in hole(rule, "952")


@pytest.mark.parametrize("rule", SHUT)
def test_a_rule_that_opens_none(rule: str) -> None:
    assert hole(rule, "952") == ""


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("mount,", "a type and a place"),
        ("audit mount,", "a type and a place"),
        ("ptrace,", "peer="),
        ("signal (send),", "peer="),
        ("unix,", "peer="),
        ("change_profile,", "Assign"),
        ("allow all,", "for each thing"),
        ("/** Ux,", "ix"),
    ],
)
def test_the_remedy_is_of_the_rules_kind(rule: str, words: str) -> None:
    assert hole(rule, "952") and words in remedy(rule)
    assert ("type" in remedy(rule)) == ("mount" in rule)
