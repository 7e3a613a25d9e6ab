"""validate on containers' own rules: by what their profiles deny, as denials and allow judge."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.names import BASE, DOCKER
from tests.unit.denials_host import BOOT, mounted, only, process
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import ABI, PARSER
from tests.unit.validate_host import HOLE, NOTHING, SLASH, said, says, with_own_profile


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return with_own_profile(host)


@pytest.mark.parametrize(
    ("rule", "base", "docker", "mine"),
    [
        ("mount fstype=proc -> /mnt/x/,", NOTHING, HOLE, HOLE),
        ("mount options=bind /proc/ -> /x/,", NOTHING, HOLE, HOLE),
        ("mount fstype=tracefs,", NOTHING, NOTHING, HOLE),
        ("capability sys_module,", NOTHING, NOTHING, HOLE),
        ("capability sys_time,", NOTHING, NOTHING, HOLE),
        ("capability net_admin,", NOTHING, NOTHING, ""),
        ("capability,", NOTHING, NOTHING, HOLE),
        ("/proc/sys/kernel/core_pattern w,", NOTHING, NOTHING, HOLE),
        ("umount /proc/,", NOTHING, NOTHING, HOLE),
        ("network vsock stream,", NOTHING, NOTHING, HOLE),
        ("/closed w,", NOTHING, NOTHING, NOTHING),
        ("/closed r,", NOTHING, NOTHING, ""),
        ("mount fstype=(proc, nfs) -> /mnt/x/,", "", HOLE, HOLE),
        ("mount fstype=ext4,", NOTHING, NOTHING, HOLE),
        ("mount fstype=xfs -> /mnt/,", NOTHING, NOTHING, HOLE),
        ("mount options=(rw,remount) -> /,", HOLE, HOLE, HOLE),
        ("mount options=(rw,remount,bind) -> /mnt/**,", HOLE, HOLE, HOLE),
        ("mount -> /mnt/**,", HOLE, HOLE, HOLE),
        ("signal (send) peer=lxc-*,", HOLE, HOLE, HOLE),
        ("unix (send,receive) peer=(label=/usr/sbin/*),", HOLE, HOLE, HOLE),
        ("mount fstype = nfs,", "", "", ""),
        ('mount -> "/data/docker/**",', HOLE, HOLE, HOLE),
        ("mount fstype=nfs -> /mnt/nas,", SLASH, SLASH, SLASH),
        ("mount fstype=nfs -> /mnt/nas/,", "", "", ""),
        ("mount none -> /mnt/x/,", HOLE, HOLE, HOLE),
        ("mount options=ro /srv/a/ -> /mnt/x/,", HOLE, HOLE, HOLE),
        ("mount options=bind /srv/a/ -> /mnt/x/,", NOTHING, NOTHING, ""),
        ("file,", NOTHING, NOTHING, HOLE),
        ("network vsock,", NOTHING, NOTHING, HOLE),
    ],
)
@pytest.mark.parametrize("privileged", [True, pytest.param(None, marks=pytest.mark.slow)])
def test_a_rule_by_what_the_profile_denies(
    host: FakeHost, rule: str, base: str, docker: str, mine: str, *, privileged: bool | None
) -> None:
    if privileged:
        host.conf("950", "hostname: x\n")
    for profile, word in ((BASE, base), (DOCKER, docker), ("lxc-mine", mine)):
        says(host, profile, rule, word)


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("mount fstype=nfs4,", NOTHING),
        ("mount fstype=ext4 /dev/sdb1 -> /mnt/,", NOTHING),
        ("mount options=(remount) -> /,", ""),
        ("mount options=(rw,remount) -> /,", "Write options=(remount)"),
        ("mount options=(rw,bind) /opt/ -> /mnt/x/,", "a new mount of any type"),
        ("mount options=(bind) /opt/ -> /mnt/x/,", ""),
        ("mount options=(rw,make-rslave) -> /mnt/x/,", "any mount"),
        ("mount options=make-rslave -> /mnt/x/,", ""),
        ("mount options=(rw,remount,bind) -> /mnt/x/,", "lxc.mount.entry"),
        ("mount options=(rw,remount,bind) -> /newroot/x/,", ""),
        ("capability sys_admin,", ""),
        ("mount none -> /mnt/x/,", ""),
        ("mount none -> /**,", HOLE),
        ("mount fstype=(nfs, tmpfs),", ""),
    ],
)
@pytest.mark.parametrize("folder", ["/etc/pve/lxc", "/etc/pve/nodes/pve2/lxc"])
def test_a_rule_by_what_the_container_is(host: FakeHost, rule: str, word: str, folder: str) -> None:
    """On another node too: the JSON is the whole cluster's."""
    host.path("/etc/pve/nodes/pve1/lxc").mkdir(parents=True)
    host.path("/etc/pve/lxc").mkdir(parents=True, exist_ok=True)
    host.write(f"{folder}/950.conf", "unprivileged: 1\n")
    says(host, "lxc-mine", rule, word)


