"""Which mounts the compiled profile for Docker allows: what engines and tools need, and no more.

Each case is a call of mount(2) as AppArmor sees it. VMs do the same with the programs themselves
(tests/vm/deeds) and with what attackers do (tests/vm/attacks); this takes seconds.
"""

from __future__ import annotations

import subprocess
from typing import NamedTuple

import pytest

from tests.names import DOCKER
from tests.unit.fakehost import REPO
from tests.unit.policydfa import ABI, ACCEPT, MAGIC, PARSER, Automaton

# Compiled once, not in each worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("docker_mounts")]

# include/uapi/linux/mount.h
FLAGS = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "remount": 32, "bind": 4096, "move": 8192,
    "rec": 16384, "silent": 32768, "private": 1 << 18, "slave": 1 << 19, "relatime": 1 << 21,
}  # fmt: skip
# security/apparmor: the class of mounts, and the bit of mount(2) in what a state accepts
CLASS_MOUNT, MAY_MOUNT = 7, 2


class Call(NamedTuple):
    target: str
    source: str = ""
    fstype: str = ""
    flags: str = ""


ALLOWED = {
    # NVIDIA's legacy hook, around ldconfig
    "nvidia-dev-rw": Call("/dev/", flags="remount"),
    "nvidia-dev-ro": Call("/dev/", flags="remount ro"),
    "docker-proc": Call("/var/lib/docker/overlay2/x/merged/proc/", "proc", "proc"),
    "podman-proc": Call("/var/lib/containers/storage/overlay/x/merged/proc/", "proc", "proc"),
    "crun-proc-bus": Call(
        "/var/lib/containers/storage/overlay/x/merged/proc/bus/",
        "/var/lib/containers/storage/overlay/x/merged/proc/bus/",
        flags="bind rec",
    ),
    "systemd-proc-irq": Call(
        "/run/systemd/unit-root/proc/irq/", "/run/systemd/unit-root/proc/irq/", flags="bind rec"
    ),
    "runc-proc-bus": Call("/proc/bus/", "/proc/bus/", flags="bind rec"),
    "podman-netns": Call("/run/netns/netns-1", "/", flags="bind rec"),
    "rootless-proc": Call(
        "/home/a/.local/share/containers/storage/vfs/dir/x/proc/", "proc", "proc"
    ),
    "rootless-netns": Call("/run/user/1000/netns/netns-1", "/", flags="bind rec"),
    "rootless-docker-netns": Call(
        "/run/.ro736679354/user/1000/docker/netns/0298e13cfc02", "/", flags="bind"
    ),
    "kept-netns": Call("/run/vpn", "/", flags="bind"),
    "kept-netns-in-tmp": Call("/tmp/vpn", "/", flags="bind"),
    "docker-in-an-image": Call("/var/run/docker/netns/0298e13cfc02", "/", flags="bind"),
    "podman-userns-proc": Call(
        "/var/tmp/intermediate-mountpoint-0.0/proc/", "proc", "proc", "nosuid nodev noexec"
    ),
    "rootlesskit-cgroup-kept": Call("/tmp/rksys2879218542/", "/sys/fs/cgroup/", flags="bind rec"),
    "rootlesskit-cgroup-back": Call("/sys/fs/cgroup/", "/tmp/rksys2879218542/", flags="move"),
    "bubblewrap-slave": Call("/", flags="silent slave rec"),
    "bubblewrap-private": Call("/oldroot/", flags="silent private rec"),
    "bubblewrap-bind": Call("/newroot/usr/", "/oldroot/usr/", flags="silent bind rec"),
    "bubblewrap-ro": Call("/newroot/usr/", flags="ro silent nosuid nodev remount bind relatime"),
    "bubblewrap-proc": Call("/newroot/proc/", "proc", "proc", "silent nosuid nodev noexec"),
    "bubblewrap-old-proc": Call("/proc/", "/oldroot/proc/", flags="bind rec"),
    "unit-private-tmp": Call("/run/systemd/unit-private-tmp/", flags="remount bind nosuid nodev"),
    "containerd-view": Call("/tmp/containerd-mount1/", flags="ro remount bind rec"),
    "volume-sys": Call("/var/lib/docker/overlay2/x/merged/sys/", "/sys/", flags="bind rec"),
    "tmpfs": Call("/mnt/", "none", "tmpfs"),
    "volume-nfs": Call("/var/lib/docker/volumes/v/_data/", ":/x", "nfs4"),
    "fusectl": Call("/sys/fs/fuse/connections/", "none", "fusectl", "nosuid nodev noexec"),
    "runc-sysrq": Call("/proc/sysrq-trigger", "/proc/sysrq-trigger", flags="bind rec"),
    "runc-sys": Call("/proc/sys/", "/proc/sys/", flags="bind rec"),
    "volume-modprobe": Call(
        "/var/lib/docker/overlay2/x/merged/sbin/modprobe", "/usr/sbin/modprobe", flags="bind rec"
    ),
}
DENIED = {
    "fusectl": Call("/var/lib/docker/f/", "none", "fusectl"),
    "fusectl-newroot": Call("/newroot/f/", "none", "fusectl"),
    "fusectl-anywhere": Call("/mnt/f/", "none", "fusectl"),
    "fusectl-in-cgroups": Call("/sys/fs/cgroup/f/", "none", "fusectl", "nosuid nodev noexec"),
    "fusectl-in-sys": Call("/sys/", "none", "fusectl", "nosuid nodev noexec"),
    "fusectl-bound": Call("/run/docker/f/", "/sys/fs/fuse/connections/", flags="bind"),
    "fusectl-bound-by-name": Call("/run/docker/f/", "/q/fs/fuse/", flags="bind rec"),
    "fusectl-moved": Call("/mnt/f/", "/run/docker/q/fs/fuse/connections/", flags="move"),
    "proc-on-credentials": Call("/run/credentials/q/", "proc", "proc"),
    "sysfs-on-credentials": Call("/run/credentials/q/", "none", "sysfs"),
    "moved-on-proc": Call("/proc/", "/mnt/x/", flags="move"),
    "moved-on-sys": Call("/sys/", "/mnt/x/", flags="move"),
    "moved-into-sys": Call("/sys/fs/bpf/", "/mnt/x/", flags="move"),
    "sys-on-rksys": Call("/tmp/rksys1/", "/sys/module/", flags="bind rec"),
    "proc-moved": Call("/mnt/x/", "/var/lib/docker/q/proc/", flags="move"),
    "unmasked-elsewhere": Call("/mnt/x/", "/old/dev/.lxc/proc/", flags="bind"),
    "tree-on-proc": Call("/proc/", "/mnt/oldroot/proc/", flags="bind rec"),
    "part-on-proc": Call("/proc/", "/oldroot/proc/1/", flags="bind rec"),
    "old-proc-alone-on-proc": Call("/proc/", "/oldroot/proc/", flags="bind"),
    "old-proc-on-sys": Call("/sys/", "/oldroot/proc/", flags="bind rec"),
    "bpf": Call("/newroot/b/", "bpf", "bpf"),
    "kernel-by-name": Call("/newroot/x/", "/w/kernel/", flags="bind"),
    "kernel-by-name-podman": Call("/var/lib/containers/x/", "/w/kernel/", flags="bind rec"),
    "share-made-writable": Call("/mnt/share/", flags="remount bind"),
    "share-made-writable-in-a-user-namespace": Call(
        "/mnt/share/", flags="remount bind nosuid nodev"
    ),
    "share-on-private-tmp": Call("/run/systemd/unit-private-tmp/", "/share/", flags="bind"),
    "sys-on-a-process": Call("/proc/1/", "/proc/sys/", flags="bind rec"),
    "fusectl-in-tmp": Call("/tmp/f/", "none", "fusectl"),
    "core-pattern-by-name": Call(
        "/plain", "/var/lib/docker/q/sys/kernel/core_pattern", flags="bind rec"
    ),
    "uevent-helper-by-name": Call(
        "/tmp/nt", "/var/lib/docker/s/kernel/uevent_helper", flags="bind"
    ),
    "disk": Call("/var/lib/docker/x/", "/tmp/disk", "ext4"),
    "modprobe-by-name": Call("/plain", "/var/lib/docker/q/sys/kernel/modprobe", flags="bind rec"),
    "root-made-read-only": Call("/", flags="remount ro"),
}


