"""suggest: what it sees, what it writes, and that it cannot be led out of a container's root."""

import json

import pytest

from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import FakeHost
from tests.unit.suggest_host import conf, root_of, suggested


def test_docker_is_seen_in_the_files(host: FakeHost) -> None:
    conf(host, "950")
    root_of(host, "950")
    conf(host, "952")
    root_of(host, "952", "usr/bin/dockerd")
    conf(host, "953")
    root_of(host, "953", "usr/bin/podman")
    found = suggested(host)
    assert {c: found[c]["profile"] for c in found} == {"950": BASE, "952": DOCKER, "953": DOCKER}
    assert "Docker (/usr/bin/dockerd)" in found["952"]["why"][0]
    assert "podman" in found["953"]["why"][0]
    assert found["950"]["unsure"] is None


def test_what_cannot_be_seen_is_not_taken_for_absent(host: FakeHost) -> None:
    """An image, or a subvolume that is not mounted: features decide, and it says so."""
    conf(host, "950")
    root_of(host, "951")
    folder = host.path("/rpool/data/subvol-952-disk-0")
    folder.mkdir()
    conf(host, "952", "features: nesting=1")
    host.conf("953", "rootfs: local:953/vm-953-disk-0.raw\nfeatures: keyctl=1,nesting=1\n")
    found = suggested(host)
    assert found["950"]["profile"] == BASE and found["950"]["unsure"]
    assert found["952"]["profile"] == DOCKER and found["952"]["unsure"]
    assert found["953"]["profile"] == DOCKER and "keyctl=1" in found["953"]["why"][0]
    assert "If it runs no containers" in found["953"]["unsure"], "keyctl=1 is no proof either"
    # seen, the same container needs less
    (folder / "usr").mkdir()
    assert suggested(host)["952"]["profile"] == BASE


@pytest.mark.parametrize("features", ["keyctl=1,nesting=1", "nesting=1"])
@pytest.mark.parametrize("running", [True, False])
def test_what_the_files_show_goes_before_what_features_hint_at(
    host: FakeHost, features: str, *, running: bool
) -> None:
    """Scripts turn keyctl and nesting on for every container that they make."""
    conf(host, "950", f"features: {features}")
    folder = root_of(host, "950")
    if running:
        host.running("950", "lxc-950_</var/lib/lxc> (enforce)")
        host.path("/proc/4242/root").symlink_to(folder)
    found = suggested(host)["950"]
    assert (found["profile"], found["unsure"]) == (BASE, None)
    why = "has no Docker, podman or containerd among its files, though it has the feature nesting=1"
    assert found["why"][0].startswith(why)
    assert ("and the feature keyctl=1, which Docker needs" in found["why"][0]) is (
        "keyctl" in features
    )
    assert "containers inside (nesting=1), which its files do not show" in found["takes_away"]
    root_of(host, "950", "usr/bin/dockerd")
    assert suggested(host)["950"]["profile"] == DOCKER


@pytest.mark.parametrize(
    ("line", "is_sign"),
    [
        ("mp0: /tank/dk,mp=/var/lib/docker", True),
        ("mp3: local-lvm:vm-950-disk-1,size=8G,mp=/var/lib/containerd/", True),
        ("mp0: volume=/tank/dk,mp=/var/lib/containers/storage,backup=1", True),
        ("mp0: /tank/dk,mp=/var/lib/containers", True),
        ("lxc.mount.entry: /tank/dk var/lib/docker none bind,create=dir 0 0", True),
        ("mp0: /var/lib/docker,mp=/srv/backup", False),
        ("mp0: /tank/dk,mp=/srv/dockerfiles", False),
        ("lxc.mount.entry: /run/docker.sock run/docker.sock none bind,create=file 0 0", False),
    ],
)
def test_a_mount_point_for_a_store_is_a_sign_of_docker(
    host: FakeHost, line: str, is_sign: bool
) -> None:
    """Of a container at rest whose files nobody sees."""
    host.conf("950", f"rootfs: local:950/vm-950-disk-0.raw\nunprivileged: 1\n{line}\n")
    found = suggested(host)["950"]
    assert found["profile"] == (DOCKER if is_sign else BASE)
    assert bool(found["unsure"]) is not is_sign
    assert f"({line.partition(chr(58))[0]})" in found["why"][0] or not is_sign
    assert "//" not in found["why"][0]


