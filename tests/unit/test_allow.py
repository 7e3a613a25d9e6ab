"""allow: rules of what was refused, into the JSON or the profile's local file; what is left out."""

import time

import pytest

from tests.names import DOCKER, JSON
from tests.unit.allow_host import SERIALS, allow, assign, capable, entry, line, log, rules_of
from tests.unit.fakehost import FakeHost

pytestmark = pytest.mark.usefixtures("refusing")

LOCAL = f"/etc/apparmor.d/local/{DOCKER}"
NFS = "mount fstype=nfs options=(rw) nas:/x -> /data/,"


def test_into_its_entry(host: FakeHost) -> None:
    log(host, line("/data/"), line("/data/"))
    before = host.read(JSON)
    done = allow(host, "--dry-run")
    assert done.status == 0 and "+++" in done.out and "nfs" in done.out
    assert host.read(JSON) == before
    done = allow(host)
    assert done.status == 0, done
    rule = rules_of(host)[0]
    assert rule.startswith("mount fstype=nfs") and rule.endswith('-> "/data/",')
    assert "2 times" in done.out and "pct reboot 952" in done.out
    assert host.cli("validate").status == 0
    # it runs under it from its next start, and there is nothing more to allow
    assert host.hook("952").status == 0
    variant = host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.952").decode()
    assert rule in variant
    again = host.read(JSON)
    done = allow(host)
    assert done.status == 0 and "already allowed" in done.out
    assert host.read(JSON) == again


def test_a_second_rule_is_in_force_at_once(host: FakeHost) -> None:
    assign(host, {"apparmor_rules": ["mount fstype=cifs,"]})
    log(host, line("/data/", profile=f"{DOCKER}.952"))
    done = allow(host)
    assert done.status == 0, done
    assert "in force now" in done.out
    rules = entry(host)["apparmor_rules"]
    assert isinstance(rules, list) and len(rules) == 2 and rules[0] == "mount fstype=cifs,"
    assert rules[1] in host.read(f"/var/lib/phoenix-apparmor/variants/{DOCKER}.952").decode()


def test_from_a_trial_to_enforce(host: FakeHost) -> None:
    assign(host, {"apparmor_mode": "trial"})
    log(
        host,
        line("/data/", word="ALLOWED", profile=f"{DOCKER}.952.trial"),
        line("/other/", word="ALLOWED", profile=f"{DOCKER}.953.trial"),
    )
    done = allow(host, "--enforce")
    assert done.status == 0, done
    found = entry(host)
    assert "apparmor_mode" not in found
    rules = found["apparmor_rules"]
    assert isinstance(rules, list) and len(rules) == 1 and "/data/" in rules[0]
    assert host.hook("952").status == 0
    assert f"{DOCKER}.952//&".encode() in host.read("/var/lib/lxc/952/config")


@pytest.mark.parametrize("restarted", [False, True])
def test_a_rule_that_a_trial_showed_can_be_named_after_its_end(
    host: FakeHost, restarted: bool
) -> None:
    assign(host, {"apparmor_mode": "trial"})
    tried = {"word": "ALLOWED", "profile": f"{DOCKER}.952.trial"}
    log(host, line("/data/", **tried), line("/x/", fstype="proc", src="proc", **tried))
    done = allow(host, "--enforce")
    assert done.status == 2 and len(rules_of(host)) == 1
    [hole] = [text.strip() for text in done.out.split("\n") if "fstype=proc" in text]
    if restarted:
        assert host.hook("952", "post-stop").status == 0
        assert host.hook("952").status == 0
    else:
        assert "Better not" in allow(host).out, "it still runs under its trial"
    done = allow(host, "--also", hole)
    assert done.status == 0, done
    assert hole in rules_of(host) and len(rules_of(host)) == 2


def test_what_opens_a_hole_is_taken_only_by_name(host: FakeHost) -> None:
    log(host, line("/data/"), line("/x/", fstype="proc", src="proc"))
    done = allow(host)
    assert done.status == 2 and "Better not" in done.out
    assert len(rules_of(host)) == 1
    [hole] = [text.strip() for text in done.out.split("\n") if "fstype=proc" in text]
    assert allow(host, "--also", "mount fstype=sysfs,").status == 64
    assert allow(host, "--also", hole.removesuffix(",")).status == 64
    assert allow(host, "--also", hole).status == 0
    assert hole in rules_of(host)


