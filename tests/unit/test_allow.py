"""allow: rules of what was refused, into the JSON or the profile's local file; what is left out."""

import itertools
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from phoenix_apparmor.policy.aare import matches
from tests.names import DOCKER, JSON
from tests.unit.fakehost import Done, FakeHost
from tests.unit.policydfa import run_parser

LOCAL = f"/etc/apparmor.d/local/{DOCKER}"

SERIALS = itertools.count(1)


def line(
    name: str,
    *,
    profile: str = DOCKER,
    fstype: str = "nfs",
    src: str = "nas:/x",
    word: str = "DENIED",
) -> str:
    number = next(SERIALS)
    # After whatever the test begins, however long the run took to come to it.
    when = time.time() + 100 + number
    return (
        f'type=AVC msg=audit({when:.3f}:{number}): apparmor="{word}" operation="mount" '
        f'class="mount" info="failed type match" error=-13 profile="{profile}" name="{name}" '
        f'pid=7 comm="mount" fstype="{fstype}" srcname="{src}" flags="rw"\n'
    )


def capable(name: str) -> str:
    number = next(SERIALS)
    return (
        f'type=AVC msg=audit({time.time() + 100 + number:.3f}:{number}): apparmor="DENIED" '
        f'operation="capable" class="cap" profile="{DOCKER}" pid=7 comm="x" capability=1  '
        f'capname="{name}"\n'
    )


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.confined("952", DOCKER)
    host.profile(
        DOCKER,
        "  deny mount fstype=tracefs,\n",
        flags="flags=(attach_disconnected) ",
        before="# phoenix-apparmor: policy-namespace\n",
    )
    text = host.read(f"/etc/apparmor.d/{DOCKER}").decode()
    end = f"  include if exists <local/{DOCKER}>\n}}\n"
    host.write(f"/etc/apparmor.d/{DOCKER}", text.rstrip().removesuffix("}") + end)
    assert host.hook("952").status == 0
    return host


def log(host: FakeHost, *lines: str) -> None:
    host.write("/var/log/audit/audit.log", "".join(lines))


def entry(host: FakeHost) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.read(JSON))["lxc_configs"]["952"]
    return found


def rules_of(host: FakeHost) -> list[str]:
    found = entry(host).get("apparmor_rules", [])
    assert isinstance(found, list)
    return found


def assign(host: FakeHost, more: Mapping[str, object]) -> None:
    host.json({"952": {"apparmor_profile": DOCKER, **more}})
    assert host.hook("952").status == 0


def allow(host: FakeHost, *arguments: str) -> Done:
    return host.cli("allow", "952", *arguments)


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


def opened(name: str, mask: str = "r") -> str:
    """A file that a site's own, narrow profile refuses."""
    number = next(SERIALS)
    return (
        f'type=AVC msg=audit({time.time() + 100 + number:.3f}:{number}): apparmor="DENIED" '
        f'operation="open" class="file" profile="{DOCKER}" name="{name}" pid=7 comm="x" '
        f'requested_mask="{mask}" denied_mask="{mask}" fsuid=100000 ouid=0\n'
    )


HEX = "0123456789abcdef" * 4
ANY8 = "[0-9A-Za-z]" * 8


@pytest.mark.parametrize(
    ("messages", "written"),
    [
        ([line(f"/var/lib/app/{HEX}/merged/")],
         ['mount fstype=nfs options=(rw) "nas:/x"', "/var/lib/app/*/merged/"]),
        ([opened("/proc/4711/oom_score_adj")], ['"/proc/[0-9]*/oom_score_adj" r,']),
        ([line("/tmp/oldroot.aB3dE9/")], ["-> \"/tmp/oldroot.??????/\","]),
        # words and dates look like no random ending
        *(([opened(name)], [f'"{name}" r,']) for name in (
            "/srv/facade/cafe", "/var/www/site-2026", "/etc/ssl/private-Key2024A",
            "/home/bob/Docs_TaxReturn", "/srv/www/site.NewDesign/x.php",
            "/opt/models/Llama-3Instruct/w.bin", "/srv/app/.tmp-Ab12Cd9f",
        )),
        ([line("/mnt/Team-Share2024/", src="nas:/export/Team-Share2024")],
         ['"nas:/export/Team-Share2024" -> "/mnt/Team-Share2024/",']),
        # several show it
        ([opened(f"/srv/app/.tmp-{end}") for end in ("Ab12Cd9f", "xY3kP0qZ", "m7RtW2aB")],
         [f'"/srv/app/.tmp-{ANY8}" r,']),
    ],
)  # fmt: skip
def test_rules_that_hold_tomorrow(host: FakeHost, messages: list[str], written: list[str]) -> None:
    log(host, *messages)
    shown = json.loads(host.cli("denials", "--json", "952").out)["denials"]
    assert allow(host).status == 0
    (rule,) = rules_of(host)
    assert all(part in rule for part in written), rule
    assert [group["rule"] for group in shown] == [rule], "denials shows the same"


