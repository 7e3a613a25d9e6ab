"""denials: what is in a log because somebody sent it there is neither believed nor obeyed."""

import json
from typing import Any

import pytest

from tests.names import BASE
from tests.unit.denials_host import BOOT, denied, file, found, journal, make_host, only
from tests.unit.fakehost import FakeHost

GENERATED = "lxc-101_</var/lib/lxc>"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_host(host)


def sent(inner: str, *, pid: int = 500, serial: int = 7, kind: str = "type=1107 ") -> str:
    """A record of a program, as the kernel writes it: only what stands in front is its own."""
    return (
        f"audit: {kind}audit({BOOT + 100}.000:{serial}): pid={pid} uid=0 auid=4294967295 "
        f'ses=4294967295 subj={BASE} msg=\'{inner} exe="/usr/bin/dbus-daemon" sauid=104 '
        "hostname=? addr=? terminal=?'"
    )


FORGED = (
    f'apparmor="DENIED" operation="dbus_method_call" bus="system" member="Get" mask="send" '
    f'label="{GENERATED}"'
)


def bus(host: FakeHost, pid: int, group: str, second: float = 1) -> None:
    host.write(f"/proc/{pid}/cgroup", f"0::{group}\n")
    host.write(f"/proc/{pid}/stat", f"{pid} (x) S {' '.join('0' * 18)} {int(second * 100)} 0\n")


@pytest.mark.parametrize(
    ("group", "known"),
    [
        ("/system.slice/dbus.service", True),
        ("/system.slice/dbus-broker.service", True),
        ("/user.slice/user-0.slice/user@0.service/app.slice/dbus.service", True),
        ("/lxc/101/ns/system.slice/dbus.service", False),
        ("/lxc/101/ns/x/../../system.slice/dbus.service", False),
        ("/system.slice/ssh.service", False),
        ("", False),
    ],
)
def test_dbus_is_believed_by_its_unit(host: FakeHost, group: str, *, known: bool) -> None:
    if group:
        bus(host, 500, group)
    journal(host, [sent(FORGED)])
    document = json.loads(host.cli("denials", "--json").out)
    assert len(document["denials"]) == known
    assert document["untrusted"] == (not known)
    said = " ".join(host.cli("denials").out.split())
    # it may be gone: that it is not this host's is not known
    assert ("by a process that is not this host's D-Bus, or is gone." in said) is not known


def test_a_later_process_of_that_number_is_not_believed(host: FakeHost) -> None:
    bus(host, 500, "/system.slice/dbus.service", 200)
    assert found(host, sent(FORGED)) == []


KERNELS = file(BASE, "/x", 100)
BODY = KERNELS.partition("): ")[2]


