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


BROKEN = '"/srv/SYNTAX ERROR" r,'


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("mode", ["enforce", "trial"])
def test_own_rules_that_do_not_compile(host: FakeHost, mode: str, *, runs: bool) -> None:
    host.confined("950", BASE)
    if runs:
        host.running("950", f"{BASE} (enforce)")
    entry = {"apparmor_profile": BASE, "apparmor_mode": mode}
    host.json({"950": {**entry, "apparmor_rules": ["/srv/x r,"]}})
    assert "refused" not in said(shown(host, "950"))
    host.json({"950": {**entry, "apparmor_rules": [BROKEN]}})
    found = shown(host, "950")
    start = host.hook("950")
    assert start.status == 1 and "does not compile" in start.err, "the start itself"
    assert found["verdict"] == ("restart pending" if runs else "refused")
    assert "does not compile" in said(found)
    assert "corrects it" not in said(found) and "Restart it" not in said(found)
    told = " ".join(host.cli("doctor", "950").out.split())
    for words in (said(found), told):
        assert f"{BASE}.950" in words and "does not compile" in words
        assert "phoenix-apparmor validate" in words and "/local/" not in words
        assert "stdin" not in words
    assert "the rule does not compile" in host.cli("validate").out


def test_rules_that_were_broken_since_its_start(host: FakeHost) -> None:
    """It runs under those of before, as is assigned: only its next start fails."""
    host.confined("950", BASE)
    host.conf("950", f"lxc.apparmor.profile: {BASE}\n")
    host.json({"950": {"apparmor_profile": BASE, "apparmor_rules": [BROKEN]}})
    host.running("950", f"{BASE}.950 (enforce)")
    assert "its next start will be refused" in said(shown(host, "950")).lower()
    told = " ".join(host.cli("doctor", "950").out.split())
    assert "CT 950: its next start will be refused" in told and "does not compile" in told


@pytest.mark.parametrize("rules", [[], ["/srv/x r,"]])
def test_a_profile_whose_file_says_complain(host: FakeHost, rules: list[str]) -> None:
    """Not loaded yet; or loaded before it said so, which a profile made of it was not."""
    host.confined("950", BASE)
    host.profile(BASE, flags="flags=(complain) ")
    host.kernel({BASE: "enforce"} if rules else {})
    host.json({"950": {"apparmor_profile": BASE, "apparmor_rules": rules}})
    found = shown(host, "950")
    start = host.hook("950")
    assert start.status == 1 and "complain" in start.err, "the start itself"
    assert found["verdict"] == "refused" and "in complain mode" in said(found)
    host.profile(BASE)
    host.kernel({BASE: "enforce"})
    assert shown(host, "950")["verdict"] == "drift"
    assert host.hook("950").status == 0


DROP_IN = "pve-container@.service.d/50-phoenix-apparmor.conf"
SHIPPED = f"/usr/lib/systemd/system/{DROP_IN}"
WAYS = {
    "the drop-in": ((), "The next start corrects it"),
    "no drop-in": ((f"-{SHIPPED}",), "No start corrects it"),
    "no script": (("-/usr/libexec/phoenix-apparmor/unit",), "No start corrects it"),
    "masked": ((f"=/etc/systemd/system/{DROP_IN}",), "No start corrects it"),
    "replaced": ((f"+/etc/systemd/system/{DROP_IN}",), "is unknown"),
    "off for this one": (
        ("+/etc/systemd/system/pve-container@950.service.d/90-off.conf",),
        "No start corrects it",
    ),
    "off for another": (
        ("+/etc/systemd/system/pve-container@951.service.d/90-off.conf",),
        "The next start corrects it",
    ),
    "the hookscript": ((f"-{SHIPPED}", "hook", "+script"), "The next start corrects it"),
    "a hookscript of others": ((f"-{SHIPPED}", "other", "+script"), "No start corrects it"),
    "a hookscript that cannot be run": (("hook",), "its .conf names, is not executable"),
    "a missing hookscript": (("hook", "+script", "unlink"), "its .conf names, is missing"),
    "a hookscript in another storage": ((f"-{SHIPPED}", "nas", "+script"), "is unknown"),
}


@pytest.mark.parametrize(("changes", "says"), WAYS.values(), ids=WAYS)
def test_whether_a_start_passes_us(host: FakeHost, changes: tuple[str, ...], says: str) -> None:
    host.confined("950", BASE)
    host.proxmox()
    host.write("/usr/libexec/phoenix-apparmor/hookscript", "").chmod(0o644)
    lines = {
        "hook": "local:snippets/phoenix-apparmor.py",
        "nas": "nas:snippets/phoenix-apparmor.py",
        "other": "local:snippets/mine.sh",
    }
    snippet = host.path("/var/lib/vz/snippets/phoenix-apparmor.py")
    snippet.parent.mkdir(parents=True)
    snippet.symlink_to("/usr/libexec/phoenix-apparmor/hookscript")
    for change in changes:
        name = change[1:]
        if change in lines:
            host.conf("950", f"arch: amd64\nhookscript: {lines[change]}\n")
        elif change == "unlink":
            snippet.unlink()
        elif change == "+script":
            host.path("/usr/libexec/phoenix-apparmor/hookscript").chmod(0o755)
        elif change.startswith("-"):
            host.path(name).unlink()
        elif change.startswith("+"):
            host.write(name, "[Service]\nExecStartPre=\n")
        else:
            host.path(name).parent.mkdir(parents=True)
            host.path(name).symlink_to("/dev/null")
    found = shown(host, "950")
    assert says in said(found)
    assert ("corrects it." in said(found)) is ("The next start" in says)
    refused = "its .conf names" in says
    assert found["verdict"] == ("refused" if refused else "drift")
    # under another profile: a restart helps where that is so, or may be
    if not refused:
        host.running("950", "unconfined")
        running = shown(host, "950")
        assert ("Restart it: pct reboot 950" in said(running)) is ("No start" not in says)
        assert ("phoenix-apparmor attach 950" in said(running)) is ("No start" in says)
