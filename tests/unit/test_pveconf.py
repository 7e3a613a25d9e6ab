"""How Proxmox reads what stands in a .conf."""

import pytest

from phoenix_apparmor import lxcdevices, lxcsettings, pveconf
from phoenix_apparmor.containers import Conf


def lines(text: str) -> list[bytes]:
    return text.encode().split(b"\n")


def conf(text: str) -> Conf:
    return Conf("950", "/etc/pve/lxc/950.conf", text.encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("nesting=1", {"nesting": ("1",)}),
        ("mount=nfs;cifs,nesting=1", {"mount": ("nfs", "cifs"), "nesting": ("1",)}),
        ("mount=nfs cifs", {"mount": ("nfs", "cifs")}),
        ("nesting=yes;keyctl=1 fuse=on", {"nesting": ("yes",), "keyctl": ("1",), "fuse": ("on",)}),
        ("", {}),
        (None, {}),
        (" , ;", {}),
    ],
)
def test_features_are_read_as_proxmox_reads_them(
    value: str | None, expected: dict[str, tuple[str, ...]]
) -> None:
    assert pveconf.features(value) == expected


def test_booleans_are_read_as_proxmox_reads_them() -> None:
    for word in ("1", "on", "yes", "true", "On", "TRUE"):
        assert pveconf.is_true(word)
    for other in ("0", "off", "no", "false", "2", "", None):
        assert not pveconf.is_true(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unprivileged: 1", True),
        ("unprivileged: yes", True),
        ("unprivileged: 0", False),
        (" unprivileged: 1", False),
        ("lxc.idmap: u 0 100000 65536", True),
        ("lxc.idmap = u 0 100000 65536", True),
        ("unprivileged: 1\nunprivileged: 0", False),
        ("hostname: x", False),
        ("unprivileged: 1\nlxc.idmap: u 0 0 65536", False),
        ("lxc.idmap: u 0 100000 1000\nlxc.idmap: u 1000 0 1", False),
        ("lxc.idmap: b 0 00 1", False),
        ("unprivileged: 1\nlxc.idmap: u 0 100000 65536\nlxc.idmap: g 0 0 1", True),
        # for a map of the container's own Proxmox writes none
        ("unprivileged: 1\nlxc.idmap:", False),
        ("lxc.idmap: u 0 100000 65536\nlxc.idmap:", False),
        ("lxc.idmap: u 0 0 1\nlxc.idmap:\nlxc.idmap: u 0 100000 65536", True),
        ('lxc.idmap: "u 0 100000 65536"', True),
    ],
)
def test_unprivileged_is_the_option_or_mapped_ids(text: str, expected: bool) -> None:
    assert conf(text).is_unprivileged is expected


def test_ids_of_the_host_do_not_undo_the_user_namespace() -> None:
    """Proxmox includes LXC's userns.conf for any map: devices are not denied by their numbers."""
    assert not conf("lxc.idmap: u 0 0 65536").denies_devices
    assert conf("hostname: x").denies_devices


@pytest.mark.parametrize(
    ("text", "denies"),
    [
        ("deny: a", True),
        ("deny: a\nallow: a", False),
        ("allow: a\ndeny: a", True),
        ("deny: a\ndeny:", False),
        ("deny: c 195:* rwm", False),
    ],
)
def test_the_last_line_for_all_devices_decides(text: str, denies: bool) -> None:
    """In an unprivileged container, which may use all that it is given."""
    whole = "".join(f"lxc.cgroup2.devices.{line}\n" for line in text.split("\n"))
    assert conf(f"unprivileged: 1\n{whole}").denies_devices is denies


def test_devices_are_those_of_devn() -> None:
    main = lines("dev1: path=/dev/net/tun,mode=0666\ndev0: /dev/fuse\nmp0: /srv,mp=/data,ro=1")
    assert pveconf.devices(main) == [
        pveconf.Device(0, "/dev/fuse"),
        pveconf.Device(1, "/dev/net/tun", (("mode", "0666"),)),
    ]
    free = pveconf.free_devices(main)
    assert (next(free), next(free)) == (2, 3)


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("", set(lxcsettings.DROPPED)),
        ("lxc.cap.drop:", set()),
        ("lxc.cap.drop:\nlxc.cap.drop: mac_admin sys_module", {"mac_admin", "sys_module"}),
        ("lxc.cap.drop: setuid", {*lxcsettings.DROPPED, "setuid"}),
        ("lxc.cap.drop: setuid\nlxc.cap.drop =", set()),
    ],
)
def test_capabilities_dropped_by_all_lines_together(text: str, dropped: set[str]) -> None:
    assert conf(text).capabilities == (frozenset(dropped), False, None)


