"""denials: the real command line on a fake host, whole outputs."""

import itertools
import json
import time
from typing import Any

import jsonschema
import pytest

from phoenix_apparmor.denials.since import parse_since
from tests.names import BASE, DOCKER
from tests.unit.denials_host import BOOT, denied, everything, file, journal, make_host, process
from tests.unit.fakehost import REPO, FakeHost
from tests.unit.golden import assert_golden

SCHEMA = REPO / "phoenix_apparmor/denials/denials.schema.json"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_host(host)


def test_one_denial_of_each_kind(host: FakeHost) -> None:
    everything(host)
    done = host.cli("denials")
    assert (done.status, done.err) == (2, "")
    assert_golden("denials.txt", done.out, host.root)
    prose = [line for line in done.out.splitlines() if not line.startswith("      ")]
    assert max(map(len, prose)) <= 80
    assert "\x1b" not in done.out


def test_json_output_fits_its_schema(host: FakeHost) -> None:
    everything(host)
    done = host.cli("denials", "--json")
    assert (done.status, done.err) == (2, "")
    assert_golden("denials.json", done.out, host.root)
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_bytes())).validate(json.loads(done.out))


def test_the_schema_is_not_lax(host: FakeHost) -> None:
    everything(host)
    document = json.loads(host.cli("denials", "--json").out)
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_bytes()))
    for key in list(document):
        assert not validator.is_valid({k: v for k, v in document.items() if k != key})
    for key in document["denials"][0]:
        broken: dict[str, Any] = {**document["denials"][0], key: {}}
        assert not validator.is_valid({**document, "denials": [broken]}), key


def test_no_denial_is_said_as_such(host: FakeHost) -> None:
    journal(host, [])
    done = host.cli("denials")
    assert (done.status, done.err) == (0, "")
    assert_golden("denials-none.txt", done.out, host.root)


def test_a_profile_that_does_not_read_its_local_file(host: FakeHost) -> None:
    host.write(f"/etc/apparmor.d/{BASE}", f"profile {BASE} {{\n}}\n")
    journal(host, [file(BASE, "/x", 100)])
    assert "add include if exists <local/lxc-nvidia-gpu-base>" in " ".join(
        host.cli("denials").out.split()
    )


def test_only_one_container(host: FakeHost) -> None:
    everything(host)
    done = host.cli("denials", "950")
    assert done.out.count("CT ") == 1 and "CT 950 (vllm)" in done.out
    assert "/usr/bin/man" not in done.out
    host.conf("960")
    assert "No denial of a container" in host.cli("denials", "960").out


def test_a_container_by_its_host_name(host: FakeHost) -> None:
    everything(host)
    assert host.cli("denials", "vllm").out == host.cli("denials", "950").out
    host.conf("951", "hostname: vllm\n")
    done = host.cli("denials", "vllm")
    assert (done.status, done.out) == (64, "") and "950, 951 all have" in done.err
    host.runtime("web")
    assert host.cli("denials", "web").status == 0


@pytest.mark.parametrize("word", ["ct101", "abc", "999", "99", "0100", "../x", "", "1e3"])
def test_what_is_no_container_is_refused(host: FakeHost, word: str) -> None:
    everything(host)
    done = host.cli("denials", word)
    assert (done.status, done.out) == (64, "") and "container" in done.err


def test_a_destroyed_container_has_its_denials_still(host: FakeHost) -> None:
    everything(host)
    assert host.cli("denials", "101").status == 2


KNOWN = "/etc/phoenix-apparmor/known-denials"


def test_known_ones_are_only_counted(host: FakeHost) -> None:
    everything(host)
    document = json.loads(host.cli("denials", "--json").out)
    lines = [part["known_as"] for part in document["denials"]]
    host.write(KNOWN, "# harmless\n\n" + "".join(f"{line}\n" for line in lines[1:]))
    done = host.cli("denials", "--json")
    assert done.status == 2
    assert [part["known"] for part in json.loads(done.out)["denials"]] == [False] + [True] * 5
    out = host.cli("denials").out
    assert out.count("tried to") == 1 and f"of them are marked as known in {KNOWN}." in out
    assert host.cli("denials", "--all").out.count("tried to") == 6
    host.write(KNOWN, "".join(f"{line}\n" for line in lines))
    assert host.cli("denials").status == 0
    assert "AppArmor refused" not in host.cli("doctor").out


def test_known_is_by_profile_and_rule(host: FakeHost) -> None:
    journal(host, [file(BASE, "/x", 100), file(DOCKER, "/x", 101), file(BASE, "/y", 102)])
    for text, known in (
        (f'{BASE} "/x" w,', [True, False, False]),
        (f'{BASE}   "/x"   w,', [True, False, False]),
        ('lxc-* "/x" w,', [True, False, True]),
        ('"lxc-nvidia-*" "/y" w,', [False, True, False]),
        (f"{BASE} *", [False, False, False]),
        (BASE, [False, False, False]),
    ):
        host.write(KNOWN, f"{text}\n")
        done = host.cli("denials", "--json")
        assert [part["known"] for part in json.loads(done.out)["denials"]] == known, text
    assert f"{KNOWN}, line 1: not a profile and a rule" in host.cli("denials").out


