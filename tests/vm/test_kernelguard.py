"""What the programs of kernelguard.py let a guarded container open and change: on real kernels.

No profile is asked here: whoever tries it is root of the host, unconfined, in a cgroup that is
marked as a container's. So what is stopped is stopped whatever its path is.
"""

from __future__ import annotations

import pytest

from tests.names import BASE
from tests.vm.containers import assign, create, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import KERNELS

# (On the one between the attacks are tried, many of which nothing else stops.)
ONLY_SUITES = KERNELS

# Below a file system of the kernel's: what is done, by what name of the file. "net" is of the
# network namespace of who tries it.
HOSTS = {
    "write": (
        *("proc/sysrq-trigger", "proc/irq/default_smp_affinity", "proc/mtrr"),
        "proc/self/net/rpc/auth.unix.ip/channel",
        *("sys/module/printk/parameters/time", "sys/kernel/mm/ksm/run"),
        *("sys/kernel/security/lockdown", "sys/kernel/tracing/tracing_on"),
        *("sys/kernel/debug/clear_warn_once", "sys/bus/pci/rescan"),
    ),
    "read": (
        "proc/iomem",
        "proc/mtrr",
        "proc/kpageflags",
        "proc/keys",
        "sys/bus/pci/devices/*/resource0",
    ),
    "mode": ("sys/devices/virtual/net", "sys/module", "proc/irq", "sys/bus/pci/rescan"),
    "owner": ("sys/devices/virtual/net", "sys/kernel/uevent_seqnum", "proc/sysrq-trigger"),
    "folder": ("sys/kernel/tracing/instances",),
    # A protocol of AF_NETLINK: NETLINK_RDMA, NETLINK_CRYPTO.
    "socket": ("20", "21"),
    # bpf(2): programs of other kinds, taking those off that keep it in, maps, links of others.
    "bpf": (
        "load-sysctl",
        "load-trace",
        "load-calling",
        "load-packet-calling",
        "load-long-calling",
        "load-cast",
        "load-pointer",
        "load-stack",
        "detach-sysctl",
        "map",
        "next-link",
    ),
}
OWN = {
    "write": (
        *("proc/self/oom_score_adj", "proc/sys/net/ipv4/ip_forward", "proc/pressure/cpu"),
        *("sys/class/net/lo/mtu", "sys/class/net/lo/queues/rx-0/rps_cpus", "tmp/file"),
    ),
    "read": (
        *("proc/meminfo", "proc/1/status", "proc/sys/kernel/keys/maxkeys", "sys/kernel/mm/ksm/run"),
        *("sys/bus/pci/devices/*/resource", "sys/kernel/security/lockdown", "tmp/file"),
    ),
    "mode": ("tmp/file", "sys/class/net/lo/mtu"),
    "owner": ("tmp/file", "sys/class/net/lo/mtu"),
    "folder": ("tmp", "sys/fs/cgroup"),
    # NETLINK_ROUTE, NETLINK_AUDIT, NETLINK_GENERIC
    "socket": ("0", "9", "16"),
    "bpf": (
        "load-device",
        "load-packet",
        "load-long",
        "attach-device",
        "query-device",
        "detach-device",
    ),
}
# Its arguments: the number of cgroups below the marked one, -1: in none; then lines "how name".
TRY = r"""
import glob, os, socket, struct, sys
from phoenix_apparmor import bpf, btf, kernelguard, sysctlguard
deep = int(sys.argv[1])
kernelguard.hold()
marked = "/sys/fs/cgroup/marked"
os.makedirs(marked, exist_ok=True)
top = os.open(marked, os.O_RDONLY)
mark = sysctlguard._load(sysctlguard.program())
sysctlguard._attach(mark, top)
# Loaded before: those who are guarded load none.
yes = bpf.assembled([bpf.Step(bpf.SET, 0, value=1), bpf.Step(bpf.END)])
others = [bpf.load(yes, 23, 18, b"other", b"MIT") for _ in range(5)]
own = marked + "/x" * deep if deep >= 0 else "/sys/fs/cgroup"
os.makedirs(own, exist_ok=True)
if "detached" in sys.argv:
    # By somebody else, in the container's own cgroup.
    within = os.open(own, os.O_RDONLY)
    for number in range(5):
        sysctlguard._attach(others[number], within)
with open(own + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
open("/tmp/file", "w").close()
here = os.open(own, os.O_RDONLY)
state = {}

def load(kind, attached_as):
    return bpf.load(yes, kind, attached_as, b"x", b"GPL")

def change(command, attached_as, program, flags=0):
    bpf.call(command, struct.pack("=IIIII", here, program, attached_as, flags, 0))

def attach_device():
    state["device"] = load(15, 6)
    change(bpf.PROG_ATTACH, 6, state["device"], 2)

def detach_sysctl():
    # What a container is given at LXC's socket: the cgroup that is marked.
    bpf.call(bpf.PROG_DETACH, struct.pack("=IIIII", top, mark, 18, 0, 0))
    bpf.call(bpf.PROG_ATTACH, struct.pack("=IIIII", top, mark, 18, 2, 0))

def calling():
    # What reads the kernel's memory, by bpf_probe_read_kernel, at an address that we say.
    s = bpf.Step
    return bpf.assembled([
        s(bpf.COPY, 1, 10), s(bpf.ADD, 1, value=-8), s(bpf.SET, 2, value=8),
        s(bpf.SET, 3, value=64), s(bpf.CALL, value=113), s(bpf.SET, 0, value=1), s(bpf.END)])

def long(end=yes):
    return bpf.assembled([bpf.Step(bpf.SET, 0, value=n) for n in range(700)]) + end

def cast():
    # What the verifier takes out again: a call that makes any number a pointer (an outsider's).
    try:
        types = btf.Types(open(btf.VMLINUX, "rb").read(), ("bpf_rdonly_cast", "timespec64"))
    except btf.UnknownError:
        return calling()  # Linux 6.1
    s = bpf.Step
    return bpf.assembled([
        *bpf.set_64(1, 0), s(bpf.SET, 2, value=types._number("timespec64", 4)),
        s(bpf.CALL, by=2, value=types.function("bpf_rdonly_cast")), s(0x71, 0, 0),
        s(bpf.SET, 0, value=1), s(bpf.END)])

BPF = {
    "load-sysctl": lambda: load(23, 18),
    "load-trace": lambda: load(17, 0),
    "detach-sysctl": detach_sysctl,
    "map": lambda: bpf.call(0, struct.pack("=IIIII", 2, 4, 8, 1, 0)),
    "next-link": lambda: bpf.call(31, struct.pack("=III", 0, 0, 0)),
    "load-device": lambda: load(15, 6),
    "load-packet": lambda: load(8, 0),
    "load-long": lambda: bpf.load(long(), 15, 6, b"x", b"GPL"),
    "load-cast": lambda: bpf.load(cast(), 15, 6, b"x", b"GPL"),
    "load-pointer": lambda: bpf.load(
        bpf.assembled(bpf.set_64(0, 1 << 40)) + yes, 15, 6, b"x", b"GPL"),
    "load-stack": lambda: bpf.load(
        bpf.assembled([bpf.Step(bpf.ZERO_64, 10, 0, -8), bpf.Step(0x61, 0, 10, -8)]) + yes,
        15, 6, b"x", b"GPL"),
    "load-calling": lambda: bpf.load(calling(), 15, 6, b"x", b"GPL"),
    "load-packet-calling": lambda: bpf.load(calling(), 8, 0, b"x", b"GPL"),
    "load-long-calling": lambda: bpf.load(long(calling()), 15, 6, b"x", b"GPL"),
    "attach-device": attach_device,
    "query-device": lambda: bpf.call(
        bpf.PROG_QUERY, struct.pack("=IIIIQIIQQ", here, 6, 0, 0, 0, 0, 0, 0, 0)),
    "detach-device": lambda: change(bpf.PROG_DETACH, 6, state["device"]),
}
for line in sys.stdin.read().splitlines():
    how, name = line.split()
    found = glob.glob("/" + name)
    if not found and how not in ("socket", "bpf"):
        continue
    try:
        if how in ("socket", "bpf"):
            if how == "bpf":
                BPF[name]()
            else:
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, int(name)).close()
            print("done", how, name)
            continue
        path = found[0]
        was = os.stat(path)
        if how == "mode":
            os.chmod(path, was.st_mode & 0o7777)
        elif how == "folder":
            os.mkdir(path + "/made")
            os.rmdir(path + "/made")
        elif how == "owner":
            os.chown(path, was.st_uid, was.st_gid)
        else:
            os.close(os.open(path, os.O_WRONLY if how == "write" else os.O_RDONLY))
    except PermissionError:
        print("stopped", how, name)
    else:
        print("done", how, name)
"""


