"""A kernel without AppArmor: who is assigned a profile does not start, all others do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.names import BASE
from tests.vm.containers import OUR_HOOKSCRIPT, assign, create, init, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import installed
from tests.vm.harness.suites import PROGRAMS

ONLY_SUITES = PROGRAMS
WITHOUT = "this kernel runs without AppArmor"


@pytest.fixture(scope="module")
def plain(suite: str) -> Iterator[Machine]:
    with Machine.boot(installed(suite), "apparmor=0") as machine:
        yield machine


@pytest.mark.parametrize("hookscript", [OUR_HOOKSCRIPT, None], ids=["hookscript", "drop-in-only"])
def test_an_assigned_profile_stops_the_start(plain: Machine, hookscript: str | None) -> None:
    create(plain, 950, hookscript=hookscript)
    assign(plain, {950: BASE, 951: "unconfined"})
    refused = pct(plain, "start", 950, check=False)
    assert refused.rc == 255
    assert f"CT 950: profile {BASE} cannot be enforced: {WITHOUT}" in refused.stderr
    assert "apparmor=1 security=apparmor" in refused.stderr
    assert init(plain, 950) == -1


def test_unconfined_and_unmanaged_containers_start(plain: Machine) -> None:
    assign(plain, {950: BASE, 951: "unconfined"})
    for ctid in (951, 952):
        create(plain, ctid)
        pct(plain, "start", ctid)
        assert init(plain, ctid) > 0
        pct(plain, "stop", ctid)


def test_reload_has_nothing_to_do_and_status_says_why(plain: Machine) -> None:
    assert "nothing to load" in plain.run("phoenix-apparmor", "reload").stdout
    status = plain.run("phoenix-apparmor", "status", check=False)
    assert status.rc == 2
    assert WITHOUT in status.stdout