def test_links_end_in_the_root(host: FakeHost) -> None:
    """dockerd of the host's, reached by links that root in the container chose."""
    outside = host.write("/outside/dockerd", "")
    conf(host, "950")
    folder = root_of(host, "950")
    (folder / "usr/bin/dockerd").symlink_to(outside)
    (folder / "usr/bin/podman").symlink_to("../../../../../outside/dockerd")
    (folder / "usr/bin/containerd").symlink_to("/proc/self/root" + str(outside))
    (folder / "var").symlink_to("/proc/1/root/var")
    assert outside.exists()
    assert suggested(host)["950"]["profile"] == BASE
    # the control: the same links to something in the root
    (folder / "usr/bin/dockerd").unlink()
    (folder / "usr/bin/dockerd").symlink_to("/usr/bin/sh")
    assert suggested(host)["950"]["profile"] == DOCKER


def test_a_running_container_is_seen_through_its_init(host: FakeHost) -> None:
    host.conf("952", "lxc.apparmor.profile: unconfined\n")
    host.running("952", "unconfined")
    host.write("/proc/4242/root/usr/bin/dockerd", "")
    host.write("/proc/4242/root/etc/fstab", "# nas nfs\nnas:/x /x nfs4 defaults 0 0\n")
    host.write("/proc/4242/mounts", "//nas/y /y cifs rw 0 0\noverlay / overlay rw 0 0\n")
    [found] = suggested(host).values()
    assert (found["profile"], found["under"]) == (DOCKER, "unconfined")
    taken = " ".join(found["takes_away"])
    assert "unconfined now" in taken and "nfs4" in taken and "cifs" in taken
    assert "overlay" not in taken
    # of a user namespace, what the host mounted for it
    host.conf("952", "unprivileged: 1\nlxc.apparmor.profile: unconfined\n")
    [found] = suggested(host).values()
    assert "nfs4" not in " ".join(found["takes_away"])


@pytest.mark.parametrize(
    ("line", "is_gpu"),
    [
        ("dev0: /dev/nvidia0,gid=44", True),
        ("dev1: /dev/dri/renderD128", True),
        ("lxc.mount.entry: /dev/nvidiactl dev/nvidiactl none bind,optional,create=file", True),
        ("lxc.mount.entry: /dev/nvidiactl dev/nvidiactl none bind,optional", False),
        ("lxc.cgroup2.devices.allow: c 195:* rwm", True),
        ("lxc.cgroup2.devices.allow = c 226:128 rwm", True),
        ("lxc.cgroup2.devices.allow: /dev/nvidia0 rwm", True),
        ("lxc.cgroup2.devices.allow: c 195:* rwm # nvidia", True),
        ("lxc.cgroup2.devices.allow: b 195:* rwm", False),
        ("lxc.cgroup2.devices.allow: /dev/sda rwm", False),
        ("lxc.hook.mount: /usr/share/lxc/hooks/nvidia", True),
        ("dev0: /dev/ttyUSB0", False),
        ("#dev0: /dev/nvidia0", False),
        ("  dev0: /dev/nvidia0", False),
        ("lxc.cgroup2.devices.allow: c 10:200 rwm", False),
        ("lxc.cgroup2.devices.allow: c 10:195 rwm", False),
        ("mp0: /mnt/nvidia,mp=/nvidia", False),
    ],
)
def test_a_gpu_is_seen_in_the_configuration(host: FakeHost, line: str, is_gpu: bool) -> None:
    conf(host, "950", line)
    why = suggested(host)["950"]["why"]
    assert any("has a GPU" in reason for reason in why) == is_gpu
    assert any("has no GPU" in reason for reason in why) != is_gpu


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("features: mount=nfs;cifs", "mount fstype=cifs,"),
        ("lxc.apparmor.raw: mount fstype=ext4,", "mount fstype=ext4,"),
        ("lxc.apparmor.profile: unconfined", "its user namespace allows"),
    ],
)
def test_what_it_takes_away(host: FakeHost, line: str, word: str) -> None:
    conf(host, "950", line, unprivileged="features" not in line)
    conf(host, "951")
    root_of(host, "950")
    found = suggested(host)
    assert word in " ".join(found["950"]["takes_away"])
    assert found["951"]["takes_away"] == []


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("lxc.mount.auto: proc:rw sys:rw", "/proc/sys"),
        ("lxc.apparmor.profile: unconfined", "the host's kernel"),
    ],
)
def test_what_a_user_namespace_takes_already(host: FakeHost, line: str, word: str) -> None:
    conf(host, "950", line, unprivileged=False)
    conf(host, "951", line)
    found = suggested(host)
    assert word in " ".join(found["950"]["takes_away"])
    assert word not in " ".join(found["951"]["takes_away"])