@pytest.fixture(scope="module")
def policy() -> Automaton:
    folders = ("-I", str(REPO / "profiles"), "-I", "/etc/apparmor.d")
    profile = str(REPO / "profiles" / DOCKER)
    command = [PARSER, "-QTKS", "--config-file=/dev/null", f"--features-file={ABI}", *folders]
    found = subprocess.run([*command, profile], capture_output=True, check=True).stdout
    return Automaton(found[found.index(MAGIC) :])


def allows(policy: Automaton, call: Call) -> bool:
    """As match_mnt() of the kernel's security/apparmor/mount.c asks."""
    state = policy.walk(bytes([CLASS_MOUNT]))
    for part in (call.target, call.source, call.fstype):
        state = policy.walk(part.encode() + b"\0", state)
    flags = sum(FLAGS[word] for word in call.flags.split())
    for bit in range(32):
        if flags >> bit & 1:
            state = policy.step(state, bit + 1)
    return bool(policy.tables[ACCEPT][state] & MAY_MOUNT)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_engines_mount_is_allowed(policy: Automaton, name: str) -> None:
    assert allows(policy, ALLOWED[name])


@pytest.mark.parametrize("name", DENIED)
def test_what_no_engine_needs_is_denied(policy: Automaton, name: str) -> None:
    assert not allows(policy, DENIED[name])
