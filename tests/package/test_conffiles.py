"""dpkg's conffile matrix: after each case, what is on disk and what our code says of it."""

import os
from pathlib import Path

import pytest

from tests.names import VERSION
from tests.package.chroots import Chroot
from tests.package.conftest import NEW_RULE
from tests.package.debs import PROFILE, append, before_postinst, variant, without
from tests.package.host import assert_settled, conffiles, dpkg, state

pytestmark = pytest.mark.slow

EDIT = "# my own rule\n"


def edit(chroot: Chroot) -> None:
    chroot.run(f"printf '{EDIT}' >> {PROFILE}")


def test_fresh_install(installed: Chroot) -> None:
    assert_settled(installed, VERSION)
    assert conffiles(installed) == {}
    assert installed.run("dpkg", "--verify", "phoenix-apparmor").out == ""


def test_install_says_that_there_is_nothing_to_load(bare: Chroot, v1: Path) -> None:
    out = dpkg(bare, "-i", bare.put(v1))[1]
    assert "nothing to load" in out
    assert "phoenix-apparmor:" not in out, "a warning on a plain first install"


def test_upgrade_replaces_an_unmodified_file_silently(installed: Chroot, v2: Path) -> None:
    out = dpkg(installed, "-i", installed.put(v2))[1]
    assert_settled(installed, "2.0.0")
    assert installed.read(PROFILE).endswith(NEW_RULE)
    assert "phoenix-apparmor:" not in out
    assert not installed.exists(f"{PROFILE}.dpkg-*")


def test_a_downgrade_brings_the_old_text_back(bare: Chroot, v1: Path, v2: Path) -> None:
    dpkg(bare, "-i", bare.put(v2))
    dpkg(bare, "-i", bare.put(v1))
    assert_settled(bare, VERSION)
    assert NEW_RULE not in bare.read(PROFILE)


def test_edited_and_kept(installed: Chroot, v2: Path) -> None:
    edit(installed)
    out = dpkg(installed, "--force-confdef", "--force-confold", "-i", installed.put(v2))[1]
    assert_settled(installed, "2.0.0")
    assert installed.read(PROFILE).endswith(EDIT)
    assert conffiles(installed) == {PROFILE: f"modified {PROFILE}.dpkg-dist"}
    assert f"not in force: {PROFILE}" in out, "the rollout that did not happen goes unsaid"
    assert f"mv {PROFILE}.dpkg-dist {PROFILE}" in out

    installed.run(f"mv {PROFILE}.dpkg-dist {PROFILE}")
    assert conffiles(installed) == {}, "how to fix it that the message names"


def test_edited_and_replaced(installed: Chroot, v2: Path) -> None:
    edit(installed)
    dpkg(installed, "--force-confnew", "-i", installed.put(v2))
    assert_settled(installed, "2.0.0")
    assert conffiles(installed) == {}
    assert installed.read(f"{PROFILE}.dpkg-old").endswith(EDIT)


def test_edited_without_an_answer(installed: Chroot, v2: Path) -> None:
    edit(installed)
    assert dpkg(installed, "-i", installed.put(v2), check=False)[0] == 1
    assert state(installed) == "iU 2.0.0"
    assert conffiles(installed) == {PROFILE: f"modified {PROFILE}.dpkg-new"}
    assert installed.read(PROFILE).endswith(EDIT)

    dpkg(installed, "--force-confold", "--configure", "-a")
    assert_settled(installed, "2.0.0")
    assert installed.read(PROFILE).endswith(EDIT)


def test_edited_but_the_shipped_text_is_the_same(
    installed: Chroot, v1: Path, tmp_path: Path
) -> None:
    edit(installed)
    dpkg(installed, "-i", installed.put(variant(v1, tmp_path, "1.0.1")))
    assert_settled(installed, "1.0.1")
    assert conffiles(installed) == {PROFILE: "modified"}


def test_deleted_stays_deleted(installed: Chroot, v1: Path, tmp_path: Path) -> None:
    installed.run("rm", PROFILE)
    dpkg(installed, "-i", installed.put(variant(v1, tmp_path, "1.0.1")))
    assert_settled(installed, "1.0.1")
    assert conffiles(installed) == {PROFILE: "missing"}


