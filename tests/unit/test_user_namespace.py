"""A user namespace with ids of the host's own: what it opens, and what it does not."""

import pytest

from tests.unit.doctor_host import CONF, diagnose, make_sound
from tests.unit.fakehost import FakeHost

ALL = "lxc.idmap: u 0 0 65536\nlxc.idmap: g 0 0 65536\n"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


def test_capabilities_and_numbers_open_nothing_in_it(host: FakeHost) -> None:
    """The kernel asks for them in the host's own user namespace."""
    host.conf("950", f"{CONF}{ALL}lxc.cgroup2.devices.allow: b 8:* rwm\nlxc.cap.drop:\n")
    (found,) = diagnose(host)
    assert (
        found["severity"] == "note"
        and "CT 950 maps an id to root of the host: what" in found["what"]
    )
    assert found["evidence"] == (
        "/etc/pve/lxc/950.conf: lxc.idmap: u 0 0 65536 maps an id to root of the host"
    )


def test_disks_that_root_of_the_host_owns(host: FakeHost) -> None:
    entry = "lxc.mount.entry: /dev/sdb dev/sdb none bind,optional,create=file\n"
    host.conf("950", f"{CONF}{entry}")
    assert diagnose(host) == [], "there it is nobody's"
    host.conf("950", f"{CONF}{ALL}{entry}")
    said = [f for f in diagnose(host) if f["check"] == "devices"]
    assert [f["evidence"] for f in said] == [f"/etc/pve/lxc/950.conf: {entry.strip()}"]
    assert "reads and writes /dev/sdb" in said[0]["what"]


def test_a_file_system_of_a_disk_is_not_mounted_in_it(host: FakeHost) -> None:
    host.write("/dev/sdb1", "")
    host.conf("950", f"{CONF}{ALL}lxc.mount.entry: /dev/sdb1 srv ext4 rw 0 0\n")
    (found,) = (f for f in diagnose(host) if f["check"] == "needs")
    assert "the kernel mounts ext4 only for root of the host" in found["what"]
    assert "mount it on the host" in found["advice"]


def test_what_shows_the_hosts_kernel_is_not_to_be_shared(host: FakeHost) -> None:
    host.conf("950", f"{CONF}lxc.mount.entry: none run/x debugfs defaults 0 0\n")
    (found,) = (f for f in diagnose(host) if f["check"] == "needs")
    assert "leave it out" in found["advice"] and "mount it on the host" not in found["advice"]


def test_maps_that_are_taken_back(host: FakeHost) -> None:
    """Proxmox includes LXC's userns.conf all the same, which leaves it all."""
    host.write("/root/none.conf", "lxc.idmap =\n")
    host.conf("950", f"{CONF}lxc.include: /root/none.conf\n")
    said = {f["what"]: f for f in diagnose(host) if f["check"] == "other-locks"}
    every = next(
        f for what, f in said.items() if "every device, the host's disks and its m" in what
    )
    left = next(f for what, f in said.items() if "LXC leaves it mac_admin" in what)
    for found in (every, left):
        assert "Proxmox includes LXC's userns.conf" in found["evidence"]
        assert found["fix"] is None and "maps of ids" in found["advice"]


def test_devices_that_are_allowed_again_after_all_are_denied(host: FakeHost) -> None:
    host.conf(
        "950",
        f"{CONF}lxc.cgroup2.devices.deny: a\nlxc.cgroup2.devices.allow: c 1:3 rwm\n",
    )
    assert [f for f in diagnose(host) if f["check"] == "devices"] == []
