"""apply: the configuration at rest."""

import fcntl
import json
import os
import subprocess
import time

import pytest

from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.cli.apply import apply_to
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.names import BASE, DOCKER
from tests.unit.fakehost import PYTHON, REPO, FakeHost, Journal

CONF = b"arch: amd64\nhostname: h\n\n[snap]\nlxc.apparmor.profile: old\n"
PROFILES = {"950": BASE, "951": "unconfined", "952": DOCKER}


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.json({ctid: {"apparmor_profile": profile} for ctid, profile in PROFILES.items()})
    for ctid in PROFILES:
        host.conf(ctid, CONF)
    for profile in (BASE, DOCKER):
        host.profile(profile)
    host.conf("999", CONF)
    return host


def confs(host: FakeHost) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in host.path("/etc/pve/lxc").iterdir()}


def test_all_brings_every_conf_of_this_node_to_its_assignment(host: FakeHost) -> None:
    done = host.cli("apply", "--all")
    assert done == (
        0,
        "CT 950: profile in .conf: no line -> lxc-nvidia-gpu-base\n"
        "CT 952: profile in .conf: no line -> lxc-nvidia-gpu-docker\n"
        "3 containers: 2 changed, 1 already correct, 0 failed.\n",
        "",
    )
    expected = CONF.replace(b"h\n\n", b"h\nlxc.apparmor.profile: lxc-nvidia-gpu-base\n\n")
    assert confs(host)["950.conf"] == expected
    assert confs(host)["951.conf"] == confs(host)["999.conf"] == CONF
    before = {path: path.stat().st_ino for path in host.path("/etc/pve/lxc").iterdir()}
    done = host.cli("apply", "--all")
    assert done == (0, "Nothing to do: 3 containers, all already correct.\n", "")
    assert before == {path: path.stat().st_ino for path in before}, "not even rewritten"


def test_containers_that_will_not_start_are_named(host: FakeHost) -> None:
    host.assign(c950="lxc-nowhere", c951="lxc-nowhere", c952=DOCKER)
    done = host.cli("apply", "--all")
    assert done.status == 2
    assert "there is no profile lxc-nowhere: CT 950, 951 will not start" in done.err
    assert "3 changed" in done.out
    host.profile("lxc-nowhere")
    assert host.cli("apply", "--all").status == 0


def test_dry_run_is_a_diff_and_changes_nothing(host: FakeHost) -> None:
    before = confs(host)
    done = host.cli("apply", "950", "--dry-run")
    assert done == (
        0,
        "--- /etc/pve/lxc/950.conf\n"
        "+++ /etc/pve/lxc/950.conf\n"
        "@@ -1,4 +1,5 @@\n"
        " arch: amd64\n"
        " hostname: h\n"
        "+lxc.apparmor.profile: lxc-nvidia-gpu-base\n"
        " \n"
        " [snap]\n",
        "",
    )
    assert confs(host) == before
    assert not host.path("/var/lib/phoenix-apparmor").exists()


def test_only_the_named_container_is_changed(host: FakeHost) -> None:
    assert host.cli("apply", "952").out.startswith("CT 952: ")
    assert confs(host)["950.conf"] == CONF
    done = host.cli("apply", "999")
    assert done.status == 1
    assert "CT 999: is not in the JSON" in done.err


@pytest.mark.parametrize("words", [[], ["--all", "950"], ["x"], ["95"], ["--nonsense"]])
def test_a_wrong_call_is_refused(host: FakeHost, words: list[str]) -> None:
    assert host.cli("apply", *words).status == 64


def test_root_that_is_no_folder(host: FakeHost) -> None:
    assert host.cli("--root", "/nowhere", "apply", "--all").status == 64


def test_the_lock_of_proxmox_is_taken(host: FakeHost) -> None:
    """With the lock held elsewhere nothing is written, and the message says by whom to look."""
    lock = host.write("/run/lock/lxc/pve-config-950.lock", "")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assigned = Assignment(BASE)
        with pytest.raises(PhoenixError, match=r"locked by another task for more than 0\.1 s"):
            apply_to(Host(str(host.root)), "950", assigned, dry_run=False, patience=0.1)
    assert confs(host)["950.conf"] == CONF


def test_one_that_fails_stops_no_other(host: FakeHost) -> None:
    entries = {c: {"apparmor_profile": p} for c, p in PROFILES.items()}
    host.json({**entries, "950": {"apparmor_profile": "lxc_nvidia_gpu_base"}, "960": {}})
    done = host.cli("apply", "--all")
    assert done.status == 1
    assert 'CT 950: apparmor_profile "lxc_nvidia_gpu_base" is invalid' in done.err
    assert DOCKER in confs(host)["952.conf"].decode()
    assert "1 in the JSON is not on this node." in done.out


def test_with_a_broken_json_the_last_good_assignments_are_applied(host: FakeHost) -> None:
    host.cli("apply", "--all")
    host.json("{")
    host.conf("952", CONF)
    done = host.cli("apply", "--all")
    assert done.status == 2
    assert "last good assignments are used" in done.err
    assert "line 1" in done.err
    assert b"lxc-nvidia-gpu-docker" in confs(host)["952.conf"]


def test_no_json_at_all(host: FakeHost) -> None:
    host.path("/etc/pve/phoenix_lxc_configs.json").unlink()
    done = host.cli("apply", "--all")
    assert done.status == 1
    assert "There is no /etc/pve/phoenix_lxc_configs.json or /usr/local/" in done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by root's files")
