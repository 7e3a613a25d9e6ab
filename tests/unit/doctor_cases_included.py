"""What a container gets from included files and from an fstab, and what doctor says of it."""

from collections.abc import Callable

from tests.names import BASE
from tests.unit.doctor_host import CONF, Case, conf, no_devices, privileged
from tests.unit.fakehost import FakeHost

FILE = "/root/more.conf"
FSTAB = "/root/fstab"


def included(text: str, then: Callable[[str], Callable[[FakeHost], object]] = conf) -> (
    Callable[[FakeHost], object]
):  # fmt: skip
    """CT 950 includes a file with this text."""

    def make(host: FakeHost) -> None:
        host.write(FILE, text)
        then(f"lxc.include: {FILE}\n")(host)

    return make


def in_fstab(text: str, then: Callable[[str], Callable[[FakeHost], object]] = conf) -> (
    Callable[[FakeHost], object]
):  # fmt: skip
    """CT 950 has an fstab with this text."""

    def make(host: FakeHost) -> None:
        host.write(FSTAB, text)
        then(f"lxc.mount.fstab: {FSTAB}\n")(host)

    return make


def privileged_by_number(text: str) -> Callable[[FakeHost], object]:
    """CT 950 privileged, without dev0:, with these lines."""

    def make(host: FakeHost) -> None:
        no_devices(text)(host)
        plain = host.read("/etc/pve/lxc/950.conf").replace(b"unprivileged: 1\n", b"")
        host.conf("950", plain)

    return make


NODES = "".join(
    f"lxc.mount.entry = /dev/{name} dev/{name} none bind,create=file 0 0\n"
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm")
)

