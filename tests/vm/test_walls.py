"""What an outsider walked through, step by step, with root of a privileged container.

Each step is tried under Proxmox' own profile too, where it is to work: else it would prove nothing.
Single tricks are in attacks/, chains of them are searched for by test_chains.py.
"""

from __future__ import annotations

import json

import pytest

from tests.names import BASE, DOCKER, JSON
from tests.vm.attacks.chains import FUSE
from tests.vm.containers import create, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROGRAMS

# What mounts rules let pass is no matter of the processor.
ONLY_SUITES = PROGRAMS

# Under a profile; in a trial; Proxmox' own, which lets containers nest: there all of it works.
OURS = {601: (BASE, ""), 602: (DOCKER, ""), 603: (BASE, "trial"), 604: (DOCKER, "trial")}
NESTING = 605

# A disk that the host has mounted, by its number: mknod(2) is allowed, to open it is not. It is
# mounted where rules for systemd, Docker and podman allow any mount.
DISK = """\
rm -f /tmp/disk
mknod /tmp/disk b "${disk%:*}" "${disk#*:}" || exit 3
for place in /dev/shm /run/credentials/x /run/systemd/unit-private-tmp /var/lib/docker/x \\
    /var/tmp/buildah1/x /run/netns /mnt; do
    mkdir -p "$place"
    for flags in rw nosuid; do
        mount -t ext4 -o "$flags" /tmp/disk "$place" 2>/dev/null && echo "$place" && umount "$place"
    done
done | sort -u
"""
# File systems of the network's: to mount them the host's kernel asks a program of the host, as root
# there.
NETWORK = """\
mkdir -p /dev/shm /run/credentials/x /run/systemd/unit-private-tmp
for type in cifs ceph; do
    for place in /dev/shm /run/credentials/x /run/systemd/unit-private-tmp; do
        mount -t "$type" x:/x "$place" 2>&1 | grep -q 'denied\\|not permitted' || echo "$type"
    done
done | sort -u
"""
# What has a place of its own below /sys has none after a lazy umount: the control files of the
# host's FUSE file systems, and the interface of its security modules, which an entry of the .conf
# shows.
LOST = """\
cd /sys/fs/fuse/connections
umount -l /sys/fs/fuse/connections
for name in [0-9]*; do (echo 12 >"$name/max_background") 2>/dev/null && echo fuse; done | sort -u
cd /sys/kernel/security
umount -l /sys/kernel/security 2>/dev/null
(: >>apparmor/.load) 2>/dev/null && echo policy
true
"""
# The second /proc and /sys that LXC has for nesting, under another name.
NEST = """\
mv /dev/.lxc /dev/x 2>/dev/null
(: >>/dev/x/proc/sys/kernel/core_pattern) 2>/dev/null && echo core_pattern
(: >>/dev/x/sys/module/printk/parameters/time) 2>/dev/null && echo time
mv /dev/x /dev/.lxc 2>/dev/null
true
"""
# A tree of the container's own on a folder of /proc, a file of /proc in it, and it where /proc/sys
# is: there net/ may be written.
OWN_TREE = """\
mkdir -p /tmp/d/net
: >/tmp/d/net/f
for name in irq bus fs; do
    [ -d "/proc/$name" ] && mount --bind /tmp/d "/proc/$name" 2>/dev/null || continue
    mount --bind /proc/sysrq-trigger "/proc/$name/net/f" 2>/dev/null
    mount --rbind "/proc/$name" /proc/sys 2>/dev/null
    [ /proc/sys/net/f -ef /proc/sysrq-trigger ] && (: >>/proc/sys/net/f) 2>/dev/null && echo sysrq
    break
done
true
"""
SECURITYFS = (
    "lxc.mount.entry: /sys/kernel/security sys/kernel/security none bind,create=dir,optional 0 0\n"
)
# What LXC's nesting.conf says, which old instructions include.
FOR_NESTING = (
    "lxc.mount.entry: proc dev/.lxc/proc proc create=dir,optional 0 0\n"
    "lxc.mount.entry: sys dev/.lxc/sys sysfs create=dir,optional 0 0\n"
)
# Other names for the folders in which systemd builds a unit's root: one of them is renamed by a
# path that no rule knows, and with it what is mounted there.
OTHER_NAME = """\
mkdir -p /srv/p /srv/b /run
mount -t tmpfs none /srv/p
mkdir -p /srv/p/z/q
mv -T /srv/p/z/q /srv/p/z/unit-root
mv -T /srv/p/z /srv/p/systemd
mount -o bind /srv/p /run
mkdir -p /run/systemd/unit-root
mount -o rbind / /run/systemd/unit-root
mv -T /srv/p/systemd /srv/p/z
mount -o bind /run/z/unit-root/proc /srv/b
for name in modprobe core_pattern; do
    for proc in /srv/b /run/z/unit-root/proc /run/systemd/unit-root/proc; do
        (: >>"$proc/sys/kernel/$name") 2>/dev/null && echo "$name"
    done
done | sort -u
"""
# The same by mounts that are shared, as LXC makes them: a folder has a peer before it is renamed,
# and what is bound from there has any name.
SHARED = """\
mkdir -p /run/z /run/systemd /srv/c /srv/k
mount --make-rshared / 2>/dev/null
mount -o bind /run/z /srv/c
mv -T /run/z /run/systemd/unit-root
mount -o rbind / /run/systemd/unit-root
for name in kernel/modprobe kernel/core_pattern vm/drop_caches; do
    (: >>"/srv/c/proc/sys/$name") 2>/dev/null && echo "${name#*/}"
done
touch /srv/y
mount -o bind /srv/c/proc/sys/kernel/core_pattern /srv/y && (: >>/srv/y) && echo file
mount -o bind /srv/c/proc/sys/kernel /srv/k && (: >>/srv/k/core_pattern) && echo folder
mount -t sysfs none /sys && mount -o rbind / /run/systemd/unit-root
(: >>/srv/c/sys/module/kernel/parameters/panic) 2>/dev/null && echo sys
(: >>/srv/c/sys/kernel/rcu_expedited) 2>/dev/null && echo sys
umount -l /srv/y; umount -l /srv/k
umount -l /run/systemd/unit-root; umount -l /run/systemd/unit-root; umount -l /sys
rmdir /run/systemd/unit-root
"""
SCRIPTS = {
    "disk": DISK,
    "other-name": OTHER_NAME,
    "network": NETWORK,
    "lost": LOST,
    "nest": NEST,
    "own-tree": OWN_TREE,
}
GIVES = {
    "disk": {"/mnt"},
    "other-name": {"core_pattern"},
    "network": {"cifs", "ceph"},
    "lost": {"fuse"},
    "nest": {"core_pattern"},
    "own-tree": {"sysrq"},
}
ALL = {"modprobe", "core_pattern", "drop_caches", "file", "folder", "sys"}


