"""denials, allow and validate: where a rule would not help, is too narrow, or is there already."""

from pathlib import Path

import pytest

from tests.names import DOCKER
from tests.unit.allow_host import allow, line, log, opened, rules_of
from tests.unit.denials_host import denied, found, mounted, only
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import compile_rules

LOCAL = "/etc/apparmor.d/local/lxc-mine"


def remount(name: str, flags: str = "ro, remount, relatime") -> str:
    return mounted("lxc-mine", name, more=f'flags="{flags}"')


@pytest.mark.usefixtures("as_shipped")
class TestOfDenials:
    """What denials says."""

    def test_a_file_system_of_the_hosts_is_remounted_by_its_root_only(self, host: FakeHost) -> None:
        conf = "mp0: /srv/a,mp=/data\nlxc.mount.entry: /srv/b more none bind,create=dir 0 0\n"
        host.runtime("950", b"lxc.apparmor.profile = lxc-mine\n")
        places = {"/": True, "/data/": True, "/more/": True, "/tmp/": False, "/data/x/": False}
        for more, hopeless in (("unprivileged: 1\n", True), ("", False)):
            host.conf("950", conf + more)
            for place, is_hosts in places.items():
                group = only(host, remount(place))
                assert (group["rule"] is None) is (hopeless and is_hosts), (more, place)
                # that changes the mount alone, which the kernel lets root of the container do
                assert only(host, remount(place, "ro, remount, bind"))["rule"]
        host.runtime("951", b"lxc.apparmor.profile = lxc-mine\n")
        assert "unprivileged" in only(host, remount("/"))["advice"]
        assert only(host, remount("/tmp/"))["advice"] is None

    def test_a_container_inside_has_a_root_of_its_own(self, host: FakeHost) -> None:
        host.conf("950", "unprivileged: 1\n")
        host.runtime("950", f"lxc.apparmor.profile = {DOCKER}\n".encode())
        advice = only(host, remount("/").replace("lxc-mine", DOCKER))["advice"]
        assert "unless it is one of a container inside" in advice
        inside = 'namespace="root//lxc-950_<-var-lib-lxc>" profile="mine"'
        group = only(host, remount("/").replace('profile="lxc-mine"', inside))
        assert group["rule"] and "the host's" not in (group["advice"] or "")

    def test_a_deny_of_the_sites_own_can_be_taken_out(self, host: FakeHost) -> None:
        message = denied(
            'operation="open" class="file" profile="lxc-mine" pid=9 comm="x" name="/srv/x" '
            'denied_mask="w" requested_mask="w" fsuid=0 ouid=0'
        )
        host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  deny /srv/x w,\n}\n")
        group = only(host, message)
        assert group["rule_is_futile"] and group["advice"] is None
        own = "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n"
        host.write("/etc/apparmor.d/lxc-mine", own)
        host.write(LOCAL, "deny /srv/x w,\n")
        group = only(host, message)
        assert group["rule_is_futile"] and "reload" in group["advice"] and LOCAL in group["warning"]
        host.write(LOCAL, "")
        host.json({"950": {"apparmor_profile": "lxc-mine", "apparmor_rules": ["deny /srv/* w,"]}})
        host.runtime("950", b"lxc.apparmor.profile = lxc-mine.950\n")
        group = only(host, message.replace('"lxc-mine"', '"lxc-mine.950"'))
        assert group["rule_is_futile"] and "pct reboot 950" in group["advice"]

    def test_a_part_that_the_kernel_made_takes_no_rule(self, host: FakeHost) -> None:
        made = 'operation="open" class="file" profile="{}" name="/srv/x" pid=9 denied_mask="r"'
        body = "  /** ix,\n  profile mine {\n  }\n  include if exists <local/lxc-mine>\n"
        host.write("/etc/apparmor.d/lxc-mine", f"profile lxc-mine {{\n{body}}}\n")
        group = only(host, denied(made.format("lxc-mine//null-/usr/bin/foo")))
        assert group["rule"] is None and "/usr/bin/foo" in group["advice"]
        assert "ix" in group["advice"] and "part" not in group["advice"]
        assert "the part mine of" in only(host, denied(made.format("lxc-mine//mine")))["advice"]
        assert "no part gone" in only(host, denied(made.format("lxc-mine//gone")))["advice"]

    def test_the_limit_of_another_process_is_set_with_a_capability(self, host: FakeHost) -> None:
        limit = denied(
            'operation="setrlimit" class="rlimits" profile="lxc-mine" pid=9 comm="x" '
            'rlimit="nofile" value=1024 peer="lxc-other" info="cap_sys_resource"'
        )
        host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  network,\n}\n")
        assert only(host, limit)["rule"] == "capability sys_resource,"
        for rule, there in (
            ("capability,", "already a rule"),
            ("capability sys_resource,", "already a rule"),
        ):
            host.write("/etc/apparmor.d/lxc-mine", f"profile lxc-mine {{\n  {rule}\n}}\n")
            group = only(host, limit)
            assert group["rule"] is None and there in group["advice"], rule
        host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  deny capability,\n}\n")
        assert only(host, limit)["rule_is_futile"]

    def test_a_terminal_has_another_number_next_time(self, host: FakeHost) -> None:
        message = denied(
            'operation="open" class="file" profile="lxc-mine" pid=9 comm="x" name="/dev/pts/3" '
            'denied_mask="wr" requested_mask="wr" fsuid=0 ouid=0'
        )
        host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  network,\n}\n")
        assert only(host, message)["rule"] == '"/dev/pts/[0-9]*" rw,'
        assert '"/dev/pts/ptmx"' in only(host, message.replace("pts/3", "pts/ptmx"))["rule"]

    def test_the_rule_that_is_cited_allows_all_that_was_asked_for(self, host: FakeHost) -> None:
        body = "  /srv/x w,\n  /srv/* rw,\n  /y r,\n  /y w,\n"
        host.write("/etc/apparmor.d/lxc-mine", f"profile lxc-mine {{\n{body}}}\n")
        for name, cited in (("/srv/x", "/srv/* rw"), ("/y", "/y w")):
            group = only(
                host,
                denied(
                    'operation="open" class="file" profile="lxc-mine" pid=9 comm="x" '
                    f'name="{name}" denied_mask="wr" requested_mask="wr" fsuid=0 ouid=0'
                ),
            )
            assert f"rule for it: {cited}" in group["advice"], name

    def test_a_process_is_told_by_its_profile_and_not_by_a_label_that_we_made(
        self, host: FakeHost
    ) -> None:
        message = denied(
            'operation="signal" class="signal" profile="lxc-mine.950" pid=9 comm="x" signal=kill '
            'requested_mask="receive" denied_mask="receive" peer="lxc-mine.950"'
        )
        host.conf("950")
        said = only(host, message)["tried_to"]
        assert "under lxc-mine" in said and ":" not in said

    def test_a_mount_without_flags_gets_a_rule_for_just_that(
        self, host: FakeHost, tmp_path: Path
    ) -> None:
        """The kernel prints none where there are none (security/apparmor/mount.c, audit_cb)."""
        more = 'fstype="nfs4" srcname="nas:/x"'
        rule = only(host, mounted("lxc-mine", "/data/", more=more))["rule"]
        host.write(LOCAL, f"{rule}\n")
        assert found(host, mounted("lxc-mine", "/data/", more=more))[0]["rule"] is None
        automata = compile_rules(rule, tmp_path)
        start = b"\x07/data/\0nas:/x\0nfs4\0"

        def takes(flags: bytes) -> bool:
            return any(a.accepts(a.walk(start + flags)) for a in automata)

        # each flag is the byte of its bit, from 1 on
        assert takes(b"") and not takes(b"\1") and not takes(b"\2")


