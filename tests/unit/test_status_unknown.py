"""status where something cannot be read or asked: that is said, and never taken for a no."""

import json
import os
import time

import pytest

from phoenix_apparmor.host import Host
from phoenix_apparmor.status import collect
from tests.names import BASE
from tests.unit.fakehost import REPO, FakeHost
from tests.unit.status_host import container, validated

# apparmor_parser that compiles, and does not show rules
NO_RULES = f"""#!/bin/sh
case " $* " in *" -p "*) echo "AppArmor parser error" >&2; exit 1 ;; esac
exec {REPO}/tests/unit/fake/apparmor_parser "$@"
"""


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "ctid"), [("folder", "100"), ("fifo", "950"), ("loop", "960")])
def test_a_conf_that_cannot_be_read_hides_no_other(quiet: FakeHost, spoil: str, ctid: str) -> None:
    before = {c["ctid"]: c for c in json.loads(quiet.cli("status", "--json").out)["containers"]}
    path = quiet.path(f"/etc/pve/lxc/{ctid}.conf")
    path.unlink()
    if spoil == "folder":
        path.mkdir()
    elif spoil == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    done = quiet.cli("status", "--json")
    after = {c["ctid"]: c for c in json.loads(done.out)["containers"]}
    assert done.status == 2 and list(after) == list(before)
    bad = after.pop(ctid)
    assert bad["verdict"] == "unknown" and bad["in_conf"] is None
    assert bad["label"] == before.pop(ctid)["label"]
    assert f"/etc/pve/lxc/{ctid}.conf" in bad["notes"][0]["what"]
    assert after == before
    assert quiet.cli("status").status == 2
    assert quiet.cli("status", "--check").status == 3
    assert quiet.cli("status", "--prometheus").status == 2
    assert quiet.cli("status", "--cluster").status == 2
    for other in (*after, ctid):
        assert quiet.cli("status", "--cluster", other).status == (2 if other == ctid else 0)
    done = quiet.cli("suggest", "--all")
    assert done.status == 1 and f"CT {ctid}: " in done.err
    assert all(f"CT {other} " in done.out for other in after)


@pytest.mark.slow
def test_lxc_that_does_not_answer_is_not_asked_for_ever(
    quiet: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = quiet.write("/fake/bin/lxc-info", "#!/bin/sh\necho >>$FAKE_ROOT/asked\nsleep 60\n")
    hung.chmod(0o755)
    for key, value in quiet.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PATH", f"{hung.parent}:{quiet.environment['PATH']}")
    monkeypatch.setattr(collect, "PATIENCE", 2.5)
    for ctid in range(200, 230):
        container(quiet, str(ctid), "x", None)
        quiet.running(str(ctid), "unconfined", 5000 + ctid)
    begin = time.monotonic()
    found = collect.inspect(Host(str(quiet.root)), progress=lambda _: None)
    assert time.monotonic() - begin < 8
    assert 2 <= len(quiet.read("/asked").splitlines()) <= 4
    managed = [c for c in found.containers if c.assigned and c.running]
    assert managed and all(c.verdict == "unknown" and c.label is None for c in managed)


def test_where_rules_cannot_be_read_it_is_said(
    quiet: FakeHost,
) -> None:
    """Not that it holds root; nor is it a fault of the profile's."""
    tool = quiet.write("/fake/bin/apparmor_parser", NO_RULES)
    tool.chmod(0o755)
    before = quiet.environment["PATH"]
    quiet.environment["PATH"] = f"{tool.parent}:{before}"
    document = json.loads(quiet.cli("status", "--json").out)
    said = {p["name"]: [note["what"] for note in p["notes"]] for p in document["profiles"]}
    assert any("whether it confines root is unknown: " in what for what in said[BASE]), said
    assert all(p["fine"] for p in document["profiles"])
    quiet.environment["PATH"] = before
    assert "confines root is unknown" not in quiet.cli("status").out


def test_what_cannot_be_known_is_unknown(quiet: FakeHost) -> None:
    """No /proc/net/unix, a kernel without hashes: no verdict is made up."""
    quiet.path("/proc/net/unix").unlink()
    found = validated("status", quiet.cli("status", "950", "--json").out)
    assert found["containers"][0]["running"] is None
    assert found["containers"][0]["label"] is None
    for path in quiet.path("/sys/kernel/security/apparmor/policy/profiles").glob("*/raw_sha256"):
        path.unlink()
    found = validated("status", quiet.cli("status", "--json").out)
    assert {p["text"] for p in found["profiles"]} == {"unknown"}
    assert "profile_current{" not in quiet.cli("status", "--prometheus").out
    assert found["fine"] is False, "as --check says"


def test_as_another_user(quiet: FakeHost) -> None:
    """/etc/pve is root's: who may not read it is told so, without a traceback."""
    quiet.path("/etc/pve").chmod(0o700)
    done = quiet.cli_as_nobody("status")
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "Run it as root." in done.err


def test_a_label_that_cannot_be_read_is_not_down(quiet: FakeHost) -> None:
    """It runs; under what nobody can tell from here."""
    (quiet.path("/proc/4001/attr/apparmor/current")).unlink()
    shown = json.loads(quiet.cli("status", "950", "--json").out)["containers"][0]
    assert (shown["verdict"], shown["running"]) == ("unknown", True)
    quiet.conf("950", "arch: amd64\n")
    shown = json.loads(quiet.cli("status", "950", "--json").out)["containers"][0]
    assert shown["verdict"] == "drift", "what .conf says is known"


def test_where_nobody_can_see_what_runs_nothing_is_down(quiet: FakeHost) -> None:
    quiet.path("/proc/net/unix").unlink()
    shown = json.loads(quiet.cli("status", "--json").out)["containers"]
    verdicts = {c["ctid"]: (c["verdict"], c["running"]) for c in shown}
    assert verdicts["960"] == ("unknown", None) and verdicts["100"] == ("not managed", None)
