"""denials: who did it and to whom, and under which of a container's profiles."""

import json
from pathlib import Path

import pytest

from tests.names import BASE, DOCKER
from tests.unit.denials_host import (
    GENERATED,
    denied,
    file,
    mounted,
    only,
    process,
)
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

pytestmark = pytest.mark.usefixtures("as_shipped")


def signalled(profile: str, peer: str, second: float = 100) -> str:
    return denied(
        f'operation="signal" class="signal" profile="{profile}" pid=9 comm="runc" '
        f'requested_mask="send" denied_mask="send" signal=kill peer="{peer}"',
        second,
    )


def stacked(ctid: str, profile: str = DOCKER, inner: str = "unconfined") -> str:
    return f"{profile}//&:lxc-{ctid}_<-var-lib-lxc>:{inner}"


@pytest.mark.parametrize(
    ("peer", "other"),
    [
        (stacked("952"), ""),
        (stacked("952", inner="docker-default"), ""),
        (stacked("952", f"{DOCKER}.952"), ""),
        ("lxc-952_</var/lib/lxc>", ""),
        (stacked("953"), "CT 953"),
        (stacked("953", inner="docker-default"), "CT 953"),
        (stacked("953", f"{DOCKER}.953"), "CT 953"),
        (f"{DOCKER}.953", "CT 953"),
        ("lxc-953_</var/lib/lxc>", "CT 953"),
        (stacked("953", BASE), "CT 953"),
        (BASE, "outside of itself"),
        (DOCKER, ""),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [
        'operation="signal" class="signal" requested_mask="send" denied_mask="send" signal=kill',
        'operation="ptrace" class="ptrace" requested_mask="trace" denied_mask="trace"',
        'operation="connect" class="net" family="unix" sock_type="stream" denied_mask="connect"',
    ],
)
def test_a_peer_in_another_container(host: FakeHost, kind: str, peer: str, other: str) -> None:
    """All containers under one profile have its name in their labels."""
    host.runtime("952", f"lxc.apparmor.profile = {stacked('952', inner='')}\n".encode())
    group = only(host, denied(f'{kind} profile="{DOCKER}" pid=9 comm="x" peer="{peer}"'))
    assert group["ctid"] == "952" and (group["rule"] or "already a rule" in group["advice"])
    assert bool(group["warning"]) == bool(other)
    assert other in (group["warning"] or "")


def test_a_peer_in_a_container_where_it_is_not_known_whose_it_was(host: FakeHost) -> None:
    for ctid in ("952", "953"):
        host.runtime(ctid, f"lxc.apparmor.profile = {stacked(ctid, inner='')}\n".encode())
    group = only(host, signalled(DOCKER, stacked("953")))
    assert group["candidates"] == ["952", "953"]
    assert "of CT 953, if that is another" in group["warning"]


def test_who_did_it_is_not_who_it_was_done_to(host: FakeHost) -> None:
    """The kernel asks the target's profile too; the process is then the one that did it."""
    host.runtime("952", b"lxc.apparmor.profile = lxc-mine\n")
    process(host, 9, "/lxc/953/ns", 50)
    send = signalled("lxc-mine", "lxc-other")
    received = send.replace('_mask="send"', '_mask="receive"')
    group = only(host, received)
    assert (group["ctid"], group["ctid_known_by"]) == ("952", "only")
    assert group["rule"] == 'signal (receive) set=(kill) peer="lxc-other",'
    assert "runc tried to send signal kill to a process under lxc-mine," in " ".join(
        host.cli("denials").out.split()
    )
    # what the process itself was refused is its own container's, and runc is an engine there
    group = only(host, send)
    assert (group["ctid"], group["advice_kind"]) == ("953", "assign")


READS = (
    'operation="open" class="file" profile="{}" name="/proc/sysrq-trigger" pid=9 comm="x" '
    'requested_mask="w" denied_mask="w"'
)


@pytest.mark.parametrize("name", [f"{BASE}.950", f"{BASE}.950.trial"])
def test_a_profile_made_for_a_container_whose_text_is_gone(host: FakeHost, name: str) -> None:
    """By its documented name; the log is kept longer than the text."""
    host.conf("951")
    group = only(host, denied(READS.format(name)))
    assert (group["ctid"], group["profile"]) == ("950", BASE)
    assert group["rule_is_futile"] and "sysrq-trigger" in group["warning"]
    # one of the site's own may be called so
    host.write(f"/etc/apparmor.d/{name}", f"profile {name} {{\n}}\n")
    group = only(host, denied(READS.format(name)))
    assert (group["ctid"], group["profile"]) == (None, name)


def test_a_name_inside_a_policy_namespace_is_the_containers_own(host: FakeHost) -> None:
    body = READS.format(f"{BASE}.950") + ' namespace="root//lxc-105_<-var-lib-lxc>"'
    group = only(host, denied(body))
    assert (group["ctid"], group["inside_profile"]) == ("105", f"{BASE}.950")


@pytest.mark.parametrize("guard", [f"{BASE}.guard", f"{BASE}.guard.950"])
def test_what_a_guard_denies_no_rule_allows(host: FakeHost, guard: str) -> None:
    label = f"{BASE}.950.trial//&{guard}//&:lxc-950_<-var-lib-lxc>:"
    host.runtime("950", f"lxc.apparmor.profile = {label}\n".encode())
    group = only(host, denied(READS.format(guard)))
    assert (group["ctid"], group["profile"]) == ("950", guard)
    assert (group["rule"], group["rule_is_futile"]) == (None, True)
    assert BASE in group["warning"] and "sysrq-trigger" in group["warning"]
    # a rule that nothing denies is its own affair: the guard denies on purpose all the same
    kcore = denied(READS.format(guard).replace("sysrq-trigger", "nothing"))
    group = only(host, kcore)
    assert (group["rule"], group["rule_is_futile"]) == (None, True)


@pytest.mark.parametrize(
    ("profile", "peer", "rule"),
    [
        ("lxc-mine", "lxc-mine", '"@{profile_name}"'),
        ("lxc-mine.952", "lxc-mine.952", '"@{profile_name}"'),
        ("lxc-mine", "lxc-mine//child", '"@{profile_name}//child"'),
        ("lxc-mine.952", stacked("952", "lxc-mine.952"),
         f'"@{{profile_name}}{stacked("952", "")}"'),
        # a program of a trial's, that enforced would run under the profile
        ("lxc-mine.952.trial", "lxc-mine.952.trial//null-/opt/x//&lxc-mine.guard",
         '"@{profile_name}"'),
        ("lxc-mine", "lxc-other", '"lxc-other"'),
        ("lxc-mine.952", "lxc-mine.953", '"lxc-mine.953"'),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "kind",
    [
        'operation="signal" class="signal" requested_mask="send" denied_mask="send" signal=kill',
        'operation="ptrace" class="ptrace" requested_mask="trace" denied_mask="trace"',
        'operation="connect" class="net" family="unix" sock_type="stream" denied_mask="connect"',
    ],
)
def test_a_peer_under_its_own_profile(
    host: FakeHost, kind: str, profile: str, peer: str, rule: str
) -> None:
    """Rules of its own give it another name, and so do a trial and its end."""
    host.runtime("952", f"lxc.apparmor.profile = {profile}\n".encode())
    host.conf("952", "hostname: x\n")
    host.json({"952": {"apparmor_profile": "lxc-mine"}})
    group = only(host, denied(f'{kind} profile="{profile}" pid=9 comm="x" peer="{peer}"'))
    assert rule in group["rule"]
    assert bool(group["warning"]) == ("@" not in rule)
    host.json({"952": {"apparmor_profile": "lxc-mine", "apparmor_rules": [group["rule"]]}})
    again = only(host, denied(f'{kind} profile="{profile}" pid=9 comm="x" peer="{peer}"'))
    assert again["rule"] is None and "has a rule for it already" in again["advice"]
    found = json.loads(host.cli("validate", "--json").out)["findings"]
    assert bool(found) == ("@" not in rule)


TRACED = 'operation="ptrace" class="ptrace" requested_mask="trace" denied_mask="trace"'


@pytest.mark.parametrize(
    ("rule", "there", "right"),
    [
        ("ptrace (trace) peer=lxc-mine,", False, False),
        ('ptrace (trace) peer="lxc-mine",', False, False),
        ("ptrace (trace) peer=lxc-mine.952,", True, True),
        ("ptrace (trace) peer=@{profile_name},", True, True),
        ("ptrace (trace) peer=lxc-mine.953,", False, False),
        ("ptrace (trace) peer=lxc-mine.952*,", True, False),
        ("ptrace (trace) peer=lxc-mine.*,", True, False),
    ],
)
@pytest.mark.parametrize("place", ["entry", "local"])
def test_with_rules_of_its_own_its_profile_has_another_name(
    host: FakeHost, rule: str, place: str, *, there: bool, right: bool
) -> None:
    """That is made at its start; its plain name matches nothing of it then, its full one does."""
    host.conf("952", "hostname: x\n")
    host.write("/etc/apparmor.d/lxc-mine",
               "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n")  # fmt: skip
    rules = [rule] if place == "entry" else ["/x r,"]
    host.json({"952": {"apparmor_profile": "lxc-mine", "apparmor_rules": rules}})
    if place == "local":
        host.write("/etc/apparmor.d/local/lxc-mine", f"{rule}\n")
    message = denied(f'{TRACED} profile="lxc-mine.952" pid=9 comm="x" peer="lxc-mine.952"')
    group = only(host, message)
    assert ("already" in (group["advice"] or "")) is there
    assert (group["rule"] is None) is there
    assert there or group["rule"] == 'ptrace (trace) peer="@{profile_name}",'
    if place == "entry":
        assert (json.loads(host.cli("validate", "--json").out)["findings"] == []) is right


@pytest.mark.parametrize(
    ("profile", "peer", "rule"),
    [
        ("lxc-mine//sub", "lxc-mine//sub", "@{profile_name}"),
        ("lxc-mine//sub", "lxc-mine", "lxc-mine"),
        ("lxc-mine//sub", "lxc-mine//other", "lxc-mine//other"),
        ("lxc-mine", "lxc-mine//sub", "@{profile_name}//sub"),
        ("lxc-mine.952//sub", "lxc-mine.952//sub", "@{profile_name}"),
        ("lxc-mine.952//sub", "lxc-mine.952", "lxc-mine{,.952}"),
    ],
)
def test_a_peer_of_a_child_profile(
    host: FakeHost, tmp_path: Path, profile: str, peer: str, rule: str
) -> None:
    """In a child the variable for the profile's name is the child's whole name."""
    host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  profile sub {\n  }\n}\n")
    message = denied(f'{TRACED} profile="{profile}" pid=9 comm="x" peer="{peer}"')
    group = only(host, message)
    assert group["rule"] == f'ptrace (trace) peer="{rule}",'
    if "sub" not in profile:
        return
    # the compiled policy is that of a rule for the peer itself; the parser's profile is x
    own, other = peer.replace("lxc-mine", "x"), rule.replace("lxc-mine", "x")
    own = own.replace(".952", "") if "{," not in rule else "{x,x.952}"
    texts = [f'profile sub {{\n ptrace (trace) peer="{label}",\n}}' for label in (own, other)]
    made = [run_parser(text, tmp_path) for text in texts]
    assert made[0].returncode == 0 and made[0].stdout == made[1].stdout


def test_what_a_child_profile_allows_already(host: FakeHost) -> None:
    body = (
        "  /srv/** r,\n  profile sub {\n    ptrace (trace) peer=@{profile_name},\n"
        "    /srv/s/** r,\n  }\n"
    )
    host.write("/etc/apparmor.d/lxc-mine", f"profile lxc-mine {{\n{body}}}\n")
    for name, there in (("/srv/s/x", True), ("/srv/x", False)):
        group = only(host, file("lxc-mine//sub", name, 100, mask="r"))
        assert ("already a rule" in (group["advice"] or "")) is there
    traced = f'{TRACED} profile="lxc-mine//sub" pid=9 comm="x" peer="lxc-mine//sub"'
    assert "already a rule" in only(host, denied(traced))["advice"]


def test_lxc_itself_is_of_the_host(host: FakeHost) -> None:
    more = 'fstype="ext4" srcname="/dev/pve/vm-960" flags="rw"'
    group = only(host, mounted("/usr/bin/lxc-start", "/var/lib/lxc/960/rootfs/x/", more=more))
    assert group["rule"].startswith("mount fstype=ext4")
    assert group["warning"] is None and "unprivileged" not in (group["advice"] or "")


def test_a_profile_that_is_generated_has_its_flag(host: FakeHost) -> None:
    body = (
        'operation="sendmsg" class="file" info="Failed name lookup - disconnected path" error=-13 '
        f'profile="{GENERATED}" name="run/x" pid=9 comm="x" requested_mask="w" denied_mask="w"'
    )
    group = only(host, denied(body))
    assert group["rule"] is None and "has the flag attach_disconnected already" in group["advice"]
