"""A trial, and a profile of a container's own: labels, files, what is loaded and removed."""

import json
import os
import re
from collections.abc import Callable

import pytest

from phoenix_apparmor import labels, lastgood
from phoenix_apparmor.assignments import lookup, parse
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.host import Host
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost
from tests.unit.trial_host import NAMESPACE, SHARED, TRIAL, G, T, prepared, started

CONF = "/etc/pve/lxc/952.conf"
RUNTIME = "/var/lib/lxc/952/config"
KERNEL = "/sys/kernel/security/apparmor"
RULES: dict[str, object] = {
    "apparmor_profile": DOCKER,
    "apparmor_rules": ["mount fstype=nfs,", "deny /x rw,"],
}
BOTH = RULES | {"apparmor_mode": "trial"}


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return prepared(host)


def label(host: FakeHost) -> str:
    """What LXC takes: the last profile line."""
    found = re.findall(rb"^lxc.apparmor.profile = (.*)$", host.read(RUNTIME), re.MULTILINE)
    last: bytes = found[-1]
    return last.decode()


def loaded(host: FakeHost) -> dict[str, str]:
    lines = host.read(f"{KERNEL}/profiles").decode().splitlines()
    return {name: mode.strip("()") for name, mode in (line.split(" ") for line in lines)}


@pytest.mark.parametrize("way", ["hookscript", "unit"])
def test_a_trial_runs_in_complain_mode_with_an_enforcing_guard(host: FakeHost, way: str) -> None:
    started(host, {"apparmor_profile": DOCKER})
    before = host.read(CONF)
    started(host, TRIAL, way=way)
    assert label(host) == f"{DOCKER}.952.trial//&{DOCKER}.guard//&{NAMESPACE}"
    assert host.read(CONF) == before, ".conf keeps the plain line"
    assert loaded(host)[f"{DOCKER}.952.trial"] == "complain"
    assert loaded(host)[f"{DOCKER}.guard"] == "enforce"
    guard = host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.guard").decode()
    assert "deny /proc/kcore rwklx,\n" in guard and "audit deny mount fstype=proc,\n" in guard
    assert "change_profile" not in guard and "complain" not in guard
    # and back, after an ExecStopPost
    host.kernel({DOCKER: "enforce"})
    started(host, {"apparmor_profile": DOCKER}, way=way)
    assert label(host) == f"{DOCKER}//&{NAMESPACE}"
    assert host.path("/var/lib/phoenix-apparmor/variants").exists()
    assert not list(host.path("/var/lib/phoenix-apparmor/variants").glob("*952*"))


@pytest.mark.parametrize("privileged", [False, True])
def test_own_rules_run_under_a_profile_of_their_own(host: FakeHost, privileged: bool) -> None:
    if privileged:
        host.runtime("952", b"lxc.uts.name = x\n")
    started(host, RULES)
    assert label(host) == f"{DOCKER}.952" + ("" if privileged else f"//&{NAMESPACE}")
    assert (b"privileged.seccomp" in host.read(RUNTIME)) == privileged
    assert loaded(host)[f"{DOCKER}.952"] == "enforce"
    text = host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.952").decode()
    assert "{\n  mount fstype=nfs,\n  deny /x rw,\n" in text
    # a trial of both has a guard with the container's own denies, and the shared one has not
    started(host, BOTH)
    assert label(host).startswith(f"{DOCKER}.952.trial//&{DOCKER}.guard.952")
    guard = host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.guard.952")
    assert b"deny /x rw,\n" in guard and b"nfs" not in guard
    assert DOCKER.encode() + b"\n" in host.read(CONF)


def test_another_container_has_none(host: FakeHost) -> None:
    """A clone or a restore carries .conf along, and the rules are not in there."""
    started(host, RULES)
    host.conf("953", host.read(CONF))
    host.runtime("953")
    host.json({"952": RULES, "953": {"apparmor_profile": DOCKER}})
    assert host.hook("953").status == 0
    assert b"953_<" in host.read("/var/lib/lxc/953/config")
    assert f"{DOCKER}.95".encode() not in host.read("/var/lib/lxc/953/config")


@pytest.mark.slow
@pytest.mark.parametrize("entry", [TRIAL, RULES, BOTH])
def test_a_settled_start_looks_at_all_of_it(host: FakeHost, entry: dict[str, object]) -> None:
    started(host, entry)
    host.settle()
    calls = host.path("/fake-parser-calls")

    def start() -> tuple[str, bool]:
        before = calls.read_text()
        done = host.hook("952")
        assert done.status == 0, done
        return done.out, calls.read_text() != before

    assert start() == ("", False)
    changes: list[Callable[[], object]] = [
        lambda: host.kernel({DOCKER: "enforce", BASE: "enforce"}),
        lambda: host.runtime("952", host.read(RUNTIME).replace(b".952", b"")),

        lambda: host.write(f"/etc/apparmor.d/{DOCKER}",
                           host.read(f"/etc/apparmor.d/{DOCKER}") + b"# new\n"),
    ]  # fmt: skip
    before = host.read(RUNTIME)
    for change in changes:
        change()
        assert host.hook("952").status == 0
        assert host.read(RUNTIME) == before
        assert start() == ("", False)


