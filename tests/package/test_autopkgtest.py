"""debian/tests on the installed package, in a system where apt brings what it depends on."""

from pathlib import Path

import pytest

from tests.build import built_dsc
from tests.names import BASE
from tests.package.chroots import Chroot, base, with_packages

pytestmark = pytest.mark.slow


def test_autopkgtest(suite: str, v1: Path, tmp_path: Path) -> None:
    chroot = Chroot(with_packages(suite, ["autopkgtest", "dpkg-dev"]), tmp_path)
    dsc = built_dsc()
    chroot.put(dsc.with_suffix(".tar.xz"))
    chroot.run("apt-get -q update")
    command = f"autopkgtest {chroot.put(v1)} {chroot.put(dsc)} -- null"
    ran = chroot.run(command, check=False)
    assert ran.status == 0, ran.out
    assert "installed            PASS" in ran.out


def test_apt_brings_all_that_is_needed(suite: str, v1: Path, tmp_path: Path) -> None:
    """On a Debian with nothing but the minimum."""
    chroot = Chroot(base(suite), tmp_path)
    chroot.run(f"apt-get -q update && apt-get -yq install {chroot.put(v1)}")
    chroot.write("/etc/pve/phoenix_lxc_configs.json", '{"lxc_configs": {"950": {"name": "a"}}}')
    chroot.write("/etc/pve/lxc/950.conf", "arch: amd64\n")
    chroot.run("phoenix-apparmor validate")
    chroot.run("phoenix-apparmor apply --all")
    assert BASE in chroot.read("/etc/pve/lxc/950.conf")
    chroot.run("phoenix-apparmor status > /dev/null || [ $? = 2 ]")
