"""No mount of a privileged container under base is shared with another: which, and by effect."""

from pathlib import Path

import pytest

from tests.names import BASE
from tests.unit.fakehost import FakeHost
from tests.unit.share_scenes import HELD, only_root, tried
from tests.unit.test_our_lines import POLICIES, PRIVILEGED

# As LXC makes them: slaves of the host's, and shared with each other.
MADE = (
    HELD
    + r"""
assert sh('''mkdir host && mount -t tmpfs none host && mount --make-shared host
mkdir host/later host/a host/b''')
init = '''mount --make-rshared / && mount --bind host/a host/b
touch host/ready && exec sleep 600'''
namespaces = ["-m", "-U", "-r"] if how.startswith("mapped") else ["-m"]
command = ["unshare", *namespaces, "--propagation", "slave", "sh", "-ec", init]
init = subprocess.Popen(command, stdout=subprocess.DEVNULL)
while not os.path.exists("host/ready"):
    assert init.poll() is None
if how == "fails":
    from phoenix_apparmor import mountpeers
    mountpeers.MOUNT = "/usr/bin/false"
names = {"LXC_NAME": "952", "LXC_PID": str(init.pid), "PHOENIX_APPARMOR_ROOT": here}
if not how.endswith("leave"):
    print(0, shares.main(names, peers=False, sysctls=False))
if how == "fails":
    print(1, told())
    init.kill()
    sys.exit()
inside = ["nsenter", "-t", str(init.pid), "-m", *(["-U"] if "-U" in namespaces else [])]
place = os.getcwd()
def is_seen(do):
    script = f"cd {place} && " + do
    return subprocess.run([*inside, "sh", "-ec", script], stderr=subprocess.DEVNULL).returncode == 0
print(1, is_seen("mount -t tmpfs none host/a && touch host/a/x && test -e host/b/x"))
assert sh("mount -t tmpfs none host/later && touch host/later/x")
print(2, is_seen("test -e host/later/x"))
init.kill()
"""
)


@only_root
@pytest.mark.parametrize("who", ["", "mapped "], ids=["plain", "in-a-user-namespace"])
def test_what_is_mounted_is_at_one_place(who: str, disk: Path) -> None:
    """What the host mounts later still comes."""
    assert tried(f"{who}end", disk, script=MADE) == ["0", "False", "True"]
    assert tried(f"{who}leave", disk, script=MADE) == ["True", "True"], "the control"


@only_root
def test_a_failure_stops_the_start(disk: Path) -> None:
    status, said = tried("fails", disk, script=MADE)
    assert status == "1"
    assert said.startswith("CT 952: its mounts are shared with each other, "), "pct shows it"
    assert "/usr/bin/false ended with 1" in said


@pytest.mark.parametrize("markers", POLICIES)
def test_where_containers_run_in_it_they_stay_shared(host: FakeHost, markers: str) -> None:
    """Docker and podman are told to share mounts; no wall is lost there (SECURITY.md)."""
    host.confined("952", BASE)
    host.profile(BASE, before=markers)
    host.load(BASE)
    host.write(POLICIES[markers], "2\ndenylist\n")
    for runtime in (PRIVILEGED, PRIVILEGED + b"lxc.seccomp.profile = /admins\n"):
        host.runtime("952", runtime)
        for _ in range(2):  # the second is a settled one
            assert host.hook("952").status == 0
            config = host.read("/var/lib/lxc/952/config")
            assert (b"lock-shares without-peers'" in config) == ("without-bpf" in markers)
            assert (b"lock-shares without-sysctls'" in config) == ("without-bpf" not in markers)
            host.settle()
        assert host.hook("952") == (0, "", "")
    host.runtime("952")
    assert host.hook("952").status == 0
    assert b"lock-shares'" in host.read("/var/lib/lxc/952/config"), "unprivileged"


# As LXC's configuration for Ubuntu has them; one lies in the other.
SHOWN = (
    HELD
    + r"""
assert sh('mkdir v && mount -t bpf none v && mkdir v/x && mount -t bpf none v/x')
child = subprocess.Popen(["sleep", "600"])
names = {"LXC_NAME": "952", "LXC_PID": str(child.pid), "PHOENIX_APPARMOR_ROOT": here}
if how == "fails":
    from phoenix_apparmor.mountcalls import Linux
    def umount_at(self, place):
        raise OSError(16, "umount2: Device or resource busy")
    Linux.umount_at = umount_at
print(0, shares.main(names, peers=how == "leave", sysctls=how == "leave"))
print(1, told())
print(2, sh("grep -q ' - bpf ' /proc/self/mountinfo"))
child.kill()
"""
)


@only_root
def test_what_shows_the_hosts_kernel_is_unmounted(disk: Path) -> None:
    """Its profile closes it by its place, which a lazy umount takes from it."""
    status, said, is_left = tried("take", disk, script=SHOWN)
    assert (status, is_left) == ("0", "False")
    assert said.startswith("CT 952: the host's sysctls are closed to it by its profile alone: ")
    assert tried("leave", disk, script=SHOWN) == ["0", "nothing", "True"], "the control"
    status, said, is_left = tried("fails", disk, script=SHOWN)
    assert (status, is_left) == ("1", "True")
    assert "/v, " in said and "cannot be unmounted: Device or resource busy." in said