def tried(vm: Machine, what: dict[str, tuple[str, ...]], *how: str) -> dict[str, set[str]]:
    """ "done", "stopped" -> what, of that which this kernel has."""
    lines = "".join(f"{kind} {name}\n" for kind, names in what.items() for name in names)
    # debugfs and tracefs are there as on each host with systemd.
    vm.sh("modprobe sunrpc")
    for kind, place in (("debugfs", "/sys/kernel/debug"), ("tracefs", "/sys/kernel/tracing")):
        vm.sh(f"mountpoint -q {place} || mount -t {kind} none {place}")
    found = vm.run("/usr/bin/python3", "-B", "-c", TRY, *how, stdin=lines.encode()).stdout
    result: dict[str, set[str]] = {"done": set(), "stopped": set()}
    for line in found.splitlines():
        word, _, rest = line.partition(" ")
        result[word].add(rest)
    return result


@pytest.mark.parametrize("deep", ["0", "1", "6"])
def test_a_guarded_container_has_its_own_files_of_the_kernel(vm: Machine, deep: str) -> None:
    """The marked cgroup is the container's; what it runs may be in cgroups of its own below."""
    hosts = tried(vm, HOSTS, deep)
    assert not hosts["done"]
    assert {line.split()[0] for line in hosts["stopped"]} == set(HOSTS)
    # (Files are not all there in each kernel; these are.)
    always = {f"{how} {name}" for how in ("socket", "bpf") for name in HOSTS[how]}
    assert always <= hosts["stopped"]
    assert len(hosts["stopped"]) > 15
    assert "write proc/self/net/rpc/auth.unix.ip/channel" in hosts["stopped"]
    own = tried(vm, OWN, deep)
    assert not own["stopped"] and len(own["done"]) > 12
    assert {f"bpf {name}" for name in OWN["bpf"]} <= own["done"]