def test_a_known_pattern_knows_each_of_its_names(host: FakeHost) -> None:
    """Also where they are too few to show the pattern, as after a start of the node."""
    names = ("/srv/w/job7.dat", "/srv/w/job7.txt", "/run/x/y.Ab3dE9xQ")
    journal(host, [file(BASE, name, 100 + at) for at, name in enumerate(names)])
    for text, known in (
        (f'{BASE} "/srv/w/job[0-9]*.dat" w,', [True, False, False]),
        (f'{BASE} "/srv/w/job[0-9]*.dat" r,', [False, False, False]),
        (f'{DOCKER} "/srv/w/job[0-9]*.dat" w,', [False, False, False]),
        (f'{BASE} "/run/x/y.*" w,', [False, False, True]),
    ):
        host.write(KNOWN, f"{text}\n")
        done = host.cli("denials", "--json")
        assert [part["known"] for part in json.loads(done.out)["denials"]] == known, text


def test_a_process_that_came_later_under_the_same_number_is_not_taken_for_it(
    host: FakeHost,
) -> None:
    process(host, 4711, "/lxc/950/ns", 150)
    journal(host, [file(BASE, "/x", 100)])
    assert "Some container under profile lxc-nvidia-gpu-base" in host.cli("denials").out
    process(host, 4711, "/lxc/950/ns", 99)
    assert "CT 950, profile" in host.cli("denials").out


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("/lxc/950/ns/system.slice/x.service", "CT 950,"),
        ("/lxc.payload.web/init.scope", "CT web,"),
        ("/lxc.monitor/950", "CT 950,"),
        ("/system.slice/ssh.service", "Some container"),
    ],
)
def test_the_container_of_a_process(host: FakeHost, group: str, name: str) -> None:
    process(host, 4711, group, 10)
    journal(host, [file(BASE, "/x", 100)])
    assert host.cli("denials").out.startswith(name)


def test_candidates_where_the_process_is_gone(host: FakeHost) -> None:
    journal(host, [file(BASE, "/x", 100)])
    for ctid in ("1000", "950"):
        host.runtime(ctid, f"lxc.apparmor.profile = {BASE}\n".encode())
    out = host.cli("denials").out
    assert f"Some container under profile {BASE} (its process is gone): 950,\n1000" in out
    assert "/x" in host.cli("denials", "1000").out
    assert "/x" not in host.cli("denials", "952").out


def test_a_label_of_a_stack(host: FakeHost) -> None:
    label = f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined"
    journal(host, [denied(f'operation="open" label="{label}" name="/x" denied_mask="r"')])
    assert host.cli("denials").out.startswith(f"CT 952, profile {DOCKER}\n")


def test_since_leaves_out_what_came_before(host: FakeHost) -> None:
    everything(host)
    done = host.cli("denials", "--since", f"@{BOOT + 305}")
    assert "CT 101" in done.out and "CT 950" not in done.out
    assert "since 2025-11-24 16:05:05" in done.out
    calls = host.read("/fake-journalctl-calls").decode()
    assert f"--since=@{BOOT + 305} " in calls and f"--root={host.root} " in calls


@pytest.mark.parametrize(
    ("since", "moment"),
    [
        ("2025-11-24", "2025-11-24 00:00:00"),
        ("2025-11-24 10:01", "2025-11-24 10:01:00"),
        ("2025-11-24T10:01:02", "2025-11-24 10:01:02"),
        ("@1764000000.5", "2025-11-24 16:00:00"),
    ],
)
def test_since_takes_times_as_people_write_them(host: FakeHost, since: str, moment: str) -> None:
    journal(host, [])
    assert f"since {moment} in" in host.cli("denials", "--since", since).out


@pytest.mark.parametrize(
    "since", ["today", "yesterday", "2h", "30min", "-1d", "1 week ago", "0:01"]
)
def test_relative_times_are_taken(host: FakeHost, since: str) -> None:
    journal(host, [])
    assert host.cli("denials", f"--since={since}").status == 0


def test_a_time_of_day_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    now = parse_since("2026-11-26 09:24:00", 1e12)
    assert parse_since("09:00", now) == now - 24 * 60
    assert parse_since("23:59", now) == parse_since("2026-11-25 23:59", now)
    assert parse_since("23:59:30", now) == parse_since("2026-11-25 23:59:30", now)
    for same in ("2026-11-26T09:20:00.500+00:00", "2026-11-26T10:20:00.5+01:00",
                 "2026-11-26T09:20:00.500Z", "2026-11-26T09:20:00.500"):  # fmt: skip
        assert parse_since(same, now) == now - 239.5


