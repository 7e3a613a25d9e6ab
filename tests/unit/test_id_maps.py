"""doctor on lxc.idmap: what the kernel refuses, and what newuidmap does not let root map."""

import json

import pytest

from tests.names import BASE
from tests.unit.doctor_host import CONF, diagnose, make_sound, run_fix
from tests.unit.fakehost import FakeHost

USUAL = "root:100000:65536\n"
WITH_44 = (
    "lxc.idmap: u 0 100000 65536\nlxc.idmap: g 0 100000 44\nlxc.idmap: g 44 44 1\n"
    "lxc.idmap: g 45 100045 65491\n"
)


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    """As Proxmox is installed: with uidmap, and root's usual ids."""
    make_sound(host)
    for name in ("newuidmap", "newgidmap"):
        host.write(f"/usr/bin/{name}", "").chmod(0o4755)
    for name in ("subuid", "subgid"):
        host.write(f"/etc/{name}", f"max:231072:65536\n{USUAL}")
    return host


@pytest.mark.parametrize(
    ("lines", "why", "seen"),
    [
        (
            "lxc.idmap: u 0 100000 65536\nlxc.idmap: u 100 165536 10\n"
            "lxc.idmap: g 0 100000 65536\n",
            "its lxc.idmap lines map uids 100-109 of the container twice",
            "lxc.idmap: u 0 100000 65536; lxc.idmap: u 100 165536 10",
        ),
        (
            "lxc.idmap: u 0 100000 1000\nlxc.idmap: g 0 100000 100\nlxc.idmap: g 100 100099 1\n",
            "its lxc.idmap lines map gid 100099 of the host twice",
            "lxc.idmap: g 0 100000 100; lxc.idmap: g 100 100099 1",
        ),
        (
            "lxc.idmap: u 0 100000 65536\n",
            "it maps no gids at all, not even root's",
            "lxc.idmap: u 0 100000 65536",
        ),
        (
            "lxc.idmap: u 0 100000 1000\nlxc.idmap: g 0 100000 0\n",
            "the kernel takes no map of 0 ids",
            "lxc.idmap: g 0 100000 0",
        ),
        (
            "lxc.idmap: u 0 0 4294967296\nlxc.idmap: g 0 100000 10\n",
            "the kernel has no ids beyond 4294967294",
            "lxc.idmap: u 0 0 4294967296",
        ),
        (
            "lxc.idmap: b 0 100000 65536\n",
            "Proxmox takes lxc.idmap only as: u|g FIRST HOST_FIRST COUNT",
            "lxc.idmap: b 0 100000 65536",
        ),
        (
            "lxc.idmap: u 0 100000 65536\nlxc.idmap: g 0 100000 65536\nlxc.idmap: g 1\n",
            "Proxmox takes lxc.idmap only as",
            "lxc.idmap: g 1",
        ),
    ],
)
def test_what_ends_the_start(host: FakeHost, lines: str, why: str, seen: str) -> None:
    host.write("/etc/subuid", f"{USUAL}root:165536:10\n")
    host.conf("950", f"{CONF}{lines}")
    (found,) = (f for f in diagnose(host) if f["check"] == "id-maps")
    assert found["what"].startswith(f"CT 950 cannot start: {why}"), found
    assert found["evidence"] == f"/etc/pve/lxc/950.conf: {seen}"
    assert (found["severity"], found["containers"]) == ("error", ["950"])


def test_maps_of_an_included_file_come_behind_proxmoxs(host: FakeHost) -> None:
    host.conf("950", f"{CONF}lxc.include: /root/ids.conf\n")
    host.write("/root/ids.conf", "lxc.idmap = u 1000 1000 1\n")
    (found,) = (f for f in diagnose(host) if f["check"] == "id-maps" and "twice" in f["what"])
    assert "map uid 1000 of the container twice" in found["what"]
    assert "950.conf: unprivileged: 1, without lxc.idmap; /root/ids.conf: " in found["evidence"]
    maps = WITH_44.replace(":", " =").partition("lxc.idmap = g 44")[0]
    host.write("/root/ids.conf", f"lxc.idmap =\n{maps}")
    assert [f for f in diagnose(host) if f["check"] == "id-maps"] == []