def test_deleted_and_the_shipped_text_changed(installed: Chroot, v2: Path) -> None:
    installed.run("rm", PROFILE)
    assert dpkg(installed, "-i", installed.put(v2), check=False)[0] == 1
    assert conffiles(installed) == {PROFILE: f"missing {PROFILE}.dpkg-new"}
    dpkg(installed, "--force-confnew", "--configure", "-a")
    assert_settled(installed, "2.0.0")
    assert conffiles(installed) == {}


def test_dropped_by_the_package_stays_as_obsolete(
    installed: Chroot, v1: Path, tmp_path: Path
) -> None:
    dpkg(installed, "-i", installed.put(variant(v1, tmp_path, "2.0.0", without(PROFILE))))
    assert_settled(installed, "2.0.0")
    assert conffiles(installed) == {PROFILE: "obsolete"}
    assert installed.exists(PROFILE)


def test_disk_full_while_upgrading(prepared: tuple[Path, ...], v1: Path, tmp_path: Path) -> None:
    """The same system, then with room again: one repair command is enough."""
    folder = tmp_path / "system"
    chroot = Chroot(prepared, folder)
    # Random, so that the .deb and what it unpacks to need real room.
    blob = os.urandom(3 << 20).hex()
    big = variant(v1, tmp_path, "2.0.0", append("/usr/libexec/phoenix-apparmor/blob", blob))
    script = f"""
        dpkg -i {chroot.put(v1)}
        head -c 100M /dev/zero > /filler 2> /dev/null || true
        if dpkg -i {chroot.put(big)}; then echo 'it was not full'; exit 1; fi
        dpkg-query -W -f '${{db:Status-Abbrev}}${{Version}}\\n' phoenix-apparmor
        test -e {PROFILE}
        phoenix-apparmor --help > /dev/null
        rm /filler
        dpkg --configure -a
        dpkg -i {chroot.put(big)}
        test -z "$(dpkg --audit)"
        dpkg-query -W -f '${{db:Status-Abbrev}}${{Version}}\\n' phoenix-apparmor
    """
    out = chroot.run(script, tmpfs="16m").out
    assert "No space left on device" in out
    assert out.endswith("ii 2.0.0\n")


def test_killed_in_postinst(installed: Chroot, v2: Path, tmp_path: Path) -> None:
    once = "if [ ! -e /run/killed ]; then touch /run/killed; kill -9 $PPID; exit 1; fi"
    deb = variant(v2, tmp_path, "2.0.0", before_postinst(once))
    assert dpkg(installed, "-i", installed.put(deb), check=False)[0] != 0
    assert state(installed) == "iF 2.0.0"
    dpkg(installed, "--configure", "-a")
    assert_settled(installed, "2.0.0")
    assert conffiles(installed) == {}
    assert installed.read(PROFILE).endswith(NEW_RULE)


def test_killed_at_the_prompt(installed: Chroot, v2: Path) -> None:
    edit(installed)
    script = f"""
        mkfifo /run/answer
        dpkg -i {installed.put(v2)} < /run/answer > /run/said 2>&1 & pid=$!
        exec 3> /run/answer
        for _ in $(seq 600); do ! grep -q '^[*][*][*] lxc-' /run/said || break; sleep 0.1; done
        kill -9 $pid
        wait $pid || true
        cat /run/said
    """
    assert "*** lxc-nvidia-gpu-base" in installed.run(script).out
    dpkg(installed, "--force-confold", "--configure", "-a")
    assert_settled(installed, "2.0.0")
    assert installed.read(PROFILE).endswith(EDIT)
    assert conffiles(installed) == {PROFILE: f"modified {PROFILE}.dpkg-dist"}


def test_unknown_package_has_no_conffiles(installed: Chroot) -> None:
    show = (
        "from phoenix_apparmor.policy import conffiles; from phoenix_apparmor.host import Host;"
        "print(conffiles.of_package(Host(), 'no-such-package'))"
    )
    assert installed.run("python3", "-I", "-c", show).out == "[]\n"
