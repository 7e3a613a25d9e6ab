"""denials of profiles that were loaded inside a container: its own files, which no host's rule
changes.
"""

import pytest

from tests.unit.denials_host import denied, only
from tests.unit.fakehost import FakeHost

pytestmark = pytest.mark.usefixtures("as_shipped")

INSIDE = 'namespace="root//lxc-105_<-var-lib-lxc>" profile="{}" '


def test_a_profile_of_the_containers_own(host: FakeHost) -> None:
    group = only(
        host,
        denied(
            f'operation="open" class="file" {INSIDE.format("rsyslogd")} '
            'name="/run/systemd/journal/dev-log" comm="systemd-journal" denied_mask="r"'
        ),
    )
    assert (group["ctid"], group["inside_profile"]) == ("105", "rsyslogd")
    assert (group["advice_kind"], group["rule_file"]) == (
        "inside",
        "/etc/apparmor.d/local/rsyslogd",
    )
    assert group["rule"] == '"/run/systemd/journal/dev-log" r,'
    for words in ("loaded inside container 105", "apparmor_parser -r", "grep -rlwF rsyslogd"):
        assert words in group["advice"]
    out = host.cli("denials").out
    assert "To allow it, in /etc/apparmor.d/local/rsyslogd of the container:" in out


RSYSLOG = """\
include <tunables/global>
profile rsyslogd /usr/sbin/rsyslogd {
  include <abstractions/base>
  %s
}
"""


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("include if exists <local/usr.sbin.rsyslogd>", "/etc/apparmor.d/local/usr.sbin.rsyslogd"),
        ("include if exists <local/other>", "/etc/apparmor.d/local/other"),
        ("", None),
        ('include "/etc/apparmor.d/local/../../../x"', None),
    ],
)
def test_the_file_of_a_profile_of_the_containers_own(
    host: FakeHost, line: str, place: str | None
) -> None:
    """It is looked up in the container, where no link leads out of it."""
    host.conf("105")
    host.running("105", "x", 4242)
    folder = "/proc/4242/root/etc/apparmor.d"
    host.write(f"{folder}/usr.sbin.rsyslogd", RSYSLOG % line)
    message = denied(
        f'operation="open" class="file" {INSIDE.format("rsyslogd")} name="/x" denied_mask="r"'
    )
    group = only(host, message)
    assert (group["advice_kind"], group["rule_file"]) == ("inside", place)
    assert "apparmor_parser -r /etc/apparmor.d/usr.sbin.rsyslogd" in group["advice"]
    host.path(f"{folder}/usr.sbin.rsyslogd").unlink()
    host.write("/out", RSYSLOG % line)
    host.path(f"{folder}/usr.sbin.rsyslogd").symlink_to(host.path("/out"))
    assert "grep -rlwF" in only(host, message)["advice"]


def test_a_part_of_a_profile_of_the_containers_own(host: FakeHost) -> None:
    host.conf("105")
    host.running("105", "x", 4242)
    message = denied(
        f'operation="open" class="file" {INSIDE.format("man//groff")} name="/x" denied_mask="r"'
    )
    group = only(host, message)
    assert group["rule_file"] is None and "man//groff" not in group["advice"]
    assert "grep -rlwF man /etc/apparmor.d" in group["advice"]
    text = "profile man /usr/bin/man {\n  profile groff {\n    %s\n  }\n}\n"
    host.write("/proc/4242/root/etc/apparmor.d/usr.bin.man", text % "/y r,")
    group = only(host, message)
    file = "/etc/apparmor.d/usr.bin.man"
    words = (f"the part groff of {file}", f"apparmor_parser -r {file}")
    assert all(word in group["advice"] for word in words) and "grep" not in group["advice"]
    host.write("/proc/4242/root/etc/apparmor.d/usr.bin.man", text % "deny /x r,")
    assert only(host, message)["rule_is_futile"]


def test_a_profile_of_a_container_in_the_container(host: FakeHost) -> None:
    inner = INSIDE.format("rsyslogd").replace("lib-lxc>", "lib-lxc>//lxd-c1_<var-lib-lxd>")
    group = only(host, denied(f'operation="open" class="file" {inner} name="/x" denied_mask="r"'))
    assert (group["ctid"], group["rule"], group["advice_kind"]) == ("105", None, "none")
    assert "lxd-c1_<var-lib-lxd>" in group["advice"] and "/etc/apparmor.d" not in group["advice"]