def test_a_wider_rule_that_is_named_is_taken_for_it(host: FakeHost) -> None:
    log(host, line("/mnt/usb/", fstype="ext4", src="/dev/sdb1"), line("/data/"))
    assert allow(host, "--also", "mount fstype=xfs,").status == 64
    done = allow(host, "--also", "mount fstype=ext4,", "--also", "mount fstype=nfs*,")
    assert done.status == 0, done
    assert set(rules_of(host)) == {"mount fstype=ext4,", "mount fstype=nfs*,"}


def test_a_privileged_container_gets_what_it_boots_with(host: FakeHost) -> None:
    """Our own profiles give it every capability but those of the host's kernel and clock."""
    host.conf("952", "hostname: x\n")
    names = ("sys_admin", "net_admin", "sys_rawio", "mknod", "sys_module", "sys_time", "syslog")
    log(host, *(capable(name) for name in names))
    assert allow(host).status == 2
    assert rules_of(host) == [f"capability {name}," for name in names[:4]]


def test_what_no_rule_helps_is_said(host: FakeHost) -> None:
    log(host, line("/x/", fstype="tracefs", src="t"))
    done = allow(host)
    assert done.status == 2 and "No rule can allow" in done.out and "override that" in done.out
    assert "apparmor_rules" not in entry(host)


def test_whose_it_was_is_not_guessed(host: FakeHost) -> None:
    host.conf("953")
    host.runtime("953", host.read("/var/lib/lxc/952/config"))
    log(host, line("/data/"))
    done = allow(host)
    assert done.status == 2 and "952, 953" in done.out
    assert "apparmor_rules" not in entry(host)


def test_for_the_whole_profile_it_does_not_matter_whose_it_was(host: FakeHost) -> None:
    host.conf("953")
    host.runtime("953", host.read("/var/lib/lxc/952/config"))
    log(host, line("/data/"))
    done = allow(host)
    assert "--profile" in done.out and "No rule can allow these" not in done.out
    done = allow(host, "--profile")
    assert done.status == 0 and "1 rule written into" in done.out
    assert b'-> "/data/",' in host.read(LOCAL)
    # another profile's is none of this one's
    host.path(LOCAL).unlink()
    log(host, line("/data/", profile="lxc-other"))
    assert allow(host, "--profile").status == 0 and not host.path(LOCAL).exists()


def test_what_allow_does_not_write_is_not_said_to_be_hopeless(host: FakeHost) -> None:
    inner = line("/data/", profile="inner").replace(
        "profile=", 'namespace="root//lxc-952_<-var-lib-lxc>" profile='
    )
    log(host, inner)
    said = allow(host).out
    assert "Not written by allow" in said and "No rule can allow these" not in said
    assert "To allow it" in host.cli("denials", "952").out


def test_the_rules_that_are_there_keep_their_spelling(host: FakeHost) -> None:
    odd = '"apparmor_rules": ["\\u0022/srv/\\u00e9\\u0022 r,"]'
    text = f'{{"lxc_configs": {{"952": {{"apparmor_profile": "{DOCKER}", {odd}}}}}}}\n'
    host.write(JSON, text)
    assert host.hook("952").status == 0
    log(host, line("/data/"), line("/more/"))
    assert "2 rules and" not in allow(host).out
    assert odd.removesuffix("]") in host.read(JSON).decode()
    assert len(rules_of(host)) == 3


def test_into_the_profile(host: FakeHost) -> None:
    host.write(LOCAL, "# mine\n  mount fstype=cifs,")
    log(host, line("/data/"))
    before = host.read(JSON)
    assert "nfs" in allow(host, "--profile", "--dry-run").out
    assert b"nfs" not in host.read(LOCAL)
    done = allow(host, "--profile")
    assert done.status == 0, done
    text = host.read(LOCAL).decode()
    assert text.startswith("# mine\n  mount fstype=cifs,\n# CT 952\nmount fstype=nfs")
    assert host.read(JSON) == before
    assert allow(host, "--profile").status == 0
    assert host.read(LOCAL).decode() == text


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({}, "not in the JSON"),
        ({"952": {"apparmor_profile": "unconfined"}}, "takes no rules"),
        ({"952": {"apparmor_profile": 7}}, "validate"),
    ],
)
def test_what_has_no_rules(host: FakeHost, entries: dict[str, object], word: str) -> None:
    host.json(entries)
    done = allow(host)
    assert done.status == 1 and word in done.err


