"""The text of .conf as Proxmox reads it: only the profile line changes, all other bytes stay."""

import pytest

from phoenix_apparmor import ctconf
from tests.names import BASE


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        (b"lxc.apparmor.profile: x", (b"lxc.apparmor.profile", b"x")),
        (b"lxc.apparmor.profile = x", (b"lxc.apparmor.profile", b"x")),
        (b"lxc.apparmor.profile=x", (b"lxc.apparmor.profile", b"x")),
        (b"lxc.apparmor.profile:x", (b"lxc.apparmor.profile", b"x")),
        (b"lxc.apparmor.profile\t=\tx \r", (b"lxc.apparmor.profile", b"x")),
        (b"lxc.apparmor.profile: x # no comment", (b"lxc.apparmor.profile", b"x # no comment")),
        (b"lxc.apparmor.profile:", (b"lxc.apparmor.profile", b"")),
        (b"lxc.apparmor.profile : x", None),  # a blank before the colon: PVE loses it
        (b" lxc.apparmor.profile: x", None),
        (b"LXC.apparmor.profile: x", None),
        (b"\xef\xbb\xbflxc.apparmor.profile: x", None),
        (b"lxc.apparmor.profile x", None),
        (b"lxc.: x", None),
        (b"#lxc.apparmor.profile: x", None),
    ],
)
def test_an_lxc_line_is_read_as_proxmox_reads_it(
    line: bytes, setting: tuple[bytes, bytes] | None
) -> None:
    assert ctconf.lxc_setting(line) == setting


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"[snap]", b"snap"),
        (b"[Snap-1_a] \r", b"snap-1_a"),
        (b"[pve:pending]", b"pve:pending"),
        (b" [snap]", None),
        (b"[s]", None),
        (b"[1snap]", None),
        (b"[sn ap]", None),
        (b"[snap] x", None),
        (b"[snap", None),
        (b"snap]", None),
        (b"xsnapx", None),
        (b"[]", None),
    ],
)
def test_a_section_header_is_read_as_proxmox_reads_it(line: bytes, name: bytes | None) -> None:
    assert ctconf.header_name(line) == name


NOTES = b"#lxc.apparmor.profile%3A secret\n"
CASES = {
    "absent, behind the last lxc line": (
        b"arch: amd64\nlxc.cap.drop: a\nhostname: h\n",
        b"arch: amd64\nlxc.cap.drop: a\nlxc.apparmor.profile: lxc-nvidia-gpu-base\nhostname: h\n",
    ),
    "absent, no lxc line": (b"arch: amd64\n", b"arch: amd64\nlxc.apparmor.profile: @\n"),
    "absent, empty file": (b"", b"lxc.apparmor.profile: @\n"),
    "never behind a header": (
        b"arch: amd64\n\n[snap]\nlxc.apparmor.profile: old\n",
        b"arch: amd64\nlxc.apparmor.profile: @\n\n[snap]\nlxc.apparmor.profile: old\n",
    ),
    "pending stays": (
        b"a: 1\nlxc.apparmor.profile: o\n[pve:pending]\nlxc.apparmor.profile: p\n",
        b"a: 1\nlxc.apparmor.profile: @\n[pve:pending]\nlxc.apparmor.profile: p\n",
    ),
    "equals sign": (b"lxc.apparmor.profile = old\n", b"lxc.apparmor.profile: @\n"),
    "notes stay": (
        NOTES + b"description: lxc.apparmor.profile%3A x\nlxc.apparmor.profile:old\n",
        NOTES + b"description: lxc.apparmor.profile%3A x\nlxc.apparmor.profile: @\n",
    ),
    "of two the last": (
        b"lxc.apparmor.profile: a\nlxc.x: 1\nlxc.apparmor.profile: b\nz: 1\n",
        b"lxc.x: 1\nlxc.apparmor.profile: @\nz: 1\n",
    ),
    "two, the last is right": (
        b"lxc.apparmor.profile: a\nlxc.apparmor.profile: @\n",
        b"lxc.apparmor.profile: @\n",
    ),
    "dead key": (b"lxc.aa_profile: @\na: 1\n", b"a: 1\nlxc.apparmor.profile: @\n"),
    "empty value": (b"lxc.apparmor.profile:\n", b"lxc.apparmor.profile: @\n"),
    "CRLF": (
        b"a: 1\r\nlxc.apparmor.profile: o\r\nb: 2\r\n",
        b"a: 1\r\nlxc.apparmor.profile: @\r\nb: 2\r\n",
    ),
    "CRLF, new line": (
        b"a: 1\r\n\r\n[snap]\r\n",
        b"a: 1\r\nlxc.apparmor.profile: @\r\n\r\n[snap]\r\n",
    ),
    "CRLF, of one line": (b"a: 1\r\n", b"a: 1\r\nlxc.apparmor.profile: @\r\n"),
    "CRLF, no final newline": (b"a: 1\r\nb: 2", b"a: 1\r\nb: 2\r\nlxc.apparmor.profile: @"),
    "CRLF, half of it": (b"a: 1\r\nb: 2\r", b"a: 1\r\nb: 2\r\nlxc.apparmor.profile: @"),
    "no final newline": (b"a: 1\nlxc.apparmor.profile: o", b"a: 1\nlxc.apparmor.profile: @"),
    "no final newline, new line": (b"a: 1", b"a: 1\nlxc.apparmor.profile: @"),
    "other line ends are no line ends": (
        b"description: a\xe2\x80\xa8lxc.apparmor.profile: n\x0blxc.apparmor.profile: n\xc2\x85\n",
        b"description: a\xe2\x80\xa8lxc.apparmor.profile: n\x0blxc.apparmor.profile: n\xc2\x85\n"
        b"lxc.apparmor.profile: @\n",
    ),
    "odd bytes": (
        b"description: \xff\xfe\x00\nlxc.apparmor.profile: \xff\n",
        b"description: \xff\xfe\x00\nlxc.apparmor.profile: @\n",
    ),
}


