"""denials: what it advises for Docker, podman and the profiles they load inside a container."""

import pytest

from tests.names import BASE, DOCKER
from tests.unit.denials_host import (
    GENERATED,
    OVERCOMMIT,
    capability,
    denied,
    mounted,
    only,
)
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

pytestmark = pytest.mark.usefixtures("as_shipped")


@pytest.mark.parametrize(
    "program", ["runc", "dockerd", "crun", "netavark", "containerd", "runc:[2:INIT]"]
)
def test_docker_under_the_wrong_profile(host: FakeHost, program: str) -> None:
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())
    group = only(
        host,
        mounted(BASE, "/var/lib/docker/overlay2/5b1c0d2e3f4a5b6c7d8e/merged/proc/", comm=program),
        mounted(BASE, "/run/netns/x", 130, comm=program, more='srcname="/" flags="rw, rbind"'),
    )
    assert (group["advice_kind"], group["rule"], group["count"]) == ("assign", None, 2)
    assert DOCKER in group["advice"] and "CT 950" in group["advice"]


def test_what_the_docker_profile_is_not_for_a_privileged_container(host: FakeHost) -> None:
    tried = mounted(BASE, "/var/lib/docker/overlay2/5b1c0d2e/merged/proc/", comm="runc")
    assert "no security boundary for a privileged" in only(host, tried)["advice"]  # whose, unknown
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())
    for privileged in (True, False):
        conf = "arch: amd64\n" + ("" if privileged else "unprivileged: 1\n")
        host.conf("950", conf)
        told = "no security boundary" in only(host, tried)["advice"]
        assert told is privileged


def test_bubblewrap_under_a_profile_without_roots_of_its_own(host: FakeHost) -> None:
    more = 'srcname="/newroot/" flags="rw, silent, rbind"'
    tried = mounted(BASE, "/newroot/", comm="bwrap", more=more)
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())
    group = only(host, tried)
    assert (group["advice_kind"], group["rule"]) == ("assign", None)
    assert f"bubblewrap (Flatpak too) needs the profile {DOCKER}" in group["advice"]
    # under a narrower one of the site's, rules allow it
    assert only(host, tried.replace(BASE, "lxc-mine"))["rule"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("/run/netns/", 'flags="rw, rshared"'),
        ("/run/netns/vpn", 'srcname="/" flags="rw, bind"'),
        ("/run/netns/", 'flags="rw, rbind" srcname="/run/netns/"'),
    ],
)
def test_a_network_namespace_is_no_container(host: FakeHost, name: str, more: str) -> None:
    """ip netns add, OpenStack, NetworkNamespacePath=: no reason for the profile of Docker."""
    host.runtime("950", b"lxc.apparmor.profile = lxc-mine\n")
    host.profile("lxc-mine")
    group = only(host, mounted("lxc-mine", name, comm="ip", more=more, fstype=""))
    assert (group["advice_kind"], DOCKER in (group["advice"] or "")) == ("rule", False), group
    # those that CNI and podman name are of containers
    for engine in ("cni", "netns"):
        name = f"/run/netns/{engine}-4a9bd1f6-0c1e-7b1f-3b9e-0a1b2c3d4e5f"
        more = 'srcname="/" flags="rw, bind"'
        group = only(host, mounted("lxc-mine", name, comm="k3s", more=more, fstype=""))
        assert group["advice_kind"] == "assign"


def test_another_profile_is_no_advice_where_it_denies_the_same(host: FakeHost) -> None:
    group = only(host, capability(BASE, "sys_time").replace("modprobe", "dockerd"))
    assert (group["advice_kind"], group["rule_is_futile"]) == ("none", True)
    assert "abstractions/phoenix/container, as does" in group["warning"]
    # what only ours deny, a rule would allow under another profile
    group = only(host, mounted("lxc-mine", "/x/", comm="runc", fstype="debugfs"))
    assert (group["advice_kind"], group["rule_is_futile"]) == ("rule", False)
    assert "own interface" in group["warning"]


