"""denials: the real command line on a fake host, whole outputs."""

import json
from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest

from tests.unit.fakehost import REPO, FakeHost
from tests.unit.golden import assert_golden

BOOT = 1764000000
BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
SCHEMA = REPO / "phoenix_apparmor/denials.schema.json"
AUDIT_LOG = "/var/log/audit/audit.log"


def denied(body: str, second: float = 100, serial: int = 0) -> str:
    """A message as the kernel prints it, so many seconds after boot."""
    number = serial or abs(int(second * 10))
    stamp = f"{BOOT + second:.3f}:{number}"
    return f'audit: type=1400 audit({stamp}): apparmor="DENIED" {body}'


def mount(profile: str, second: float, pid: int = 4712) -> str:
    return denied(
        'operation="mount" class="mount" info="failed mntpnt match" error=-13 '
        f'profile="{profile}" name="/run/x/" pid={pid} comm="mount" fstype="sysfs" '
        'srcname="sysfs"',
        second,
    )


def file(profile: str, name: str, second: float, pid: int = 4711, mask: str = "w") -> str:
    return denied(
        f'operation="open" class="file" profile="{profile}" name="{name}" pid={pid} comm="sh" '
        f'requested_mask="{mask}" denied_mask="{mask}" fsuid=100000 ouid=0',
        second,
    )


def journal(host: FakeHost, messages: Sequence[str | dict[str, Any]]) -> None:
    """What journalctl answers."""
    entries = [
        {"MESSAGE": m, "__REALTIME_TIMESTAMP": f"{BOOT + 500}000000", "_TRANSPORT": "kernel"}
        if isinstance(m, str)
        else m
        for m in messages
    ]
    host.write("/fake/journal.json", "".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.environment["TZ"] = "UTC"
    host.write("/proc/stat", f"cpu  1 2 3\nbtime {BOOT}\n")
    host.path("/var/log/journal").mkdir(parents=True)
    host.write(
        "/etc/apparmor.d/abstractions/phoenix/kernel-files",
        "# Files\n  deny /proc/sysrq-trigger w,\n  deny /{,**/}core_pattern wklx,\n"
        "  deny mount fstype={tracefs,bpf},\n",
    )
    for name in (BASE, DOCKER):
        host.write(
            f"/etc/apparmor.d/{name}",
            f"profile {name} {{\n  include <abstractions/phoenix/kernel-files>\n"
            f"  include if exists <local/{name}>\n}}\n",
        )
    return host


def process(host: FakeHost, pid: int, group: str, second: float) -> None:
    """A live process that began so many seconds after boot."""
    host.write(f"/proc/{pid}/cgroup", f"0::{group}\n")
    words = ["S", *"0" * 18, str(int(second * 100)), "0"]
    host.write(f"/proc/{pid}/stat", f"{pid} (a b) c) {' '.join(words)}\n")


def everything(host: FakeHost) -> None:
    """Something of each kind."""
    host.conf("950", "hostname: vllm\n")
    host.conf("952", "hostname: docker\n")
    host.runtime("952", b"lxc.apparmor.profile = lxc-nvidia-gpu-docker\n")
    process(host, 4711, "/lxc/950/ns/init.scope", 50)
    journal(
        host,
        [
            file(BASE, "/proc/sysrq-trigger", 100),
            file(BASE, "/proc/sysrq-trigger", 160),
            mount(DOCKER, 200),
            mount(DOCKER, 260.5, pid=4800),
            denied(
                'operation="open" class="file" namespace="root//lxc-952_<-var-lib-lxc>" '
                'profile="docker-default" name=2F612062 pid=9 comm="cat" requested_mask="r" '
                'denied_mask="r" fsuid=0 ouid=0',
                300,
            ),
            denied(
                'operation="mount" class="mount" info="failed flags match" error=-13 '
                'profile="lxc-101_</var/lib/lxc>" name="/dev/shm/" pid=4178 comm="(sd-mkdcreds)" '
                'fstype="ramfs" srcname="ramfs" flags="rw, nosuid"',
                310,
            ),
            denied(
                'operation="ptrace" class="ptrace" profile="lxc-other" pid=9 comm="ps" '
                'requested_mask="read" denied_mask="read" peer="unconfined"',
                320,
            ),
            denied(
                'operation="change_onexec" class="file" profile="/usr/bin/lxc-start" '
                'name="lxc_phoenix_v1" pid=12 comm="lxc-start"',
                330,
            ),
            denied('operation="open" profile="/usr/bin/man" name="/x" denied_mask="r"', 340),
            file(BASE, "/before-boot", -100),
            "kauditd_printk_skb: 12 callbacks suppressed",
            "kauditd_printk_skb: 30 callbacks suppressed",
            "audit: audit_lost=7 audit_rate_limit=5 audit_backlog_limit=64",
            "audit: rate limit exceeded",
            "usb 1-1: new device",
        ],
    )


def test_everything(host: FakeHost) -> None:
    everything(host)
    done = host.cli("denials")
    assert (done.status, done.err) == (0, "")
    assert_golden("denials.txt", done.out, host.root)
    prose = [line for line in done.out.splitlines() if not line.startswith("      ")]
    assert max(map(len, prose)) <= 80
    assert "\x1b" not in done.out


def test_json(host: FakeHost) -> None:
    everything(host)
    done = host.cli("denials", "--json")
    assert (done.status, done.err) == (0, "")
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


def test_none(host: FakeHost) -> None:
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
    assert "No denial of a container" in host.cli("denials", "999").out


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


def test_since(host: FakeHost) -> None:
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
def test_times(host: FakeHost, since: str, moment: str) -> None:
    journal(host, [])
    assert f"since {moment} in" in host.cli("denials", "--since", since).out


@pytest.mark.parametrize(
    "since", ["today", "yesterday", "2h", "30min", "-1d", "1 week ago", "0:01"]
)
def test_relative_times(host: FakeHost, since: str) -> None:
    journal(host, [])
    assert host.cli("denials", f"--since={since}").status == 0


@pytest.mark.parametrize("since", ["soon", "2025-13-01", "25 o'clock"])
def test_what_is_no_time(host: FakeHost, since: str) -> None:
    done = host.cli("denials", "--since", since)
    assert (done.status, done.out) == (64, "")
    assert done.err.startswith(f'"{since}" is no time.\n')


def test_the_journals_own_audit_transport_is_the_same_event(host: FakeHost) -> None:
    text = file(BASE, "/x", 100)
    body = text[text.index("apparmor=") :]
    audit = {
        "MESSAGE": f"AVC {body}",
        "_TRANSPORT": "audit",
        "_AUDIT_ID": "1000",
        "_SOURCE_REALTIME_TIMESTAMP": f"{BOOT + 100}000000",
        "__REALTIME_TIMESTAMP": f"{BOOT + 101}000000",
    }
    journal(host, [text, audit])
    assert "once, 2025-11-24 16:01:40" in host.cli("denials").out
    journal(host, [text, {**audit, "_AUDIT_ID": "1001"}])
    assert "2 times" in host.cli("denials").out


def test_a_message_that_journalctl_writes_as_bytes(host: FakeHost) -> None:
    text = file(BASE, "/x\x1b[31m", 100)
    journal(host, [{"MESSAGE": list(text.encode()), "__REALTIME_TIMESTAMP": "1"}])
    out = host.cli("denials").out
    assert "write /x\\x1b[31m\n" in out and "\x1b" not in out


def test_auditd_and_its_rotated_logs(host: FakeHost) -> None:
    journal(host, [file(BASE, "/journal", 100)])
    audit = "type=AVC msg=" + file(BASE, "/{}", 200).partition("type=1400 ")[2]
    host.write(AUDIT_LOG, audit.replace("/{}", "/now").replace(":2000)", ":1)") + "\n")
    host.write(AUDIT_LOG + ".1", audit.replace("/{}", "/before").replace(":2000)", ":2)") + "\n")
    old = audit.replace("/{}", "/old").replace(str(BOOT + 200), str(BOOT - 200))
    host.write(AUDIT_LOG + ".2", old + "\n")
    host.write(AUDIT_LOG + ".3", audit.replace("/{}", "/not-read") + "\n")
    out = host.cli("denials").out
    for name in ("/journal", "/now", "/before"):
        assert f"write {name}\n" in out
    assert "/old" not in out and "/not-read" not in out
    assert "from the journal and\n/var/log/audit/audit.log" in out


def test_dmesg_where_there_is_no_journal(host: FakeHost) -> None:
    host.path("/var/log/journal").rmdir()
    host.write("/fake/dmesg", f"[   100.5] {file(BASE, '/x', 100)}\n[  101.0] usb\n")
    out = host.cli("denials").out
    assert "write /x\n" in out and "from dmesg" in out


def test_no_log_at_all(host: FakeHost) -> None:
    host.path("/var/log/journal").rmdir()
    done = host.cli("denials")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "the kernel's log cannot be read: dmesg: dmesg failed: dmesg: read kernel buffer failed: "
        "Operation not permitted\n"
        "Run it as root. By hand: journalctl -k -g apparmor; dmesg\n"
    )


