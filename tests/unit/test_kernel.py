"""What the kernel says, and what is asked of it: apparmorfs and /proc."""

import os

import pytest

from phoenix_apparmor import kernel, paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.reader import BIGGEST
from tests.unit.fakehost import FakeHost

OWN = b"lxc-a (enforce)\nlxc-a//child (kill)\nlxc-ab (complain)\n"
NAMESPACE = b":ns://x\nlxc-ab (enforce)\n (enforce)\n"


@pytest.fixture
def real(host: FakeHost) -> Host:
    return Host(str(host.root))


def test_the_list_is_the_hosts_own(host: FakeHost, real: Host) -> None:
    for text, own in (
        (OWN, OWN),
        (OWN + NAMESPACE + OWN, OWN),
        (NAMESPACE + OWN, b""),
        (b"", b""),
        (OWN * 3000 + NAMESPACE, OWN * 3000),
    ):
        host.write(paths.KERNEL_PROFILES, text)
        assert kernel.of_host(real) == kernel.listing(real) == kernel.profile_list(real) == own


@pytest.mark.parametrize("before", range(4))
def test_where_a_part_that_is_read_ends_is_no_matter(
    host: FakeHost, real: Host, before: int
) -> None:
    own = b"x" * ((1 << 16) - before - len(b" (enforce)")) + b" (enforce)\n"
    host.write(paths.KERNEL_PROFILES, own + NAMESPACE)
    assert kernel.of_host(real) == own


def test_what_a_container_loads_is_not_read(base: FakeHost) -> None:
    """An outsider's root loaded 1,100 profiles of 65,500 letters: no other container started."""
    listing = base.path(paths.KERNEL_PROFILES)
    with listing.open("ab") as file:
        file.write(b":lxc-950_<-var-lib-lxc>:~ (enforce)\n")
        file.truncate(BIGGEST + (8 << 20))
    assert base.hook("952").status == 0
    base.settle()
    assert base.hook("952") == (0, "", ""), "a start that has nothing to do"
    done = base.cli("status", "952")
    assert "AppArmor" not in done.out and "64 MiB" not in done.out + done.err
    with listing.open("r+b") as file:
        file.truncate(0)
        file.write(b"x")
        file.truncate(BIGGEST + (8 << 20))
    refused = base.hook("952")
    assert refused.status == 1 and "larger than 64 MiB" in refused.err, "the control"
    told = base.cli("doctor").out
    assert "cannot tell which profiles the kernel has" in told and "AppArmor is o" not in told


def test_no_list_is_not_a_list_that_nobody_can_read(host: FakeHost, real: Host) -> None:
    host.kernel(None)
    assert kernel.listing(real) is kernel.profile_list(real) is None
    host.path(paths.KERNEL_PROFILES).mkdir()
    with pytest.raises(PhoenixError, match="cannot read /sys/kernel/security/apparmor/profiles"):
        kernel.listing(real)
    assert kernel.profile_list(real) is None


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("lxc-a", "enforce"),
        ("lxc-a//child", "kill"),
        ("lxc-ab", "complain"),
        ("lxc", None),
        ("xc-a", None),
        ("child", None),
        ("", None),
    ],
)
def test_the_mode_is_of_just_this_profile(name: str, mode: str | None) -> None:
    assert kernel.mode_of(OWN, name) == mode
    assert kernel.all_modes(OWN).get(name) == mode
    assert kernel.mode_of(b"", name) is None


def test_lines_that_are_no_profile_have_no_mode() -> None:
    assert kernel.all_modes(b"garbage\n\n (enforce)\nlxc-a (x) (enforce)") == {
        "": "enforce",
        "lxc-a (x)": "enforce",
    }


def test_hash_of_the_policy_that_is_held(host: FakeHost, real: Host) -> None:
    folder = f"{paths.KERNEL}/policy/profiles"
    assert kernel.policy_hash(real, "lxc-a") is None
    host.write(f"{folder}/lxc-a.1/name", "lxc-a\n")
    assert kernel.policy_hash(real, "lxc-a") is None, "a kernel that keeps none"
    for other in ("lxc-ab.2", "lxc-b.2", "lxc-a.b"):
        host.write(f"{folder}/{other}/raw_sha256", "other\n")
    assert kernel.policy_hash(real, "lxc-a") is None
    host.write(f"{folder}/lxc-a.3/raw_sha1", " 11\n")
    assert kernel.policy_hash(real, "lxc-a") == ("sha1", "11")
    host.write(f"{folder}/lxc-a.3/raw_sha256", "22\n")
    assert kernel.policy_hash(real, "lxc-a") == ("sha256", "22")
    assert kernel.policy_hash(real, "lxc") is None


