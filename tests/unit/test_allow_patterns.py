"""allow: names that change become the form that they show, and no more than that."""

import json
import re
import time
from pathlib import Path

import pytest

from phoenix_apparmor.policy.aare import matches
from tests.names import DOCKER
from tests.unit.allow_host import allow, assign, entry, line, log, opened, rules_of
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

# The real parser compiles what each writes.
pytestmark = [pytest.mark.usefixtures("refusing"), pytest.mark.slow]

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
        ([f"/var/lib/pg/15/base/{n}/{m}" for n in (1, 5, 16384) for m in range(2600, 2610)],
         ["/var/lib/pg/15/base/[0-9]*/[0-9]*"],
         ["/var/lib/pg/15/base/7/1"],
         ["/var/lib/pg/15/base/x/1", "/var/lib/pg/15/base/1/pg", "/var/lib/pg/16/base/1/1",
          "/var/lib/pg/15/base/1"]),
        ([f"/srv/app/{n}/x/{m}_fsm" for n in range(5) for m in range(n, n + 5)],
         ["/srv/app/[0-9]*/x/[0-9]*_fsm"],
         ["/srv/app/9/x/9_fsm"], ["/srv/app/9/x/9", "/srv/app/9/y/9_fsm"]),
    ],
    ids=["date", "time", "mkstemp", "mkdtemp", "random", "prefix", "terminal", "number",
         "one of two", "hash", "numbered folders", "and an ending"],
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
        [f"/etc/x-2026-11-{day:02d}" for day in range(1, 9)],
        # few of them; in a folder of others, where few change, or of the system's
        [f"/srv/app/{n}/{m}" for n in (1, 2, 3) for m in range(6)],
        *([f"{folder}/{n}/{m}" for n in range(5) for m in range(5)]
          for folder in ("/srv", "/home/bob", "/run/user", "/etc/app", "/root/app")),
        [f"/srv/app/{n}/{m}" for n in (1, 2) for m in range(11)],
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
    assert "it is a guess" in " ".join(done.out.split())
    assert "it is a guess" in " ".join(host.cli("denials", "952").out.split())
    # what opens a hole besides is both
    proc = (line(f"/srv/data/{word}/", fstype="proc", src="proc") for word in words)
    log(host, *proc)
    done = allow(host)
    assert done.status == 2 and rules_of(host) == []
    said = " ".join(done.out.split())
    assert "kernel's own interface" in said and "it is a guess" in said
    log(host, *(opened(f"/srv/data/{word}") for word in words[:20]))
    assert "it is a guess" not in allow(host, "--dry-run").out
    log(host, *(opened(f"/srv/data/{word}") for word in words))
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