@pytest.mark.parametrize("since", ["2999-01-01", "2999-01-01 00:00", "@99999999999", "-0d"])
def test_a_time_to_come_is_no_answer(host: FakeHost, since: str) -> None:
    journal(host, [])
    done = host.cli("denials", f"--since={since}")
    if since == "-0d":
        assert done.status == 0
    else:
        assert (done.status, done.out) == (64, "") and "is in the future" in done.err


def test_the_line_that_is_shown_marks_it_as_known(host: FakeHost) -> None:
    """Also where no rule is shown: nothing but what the text says is copied."""
    everything(host)
    said = host.cli("denials").out.splitlines()
    lines, profile = [], ""
    for line, behind in itertools.pairwise(said):
        if " profile " in line and not line.startswith(" "):
            profile = line.partition(" profile ")[2].split(" ")[0]
        if "marks it as known:" in line:
            lines.append(behind.strip())
        elif line.startswith("    To allow it") and "inside" not in line:
            lines.append(f"{profile} {behind.strip().removeprefix('lxc.apparmor.raw: ')}")
    assert lines
    host.write(KNOWN, "\n".join(lines) + "\n")
    found = json.loads(host.cli("denials", "--json").out)["denials"]
    assert [part["known_as"] for part in found if not part["known"]] == []


@pytest.mark.parametrize("since", ["soon", "2025-13-01", "25 o'clock", "25:00", "10:61", ""])
def test_what_is_no_time(host: FakeHost, since: str) -> None:
    done = host.cli("denials", "--since", since)
    assert (done.status, done.out) == (64, "")
    assert done.err.startswith(f'"{since}" is not a valid time.\n')


def test_silence_is_told_by_what_the_kernel_is_told_to_log(host: FakeHost) -> None:
    journal(host, [])
    parameter = "/sys/module/apparmor/parameters/audit"
    host.write(parameter, "normal\n")
    assert f"\n  echo -n noquiet >{parameter}\n" in host.cli("denials").out
    host.write(parameter, "noquiet\n")
    assert f"\n  echo -n normal >{parameter}\n" in host.cli("denials").out
    # Rules that say audit leave messages.
    for name in (BASE, DOCKER):
        host.write(f"/etc/apparmor.d/{name}", f"profile {name} {{\n  audit deny /x w,\n}}\n")
    assert parameter not in host.cli("denials").out


def test_our_own_profiles_tell_of_what_they_deny() -> None:
    """All but what programs try at each start (profiles/source/kernel-files says why)."""
    places = (REPO / "profiles").glob("lxc-*"), (REPO / "profiles/abstractions/phoenix").iterdir()
    lines = [line.split() for place in places for path in place for line in path.open()]
    quiet = [" ".join(words[1:3]) for words in lines if words[:1] == ["deny"]]
    assert sum(words[:2] == ["audit", "deny"] for words in lines) > 150
    assert set(quiet) == {
        *("capability syslog", "network vsock,", "network alg,"),
        *("mount fstype=proc", "mount options=(ro,remount)", "mount options=(ro,remount,silent)"),
        "umount /{proc,sys}/,",
    }


@pytest.mark.slow
def test_a_thousand_kinds_of_denial(host: FakeHost) -> None:
    journal(host, [file(f"lxc-{n % 1000}", "/x", 100 + n / 100) for n in range(20000)])
    done = host.cli("denials", "--json")
    found = json.loads(done.out)["denials"]
    assert len(found) == 1000 and {part["count"] for part in found} == {20}


def test_doctor_of_one_container_counts_what_that_was_refused(host: FakeHost) -> None:
    host.conf("950", "hostname: vllm\n")
    host.conf("952", "hostname: docker\n")
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())
    host.runtime("952", f"lxc.apparmor.profile = {BASE}\n".encode())
    process(host, 4711, "/lxc/950/ns/init.scope", 50)
    signal = (
        'operation="signal" class="signal" profile="/usr/bin/lxc-start" pid=9 comm="kill" '
        f'requested_mask="receive" denied_mask="receive" signal=term peer="{BASE}"'
    )
    # the last may be of 950 or of 952
    journal(host, [file(BASE, "/x", 100), denied(signal, 110), file(BASE, "/y", 120, pid=4712)])
    said = host.cli("doctor", "950").out
    assert "AppArmor refused 1 action of CT 950 since boot." in said
    assert "phoenix-apparmor denials 950" in said
    assert "AppArmor refused" not in host.cli("doctor", "952").out
    every = " ".join(host.cli("doctor").out.split())
    assert "refused 3 actions" in every and "some container under /usr" not in every
    assert "LXC itself under /usr/bin/lxc-start: 1" in every
