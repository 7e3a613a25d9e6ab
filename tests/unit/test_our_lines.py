"""What a start adds to LXC's configuration: a policy namespace, a seccomp policy."""

import pytest

from tests.names import BASE, DOCKER
from tests.unit.fakehost import PVE_GENERATED, Done, FakeHost

NAMESPACE_MARKER = "# phoenix-apparmor: policy-namespace\n"
SECCOMP_MARKER = "# phoenix-apparmor: privileged-seccomp\n"
SECCOMP = "/etc/phoenix-apparmor/privileged.seccomp"
WITHOUT_BPF = "/etc/phoenix-apparmor/privileged-without-bpf.seccomp"
# What a profile's file says -> the policy.
POLICIES = {
    SECCOMP_MARKER: SECCOMP,
    SECCOMP_MARKER + "# phoenix-apparmor: without-bpf\n": WITHOUT_BPF,
}
PRIVILEGED = b"".join(x for x in PVE_GENERATED.splitlines(True) if b"idmap" not in x)


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.confined("952", BASE, DOCKER, "lxc-other")
    host.profile(BASE, before=SECCOMP_MARKER)
    host.profile(DOCKER, before=NAMESPACE_MARKER)
    host.write(SECCOMP, "2\ndenylist\n")
    return host


def stacked(host: FakeHost) -> bool:
    return b"//&:lxc-952_<-var-lib-lxc>:" in host.read("/var/lib/lxc/952/config")


def namespace(host: FakeHost) -> bool:
    folder = "/sys/kernel/security/apparmor/policy/namespaces"
    return host.path(f"{folder}/lxc-952_<-var-lib-lxc>").is_dir()


@pytest.mark.parametrize("way", ["hookscript", "unit"])
def test_profile_with_the_marker_is_stacked(host: FakeHost, way: str) -> None:
    host.assign(c952=DOCKER)

    def start() -> Done:
        return host.hook("952") if way == "hookscript" else host.unit("pre-start", "952")

    assert start().status == 0
    assert stacked(host)
    assert namespace(host)
    if way == "hookscript":
        assert host.read("/etc/pve/lxc/952.conf").endswith(b": lxc-nvidia-gpu-docker\n")
    host.path("/sys/kernel/security/apparmor/policy/namespaces/lxc-952_<-var-lib-lxc>").rmdir()
    before = host.read("/var/lib/lxc/952/config")
    assert start().status == 0
    assert namespace(host), "made again at each start"
    assert host.read("/var/lib/lxc/952/config") == before
    host.assign(c952=BASE)
    start()
    assert not stacked(host)


def test_who_is_not_stacked(host: FakeHost) -> None:
    host.assign(c952=BASE)
    host.hook("952")
    assert not stacked(host)
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_policy_namespace": False}})
    host.hook("952")
    assert not stacked(host), "excepted"
    host.assign(c952=DOCKER)
    host.runtime("952", b"lxc.apparmor.profile = x\n")
    host.hook("952")
    assert not stacked(host), "privileged"
    assert not namespace(host)
    host.runtime("952")
    host.hook("952")
    assert stacked(host)


def test_the_namespace_goes_when_no_process_is_left(host: FakeHost) -> None:
    host.assign(c952=DOCKER)
    host.hook("952")
    host.write("/sys/fs/cgroup/lxc/952/cgroup.events", "populated 1\nfrozen 0\n")
    assert host.unit("post-stop", "952").status == 0
    assert namespace(host)
    host.write("/sys/fs/cgroup/lxc/952/cgroup.events", "populated 0\nfrozen 0\n")
    assert host.unit("post-stop", "952") == (0, "", "")
    assert not namespace(host)
    assert host.unit("post-stop", "952").status == 0