def test_a_new_deny_in_an_include_reaches_the_guard(host: FakeHost) -> None:
    """dpkg gives files the time of their build: content counts, not times."""
    started(host, TRIAL)
    path = host.write(SHARED, "  deny /new rw,\n")
    os.utime(path, (1, 1))
    host.load(DOCKER)
    done = host.cli("reload")
    assert done.status == 0 and f"replaced {DOCKER}.guard" in done.out
    assert b"deny /new rw," in host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.guard")


def test_a_guard_lets_nobody_at_other_processes(host: FakeHost) -> None:
    """A profile keeps those closed by having no rule for them, so complain mode would not."""
    host.write(SHARED, "  ptrace (read) peer=mine,\n  deny signal peer=yours,\n")
    started(host, TRIAL)
    text = host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.guard").decode()
    rules = [line.strip() for line in text.splitlines()]
    peers = {f"{kind} peer={DOCKER}{{,.**,//**}}," for kind in ("signal", "ptrace")}
    assert {"ptrace (read) peer=mine,", "deny signal peer=yours,", *peers} <= set(rules)
    assert not {"ptrace,", "signal,", "signal peer=yours,"} & set(rules)


def test_compiled_once(host: FakeHost) -> None:
    def compiles() -> int:
        return host.read("/fake-parser-calls").count(b"-QTKS")

    started(host, TRIAL)
    first = compiles()
    assert first == 2
    host.kernel({DOCKER: "enforce"})  # a reboot of the host
    started(host, TRIAL)
    assert compiles() == first
    assert loaded(host)[f"{DOCKER}.952.trial"] == "complain"


def test_removed_after_the_stop_and_only_then(host: FakeHost) -> None:
    started(host, TRIAL)
    host.write("/sys/fs/cgroup/lxc/952/cgroup.events", "populated 1\n")
    assert host.unit("post-stop", "952").status == 0
    assert not host.path(f"{KERNEL}/.remove").exists()
    host.write("/sys/fs/cgroup/lxc/952/cgroup.events", "populated 0\n")
    host.write(f"{KERNEL}/.remove", "")
    assert host.unit("post-stop", "952").status == 0
    assert host.read(f"{KERNEL}/.remove").decode() == f"{DOCKER}.guard", "the last one written"


def test_a_site_s_profile_of_such_a_name_stays(host: FakeHost) -> None:
    host.kernel({DOCKER: "enforce", "lxc-site.952": "enforce"})
    host.write(f"{KERNEL}/.remove", "")
    assert host.unit("post-stop", "952").status == 0
    assert host.read(f"{KERNEL}/.remove") == b""


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("SYNTAX ERROR\n", "does not compile"),
        ("}\nprofile lxc-two {\n", "one profile"),
        ("  deny\n    /x rw,\n  deny /y { z }\n", "denies"),
    ],
)
def test_what_cannot_be_made_is_refused(host: FakeHost, body: str, word: str) -> None:
    """Never less than what is assigned: neither the plain profile nor a complain one alone."""
    before = host.read(RUNTIME)
    host.profile(DOCKER, body)
    host.json({"952": TRIAL})
    done = host.hook("952")
    assert done.status == 1 and word in done.err
    assert host.read(RUNTIME) == before


@pytest.mark.parametrize("mode", ["complain", "unconfined"])
def test_a_guard_that_does_not_enforce_is_no_guard(host: FakeHost, mode: str) -> None:
    started(host, TRIAL)
    host.settle()
    text = host.read(f"{KERNEL}/profiles").decode()
    host.write(f"{KERNEL}/profiles", text.replace("guard (enforce)", f"guard ({mode})"))
    done = host.hook("952")
    assert done.status == 1 and "should be in enforce mode" in done.err


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        (f"{T}//&{G} (mixed)", True),
        (f"{T}//&{G}//&{NAMESPACE}unconfined (mixed)", True),
        (f"{T}//&{G}//&{NAMESPACE}docker-default (mixed)", True),
        (f"{T} (complain)", False),
        (f"{T}//&{G} (complain)", False),
        (f"{DOCKER} (enforce)", False),
        (f"{DOCKER}//&{NAMESPACE}unconfined (enforce)", False),
        (f"{T.replace('952', '953')}//&{G} (mixed)", False),
        (f"{G} (enforce)", False),
        ("unconfined", False),
    ],
)
def test_the_label_of_a_trial(shown: str, fits: bool) -> None:
    assert labels.fits(shown, Assignment(DOCKER, trial=True), "952") == fits
    assert labels.fits(shown, Assignment(DOCKER), "952") == shown.startswith(
        (f"{DOCKER} (", f"{DOCKER}//&")
    )


