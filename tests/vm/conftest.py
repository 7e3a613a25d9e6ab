"""Fixtures: a VM a suite, with the Proxmox stand-in and our package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build import built_deb
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed, proxmox
from tests.vm.harness.roots import roots
from tests.vm.harness.suites import EMULATED, OTHER, SUITES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--suite", choices=SUITES, help="only this suite's VMs")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group: known to pytest-xdist, if that is there")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whatever has a VM is slow."""
    if "suite" in getattr(item, "fixturenames", ()):
        item.add_marker("slow")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that uses `suite` (so: any VM) runs on all emulated suites.

    A module's ONLY_SUITES names others, where the release or the kernel makes no difference to it.
    A module's tests of a suite share a VM and stay together, so in one worker.
    """
    if "suite" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--suite", default=None)
        wanted = getattr(metafunc.module, "ONLY_SUITES", EMULATED)
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


@pytest.fixture
def bare_vm(suite: str) -> Iterator[Machine]:
    """A VM with the Proxmox stand-in, without the package, for one test alone."""
    with Machine.resume(proxmox(suite)) as machine:
        yield machine


@pytest.fixture(scope="module")
def roots_vm(suite: str) -> Iterator[Machine]:
    """As `vm`, with the big container roots at /srv/big."""
    with Machine.resume(installed(suite), roots()) as machine:
        yield machine
