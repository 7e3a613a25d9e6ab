"""Fixtures: a VM a suite, with the Proxmox stand-in and our package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.build import built_deb
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed
from tests.vm.harness.roots import roots
from tests.vm.harness.suites import EMULATED, OTHER, SUITES

VMS = Path(__file__).parent
# The modules that take minutes, the longest first: begun last they would keep one worker busy
# while the other has nothing left to do.
LONG = (
    "test_deeds",
    "test_attacks",
    "test_docker",
    "test_profiles_boot",
    "test_many_starts",
    "test_trial",
    "test_docker_templates",
    "test_upgrade",
    "test_start_paths",
    "test_denials",
)

Sorter = Callable[[list[pytest.Item]], None]
# After pytest has put a suite's items together. (pytest 7 has no types for it.)
LAST: Callable[[Sorter], Sorter] = pytest.hookimpl(trylast=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", choices=SUITES, help="only this suite's VMs")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group: known to pytest-xdist, if that is there")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whatever has a VM is slow."""
    if "suite" in getattr(item, "fixturenames", ()):
        item.add_marker("slow")


@LAST
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All items of the session: VMs first, then chroots, then what fills the gaps."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[int, int, str]:
    """VMs by module, a module's suites in turn, so that the workers begin with an image each."""
    if "suite" not in getattr(item, "fixturenames", ()) or VMS not in item.path.parents:
        return (1 if item.get_closest_marker("slow") else 2, 0, "")
    name = item.path.stem
    return (0, LONG.index(name) if name in LONG else len(LONG), name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that uses `suite` (so: any VM) runs on all emulated suites.

    A module's ONLY_SUITES names others, where the release or the kernel makes no difference to it,
    and the marker suites those for a single test.
    A module's tests of a suite share a VM and stay together, so in one worker.
    """
    if "suite" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--suite", default=None)
        wanted = getattr(metafunc.module, "ONLY_SUITES", EMULATED)
        own = metafunc.definition.get_closest_marker("suites")
        wanted = wanted if own is None else own.args
        suites = [suite for suite in wanted if chosen in (None, suite)]
        if chosen == OTHER:  # by its name only, and then everything
            suites = [OTHER]
        module = metafunc.module.__name__
        marked = [
            pytest.param(suite, marks=pytest.mark.xdist_group(f"{module}-{suite}"))
            for suite in suites
        ]
        metafunc.parametrize("suite", marked, indirect=True)


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> str:
    """A fixture, not a plain parameter: pytest 7 puts tests that have further parameters into
    another order then, and each module's VM is made anew in between."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def deb() -> Path:
    """The package of this tree."""
    return built_deb()


@pytest.fixture(scope="module")
def vm(suite: str) -> Iterator[Machine]:
    """A VM with the package, shared by the tests of a module."""
    with Machine.resume(installed(suite)) as machine:
        yield machine


@pytest.fixture
def fresh_vm(suite: str) -> Iterator[Machine]:
    """A VM with the package, for one test alone (about 3 s)."""
    with Machine.resume(installed(suite)) as machine:
        yield machine


@pytest.fixture(scope="module")
def roots_vm(suite: str) -> Iterator[Machine]:
    """As `vm`, with the big container roots at /srv/big."""
    with Machine.resume(installed(suite), roots()) as machine:
        yield machine
