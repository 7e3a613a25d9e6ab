"""What can be wrong with GPUs, their nodes, numbers and drivers, and what doctor says of it."""

import os
from collections.abc import Callable

from tests.names import BASE
from tests.unit.doctor_host import (
    CONF,
    Case,
    by_hand,
    conf,
    no_devices,
    on_cgroup_v1,
    privileged,
)
from tests.unit.fakehost import FakeHost

HOOK = "/usr/share/lxc/hooks/nvidia"


VERSION = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.127.05  Release Build
GCC version:  gcc version 12.2.0
"""


def driver(*libraries: str) -> Callable[[FakeHost], object]:
    """CT 950 runs, with these files among its libraries; the host's driver is 550.127.05."""

    def make(host: FakeHost) -> None:
        host.write("/proc/driver/nvidia/version", VERSION)
        host.running("950", f"{BASE} (enforce)")
        for name in ("etc/os-release", *(f"usr/lib/x86_64-linux-gnu/{n}" for n in libraries)):
            host.write(f"/proc/4242/root/{name}", "")

    return make


def by_number(key: str) -> str:
    """A GPU by lines of a key, and bind mounts of its nodes."""
    lines = [f"{key}: c {major}:* rwm\n" for major in (195, 510)]
    lines += [
        f"lxc.mount.entry: /dev/{n} dev/{n} none bind,optional,create=file\n"
        for n in ("nvidia0", "nvidiactl", "nvidia-uvm")
    ]
    return "".join(lines)


def node_of_a_group(host: FakeHost) -> None:
    host.path("/dev/nvidia-uvm").chmod(0o660)
    os.chown(host.path("/dev/nvidia-uvm"), -1, 44)
    host.conf("950", CONF.replace("dev2: /dev/nvidia-uvm\n", "dev2: /dev/fuse\n"))


def hooked(text: str) -> Callable[[FakeHost], object]:
    def make(host: FakeHost) -> None:
        host.write(HOOK, "")
        no_devices(f"lxc.hook.mount: {HOOK}\n{text}")(host)

    return make


def folder_of_nodes(host: FakeHost) -> None:
    for name in ("nvidia-cap1", "nvidia-cap2"):
        host.write(f"/dev/nvidia-caps/{name}", "").chmod(0o444)
    by_hand(
        "lxc.cgroup2.devices.allow: c 508:* rwm\n"
        "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,create=file\n"
        "lxc.mount.entry: /dev/nvidia-caps dev/nvidia-caps none bind,create=dir\n"
    )(host)


USES = "lxc.cgroup2.devices.allow: c"


MOUNT = "lxc.mount.entry: /dev/{0} dev/{0} none bind,optional,create=file\n"


def with_hidraw(numbers: str) -> Callable[[FakeHost], object]:
    """The driver of hidraw has number 241, CT 950 all of CUDA, hidraw0, and these numbers."""

    def make(host: FakeHost) -> None:
        old = host.read("/proc/devices").decode()
        host.write("/proc/devices", old.replace("510 nvidia-uvm", "241 hidraw\n510 nvidia-uvm"))
        host.write("/dev/hidraw0", "")
        names = ("nvidia0", "nvidiactl", "nvidia-uvm", "hidraw0")
        by_hand(
            f"{USES} 195:* rwm\n{USES} 241:* rwm\n{numbers}"
            + "".join(MOUNT.format(name) for name in names)
        )(host)

    return make


def hidraw_and_stale(host: FakeHost) -> None:
    with_hidraw(f"{USES} 508:* rwm\n")(host)


def second_gpu(host: FakeHost) -> None:
    host.write("/dev/nvidia1", "").chmod(0o666)
    by_hand(f"{USES} 195:1 rwm\n{USES} 508:* rwm\n{MOUNT.format('nvidia1')}")(host)


def before_the_nodes_are_made(host: FakeHost) -> None:
    """The driver is loaded, and nobody has used it since: fixed without it, CT 950 has no GPU."""
    names = ("nvidia0", "nvidiactl", "nvidia-uvm")
    for name in names:
        host.path(f"/dev/{name}").unlink()
    lines = "".join(MOUNT.format(name) for name in names)
    by_hand(f"{USES} 195:* rwm\n{USES} 508:* rwm\n{lines}")(host)


def second_gpu_by_number(host: FakeHost) -> None:
    host.path("/dev/nvidia-uvm").unlink()
    host.write("/dev/nvidia1", "").chmod(0o666)
    by_hand(f"{USES} 195:1 rwm\n{USES} 508:* rwm\n")(host)


