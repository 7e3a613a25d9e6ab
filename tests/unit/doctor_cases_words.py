"""What doctor must say of odd, harmful and foreign configurations: the truth, or nothing."""

import json
import os
import time
from collections.abc import Callable

from phoenix_apparmor import paths
from tests.names import BASE, DOCKER
from tests.unit.doctor_host import (
    CONF,
    Case,
    append,
    by_hand,
    conf,
    instead,
    no_devices,
    privileged,
    site_profile,
    unmanaged,
)
from tests.unit.fakehost import FakeHost

WARNED = "explicitly configured lxc.apparmor.profile overrides the following settings"
HOOK = "/usr/share/lxc/hooks/nvidia"


def leaves(body: str, *words: str) -> Case:
    """A profile of the site's own that root gets out of."""
    words = ("lxc-site does not hold", "CT 950", *words)

    def make(host: FakeHost) -> None:
        site_profile(body)(host)
        host.conf(
            "950", host.read("/etc/pve/lxc/950.conf").decode().replace("unprivileged: 1\n", "")
        )

    return Case(make, "profile-rules", "error", words, ("other-locks",), has_fix=False)


def in_cluster(host: FakeHost) -> None:
    """Of two nodes, neither of which published anything yet."""
    online = {"pve1": {"online": 1}, "pve2": {"online": 1}}
    members = {"nodename": "pve1", "nodelist": online, "cluster": {"quorate": 1}}
    host.write("/etc/pve/.members", json.dumps(members))
    for name in online:
        host.path(f"/etc/pve/nodes/{name}/lxc").mkdir(parents=True)


def with_old_report(host: FakeHost) -> None:
    in_cluster(host)
    assert host.cli("publish").status == 0
    path = host.path(paths.published("pve1"))
    now = int(time.time())
    path.write_text(path.read_text().replace(f'"written":{str(now)[:6]}', '"written":170000'))
    os.utime(path, (now - 7210, now - 7210))


def other_node_without_gpu(host: FakeHost) -> None:
    """pve2 published what pve1 has, but for the GPU."""
    in_cluster(host)
    assert host.cli("publish").status == 0
    said = json.loads(host.read(paths.published("pve1")))
    other = said | {"node": "pve2", "devices": [], "containers": []}
    host.write(paths.published("pve2"), json.dumps(other))


