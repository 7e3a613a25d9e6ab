"""What a profile allows, by its own rules; how root gets out of one."""

import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor.policy import rules, ways_out
from tests.names import BASE, DOCKER
from tests.unit.fakehost import REPO

PROFILES = REPO / "profiles"
SOUND = ("container", "mounts", "kernel-mounts", "kernel-files", "kernel-names")


def read(folder: Path, name: str) -> rules.Profile:
    """The profile as apparmor_parser (the real one) shows it."""
    (folder / "abi").mkdir(exist_ok=True)
    (folder / "abi/3.0").touch()
    (folder / "tunables").mkdir(exist_ok=True)
    (folder / "tunables/global").write_text("@{PROC}=/proc/\n@{made} = {/a,/b}\n")
    link = folder / "abstractions"
    if not link.exists():
        link.symlink_to(PROFILES / "abstractions")
    command = ["apparmor_parser", "--base", str(folder), "-p", str(folder / name)]
    path = {"PATH": "/usr/sbin:/usr/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=path)
    return next(p for p in rules.parse(done.stdout) if p.name == name)


def site(folder: Path, body: str, flags: str = "", includes: tuple[str, ...] = SOUND) -> list[str]:
    """In words, how root gets out of a profile that holds but for body."""
    lines = "".join(f"  include <abstractions/phoenix/{name}>\n" for name in includes)
    (folder / "lxc-site").write_text(
        "abi <abi/3.0>,\ninclude <tunables/global>\n"
        f"profile lxc-site {flags}{{\n{lines}{body}\n}}\n"
    )
    return [way.how for way in ways_out.ways_out(read(folder, "lxc-site"))]


@pytest.mark.parametrize("name", [BASE, DOCKER])
def test_nothing_leads_out_of_what_ships(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((PROFILES / name).read_bytes())
    profile = read(tmp_path, name)
    assert not ways_out.ways_out(profile) and not ways_out.ways_out(profile, loose=True)


def test_propagation_is_any_mount_below_apparmor_4(tmp_path: Path) -> None:
    """CVE-2016-1585: denies by path do not hold then, those by name do."""
    rule = "  mount options=(rw,make-rslave) -> /{,**},\n"
    guard = "  deny /proc/** w,\n  deny /sys/** w,\n"
    assert site(tmp_path, rule + guard, includes=("container",)) == []
    (first, _) = ways_out.ways_out(read(tmp_path, "lxc-site"), loose=True)
    assert "mounts proc on /mnt/" in first.how
    site(tmp_path, rule, includes=("container", "kernel-files", "kernel-names"))
    assert not ways_out.ways_out(read(tmp_path, "lxc-site"), loose=True)


@pytest.mark.parametrize("does", ["move", "remount", "bind", "make-slave"])
def test_rw_beside_another_act_is_a_new_mount_below_apparmor_4(tmp_path: Path, does: str) -> None:
    guard = "  deny /proc/** w,\n  deny /sys/** w,\n"
    source = "/x/ " if does == "bind" else ""
    for words, is_out in ((f"(rw,{does})", does != "bind"), (f"({does})", False)):
        rule = f"  mount options={words} {source}-> /srv/**,\n"
        site(tmp_path, rule + guard, includes=("container",))
        ways = [way.how for way in ways_out.ways_out(read(tmp_path, "lxc-site"), loose=True)]
        assert any("mounts proc on /srv/x/" in how for how in ways) is is_out, (words, ways)
        held = ways_out.ways_out(read(tmp_path, "lxc-site"))
        assert not any("mounts" in way.how for way in held)


OUT = {
    "change_profile -> unconfined,": "changes to unconfined",
    'change_profile -> "unconfined",': "changes to unconfined",
    "change_profile,": "changes to any other profile",
    "change_profile -> lxc-*,": "changes to lxc-*",
    "change_profile -> lxc-site//&unconfined,": "changes to lxc-site//&unconfined",
    "/usr/bin/x Ux,": "outside the profile",
    "/** pux,": "outside the profile",
    "/opt/{a,b} px -> other,": "under other instead",
    "capability mac_admin,": "loads AppArmor policy",
    "capability sys_admin mac_admin,": "loads AppArmor policy",
}
HELD = (
    "change_profile -> lxc-site//child,",
    "deny change_profile,\nchange_profile -> unconfined,",
    "mount fstype=nfs,",
    "mount fstype=proc,\ndeny mount fstype=proc,",
    "# change_profile -> unconfined,",
    "capability mac_admin,\ndeny capability mac_admin,",
    "/a#b r, @{PROC}/1/x r,",
    '"/with blank, change_profile -> unconfined," r,',
)


@pytest.mark.parametrize("rule", OUT, ids=OUT)
def test_a_rule_that_leads_out(tmp_path: Path, rule: str) -> None:
    (how,) = site(tmp_path, rule)
    assert OUT[rule] in how


@pytest.mark.parametrize("body", HELD)
def test_rules_that_do_not(tmp_path: Path, body: str) -> None:
    assert site(tmp_path, body) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("mount,", "mounts proc on /mnt/ and writes /mnt/sysrq-trigger"),
        ("mount fstype=proc,", "mounts proc on /mnt/"),
        ("mount fstype=(ext4, proc) -> /tmp/{x,y}/,", "mounts proc on /tmp/x/"),
        ("mount options=(rw,nosuid) fstype={proc,sysfs} -> /a/**,", "mounts proc on /a/x/"),
        ("mount options=(rw,rbind) /** -> /**,", "binds /proc to /mnt/"),
        ("mount options in (rw,move) @{PROC} -> /b/,", "moves /proc to /b/"),
    ],
)
def test_a_second_proc(tmp_path: Path, rule: str, words: str) -> None:
    """Where the profile guards the files only in their usual place."""
    guard = "  deny /proc/** w,\n  deny /sys/** w,\n"
    found = site(tmp_path, guard + rule, includes=("container",))
    assert any(words in how for how in found), found
    assert site(tmp_path, guard, includes=("container",)) == []
    # the same with the denies by name, which hold wherever it is mounted
    assert site(tmp_path, rule, includes=("container", "kernel-files", "kernel-names")) == []