@pytest.mark.parametrize(
    "lines",
    [
        (f"lxc.apparmor.profile: {BASE}", "features: mount=nfs", "lxc.apparmor.raw: mount,"),
        ("lxc.apparmor.profile: lxc-own", "lxc.apparmor.raw: mount,"),
        ("lxc.apparmor.profile: lxc-own", "features: mount=nfs"),
        ("features: mount=overlay",),
        ("features: mount=nfs;cifs",),
    ],
    ids=[
        "under it already",
        "a rule that does nothing",
        "a feature that does nothing",
        "allowed",
        "what no user namespace mounts",
    ],
)
def test_what_it_does_not_take_away(host: FakeHost, lines: tuple[str, ...]) -> None:
    """What it does not have today, or would keep."""
    host.profile("lxc-own")
    host.profile(BASE, "  mount fstype=overlay,")
    conf(host, "950", *lines)
    root_of(host, "950")
    assert suggested(host)["950"]["takes_away"] == []


def test_the_words_are_those_of_its_configuration(host: FakeHost) -> None:
    conf(host, "950", "lxc.apparmor.allow_nesting: 1")
    host.conf("951", "unprivileged: yes\nfeatures: nesting=on\n")
    host.running("951", "unconfined")
    found = suggested(host)
    assert "nesting=1" not in found["950"]["why"][0] and "allow_nesting" in found["950"]["why"][0]
    assert found["951"]["privileged"] is False and "nesting=1" in found["951"]["why"][0]
    assert "start it" in found["950"]["unsure"] and "start it" not in found["951"]["unsure"]
    rows = [line.split() for line in host.cli("suggest").out.splitlines()[1:3]]
    assert [row[3] for row in rows] == ["down", "unconfined"]


def test_the_hosts_own_folders_in_a_privileged_container(host: FakeHost) -> None:
    for ctid, unprivileged in (("950", False), ("951", True)):
        conf(host, ctid, "mp0: /sys,mp=/hostsys", unprivileged=unprivileged)
        root_of(host, ctid)
    said = {c: " ".join(entry["why"]) for c, entry in suggested(host).items()}
    assert "the host's /sys at /hostsys (mp0)" in said["950"] and "hostsys" not in said["951"]


def test_a_container_without_mapped_ids_is_privileged(host: FakeHost) -> None:
    conf(host, "950", unprivileged=False)
    conf(host, "951")
    host.conf("952", "lxc.idmap: u 0 100000 65536\n")
    found = suggested(host)
    assert [found[c]["privileged"] for c in ("950", "951", "952")] == [True, False, False]


def test_a_host_without_proxmox(host: FakeHost) -> None:
    host.path("/etc/pve/lxc").rmdir()
    host.path("/etc/pve").rmdir()
    host.write("/srv/950/usr/bin/dockerd", "")
    text = "lxc.uts.name = ml\nlxc.rootfs.path = dir:/srv/950\nlxc.idmap = u 0 1 1\n"
    host.runtime("950", text.encode())
    assert suggested(host)["950"]["profile"] == DOCKER
    target = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"
    assert host.cli("suggest", "--write").status == 0
    assert json.loads(host.read(target)) == {
        "lxc_configs": {"950": {"name": "ml", "apparmor_profile": DOCKER}}
    }


def test_whether_it_runs_may_be_unknown(host: FakeHost) -> None:
    conf(host, "950")
    host.path("/proc/net/unix").unlink(missing_ok=True)
    (said,) = suggested(host).values()
    assert "nor whether it runs" in said["unsure"] and "while it is down" not in said["unsure"]
    row = next(line for line in host.cli("suggest").out.split("\n") if line.startswith("950"))
    assert row.split()[-2] == "?"
    host.write("/proc/net/unix", "Num\n")
    (said,) = suggested(host).values()
    assert "while it is down" in said["unsure"]