# Of the host's, in the container's cgroup and namespaces and under no profile: what a bind mount
# that is looked up twice comes to.
BEHIND = """\
pid=$(lxc-info -n {ctid} -p -H)
echo $$ >"/sys/fs/cgroup$(sed -n s/^0:://p "/proc/$pid/cgroup")/cgroup.procs"
nsenter -t "$pid" -m -n -i -u -- unshare -m sh -c '
mount -t proc none /mnt && cd /mnt/sys || exit 1
for name in vm/swappiness kernel/core_pattern kernel/sem net/ipv4/ip_forward kernel/hostname; do
    echo "$(cat $name)" 2>/dev/null >$name && echo $name
done
true'
"""
OWN = {"kernel/sem", "net/ipv4/ip_forward", "kernel/hostname"}
HOSTS = {"vm/swappiness", "kernel/core_pattern"}


@pytest.fixture(scope="module")
def running(vm: Machine) -> Machine:
    entries = {
        str(ctid): {"apparmor_profile": profile} | ({"apparmor_mode": mode} if mode else {})
        for ctid, (profile, mode) in OURS.items()
    }
    vm.write(JSON, json.dumps({"lxc_configs": entries}), 0o640)
    vm.sh(FUSE + "modprobe -qa cifs ceph || true")
    for ctid in (*OURS, NESTING):
        more = "features: nesting=1\n" if ctid == NESTING else FOR_NESTING
        create(vm, ctid, unprivileged=False, more=more + SECURITYFS)
        pct(vm, "start", ctid)
    return vm


def opened(vm: Machine, ctid: int, script: str, *, own_mounts: bool = True) -> set[str]:
    """The lines that a script of root in the container prints.

    own_mounts: in a mount namespace of its own, whose mounts busybox makes private.
    """
    disk = vm.run("findmnt", "--noheadings", "--output=MAJ:MIN", "/").stdout.strip()
    unshare = ("unshare", "-m") if own_mounts else ()
    command = (*unshare, "sh", "-c", f"mount -t proc none /proc; disk={disk}\n{script}")
    return set(vm.run("lxc-attach", "-n", str(ctid), "--clear-env", "--", *command).stdout.split())


@pytest.mark.parametrize("ctid", OURS, ids=[" ".join(kind).strip() for kind in OURS.values()])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_it_holds(running: Machine, ctid: int, script: str) -> None:
    assert label(running, ctid).startswith(OURS[ctid][0])
    left: set[str] = set()
    if OURS[ctid][0] == DOCKER and script == NETWORK:  # Docker mounts such volumes (SECURITY.md)
        left = GIVES["network"]
    elif OURS[ctid][0] == DOCKER and script == NEST:
        left = {"time"}  # User-mode Linux has no BTF: there that profile stands alone (SECURITY.md)
    assert opened(running, ctid, script) == left


@pytest.mark.parametrize("name", SCRIPTS)
def test_under_proxmox_own_with_nesting_it_opens(running: Machine, name: str) -> None:
    assert GIVES[name] <= opened(running, NESTING, SCRIPTS[name])


@pytest.mark.parametrize("own_mounts", [False, True], ids=["as-lxc-made-them", "own"])
@pytest.mark.parametrize("ctid", OURS, ids=[" ".join(kind).strip() for kind in OURS.values()])
def test_no_mount_has_a_peer(running: Machine, ctid: int, own_mounts: bool) -> None:
    found = opened(running, ctid, SHARED, own_mounts=own_mounts)
    if OURS[ctid][0] == BASE:
        assert found == set()
    else:
        # no wall (SECURITY.md): what the kernel runs is closed by its name, wherever it is
        assert found.isdisjoint({"modprobe", "core_pattern", "file"}), found
    # (A second sysfs comes only where the first is covered.)
    assert opened(running, NESTING, SHARED, own_mounts=own_mounts) >= ALL - {"sys"}, "the control"


@pytest.mark.parametrize("ctid", [*OURS, NESTING])
def test_behind_the_profile_the_kernel_says_no(running: Machine, ctid: int) -> None:
    """Without the profile, which a path that it does not know comes to."""
    written = set(running.sh(BEHIND.format(ctid=ctid)).stdout.split())
    assert written == (OWN if ctid in OURS else OWN | HOSTS)