@pytest.mark.parametrize("flag", ["complain", "unconfined"])
def test_flags_that_stop_nothing(tmp_path: Path, flag: str) -> None:
    found = site(tmp_path, "", f"flags=(attach_disconnected,{flag}) ")
    assert len(found) == 1 and "is not confined" in found[0]
    assert site(tmp_path, "", "flags=(attach_disconnected, mediate_deleted) ") == []


def test_what_is_allowed(tmp_path: Path) -> None:
    name = BASE
    (tmp_path / name).write_bytes((PROFILES / name).read_bytes())
    (tmp_path / "local").mkdir()
    profile = read(tmp_path, name)
    assert profile.new_mount_rule("tmpfs", "tmpfs", "/mnt/x/") is not None
    assert profile.new_mount_rule("nfs", "server:/", "/mnt/x/") is None
    assert profile.allows_file("/etc/passwd", "rw")
    assert not profile.allows_file("/proc/kcore", "r")
    assert profile.allows_capability("sys_admin") and not profile.allows_capability("syslog")
    assert profile.allows("pivot_root") and not profile.allows("change_profile")
    (tmp_path / "local" / name).write_text("mount fstype=nfs,\n")
    assert read(tmp_path, name).new_mount_rule("nfs", "server:/", "/mnt/x/") is not None


@pytest.mark.parametrize("profile", [BASE, DOCKER])
def test_memory_and_passwords_of_the_hosts_devices_are_not_read(
    tmp_path: Path, profile: str
) -> None:
    (tmp_path / profile).write_bytes((PROFILES / profile).read_bytes())
    found = read(tmp_path, profile)
    devices = {
        "pci0000:00/0000:00:02.0": ("resource0", "resource2_wc"),
        "platform/host3/session1/iscsi_session/session1": ("password", "password_in"),
        "virtual/nvme-fabrics/ctl/nvme0": ("dhchap_secret", "dhchap_ctrl_secret"),
    }
    for folder, names in devices.items():
        for name in names:
            assert not found.allows_file(f"/sys/devices/{folder}/{name}", "r"), (folder, name)
        assert found.allows_file(f"/sys/devices/{folder}/uevent", "r"), folder
    assert found.allows_file("/sys/devices/virtual/net/lo/address", "r")
