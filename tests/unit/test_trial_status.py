"""What status says of a trial: since when, what would have been refused, what it cannot know."""

import json
import os
import time

import pytest

from tests.names import DOCKER
from tests.unit.fakehost import FakeHost
from tests.unit.trial_host import NAMESPACE, TRIAL, G, T, prepared, started


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return prepared(host)


def allowed(profile: str, name: str, when: float, serial: int) -> str:
    return (
        f'audit: type=1400 audit({when:.3f}:{serial}): apparmor="ALLOWED" operation="mount" '
        f'class="mount" profile="{profile}" name="{name}" pid=7 comm="mount" fstype="nfs" '
        'srcname="nas:/x" flags="rw"\n'
    )


def status_of(host: FakeHost, *lines: str) -> dict[str, object]:
    host.running("952", f"{T}//&{G}//&{NAMESPACE}unconfined (mixed)")
    host.write("/var/log/audit/audit.log", "".join(lines))
    found = json.loads(host.cli("status", "952", "--json").out)
    [container] = found["containers"]
    assert isinstance(container, dict)
    return container


def test_status_says_what_would_have_been_refused(host: FakeHost) -> None:
    started(host, TRIAL)
    now = time.time()
    lines = [allowed(T, f"/a{n}/", now + n, n) for n in (5, 6)]
    lines += [allowed(T.replace("952", "953"), "/b/", now + 7, 3)]
    lines += [allowed(T, "/old/", now - 500, 4), allowed("lxc-other", "/c/", now + 8, 7)]
    found = status_of(host, *lines)
    assert found["verdict"] == "ok" and found["enforced"] == f"{DOCKER} (trial)"
    trial = found["trial"]
    assert isinstance(trial, dict)
    assert trial["would_be_refused"] == 2 and trial["may_be_more"] is False
    text = host.cli("status", "952").out
    assert "MiB" in text
    assert "(trial)" in text and "2 actions would have been refused" in " ".join(text.split())
    assert "printk_ratelimit" not in text


def test_a_clock_that_was_set_back_hides_nothing(host: FakeHost) -> None:
    """Else nothing would have been refused, and the trial be ended for that."""
    started(host, TRIAL)
    now = time.time()
    mark = host.path(f"/var/lib/phoenix-apparmor/variants/{T}.began")
    os.utime(mark, (now + 5000, now + 5000))
    trial = status_of(host, allowed(T, "/a/", now - 1, 5))["trial"]
    assert isinstance(trial, dict) and trial["would_be_refused"] == 1


def test_status_says_when_lines_may_be_missing(host: FakeHost) -> None:
    started(host, TRIAL)
    now = time.time()
    found = status_of(host, *(allowed(T, f"/{n}/", now + n / 10, n + 1) for n in range(12)))
    trial = found["trial"]
    assert isinstance(trial, dict) and trial["may_be_more"] is True
    assert "sysctl kernel.printk_ratelimit=0" in host.cli("status", "952").out


def test_nothing_refused(host: FakeHost) -> None:
    started(host, TRIAL)
    found = status_of(host)
    assert "nothing would have been refused" in str(found["notes"])
    host.json({"952": {"apparmor_profile": DOCKER}})
    assert status_of(host)["verdict"] == "restart pending"


@pytest.mark.parametrize("word", ["quiet", "quiet_denied", "normal"])
def test_a_kernel_that_is_quiet_refuses_what_a_trial_should_allow(
    host: FakeHost, word: str
) -> None:
    started(host, TRIAL)
    host.write("/sys/module/apparmor/parameters/audit", f"{word}\n")
    found = status_of(host)
    trial = found["trial"]
    assert isinstance(trial, dict) and trial["may_be_more"] is (word == "quiet")
    assert ("the kernel refuses what" in str(found["notes"])) is (word == "quiet")
    assert ("allow 952 --enforce" in str(found["notes"])) is (word != "quiet")


def test_a_log_that_cannot_be_read_is_not_one_without_refusals(host: FakeHost) -> None:
    started(host, TRIAL)
    host.write("/fake/journalctl-fails", "Failed to open the journal")
    found = status_of(host)
    assert "cannot be read" in str(found["notes"])
    assert "--enforce" not in str(found["notes"])
    host.path("/fake/journalctl-fails").unlink()
    assert "nothing would have been refused" in str(status_of(host)["notes"])


def test_what_programs_write_into_the_kernels_log_is_no_refusal(host: FakeHost) -> None:
    started(host, TRIAL)
    text = allowed(T, "/made-up/", time.time() + 5, 5).removesuffix("\n")
    for writer, count in (("kernel", 1), ("somebody", 0)):
        entry = {"MESSAGE": text, "_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": writer}
        host.write("/fake/journal.json", json.dumps(entry) + "\n")
        trial = status_of(host)["trial"]
        assert isinstance(trial, dict) and trial["would_be_refused"] == count