def only_one_gpu(host: FakeHost) -> None:
    host.write("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Device Minor: \t 0\n")
    conf("dev5: /dev/nvidia1\n")(host)


def capability(host: FakeHost) -> None:
    mig = "/proc/driver/nvidia/capabilities/mig"
    host.write(f"{mig}/config", "DeviceFileMinor: 1\nDeviceFileMode: 256\n")
    host.write(f"{mig}/monitor", "DeviceFileMinor: 12\nDeviceFileMode: 292\n")
    conf("dev5: /dev/nvidia-caps/nvidia-cap12\n")(host)


def two_containers_lack_nodes(host: FakeHost) -> None:
    """Each has other devN options in use."""
    host.write("/dev/nvidia-uvm-tools", "").chmod(0o660)
    host.assign(c950=BASE, c951=BASE)
    taken = "dev0: /dev/fuse\ndev1: /dev/net/tun\nhookscript: local:snippets/phoenix-apparmor.py\n"
    for n in ("950", "951"):
        host.conf(n, f"{taken}unprivileged: on\nlxc.apparmor.profile: {BASE}\n")


CASES = {
    "node absent": Case(
        lambda host: host.path("/dev/nvidia-uvm").unlink(),
        "gpu-nodes",
        "error",
        ("/dev/nvidia-uvm: not on the host; CT 950", "nvidia-modprobe"),
    ),
    "node not given": Case(
        lambda host: host.conf("950", CONF.replace("dev2: /dev/nvidia-uvm\n", "")),
        "gpu-nodes",
        "warning",
        ("CUDA does not start", "pct set 950 --dev2 /dev/nvidia-uvm,mode=0666"),
    ),
    "no GPU": Case(
        no_devices(""),
        "gpu-configured",
        "note",
        ("no NVIDIA node", "--dev0 /dev/nvidia0,mode=0666"),
        advised=True,
    ),
    "stale major": Case(
        by_hand(
            "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 508:0 rwm\n"
            + "".join(
                f"lxc.mount.entry: /dev/{n} dev/{n} none bind,optional,create=file\n"
                for n in ("nvidia0", "nvidiactl", "nvidia-uvm")
            )
        ),
        "gpu-majors",
        "warning",
        (
            "508 is nobody's now; 510 (nvidia-uvm) is not allowed",
            "pct set 950 --dev0 /dev/nvidia0,mode=0666 --dev1 /dev/nvidiactl,mode=0666 "
            "--dev2 /dev/nvidia-uvm,mode=0666",
        ),
        ("other-locks",),
    ),
    "driver not loaded": Case(
        lambda host: (
            privileged("lxc.cgroup2.devices.allow: c 195:* rwm\n")(host),
            host.write("/proc/devices", "Character devices:\n  1 mem\n\nBlock devices:\n"),
        ),
        "gpu-majors",
        "unknown",
        ("its driver is not loaded", "modprobe nvidia"),
        ("other-locks",),
    ),
    "NVIDIA's hook, no program": Case(
        hooked("lxc.environment: NVIDIA_VISIBLE_DEVICES=all\n"),
        "gpu-hook",
        "warning",
        ("nvidia-container-cli is missing",),
        has_fix=False,
    ),
    "NVIDIA's hook, not asked": Case(
        hooked(""),
        "gpu-hook",
        "warning",
        ("not asked for any GPU",),
        has_fix=False,
    ),
    "a folder of nodes": Case(
        folder_of_nodes,
        "gpu-majors",
        "warning",
        ("/dev/nvidia-caps/nvidia-cap1,mode=0444", "/dev/nvidia-caps/nvidia-cap2"),
        besides=("other-locks",),
        after=("gpu-nodes",),
    ),
    "another device's number": Case(
        hidraw_and_stale,
        "gpu-majors",
        "warning",
        ("fit: 508 is nobody's now; 510", "device line c 508:* rwm,"),
        ("other-locks",),
    ),
    "only the GPU that it has": Case(
        second_gpu,
        "gpu-majors",
        "warning",
        ("508 is nobody's now", "device line c 508:* rwm", "pct set 950 --dev0 /dev/nvidia1,"),
        besides=("other-locks",),
    ),
    "a GPU by its number alone": Case(
        second_gpu_by_number,
        "gpu-majors",
        "warning",
        ("508 is nobody's now", "pct set 950 --dev0 /dev/nvidia1,"),
        besides=("other-locks",),
    ),
    "nodes that are not made yet": Case(
        before_the_nodes_are_made,
        "gpu-majors",
        "warning",
        ("508 is nobody's now", "nvidia-modprobe -u -c 0 && pct set 950 --dev0 /dev/nvidia0,"),
        ("gpu-nodes", "other-locks"),
    ),
    "no modeset": Case(
        conf("dev5: /dev/nvidia-modeset\n"),
        "gpu-nodes",
        "error",
        ("/dev/nvidia-modeset: not on the host", "nvidia-modprobe -m"),
    ),
    "no node of a second GPU": Case(
        conf("dev5: /dev/nvidia1\n"),
        "gpu-nodes",
        "error",
        ("/dev/nvidia1: not on the host", "nvidia-modprobe -c 1"),
    ),
    "no second GPU": Case(
        only_one_gpu,
        "gpu-nodes",
        "error",
        ("/dev/nvidia1: not on the host", "no device for it"),
        has_fix=False,
    ),
    "no node of a capability": Case(
        capability,
        "gpu-nodes",
        "error",
        ("nvidia-cap12: not", "nvidia-modprobe -f /proc/driver/nvidia/capabilities/mig/monitor"),
    ),
    "cgroup v1 lines": Case(
        by_hand(by_number("lxc.cgroup.devices.allow")),
        "gpu-majors",
        "warning",
        ("lxc.cgroup.devices.allow does nothing", "has v2", "is not allowed"),
        ("other-locks",),
    ),
    "cgroup v2 lines on a host with v1": Case(
        on_cgroup_v1(by_hand(by_number("lxc.cgroup2.devices.allow"))),
        "gpu-majors",
        "warning",
        ("lxc.cgroup2.devices.allow does nothing", "has v1"),
        ("other-locks",),
    ),
    "free slots, each container": Case(
        two_containers_lack_nodes,
        "gpu-configured",
        "note",
        (
            "CT 950, 951",
            "for ct in 950 951; do pct set",
            "--dev2 /dev/nvidia0,mode=0666",
            "--dev5 /dev/nvidia-uvm-tools,mode=0660",
        ),
        advised=True,
    ),
    "another driver inside": Case(
        driver("libcuda.so.535.54.03", "libnvidia-ml.so.535.54.03", "libcuda.so.1"),
        "gpu-driver",
        "warning",
        ("CT 950", "535.54.03", "550.127.05", "Driver/library version mismatch"),
        has_fix=False,
    ),
    "one library of two inside is another's": Case(
        driver("libcuda.so.535.54.03", "libnvidia-ml.so.550.127.05"),
        "gpu-driver",
        "warning",
        ("libcuda 535.54.03, libnvidia-ml 550.127.05", "Driver/library version mismatch"),
        has_fix=False,
    ),
    "no driver inside": Case(
        driver("libc.so.6"),
        "gpu-driver",
        "note",
        ("no NVIDIA libraries inside", "550.127.05"),
        has_fix=False,
    ),
    "the host's driver upgraded": Case(
        lambda host: (
            driver("libcuda.so.550.127.05")(host),
            host.write("/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.565.57.01", ""),
        ),
        "gpu-driver",
        "warning",
        ("the host has libnvidia-ml 565.57.01", "reboot the host"),
        has_fix=False,
    ),
    "an NVIDIA node that nothing asks for urgently": Case(
        conf(MOUNT.format("nvidia1")),
        "gpu-nodes",
        "warning",
        ("/dev/nvidia1: not on the host; CT 950 should have it",),
    ),
    "privileged, and no line allows its nodes": Case(
        by_hand("".join(map(MOUNT.format, ("nvidia0", "nvidiactl", "nvidia-uvm")))),
        "gpu-majors",
        "warning",
        (
            "LXC denies a privileged container devices that no line allows: 195 (nvidia) is not "
            "allowed; 510 (nvidia-uvm) is not allowed",
            "pct set 950 --dev0 /dev/nvidia0",
        ),
        ("other-locks",),
    ),
    "stale numbers, unprivileged": Case(
        no_devices(
            f"{USES} 195:* rwm\n{USES} 508:* rwm\n"
            + "".join(map(MOUNT.format, ("nvidia0", "nvidiactl", "nvidia-uvm")))
        ),
        "gpu-majors",
        "note",
        ("508 is nobody's now. They do nothing", "unprivileged container"),
    ),
    "a node of a group": Case(
        node_of_a_group,
        "gpu-nodes",
        "warning",
        ("pct set 950 --dev3 /dev/nvidia-uvm,gid=44,mode=0660",),
    ),
}