SYSTEM = ("/etc", "", "/dev", "/root", "/usr/lib", "/srv/etc/ssl")


@pytest.mark.parametrize("folder", SYSTEM)
@pytest.mark.parametrize(
    "names",
    [
        [f"{a}{b}" for a in "bcdf" for b in ("ale", "oat", "ill", "ump", "art", "ost", "ine")],
        [f"{number:016x}"[::-1] for number in range(40, 45)],
        [f"x{number}" for number in range(25)] + ["y", "z"],
        [f"{end}-x" for end in ("aB3dE5", "Zq4wK8", "p0Lm2N")],
    ],
    ids=["words", "ids", "numbers", "random"],
)
def test_no_rule_is_for_what_nobody_asked_for(
    host: FakeHost, folder: str, names: list[str]
) -> None:
    """Root inside chooses names, and a pattern for them would take the others of the folder."""
    log(host, *(opened(f"{folder}/{name}") for name in names))
    assert allow(host).status == 0
    others = ("shadow", "console", "sda", "id_rsa", "key.pem", "fuse", "abba")
    for rule in rules_of(host):
        pattern = rule.removesuffix(" r,").strip('"')
        assert any(matches(pattern, f"{folder}/{name}") for name in names)
        assert not any(matches(pattern, f"{folder}/{other}") for other in others), rule


DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
ENDS = ("1DX8pP", "kQ2vZz", "Ab9xT0", "pqrstu")