@pytest.mark.parametrize(
    "text",
    [
        # a record of the kernel's inside of what a program sent
        sent(f"x audit: type=1400 audit({BOOT + 100}.000:9): {BODY}"),
        sent(f"x' {BODY}"),
        f"foo[1]: {KERNELS}",
        f" {KERNELS}",
        f"audit: type=1300 audit({BOOT + 100}.000:9): {BODY}",
        f'audit: type=1400 audit({BOOT + 100}.000:9): name="a" {BODY}',
        f"audit: type=1400 audit({'9' * 40}.000:9): {BODY}",
        f"audit: type=1400 audit({BOOT + 100}.000:{'9' * 40}): {BODY}",
        KERNELS.replace(f'"{BASE}"', "6C786300"),
        KERNELS.replace(f'"{BASE}"', '"lxc\0"'),
        BODY,
    ],
)
def test_what_is_no_record_of_the_kernels(host: FakeHost, text: str) -> None:
    """It costs only itself: the good line beside it is told."""
    assert only(host, file(BASE, "/good", 300), text)["tried_to"] == "write /good"
    done = host.cli("denials")
    assert (done.status, done.err) == (2, "")
    metrics = host.cli("status", "--prometheus").out
    assert f'phoenix_apparmor_denials{{ctid="",profile="{BASE}"}} 1' in metrics


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "kernel"}, True),
        ({"_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "evil"}, False),
        ({"_TRANSPORT": "syslog"}, False),
        ({"_TRANSPORT": "journal"}, False),
        ({"_TRANSPORT": "stdout"}, False),
        ({"_TRANSPORT": "audit", "_AUDIT_ID": "9", "MESSAGE": f"AVC {BODY}"}, True),
        ({"_TRANSPORT": "audit", "_AUDIT_ID": "9" * 50, "MESSAGE": f"AVC {BODY}"}, True),
        ({"_TRANSPORT": "audit", "_AUDIT_ID": "9", "MESSAGE": f"USER_AVC pid=1 {BODY}"}, False),
        ({"_TRANSPORT": "audit", "_AUDIT_ID": "9", "MESSAGE": f"SYSCALL {BODY}"}, False),
    ],
)
def test_only_the_kernels_transport(host: FakeHost, fields: dict[str, Any], *, told: bool) -> None:
    entry = {"MESSAGE": KERNELS, "__REALTIME_TIMESTAMP": f"{BOOT + 100}000000", **fields}
    journal(host, [entry])
    assert bool(json.loads(host.cli("denials", "--json").out)["denials"]) is told


@pytest.mark.parametrize(
    "entry",
    [
        {"MESSAGE": {"a": 1}},
        {"MESSAGE": [300, "x"]},
        {"MESSAGE": KERNELS, "__REALTIME_TIMESTAMP": "٣"},
        {"MESSAGE": KERNELS, "_TRANSPORT": ["kernel", "syslog"]},
        {"MESSAGE": KERNELS, "_AUDIT_ID": None, "_TRANSPORT": "audit"},
    ],
)
def test_odd_entries_stop_nothing(host: FakeHost, entry: dict[str, Any]) -> None:
    journal(host, [entry, file(BASE, "/good", 300)])
    done = host.cli("denials")
    assert done.status == 2 and "write /good" in done.out


FIELDS = (
    "operation", "class", "info", "profile", "name", "comm", "capname", "flags", "fstype",
    "srcname", "peer", "signal", "family", "sock_type", "denied_mask", "target", "namespace",
    "bus", "member", "addr",
)  # fmt: skip


OPERATIONS = ("open", "mount", "capable", "signal", "create", "new")


def test_nothing_reaches_the_terminal_raw(host: FakeHost) -> None:
    evil = "lxc-\x1b]0;x\x07\x1b[31m\u202e\x9b\n2J"
    messages: list[str] = []
    for number, field in enumerate(FIELDS):
        for operation in OPERATIONS:
            values = {
                "operation": operation, "class": "", "profile": BASE, "name": "/x",
                "denied_mask": "r", "capname": "chown", "flags": "rw", "fstype": "tmpfs",
                "signal": "kill", "peer": "y",
                **({"family": "unix", "sock_type": "stream"} if operation == "create" else {}),
                field: evil,
            }  # fmt: skip
            body = " ".join(f'{key}="{value}"' for key, value in values.items())
            messages.append(denied(body, 100 + number, len(messages) + 1))
    journal(host, messages)
    for arguments in (
        ("denials",),
        ("denials", "--json"),
        ("denials", "--all"),
        ("status", "--prometheus"),
        ("doctor",),
    ):
        out = host.cli(*arguments).out
        assert out and not [c for c in out if c != "\n" and not c.isprintable()], out


def test_losses_are_believed_only_from_the_kernel(host: FakeHost) -> None:
    journal(host, [sent("audit: audit_lost=7 x"), "x kauditd_printk_skb: 9 callbacks suppressed"])
    assert "There may be more" not in host.cli("denials").out
    missed = {"MESSAGE": "Missed 31 kernel messages", "_TRANSPORT": "driver"}
    journal(host, [missed])
    assert "missed 31" in host.cli("denials").out