def test_ids_that_root_may_not_map(host: FakeHost) -> None:
    """One finding for all of them, as their fix is for one file; and nothing is added twice."""
    host.write("/etc/subgid", f"max:231072:65536\n{USUAL}".rstrip("\n"))
    host.conf("950", CONF + WITH_44)
    host.conf("951", f"unprivileged: 1\n{WITH_44.replace('u 0 100000 65536', 'u 0 99000 65536')}")
    (found,) = diagnose(host)
    assert found["what"].startswith(
        "CT 950, 951 cannot start: root may not map these ids of the host: "
        "uids 99000-99999 (/etc/subuid); gid 44 (/etc/subgid)."
    )
    run_fix(host, found["fix"])
    assert diagnose(host) == []
    assert host.read("/etc/subgid").decode().split() == [
        "max:231072:65536",
        USUAL.strip(),
        "root:44:1",
    ]


@pytest.mark.parametrize("by", ["0:44:1", "root:40:2\nroot:42:10", "root:44:1:x"])
def test_what_newgidmap_takes_as_well(host: FakeHost, by: str) -> None:
    """Tried with the program of Debian 12."""
    host.conf("950", CONF + WITH_44)
    assert [f["check"] for f in diagnose(host)] == ["id-maps"]
    host.write("/etc/subgid", f"# ids\n{USUAL}{by}\n")
    assert diagnose(host) == []
    host.write("/etc/subgid", f"{USUAL} root:44:1\nother:44:1\n")
    assert [f["check"] for f in diagnose(host)] == ["id-maps"]


def test_the_fixes_of_two_containers_add_nothing_twice(host: FakeHost) -> None:
    host.conf("950", CONF + WITH_44)
    host.conf("951", f"unprivileged: 1\n{WITH_44}")
    fixes = []
    for ctid in ("950", "951"):
        found = json.loads(host.cli("doctor", ctid, "--json").out)["findings"]
        fixes += [f["fix"] for f in found if f["check"] == "id-maps"]
    assert len(fixes) == 2
    for fix in fixes:
        run_fix(host, fix)
    assert host.read("/etc/subgid").decode().count("root:44:1") == 1


def test_proxmoxs_own_map(host: FakeHost) -> None:
    host.path("/etc/subuid").unlink()
    (found,) = diagnose(host)
    assert "uids 100000-165535 (/etc/subuid)" in found["what"]
    assert found["evidence"] == "/etc/pve/lxc/950.conf: unprivileged: 1, without lxc.idmap"
    run_fix(host, found["fix"])
    assert host.read("/etc/subuid").decode() == USUAL and diagnose(host) == []


def test_where_lxc_writes_the_maps_itself(host: FakeHost) -> None:
    host.conf("950", CONF + WITH_44.replace("u 0 100000 65536", "u 0 0 65536"))
    assert {f["check"] for f in diagnose(host)} == {"other-locks"}, "it maps root of the host"
    host.conf("950", CONF + WITH_44)
    host.path("/usr/bin/newgidmap").unlink()
    assert diagnose(host) == []


def test_where_nobody_can_tell(host: FakeHost) -> None:
    host.conf("950", CONF + WITH_44)
    host.write("/etc/nsswitch.conf", "subid: sss  # central\n")
    (found,) = diagnose(host)
    assert (
        found["severity"] == "unknown" and "cannot tell whether CT 950 can start" in found["what"]
    )
    host.write("/etc/nsswitch.conf", "subid: files\n")
    assert [f["severity"] for f in diagnose(host)] == ["error"]
    host.path("/usr/bin/newgidmap").chmod(0o755)
    assert [f["severity"] for f in diagnose(host)] == ["unknown"], "it may have file capabilities"


def test_a_template_and_a_container_without_a_user_namespace(host: FakeHost) -> None:
    host.write("/etc/subuid", "")
    host.conf("950", CONF.replace("unprivileged: 1\n", ""))
    host.conf("951", f"template: 1\n{WITH_44}lxc.apparmor.profile: {BASE}\n")
    assert [f["severity"] for f in diagnose(host)] == ["note"]


@pytest.mark.parametrize(
    ("line", "means"),
    [
        (
            "lxc_map_ids: 1 newgidmap failed to write mapping "
            '"newgidmap: gid range [44-45) -> [44-45) not allowed": newgidmap 7 44 44 1',
            "such as root:44:1",
        ),
        (
            "lxc_map_ids: 1 newuidmap failed to write mapping "
            '"newuidmap: write to uid_map failed: Invalid argument": newuidmap 7 0 1 5',
            "an id is mapped twice",
        ),
        ("failed to parse idmap: b 0 100000 65536", "not as Proxmox reads it"),
    ],
)
def test_a_start_that_failed_for_it(host: FakeHost, line: str, means: str) -> None:
    host.failed("950")
    host.write("/run/pve/ct-950.stderr", f"{line}\n")
    found = json.loads(host.cli("doctor", "950", "--json").out)["findings"]
    assert means in found[0]["advice"], found