@pytest.mark.parametrize(
    ("names", "patterns", "tomorrow", "never"),
    [
        ([f"/srv/app/log/app-2026-11-{day:02d}.log" for day in range(1, 8)],
         [f"/srv/app/log/app-{DATE}.log"],
         ["/srv/app/log/app-2026-12-01.log"], ["/srv/app/log/app-x026-12-01.log"]),
        ([f"/srv/dump/db-2026-11-{day:02d}T03:{day:02d}:59.gz" for day in range(1, 5)],
         [f"/srv/dump/db-{DATE}T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].gz"],
         ["/srv/dump/db-2026-12-01T00:00:00.gz"], ["/srv/dump/db-2026-12-01.gz"]),
        ([f"/tmp/cc{end}.{kind}" for end in ENDS for kind in "so"],
         ["/tmp/cc??????.s", "/tmp/cc??????.o"],
         ["/tmp/ccZZZZZZ.s"], ["/tmp/cc.s", "/tmp/cc12345.s", "/tmp/cc/2345.s", "/tmp/xxZZZZZZ.s"]),
        ([f"/var/tmp/cc{end}/x" for end in ENDS], ["/var/tmp/cc??????/x"],
         ["/var/tmp/ccZZZZZZ/x"], ["/var/tmp/ccZZZZZZ/y", "/var/tmp/ccZZZZZZZ/x"]),
        # what looks random is no pattern for what is called otherwise
        ([f"/srv/keys/private-{end}" for end in ("Ab3dE9xQ", "k2Lm8Pq1", "Zx81Qw4v")],
         [f"/srv/keys/private-{ANY8}"],
         ["/srv/keys/private-aB3dE5fG"], ["/srv/keys/private-key", "/srv/keys/private-Key2024AB"]),
        ([f"/srv/www/ab{end}.json" for end in ("3dE9xQ", "k2Lm8P", "Zx81Qw")],
         [f"/srv/www/ab{'[0-9A-Za-z]' * 6}.json"],
         ["/srv/www/abaB3dE5.json"], ["/srv/www/xxaB3dE5.json", "/srv/www/ab.json"]),
        ([f"/dev/pts/{number}" for number in range(4)], ["/dev/pts/[0-9]*"],
         ["/dev/pts/17"], ["/dev/pts/ptmx"]),
        ([f"/srv/q/{number}" for number in range(25)], ["/srv/q/[0-9]*"],
         ["/srv/q/99"], ["/srv/q/key", "/srv/q/1/x"]),
        ([f"/srv/q/a-1-{number}.log" for number in range(25)], ["/srv/q/a-1-[0-9]*.log"],
         ["/srv/q/a-1-99.log"], ["/srv/q/a-2-9.log"]),
        ([f"/var/cache/nginx/{end[0]}/{end[1:]}/{HEX[:30]}{end}" for end in ("0ab", "1cd", "fed")],
         ["/var/cache/nginx/[0-9a-f]/[0-9a-f][0-9a-f]/*"],
         [f"/var/cache/nginx/7/0a/{HEX[:32]}"],
         ["/var/cache/nginx/x/0a/y", "/var/cache/nginx/7/y"]),
    ],
    ids=["date", "time", "mkstemp", "mkdtemp", "random", "prefix", "terminal", "number",
         "one of two", "hash"],
)  # fmt: skip
def test_a_rule_of_the_form_that_several_names_show(
    host: FakeHost, names: list[str], patterns: list[str], tomorrow: list[str], never: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    log(host, *map(opened, names))
    shown = json.loads(host.cli("denials", "--json", "952").out)["denials"]
    assert allow(host).status == 0
    rules = rules_of(host)
    assert rules == [f'"{pattern}" r,' for pattern in patterns]
    assert [group["rule"] for group in shown] == rules, "denials shows the same"
    assert run_parser("\n".join(rules), tmp_path).returncode == 0
    assert all(any(matches(one, name) for one in patterns) for name in [*names, *tomorrow])
    assert not any(matches(one, name) for one in patterns for name in never)


@pytest.mark.parametrize(
    "names",
    [
        [f"/srv/app/log/app-2026-11-{day:02d}.log" for day in (1, 2)],
        [f"/tmp/my{word}.txt" for word in ("report", "budget", "salary", "RepOrt")],
        [f"/srv/cc{end}.s" for end in ("1DX8pP", "kQ2vZz")],
        [f"/etc/ssl/cc{end}.s" for end in ENDS],
        *([f"{folder}/{n}" for n in range(25)]
          for folder in ("/srv", "/dev", "/root/x", "/var/lib", "/home/bob", "/run/user")),
        [f"/dev/pts/{number}" for number in (1, 2)],
        [f"/etc/x-2026-11-{day:02d}" for day in range(1, 9)],
    ],
)  # fmt: skip
def test_what_shows_no_form_stays_a_list(host: FakeHost, names: list[str]) -> None:
    log(host, *map(opened, names))
    assert allow(host).status == 0
    assert sorted(rules_of(host)) == sorted(f'"{name}" r,' for name in names)


def test_names_that_look_new_each_time_are_said_to_once(host: FakeHost) -> None:
    names = [f"/srv/x/{end}" for end in ("1DX8pP", "kQ2vZz", "Ab9xT0")]
    log(host, *map(opened, names))
    out = " ".join(host.cli("denials", "952").out.split())
    assert out.count("look new each time") == 1
    assert " ".join(allow(host).out.split()).count("look new each time") == 1
    log(host, *(opened(f"/srv/x/{word}") for word in ("apple", "banana", "cherry")))
    assert "look new each time" not in " ".join(host.cli("denials", "952").out.split())


def test_a_rule_for_one_of_many_names_is_none_for_all(host: FakeHost) -> None:
    names = [f"/srv/data/job{number}" for number in range(25)]
    assign(host, {"apparmor_rules": [f"{names[0]} r,"]})
    log(host, *map(opened, names))
    done = allow(host)
    assert done.status == 0 and rules_of(host) == [f"{names[0]} r,", '"/srv/data/job[0-9]*" r,']
    # those that are there already are not written again
    log(host, *map(opened, names))
    assert "1 more is already allowed by its rules" in allow(host).out


def test_very_many_names_are_left_out_as_one(host: FakeHost) -> None:
    ends = ("ail", "oat", "ill", "ump", "art", "ost", "ine", "ark", "end", "isk")
    words = [f"{a}{b}" for a in "bcdfghjklmnp" for b in ends]
    log(host, *(opened(f"/srv/data/{word}") for word in words))
    done = allow(host)
    assert done.status == 2 and rules_of(host) == []
    assert '"/srv/data/*" r,' in done.out and "/srv/data/bail" in done.out
    assert allow(host, "--also", '"/srv/data/*" r,').status == 0
    assert rules_of(host) == ['"/srv/data/*" r,']


@pytest.mark.parametrize("how", ["--also", "--since"])
def test_a_trial_does_not_end_while_very_many_names_are_left_out(host: FakeHost, how: str) -> None:
    ends = ("ail", "oat", "ill", "ump", "art", "ost", "ine", "ark", "end", "isk")
    words = [f"{a}{b}" for a in "bcdfghjklmnp" for b in ends]
    names = [*(f"/srv/data/{word}.py" for word in words), "/srv/one/bail.py"]
    assign(host, {"apparmor_mode": "trial"})
    now = f"audit({time.time():.3f}:"
    trial = (opened(name).replace(DOCKER, f"{DOCKER}.952.trial") for name in names)
    trial = (re.sub(r"audit\([0-9.]+:", now, message) for message in trial)
    log(host, *(message.replace("DENIED", "ALLOWED") for message in trial))
    done = allow(host, "--enforce")
    assert done.status == 2 and "closed on purpose" not in done.out
    assert entry(host)["apparmor_mode"] == "trial"
    assert rules_of(host) == ['"/srv/one/bail.py" r,'], "the others are written"
    if how == "--also":
        assert allow(host, "--enforce", "--also", '"/srv/data/*.py" r,').status == 0
        assert '"/srv/data/*.py" r,' in rules_of(host)
    else:
        assert allow(host, "--enforce", "--since", "0s").status == 0
        assert len(rules_of(host)) == 1
    assert "apparmor_mode" not in entry(host)


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
        'fstype="nfs" srcname="nas:/x" flags="rw"', 'flags="rw, rslave"'
    )
    log(host, made)
    before = host.read(JSON)
    done = allow(host, "--dry-run")
    assert "make-rslave" in done.out and "CVE-2016-1585" in done.out
    assert host.read(JSON) == before
