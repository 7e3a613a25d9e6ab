"""Many files replaced at once."""

import os
import posix

import pytest

from phoenix_apparmor.batch import Batch
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.unit.fakehost import FakeHost

FOLDER = "/etc/pve/lxc"
FILES = [f"{FOLDER}/{ctid}.conf" for ctid in (950, 951, 952)]


@pytest.fixture
def real(host: FakeHost) -> Host:
    for name in FILES:
        host.write(name, "old").chmod(0o640)
    return Host(str(host.root))


def add_all(batch: Batch) -> None:
    for name in FILES:
        batch.add(name, b"new")


def texts(host: FakeHost) -> list[bytes]:
    return [host.read(name) for name in FILES]


def test_all_are_replaced_at_once(host: FakeHost, real: Host) -> None:
    with Batch(real, FOLDER) as batch:
        add_all(batch)
        assert texts(host) == [b"old"] * 3
        assert batch.commit() == {}
        assert batch.commit() == {}, "nothing is left to do"
    assert texts(host) == [b"new"] * 3
    assert len(os.listdir(host.path(FOLDER))) == 3
    assert {host.path(name).stat().st_mode & 0o777 for name in FILES} == {0o640}


def test_what_is_left_behind_leaves_nothing(host: FakeHost, real: Host) -> None:
    with Batch(real, FOLDER) as batch:
        add_all(batch)
        assert len(os.listdir(host.path(FOLDER))) == 6
    assert texts(host) == [b"old"] * 3
    assert len(os.listdir(host.path(FOLDER))) == 3


def test_one_that_cannot_be_replaced_is_named(host: FakeHost, real: Host) -> None:
    with Batch(real, FOLDER) as batch:
        add_all(batch)
        host.path(FILES[1]).unlink()
        host.path(FILES[1]).mkdir()
        failed = batch.commit()
    assert list(failed) == [FILES[1]]
    assert failed[FILES[1]].what == f"cannot write {FILES[1]}: Is a directory."
    assert host.read(FILES[0]) == host.read(FILES[2]) == b"new"
    assert len(os.listdir(host.path(FOLDER))) == 3


def test_a_folder_that_is_gone_fails_all(host: FakeHost, real: Host) -> None:
    with Batch(real, FOLDER) as batch:
        add_all(batch)
        host.path(FOLDER).rename(host.path("/etc/pve/other"))
        failed = batch.commit()
    assert sorted(failed) == FILES
    with Batch(real, FOLDER) as batch, pytest.raises(PhoenixError, match="cannot write"):
        batch.add(FILES[0], b"new")


@pytest.mark.parametrize("failing", ["fsync", "syncing the folder"])
def test_what_did_not_reach_the_disk_has_failed(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A disk that fails at fsync(2); before the renames the old files stay."""
    calls = []

    def fsync(fd: int) -> None:
        calls.append(fd)
        if failing == "fsync" or len(calls) > 3:
            raise OSError(5, "Input/output error")

    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("phoenix_apparmor.commands.STANDARD_PATH", "/nonexistent")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(posix, "fsync", fsync)
    with Batch(real, FOLDER) as batch:
        add_all(batch)
        failed = batch.commit()
    assert sorted(failed) == FILES
    assert texts(host) == [b"old" if failing == "fsync" else b"new"] * 3
    assert len(os.listdir(host.path(FOLDER))) == 3
