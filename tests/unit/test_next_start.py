"""status says what the next start will do: the start itself is asked here."""

import json
from typing import Any

import pytest

from tests.names import BASE, DOCKER
from tests.unit.cluster_host import Cluster
from tests.unit.cluster_host import shown as in_cluster
from tests.unit.fakehost import FakeHost

MADE = (f"{BASE}.957", f"{BASE}.957.trial", f"{BASE}.guard", f"{BASE}.guard.957")


def shown(host: FakeHost, ctid: str) -> Any:
    return json.loads(host.cli("status", ctid, "--json").out)["containers"][0]


def said(container: Any) -> str:
    return " ".join(f"{note['what']} {note['hint']} {note['fix']}" for note in container["notes"])


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("in_kernel", [True, False])
@pytest.mark.parametrize("runs", [True, False])
def test_a_profile_that_was_made_for_a_container(
    host: FakeHost, name: str, *, in_kernel: bool, runs: bool
) -> None:
    host.confined("950", BASE)
    host.kernel({BASE: "enforce", **({name: "enforce"} if in_kernel else {})})
    if runs:
        host.running("950", f"{BASE} (enforce)")
    host.assign(c950=name)
    found = shown(host, "950")
    start = host.hook("950")
    assert start.status == 1, "the start itself"
    assert found["verdict"] == ("restart pending" if runs else "refused")
    assert "corrects it" not in said(found) and "Restart it" not in said(found)
    assert f"no file holds its profile {name}" in said(found)
    assert all(not note["fix"] for note in found["notes"])
    for told in (start.err, host.cli("status", "950").out, host.cli("doctor").out):
        words = " ".join(told.split())
        assert "is made for a container while it runs" in words
        assert f'ssign "{BASE}"' in words and "--force-confmiss phoenix-apparmor)" not in words
    # what is told works
    host.assign(c950=BASE)
    assert host.hook("950").status == 0


def test_a_sites_own_profile_may_be_called_so(host: FakeHost) -> None:
    name = f"{BASE}.957"
    host.confined("950", BASE, name)
    host.assign(c950=name)
    assert "refused" not in said(shown(host, "950"))
    assert host.hook("950").status == 0


@pytest.mark.parametrize("assigned", [BASE, DOCKER])
def test_a_restart_is_not_advised_that_would_be_refused(host: FakeHost, assigned: str) -> None:
    """Under another profile or under its own: the profile only logs."""
    host.confined("950", BASE)
    host.profile(DOCKER)
    host.kernel({BASE: "enforce", DOCKER: "enforce"})
    host.running("950", f"{BASE} (enforce)")
    host.assign(c950=assigned)
    before = shown(host, "950")
    assert "refused" not in said(before)
    assert ("pct reboot 950" in said(before)) is (assigned != BASE)
    host.profile(assigned, flags="flags=(complain) ")
    host.kernel({BASE: "enforce", DOCKER: "enforce", assigned: "complain"})
    found = shown(host, "950")
    assert "its next start will be refused" in said(found).lower()
    assert "corrects it" not in said(found) and "Restart it" not in said(found)
    assert host.hook("950").status == 1
    assert found["verdict"] == before["verdict"]


@pytest.mark.parametrize("blocked", [False, True])
def test_a_start_on_another_node(cluster: Cluster, *, blocked: bool) -> None:
    """Assigned anew since that node spoke: its word on the profile still counts."""
    cluster.assign(c950=BASE, c951=DOCKER, c960=DOCKER, c970=BASE)
    cluster.container("pve2", "951", DOCKER)
    names = [profile["name"] for profile in cluster.said("pve2")["profiles"]]
    if blocked:
        cluster.changed(f"profiles.{names.index(DOCKER)}.blocks", "it is broken there")
    found = next(c for c in in_cluster(cluster)[1]["containers"] if c["ctid"] == "951")
    assert found["verdict"] == "restart pending"
    assert ("refused: it is broken there" in said(found)) is blocked
    assert ("Restart it: pct reboot 951" in said(found)) is not blocked


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("more", [{"apparmor_rules": ["/srv/x r,"]}, {"apparmor_mode": "trial"}])
def test_a_profile_of_which_none_can_be_made_for_the_container(
    host: FakeHost, more: dict[str, Any], *, runs: bool
) -> None:
    host.confined("950", "lxc-two")
    host.kernel({"lxc-two": "enforce", "lxc-more": "enforce"})
    if runs:
        host.running("950", "lxc-two (enforce)")
    host.json({"950": {"apparmor_profile": "lxc-two", **more}})
    assert "refused" not in said(shown(host, "950"))
    text = host.read("/etc/apparmor.d/lxc-two") + b"profile lxc-more {\n}\n"
    host.write("/etc/apparmor.d/lxc-two", text)
    found = shown(host, "950")
    start = host.hook("950")
    assert start.status == 1 and "no variant of lxc-two can be made" in start.err
    assert found["verdict"] == ("restart pending" if runs else "refused")
    assert "no variant of lxc-two can be made" in said(found)
    assert "Restart it" not in said(found) and "corrects it" not in said(found)
    assert "Rewrite it that way" in said(found)
