"""validate on rules that are there already, that are none, or that match nothing."""

import json

import pytest

from tests.names import DOCKER
from tests.unit.fakehost import FakeHost
from tests.unit.validate_host import HOLE, SLASH, said, with_own_profile


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return with_own_profile(host)


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("file,", 'allows that already: "file," in /etc/apparmor.d/'),
        ("/srv/x rw,", "allows that already"),
        ("/srv/x ux,", HOLE),
        ("mount fstype=tmpfs -> /srv/x/,", "allows that already"),
        ('mount -> "/var/lib/docker/x/**",', "allows that already"),
        ("mount -> /var/lib/other/**,", HOLE),
        ("capability sys_admin,", "allows that already"),
        ("ptrace (read) peer=@{profile_name},", "allows that already"),
        # the container is under a profile of another name, so that is of other containers
        (f"ptrace (read) peer={DOCKER},", HOLE),
    ],
)
def test_a_rule_that_is_there_already_opens_nothing(host: FakeHost, rule: str, word: str) -> None:
    host.conf("950", "hostname: x\n")
    found = said(host, DOCKER, rule)
    assert word in found and (HOLE in found) is (word == HOLE), found


def test_a_hole_that_its_profile_has_is_not_opened_by_its_rule(host: FakeHost) -> None:
    """Said of the profile, by doctor."""
    text = "profile lxc-mine {\n  change_profile -> unconfined,\n  ptrace,\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", text)
    for rule in ("change_profile -> unconfined,", "ptrace,", "ptrace (read) peer=unconfined,"):
        assert "lxc-mine allows that already" in said(host, "lxc-mine", rule)
    assert HOLE in said(host, "lxc-mine", "change_profile -> lxc-other,")


@pytest.mark.parametrize(
    ("rule", "what", "hint"),
    [
        ("umount /etc/resolv.conf,", "matches a file only", 'a folder, write "/etc/resolv.conf/"'),
        ("mount options=(make-private) -> /etc/hosts,", "matches a file only", '"/etc/hosts/"'),
        ("umount /mnt,", SLASH, 'Write "/mnt/"'),
        ("mount options=bind /dev/fuse -> /srv/f/,", "matches nothing", 'Write "/srv/f".'),
        ("mount options=bind /dev/dri -> /srv/f/,", "matches nothing", 'Write "/dev/dri/" if'),
        ("mount options=bind /srv/a -> /srv/b/,", "matches nothing",
         'Write "/srv/a/" if it is a folder, "/srv/b" if it is a file.'),
        ("mount options=bind /srv/a -> /srv/b,", "", ""),
    ],
)  # fmt: skip
def test_a_slash_is_advised_only_where_the_kernel_has_one(
    host: FakeHost, rule: str, what: str, hint: str
) -> None:
    """security/apparmor/mount.c asks with one for folders, and with none for files and devices."""
    host.conf("950", "unprivileged: 1\n")
    found = said(host, "lxc-mine", rule)
    assert what in found and hint in found and bool(what) is bool(found), found


@pytest.mark.parametrize("rule", ["capability sys_admin", "change_profile -> unconfined", "signal"])
def test_what_is_no_rule_is_told_so_and_no_more(host: FakeHost, rule: str) -> None:
    """Without its comma it neither does nothing nor opens a hole: it is not taken."""
    host.json({"950": {"apparmor_rules": [rule]}})
    (found,) = json.loads(host.cli("validate", "--json").out)["findings"]
    assert found["severity"] == "error"
    assert found["what"] == f'apparmor_rules: the rule "{rule}" has no comma at its end.'