@pytest.mark.parametrize(
    ("label", "stays"),
    [
        # what the root of another container has named
        (f"{DOCKER}//&:lxc-411_<-var-lib-lxc>:foo.952 (enforce)", False),
        (f"{DOCKER}//&:lxc-411_<-var-lib-lxc>:x//&:lxc-952_<-var-lib-lxc>:y (mixed)", False),
        (f"{DOCKER}//&:lxc-411_<-var-lib-lxc>:x (enforce)//&{DOCKER}.952 (mixed)", False),
        (f"{BASE} (enforce)", False),
        # a process of its own
        (f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:foo.411 (enforce)", True),
        (":lxc-952_<-var-lib-lxc>:unconfined", True),
        (f"{DOCKER}.952 (enforce)", True),
        (f"{DOCKER}.952.trial//&{DOCKER}.guard//&:lxc-952_<-var-lib-lxc>:unconfined (mixed)", True),
    ],
)
def test_no_other_container_keeps_the_namespace(host: FakeHost, label: str, stays: bool) -> None:
    host.assign(c952=DOCKER)
    host.hook("952")
    host.write("/proc/5411/attr/current", f"{label}\n")
    assert host.unit("post-stop", "952").status == 0
    assert namespace(host) == stays


def seccomp(host: FakeHost) -> list[bytes]:
    """The values of lxc.seccomp.profile, of which LXC takes the last."""
    lines = host.read("/var/lib/lxc/952/config").splitlines()
    return [x.split(b" = ")[1] for x in lines if x.startswith(b"lxc.seccomp.profile = ")]


@pytest.mark.parametrize("markers", POLICIES)
@pytest.mark.parametrize("way", ["hookscript", "unit"])
def test_a_privileged_container_gets_the_seccomp_policy(
    host: FakeHost, way: str, markers: str
) -> None:
    host.profile(BASE, before=markers)
    host.load(BASE)
    host.write(POLICIES[markers], "2\ndenylist\n")
    host.assign(c952=BASE)
    host.runtime("952", PRIVILEGED)
    for _ in range(2):
        done = host.hook("952") if way == "hookscript" else host.unit("pre-start", "952")
        assert done.status == 0
        assert seccomp(host) == [POLICIES[markers].encode()]
        host.settle()
    host.assign(c952="lxc-other")
    assert host.hook("952").status == 0
    assert seccomp(host) == [], "its profile does not ask for it"


def test_who_gets_no_seccomp_policy(host: FakeHost) -> None:
    host.assign(c952=BASE)
    host.hook("952")
    assert seccomp(host) == [], "unprivileged"
    own = b"lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp\n"
    host.runtime("952", PRIVILEGED + own)
    for _ in range(2):
        assert host.hook("952").status == 0
        assert seccomp(host) == [b"/usr/share/lxc/config/common.seccomp"], "the admin's stays"
        host.settle()


def test_a_container_that_became_unprivileged_loses_it(host: FakeHost) -> None:
    host.assign(c952=BASE)
    host.runtime("952", PRIVILEGED)
    host.hook("952")
    host.settle()
    assert host.hook("952") == (0, "", "")
    idmap = b"lxc.idmap = u 0 100000 65536\n"
    host.runtime("952", idmap + host.read("/var/lib/lxc/952/config"))
    assert host.hook("952").status == 0
    assert seccomp(host) == []


def test_root_of_the_host_in_a_user_namespace_is_guarded_too(host: FakeHost) -> None:
    """It owns the host's files, /proc/sys/kernel/core_pattern among them."""
    host.assign(c952=BASE)
    host.runtime("952", b"lxc.idmap = u 0 0 65536\nlxc.idmap = g 0 0 65536\n" + PRIVILEGED)
    host.hook("952")
    assert seccomp(host) != []
    host.settle()
    assert host.hook("952") == (0, "", "")


@pytest.mark.parametrize("markers", POLICIES)
def test_without_the_seccomp_policy_a_privileged_container_does_not_start(
    host: FakeHost, markers: str
) -> None:
    host.profile(BASE, before=markers)
    host.load(BASE)
    host.write(WITHOUT_BPF, "2\ndenylist\n")
    host.assign(c952=BASE)
    host.runtime("952", PRIVILEGED)
    host.hook("952")
    host.settle()
    host.path(POLICIES[markers]).unlink()
    done = host.hook("952")
    assert done.status == 1
    assert (
        f"CT 952: {POLICIES[markers]}, which guards a privileged container, is missing" in done.err
    )
    assert "--force-confmiss" in done.err
