"""bookworm -> trixie with the package installed: another Python, AppArmor and LXC under it."""

from pathlib import Path

import pytest

from tests.names import DOCKER, VERSION
from tests.package.chroots import MIRROR, Chroot, with_packages
from tests.package.debs import PROFILE, depends
from tests.package.host import OUR_HOOK, assert_settled, conffiles, make_proxmox

APT = "apt-get -yq -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"


@pytest.mark.slow
def test_dist_upgrade(v1: Path, tmp_path: Path) -> None:
    bookworm = with_packages("bookworm", [*depends(v1), "liblxc-common"])
    chroot = Chroot(bookworm, tmp_path)
    make_proxmox(chroot, {"950": f"{OUR_HOOK}\nlxc.apparmor.profile: lxc-nvidia-gpu-base\n"})
    json = '{"lxc_configs": {"950": {"apparmor_profile": "lxc-nvidia-gpu-docker"}}}'
    chroot.write("/etc/pve/phoenix_lxc_configs.json", json)
    chroot.run("dpkg", "-i", chroot.put(v1))
    chroot.run(f"echo '# mine' >> {PROFILE}")

    chroot.write("/etc/apt/sources.list", f"deb {MIRROR} trixie main\n")
    chroot.run(f"apt-get -q update && {APT} dist-upgrade", timeout=900)

    assert chroot.run("python3 -c 'import sys; print(sys.version_info[:2])'").out == "(3, 13)\n"
    assert chroot.run("dpkg-query -W -f '${Version}' apparmor").out.startswith("4.")
    assert_settled(chroot, VERSION)
    assert conffiles(chroot) == {PROFILE: "modified"}
    assert OUR_HOOK in chroot.read("/etc/pve/lxc/950.conf"), "an upgrade detaches nothing"
    chroot.run("phoenix-apparmor apply --all")
    assert DOCKER in chroot.read("/etc/pve/lxc/950.conf")
    compiled = "/usr/lib/python3/dist-packages/phoenix_apparmor/__pycache__/host.cpython-313.pyc"
    assert chroot.exists(compiled)
    chroot.run("dpkg", "--purge", "phoenix-apparmor")