@pytest.mark.parametrize(("old", "new"), CASES.values(), ids=CASES.keys())
def test_profile_is_set(old: bytes, new: bytes) -> None:
    old, new = old.replace(b"@", BASE.encode()), new.replace(b"@", BASE.encode())
    assert ctconf.set_conf_profile(old, BASE) == new
    assert ctconf.conf_says(new, BASE)
    assert ctconf.set_conf_profile(new, BASE) == new, "a second time changes nothing"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"a: 1\nlxc.apparmor.profile: x\nb: 1\n", b"a: 1\nb: 1\n"),
        (b"a: 1\nlxc.apparmor.profile = x\nlxc.aa_profile: y\n", b"a: 1\n"),
        (b"a: 1\nlxc.aa_profile: y\n", b"a: 1\n"),
        (b"a: 1\nlxc.apparmor.profile: x", b"a: 1\n"),
        (b"a: 1\n[sn]\nlxc.apparmor.profile: x\n", b"a: 1\n[sn]\nlxc.apparmor.profile: x\n"),
        (b"a: 1\r\nlxc.apparmor.profile: x\r\n[sn]\r\n", b"a: 1\r\n[sn]\r\n"),
        (b"", b""),
    ],
)
def test_profile_is_removed(old: bytes, new: bytes) -> None:
    assert ctconf.set_conf_profile(old, None) == new
    assert ctconf.conf_says(new, None)


@pytest.mark.parametrize("line", [b"lxc.apparmor.profile = %s", b"lxc.apparmor.profile:%s"])
def test_a_right_line_in_another_form_stays(line: bytes) -> None:
    text = b"a: 1\n" + line % BASE.encode() + b"\n"
    assert ctconf.set_conf_profile(text, BASE) == text


def test_conf_value_is_of_the_main_section_and_the_last() -> None:
    text = b"hookscript: local:snippets/a\nhookscript: b \r\n[snap]\nhookscript: c\n"
    assert ctconf.conf_value(text, b"hookscript") == "b"
    assert ctconf.conf_value(b"hookscript:b", b"hookscript") == "b"
    assert ctconf.conf_value(text, b"hook") is None
    assert ctconf.remove_conf_option(text, b"hookscript") == b"[snap]\nhookscript: c\n"


def test_profiles_are_those_of_the_live_key() -> None:
    text = b"lxc.aa_profile: d\nlxc.apparmor.profile: a\nlxc.apparmor.profile: b\n[snap]\n"
    assert ctconf.conf_profiles(text + b"lxc.apparmor.profile: c\n") == ["a", "b"]
    assert ctconf.conf_profiles(b"lxc.aa_profile: d\n") == []