def test_whoever_may_not_write_is_told_to_be_root(host: FakeHost) -> None:
    host.path("/etc/pve/phoenix_lxc_configs.json").chmod(0o644)
    done = host.cli_as_nobody("apply", "950")
    assert done.status == 1
    assert "Run it as root." in done.err
    assert "Traceback" not in done.err
    assert confs(host)["950.conf"] == CONF


def test_all_of_three_hundred_are_changed(host: FakeHost) -> None:
    host.json(json.dumps({"lxc_configs": {str(ctid): {} for ctid in range(1000, 1300)}}))
    for ctid in range(1000, 1300):
        host.conf(str(ctid), CONF)
    assert host.cli("apply", "--all").out.endswith(
        "300 containers: 300 changed, 0 already correct, 0 failed.\n"
    )


def many(host: FakeHost, count: int) -> list[str]:
    ctids = [str(ctid) for ctid in range(1000, 1000 + count)]
    host.json({ctid: {} for ctid in ctids})
    for ctid in ctids:
        host.conf(ctid, CONF)
    return ctids


def test_the_disk_is_waited_for_once_for_many(host: FakeHost) -> None:
    """And before the first of them has its name."""
    many(host, 100)
    log = host.path("/fake/strace")
    log.parent.mkdir(exist_ok=True)
    traced = ["strace", "-f", "-o", str(log), "-e", "trace=fsync,syncfs,rename,openat"]
    command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), "apply", "--all"]
    assert host.run(*traced, *command, PYTHONPATH=str(REPO)).status == 0
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]
    renames = [n for n, call in enumerate(calls) if call.startswith("rename(") and ".conf" in call]
    written = [n for n, call in enumerate(calls) if "O_EXCL" in call and ".conf." in call]
    synced = [n for n, call in enumerate(calls) if call.startswith("syncfs(")]
    assert len(renames) == len(written) == 100
    assert len(synced) == 1 and max(written) < synced[0] < min(renames)
    assert any(call.startswith("fsync(") for call in calls[max(renames) :])
    assert sum(call.startswith("fsync(") for call in calls) < 10


@pytest.mark.parametrize("sync", ["exit 1", "kill -9 $$", None])
def test_without_that_each_is_waited_for(host: FakeHost, sync: str | None) -> None:
    ctids = many(host, 3)
    place = host.write("/fake/bin/sync", f"#!/bin/sh\n{sync}\n")
    place.chmod(0o755 if sync else 0o644)
    path = f"{place.parent}:{host.environment['PATH'] if sync else host.root}"
    log = host.path("/fake/strace")
    traced = ["/usr/bin/strace", "-o", str(log), "-e", "trace=fsync,rename"]
    command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), "apply", "--all"]
    assert host.run(*traced, *command, PYTHONPATH=str(REPO), PATH=path).status == 0
    calls = log.read_text()
    if sync:
        assert calls[: calls.index(".conf.")].count("fsync(") >= len(ctids)
    assert all(b"lxc-nvidia-gpu-base" in host.read(f"/etc/pve/lxc/{c}.conf") for c in ctids)


def test_one_whose_lock_is_held_is_waited_for_without_the_locks_of_others(host: FakeHost) -> None:
    ctids = many(host, 3)
    lock = host.write("/run/lock/lxc/pve-config-1001.lock", "")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        command = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), "apply", "--all"]
        environment = {**host.environment, "PYTHONPATH": str(REPO)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as running:
            other = host.path("/etc/pve/lxc/1002.conf")
            end = time.monotonic() + 30
            while b"lxc-nvidia" not in other.read_bytes() and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(0.3)
            with host.path("/run/lock/lxc/pve-config-1002.lock").open() as free:
                fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert host.read("/etc/pve/lxc/1001.conf") == CONF and running.poll() is None
            fcntl.flock(file, fcntl.LOCK_UN)
            assert b"3 changed" in running.communicate(timeout=30)[0]
    assert all(b"lxc-nvidia-gpu-base" in host.read(f"/etc/pve/lxc/{c}.conf") for c in ctids)


def test_what_cannot_be_put_in_its_place_fails_alone(host: FakeHost) -> None:
    ctids = many(host, 3)
    # The first one is that of the last good copy.
    inject = ["-e", "trace=rename", "-e", "inject=rename:error=EIO:when=3"]
    # -B: Python would rename what it compiles, too
    command = [PYTHON, "-B", "-m", "phoenix_apparmor", "--root", str(host.root), "apply", "--all"]
    done = host.run("strace", "-qq", "-o", "/dev/null", *inject, *command, PYTHONPATH=str(REPO))
    assert done.status == 1 and "CT 1001: cannot write" in done.err, done
    assert "2 changed, 0 already correct, 1 failed" in done.out
    told = [f"CT {c}: profile in .conf" in done.out for c in ctids]
    assert told == [True, False, True]
    assert host.read("/etc/pve/lxc/1001.conf") == CONF
    assert set(confs(host)) == {f"{c}.conf" for c in (*ctids, *PROFILES, "999")}, "no leftovers"


def test_each_is_in_the_journal(host: FakeHost, journal: Journal) -> None:
    ctids = many(host, 3)
    assert host.cli("apply", "--all").status == 0
    told = {e["PHOENIX_CTID"]: (e["MESSAGE"], e["PHOENIX_PROFILE"]) for e in journal.entries()}
    change = "profile in .conf: no line -> lxc-nvidia-gpu-base"
    assert told == {c: (f"CT {c}: {change}", BASE) for c in ctids}
