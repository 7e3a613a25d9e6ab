"""First install over a hand-made past, removal, purge, and what the scripts do besides files."""

from pathlib import Path

import pytest

from tests.names import VERSION
from tests.package.chroots import Chroot
from tests.package.debs import PROFILE, variant
from tests.package.host import (
    OUR_HOOK,
    assert_settled,
    conffiles,
    dpkg,
    make_proxmox,
    state,
)

pytestmark = pytest.mark.slow

# The draft texts that the old setup scripts copied to hosts, without a final newline.
OLD = Path(__file__).with_name("old")
BASE = (OLD / "lxc-nvidia-gpu-base").read_text().rstrip("\n")
DOCKER = (OLD / "lxc-nvidia-gpu-docker").read_text().rstrip("\n")

DOCKER_PROFILE = "/etc/apparmor.d/lxc-nvidia-gpu-docker"
DEPRECATED = "/etc/apparmor.d/lxc-phoenix-nvidia-gpu"
LINK = "/var/lib/vz/snippets/phoenix-apparmor.py"
REPORT = "/etc/pve/local/priv/phoenix-apparmor.json"
DETACHED = "/var/lib/phoenix-apparmor/detached"


def install(chroot: Chroot, deb: Path) -> str:
    return dpkg(chroot, "-i", chroot.put(deb))[1]


@pytest.mark.parametrize("end", ["", "\n"])
def test_known_old_copies_are_set_aside(bare: Chroot, v1: Path, end: str) -> None:
    bare.write(PROFILE, BASE + end)
    bare.write(DOCKER_PROFILE, DOCKER + end)
    install(bare, v1)
    assert_settled(bare, VERSION)
    assert conffiles(bare) == {}
    assert bare.read(f"{PROFILE}.dpkg-bak") == BASE + end
    assert bare.read(f"{DOCKER_PROFILE}.dpkg-bak") == DOCKER + end


def test_unknown_old_copy_is_left_to_dpkgs_question(bare: Chroot, v1: Path) -> None:
    mine = BASE + "\n# mine\n"
    bare.write(PROFILE, mine)
    deb = bare.put(v1)
    assert dpkg(bare, "-i", deb, check=False)[0] == 1
    assert state(bare) == f"iU {VERSION}"
    assert bare.read(PROFILE) == mine
    dpkg(bare, "--force-confold", "--configure", "-a")
    assert_settled(bare, VERSION)
    assert bare.read(PROFILE) == mine
    assert conffiles(bare) == {PROFILE: f"modified {PROFILE}.dpkg-dist"}


def test_old_copy_with_our_text_is_adopted(bare: Chroot, v1: Path) -> None:
    text = bare.run(f"dpkg-deb --fsys-tarfile {bare.put(v1)} | tar -xO .{PROFILE}").out
    bare.write(PROFILE, text)
    install(bare, v1)
    assert_settled(bare, VERSION)
    assert conffiles(bare) == {}
    assert not bare.exists(f"{PROFILE}.dpkg-*")


def test_failed_first_install_gives_old_copies_back(bare: Chroot, v1: Path, tmp_path: Path) -> None:
    def fail(tree: Path) -> None:
        script = tree / "DEBIAN/preinst"
        script.write_text(script.read_text() + "\nexit 1\n")

    bare.write(PROFILE, BASE)
    deb = variant(v1, tmp_path, VERSION, fail)
    assert dpkg(bare, "-i", bare.put(deb), check=False)[0] == 1
    assert bare.read(PROFILE) == BASE
    assert not bare.exists(f"{PROFILE}.dpkg-bak")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/pve/lxc/950.conf", "arch: amd64\nlxc.apparmor.profile: lxc-phoenix-nvidia-gpu\n"),
        ("/etc/pve/nodes/b/lxc/9.conf", "[s1]\nlxc.apparmor.profile = lxc-phoenix-nvidia-gpu\n"),
        ("/etc/pve/phoenix_lxc_configs.json", '{"x": "lxc-phoenix-nvidia-gpu", broken'),
    ],
)
def test_deprecated_profile_stays_while_it_is_named(
    bare: Chroot, v1: Path, v2: Path, path: str, text: str
) -> None:
    bare.write(DEPRECATED, BASE)
    bare.run("mkdir -p /etc/pve/lxc")
    bare.write(path, text)
    out = install(bare, v1)
    assert_settled(bare, VERSION)
    assert bare.exists(DEPRECATED)
    assert path in out, "the person is told which file names it"

    bare.run("rm", path)
    out = install(bare, v2)
    assert not bare.exists(DEPRECATED), "nothing names it any more"
    assert bare.read(f"{DEPRECATED}.dpkg-bak") == BASE
    assert "is retired" in out


