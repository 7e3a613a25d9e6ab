"""The driver inside a container: read by names in its folders, never outside its root."""

from pathlib import Path

import pytest

from phoenix_apparmor.doctor import driver
from phoenix_apparmor.host import Host
from phoenix_apparmor.suggest.rootfs import Root
from tests.unit.fakehost import FakeHost

LIBRARIES = "usr/lib/x86_64-linux-gnu"


def test_links_end_in_the_root(tmp_path: Path) -> None:
    """The container's root chose them: an absolute one, one upwards, one into /proc."""
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    for folder in (outside, root / "usr/lib", root / "real"):
        folder.mkdir(parents=True)
    (outside / "libcuda.so.999.1").touch()
    (root / "real/libcuda.so.550.1.2").touch()
    place = root / LIBRARIES
    for target, found in (
        (str(outside), None),
        ("../../../outside", None),
        ("/proc/self/root", None),
        ("/real", {"libcuda": ("550.1.2",)}),
        ("../../real", {"libcuda": ("550.1.2",)}),
    ):
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        with Root(str(root)) as opened:
            assert driver.libraries(opened.names) == (found or {}), target
    place.unlink()
    place.write_text("no folder")
    with Root(str(root)) as opened:
        assert opened.names(LIBRARIES) is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Rel", "565.57.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65  Rel", "580.65"),
        ("something else", ""),
        ("", ""),
    ],
)
def test_the_version_of_the_module(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text(text)
    assert driver.module_version(Host(str(tmp_path))) == version


def test_no_driver_no_version(tmp_path: Path) -> None:
    assert driver.module_version(Host(str(tmp_path))) == ""
    assert list(driver.versions(Host(str(tmp_path)))) == []


def test_libraries_that_cannot_be_seen_are_unknown(host: FakeHost) -> None:
    """A container at rest in an image: neither fitting nor without; in a folder it is seen."""
    host.proxmox()
    host.write(driver.VERSION, "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.1.2  x\n")
    host.conf("950", "rootfs: /images/950.raw\ndev0: /dev/nvidia0\n")
    host.conf("951", "rootfs: /images/951,size=0\ndev0: /dev/nvidia0\n")
    host.write("/images/951/etc/os-release", "ID=debian\n")
    host.write(f"/images/951/{LIBRARIES}/libcuda.so.550.1.2", "")
    (finding,) = driver.versions(Host(str(host.root)))
    assert (finding.severity, finding.ctids) == ("note", ("950",))
    assert finding.what.startswith("CT 950: cannot tell")


def test_why_the_files_inside_cannot_be_seen(host: FakeHost) -> None:
    """A ZFS subvolume is no image: only what was seen of it is said."""
    host.proxmox()
    host.write("/proc/driver/nvidia/version", "NVRM version: x Kernel Module  550.1.2  x")
    gpu = "dev0: /dev/nvidia0\nunprivileged: 1\n"
    host.conf("950", f"rootfs: tank:subvol-950-disk-0,size=8G\n{gpu}")
    host.conf("951", f"rootfs: /srv/951.raw\n{gpu}")
    host.write("/srv/951.raw", "")
    (finding,) = driver.versions(Host(str(host.root)))
    zfs, image = finding.evidence.split(", CT 951: ")
    assert "tank:subvol-950-disk-0" in zfs and "image" not in zfs
    assert "image" in image
