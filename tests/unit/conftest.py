"""Fixtures: a fake host, and its journal."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fakehost import FakeHost, Journal
from tests.unit.status_host import mixed_host, quiet_host


@pytest.fixture
def host() -> Iterator[FakeHost]:
    # A short path: the journal's socket is in it, and sun_path holds 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="pa-", dir="/tmp"))
    yield FakeHost(root)
    shutil.rmtree(root)


@pytest.fixture
def journal(host: FakeHost) -> Iterator[Journal]:
    journal = Journal(host)
    yield journal
    journal.socket.close()


@pytest.fixture
def quiet(host: FakeHost) -> FakeHost:
    """A Proxmox host on which all is as it should be."""
    quiet_host(host)
    return host


@pytest.fixture
def mixed(host: FakeHost) -> FakeHost:
    """A host with one of everything that can be off."""
    mixed_host(host)
    return host
