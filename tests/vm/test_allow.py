"""allow, with what a trial of real work saw: podman, and Docker with its data elsewhere; a sandbox
of bubblewrap, a FUSE and an NFS file system under a site's own, narrow profile."""

from __future__ import annotations

import json
import re
from collections import Counter

from tests.names import DOCKER, JSON
from tests.vm.booting import boot, denials, inside, make
from tests.vm.containers import create, label, pct, write_profile
from tests.vm.dockers import DATA_ROOT, PODMAN, start_docker
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import precompile
from tests.vm.harness.suites import USER_MODE

# The rules are of one kernel's log; what others print, unit tests have. (It all was seen to pass
# on trixie and bookworm too.)
ONLY_SUITES = (USER_MODE,)
CTID = 954
# As often as it goes: the kernel prints ten lines in five seconds, and says nothing of others.
ALL_LINES = "sysctl -q -w kernel.printk_ratelimit=0"
RUN = "docker run --rm bb echo docker runs elsewhere"


def assign(vm: Machine, **more: object) -> None:
    entry: dict[str, object] = {"apparmor_profile": DOCKER, **more}
    document = json.dumps({"lxc_configs": {str(CTID): entry}}, indent=2)
    vm.write(JSON, document, 0o640)
    precompile(vm, document)


def work(vm: Machine) -> str:
    """What a day of the container prints."""
    data_root = inside(vm, CTID, DATA_ROOT, timeout=240)
    return data_root + inside(vm, CTID, RUN) + inside(vm, CTID, PODMAN)


def did_it(said: str) -> bool:
    lines = said.splitlines()
    return "docker runs elsewhere" in lines and "podman runs" in lines


def test_after_allow_the_same_work_is_not_refused(roots_vm: Machine) -> None:
    vm = roots_vm
    vm.sh(ALL_LINES)
    make(vm, CTID, "trixie", unprivileged=True)
    assign(vm, apparmor_mode="trial")
    boot(vm, CTID)
    assert label(vm, CTID).startswith(f"{DOCKER}.{CTID}.trial//&{DOCKER}.guard//&:lxc-{CTID}_<")
    start_docker(vm, CTID)
    said = work(vm)
    assert did_it(said), said
    told = vm.run("phoenix-apparmor", "allow", str(CTID), "--enforce", timeout=240, check=False)
    print(told.output)
    entry = json.loads(vm.read(JSON))["lxc_configs"][str(CTID)]
    assert entry["apparmor_rules"] and "apparmor_mode" not in entry
    vm.run("phoenix-apparmor", "validate", timeout=120)
    vm.run("pct", "stop", str(CTID), timeout=240)
    boot(vm, CTID)
    assert label(vm, CTID).startswith(f"{DOCKER}.{CTID}//&:lxc-{CTID}_<")
    assert label(vm, CTID).endswith(" (enforce)")
    since = vm.sh("date +%s").stdout.strip()
    start_docker(vm, CTID)
    said = work(vm)
    assert did_it(said), said
    assert f'profile="{DOCKER}' not in denials(vm, since)


