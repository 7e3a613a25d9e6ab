"""Device lines of LXC: what it reads, what it passes over, and what doctor and suggest make of it.

What LXC 6.0.4 logged of each value was seen with lxc-execute -l TRACE ("Added new device rule" or
"Failed to parse device rule").
"""

import os
import stat

import pytest

from phoenix_apparmor import lxcdevices
from phoenix_apparmor.lxcdevices import Line, Numbers, NumbersOf
from phoenix_apparmor.lxcsettings import Setting
from tests.unit.doctor_cases_gpu import MOUNT
from tests.unit.doctor_host import CONF, by_hand, diagnose, make_sound, privileged, run_fix
from tests.unit.fakehost import FakeHost

ALLOW = "lxc.cgroup2.devices.allow"
READ = {
    "a": ("a", None, None, "rwm"),
    "c 195:* rwm": ("c", 195, None, "rwm"),
    "c 195:* rwm # nvidia": ("c", 195, None, "rwm"),
    "b 8:* rwm # usb disks": ("b", 8, None, "rwm"),
    "c\t226:128\trw": ("c", 226, 128, "rw"),
    "c *:* m": ("c", None, None, "m"),
    "c 010:1 r": ("c", 8, 1, "r"),
    "a 8:0 rwm": ("a", 8, 0, "rwm"),
    "c 1:3 rwmx": ("c", 1, 3, "rwm"),
    "/dev/null rwm": ("", None, None, "rwm", "/dev/null"),
    "/dev/null   rw # x": ("", None, None, "rw", "/dev/null"),
}
# -> what was meant
NOT_READ = {
    "c  226:* rwm": "c 226:* rwm",
    "c 226 rwm": "c 226:* rwm",
    "c 195:*rwm": "c 195:* rwm",
    "c 226:* rw # x": "c 226:* rw",
    "c 226:*": "c 226:* rwm",
    "c 226 :* rwm": "c 226:* rwm",
    "a rwm": "",
    "a # all": "",
    "c 226:* rwx": "",
    "c 226:* R": "",
    "c 09:* rwm": "",
    "c 99999999999:* rwm": "",
    "nonsense": "",
    "/dev/null": "/dev/null rwm",
    "/dev/null\trwm": "/dev/null rwm",
    "/dev/null rwx": "",
    "/dev/null rw\t# x": "/dev/null rw",
}


def nodes(**known: Numbers) -> NumbersOf:
    return lambda node: known.get(node.removeprefix("/dev/"))


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


@pytest.mark.parametrize(("value", "line"), READ.items())
def test_what_lxc_reads(value: str, line: tuple[str, int | None, int | None, str]) -> None:
    assert lxcdevices.read(value) == Line(*line)
    assert lxcdevices.passed_over([Setting(ALLOW, value)], nodes(null=Numbers("c", 1, 3))) == []


@pytest.mark.parametrize(("value", "meant"), NOT_READ.items())
def test_what_lxc_passes_over(value: str, meant: str) -> None:
    assert lxcdevices.allowed([Setting(ALLOW, value)], nodes()) == []
    (found,) = lxcdevices.passed_over([Setting(ALLOW, value)], nodes())
    assert (found.meant, found.node) == (meant, "")
    assert not meant or lxcdevices.read(meant) is not None


def test_a_path_has_the_numbers_of_its_node() -> None:
    lines = [Setting(ALLOW, "/dev/sda r"), Setting(ALLOW, "/dev/gone rwm")]
    (sda,) = lxcdevices.allowed(lines, nodes(sda=Numbers("b", 8, 0)))
    assert sda.opens("b", 8, 0) and not sda.opens("c", 8, 0) and not sda.opens("b", 8, 1)
    (gone,) = lxcdevices.passed_over(lines, nodes(sda=Numbers("b", 8, 0)))
    assert (gone.node, gone.meant) == ("/dev/gone", "")