@pytest.mark.parametrize(
    ("deny", "rule", "nothing"),
    [
        ("deny /srv/x r,", "/srv/x r,", True),
        ("deny /srv/** r,", "/srv/x r,", True),
        ("deny mount fstype=fuse,", "mount fstype=fuse,", True),
        ("deny /srv/x w,", "/srv/x r,", False),
        ("/srv/x r,", "/srv/x r,", False),
        ("deny /srv/x w,", "/srv/x a,", True),
        ("deny /srv/x a,", "/srv/x w,", False),
        # others may still
        ("deny owner /srv/x r,", "/srv/x r,", False),
        ("deny owner /srv/x r,", "owner /srv/x r,", True),
        ("deny /srv/x r,", "owner /srv/x r,", True),
        ("deny link /srv/a -> /srv/b,", "link /srv/a -> /srv/b,", True),
        ("deny link /srv/a -> /srv/c,", "link /srv/a -> /srv/b,", False),
        ("deny /srv/a l,", "link /srv/a -> /srv/b,", True),
    ],
)
def test_what_the_same_entry_denies(host: FakeHost, deny: str, rule: str, nothing: bool) -> None:
    its_entry_denies(host, deny, rule, nothing)


@pytest.mark.parametrize(
    ("deny", "rule", "on_3", "on_4"),
    [
        ("deny remount,", "mount options=(remount) -> /srv/,", True, True),
        ("deny remount,", "mount options=(remount,ro) -> /srv/,", False, True),
        ("deny remount /srv/,", "mount options=(remount,ro) -> /srv/,", False, True),
        ("deny remount /mnt/,", "mount options=(remount,ro) -> /srv/,", False, False),
        ("deny remount options=ro,", "mount options=(remount,ro) -> /srv/,", True, True),
        ("deny remount options=nosuid,", "mount options=(remount,ro) -> /srv/,", False, False),
        ("deny remount,", "mount options=(bind) /a/ -> /srv/,", False, False),
    ],
)
@pytest.mark.parametrize("is_4", [False, True])
def test_a_remount_without_options_is_any_for_apparmor_4(
    host: FakeHost, deny: str, rule: str, *, on_3: bool, on_4: bool, is_4: bool
) -> None:
    """For AppArmor 3.0, one that changes nothing else."""
    host.conf("950", "unprivileged: 1\n")
    if is_4:
        host.write("/etc/apparmor.d/abi/4.0", "")
    host.write("/etc/apparmor.d/lxc-nvidia-gpu-base", f"profile {BASE} {{\n}}\n")
    host.json({"950": {"apparmor_profile": BASE, "apparmor_rules": [deny, rule]}})
    nothing = on_4 if is_4 else on_3
    assert ("same entry" in host.cli("validate", "--json").out) is nothing
    host.json({"950": {"apparmor_profile": BASE, "apparmor_rules": [rule]}})
    host.write(f"/etc/apparmor.d/{BASE}", f"profile {BASE} {{\n  {deny}\n}}\n")
    assert ("denies that explicitly" in host.cli("validate", "--json").out) is nothing


def its_entry_denies(host: FakeHost, deny: str, rule: str, nothing: bool) -> None:
    host.json({"950": {"apparmor_profile": BASE, "apparmor_rules": [deny, rule]}})
    found = json.loads(host.cli("validate", "--json").out)["findings"]
    said = [f["what"] for f in found if "allows that already" not in f["what"]]
    assert [NOTHING in what and "same entry" in what for what in said] == [True] * nothing


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("signal (send) peer=/usr/sbin/sshd,", HOLE),
        ("unix (send, receive) peer=(label=/usr/bin/foo),", HOLE),
        ("umount /proc/,", NOTHING),
        ("mount fstype=debugfs,", NOTHING),
        ("mount fstype=nfs,", ""),
    ],
)
def test_an_entry_without_a_profile_has_the_default(host: FakeHost, rule: str, word: str) -> None:
    host.json({"950": {"apparmor_rules": [rule]}})
    found = json.loads(host.cli("validate", "--json").out)["findings"]
    assert [word in finding["what"] for finding in found] == ([True] if word else [])


