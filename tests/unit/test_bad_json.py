"""Starts while the JSON, or the copy of the last good one, is broken."""

import os

import pytest

from tests.names import BASE
from tests.unit.fakehost import FakeHost, Journal


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.confined("952", BASE, "lxc-other")
    return host


def break_json(host: FakeHost, how: str) -> None:
    path = host.path("/etc/pve/phoenix_lxc_configs.json")
    if how == "syntax":
        host.json('{"lxc_configs": {"952": ')
    elif how == "types":
        host.json('{"lxc_configs": [1]}')
    elif how == "huge":
        host.json(b'{"lxc_configs": {}}')
        with path.open("ab") as file:
            file.truncate(64 << 20)
    elif how == "world-writable":
        path.chmod(0o666)
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "owner":
        os.chown(path, 65534, 65534)
    else:
        path.unlink()


BROKEN = ["syntax", "types", "huge", "world-writable", "folder", "vanished"] + (
    ["owner"] if os.geteuid() == 0 else []
)


@pytest.mark.parametrize("how", BROKEN)
def test_broken_json_uses_the_last_good_assignments_loudly(
    host: FakeHost, journal: Journal, how: str
) -> None:
    assert host.hook("952").status == 0
    journal.entries()
    copy = host.read("/var/lib/phoenix-apparmor/assignments")
    break_json(host, how)
    done = host.hook("952")
    assert done.status == 0
    assert "The last good assignment is used: lxc-nvidia-gpu-base." in done.err
    assert "phoenix_lxc_configs.json" in done.err
    assert any("last good" in message for message in journal.messages())
    assert host.read("/var/lib/phoenix-apparmor/assignments") == copy
    unit = host.unit("pre-start", "952")
    assert (unit.status, unit.err) == (0, ""), "what succeeds is silent on stderr there"


@pytest.mark.parametrize("how", BROKEN)
def test_never_a_good_json(host: FakeHost, how: str) -> None:
    break_json(host, how)
    done = host.hook("952")
    assert done.status == 1
    assert "nobody knows its profile" in done.err
    assert len(done.err.splitlines()) == 2
    assert host.unit("pre-start", "952").status == 0, "without our hookscript it stays as it is"
    host.conf("952", b"hookscript: local:snippets/phoenix-apparmor.py\n")
    assert host.unit("pre-start", "952").status == 1
    host.conf("952", b"hookscript: local:snippets/gpu.sh\n")
    assert host.unit("pre-start", "952").status == 0


def test_one_bad_entry_costs_only_its_own_container(host: FakeHost) -> None:
    host.conf("953")
    host.runtime("953")
    host.hook("952")
    host.json({"952": {"apparmor_profile": 7}, "953": {}, "954": {"apparmor_profile": ""}})
    assert host.hook("953").err == ""
    done = host.hook("952")
    assert done.status == 0
    assert "Its last good assignment is used: lxc-nvidia-gpu-base" in done.err
    host.conf("954")
    assert host.hook("954").status == 1


def test_a_container_that_only_the_broken_json_speaks_of_does_not_start(host: FakeHost) -> None:
    host.hook("952")
    host.json('{"lxc_configs": {"952": {}, "953": {"apparmor_profile": "lxc-x"')
    for ctid in ("953", "954"):
        host.conf(ctid)
        host.runtime(ctid)
    assert host.hook("953").status == 1
    assert host.hook("954").status == 0, "a typo stops no container that was never managed"


def test_the_cluster_file_goes_before_the_local_one(host: FakeHost) -> None:
    local = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"
    host.write(local, '{"lxc_configs": {"952": {"apparmor_profile": "lxc-other"}}}')
    host.hook("952")
    assert b": lxc-nvidia-gpu-base" in host.read("/etc/pve/lxc/952.conf")
    host.path("/etc/pve/phoenix_lxc_configs.json").unlink()
    host.hook("952")
    assert b": lxc-other" in host.read("/etc/pve/lxc/952.conf")


def test_a_state_that_cannot_be_written_stops_nothing(host: FakeHost) -> None:
    host.write("/var/lib/phoenix-apparmor", "no folder\n")
    assert host.hook("952").status == 0
    assert b"profile = lxc-nvidia-gpu-base\n" in host.read("/var/lib/lxc/952/config")


def test_a_copy_that_somebody_damaged_is_made_anew(host: FakeHost) -> None:
    host.hook("952")
    host.write("/var/lib/phoenix-apparmor/assignments", b"\0" * 99)
    assert host.hook("952").status == 0
    assert b"952 lxc-nvidia" in host.read("/var/lib/phoenix-apparmor/assignments")