def test_a_line_that_denies_names_no_path() -> None:
    denies = [Setting("lxc.cgroup2.devices.deny", value) for value in ("/dev/sda rwm", "a rwm")]
    found = lxcdevices.passed_over(denies, nodes(sda=Numbers("b", 8, 0)))
    assert [(one.allows, one.meant) for one in found] == [(False, ""), (False, "a")]


def node(host: FakeHost, name: str, kind: int, major: int, minor: int) -> None:
    host.path(name).unlink(missing_ok=True)
    os.mknod(host.path(name), 0o666 | kind, os.makedev(major, minor))


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes device nodes")


@only_root
@pytest.mark.parametrize("line", ["c 195:* rwm # nvidia", "/dev/nvidia0 rwm"])
def test_a_gpu_that_lxc_allows(host: FakeHost, line: str) -> None:
    node(host, "/dev/nvidia0", stat.S_IFCHR, 195, 0)
    node(host, "/dev/nvidiactl", stat.S_IFCHR, 195, 255)
    more = f"{ALLOW}: /dev/nvidiactl rwm # ctl\n{ALLOW}: c 510:* rwm # uvm\n"
    mounts = "".join(map(MOUNT.format, ("nvidia0", "nvidiactl", "nvidia-uvm")))
    by_hand(f"{ALLOW}: {line}\n{more}{mounts}")(host)
    assert [f["severity"] for f in diagnose(host)] == ["note"], "but that it is privileged"


@pytest.mark.parametrize("line", ["b 8:* rwm # usb disks", "a 8:0 rw", "/dev/sda rwm"])
def test_disks_that_it_may_open(host: FakeHost, line: str) -> None:
    privileged(f"{ALLOW}: {line}\n")(host)
    (found,) = (f for f in diagnose(host) if "may use" in f["what"])
    assert found["evidence"] == f"/etc/pve/lxc/950.conf: {ALLOW}: {line}"
    run_fix(host, found["fix"])
    assert ALLOW not in host.read("/etc/pve/lxc/950.conf").decode()


@only_root
def test_a_disk_by_its_path_has_numbers(host: FakeHost) -> None:
    node(host, "/dev/sda", stat.S_IFBLK, 259, 0)
    privileged(f"{ALLOW}: /dev/sda rwm\n")(host)
    (found,) = (f for f in diagnose(host) if "may use" in f["what"])
    assert "block devices of the host by number (b 259:0, blkext)" in found["what"]


@pytest.mark.parametrize(
    ("line", "then"),
    [
        ("c  226:* rwm", f"{ALLOW}: c 226:* rwm"),
        ("c 226 rwm", f"{ALLOW}: c 226:* rwm"),
        ("c 226:* rw # x", f"{ALLOW}: c 226:* rw"),
        ("/dev/fuse", f"{ALLOW}: /dev/fuse rwm"),
        # right, they would open what is the host's
        ("a rwm", ""),
        ("b 8:*rwm", ""),
        ("/dev/sda\trwm", ""),
    ],
)
def test_a_line_that_lxc_cannot_read(host: FakeHost, line: str, then: str) -> None:
    os.symlink("/dev/null", host.path("/dev/fuse"))
    privileged(f"{ALLOW}: {line}\n")(host)
    said = [f for f in diagnose(host) if f["severity"] != "note"]
    assert [f["what"] for f in said] == [
        "CT 950: a device line allows nothing: LXC cannot read it, and starts the container all "
        "the same."
    ]
    assert f"{ALLOW}: {line}" in said[0]["evidence"]
    assert bool(said[0]["advice"]) is not bool(then)
    run_fix(host, said[0]["fix"])
    text = host.read("/etc/pve/lxc/950.conf").decode()
    assert [one for one in text.splitlines() if ALLOW in one] == ([then] if then else [])
    assert [f for f in diagnose(host) if f["severity"] != "note"] == []