def with_lxc_profiles(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc-containers", "abi <abi/3.0>,\ninclude <lxc>\n")
    host.write(
        "/etc/apparmor.d/lxc/lxc-default-with-nesting",
        "profile lxc-container-default-with-nesting {\n  /usr/** rw,\n}\n",
    )
    unmanaged("lxc.apparmor.profile: lxc-default-with-nesting\n")(host)


def by_path(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc/hard", "profile lxc-hardened {\n  /usr/** rw,\n}\n")
    unmanaged("lxc.apparmor.profile: /etc/apparmor.d/lxc/hard\n")(host)


def many_bad_names(host: FakeHost) -> None:
    host.assign(**{f"c{n}": f"lxc_bad_{n}" for n in range(960, 975)})
    for n in range(960, 975):
        host.conf(str(n), CONF.replace("950", str(n)))


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


def on_cgroup_v1(then: Callable[[FakeHost], object]) -> Callable[[FakeHost], object]:
    """A host that was booted with systemd.unified_cgroup_hierarchy=0."""

    def make(host: FakeHost) -> None:
        host.path("/sys/fs/cgroup/cgroup.controllers").unlink()
        host.write("/sys/fs/cgroup/devices/devices.list", "a *:* rwm\n")
        then(host)

    return make


def node_of_a_group(host: FakeHost) -> None:
    host.path("/dev/nvidia-uvm").chmod(0o660)
    os.chown(host.path("/dev/nvidia-uvm"), -1, 44)
    host.conf("950", CONF.replace("dev2: /dev/nvidia-uvm\n", "dev2: /dev/fuse\n"))


def lax(host: FakeHost) -> None:
    """It guards /proc and /sys where they are, and lets root mount others."""
    site_profile("mount,")(host)
    host.write(
        "/etc/apparmor.d/lxc-site",
        "abi <abi/3.0>,\nprofile lxc-site {\n  include <abstractions/phoenix/container>\n"
        "  deny /proc/** w,\n  deny /sys/** w,\n  mount,\n}\n",
    )
    host.cli("reload")


def own_profile(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  file,\n}\n")
    host.load("lxc-mine")
    unmanaged("lxc.apparmor.profile: lxc-mine\n")(host)


def foreign(host: FakeHost) -> None:
    host.kernel({BASE: "enforce", DOCKER: "enforce", "lxc-foreign": "enforce"})
    unmanaged("features: nesting=1\nlxc.apparmor.profile: lxc-foreign\n")(host)


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
    "change_profile": leaves("change_profile -> unconfined,", "changes to unconfined"),
    "change_profile to anything": leaves("change_profile,", "changes to any other profile"),
    "bare mount": Case(
        lax,
        "profile-rules",
        "warning",
        ("lxc-site would not", "mounts proc on /mnt/", "sysrq-trigger", "take out: mount,"),
        has_fix=False,
    ),
    "programs outside": leaves("/usr/bin/tool Ux,", "runs a program outside"),
    "mac_admin by name": leaves("capability mac_admin,", "loads AppArmor policy"),
    "flags complain": Case(
        site_profile("", "flags=(complain) "),
        "profile-loaded",
        "error",
        ("lxc-site", "complain mode"),
        ("containers",),
    ),
    "a conf's own profile": Case(
        own_profile,
        "profile-rules",
        "warning",
        (
            "CT 951 is unprivileged: only the user namespace holds",
            "writes /proc/sysrq-trigger",
            "what it includes: file, | ",
            "None | add what denies the kernel's files: include <abstractions/phoenix/",
            "kernel-files>; README",
        ),
        has_fix=False,
    ),
    "mount=nfs cifs": Case(
        conf("features: mount=zfs shiftfs,nesting=yes\n"),
        "features",
        "warning",
        ("mount=zfs;shiftfs", "'mount fstype=zfs,' 'mount fstype=shiftfs,'"),
    ),
    "mounts that the profile allows": Case(
        conf("features: mount=fuse;overlay;tmpfs\n"),
        "features",
        "note",
        (f"{WARNED}: features:mount", "allows mounting fuse, overlay, tmpfs"),
        has_fix=False,
    ),
    "nesting under an unknown profile": Case(
        foreign,
        "features",
        "note",
        ("cannot be known", "lxc-foreign"),
        has_fix=False,
    ),
    "systemd under generated": Case(
        lambda host: (
            host.assign(c950="unconfined"),
            host.conf("950", CONF.replace(f"lxc.apparmor.profile: {BASE}\n", "ostype: debian\n")),
        ),
        "generated",
        "warning",
        ("226/NAMESPACE", "pct set 950 --features keyctl=1,nesting=1"),
    ),
    "generated written out": Case(
        unmanaged("features: nesting=1\nlxc.apparmor.profile: generated\n"),
        "generated-line",
        "warning",
        ("loses the rules", "/etc/pve/lxc/951.conf"),
    ),
    "unconfined and not in the JSON": Case(
        unmanaged("features: mount=nfs,nesting=1\nlxc.apparmor.profile: unconfined\n"),
        "profile-lines",
        "error",
        ("CT 951", "sed -E -i", '"951": {}'),
    ),
    "a file's path": Case(
        by_path,
        "profile-lines",
        "error",
        ("names a file", "That is lxc-hardened"),
        after=("profile-rules",),
    ),
    "a file's name": Case(
        with_lxc_profiles,
        "profile-lines",
        "error",
        ("names a file", "lxc-container-default-with-nesting"),
    ),
    "an indented line": Case(
        unmanaged("    lxc.apparmor.profile: unconfined\n"),
        "lost-lines",
        "warning",
        ("CT 951", "does not read an indented line"),
    ),
    "unconfined with a slip": Case(
        unmanaged("lxc.apparmor.profile: Unconfined\n"),
        "profile-lines",
        "error",
        ("CT 951", 'did you mean "unconfined"? With that nothing would confine it', '"951": {}'),
    ),
    "a name that no file has": Case(
        unmanaged("lxc.apparmor.profile: web_server\n"),
        "profile-lines",
        "error",
        ("CT 951", "no file in /etc/apparmor.d holds web_server either"),
    ),
    "a name that a file has": Case(
        lambda host: (
            host.profile("web-server"),
            unmanaged("lxc.apparmor.profile: web-server\n")(host),
        ),
        "profile-lines",
        "error",
        ("CT 951", "rename the profile to lxc-web-server, in its file"),
        besides=("profile-rules",),
    ),
    "a type of file system for one container": Case(
        conf("features: mount=zfs\n"),
        "features",
        "warning",
        (
            f"would be for every container under {BASE}; for CT 950 alone",
            '"apparmor_rules" of its entry in the JSON takes "mount fstype=zfs,"',
        ),
    ),
    "a type of a disk": Case(
        lambda host: host.conf("951", f"features: mount=nfs;ext4\nlxc.apparmor.profile: {BASE}\n"),
        "features",
        "warning",
        ("better not ext4: the host's kernel would read a disk", "a crafted file system"),
        has_fix=False,
    ),
    "AppArmor hidden": Case(
        unmanaged(
            "lxc.mount.entry: /dev/null sys/module/apparmor/parameters/enabled none bind 0 0\n"
        ),
        "apparmor-hidden",
        "warning",
        ("hides AppArmor", "CT 951"),
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
        ("take from it sys_rawio, with which", "950.conf: lxc.cap.drop: (empty) |"),
    ),
    "bad names, many": Case(
        many_bad_names,
        "json-content",
        "error",
        ("CT 960, 961", "and 7 more", "14 more entries have the same fault; they do not start."),
        has_fix=False,
    ),
    "locked": Case(
        lambda host: append(host, "/etc/pve/lxc/950.conf", "lock: backup\n"),
        "locked",
        "note",
        ("locked (backup)", "pct unlock 950"),
        has_fix=False,
    ),
    "no quorum": Case(
        lambda host: host.write("/etc/pve/.members", '{"cluster": {"quorate": 0}}'),
        "quorum",
        "error",
        ("no quorum", "pvecm status"),
        has_fix=False,
    ),
    "no report for the others": Case(
        in_cluster,
        "cluster-report",
        "warning",
        ("has not published a report", "phoenix-apparmor-publish.timer"),
        besides=("migration",),
    ),
    "an old report": Case(
        with_old_report,
        "cluster-report",
        "warning",
        ("published 2 hours old state",),
        besides=("migration",),
    ),
    "another node without a GPU": Case(
        other_node_without_gpu,
        "migration",
        "note",
        ("CT 950: could not start on pve2: it has no /dev/nvidia0", "--cluster 950"),
        has_fix=False,
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
        after=("gpu-nodes",),
    ),
    "a GPU by its number alone": Case(
        second_gpu_by_number,
        "gpu-majors",
        "warning",
        ("508 is nobody's now", "pct set 950 --dev0 /dev/nvidia1,"),
        besides=("other-locks",),
        after=("gpu-nodes",),
    ),
    "nodes that are not made yet": Case(
        before_the_nodes_are_made,
        "gpu-majors",
        "warning",
        ("508 is nobody's now", "nvidia-modprobe -u -c 0 && pct set 950 --dev0 /dev/nvidia0,"),
        ("gpu-nodes", "other-locks"),
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
        ("every character device, the host's memory too.",),
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
    "all devices by v1": Case(
        on_cgroup_v1(privileged("lxc.cgroup.devices.allow: a\n")),
        "other-locks",
        "warning",
        ("may use every device", "lxc.cgroup.devices.allow: a"),
    ),
    "a device without its folder": Case(
        instead(f"dev5: nvidiactl,mode=0666\nlxc.apparmor.profile: {BASE}\n"),
        "needs",
        "error",
        ("CT 950 cannot start", "pct set 950 --dev5 /dev/nvidiactl,mode=0666"),
    ),
    "a device that nobody knows": Case(
        instead(f"dev5: /nvidia/ctl\nlxc.apparmor.profile: {BASE}\n"),
        "needs",
        "error",
        ("CT 950 cannot start", "pct set 950 --delete dev5"),
        has_fix=False,
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
    "managed, another profile's name": Case(
        instead("lxc.apparmor.profile: /etc/apparmor.d/lxc-nvidia-gpu-base\n"),
        "profile-lines",
        "error",
        ("names a file", "phoenix-apparmor apply 950"),
        ("containers",),
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
        ("libcuda of 535.54.03, libnvidia-ml of 550.127.05", "Driver/library version mismatch"),
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
        ("the host has libnvidia-ml of 565.57.01", "reboot the host"),
        has_fix=False,
    ),
    "an include that frees": Case(
        lambda host: (
            host.write("/root/extra.conf", "lxc.apparmor.profile = unconfined\n"),
            conf("lxc.include: /root/extra.conf\n")(host),
        ),
        "includes",
        "error",
        ("CT 950", "lxc.apparmor.profile = unconfined", "/root/extra.conf"),
        has_fix=False,
    ),
    "a device that is not there": Case(
        conf("dev5: /dev/kfd,gid=993\nlxc.mount.entry: /dev/serial/x dev/serial none bind 0 0\n"),
        "needs",
        "error",
        (
            "CT 950 cannot start: /dev/kfd is not on the host; /dev/serial/x is not on the host.",
            "950.conf: dev5: /dev/kfd,gid=993; lxc.mount.entry: /dev/serial/x",
            "pct set 950 --delete dev5",
            '"optional"',
        ),
        has_fix=False,
    ),
    "an NVIDIA node that nothing asks for urgently": Case(
        conf(MOUNT.format("nvidia1")),
        "gpu-nodes",
        "warning",
        ("/dev/nvidia1: not on the host; CT 950 should have it",),
    ),
    "a folder as a device": Case(
        lambda host: (host.write("/dev/dri/card0", ""), conf("dev5: /dev/dri\n")(host)),
        "needs",
        "error",
        ("cannot start: /dev/dri is a folder, not a device",),
        has_fix=False,
    ),
    "a device's options": Case(
        instead(
            "dev5: /dev/fuse,mode=666,uid=root,deny-write=1\n"
            f"dev6: /dev/net/tun,mode=0666,gid=5\nlxc.apparmor.profile: {BASE}\n"
        ),
        "needs",
        "error",
        (
            "cannot start: Proxmox takes no mode=666 in dev5; Proxmox takes no uid=root in dev5. |",
            "correct dev5",
        ),
        has_fix=False,
    ),
    "a folder that its hook may make": Case(
        lambda host: (
            host.write("/root/hook", ""),
            conf("lxc.hook.pre-start: /root/hook x\nlxc.mount.entry: /run/x x none rbind\n")(host),
        ),
        "needs",
        "warning",
        ("unless its hook makes it: /run/x is not on the host",),
        has_fix=False,
    ),
    "a folder, a hook and a file that are not there": Case(
        conf(
            "mp0: /tank/models,mp=/models\nlxc.hook.mount: /root/hook x\n"
            "lxc.include: /root/extra.conf\n"
        ),
        "needs",
        "error",
        (
            "/tank/models is not on the host; /root/hook is not on the host; /root/extra.conf is",
            "pct set 950 --delete mp0",
        ),
        has_fix=False,
    ),
    "a hookscript of the admin's that is missing": Case(
        lambda host: host.conf("951", "unprivileged: 1\nhookscript: local:snippets/gpu.sh\n"),
        "needs",
        "error",
        ("CT 951 cannot start: the hookscript /var/lib/vz/snippets/gpu.sh is missing",),
        has_fix=False,
    ),
    "a hookscript of the admin's that cannot be run": Case(
        lambda host: (
            host.write("/var/lib/vz/snippets/gpu.sh", ""),
            host.conf("951", "unprivileged: 1\nhookscript: local:snippets/gpu.sh\n"),
        ),
        "needs",
        "error",
        ("gpu.sh is not executable", "chmod +x /var/lib/vz/snippets/gpu.sh"),
        has_fix=False,
    ),
    "a hookscript in no storage": Case(
        lambda host: host.conf("951", "unprivileged: 1\nhookscript: gone:snippets/gpu.sh\n"),
        "needs",
        "error",
        ("CT 951 cannot start: Proxmox does not find the hookscript gone:snippets/gpu.sh",),
        has_fix=False,
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