@pytest.mark.parametrize(
    ("rule", "privileged", "word"),
    [
        ("mount options=(rw,move) -> /x/,", True, ""),
        ("mount options=(move) -> /x/,", True, NOTHING),
        ("mount options=(rw,move) -> /x/,", False, ""),
    ],
)
def test_what_apparmor_3_takes_for_a_new_mount_of_a_disk(
    host: FakeHost, rule: str, word: str, *, privileged: bool
) -> None:
    host.conf("950", "hostname: x\n" if privileged else "unprivileged: 1\n")
    says(host, BASE, rule, word)
    if privileged and not word:
        for act in ("move", "bind"):
            says(host, "lxc-mine", f"mount options=(rw,{act}) -> /x/,", HOLE)


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("ptrace (trace) peer=lxc-mine,", HOLE),
        ("ptrace (trace) peer=lxc-min[ed],", HOLE),
        ("signal (send) set=(kill) peer=@{profile_name}{,.950},", ""),
        ("signal (send) set=(kill) peer=lxc-mine.950,", ""),
        ("signal (send) set=(kill) peer=lxc-mine.950*,", HOLE),
        ("signal (receive) peer=lxc-mine,", "not for the container's own"),
        ("deny ptrace (trace) peer=lxc-mine,", ""),
        ('unix (send) peer=(label="lxc-mine"),', HOLE),
        ("ptrace (trace) peer=@{profile_name},", ""),
        ("dbus (send) bus=system peer=(label=@{profile_name}),", ""),
        ('dbus (send) bus=system peer=(name="org.x",label="unconfined"),', HOLE),
        ("dbus (send) bus=system peer=(name=org.x),", HOLE),
        ("dbus (eavesdrop) bus=system,", HOLE),
        ("dbus,", HOLE),
        ("dbus (receive) bus=system,", ""),
        ("/sys/kernel/security/apparmor/.replace w,", HOLE),
    ],
)
def test_a_rule_for_a_peer(host: FakeHost, rule: str, word: str) -> None:
    host.conf("950", "hostname: x\n")
    says(host, "lxc-mine", rule, word)


ACTS = (
    ('fstype="proc" srcname="proc" flags="rw"', "mount fstype=proc -> /mnt/x/,"),
    ('fstype="ext4" srcname="/dev/sdb1" flags="rw"', "mount fstype=ext4 -> /mnt/x/,"),
    ('srcname="/sys/" flags="rw, bind"', "mount options=(rw,bind) /sys/ -> /mnt/x/,"),
    ('srcname="/opt/" flags="rw, bind"', "mount options=(bind) /opt/ -> /mnt/x/,"),
    ('flags="rw, remount"', "mount options=(remount) -> /mnt/x/,"),
    ('flags="rw, remount, bind"', "mount options=(remount,bind) -> /mnt/x/,"),
    ('flags="ro, remount, bind, nodev"', "mount options=(ro,remount,bind,nodev) -> /mnt/x/,"),
    ('fstype="nfs4" srcname="nas:/x" flags="rw"', "mount fstype=nfs4 -> /mnt/x/,"),
    ('flags="rw, rprivate"', "mount options=(make-rprivate) -> /mnt/x/,"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("act", "rule"), ACTS)
@pytest.mark.parametrize("unprivileged", [True, False])
@pytest.mark.parametrize("profile", [BASE, DOCKER, "lxc-mine"])
@pytest.mark.parametrize("is_4", [True, False])
def test_denials_allow_and_validate_are_of_one_mind(
    host: FakeHost, act: str, rule: str, profile: str, *, unprivileged: bool, is_4: bool
) -> None:
    """What was refused and the rule that would allow it are judged alike."""
    four = host.path("/etc/apparmor.d/abi/4.0")
    if is_4:
        host.write("/etc/apparmor.d/abi/4.0", "")
    else:
        four.unlink(missing_ok=True)
    host.conf("950", "unprivileged: 1\n" if unprivileged else "hostname: x\n")
    host.runtime("950", f"lxc.apparmor.profile = {profile}\n".encode())
    process(host, 9, "/lxc/950/ns/x", 50)
    told = said(host, profile, rule)
    host.json({"950": {"apparmor_profile": profile}})
    group = only(host, mounted(profile, "/mnt/x/", more=act))
    if group["advice"] and "already a rule" in group["advice"]:
        return
    no_rule = group["rule_is_futile"] or "No rule helps" in (group["advice"] or "")
    assert (NOTHING in told) is bool(no_rule), (told, group)
    assert (HOLE in told) is (not no_rule and group["warning"] is not None), (told, group)
    message = re.sub(r"audit: type=1400 ", "type=AVC msg=", mounted(profile, "/mnt/x/", more=act))
    host.write("/var/log/audit/audit.log", message.replace(f"{BOOT}", f"{BOOT}") + "\n")
    out = host.cli("allow", "950", "--dry-run").out
    assert ("Better not" in out) is (HOLE in told), (told, out)
    assert ("No rule can allow these" in out) is (NOTHING in told), (told, out)


def test_a_rule_for_all_users_is_not_there_with_one_for_owners(host: FakeHost) -> None:
    text = "profile lxc-mine {\n  owner /home/** rw,\n  file,\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", text.replace("  file,\n", ""))
    assert said(host, "lxc-mine", "/home/u/x r,") == ""
    assert NOTHING in said(host, "lxc-mine", "owner /home/u/x r,")
    host.write("/etc/apparmor.d/lxc-mine", text)
    assert NOTHING in said(host, "lxc-mine", "/home/u/x r,")