def test_a_journal_that_cannot_be_read_is_told(host: FakeHost) -> None:
    host.write("/fake/journalctl-fails", "No permission\n")
    host.write("/fake/dmesg", "")
    out = host.cli("denials").out
    assert "Not read: the journal: journalctl failed: No permission" in out


def test_a_bad_line_stops_nothing(host: FakeHost) -> None:
    journal(host, [file(BASE, "/x", 100)])
    path = host.path("/fake/journal.json")
    path.write_bytes(b'{"MESSAGE"\n[1]\n\xff\n' + path.read_bytes() + b'{"MESSAGE": null}\n')
    assert "write /x\n" in host.cli("denials").out


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


def test_our_own_profiles_deny_silently() -> None:
    """What the last line says is true of what ships."""
    texts = [path.read_text() for path in (REPO / "profiles/abstractions/phoenix").iterdir()]
    lines = [line.split() for text in texts for line in text.splitlines()]
    denies = [words for words in lines if "deny" in words[:2]]
    assert denies and all(words[0] == "deny" for words in denies)


def test_a_thousand_kinds_of_denial(host: FakeHost) -> None:
    journal(host, [file(BASE, f"/x{n % 1000}", 100 + n / 100) for n in range(20000)])
    done = host.cli("denials", "--json")
    found = json.loads(done.out)["denials"]
    assert len(found) == 1000 and {part["count"] for part in found} == {20}