@pytest.mark.parametrize("rule", ["mount,", "mount fstype=nfs -> /a/,", "remount /a/,"])
@pytest.mark.parametrize("place", ["entry", "profile"])
@pytest.mark.usefixtures("as_shipped")
def test_a_rule_beside_one_that_denies_all_of_its_kind_does_nothing(
    host: FakeHost, rule: str, place: str
) -> None:
    deny = "deny mount,"
    own = f"profile lxc-mine {{\n  {deny if place == 'profile' else ''}\n}}\n"
    host.write("/etc/apparmor.d/lxc-mine", own)
    rules = [rule, deny] if place == "entry" else [rule]
    host.json({"950": {"apparmor_profile": "lxc-mine", "apparmor_rules": rules}})
    said = host.cli("validate").out
    assert "does nothing" in said and "opens a hole" not in said
    host.json({"950": {"apparmor_profile": "lxc-mine", "apparmor_rules": ["umount,", *rules]}})
    assert host.cli("validate").out.count("does nothing") == 1


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("mount fstype=ext[234],", "does nothing: the kernel mounts ext2 and ext3 and ext4"),
        ("mount fstype=nfs* -> /mnt/**,", "does nothing"),
        ("mount fstype={xfs,btrfs} -> /mnt/,", "does nothing"),
        ("mount fstype={xfs,tmpfs} -> /mnt/,", ""),
        ("mount fstype=fuse* -> /mnt/,", ""),
        ("mount /dev/sda1 -> /mnt/,", "mounts nothing that is on /dev/sda1"),
        ("mount options=(ro) /dev/nvme* -> /mnt/*/,", "mounts nothing"),
        ("mount options=bind /dev/null -> /mnt/x,", "allows that already"),
        ("mount fstype=tmpfs /dev/sda1 -> /mnt/,", "allows that already"),
    ],
)
@pytest.mark.usefixtures("as_shipped")
def test_what_the_kernel_mounts_only_for_root_of_the_host(
    host: FakeHost, rule: str, word: str
) -> None:
    host.json({"950": {"apparmor_profile": DOCKER, "apparmor_rules": [rule]}})
    host.conf("950", "unprivileged: 1\n")
    said = host.cli("validate").out
    assert word in said and bool(word) == ("warning" in said), said
    host.conf("950", "arch: amd64\n")
    assert "unprivileged" not in host.cli("validate").out