@pytest.mark.parametrize(
    ("text", "has", "lacks", "refused"),
    [
        ("keep:\ndrop: chown\nkeep: x", "mac_admin x", "chown", True),
        ("drop:\nkeep: chown", "chown", "mac_admin setuid", False),
        ("drop:\nkeep: chown\nkeep: none\nkeep: kill", "kill", "chown", False),
        # LXC's own list is there before
        ("keep: chown\ndrop: kill", "chown", "kill mac_admin", True),
        ("keep: chown\ndrop:\ndrop: kill", "chown mac_admin", "kill", True),
    ],
)
def test_capabilities_that_are_kept(text: str, has: str, lacks: str, refused: bool) -> None:
    found = conf("".join(f"lxc.cap.{line}\n" for line in text.split("\n"))).capabilities
    assert all(map(found.has, has.split())) and not any(map(found.has, lacks.split()))
    assert (found.refused is not None) is refused
    assert conf("lxc.cap.keep: chown").capabilities.refused is not None
    assert conf("unprivileged: 1\nlxc.cap.keep: chown").capabilities.refused is None


def allowed(text: str) -> list[lxcdevices.Allow]:
    return lxcdevices.allowed(conf(text).settings, lambda _: None)


def test_a_device_line_is_read_as_lxc_reads_it() -> None:
    text = (
        "lxc.cgroup2.devices.allow: a\nlxc.cgroup2.devices.allow: c *:* rwm\n"
        "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup.devices.allow: c 510:0 rw\n"
        "lxc.cgroup2.devices.allow: nonsense"
    )
    found = allowed(text)
    assert [(a.kind, a.major, a.minor, a.cgroup, a.is_all) for a in found] == [
        ("a", None, None, 2, True),
        ("c", None, None, 2, True),
        ("c", 195, None, 2, False),
        ("c", 510, 0, 1, False),
    ]
    v2, v1 = found[2], found[3]
    assert (v2.works(2), v2.works(1), v2.works(None)) == (True, False, True)
    assert (v1.works(2), v1.works(1), v1.works(None)) == (False, True, True)
    assert v1.key == "lxc.cgroup.devices.allow"
    # "a" forgets those of before, of its version of cgroups; an empty value those of its key
    assert allowed(f"{text}\nlxc.cgroup2.devices.deny: a") == [v1]
    assert allowed(f"{text}\nlxc.cgroup.devices.allow:") == [*found[:3]]


def test_devices_that_proxmox_refuses() -> None:
    main = lines(
        "dev0: nvidia0\ndev1: /dev/nvidia1\ndev2: /dev/../etc/x\ndev3: path=/dev/a,mode=0666\n"
        "dev4: mode=0666\ndev5: /dev/x/..\ndev6: /dev/.x\ndev7: /devil"
    )
    assert [d.number for d in pveconf.bad_devices(main)] == [0, 2, 4, 5, 7]


def test_lines_that_proxmox_loses() -> None:
    main = lines("hostname: x\n    lxc.apparmor.profile: a\n\tdev0: /dev/x\n  # words\n \n")
    assert pveconf.lost_lines(main) == ["lxc.apparmor.profile: a", "dev0: /dev/x"]


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("lxc.apparmor.profile : a", True),
        ("LXC.apparmor.profile: a", True),
        ("\ufefflxc.apparmor.profile: a", True),
        ("\ufeffarch: amd64", True),
        ("Dev0: /dev/x", True),
        ("lxc.apparmor.profile = a", False),
        ("lxc.apparmor.profile: a", False),
        ("#LXC.apparmor.profile: a", False),
        ("words of no key", False),
        ("lxc.mount.entri: /srv srv none bind", True),
        # Proxmox passes that on, and LXC does not start with it
        ("lxc.id_map: u 0 100000 65536", False),
        ("lxc.cgroup2.cpu.weight = 5", False),
        # LXC has these, and Proxmox does not take them
        ("lxc.no_new_privs: 1", True),
        ("lxc.hook.start-host: /root/x", True),
        ("lxc.sysctl.net.core.somaxconn: 1024", True),
        ("lxc.sysctl.kernel.shmmax: 1024", False),
        ("", False),
    ],
)
def test_a_line_that_is_spelled_otherwise_is_lost(text: str, lost: bool) -> None:
    assert bool(pveconf.lost_lines([text.encode()])) is lost


@pytest.mark.parametrize(
    ("value", "on"),
    [
        (None, "nesting=1"),
        ("nesting=0;fuse=1", "fuse=1,nesting=1"),
        ("keyctl=1;nesting=0", "keyctl=1,nesting=1"),
        ("mount=nfs;cifs nesting=0", "mount=nfs;cifs,nesting=1"),
        ("fuse=0,fuse=1", "fuse=1,nesting=1"),
    ],
)
def test_a_feature_that_is_turned_on_leaves_the_others(value: str | None, on: str) -> None:
    assert pveconf.with_feature(value, "nesting") == on
    assert pveconf.has_feature(pveconf.features(on), "nesting")


def test_the_next_mount_point() -> None:
    assert pveconf.free_mount_point(lines("mp0: a:x,mp=/x\nmp2: a:y,mp=/y")) == 1
    assert pveconf.free_mount_point(lines("hostname: x")) == 0