def test_overwritten_tunables_are_reported_and_not_touched(bare: Chroot, v1: Path) -> None:
    bare.write("/etc/apparmor.d/tunables/home", "@{HOME}=/root/\n")
    out = install(bare, v1)
    assert_settled(bare, VERSION)
    assert "/etc/apparmor.d/tunables/home is modified" in out
    assert bare.read("/etc/apparmor.d/tunables/home") == "@{HOME}=/root/\n"


def test_link_to_the_hookscript(bare: Chroot, v1: Path) -> None:
    make_proxmox(bare, {})
    install(bare, v1)
    assert bare.run("readlink", "-f", LINK).out == "/usr/libexec/phoenix-apparmor/hookscript\n"
    bare.run(f"test -x {LINK}")
    bare.write(REPORT, "{}")
    dpkg(bare, "--remove", "phoenix-apparmor")
    assert not bare.exists(LINK)
    assert not bare.exists(REPORT), "the other nodes would believe it for half an hour"


def test_no_link_without_proxmox(installed: Chroot) -> None:
    assert not installed.exists("/var/lib/vz")


def test_link_of_somebody_else_is_left_alone(bare: Chroot, v1: Path) -> None:
    make_proxmox(bare, {})
    bare.write(LINK, "mine")
    assert "is not our link" in install(bare, v1)
    assert_settled(bare, VERSION)
    dpkg(bare, "--purge", "phoenix-apparmor")
    assert bare.read(LINK) == "mine"


def test_removal_detaches_and_reinstalling_attaches_again(bare: Chroot, v1: Path) -> None:
    other = "hookscript: local:snippets/other.pl\n"
    confs = {"950": f"arch: amd64\n{OUR_HOOK}\n", "951": other, "952": "arch: amd64\n"}
    make_proxmox(bare, confs)
    install(bare, v1)

    out = dpkg(bare, "--remove", "phoenix-apparmor")[1]
    assert "CT 950: hookscript removed" in out
    assert OUR_HOOK not in bare.read("/etc/pve/lxc/950.conf")
    assert bare.read("/etc/pve/lxc/951.conf") == other
    assert bare.read(DETACHED) == "950 local:snippets/phoenix-apparmor.py\n"
    assert bare.exists(PROFILE), "a conffile, and containers still name the profile"

    out = install(bare, v1)
    assert "CT 950: hookscript set" in out
    assert OUR_HOOK in bare.read("/etc/pve/lxc/950.conf")
    assert bare.read("/etc/pve/lxc/952.conf") == confs["952"]
    assert not bare.exists(DETACHED)


def test_removal_stops_before_it_would_brick_a_container(bare: Chroot, v1: Path) -> None:
    make_proxmox(bare, {"950": f"arch: amd64\n{OUR_HOOK}\n"})
    install(bare, v1)
    bare.run("touch /run/pct-fails")
    status, out = dpkg(bare, "--remove", "phoenix-apparmor", check=False)
    assert status == 1
    assert "CT 950: pct could not change its hookscript: can't lock file" in out
    assert "without its hookscript CT 950 would not start" in out
    assert state(bare) == f"ri {VERSION}", "wanted away, still installed"
    bare.run(f"test -x {LINK}")
    assert OUR_HOOK in bare.read("/etc/pve/lxc/950.conf")

    bare.run("rm /run/pct-fails")
    dpkg(bare, "--remove", "phoenix-apparmor")
    assert OUR_HOOK not in bare.read("/etc/pve/lxc/950.conf")


def test_removal_waits_for_pmxcfs(bare: Chroot, v1: Path) -> None:
    """Without it no container is seen, and each one that names the hookscript would be bricked."""
    bare.write("/usr/share/perl5/PVE/LXC.pm", "")
    install(bare, v1)
    status, out = dpkg(bare, "--remove", "phoenix-apparmor", check=False)
    assert status == 1
    assert "systemctl start pve-cluster" in out
    bare.run("mkdir -p /etc/pve/lxc")
    dpkg(bare, "--remove", "phoenix-apparmor")


