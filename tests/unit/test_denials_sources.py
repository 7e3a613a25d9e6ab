"""denials: the journal, auditd's log and dmesg, each as it can be."""

import os

import pytest

from phoenix_apparmor.denials.processes import BOOT_ID
from phoenix_apparmor.host import Host
from tests.names import BASE
from tests.unit.denials_host import BOOT, file, journal, make_host
from tests.unit.fakehost import FakeHost

AUDIT_LOG = "/var/log/audit/audit.log"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_host(host)


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


def test_auditd_that_names_the_host(host: FakeHost) -> None:
    """name_format= of auditd.conf, where logs are collected."""
    body = file(BASE, "/now", 200).partition("type=1400 ")[2]
    host.write(AUDIT_LOG, f"node=pve1.example.com type=AVC msg={body}\n")
    journal(host, [])
    assert "write /now\n" in host.cli("denials").out


@pytest.mark.parametrize("number", ["", ".1", ".9"])
def test_a_log_that_is_a_fifo_hides_no_other_and_is_not_waited_for(
    host: FakeHost, number: str
) -> None:
    audit = "type=AVC msg=" + file(BASE, "/{}", 200).partition("type=1400 ")[2]
    for each in ("", *(f".{n}" for n in range(1, 10))):
        if each != number:
            text = audit.replace("/{}", f"/in{each}").replace(":2000)", f":{each[1:]}1)")
            host.write(AUDIT_LOG + each, text + "\n")
    os.mkfifo(host.path(AUDIT_LOG + number))
    done = host.cli("denials")
    assert done.status == 2
    for each in ("", ".1", ".2", ".9"):
        assert (f"write /in{each}\n" in done.out) is (each != number), done
    assert f"{AUDIT_LOG}{number}: it is not a regular file" in done.out + done.err


def of_this_machine(host: FakeHost) -> None:
    host.write(BOOT_ID, Host().read(BOOT_ID))


def test_dmesg_is_not_that_of_another_folder(host: FakeHost) -> None:
    host.path("/var/log/journal").rmdir()
    host.write("/fake/dmesg", f"[   100.5] {file(BASE, '/x', 100)}\n")
    done = host.cli("denials")
    assert (done.status, done.out) == (1, "") and "this machine's" in done.err
    host.write(BOOT_ID, "0c8f2b5e-0000-0000-0000-000000000000\n")
    assert host.cli("denials").status == 1


def test_dmesg_where_there_is_no_journal(host: FakeHost) -> None:
    host.path("/var/log/journal").rmdir()
    of_this_machine(host)
    host.write("/fake/dmesg", f"[   100.5] {file(BASE, '/x', 100)}\n[  101.0] usb\n")
    out = host.cli("denials").out
    assert "write /x\n" in out and "from dmesg" in out


def test_no_log_at_all(host: FakeHost) -> None:
    host.path("/var/log/journal").rmdir()
    of_this_machine(host)
    done = host.cli("denials")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "the kernel's log cannot be read: dmesg: dmesg failed: dmesg: read kernel buffer failed: "
        "Operation not permitted\n"
        "Run it as root. By hand: journalctl -k -g apparmor; dmesg\n"
    )


def test_a_journal_that_cannot_be_read_is_told(host: FakeHost) -> None:
    host.write("/fake/journalctl-fails", "No permission\n")
    of_this_machine(host)
    host.write("/fake/dmesg", "")
    out = host.cli("denials").out
    assert "Not read: the journal: journalctl failed: No permission" in out


def test_a_bad_line_stops_nothing(host: FakeHost) -> None:
    journal(host, [file(BASE, "/x", 100)])
    path = host.path("/fake/journal.json")
    path.write_bytes(b'{"MESSAGE"\n[1]\n\xff\n' + path.read_bytes() + b'{"MESSAGE": null}\n')
    assert "write /x\n" in host.cli("denials").out
