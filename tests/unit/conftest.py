"""Fixtures: a fake host, and its journal."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.fakehost import FakeHost, Journal


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
