"""Starts while the JSON, or the copy of the last good one, is broken."""

import os
from collections.abc import Callable

import pytest

from tests.names import BASE
from tests.unit.fakehost import FakeHost, Journal

COPY = "/var/lib/phoenix-apparmor/assignments"


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


def test_a_folder_in_its_place_is_not_to_be_given_to_root(host: FakeHost) -> None:
    break_json(host, "folder")
    done = host.hook("952")
    assert done.status == 1 and "chown" not in done.err and "ls -ld" in done.err


@pytest.mark.parametrize("how", BROKEN)
def test_never_a_good_json(host: FakeHost, how: str) -> None:
    break_json(host, how)
    done = host.hook("952")
    assert done.status == 1
    assert "its profile is unknown" in done.err
    assert len(done.err.splitlines()) == 2
    # What cannot be read may speak of 952; what is there to see and does not, or is gone, cannot.
    meant = how not in ("types", "vanished")
    assert host.unit("pre-start", "952").status == meant
    host.conf("952", b"hookscript: local:snippets/phoenix-apparmor.py\n")
    assert host.unit("pre-start", "952").status == 1
    host.conf("952", b"hookscript: local:snippets/gpu.sh\n")
    assert host.unit("pre-start", "952").status == meant


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


LOCAL = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"


def test_of_whom_a_json_speaks_that_is_too_big_to_read_nobody_knows(host: FakeHost) -> None:
    assert host.hook("952").status == 0
    host.conf("953")
    assert host.hook("953").status == 0, "the control: not managed"
    text = b'{"x": "%b", "lxc_configs": {"953": {}}}' % (b"x" * (64 << 20))
    host.json(text)
    assert host.hook("953").status == 1
    assert host.hook("952").status == 0


def test_the_cluster_file_goes_before_the_local_one(host: FakeHost) -> None:
    host.write(LOCAL, '{"lxc_configs": {"952": {"apparmor_profile": "lxc-other"}}}')
    host.hook("952")
    assert b": lxc-nvidia-gpu-base" in host.read("/etc/pve/lxc/952.conf")


def test_another_json_does_not_take_over_by_itself(host: FakeHost) -> None:
    host.hook("952")
    copy = host.read(COPY)
    host.path("/etc/pve/phoenix_lxc_configs.json").unlink()
    host.write(LOCAL, '{"lxc_configs": {"952": {"apparmor_profile": "lxc-other"}}}')
    done = host.hook("952")
    assert done.status == 0
    assert "/etc/pve/phoenix_lxc_configs.json is gone" in done.err
    assert b": lxc-nvidia-gpu-base" in host.read("/etc/pve/lxc/952.conf")
    assert host.read(COPY) == copy
    assert host.cli("validate").status == 1, "validate says what a start does"
    host.path(COPY).unlink()
    assert host.hook("952").err == ""
    assert b": lxc-other" in host.read("/etc/pve/lxc/952.conf"), "that is how it takes over"


def test_a_state_that_cannot_be_written_stops_nothing(host: FakeHost) -> None:
    host.write("/var/lib/phoenix-apparmor", "no folder\n")
    assert host.hook("952").status == 0
    assert b"profile = lxc-nvidia-gpu-base\n" in host.read("/var/lib/lxc/952/config")


def test_a_copy_that_somebody_damaged_is_made_anew(host: FakeHost) -> None:
    host.hook("952")
    host.write("/var/lib/phoenix-apparmor/assignments", b"\0" * 99)
    assert host.hook("952").status == 0
    assert b"952 lxc-nvidia" in host.read("/var/lib/phoenix-apparmor/assignments")


UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "not UTF-8": lambda text: b"\xff" + text,
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "UTF-16, no mark": lambda text: text.decode().encode("utf-16-be"),
    "escaped": lambda text: text.replace(b"953", b"\\u0039\\u00353")[:-1],
    "bare key": lambda text: text.replace(b'"953"', b"953"),
    "doubled": lambda text: text[:-1] + b', "lxc_configs": {}}',
    "cut": lambda text: text[:-1],
    "untrusted": lambda text: text,
    "folder": lambda text: text,
}


@pytest.mark.parametrize("how", UNREADABLE)
@pytest.mark.parametrize("before", ["a good one", "never one", "a broken copy"])
def test_one_rule_for_what_cannot_be_read(host: FakeHost, how: str, before: str) -> None:
    """A container that only the unusable JSON knows starts on no way; one that is known, does."""
    host.conf("953")
    host.runtime("953")
    if before != "never one":
        assert host.hook("952").status == 0
    if before == "a broken copy":
        host.path(COPY).write_bytes(host.read(COPY)[:-20])
    good = b'{"lxc_configs": {"952": {}, "953": {"apparmor_profile": "lxc-other"}}}'
    path = host.json(UNREADABLE[how](good))
    if how == "untrusted":
        path.chmod(0o666)
    if how == "folder":
        path.unlink()
        path.mkdir()
    for done in (host.hook("953"), host.unit("pre-start", "953")):
        assert done.status == 1, done
        assert "phoenix_lxc_configs.json" in done.err
    known = 0 if before == "a good one" else 1
    assert host.hook("952").status == host.unit("pre-start", "952").status == known
    assert host.cli("validate").status == 1
    if how != "folder":
        host.json(good)
        assert host.hook("953").status == 0, "the control"
        assert b"= lxc-other" in host.read("/var/lib/lxc/953/config")


def test_a_folder_above_the_json_that_others_may_write(host: FakeHost) -> None:
    assert host.hook("952").status == 0
    host.settle()
    host.path("/etc/pve").chmod(0o777)
    done = host.hook("952")
    assert "/etc/pve" in done.err and "last good" in done.err
    host.path("/etc/pve").chmod(0o755)
    assert host.hook("952").err == ""


def test_whatever_is_in_the_copys_place_is_made_anew(host: FakeHost) -> None:
    def folder() -> None:
        host.path(COPY).unlink()
        host.path(COPY).mkdir()
        host.write(COPY + "/x", "x")

    def others() -> None:
        host.path(COPY).chmod(0o666)

    def garbled() -> None:
        host.path(COPY).write_bytes(host.read(COPY).replace(b"seen ", b"seen x"))

    def number() -> None:
        host.path(COPY).write_bytes(host.read(COPY)[:-30] + b"9" + host.read(COPY)[-29:])

    def cut() -> None:
        text = host.read(COPY)
        host.path(COPY).write_bytes(text[: text.index(b"952 ")])

    for damage in (folder, others, garbled, number, cut):
        assert host.hook("952").status == 0
        host.settle()
        damage()
        host.conf("952")
        assert host.hook("952").status == 0, damage
        assert b": lxc-nvidia-gpu-base" in host.read("/etc/pve/lxc/952.conf"), damage
        assert host.path(COPY).stat().st_mode & 0o777 == (0o666 if damage is others else 0o644)
        host.path(COPY).chmod(0o644)
