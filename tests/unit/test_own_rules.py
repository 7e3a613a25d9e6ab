"""A container's own rules: which are rules, and where they go in the profile's text."""

import json
from pathlib import Path

import pytest

from phoenix_apparmor import variant
from phoenix_apparmor.assignments import parse
from phoenix_apparmor.policy import files
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

RULES = {"apparmor_profile": DOCKER}

BAD_RULES = {
    "mount fstype=nfs": "comma",
    "file, } profile evil { file,": "more than one",
    "/{a,b}/** rw, /c r,": "more than one",
    "profile x {},": "profile",
    "include <tunables/global>,": "include",
    "#include <x>,": "comma",
    "mount\n,": "comma",
    "^hat { x,": "opens a block",
    '"/a rw,': "quote",
    "/{a b}/ rw,": "space inside braces",
    "@{x}=/y,": "",
    "mount fstype=nfs ,": "has a space before its final comma",
    "": "comma",
    ",": "which no rule does",
    "file} x {,": "closes",
    "abi <abi/4.0>,": "abi",
    "/[a,": "close",
}  # fmt: skip


GOOD_RULES = (
    "mount fstype=nfs,",
    "mount fstype={nfs,nfs4} options=(rw, nosuid) -> /mnt/**,",
    "/a/** rw,",
    '"/a b/{c,d}[ef]*" rwk,',
    "owner /x r,",
    "deny @{PROC}/[0-9]*/x w,",
    "audit deny capability sys_admin,",
    "signal (send) peer=lxc-x,",
    "ptrace (read) peer=@{profile_name}//&**,",
    "rw /x,",
    "network inet,",
    "unix (send) peer=(label=x),",
    "allow file /x rw,",
    "set rlimit nofile <= 5,",
    "mount /a\\,b -> /c/,",
)


@pytest.mark.parametrize("rule", GOOD_RULES)
def test_rules_that_are_rules(rule: str) -> None:
    assert parse.problem("952", RULES | {"apparmor_rules": [rule]}) == ""


@pytest.mark.parametrize("rule", [r for r in BAD_RULES if BAD_RULES[r]])
def test_rules_that_are_none(rule: str) -> None:
    assert BAD_RULES[rule] in parse.problem("952", RULES | {"apparmor_rules": ["/x r,", rule]})


@pytest.mark.parametrize(
    ("body", "rules", "twins"),
    [
        (b"  file,\n", [], 0),
        (b"  ptrace (readby),\n  signal,\n", [], 0),
        (b"  ptrace (trace) peer=@{profile_name},\n", [], 2),
        (b"  deny unix peer=(label=@{profile_name}),\n", [], 2),
        (b"  # signal peer=@{profile_name},\n", [], 0),
        (b"  /srv/@{profile_name} r,\n", [], 0),
        (b"  file,\n", ['signal (send) set=(kill) peer="@{profile_name}",'], 2),
        (b"  include <abstractions/base>\n", [], 6),
        (b"  include <abstractions/phoenix/container>\n", [], 6),
        # neither comments nor what a child of the profile is told
        (b"  #include <abstractions/base>\n", [], 6),
        (b"  # no include <abstractions/base> here\n", [], 0),
        (b"  file, # include <abstractions/base>\n", [], 0),
        (b"  signal (send) peer=lxc-y, # not @{profile_name}\n", [], 0),
        (b"  ptrace peer=@{profile_name}, # its own\n", [], 2),
        (b"  ptrace peer=@{profile_name}\n  ,\n", [], 0),
        (b"  profile sub {\n    include <abstractions/base>\n  }\n", [], 0),
        (b"  profile sub {\n    ptrace peer=@{profile_name},\n  }\n", [], 0),
        (b"  profile sub { # }\n    deny ptrace peer=@{profile_name},\n  }\n", [], 0),
        (
            b"  profile a {\n    deny signal peer=@{profile_name},\n    profile b {\n    }\n"
            b"    deny ptrace peer=@{profile_name},\n  }\n  ptrace peer=@{profile_name},\n",
            [],
            2,
        ),
        (b"  ^hat {\n  /x{a,b} r,\n  deny ptrace peer=@{profile_name},\n  }\n", [], 0),
        (b"  profile a { deny ptrace peer=@{profile_name}, }\n", [], 0),
    ],
)
def test_a_trial_allows_between_its_processes_what_the_profile_does(
    tmp_path: Path, body: bytes, rules: list[str], twins: int
) -> None:
    """The guard makes the label of each a stack, which only twins of such rules match."""
    text = b"profile lxc-x {\n" + body + b"}\n"
    made = variant.text_of(text, "lxc-x", "lxc-x.1.trial", rules, trial=True)
    assert made is not None and made.count(b"//&") == twins
    assert made.count(b"@{profile_name}//&**") == twins // 2
    enforced = variant.text_of(text, "lxc-x", "lxc-x.1", rules, trial=False)
    assert enforced is not None and b"//&" not in enforced
    inner = made.decode().partition("{\n")[2].rpartition("}")[0]
    inner = "\n".join(line for line in inner.split("\n") if "include" not in line)
    assert run_parser(inner, tmp_path).returncode == 0


def test_the_text_of_a_variant() -> None:
    text = b"abi <abi/3.0>,\nprofile lxc-x {\n  file,\n}\n"
    made = variant.text_of(text, "lxc-x", "lxc-x.1", ["/y r,"], trial=False)
    assert made == text.replace(b"lxc-x {\n", b"lxc-x.1 {\n  /y r,\n\n")
    for odd in (b"profile lxc-y {\n}\n", b"profile lxc-x\n{\n}\n", text + text, b"", b"lxc-x {}\n"):
        assert variant.text_of(odd, "lxc-x", "lxc-x.1", [], trial=True) is None


def test_a_longer_name_is_another_profile() -> None:
    assert variant.text_of(b"profile lxc-xy {\n}\n", "lxc-x", "n", [], trial=False) is None
    assert files.NAME_SAFE.fullmatch("lxc-a+b") is None


@pytest.mark.parametrize("rule", [r"/\ud800 r,", r"deny /srv/\udcff** rw,", r"/a\udfff,"])
def test_half_a_character_is_no_rule(host: FakeHost, rule: str) -> None:
    """The copy of the assignments, in UTF-8, would hold another rule."""
    host.confined("950", BASE)
    host.json('{"lxc_configs": {"950": {"apparmor_rules": ["' + rule + '"]}}}')
    done = host.cli("validate", "--json")
    [found] = json.loads(done.out)["findings"]
    assert done.status == 1 and found["severity"] == "error"
    assert "apparmor_rules[0]" in found["path"]
    done = host.hook("950")
    assert done.status == 1 and "the rule" in done.err and "is invalid" in done.err
    host.json(r'{"lxc_configs": {"950": {"apparmor_rules": ["/\ud83d\ude00 r,"]}}}')
    assert host.cli("validate").status == 0
    assert host.hook("950").status == 0, "the control: a whole one"