def test_policies_of_a_namespace_are_counted(host: FakeHost, real: Host) -> None:
    assert kernel.namespace_policies(real, "ns") == 0
    for name in ("a.1", "b.2"):
        host.path(f"{paths.NAMESPACES}/ns/profiles/{name}").mkdir(parents=True)
    assert kernel.namespace_policies(real, "ns") == 2


def test_a_label_is_read_where_the_kernel_has_it(host: FakeHost, real: Host) -> None:
    assert kernel.label_of(real, 7) is None
    host.write("/proc/7/attr/current", "lxc-old (enforce)\n\0")
    assert kernel.label_of(real, 7) == "lxc-old (enforce)"
    host.write("/proc/7/attr/apparmor/current", b"lxc-\xff (enforce)\n")
    assert kernel.label_of(real, 7) == "lxc-\N{REPLACEMENT CHARACTER} (enforce)"


def test_what_a_process_is(host: FakeHost, real: Host) -> None:
    assert kernel.is_lxcs_own(real, 7) is None
    assert kernel.seccomp_mode(real, 7) is kernel.is_privileged(real, 7) is None
    host.write("/proc/7/status", "Name:\tSeccomp:\nNoNewPrivs:\t1\n")
    assert kernel.seccomp_mode(real, 7) is None
    for text, mode in (("Seccomp:\t2\nSeccomp_filters:\t1\n", 2), ("Seccomp: 0\n", 0)):
        host.write("/proc/7/status", "Name:\tx\n" + text)
        assert kernel.seccomp_mode(real, 7) == mode
    host.write("/proc/7/status", "Seccomp:\tx\n")
    assert kernel.seccomp_mode(real, 7) is None
    for text, privileged in (
        ("0 0 4294967295\n", True),
        ("0 100000 65536\n", False),
        ("1 0 1\n", True),
        ("0 100000 1000\n1000 0 1\n", True),
        ("", None),
    ):
        host.write("/proc/7/uid_map", text)
        assert kernel.is_privileged(real, 7) is privileged


def test_what_only_has_the_name_of_lxc_start(host: FakeHost, real: Host) -> None:
    """Root inside names its init as it likes."""
    monitor = host.write("/host/lxc-start", "")
    other = host.write("/container/lxc-start", "")
    for program, expected in ((monitor, True), (other, False), ("/sbin/init", False)):
        host.executes(str(monitor), 6)
        host.executes(str(program), 7)
        host.write("/proc/7/status", "Name:\tx\nPPid:\t6\n")
        assert kernel.is_lxcs_own(real, 7) is expected
    host.executes(str(other), 7)
    host.path("/proc/6/exe").unlink()
    assert kernel.is_lxcs_own(real, 7) is None
    host.path("/proc/7/status").unlink()
    assert kernel.is_lxcs_own(real, 7) is None


def test_namespaces_are_made_and_removed(host: FakeHost, real: Host) -> None:
    place = host.path(kernel.namespace_path("ns"))
    for _ in range(2):
        kernel.make_namespace(real, "ns")
        assert place.is_dir()
    for _ in range(2):
        kernel.remove_namespace(real, "ns")
        assert not place.exists()
    place.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        kernel.make_namespace(real, "ns")
    place.parent.mkdir()
    (place / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        kernel.remove_namespace(real, "ns")


def test_a_profile_is_removed_by_its_name(host: FakeHost, real: Host) -> None:
    place = host.path(f"{paths.KERNEL}/.remove")
    place.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place)
    reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    kernel.remove_profile(real, "lxc-a.952")
    assert os.read(reader, 100) == b"lxc-a.952"
    os.close(reader)
    place.unlink()
    place.parent.joinpath("profiles").unlink(missing_ok=True)
    kernel.remove_profile(Host(str(host.root / "nowhere")), "lxc-a.952")