@pytest.mark.usefixtures("refusing")
class TestOfAllow:
    """What allow writes."""

    def test_the_profile_gets_a_rule_that_one_container_has(self, host: FakeHost) -> None:
        log(host, line("/data/"))
        assert allow(host).status == 0 and len(rules_of(host)) == 1
        done = allow(host, "--profile")
        assert done.status == 0, done
        local = f"/etc/apparmor.d/local/{DOCKER}"
        assert rules_of(host)[0].encode() in host.read(local)
        before = host.read(local)
        assert "already allowed" in allow(host, "--profile").out
        assert host.read(local) == before

    def test_of_two_rules_for_one_file_the_wider_is_written(self, host: FakeHost) -> None:
        log(host, opened("/tmp/tmpabcdefgh", "w"), opened("/tmp/tmpabcdefgi", "wr"),
            opened("/srv/x", "r"), opened("/srv/x", "a"))  # fmt: skip
        assert allow(host).status == 0
        named = [rule.rpartition('"')[2] for rule in rules_of(host) if "/tmp/" in rule]
        assert named == [" rw,"]
        assert sorted(r for r in rules_of(host) if "srv" in r) == ['"/srv/x" a,', '"/srv/x" r,']
        assert "already allowed" in allow(host).out

    def test_a_deny_of_the_sites_own_is_told_with_what_to_do(self, host: FakeHost) -> None:
        host.write(f"/etc/apparmor.d/local/{DOCKER}", "deny /srv/x r,\n")
        log(host, opened("/srv/x"), opened("/srv/y"))
        done = allow(host)
        assert done.status == 2 and rules_of(host) == ['"/srv/y" r,']
        said = " ".join(done.out.split())
        assert f"in /etc/apparmor.d/local/{DOCKER}; no rule can override that. Remove" in said
