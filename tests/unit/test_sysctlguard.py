"""Which sysctls a privileged container may write, by effect; where none can be told."""

import re
from pathlib import Path

import pytest

from phoenix_apparmor import sysctlguard
from tests.unit.fakehost import REPO
from tests.unit.share_scenes import HELD, only_root, tried

# A container's cgroup, with its init-to-be. Each setting is written as it is, in a network
# namespace of its own and by a name that no profile knows.
GUARDED = (
    HELD
    + r"""
import struct
from phoenix_apparmor import bpf, sysctlguard
cg = "cg/952-1" if how == "inner left" else "cg/952"
if not sh('mkdir cg && mount -t cgroup2 none cg && mkdir ' + cg):
    print("no cgroup v2")
    sys.exit()
# As where cgroup v2 is beside v1: in a folder of the other's.
sysctlguard.CGROUPS = (os.getcwd(), os.getcwd() + "/cg")
sh('mkdir any && mount --bind /proc/sys any')
if how == "kernel":
    sysctlguard.BPF_PROG_TYPE_CGROUP_SYSCTL = 999
if how == "refused":
    sysctlguard.BPF_F_ALLOW_MULTI = 1 << 20
    sysctlguard.BPF_CGROUP_SYSCTL = 999
if how == "machine":
    bpf.NUMBERS = {}
its_own = cg + "/ns" if how.startswith("inner") else cg
os.makedirs(its_own, exist_ok=True)
own = ["-m", "-i", "-u", *([] if how == "net" else ["-n"]), *([] if how == "kept" else ["-C"])]
# It sees its own cgroup alone, as LXC mounts it.
others = "findmnt -rno TARGET -t cgroup2 | grep -v /own$"
seen = f"mkdir own && mount --bind {its_own} own; {others} | xargs -n 1 umount -l"
if how == "mounted":
    seen = "true"
command = ["unshare", *own, "sh", "-c", seen + '''; echo ready; read x
for name in vm/swappiness fs/file-max kernel/core_pattern kernel/sem kernel/hostname \
    kernel/shmmax net/ipv4/ip_forward net/ipv4/conf/lo/accept_source_route; do
    old=$(cat any/$name)
    echo "$old" 2>/dev/null >any/$name && printf "$name "
done''']
init = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL)
assert init.stdout.readline() == b"ready\n"
with open(its_own + "/cgroup.procs", "w") as file:
    file.write(str(init.pid))
# A program of lxc.hook.start may have left one.
other = subprocess.Popen(["sleep", "600"])
with open(cg + "/cgroup.procs", "w") as file:
    file.write(str(other.pid))
if how == "shared":
    with open(cg + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
names = {"LXC_NAME": "952", "LXC_PID": str(init.pid), "PHOENIX_APPARMOR_ROOT": here}
programs, load = [], sysctlguard._load
sysctlguard._load = lambda text: programs.append(load(text)) or programs[-1]
print(0, shares.main(names, peers=how == "leave", sysctls=how == "leave"))
print(1, told())
if how.endswith(("detach", "left")):
    # What bpf(2) can do from inside: take the program off the cgroup that it sees as the top.
    for number in programs:
        top = os.open(its_own, os.O_RDONLY)
        try:
            bpf.call(9, struct.pack("=IIIII", top, number, 18, 0, 0))
        except FileNotFoundError:
            pass
print(2, " ".join(init.communicate(b"x")[0].decode().split()))
other.kill()
other.wait()
with open("cg/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
sh(f"rmdir {cg}/ns || true; rmdir {cg}")
"""
)
OWN = [
    "kernel/sem",
    "kernel/hostname",
    "kernel/shmmax",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/lo/accept_source_route",
]
HOSTS = ["vm/swappiness", "fs/file-max", "kernel/core_pattern"]


def guarded(how: str, disk: Path) -> tuple[str, str, list[str]]:
    status, *rest = tried(how, disk, script=GUARDED)
    if not rest:
        pytest.skip("no cgroup v2 can be mounted")
    said, written = rest
    return status, said, written.split()


@only_root
def test_only_its_own_are_written(disk: Path) -> None:
    assert guarded("guard", disk) == ("0", "nothing", OWN)
    assert guarded("leave", disk) == ("0", "nothing", [*HOSTS, *OWN]), "the control"


@only_root
def test_its_own_root_cannot_take_it_off(disk: Path) -> None:
    """bpf(2) is what Docker needs. Proxmox puts the container below the cgroup that is guarded."""
    assert guarded("inner", disk) == ("0", "nothing", OWN)
    assert guarded("inner left", disk) == ("0", "nothing", OWN)
    assert guarded("inner detach", disk) == ("0", "nothing", OWN)
    assert guarded("detach", disk) == ("0", "nothing", [*HOSTS, *OWN]), "the control"


@only_root
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("shared", ": it has no cgroup of its own, but is in /952."),
        ("kernel", ": this kernel has no BPF programs for cgroups."),
        ("machine", ": this kernel has no BPF programs for cgroups."),
    ],
)
def test_where_it_cannot_be_the_start_goes_on_and_says_so(how: str, why: str, disk: Path) -> None:
    status, said, written = guarded(how, disk)
    assert status == "0" and why in said
    assert written == [*HOSTS, *OWN]


@only_root
def test_one_that_can_leave_its_cgroup_is_told(disk: Path) -> None:
    """lxc.namespace.keep: cgroup"""
    status, said, written = guarded("kept", disk)
    assert status == "0" and written == OWN
    assert ": it has the host's cgroup namespace, and so can leave its cgroup." in said


@only_root
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("net", ": in the host's network namespace LXC's own socket gives them to it."),
        ("mounted", ": they are mounted on /"),
    ],
)
def test_one_that_reaches_the_hosts_cgroups_is_told(how: str, why: str, disk: Path) -> None:
    """By an outsider: lxc.net.0.type = none, and an entry that mounts /sys/fs/cgroup."""
    status, said, written = guarded(how, disk)
    assert status == "0" and set(written) >= {"kernel/sem"} and "vm/swappiness" not in written
    assert why in said and "reaches cgroups of the host" in said


@only_root
def test_where_it_fails_it_does_not_start(disk: Path) -> None:
    status, said, _ = guarded("refused", disk)
    assert status == "1"
    assert said.startswith("CT 952: its cgroup cannot be kept from the host's sysctls: ")


def test_the_profile_lets_the_same_be_written() -> None:
    rules = (REPO / "profiles/source/one-root-files").read_text()
    left = re.findall(r"deny /proc/sys/(\S*)<all but ([^>]*)> wklx,", rules)
    assert [folder for folder, _ in left] == ["", "kernel/"]
    own, kernels = (names.replace("**", "").split() for _, names in left)
    assert own == ["kernel/", "net/"]
    begins = {name.decode()[: len("kernel/dom")] for name in sysctlguard.ALLOWED[1:]}
    assert begins == {f"kernel/{name}" for name in kernels}
    assert sysctlguard.ALLOWED[0] == b"net/*"
