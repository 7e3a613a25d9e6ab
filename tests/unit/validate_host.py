"""A host on which validate judges rules of CT 950, and what it says of one."""

import json

from tests.unit.denials_host import make_host, real_profiles
from tests.unit.fakehost import FakeHost


def with_own_profile(host: FakeHost) -> FakeHost:
    """A host with our profiles, and one of the site's."""
    real_profiles(make_host(host))
    host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  deny /closed w,\n}\n")
    return host


def said(host: FakeHost, profile: str, rule: str) -> str:
    """What validate says of a rule of CT 950's, "" if nothing."""
    host.json({"950": {"apparmor_profile": profile, "apparmor_rules": [rule]}})
    done = host.cli("validate", "--json")
    assert done.status == 0, done
    found = json.loads(done.out)["findings"]
    assert {finding["severity"] for finding in found} <= {"warning"}
    return " ".join(f"{finding['what']} {finding['hint']}" for finding in found)


def says(host: FakeHost, profile: str, rule: str, word: str) -> None:
    """That what validate says of a rule has the word, or that it says nothing."""
    found = said(host, profile, rule)
    assert word in found and bool(word) == bool(found), (profile, found)


NOTHING, HOLE, SLASH = "this rule does nothing", "this rule opens a hole", "never matches a folder"