def test_the_copy_keeps_it(host: FakeHost) -> None:
    rules = ("mount fstype=nfs,", 'file "/a b" rw,', "deny /x ! rw,")
    assigned = {
        "952": Assignment("lxc-a", trial=True, rules=rules),
        "953": Assignment("lxc-a", policy_namespace=False, problem="x ! y", rules=rules[:1]),
        "95": Assignment("lxc-a"),
    }
    text = parse.write_copy(lastgood.FIRST_LINE + b"source x\nseen\n\n", assigned)
    assert parse.read_copy(text) == assigned
    for ctid, assignment in assigned.items():
        line = lastgood.line_of(text, ctid)
        assert line is not None
        assert parse.read_line(line, lastgood.rules_of(text, ctid)) == assignment
    # of version 1.0: the last good one, and not current
    old = text.replace(b"assignments 2", b"assignments 1")
    assert parse.read_copy(old) == assigned
    host.json({"952": TRIAL})
    found = lookup.everyone(Host(str(host.root)))
    host.settle()
    copy = "/var/lib/phoenix-apparmor/assignments"
    host.write(copy, host.read(copy).replace(b"assignments 2", b"assignments 1")
               .replace(b" trial", b""))  # fmt: skip
    again = lookup.everyone(Host(str(host.root)))
    assert found.assigned["952"].trial and again.assigned["952"].trial


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("mount,", "any mount"),
        ("mount fstype=proc -> /x/,", "proc"),
        ("mount fstype={tmpfs,sysfs} -> /x/,", "sysfs"),
        ("mount options=(rw,bind) /proc/ -> /x/,", "/proc/"),
        ("mount fstype=ext4 /dev/sda -> /x/,", "disk"),
        ("change_profile -> unconfined,", "leaves"),
        ("ptrace,", "every process"),
        ("all,", "everything"),
        ("mount fstype=nfs,", ""),
        ("mount options=(bind) /srv/ -> /x/,", ""),
        ("mount options=(rw,bind) /srv/ -> /x/,", "a new mount of any type"),
        ("deny mount,", ""),
        ("/proc/sysrq-trigger w,", ""),
    ],
)
def test_validate_warns_of_holes(host: FakeHost, rule: str, word: str) -> None:
    host.json(json.dumps({"lxc_configs": {"952": {**RULES, "apparmor_rules": [rule]}}}, indent=1))
    done = host.cli("validate")
    assert done.status == 0
    if word:
        assert word in done.out and ":6:5: warning:" in done.out
    else:
        assert "warning" not in done.out.split("\n")[0]


def test_validate_compiles_the_rules(host: FakeHost) -> None:
    rules = ["mount fstype=nfs,", '"/SYNTAX ERROR" rw,', "/x r,"]
    entry = {"apparmor_profile": DOCKER, "apparmor_rules": rules}
    host.json(json.dumps({"lxc_configs": {"952": entry}}, indent=1))
    done = host.cli("validate")
    assert done.status == 1
    assert ":7:5: error:" in done.out and "does not compile" in done.out
    assert "1 error" in done.out
    # nothing is said of a profile that is not here, nor where there is no parser
    host.path(f"/etc/apparmor.d/{DOCKER}").unlink()
    assert "does not compile" not in host.cli("validate").out


def test_validate_tells_what_does_not_compile_beside_what_is_no_rule(host: FakeHost) -> None:
    rules = ["/a r", '"/SYNTAX ERROR" rw,', "/x r,", 7]
    entry = {"apparmor_profile": DOCKER, "apparmor_rules": rules}
    other = {"apparmor_profile": DOCKER, "apparmor_rules": rules[1:3]}
    bad = {"apparmor_profile": 5, "apparmor_rules": rules}
    configs = {"952": entry, "953": other, "x": entry, "954": bad, "955": 3}
    host.json(json.dumps({"lxc_configs": configs}, indent=1))
    found = json.loads(host.cli("validate", "--json").out)["findings"]
    compiled = [f["path"] for f in found if "does not compile" in f["what"]]
    assert compiled == [
        '.lxc_configs["952"].apparmor_rules[1]',
        '.lxc_configs["953"].apparmor_rules[0]',
    ]
    wrong = [f["path"] for f in found if "does not compile" not in f["what"]]
    assert '.lxc_configs["952"].apparmor_rules[0]' in wrong
    assert '.lxc_configs["952"].apparmor_rules[3]' in wrong


@pytest.mark.parametrize(
    "entry",
    [
        {"apparmor_mode": "complain"},
        {"apparmor_mode": None},
        {"apparmor_rules": "mount,"},
        {"apparmor_rules": [7]},
        {"apparmor_rules": {"a": 1}},
    ],
)
def test_what_is_neither(host: FakeHost, entry: object) -> None:
    """It costs the container its new assignment; the last good one stays."""
    host.json({"952": {**TRIAL}})
    assert host.hook("952").status == 0
    assert isinstance(entry, dict)
    host.json({"952": {**TRIAL, **entry}})
    done = host.hook("952")
    assert done.status == 0 and next(iter(entry)) in done.err
    assert label(host).startswith(f"{DOCKER}.952.trial")
    assert host.cli("validate").status == 1
