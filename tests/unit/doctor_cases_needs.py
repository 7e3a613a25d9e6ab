"""What a start needs and the host does not have, and what doctor says of it."""

from collections.abc import Callable

from tests.names import BASE
from tests.unit.doctor_host import (
    CONF,
    Case,
    conf,
    instead,
)
from tests.unit.fakehost import FakeHost


def as_dev1(value: str) -> Callable[[FakeHost], object]:
    """CT 950 with another text for the device that it needs."""
    return lambda host: host.conf("950", CONF.replace("dev1: /dev/nvidiactl\n", f"dev1: {value}\n"))


def folder_as_device(host: FakeHost) -> None:
    for node in ("card0", "renderD128"):
        host.write(f"/dev/dri/{node}", "")
    link = host.path("/dev/dri/by-path/pci-card")
    link.parent.mkdir()
    link.symlink_to("../card0")
    conf("dev5: /dev/dri\n")(host)


CASES = {
    "a device without its folder": Case(
        as_dev1("nvidiactl,mode=0666"),
        "needs",
        "error",
        ("CT 950 cannot start", "pct set 950 --dev1 /dev/nvidiactl,mode=0666"),
    ),
    "a device without its folder and mode": Case(
        as_dev1("/dev/./nvidiactl"),
        "needs",
        "error",
        ("without . and ..", "pct set 950 --dev1 /dev/nvidiactl,mode="),
    ),
    "a device without its folder, of which there is another option": Case(
        conf("dev5: nvidiactl,mode=0666\n"),
        "needs",
        "error",
        ("CT 950 cannot start: Proxmox takes only", "| pct set 950 --delete dev5 |"),
    ),
    "two options for one device": Case(
        conf("dev5: /dev//nvidiactl\ndev6: /dev/nvidia0\ndev7: /dev/nvidia0,gid=44\n"),
        "needs",
        "error",
        (
            "CT 950 cannot start: Proxmox makes a node only once, and dev1 and dev5 are for "
            "/dev/nvidiactl; dev0 and dev6 and dev7 are for /dev/nvidia0.",
            "dev1: /dev/nvidiactl; dev5: /dev//nvidiactl; dev0: /dev/nvidia0,gid=44; dev6:",
            "| pct set 950 --delete dev5,dev6,dev7 | their options differ: see whether those of "
            "dev1, dev0 are right",
        ),
    ),
    "a device, and the same by a mount": Case(
        conf(
            "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file 0 0\n"
            "lxc.mount.entry: /dev/nvidiactl dev/nvidiactl none bind,optional 0 0\n"
        ),
        "needs",
        "error",
        (
            "CT 950 cannot start: /dev/nvidia0 is there already, by a mount, when Proxmox makes "
            "it for dev0.",
            "| /etc/pve/lxc/950.conf: lxc.mount.entry: /dev/nvidia0 dev",
        ),
    ),
    "a device, and its folder by a mount": Case(
        lambda host: (
            host.write("/dev/dri/renderD128", ""),
            conf(
                "dev5: /dev/dri/renderD128\n"
                "lxc.mount.entry: /dev/dri dev/dri none bind,optional,create=dir\n"
            )(host),
        ),
        "needs",
        "error",
        (
            "/dev/dri/renderD128 is there already, by a mount, when Proxmox makes it for dev5",
            "either take the lxc.mount.entry out of .conf, and name in devN options what else of "
            "that folder it needs; or: pct set 950 --delete dev5",
        ),
        has_fix=False,
    ),
    "a device that nobody knows": Case(
        instead(f"dev5: /nvidia/ctl\nlxc.apparmor.profile: {BASE}\n"),
        "needs",
        "error",
        ("CT 950 cannot start", "pct set 950 --delete dev5"),
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
    "a folder as a device": Case(
        folder_as_device,
        "needs",
        "error",
        (
            "cannot start: /dev/dri is a folder, not a device",
            "| None | name the nodes in it that it needs (/dev/dri/card0, /dev/dri/renderD128) "
            "instead of the folder: dev5",
        ),
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
            "| None | correct dev5 (a mode is 0 and three octal digits: mode=0666, uid is a n",
        ),
        has_fix=False,
    ),
    "a mode without its 0": Case(
        instead(
            "dev5: /dev/fuse,mode=666,deny-write=1\n"
            f"dev6: /dev/net/tun,mode=0666,gid=5\nlxc.apparmor.profile: {BASE}\n"
        ),
        "needs",
        "error",
        (
            "cannot start: Proxmox takes no mode=666 in dev5. |",
            "| None | pct set 950 --dev5 /dev/fuse,mode=0666,deny-write=1",
        ),
        has_fix=False,
    ),
    "a GPU's mode without its 0": Case(
        lambda host: host.conf("950", CONF.replace("nvidia0,gid=44", "nvidia0,mode=666")),
        "needs",
        "error",
        ("cannot start: Proxmox takes no mode=666 in dev0", "--dev0 /dev/nvidia0,mode=0666"),
        has_fix=False,
    ),
    "a device without its folder, and a mode that Proxmox refuses": Case(
        as_dev1("nvidiactl,mode=666,uid=x"),
        "needs",
        "error",
        ("CT 950 cannot start", "pct set 950 --dev1 /dev/nvidiactl,mode=0666 |"),
    ),
    "a file as a mount point": Case(
        lambda host: (host.write("/etc/hostname", ""), conf("mp0: /etc/hostname,mp=/x\n")(host)),
        "needs",
        "error",
        ("cannot start: /etc/hostname is not a folder", "pct set 950 --delete mp0"),
        has_fix=False,
    ),
    "a disk that is not there": Case(
        conf("lxc.mount.entry: /dev/sdz1 mnt/d ext4 defaults 0 0\n"),
        "needs",
        "error",
        ("cannot start: /dev/sdz1 is not on the host", '"optional"'),
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
}