def test_a_rule_that_does_not_compile_is_not_written(host: FakeHost) -> None:
    log(host, line("/SYNTAX ERROR/"))
    before = host.read(JSON)
    done = allow(host)
    assert done.status == 1 and "does not compile" in done.err
    assert host.read(JSON) == before


def test_a_signal_into_another_container_is_left_out(host: FakeHost) -> None:
    """Its label begins like the container's own."""
    number = next(SERIALS)
    body = (
        f'type=AVC msg=audit({time.time() + 100:.3f}:{number}): apparmor="DENIED" '
        f'operation="signal" class="signal" profile="{DOCKER}" pid=7 comm="sh" '
        f'requested_mask="send" denied_mask="send" signal=kill '
        f'peer="{DOCKER}//&:lxc-%s_<-var-lib-lxc>:unconfined"\n'
    )
    log(host, body % 953)
    done = allow(host)
    assert done.status == 2 and "Better not" in done.out and "of CT 953" in done.out
    assert rules_of(host) == []
    log(host, body % 952)
    assert allow(host).status == 0
    assert len(rules_of(host)) == 1


def test_no_rule_where_the_kernel_would_refuse_it_all_the_same(host: FakeHost) -> None:
    log(host, line("/data/"))
    host.conf("952", "unprivileged: 1\n")
    done = allow(host)
    assert done.status == 2 and "pct set 952 --mp0" in " ".join(done.out.split())
    assert rules_of(host) == []
    host.conf("952", "arch: amd64\n")
    assert allow(host).status == 0


@pytest.mark.parametrize("place", ["local", "entry"])
def test_what_a_wider_rule_allows_already(host: FakeHost, place: str) -> None:
    rule = "mount fstype=nfs*,"
    if place == "local":
        host.write(LOCAL, f"{rule}\n")
    else:
        assign(host, {"apparmor_rules": [rule]})
    before = host.read(JSON)
    log(host, line("/data/", fstype="nfs4"))
    done = allow(host)
    assert done.status == 0 and "1 more is already allowed by its rules" in done.out
    assert host.read(JSON) == before
    log(host, line("/data/", fstype="cifs"))
    assert allow(host).status == 0 and len(rules_of(host)) == (1 if place == "local" else 2)


def test_another_container_tells_nothing_of_a_trial(host: FakeHost) -> None:
    """It may call a profile of its own policy namespace as a trial's is called."""
    assign(host, {"apparmor_mode": "trial"})
    forged = line("/data/", word="ALLOWED", profile=f"{DOCKER}.952.trial")
    log(host, forged.replace("profile=", 'namespace="root//lxc-953_<-var-lib-lxc>" profile='))
    done = allow(host)
    assert (done.status, rules_of(host)) == (0, []) and "Nothing was refused" in done.out
    log(host, forged)
    assert allow(host).status == 0 and len(rules_of(host)) == 1


@pytest.mark.parametrize("profile", ["unprivileged_userns", "man_groff", f"{DOCKER}//helper"])
def test_what_another_profile_refused_is_not_allowed_by_this_one(
    host: FakeHost, profile: str
) -> None:
    log(host, line("/data/", profile=profile))
    for name, text in (
        ("cgroup", "0::/lxc/952/ns/init.scope\n"),
        ("stat", f"7 (x) {' '.join(['S', *'0' * 20])}\n"),
    ):
        host.write(f"/proc/7/{name}", text)
    before = host.read(JSON)
    done = allow(host)
    assert done.status == 2 and host.read(JSON) == before
    assert f"profile {profile} refused it" in " ".join(done.out.split())


def test_what_else_a_rule_does_is_said_before_it_is_written(host: FakeHost) -> None:
    made = line("/data/y/").replace(
        'fstype="nfs" srcname="nas:/x" flags="rw"', 'flags="rw, silent, rslave"'
    )
    log(host, made)
    before = host.read(JSON)
    done = allow(host, "--dry-run")
    assert "make-rslave" in done.out and "CVE-2016-1585" in done.out
    assert host.read(JSON) == before
