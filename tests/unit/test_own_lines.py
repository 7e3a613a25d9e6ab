"""doctor on lxc.apparmor.raw under the generated profile: the real parser says what compiles."""

from pathlib import Path

import pytest

from phoenix_apparmor.doctor import own_lines
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from tests.names import BASE
from tests.unit.doctor_host import make_sound, run_fix
from tests.unit.fakehost import FakeHost

PLAIN = "arch: amd64\nostype: alpine\nunprivileged: 1\n"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    make_sound(host)
    host.write("/etc/apparmor.d/abi/3.0", Path("/etc/apparmor.d/abi/3.0").read_bytes())
    return host


def cannot_start(host: FakeHost) -> list[Finding]:
    found = own_lines.lines(Host(str(host.root)))
    return [finding for finding in found if "cannot start" in finding.what]


def raw(*rules: str) -> str:
    return PLAIN + "".join(f"lxc.apparmor.raw: {rule}\n" for rule in rules)


@pytest.mark.parametrize("rule", ["deny /foo w", "mount fstype=nfs", "capability sys_admin"])
def test_a_rule_without_its_comma(host: FakeHost, rule: str) -> None:
    host.conf("951", raw("mount,", rule) + f"\n[snap]\nlxc.apparmor.raw: {rule}\n")
    (found,) = cannot_start(host)
    assert found.what.startswith("CT 951 cannot start: a rule of its own has no comma at its end")
    assert found.evidence == f"/etc/pve/lxc/951.conf: lxc.apparmor.raw: {rule}"
    run_fix(host, found.fix)
    assert cannot_start(host) == []
    text = host.read("/etc/pve/lxc/951.conf").decode()
    assert text == raw("mount,", f"{rule},") + f"\n[snap]\nlxc.apparmor.raw: {rule}\n"


def test_a_rule_that_is_none(host: FakeHost) -> None:
    host.conf("951", raw("foo bar,", "mount,"))
    (found,) = cannot_start(host)
    assert "a rule of its own does not compile, so LXC cannot load" in found.what
    assert "951.conf: lxc.apparmor.raw: foo bar, (apparmor_parser: " in found.evidence
    assert not found.fix and "take it out" in found.advice


@pytest.mark.parametrize(
    "rules",
    [("mount,", "deny /foo w,"), ("mount fstype=(nfs,", "  nfs4),"), ("# as nfs", "mount,"), ("",)],
)
def test_what_compiles_together(host: FakeHost, rules: tuple[str, ...]) -> None:
    host.conf("951", raw(*rules))
    assert cannot_start(host) == []


def test_who_is_not_under_the_generated_profile(host: FakeHost) -> None:
    """There it does nothing, or our start writes another profile."""
    broken = raw("deny /foo w")
    host.conf("951", f"{broken}lxc.apparmor.profile: {BASE}\n")
    host.conf("952", broken)
    host.conf("953", f"{broken}template: 1\n")
    host.assign(c952=BASE, c954="generated")
    assert cannot_start(host) == []
    host.conf("954", f"{broken}lxc.apparmor.profile: generated\n")
    assert [found.ctids for found in cannot_start(host)] == [("954",)]


def test_a_rule_of_a_file_that_is_included(host: FakeHost) -> None:
    host.write("/root/extra.conf", "lxc.apparmor.raw = mount\n")
    host.conf("951", f"{PLAIN}lxc.include: /root/extra.conf\n")
    (found,) = cannot_start(host)
    assert found.evidence == "/root/extra.conf: lxc.apparmor.raw = mount"
    assert not found.fix and found.advice == "correct it in /root/extra.conf, or take it out"
