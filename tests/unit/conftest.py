"""Fixtures: a fake host, and its journal."""

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.host import Host
from tests.build import scratch_dir
from tests.names import BASE, DOCKER
from tests.unit import allow_host
from tests.unit.cluster_host import NAMES, Cluster, well
from tests.unit.denials_host import make_host, real_profiles
from tests.unit.fakehost import MARKERS, FakeHost, Journal
from tests.unit.status_host import mixed_host, quiet_host
from tests.unit.warm_up import warm_up

MANY = 100


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where many tests are run it pays."""
    gc.freeze()  # else the collector goes through thousands of tests again and again
    if len(session.items) > MANY and not session.config.option.collectonly:
        warm_up()


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Iterator[FakeHost]:
    # A short path: the journal's socket is in it, and sun_path holds 107 bytes.
    place = Path("/tmp") if request.path.name.startswith("test_shares") else scratch_dir()
    root = Path(tempfile.mkdtemp(prefix="pa-", dir=place))
    yield FakeHost(root)
    shutil.rmtree(root)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """As pytest's, but in memory, and gone after the test; of shares, on a disk as on a host."""
    place = Path("/tmp") if request.path.name.startswith("test_shares") else scratch_dir()
    with tempfile.TemporaryDirectory(prefix="pa-", dir=place) as folder:
        yield Path(folder)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on a disk, as the host's are: tmp_path may be in memory, as a container's /dev."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        yield Path(place)


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


@pytest.fixture
def as_shipped(host: FakeHost) -> None:
    """A host with containers of each kind, and the profiles as they ship."""
    real_profiles(make_host(host))


@pytest.fixture
def refusing(host: FakeHost) -> None:
    """CT 952, to which allow gives rules."""
    allow_host.prepare(host)


@pytest.fixture
def base(host: FakeHost) -> FakeHost:
    """CT 952 under the base profile, and another one that is loaded."""
    host.confined("952", BASE, "lxc-other")
    return host


@pytest.fixture
def real(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    """CT 952 under the docker profile, in this process: parts of a start are called."""
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    host.confined("952", BASE, DOCKER)
    host.profile(DOCKER, before=MARKERS)
    host.write(paths.SECCOMP, "2\n")
    host.assign(c952=DOCKER)
    return Host(str(host.root))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cluster on which all is well; a module may have another."""
    return well(tmp_path_factory.mktemp("template") / "cluster").folder


@pytest.fixture
def cluster(template: Path, tmp_path: Path) -> Cluster:
    """A copy of it for one test."""
    return Cluster(tmp_path / "c", *NAMES, like=template)
