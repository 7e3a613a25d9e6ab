"""Rules with the values of their variables in place: what the parser makes of them."""

import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor.policy import policytext, rules, tunables
from phoenix_apparmor.policy.aare import matches
from tests.unit.denials_host import denied, file, only
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import ABI, PARSER, Automaton, automata

pytestmark = pytest.mark.usefixtures("as_shipped")

TUNABLES = """@{HOMEDIRS}=/home/
@{HOME}=@{HOMEDIRS}/*/ /root/
@{HOMEDIRS}+=/srv/homes/
@{run}=/run/ /var/run/
@{PROC}=/proc/
@{sys}=/sys/
@{securityfs}=@{sys}/kernel/security/
@{quoted}="/a b/" /c
@{share}=@{HOME}/.local{,/share/@{exports}}/share
@{exports}={a,b/{c,d}/e}
@{pid}={[1-9],[1-9][0-9]}
"""


def known() -> tunables.Variables:
    """The variables of a file with these."""
    return policytext.variables(policytext.expand(TUNABLES, "f", lambda _: None))


@pytest.mark.parametrize(
    "rule",
    [
        "@{HOME}/.ssh/** rw",
        "deny @{HOME}/.ssh/ rw",
        "file @{run}/x r",
        "deny @{PROC}/sys/kernel/** w",
        "@{securityfs}/apparmor/ r",
        '"@{quoted}/x" r',
        "@{quoted}/x r",
        "owner @{share}/** r",
        "@{PROC}/@{pid}/maps r",
        "/x@{HOME}y r",
        "/srv//a///b r",
        "mount options=(ro,remount) -> @{HOME}/",
        'mount fstype=cifs "//nas/x" -> /mnt//y/',
        "umount @{run}/**",
        "ptrace peer=@{profile_name}//child",
        "/srv/x px -> x//child",
        "change_profile -> x//child",
    ],
)
def test_it_is_the_same_policy(rule: str, tmp_path: Path) -> None:
    """Compiled by the parser that is here, with its own expansion and with ours."""
    expanded = tunables.expanded(rule, {**known(), "profile_name": ("x",)})
    assert "@{" not in expanded
    ours, theirs = compiled(expanded, tmp_path), compiled(rule, tmp_path)
    assert len(ours) == len(theirs)
    assert all(one.is_as(other) for one, other in zip(ours, theirs, strict=True))
    others = compiled("/other r", tmp_path)
    assert len(others) != len(ours) or not others[-1].is_as(ours[-1])


def compiled(rule: str, folder: Path) -> list[Automaton]:
    """The automata of a profile x with a rule, and with variables."""
    profile = folder / "profile"
    allow = "  /{,**} rwl,\n" if rule.startswith("deny") else ""
    profile.write_text(f"abi <abi/3.0>,\n{TUNABLES}profile x {{\n{allow}  {rule},\n}}\n")
    features = f"--features-file={ABI}"
    command = [PARSER, "-QKS", "--config-file=/dev/null", features, str(profile)]
    return automata(subprocess.run(command, capture_output=True, check=True).stdout)


def test_what_names_itself_or_is_unknown_stays() -> None:
    assert tunables.expanded("@{nobody}/x r", known()) == "@{nobody}/x r"
    assert tunables.expanded("@{A}/x r", {"A": ("@{B}/",), "B": ("@{A}",)}) == "@{A}/x r"
    many = {
        name: (f"/{name}@{{{following}}}", f"/{name}{name}@{{{following}}}")
        for name, following in zip("abcdefghijkl", "bcdefghijkla", strict=True)
    }
    assert len(tunables.expanded("@{a}/x r", many)) < 20000


def test_values_keep_their_commas() -> None:
    rule = tunables.expanded("@{A} r", {"A": ("/a,b", "/{c,d}")})
    assert [matches(rule.split()[0], name) for name in ("/a,b", "/c", "/d", "/a")] == [
        *[True] * 3,
        False,
    ]


@pytest.fixture
def home(host: FakeHost) -> FakeHost:
    """CT 952 under a profile with the variables of tunables/global."""
    host.write("/etc/apparmor.d/tunables/global", "include <tunables/home>\n")
    host.write("/etc/apparmor.d/tunables/home", f"{TUNABLES}include <tunables/home.d>\n")
    host.write("/etc/apparmor.d/tunables/home.d/site", "@{HOMEDIRS}+=/data/\n")
    text = (
        "include <tunables/global>\nprofile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n"
    )
    host.write("/etc/apparmor.d/lxc-mine", text)
    return host


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("/home/bob/.ssh/id", True),
        ("/root/.ssh/id", True),
        ("/srv/homes/bob/.ssh/id", True),
        ("/data/bob/.ssh/id", True),
        ("/srv/bob/.ssh/id", False),
        ("/home/bob/ssh/id", False),
    ],
)
def test_a_deny_with_a_variable_is_seen(home: FakeHost, name: str, closed: bool) -> None:
    """In local/ and in an entry, by denials and by validate."""
    deny, rule = "deny @{HOME}/.ssh/** rw,", f"{name} r,"
    message = file("lxc-mine", name, 100, mask="r")
    local = home.write("/etc/apparmor.d/local/lxc-mine", f"  {deny}\n")
    group = only(home, message)
    assert group["rule_is_futile"] is closed and bool(group["fix"]) is not closed

    def does_nothing(*rules: str) -> bool:
        home.json({"952": {"apparmor_profile": "lxc-mine", "apparmor_rules": rules}})
        return "this rule does nothing" in home.cli("validate", "--json").out

    assert does_nothing(rule) is closed
    local.unlink()
    assert does_nothing(deny, rule) is closed and not does_nothing(rule)
    assert does_nothing("deny /home/bob/.ssh/** rw,", "/home/bob/.ssh/@{pid} rw,")
    assert not does_nothing("deny /home/bob/.ssh/** rw,", "@{HOME}/.ssh/x rw,"), "also in /root"


def test_an_allow_rule_with_a_variable_is_seen(home: FakeHost) -> None:
    home.write("/etc/apparmor.d/local/lxc-mine", "  @{run}/x/** rw,\n  @{PROC}/sys/** r,\n")
    for name, there in (("/run/x/y", True), ("/proc/sys/y", True), ("/runx/y", False)):
        group = only(home, file("lxc-mine", name, 100, mask="r"))
        assert ("already a rule" in (group["advice"] or "")) is there, name


def test_a_deny_of_a_child_is_that_of_its_name(home: FakeHost) -> None:
    """Two slashes in a label are no path's."""
    home.write("/etc/apparmor.d/local/lxc-mine", "  deny ptrace (trace) peer=lxc-mine//sub,\n")
    message = denied(
        'operation="ptrace" class="ptrace" profile="lxc-mine" pid=9 comm="gdb" '
        'requested_mask="trace" denied_mask="trace" peer="lxc-mine//sub"'
    )
    assert only(home, message)["rule_is_futile"] is True


def test_what_doctor_asks_of_a_profile() -> None:
    """PROC ends in the slash that comes behind it."""
    body = "  file,\n  deny @{PROC}/sysrq-trigger w,\n  deny @{HOME}/.ssh/** w,\n"
    (profile,) = rules.parse(f"{TUNABLES}profile x {{\n{body}}}\n")
    for name, allowed in (("/proc/sysrq-trigger", False), ("/root/.ssh/x", False), ("/x", True)):
        assert profile.allows_file(name, "w") is allowed, name
