"""What a configuration brings in from other files: read where only root can change them."""

import json
import os
from typing import Any

import pytest

from phoenix_apparmor import hostmounts
from phoenix_apparmor.containers import Conf, with_files
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import Setting
from tests.names import BASE
from tests.unit.fakehost import FakeHost

SYS = "lxc.mount.entry = /sys hostsys none rbind,create=dir 0 0\n"
FSTAB = "# of mine\n\n/proc hostproc none bind,create=dir 0 0\n"


def look(host: FakeHost, node: str = "") -> Conf:
    """CT 950's .conf with what it brings in."""
    text = host.read("/etc/pve/lxc/950.conf")
    return with_files(Host(str(host.root)), Conf("950", "/etc/pve/lxc/950.conf", text, node))


def told(host: FakeHost, severity: str) -> str:
    """What doctor says of CT 950 in findings of a severity that are about what it mounts."""
    found: list[dict[str, Any]] = json.loads(host.cli("doctor", "950", "--json").out)["findings"]
    wanted = [f for f in found if f["severity"] == severity and f["containers"] == ["950"]]
    return " ".join(f"{f['what']} {f['evidence']} {f['advice']}" for f in wanted)


@pytest.mark.parametrize(
    ("line", "files", "has"),
    [
        ("lxc.include: /root/a.conf", {"/root/a.conf": SYS}, "/hostsys"),
        ("lxc.include: /root/a", {"/root/a/y": FSTAB, "/root/a/x.conf": SYS}, "/hostsys"),
        ("lxc.mount.fstab: /root/fstab", {"/root/fstab": FSTAB}, "/hostproc"),
        ("lxc.include: /root/a.conf",
         {"/root/a.conf": "lxc.include = /root/b.conf\n",
          "/root/b.conf": "lxc.mount.fstab = /root/f\nlxc.include = /root/a.conf\n",
          "/root/f": FSTAB}, "/hostproc"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("writable", ["", "file", "folder"])
def test_host_folders_from_other_files(
    host: FakeHost, line: str, files: dict[str, str], has: str, writable: str
) -> None:
    host.confined("950", BASE)
    host.conf("950", f"arch: amd64\n{line}\n")
    for name, text in files.items():
        host.write(name, text)
    if writable:
        last = host.path(list(files)[-1] if writable == "file" else "/root")
        os.chmod(last if writable == "file" else host.path("/root"), 0o777)
    found = hostmounts.unguarded([], look(host).mount_entries)
    assert [mount.place for mount in found] == ([] if writable else [has])
    assert look(host).is_whole is not bool(writable)
    suggested = host.cli("suggest", "950").out
    if writable:
        assert "cannot tell what CT 950 gets from /root" in told(host, "unknown")
        assert has not in told(host, "warning")
        assert "may have more of the host" in " ".join(suggested.split())
        return
    assert has in told(host, "warning") and "protect" in told(host, "warning")
    assert found[0].file in told(host, "warning") and not told(host, "unknown")
    assert has in suggested and found[0].file in suggested
    # what is told to be done works
    for name in files:
        host.write(name, "\n")
    assert has not in told(host, "warning")
    host.write(list(files)[-1], files[list(files)[-1]])
    host.conf("950", f"arch: amd64\nunprivileged: 1\n{line}\n")
    assert "protect" not in told(host, "warning"), "there the host's root is nobody"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("lxc.include: a.conf", "no folder"),
        ("lxc.mount.fstab: fstab", "no folder"),
        ("lxc.include: /root/link.conf", "may write"),
        ("lxc.mount.fstab: /root/fifo", "regular"),
        ("lxc.mount.fstab: /root/big", "larger"),
    ],
)
def test_what_is_not_read_is_said(host: FakeHost, line: str, why: str) -> None:
    host.conf("950", f"{line}\n")
    host.write("/root/open/a.conf", SYS)
    host.path("/root/open").chmod(0o777)
    host.path("/root/link.conf").symlink_to(host.path("/root/open/a.conf"))
    os.mkfifo(host.path("/root/fifo"))
    host.write("/root/big", SYS * 30_000)
    found = look(host)
    assert found.settings == found.own_settings
    ((file, said),) = found.unread
    assert file == line.partition(": ")[2] and why in said


def test_only_what_lxc_reads(host: FakeHost) -> None:
    """Of several fstabs the last; none where an empty value takes it back; not LXC's own files."""
    host.write("/root/fstab", FSTAB)
    host.write("/root/a.conf", "lxc.mount.fstab =\n")
    host.write("/usr/share/lxc/config/common.conf", SYS)
    host.path("/root/empty").mkdir()
    for lines, mounts in (
        ("lxc.mount.fstab: /root/fstab\nlxc.include: /root/a.conf\n", 0),
        ("lxc.include: /root/a.conf\nlxc.mount.fstab: /root/fstab\n", 1),
        ("lxc.mount: /root/fstab\n", 1),
        ("lxc.mount.fstab: /root/none\nlxc.include: /root/none.conf\n", 0),
        ("lxc.include: /usr/share/lxc/config/common.conf\nlxc.include: /root/empty\n", 0),
    ):
        host.conf("950", lines)
        found = look(host)
        assert (len(found.mount_entries), found.unread) == (mounts, ()), lines
        assert all(entry.setting.is_fstab for entry in found.mount_entries)


def test_how_an_included_file_confines_is_told_however_deep(host: FakeHost) -> None:
    host.confined("950", BASE)
    host.conf("950", "arch: amd64\nlxc.include: /root/a\n")
    host.write("/root/a/x.conf", "lxc.include = /root/b.conf\n")
    host.write("/root/b.conf", "lxc.apparmor.profile = unconfined\n")
    said = told(host, "warning")
    assert "lxc.apparmor.profile = unconfined" in said and "out of /root/b.conf" in said
    host.path("/root/b.conf").chmod(0o666)
    assert "unconfined" not in told(host, "warning")
    assert "cannot tell what CT 950 gets from /root/b.conf" in told(host, "unknown")


def test_what_a_file_takes_back(host: FakeHost) -> None:
    """LXC reads an included file in its place: it forgets what is before it, not what follows."""
    host.write("/root/a.conf", "  lxc.mount.entry =\nlxc.cap.drop=\nlxc.hook =\n# lxc.x = y\nx\n")
    before = "lxc.mount.entry: /a a none bind\nlxc.cap.drop: setuid\nlxc.hook.start: /x\n"
    after = 'lxc.mount.entry: "/b b none bind"\nlxc.hook.start: /y\n'
    host.conf("950", f"{before}lxc.include: /root/a.conf\n{after}[snap]\nlxc.hook.start: /z\n")
    found = look(host)
    assert [entry.source for entry in found.mount_entries] == ["/b"]
    assert Setting("lxc.cap.drop", "", "/root/a.conf") in found.settings
    assert [s.value for s in found.settings if s.key == "lxc.hook.start"] == ["/y"]
    assert found.is_whole and found.brought is not None and found.brought.refused == ()


def test_of_another_node_nothing_is_read(host: FakeHost) -> None:
    """A file of that name here is not the one there."""
    host.write("/root/a.conf", SYS)
    host.conf("950", "lxc.include: /root/a.conf\nlxc.include: /usr/share/lxc/config/common.conf\n")
    assert look(host).mount_entries
    found = look(host, "pve2")
    assert not found.mount_entries and not found.is_whole
    assert found.unread[0].why == "it is on pve2" and len(found.unread) == 1