def test_the_profile_that_its_configuration_names_stays(host: FakeHost) -> None:
    """Somebody chose it: base instead would take away what it allows."""
    host.profile("lxc-web")
    host.profile(BASE)
    for ctid, name in (("950", DOCKER), ("951", "lxc-web"), ("952", BASE)):
        conf(host, ctid, f"lxc.apparmor.profile: {name}")
        root_of(host, ctid)
    found = suggested(host)
    assert {c: found[c]["profile"] for c in found} == {"950": DOCKER, "951": "lxc-web", "952": BASE}
    assert f"{BASE} is narrower" in " ".join(found["950"]["why"])
    assert found["951"]["takes_away"] == []
    assert host.cli("suggest", "--write").status == 0
    assert host.cli("validate").status == 0
    entries = json.loads(host.read(JSON))["lxc_configs"]
    assert entries["951"]["apparmor_profile"] == "lxc-web"
    # base is no reason to keep Docker out
    conf(host, "953", f"lxc.apparmor.profile: {BASE}")
    root_of(host, "953", "usr/bin/dockerd")
    assert suggested(host)["953"]["profile"] == DOCKER


def test_a_profile_that_cannot_be_kept_is_named_with_what_is_lost(host: FakeHost) -> None:
    nests = "lxc-container-default-with-nesting"
    for ctid, name in (("950", "lxc-gone"), ("951", nests), ("952", "generated")):
        conf(host, ctid, f"lxc.apparmor.profile: {name}")
    found = suggested(host)
    assert found["950"]["profile"] == BASE
    assert "what lxc-gone allows" in found["950"]["takes_away"][0]
    assert found["951"]["profile"] == DOCKER and nests in found["951"]["why"][0]
    assert nests in found["951"]["takes_away"][0]
    assert found["952"]["takes_away"] == []


def test_why_its_files_cannot_be_seen(host: FakeHost) -> None:
    """A subvolume is a folder at all times: it is not there for another reason than an image."""
    root_of(host, "959")
    for ctid, rootfs, why in (
        ("950", "zfs:subvol-950-disk-0,size=8G", "zfs:subvol-950-disk-0 is not mounted"),
        ("951", "local:951/vm-951-disk-0.raw", "an image, which is mounted only while it runs"),
        ("952", "gone:subvol-952-disk-0", "pvesm path gone:subvol-952-disk-0 fails"),
        ("953", "zfs:subvol-953-disk-0", "has no system in it"),
    ):
        host.conf(ctid, f"rootfs: {rootfs}\nunprivileged: 1\n")
        host.path("/rpool/data/subvol-953-disk-0").mkdir(exist_ok=True)
        said = suggested(host, ctid)[ctid]["unsure"]
        assert why in said and ("image" in said) == (ctid == "951"), said


@pytest.mark.parametrize("unprivileged", [True, False])
@pytest.mark.parametrize("stack", ["", "//&:lxc-950_<-var-lib-lxc>:"])
@pytest.mark.parametrize("profile", [BASE, DOCKER])
def test_one_of_ours_that_its_configuration_names_stays(
    host: FakeHost, profile: str, stack: str, unprivileged: bool
) -> None:
    """Proxmox turns nesting on by default, and Docker does not run under lxc-nvidia-gpu-base."""
    line = f"lxc.apparmor.profile: {profile}{stack}"
    conf(host, "950", line, "features: nesting=1,keyctl=1", unprivileged=unprivileged)
    assert suggested(host)["950"]["profile"] == profile
    root_of(host, "950", "usr/bin/dockerd")
    assert suggested(host)["950"]["profile"] == DOCKER


def test_what_the_docker_profile_is_not_for_a_privileged_container(host: FakeHost) -> None:
    for ctid, unprivileged in (("950", False), ("951", True)):
        conf(host, ctid, "features: nesting=1,keyctl=1", unprivileged=unprivileged)
    found = suggested(host)
    assert {found[ctid]["profile"] for ctid in found} == {DOCKER}
    told = {ctid: "no security boundary" in " ".join(found[ctid]["why"]) for ctid in found}
    assert told == {"950": True, "951": False}


@pytest.mark.parametrize(
    ("lines", "comes"),
    [
        ((f"lxc.apparmor.profile: {BASE}",), True),
        (("lxc.apparmor.profile: lxc-own",), False),
        ((f"lxc.apparmor.profile: {BASE}", "lxc.seccomp.profile:"), False),
        ((f"lxc.apparmor.profile: {BASE}", "lxc.seccomp.profile: /usr/share/lxc/x"), False),
    ],
)
def test_a_seccomp_policy_is_promised_where_it_comes(
    host: FakeHost, lines: tuple[str, ...], comes: bool
) -> None:
    host.profile("lxc-own")
    host.profile(BASE, before="# phoenix-apparmor: privileged-seccomp\n")
    conf(host, "950", *lines, unprivileged=False)
    why = " ".join(suggested(host)["950"]["why"])
    assert ("a seccomp policy comes with it" in why) is comes
