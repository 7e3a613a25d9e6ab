"""status --check: one line and an exit status, as Nagios, Icinga and Checkmk expect them."""

import re
import shutil

import pytest

from tests.names import BASE
from tests.unit.fakehost import PYTHON, REPO, FakeHost, Journal
from tests.unit.status_host import container

# monitoring-plugins.org: TEXT | LABEL=VALUE;WARN;CRIT;MIN ...
LINE = re.compile(r"(OK|WARNING|CRITICAL|UNKNOWN) - ([^|\n]+) \| ((?:[a-z_]+=\d+;;;0 ?)+)\n")
STATUS = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def checked(host: FakeHost, *arguments: str) -> tuple[str, str, dict[str, int]]:
    """(level, text, values) of the line; the exit status belongs to it."""
    done = host.cli("status", "--check", *arguments)
    match = LINE.fullmatch(done.out)
    assert match and done.err == "", done
    assert done.status == STATUS[match[1]]
    values = dict(part.split("=") for part in match[3].split())
    return match[1], match[2], {name: int(v.split(";")[0]) for name, v in values.items()}


def test_nothing_off_is_ok(quiet: FakeHost) -> None:
    level, text, values = checked(quiet)
    assert (level, text) == ("OK", "5 containers, nothing is off")
    assert values["containers"] == 5
    assert (values["ok"], values["down"], values["not_managed"]) == (3, 1, 1)


def test_all_that_can_be_off(mixed: FakeHost) -> None:
    level, text, values = checked(mixed)
    assert level == "CRITICAL"
    assert "run without being confined: 956" in text
    assert "cannot start: 953, 954, 958, 961" in text
    assert "restart pending: 951" in text and "drift: 957" in text
    assert values["refused"] == 4 and values["profiles_off"] == 3


def test_a_mode_of_the_whole_kernel(quiet: FakeHost) -> None:
    """Labels and the list of profiles say enforce all the while."""
    quiet.write("/sys/module/apparmor/parameters/mode", "complain\n")
    level, text, values = checked(quiet)
    assert level == "CRITICAL" and "AppArmor as a whole is not in enforce mode" in text
    assert values["ok"] == 0
    done = quiet.cli("status")
    assert done.status == 2
    assert "printf enforce >/sys/module/apparmor/parameters/mode" in done.out
    quiet.write("/sys/module/apparmor/parameters/mode", "kill\n")
    assert checked(quiet)[0] == "OK"


def restart_pending(host: FakeHost) -> None:
    host.running("955", f"{BASE} (enforce)", 4003)


def conf_lags(host: FakeHost) -> None:
    container(host, "950", "x", "lxc-other")


def unconfined(host: FakeHost) -> None:
    host.running("950", "unconfined", 4001)


def complain(host: FakeHost) -> None:
    host.running("950", f"{BASE} (complain)", 4001)


def profile_differs(host: FakeHost) -> None:
    host.profile(BASE, "  # edited and not loaded")


def json_breaks(host: FakeHost) -> None:
    host.cli("apply", "--all")
    host.json("{")


def label_unseen(host: FakeHost) -> None:
    host.path("/proc/4001/attr/apparmor/current").unlink()


def unseen_whether_it_runs(host: FakeHost) -> None:
    host.path("/proc/net/unix").unlink()


@pytest.mark.parametrize(
    ("change", "level"),
    [
        (restart_pending, "WARNING"), (conf_lags, "WARNING"), (profile_differs, "WARNING"),
        (json_breaks, "WARNING"), (unconfined, "CRITICAL"), (complain, "CRITICAL"),
        (label_unseen, "UNKNOWN"), (unseen_whether_it_runs, "UNKNOWN"),
    ],
)  # fmt: skip
def test_the_level_is_that_of_what_is_off(quiet: FakeHost, change: object, level: str) -> None:
    assert callable(change)
    change(quiet)
    assert checked(quiet)[0] == level


def test_known_to_be_wrong_is_worse_than_unknown(quiet: FakeHost) -> None:
    label_unseen(quiet)
    restart_pending(quiet)
    level, text, _ = checked(quiet)
    assert level == "WARNING" and "unknown: 950" in text


@pytest.mark.parametrize("arguments", [["999"], ["abc"]])
def test_an_error_is_unknown(quiet: FakeHost, arguments: list[str]) -> None:
    done = quiet.cli("status", "--check", *arguments)
    assert done.status == 3
    assert done.out.startswith("UNKNOWN - ") and done.out.count("\n") == 1


def test_as_another_user(quiet: FakeHost) -> None:
    quiet.path("/etc/pve").chmod(0o700)
    done = quiet.cli_as_nobody("status", "--check")
    assert (done.status, done.out[:10]) == (3, "UNKNOWN - ")


def test_a_text_cannot_end_the_line(quiet: FakeHost) -> None:
    """A bar or a newline in what is quoted would make values of it."""
    quiet.json('{"lxc_configs": {"950": {"apparmor_profile": "lxc|x=1\\n"}}}')
    assert checked(quiet)[0] == "CRITICAL"
    assert len(quiet.cli("status", "--check").out) < 1024


def test_the_shipped_local_check_of_checkmk(mixed: FakeHost) -> None:
    """STATE SERVICE VALUES TEXT, by the example that is shipped."""
    command = mixed.write("/bin/phoenix-apparmor", f"""#!/bin/sh
PYTHONPATH={REPO} exec {PYTHON} -m phoenix_apparmor --root {mixed.root} "$@"
""")  # fmt: skip
    command.chmod(0o755)
    script = shutil.copy(REPO / "debian/monitoring/checkmk-local", mixed.path("/bin"))
    done = mixed.run(str(script), PATH=f"{command.parent}:{mixed.environment['PATH']}")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"2 phoenix-apparmor ([a-z_]+=\d+;;;0\|?)+ CRITICAL - .+\n", done.out)


def test_a_text_cannot_add_a_line_to_the_local_check(host: FakeHost) -> None:
    r"""sh's echo makes a line of a \n in what status quotes, and the agent a service of a line."""
    said = r"WARNING - its .conf says lxc\n0 fake - OK | containers=1;;;0 ok=\n1;;;0"
    command = host.write("/bin/phoenix-apparmor", f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit 1\n")
    command.chmod(0o755)
    script = shutil.copy(REPO / "debian/monitoring/checkmk-local", host.path("/bin"))
    done = host.run(str(script), PATH=f"{command.parent}:{host.environment['PATH']}")
    text = r"WARNING - its .conf says lxc\n0 fake - OK"
    assert done.out == rf"1 phoenix-apparmor containers=1;;;0|ok=\n1;;;0 {text}" + "\n"


def test_fields_of_the_journal(host: FakeHost, journal: Journal) -> None:
    """The fields that the man page names are those that are written."""
    page = (REPO / "debian/man/phoenix-apparmor.8.scd").read_text()
    named = set(re.findall(r"\bPHOENIX_[A-Z]+(?==)", page))
    host.confined("952", BASE)
    assert host.hook("952").status == 0
    written = {key for entry in journal.entries() for key in entry if key.startswith("PHOENIX_")}
    assert named == written == {"PHOENIX_CTID", "PHOENIX_PROFILE"}