@pytest.mark.parametrize(
    ("message", "futile"),
    [
        ('operation="capable" class="cap" {} pid=9 comm="x" capability=21  capname="sys_admin"',
         True),
        ('operation="open" class="file" {} name="/srv/secret/x" pid=9 comm="x" denied_mask="r"',
         True),
        ('operation="open" class="file" {} name="/srv/x" pid=9 comm="x" denied_mask="r"', False),
    ],
)  # fmt: skip
def test_what_a_profile_inside_denies_on_purpose(
    host: FakeHost, message: str, *, futile: bool
) -> None:
    host.conf("105")
    host.running("105", "x", 4242)
    text = "profile own {\n  audit deny capability,\n  audit deny /srv/secret/** rw,\n}\n"
    host.write("/proc/4242/root/etc/apparmor.d/own", text)
    group = only(host, denied(message.format(INSIDE.format("own"))))
    assert group["rule_is_futile"] is futile and bool(group["rule"]) is not futile


USERNS = "unprivileged_userns"
WITHOUT = (
    'operation="capable" class="cap" {} pid=9 comm="chrome" capability=21  capname="sys_admin"'
)


def test_a_user_namespace_of_a_program_without_a_profile(host: FakeHost) -> None:
    """Ubuntu's profile for it, which denies every capability, seen or not."""
    host.conf("105")
    host.running("951", "x", 951)
    message = denied(WITHOUT.format(INSIDE.format(USERNS)))
    group = only(host, message)
    assert (group["advice_kind"], group["rule"], group["rule_is_futile"]) == ("none", None, True)
    shown = f"{group['warning']} {group['advice']}"
    for words in (
        f"Ubuntu's {USERNS} denies that on purpose (what is inside cannot be seen, as the con",
        "kernel.apparmor_restrict_unprivileged_userns",
        "profile NAME /PATH/OF/IT flags=(unconfined) { userns, }",
    ):
        assert words in shown
    host.running("105", "x", 4242)
    file = f"/proc/4242/root/etc/apparmor.d/{USERNS}"
    host.write(file, f"profile {USERNS} {{\n  audit deny capability,\n}}\n")
    group = only(host, message)
    assert group["rule_is_futile"] and "NAME /PATH/OF/IT" in group["advice"]
    assert '"audit deny capability,"' in group["warning"] or "deny capability," in group["warning"]
    host.write(file, f"profile {USERNS} {{\n  allow file,\n}}\n")
    group = only(host, message)
    assert group["rule"] == "capability sys_admin," and not group["rule_is_futile"]
    assert "NAME /PATH/OF/IT" in group["advice"]


def test_what_a_stopped_container_denies_nobody_can_see(host: FakeHost) -> None:
    host.conf("105")
    message = denied(
        f'operation="open" class="file" {INSIDE.format("rsyslogd")} name="/x" denied_mask="r"'
    )
    host.running("951", "x", 951)
    words = "Whether this profile denies that on purpose cannot be seen"
    assert f"{words}, as the container does not run." in only(host, message)["advice"]
    host.running("105", "x", 4242)
    assert f"{words}." in only(host, message)["advice"]
    host.write("/proc/4242/root/etc/apparmor.d/rsyslogd", RSYSLOG % "")
    assert words not in only(host, message)["advice"]


@pytest.mark.parametrize(
    "name",
    [
        "docker-default", "x; rm -rf /", "$(id)", "unconfined", "cri-containerd.apparmor.d",
        "nerdctl-default", "crio-default", "buildkit-default", "containers-default-0.57.4",
        "snap.firefox.firefox", "snap-update-ns.x", "/usr/lib/snapd/snap-confine",
        "/snap/snapd/1/usr/lib/snapd/snap-confine//mount-namespace-capture-helper",
        "lxd-c1_</var/lib/lxd>", "incus-c1_<-var-lib-incus>", "libvirt-1b-2c",
        "lxc-container-default-cgns",
    ],
)  # fmt: skip
def test_profiles_inside_that_are_in_no_file_there(host: FakeHost, name: str) -> None:
    group = only(
        host,
        denied(
            f'operation="open" class="file" {INSIDE.format("X")} name="/x" denied_mask="r"'
        ).replace('"X"', name.encode().hex()),
    )
    assert (group["advice_kind"], group["rule"], group["rule_file"]) == ("none", None, None)
    assert "grep" not in group["advice"] and "apparmor_parser" not in group["advice"]