CASES = {
    "all devices by an included file": Case(
        included("lxc.cgroup2.devices.allow = a\n", privileged),
        "other-locks",
        "warning",
        ("may use every device", f"| {FILE}: lxc.cgroup2.devices.allow = a |", f"out of {FILE}"),
        has_fix=False,
    ),
    "capabilities by an included file": Case(
        included("lxc.cap.drop =\n", privileged),
        "other-locks",
        "warning",
        ("LXC leaves it mac_admin", f"{FILE}: lxc.cap.drop = (empty)", f"lxc.cap out of {FILE}"),
        has_fix=False,
    ),
    "capabilities that an included file keeps": Case(
        included("lxc.cap.drop =\nlxc.cap.keep = sys_rawio chown\n", privileged),
        "other-locks",
        "warning",
        ("LXC leaves it sys_rawio, with", f"| {FILE}: lxc.cap.keep = sys_rawio chown | None"),
        has_fix=False,
    ),
    "a program of the container before, by an included file": Case(
        lambda host: (
            host.write("/srv/x", ""),
            included("lxc.hook.start = /opt/first\nlxc.mount.entry = /srv mnt none bind,ro 0 0\n")(
                host
            ),
        ),
        "read-only",
        "warning",
        ("LXC runs /opt/first in the container", f"| {FILE}: lxc.hook.start = /opt/first |"),
        has_fix=False,
    ),
    "read-only by an fstab, and no user namespaces": Case(
        lambda host: (
            host.write("/proc/sys/user/max_user_namespaces", "0\n"),
            host.write("/srv/x", ""),
            in_fstab("/srv mnt none bind,ro 0 0\n")(host),
        ),
        "read-only",
        "warning",
        ("what CT 950 has read-only of the host is not locked",),
        has_fix=False,
    ),
    "ids of the host by an included file": Case(
        included("lxc.idmap =\nlxc.idmap = b 0 0 65536\n"),
        "includes",
        "warning",
        ("by which LXC maps its users", "see only .conf, and treat it as unprivileged", FILE),
        ("other-locks",),
        has_fix=False,
    ),
    "privileged by an included file": Case(
        included("lxc.idmap = u 0 0 65536\n"),
        "other-locks",
        "note",
        (
            "CT 950 maps an id to root of the host: what that owns, it may use",
            "and only the profile stands",
            f"| {FILE}: lxc.idmap = u 0 0 65536 maps an id to root of the host |",
        ),
        ("includes", "id-maps"),
        has_fix=False,
    ),
    "AppArmor hidden by an fstab": Case(
        in_fstab("/dev/null sys/module/apparmor/parameters/enabled none bind 0 0\n"),
        "apparmor-hidden",
        "warning",
        ("CT 950: a mount hides AppArmor", f"take that line out of {FSTAB}"),
        has_fix=False,
    ),
    "a source of an fstab that is not there": Case(
        in_fstab("# mine\n/srv/gone srv none bind 0 0\n/srv/no srv none bind,optional 0 0\n"),
        "needs",
        "error",
        (
            "CT 950 cannot start: /srv/gone is not on the host. |",
            f"| {FSTAB}: /srv/gone srv none bind 0 0 |",
            f'"optional" to the options of that line in {FSTAB}',
        ),
        has_fix=False,
    ),
    "a source of an included file that is not there": Case(
        included("lxc.mount.entry = /srv/gone srv none bind 0 0\nlxc.include = /root/none.conf\n"),
        "needs",
        "error",
        (
            "/srv/gone is not on the host",
            "/root/none.conf is not on the host",
            f"| {FILE}: lxc.mount.entry = /srv/gone",
            f"remove the line lxc.include from {FILE}",
        ),
        has_fix=False,
    ),
    "an fstab that is not there": Case(
        conf("lxc.mount.fstab: /root/none\n"),
        "needs",
        "error",
        ("CT 950 cannot start: /root/none is not on the host",),
        has_fix=False,
    ),
    "lines of an included file that LXC does not take": Case(
        included("\nlxc.mount.entry /srv srv none bind\nlxc.mount.entri = x\n"),
        "needs",
        "error",
        (
            f'line 2 of {FILE} is none that LXC takes: it has no "="',
            f"line 3 of {FILE} is none that LXC takes: LXC has no lxc.mount.entri",
            f"correct that line of {FILE}",
        ),
        has_fix=False,
    ),
    "LXC's userns.conf in a privileged one": Case(
        lambda host: (
            host.write("/usr/share/lxc/config/userns.conf", "lxc.cap.drop =\nlxc.cap.keep =\n"),
            privileged("lxc.include: /usr/share/lxc/config/userns.conf\n")(host),
        ),
        "other-locks",
        "warning",
        ("LXC leaves it mac_admin", "| None | take the include of /usr/share/lxc/config/userns"),
        has_fix=False,
    ),
    "capabilities dropped and kept": Case(
        included("lxc.cap.keep = chown\n", privileged),
        "needs",
        "error",
        ("does not take lines for both", f"| {FILE}: lxc.cap.keep = chown |", "None | clear those"),
        ("other-locks",),
        has_fix=False,
    ),
    "a line that Proxmox does not take": Case(
        conf("lxc.hook.start-host: /root/gone\nlxc.no_new_privs: 1\n"),
        "lost-lines",
        "warning",
        ("CT 950: Proxmox does not read this line", "lxc.hook.start-host"),
        has_fix=False,
    ),
    "files that include each other": Case(
        lambda host: (
            host.write("/root/b.conf", f"lxc.include = {FILE}\n"),
            included("lxc.include = /root/b.conf\n")(host),
        ),
        "needs",
        "error",
        (
            "a line of /root/b.conf is none that LXC takes: /root/more.conf would include itself",
            f"| /root/b.conf: lxc.include = {FILE} |",
        ),
        has_fix=False,
    ),
    "a file system of the host's in an unprivileged one": Case(
        conf(
            "lxc.mount.entry: nas:/x mnt/x nfs defaults 0 0\n"
            "lxc.mount.entry: nas:/y mnt/y nfs defaults,optional 0 0\n"
        ),
        "needs",
        "error",
        ("cannot start: the kernel mounts nfs only for root of the host, not at /mnt/x. |",),
        has_fix=False,
    ),
    "folders of an overlay that are not there": Case(
        conf(
            "lxc.mount.entry: overlay srv overlay lowerdir=/srv/a:/etc,upperdir=/srv/b,"
            "workdir=/etc 0 0\n"
        ),
        "needs",
        "error",
        ("CT 950 cannot start: /srv/a is not on the host; /srv/b is not on the host.",),
        has_fix=False,
    ),
    "lxc lines that are pending": Case(
        lambda host: host.conf("950", CONF + "[pve:pending]\nlxc.cgroup2.cpu.weight: 5\n"),
        "sections",
        "warning",
        ("CT 950: lxc lines are pending", "they replace all", "lxc.cgroup2.cpu.weight: 5"),
        has_fix=False,
    ),
    "a key of LXC 2": Case(
        conf("lxc.id_map: u 0 100000 65536\n"),
        "needs",
        "error",
        ("CT 950 cannot start: LXC has no lxc.id_map any more", "| None | write lxc.idmap instead"),
        has_fix=False,
    ),
    "a key that never was": Case(
        conf("lxc.mount.entri: /srv srv none bind 0 0\n"),
        "lost-lines",
        "warning",
        ("CT 950: Proxmox does not read this line", "lxc.mount.entri"),
        has_fix=False,
    ),
    "a place with a slash": Case(
        lambda host: (
            host.write("/srv/x", ""),
            conf("lxc.mount.entry: /srv /mnt none bind 0 0\n")(host),
        ),
        "ignored-mounts",
        "warning",
        ("CT 950: LXC ignores a mount at /mnt", "write the place without the slash: mnt"),
        has_fix=False,
    ),
    "an included profile, and not in the JSON": Case(
        lambda host: (
            host.write(FILE, "lxc.apparmor.profile = unconfined\n"),
            host.conf("951", f"unprivileged: 1\nlxc.include: {FILE}\n"),
        ),
        "includes",
        "error",
        ("CT 951: a file that .conf includes sets", "which LXC takes instead of what .conf says"),
        has_fix=False,
    ),
    "stale numbers in an included file": Case(
        included(NODES + "lxc.cgroup2.devices.allow = c 195:* rwm\n"
                 "lxc.cgroup2.devices.allow = c 509:* rwm\n", privileged_by_number),
        "gpu-majors",
        "warning",
        ("509 is nobody's now", f"NVIDIA's devices out of {FILE}"),
        ("other-locks",),
        has_fix=False,
    ),
}  # fmt: skip

# Of these there is nothing to say, or no more than that a file was not read.
FINE = {
    "a GPU by an included file": included(NODES, no_devices),
    "a folder that is not there": conf("lxc.include: /root/none.d/\n"),
    "lines that LXC passes over": included("# lxc.x\nno setting\n\n  lxc.environment = A=1\n"),
    "what a later line takes back": lambda host: (
        host.write(FILE, "lxc.mount.entry = /srv/gone srv none bind 0 0\nlxc.hook.start = /x\n"),
        conf(f"lxc.include: {FILE}\nlxc.mount.entry:\nlxc.hook.start:\nmp0: a:b,mp=/x,ro=1\n")(
            host
        ),
    ),
    "a seccomp policy that the start replaces": included("lxc.seccomp.profile = /root/gone\n"),
}


def unread(host: FakeHost) -> None:
    """CT 950 under a GPU profile, with a file that anybody may change."""
    host.write(FILE, NODES).chmod(0o666)
    no_devices(f"lxc.include: {FILE}\n")(host)


assert BASE in CONF