def test_half_a_removal_attaches_again(bare: Chroot, v1: Path) -> None:
    """One container is detached, the next one cannot be: dpkg takes the removal back."""
    conf = f"arch: amd64\n{OUR_HOOK}\n"
    make_proxmox(bare, {"950": conf, "951": conf})
    install(bare, v1)
    bare.run("sed -i '2i [ $2 = 950 ] || [ $3 != --delete ] || exit 255' /usr/sbin/pct")
    assert dpkg(bare, "--remove", "phoenix-apparmor", check=False)[0] == 1
    assert state(bare) == f"ri {VERSION}"
    assert OUR_HOOK in bare.read("/etc/pve/lxc/950.conf")
    assert OUR_HOOK in bare.read("/etc/pve/lxc/951.conf")


def test_removed_and_reinstalled_keeps_edits(installed: Chroot, v1: Path) -> None:
    installed.run(f"echo '# mine' >> {PROFILE}")
    dpkg(installed, "--remove", "phoenix-apparmor")
    assert state(installed) == f"rc {VERSION}"
    assert not installed.exists("/usr/sbin/phoenix-apparmor")
    install(installed, v1)
    assert_settled(installed, VERSION)
    assert conffiles(installed) == {PROFILE: "modified"}


def test_purge_leaves_only_what_is_the_admins(bare: Chroot, v1: Path) -> None:
    before = bare.run("find /etc /usr /var/lib /var/cache/apparmor | sort").out.splitlines()
    bare.write(PROFILE, BASE)
    bare.write("/etc/apparmor.d/local/lxc-nvidia-gpu-base", "# mine\n")
    install(bare, v1)
    bare.run(f"""
        mkdir -p /etc/apparmor.d/disable /etc/apparmor.d/force-complain /var/cache/apparmor/0123.0
        ln -s {PROFILE} /etc/apparmor.d/disable/
        ln -s {DOCKER_PROFILE} /etc/apparmor.d/force-complain/
        ln -s ../lxc-mine /etc/apparmor.d/disable/
        touch /var/cache/apparmor/0123.0/lxc-nvidia-gpu-base /var/cache/apparmor/0123.0/lxc-mine
        mkdir -p /var/lib/phoenix-apparmor
        touch /var/lib/phoenix-apparmor/assignments /etc/phoenix-apparmor/known-denials
    """)
    dpkg(bare, "--purge", "phoenix-apparmor")
    assert state(bare) == ""
    after = bare.run("find /etc /usr /var/lib /var/cache/apparmor | sort").out.splitlines()
    extra = {path for path in after if "__pycache__" not in path} - set(before)
    assert extra == {
        "/etc/apparmor.d/disable/lxc-mine",
        "/etc/apparmor.d/local/lxc-nvidia-gpu-base",
        "/var/cache/apparmor/0123.0",
        "/var/cache/apparmor/0123.0/lxc-mine",
    }
    assert set(before) - set(after) == set()


def test_purge_names_containers_that_lose_their_profile(bare: Chroot, v1: Path) -> None:
    make_proxmox(bare, {"950": "lxc.apparmor.profile: lxc-nvidia-gpu-base\n", "951": "arch: x\n"})
    install(bare, v1)
    out = dpkg(bare, "--purge", "phoenix-apparmor")[1]
    assert "/etc/pve/lxc/950.conf" in out
    assert "951" not in out


def test_systemd_learns_of_the_drop_ins(bare: Chroot, v1: Path) -> None:
    """Without it a container that reboots from inside comes up under "generated"."""
    bare.write("/usr/bin/systemctl", '#!/bin/sh\necho "$*" >> /run/systemctl-calls\n')
    bare.run("chmod +x /usr/bin/systemctl; mkdir -p /run/systemd/system")
    install(bare, v1)
    assert "daemon-reload\n" in bare.read("/run/systemctl-calls")
    bare.run("rm /run/systemctl-calls")
    dpkg(bare, "--remove", "phoenix-apparmor")
    assert "daemon-reload\n" in bare.read("/run/systemctl-calls")


def test_new_lxc_abstractions_reload(installed: Chroot) -> None:
    out = installed.run("dpkg-trigger --no-await /etc/apparmor.d/abstractions/lxc/container-base")
    assert out.out == ""
    out = installed.run("dpkg", "--configure", "--pending")
    assert "Processing triggers for phoenix-apparmor" in out.out
    assert "nothing to load" in out.out


def test_a_broken_helper_does_not_fail_dpkg(bare: Chroot, v1: Path, tmp_path: Path) -> None:
    def broken(tree: Path) -> None:
        (tree / "usr/lib/python3/dist-packages/phoenix_apparmor/host.py").write_text("import no\n")

    out = install(bare, variant(v1, tmp_path, VERSION, broken))
    assert_settled(bare, VERSION)
    assert "the kernel keeps what it had" in out
    assert "phoenix-apparmor doctor" in out