@pytest.mark.parametrize("program", ["dockerd", "k3s-server"])
@pytest.mark.parametrize("profile", [GENERATED, "lxc-mine", BASE])
def test_a_deny_is_said_of_the_profile_that_has_it(
    host: FakeHost, profile: str, program: str
) -> None:
    mine = "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", mine)
    group = only(host, OVERCOMMIT.format(profile, program))
    assert group["rule_is_futile"] is (profile == BASE)
    # the file is one that the profile includes, and the kinder answer has a place for the rule
    cited = group["warning"].rpartition(" in ")[2].rpartition("/")[2].split(",")[0].rstrip(".")
    if profile == BASE:
        assert f"abstractions/phoenix/{cited}>" in host.read(f"/etc/apparmor.d/{BASE}").decode()
        assert group["warning"].endswith(f"as does {DOCKER}") is (program == "dockerd")
    else:
        assert group["rule"] and group["rule_file"]
        assert "our profiles close that" in group["warning"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("/data/docker/overlay2/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/", "/data/docker"),
        ("/srv/big/containerd/io.containerd.runtime.v2.task/moby/5b1c0d2e3f4a5b6c/rootfs/sys/",
         "/srv/big/containerd"),
        ("/data/containers/storage/overlay/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/",
         "/data/containers"),
        ("/opt/u/.local/share/containers/storage/overlay/5b1c0d2e3f4a5b6c/merged/sys/",
         "/opt/u/.local/share/containers"),
    ],
)  # fmt: skip
def test_an_engines_data_elsewhere(host: FakeHost, name: str, rule: str) -> None:
    host.runtime("952", f"lxc.apparmor.profile = {DOCKER}\n".encode())
    host.conf("952", "unprivileged: 1\n")
    others = name.replace("5b1c", "6c2d").replace("proc/", "sys/")
    both = (mounted(DOCKER, name, comm="runc"), mounted(DOCKER, others, 130, comm="dockerd"))
    group = only(host, *both)
    assert group["rule"] == f'mount -> "{rule}/**",'
    assert group["rule_file"] == f"/etc/apparmor.d/local/{DOCKER}"
    assert (group["warning"], group["count"]) == (None, 2)
    host.write(f"/etc/apparmor.d/local/{DOCKER}", group["rule"] + "\n")
    assert run_parser(group["rule"], host.root).returncode == 0
    # root of a privileged container may call itself runc
    host.conf("952", "hostname: x\n")
    host.path(f"/etc/apparmor.d/local/{DOCKER}").unlink()
    assert "any mount there" in only(host, *both)["warning"]


@pytest.mark.parametrize(
    ("program", "more", "warning"),
    [
        ("mount", 'srcname="/proc/" flags="rw, rbind"', "/proc/"),
        ("runc", 'srcname="/proc/" flags="rw, rbind"', "/proc/"),
        ("mount.nfs", 'fstype="nfs4" srcname="nas:/m" flags="rw"', ""),
        ("chroot.sh", 'fstype="proc" srcname="proc" flags="rw"', "proc"),
        ("runc", 'flags="rw, remount"', "other options"),
    ],
)
@pytest.mark.parametrize("folder", ["image", "volumes", "rootfs", "img"])
def test_a_folder_called_like_an_engines_is_no_engine(
    host: FakeHost, folder: str, program: str, more: str, warning: str
) -> None:
    host.runtime("952", f"lxc.apparmor.profile = {DOCKER}\n".encode())
    host.conf("952", "hostname: x\n")
    group = only(host, mounted(DOCKER, f"/mnt/data/{folder}/x/", comm=program, more=more))
    assert "**" not in group["rule"] and f"/mnt/data/{folder}/x/" in group["rule"]
    assert warning in (group["warning"] or "") and bool(group["warning"]) == bool(warning)