NARROW = "lxc-narrow"
RULES = (
    "  file,\n  umount,\n  capability,\n  network,\n  signal,\n  ptrace,\n  unix,\n"
    "  mount fstype=tmpfs,\n  deny mount fstype=debugfs,\n  deny /proc/sysrq-trigger wl,\n"
)
# Without systemd, with FUSE, and in the network of the host, which has the server.
PLAIN = """\
lxc.init.cmd: /bin/sleep 1000000
lxc.signal.halt: SIGKILL
lxc.net.0.type: none
lxc.cgroup2.devices.allow: c 10:229 rwm
lxc.mount.entry: /dev/fuse dev/fuse none bind,create=file 0 0
"""
# The kernel's own server, told by hand what mountd and exportfs would tell it: whom it serves
# (loopback), what (a folder, as root, fsid 0), and where the root of NFS 4 is. Of other versions
# rpcbind would have to know.
NFS_SERVER = r"""
modprobe -a nfsd nfs nfsv4
modprobe fuse || true
mkdir -p /srv/nfs && echo nfs runs >/srv/nfs/word
mount -t nfsd nfsd /proc/fs/nfsd
# The first file is opened only when clients of before a restart have had this time to come back:
# else 90 s.
echo 10 >/proc/fs/nfsd/nfsv4gracetime
echo '-3 +4' >/proc/fs/nfsd/versions
echo tcp 2049 >/proc/fs/nfsd/portlist
echo 2 >/proc/fs/nfsd/threads
echo 'nfsd 127.0.0.1 2147483647 *' >/proc/net/rpc/auth.unix.ip/channel
echo '* /srv/nfs 2147483647 9234 65534 65534 0' >/proc/net/rpc/nfsd.export/channel
echo '* 1 \x00000000 2147483647 /srv/nfs' >/proc/net/rpc/nfsd.fh/channel
"""
WORK = r"""
bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
    --bind /root /root --dev /dev --tmpfs /tmp --unshare-pid --unshare-ipc --die-with-parent \
    bash -c 'touch /tmp/x && ! touch /usr/x 2>/dev/null && echo bubblewrap runs'
mkdir -p /root/from /root/to /mnt/nfs
bindfs /root/from /root/to && touch /root/to/x && [ -e /root/from/x ] && echo fuse runs
umount /root/to
mount -i -t nfs4 -o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1 127.0.0.1:/ /mnt/nfs \
    && cat /mnt/nfs/word && umount /mnt/nfs
"""
LEFT_OUT = re.compile(r"^ {4}(\S.*,)$", re.MULTILINE)
DONE = {"bubblewrap runs", "fuse runs", "nfs runs"}


def kind(rule: str) -> str:
    options = set(re.findall(r"\w+", rule.partition("options=(")[2].partition(")")[0]))
    writable = "remount" in options and "ro" not in options
    return "writable remount" if writable else rule.split(maxsplit=1)[0]


def test_sandboxes_fuse_and_nfs_under_a_narrow_profile(roots_vm: Machine) -> None:
    vm, ctid = roots_vm, 955
    vm.sh(ALL_LINES)
    vm.sh(NFS_SERVER)
    write_profile(vm, NARROW, rules=RULES)
    # (Linux 6.1 asks AppArmor nothing about mounts of the new kind, which Debian 13's mount makes.)
    create(vm, ctid, root=vm.debian, unprivileged=False, more=PLAIN)

    def day(**entry: str) -> set[str]:
        """What the container says that it did under an entry."""
        document = {"lxc_configs": {str(ctid): {"apparmor_profile": NARROW, **entry}}}
        if entry:
            vm.write(JSON, json.dumps(document, indent=2), 0o640)
        pct(vm, "start", ctid)
        said = inside(vm, ctid, WORK)
        print(label(vm, ctid), said)
        return DONE & set(said.splitlines())

    assert day(apparmor_mode="enforce") == set(), "the control: all of it is refused"
    pct(vm, "stop", ctid)
    assert day(apparmor_mode="trial") == DONE
    allow = ("phoenix-apparmor", "allow", str(ctid), "--enforce")
    told = vm.run(*allow, timeout=240, check=False)
    print(told.output)
    # Roots of its own, proc in them, writable remounts: in a privileged container only by name.
    taken, _, left = told.stdout.partition("Left out")
    named = LEFT_OUT.findall(left)
    # AppArmor 3.0 takes each propagation for any mount.
    mounts = 2 if vm.debian == "bookworm" else 1
    assert Counter(map(kind, named)) == {"pivot_root": 2, "mount": mounts, "writable remount": 7}
    assert {kind(rule) for rule in LEFT_OUT.findall(taken)} == {"mount"}
    vm.run(*allow, *(word for rule in named for word in ("--also", rule)), timeout=240)
    pct(vm, "stop", ctid)
    since = vm.sh("date +%s").stdout.strip()
    assert day() == DONE
    assert label(vm, ctid) == f"{NARROW}.{ctid} (enforce)"
    assert f'profile="{NARROW}' not in denials(vm, since)
    pct(vm, "stop", ctid)