def test_nobody_else_is_asked(vm: Machine) -> None:
    hosts = tried(vm, HOSTS, "-1")
    assert not hosts["stopped"] and len(hosts["done"]) > 12, "the control"


def test_who_loads_programs_below_the_mark_stays_guarded(vm: Machine) -> None:
    """A cgroup's own programs come before those from above."""
    assert not tried(vm, HOSTS, "2", "detached")["done"]


def test_a_start_holds_them_and_says_where_it_cannot(fresh_vm: Machine) -> None:
    create(fresh_vm, 651, unprivileged=False)
    assign(fresh_vm, {651: BASE})
    pins = "ls /sys/fs/bpf/phoenix_apparmor_*"
    assert fresh_vm.sh(pins, check=False).rc != 0
    started = pct(fresh_vm, "start", "651")
    assert "closed to it by its profile alone" not in started.output
    assert label(fresh_vm, 651).startswith(BASE)
    held = fresh_vm.sh(pins).stdout.split()
    assert set(held) == {
        *("security_bpf", "security_bpf_prog", "security_file_open"),
        *("security_path_chmod", "security_path_chown"),
        *("security_kernel_module_request", "security_path_mkdir", "security_socket_create"),
    }
    pct(fresh_vm, "stop", "651")
    # What an older version of the package holds, which knows less.
    fresh_vm.sh("mv /sys/fs/bpf/phoenix_apparmor_* /sys/fs/bpf/phoenix_apparmor_0")
    pct(fresh_vm, "start", "651")
    (folder,) = fresh_vm.sh("ls -d /sys/fs/bpf/*").stdout.split()
    assert not folder.endswith("_0")
    pct(fresh_vm, "stop", "651")
    # No place to hold them: the start goes on under the profile, as before, and says so.
    fresh_vm.sh("umount /sys/fs/bpf")
    started = pct(fresh_vm, "start", "651")
    assert "closed to it by its profile alone" in started.output
    assert label(fresh_vm, 651).startswith(BASE)