def test_an_engines_data_where_its_profile_allows_it(host: FakeHost) -> None:
    name = "/var/lib/containers/storage/overlay/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/"
    group = only(host, mounted(DOCKER, name, comm="runc"))
    assert group["rule"] is None and "abstractions/phoenix/docker" in group["advice"]


def test_an_engines_data_where_no_line_helps(host: FakeHost) -> None:
    name = "/run/credentials/docker/overlay2/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/"
    group = only(host, mounted(DOCKER, name, comm="runc"))
    assert (group["rule"], group["rule_is_futile"]) == (None, True)
    assert "Move the folder" in group["advice"]


ENGINES = (
    'operation="change_onexec" info="label not found" error=-2 profile="{}" pid=9 '
    'comm="runc:[2:INIT]" name="docker-default"'
)


def test_why_the_engines_profile_is_missing_decides_what_helps(host: FakeHost) -> None:
    def advice(profile: str) -> str:
        host.runtime("952", f"lxc.apparmor.profile = {profile}\n".encode())
        said: str = only(host, denied(ENGINES.format(profile)))["advice"]
        return said

    host.json({"952": {"apparmor_profile": DOCKER}})
    host.conf("952", "unprivileged: 1\n")
    assert "Restart the container" in advice(DOCKER)
    now = advice(BASE)  # from before it was assigned the other
    assert f"ran under {BASE} then" in now and "Restart the container" in now
    host.json({"952": {"apparmor_profile": BASE}})
    assert f'"apparmor_profile": "{DOCKER}"' in advice(BASE) and "Restart" not in advice(BASE)
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_policy_namespace": False}})
    assert '"apparmor_policy_namespace": false' in advice(DOCKER)
    host.conf("952", "hostname: x\n")
    assert "privileged container has no policy namespace" in advice(DOCKER)


@pytest.mark.parametrize(
    ("flags", "warning"),
    [
        ("rw, remount, bind", "makes writable"),
        ("ro, remount", "other options"),
        ("ro, remount, bind, nosymfollow", ""),
    ],
)
def test_what_the_host_shares_with_root_of_its_own(
    host: FakeHost, flags: str, warning: str
) -> None:
    """Of root of a user namespace, what Proxmox mounts keeps its options; what LXC does, not."""
    host.runtime("952", f"lxc.apparmor.profile = {BASE}\n".encode())
    tried = mounted(BASE, "/models/", more=f'flags="{flags}"')
    host.conf("952", "hostname: x\n")
    group = only(host, tried)
    assert warning in (group["warning"] or "") and bool(group["warning"]) == bool(warning)
    if warning:
        assert group["fix"] is None and group["rule"].startswith("mount options=(")
    host.conf("952", "unprivileged: 1\n")
    assert ("lxc.mount.entry" in (only(host, tried)["warning"] or "")) == ("makes" in warning)
    # bubblewrap's root, in which lxc-nvidia-gpu-docker allows it anything
    assert only(host, tried.replace("/models/", "/newroot/x/"))["warning"] is None


def test_why_policy_may_not_be_changed_decides_what_helps(host: FakeHost) -> None:
    load = 'operation="profile_load" info="not policy admin" error=-13 {} pid=9 comm="snapd"'

    def advice(whose: str) -> str:
        said: str = only(host, denied(load.format(whose)).replace("DENIED", "STATUS"))["advice"]
        return said

    host.runtime("952", f"lxc.apparmor.profile = {DOCKER}\n".encode())
    host.json({"952": {"apparmor_profile": DOCKER}})
    host.conf("952", "unprivileged: 1\n")
    assert "Restart the container" in advice(f'profile="{DOCKER}"')
    assert "Restart" not in advice(f'profile="{BASE}"')
    stacked = f'label="{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined"'
    assert "only root of the container" in advice(stacked)
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_policy_namespace": False}})
    assert '"apparmor_policy_namespace": false' in advice(f'profile="{DOCKER}"')
    host.conf("952", "hostname: x\n")
    assert "privileged container has no policy namespace" in advice(f'profile="{DOCKER}"')