def test_a_number_that_is_written_wrongly_is_not_said_to_be_missing(host: FakeHost) -> None:
    mounts = "".join(map(MOUNT.format, ("nvidia0", "nvidiactl", "nvidia-uvm")))
    by_hand(f"{ALLOW}: c  195:* rwm\n{ALLOW}: c 510:* rwm\n{mounts}")(host)
    said = [f for f in diagnose(host) if f["severity"] != "note"]
    assert [f["check"] for f in said] == ["device-lines"]
    run_fix(host, said[0]["fix"])
    assert f"{ALLOW}: c 195:* rwm\n" in host.read("/etc/pve/lxc/950.conf").decode()
    assert [f for f in diagnose(host) if f["severity"] != "note"] == []


def test_a_line_that_denies_and_cannot_be_read(host: FakeHost) -> None:
    host.conf("950", f"{CONF}{ALLOW}: c 1:3 rwm\nlxc.cgroup2.devices.deny: b  8:* rwm\n")
    (found,) = diagnose(host)
    assert found["severity"] == "warning" and "a device line denies nothing" in found["what"]
    run_fix(host, found["fix"])
    assert "lxc.cgroup2.devices.deny: b 8:* rwm\n" in host.read("/etc/pve/lxc/950.conf").decode()


def test_unprivileged_such_a_line_does_not_matter(host: FakeHost) -> None:
    host.conf("950", f"{CONF}{ALLOW}: c  226:* rwm\n")
    (found,) = diagnose(host)
    assert found["severity"] == "note"
    run_fix(host, found["fix"])
    assert diagnose(host) == []


def test_a_path_of_what_is_not_there(host: FakeHost) -> None:
    privileged(f"{ALLOW}: /dev/ttyUSB0 rwm\n")(host)
    (found,) = (f for f in diagnose(host) if f["severity"] != "note")
    assert "LXC denies it /dev/ttyUSB0, which this host does not have now" in found["what"]
    host.conf("950", f"{CONF}{ALLOW}: /dev/ttyUSB0 rwm\n")
    assert diagnose(host) == []


OLD = "lxc.cgroup.devices.allow"
DRI = "lxc.mount.entry: /dev/dri dev/dri none bind,optional,create=dir\n"


def test_a_line_of_version_1(host: FakeHost) -> None:
    privileged(f"{OLD}: c 226:* rwm\n{DRI}")(host)
    (found,) = (f for f in diagnose(host) if f["severity"] != "note")
    assert "it is for cgroup v1, this host has v2" in found["what"]
    assert found["evidence"] == f"/etc/pve/lxc/950.conf: {OLD}: c 226:* rwm"
    run_fix(host, found["fix"])
    text = host.read("/etc/pve/lxc/950.conf").decode()
    assert f"{ALLOW}: c 226:* rwm\n" in text and OLD not in text
    assert [f for f in diagnose(host) if f["severity"] != "note"] == []


@pytest.mark.parametrize("line", ["a", "b 8:* rwm"])
def test_a_line_of_version_1_that_would_open_disks(host: FakeHost, line: str) -> None:
    privileged(f"{OLD}: {line}\n{DRI}")(host)
    (found,) = (f for f in diagnose(host) if f["severity"] != "note")
    run_fix(host, found["fix"])
    assert "devices.allow" not in host.read("/etc/pve/lxc/950.conf").decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{OLD}: c 226:* rwm\n{ALLOW}: c 226:* rwm\n{DRI}",
        f"{OLD}: c 226:* rwm\n{ALLOW}: c *:* rwm\n{DRI}",
        f"{OLD}: c 1:3 rwm\n{OLD}: c 10:229 rwm\n{OLD}: c *:* m\n",
    ],
)
def test_beside_what_allows_it_a_line_of_version_1_does_not_matter(
    host: FakeHost, text: str
) -> None:
    privileged(text)(host)
    assert [f for f in diagnose(host) if f["check"] == "device-lines"] == []
    host.conf("950", f"{CONF}{OLD}: c 226:* rwm\n")
    assert diagnose(host) == [], "unprivileged it may use every device"
