"""What the tests of the package share: its versions, and systems with it installed."""

from pathlib import Path

import pytest

from tests.build import built_deb
from tests.package.chroots import SUITES, Chroot, with_packages
from tests.package.debs import PROFILE, append, depends, variant

NEW_RULE = "# the rule of version 2\n"


@pytest.fixture(scope="session")
def v1() -> Path:
    """The package as built."""
    return built_deb()


@pytest.fixture(scope="session")
def v2(v1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newer version with another text of the base profile."""
    return variant(v1, tmp_path_factory.mktemp("v2"), "2.0.0", append(PROFILE, NEW_RULE))


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    """Each of the two Debian releases in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def prepared(suite: str, v1: Path) -> tuple[Path, ...]:
    """A system with what the package depends on and recommends."""
    return with_packages(suite, [*depends(v1), "liblxc-common"])


@pytest.fixture(scope="session")
def with_v1(
    prepared: tuple[Path, ...], v1: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ...]:
    """A system with version 1 installed."""
    chroot = Chroot(prepared, tmp_path_factory.mktemp("with-v1"))
    chroot.run("apt-get", "-yq", "install", chroot.put(v1))
    return chroot.layers


@pytest.fixture
def bare(prepared: tuple[Path, ...], tmp_path: Path) -> Chroot:
    """A throw-away system without the package."""
    return Chroot(prepared, tmp_path)


@pytest.fixture
def installed(with_v1: tuple[Path, ...], tmp_path: Path) -> Chroot:
    """A throw-away system with version 1."""
    return Chroot(with_v1, tmp_path)