def test_everything_is_more_than_all_files(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/abi/4.0", "")
    for profile in (BASE, DOCKER, "lxc-mine"):
        found = said(host, profile, "all,")
        assert HOLE in found and NOTHING not in found, found


PART = "some of what this rule allows stays refused"


@pytest.mark.parametrize(
    ("deny", "rule", "word"),
    [
        ("deny /srv/x r,", "/srv/x r,", NOTHING),
        ("deny /srv/x{,/} r,", "/srv/* r,", PART),
        ("deny /srv/{,x,x/} r,", "/srv/** r,", PART),
        ("deny /srv/** r,", "/srv/a* r,", NOTHING),
        ("deny /srv/** rw,", "/srv/{a,b*} w,", NOTHING),
        ("deny /srv/[a-m]* w,\n  deny /srv/x w,", "/srv/{a,x} w,", NOTHING),
        ("deny /srv/{x,x/} w,", "/srv/{,x,x/} w,", ""),
        ("deny mount fstype=cifs -> /srv/x{,/},", "mount fstype=cifs -> /srv/*/,", PART),
        ("deny mount fstype=cifs -> /srv/**,", "mount fstype=cifs -> /srv/*/,", NOTHING),
        ("deny mount fstype=cifs -> /srv/x/,", "mount fstype=cifs //a/b -> /srv/x/,", NOTHING),
        ("deny mount fstype=cifs cifs -> /srv/x/,", "mount fstype=cifs -> /srv/x/,", PART),
        ("deny mount options=remount -> /srv/x/,", "mount options=remount -> /srv/*/,", PART),
        ("deny umount /srv/x{,/},", "umount /srv/*{,/},", ""),
        ("deny umount /srv/{,**},", "umount /srv/*/,", NOTHING),
        ("deny umount /srv/x{,/},", "umount /srv/*/,", PART),
        ("deny signal (send) set=(kill) peer=x,", "signal (send) set=(kill, term) peer=x,", HOLE),
    ],
)
def test_what_a_deny_takes_a_part_of_does_something(
    host: FakeHost, deny: str, rule: str, word: str
) -> None:
    """Of a pattern examples are asked; that all of them are denied says nothing of the others."""
    host.write("/etc/apparmor.d/lxc-mine", f"profile lxc-mine {{\n  {deny}\n}}\n")
    host.conf("950", "hostname: x\n")
    found = said(host, "lxc-mine", rule)
    assert word in found and bool(word) == bool(found), found
    assert (NOTHING in found) is (word == NOTHING)


@pytest.mark.parametrize(
    ("rule", "compiles"),
    [
        ("mount options=remount /,", False),
        ("mount options=make-rslave /srv/ -> /,", False),
        ("mount options=make-rslave -> /srv/,", True),
    ],
)
def test_a_machine_without_apparmor_knows_what_a_kernel_takes(
    host: FakeHost, rule: str, *, compiles: bool
) -> None:
    """Where the parser (the real one) knows no kernel, it takes rules for mounts that are none."""
    shutil.rmtree(host.path("/sys/kernel/security"))
    host.write("/etc/apparmor.d/abi/3.0", Path(ABI).read_bytes())
    programs = host.path("/programs")
    programs.mkdir()
    (programs / "apparmor_parser").symlink_to(PARSER)
    host.environment["PATH"] = f"{programs}:{host.environment['PATH']}"
    text = "abi <abi/3.0>,\nprofile lxc-mine {\n  /x r,\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", text)
    host.json({"950": {"apparmor_profile": "lxc-mine", "apparmor_rules": [rule]}})
    done = host.cli("validate", "--json")
    found = [f["what"] for f in json.loads(done.out)["findings"] if f["severity"] == "error"]
    assert bool(found) is not compiles and all("does not compile" in what for what in found), done
