"""One cause is one finding of doctor, with all the containers that it concerns."""

import json
import os
import shutil

import pytest

from tests.names import BASE, DOCKER, JSON
from tests.unit.doctor_host import (
    CONF,
    broken,
    conf,
    diagnose,
    instead,
    kernel_off,
    make_sound,
    not_loaded,
    run_fix,
)
from tests.unit.fakehost import FakeHost


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


def test_one_cause_is_one_finding(host: FakeHost) -> None:
    """Fifteen containers with the same faults: all of it on one screen."""
    ctids = [str(n) for n in range(960, 975)]
    host.json({c: {"apparmor_profile": f"lxc_bad_{c}" if c < "968" else BASE} for c in ctids})
    for ctid in ctids:
        text = CONF.replace("dev2: /dev/nvidia-uvm\n", "").replace("keyctl=1", "nesting=1")
        host.conf(ctid, text.replace("unprivileged: 1\n", "unprivileged: yes\n"))
    findings = [f for f in diagnose(host) if f["containers"]]
    assert [f["check"] for f in findings] == ["json-content", "features", "gpu-nodes"]
    assert [len(f["containers"]) for f in findings] == [8, 15, 15]
    assert len(host.cli("doctor").out.splitlines()) < 35


def test_all_that_is_wrong_with_a_profile_line_is_one_finding(host: FakeHost) -> None:
    """Not one a line, and another for what status says of it: one command fixes them all."""
    conf(f"lxc.aa_profile: unconfined\nlxc.apparmor.profile: {DOCKER}\n")(host)
    (found,) = diagnose(host)
    assert "lxc.aa_profile" in found["what"] and "more than one profile line" in found["what"]
    assert found["fix"] == "phoenix-apparmor apply 950"
    run_fix(host, found["fix"])
    assert diagnose(host) == []
    lines = f"lxc.aa_profile: x\nlxc.apparmor.profile: {DOCKER}\nlxc.apparmor.profile: {BASE}\n"
    host.conf("951", f"unprivileged: 1\n{lines}")
    (found,) = diagnose(host)
    run_fix(host, found["fix"])
    assert diagnose(host) == []
    assert (
        host.read("/etc/pve/lxc/951.conf") == f"unprivileged: 1\n{lines.splitlines()[2]}\n".encode()
    )


def test_generated_that_is_assigned_and_written_out_is_one_finding(host: FakeHost) -> None:
    host.assign(c950="generated")
    instead("lxc.apparmor.profile: generated\n")(host)
    host.conf("950", host.read("/etc/pve/lxc/950.conf").decode().replace("keyctl=1", "nesting=1"))
    (found,) = diagnose(host)
    assert "loses the rules" in found["what"]
    (line,) = (x for x in host.cli("status").out.splitlines() if x.startswith("950"))
    assert "same" not in line and "drift" in line


@pytest.mark.parametrize("text", ["{", '{"lxc_configs": {"951": {}, "951": {}}}'])
def test_a_json_that_refuses_a_container_is_told_once(host: FakeHost, text: str) -> None:
    """Not by a failed unit, of which systemd knows nothing."""
    host.conf("951", CONF)
    host.json(text.replace("{", '{"lxc_configs": {"951": {}', 1) if text == "{" else text)
    findings = diagnose(host)
    assert [f["check"] for f in findings] == ["json-content"], findings
    assert "CT 951" in findings[0]["what"] and findings[0]["containers"] == ["951"]


def test_a_profile_that_does_not_compile_is_one_finding(host: FakeHost) -> None:
    """Not a reload that must fail, nor a file that nobody finds."""
    broken(host)
    not_loaded(host)
    conf("features: nesting=1\n")(host)
    (found,) = diagnose(host)
    assert found["check"] == "profile-current" and "does not compile" in found["what"]
    assert "nothing starts under it" in found["what"] and found["fix"] is None


def test_apply_is_no_fix_where_the_assigned_profile_is_nowhere_either(host: FakeHost) -> None:
    host.assign(c950="lxc-nvidia-gpu-bsae")
    host.conf("950", CONF.replace(f"profile: {BASE}", "profile: lxc-gone"))
    (finding,) = (f for f in diagnose(host) if f["check"] == "profile-lines")
    assert finding["fix"] is None and "lxc-nvidia-gpu-bsae" in finding["advice"]
    assert "phoenix-apparmor apply 950" in finding["advice"]


def test_a_host_without_apparmor_is_told_once(host: FakeHost) -> None:
    kernel_off(host)
    off = [f for f in diagnose(host) if f["severity"] in ("error", "unknown")]
    assert [f["check"] for f in off if f["check"] != "containers"] == ["apparmor"]
    host.write(f"/etc/apparmor.d/local/{BASE}", "SYNTAX ERROR\n")
    assert [f for f in diagnose(host) if f["check"] == "profile-current"], "it can be compiled"


def test_a_kernel_without_hashes_is_told_once(host: FakeHost) -> None:
    shutil.rmtree(host.path("/sys/kernel/security/apparmor/policy/profiles"))
    (finding,) = (f for f in diagnose(host) if f["check"] == "profile-current")
    assert (
        finding["severity"] == "unknown" and BASE in finding["what"] and DOCKER in finding["what"]
    )


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_a_json_that_others_may_write_is_told_once(host: FakeHost, mode: int) -> None:
    """With what is used instead, and the container that has nothing."""
    path = host.path(JSON)
    host.conf("951", CONF.replace("vllm", "other"))
    host.json({"950": {}, "951": {}})
    os.chown(path, 0, 33)
    path.chmod(mode)
    (found,) = diagnose(host)
    assert found["check"] == "json-owner" and "is refused" in found["what"]
    assert "The last good assignments are used. CT 951 had none" in found["what"]
    assert found["containers"] == ["951"]
    run_fix(host, found["fix"])
    assert not [f for f in diagnose(host) if f["check"].startswith("json")]


def test_a_folder_in_the_place_of_the_json_is_told_once(host: FakeHost) -> None:
    """And not to be given to root."""
    host.path(JSON).unlink()
    host.path(JSON).mkdir()
    (found,) = (f for f in diagnose(host) if f["check"].startswith("json"))
    assert found["fix"] is None and f"ls -ld {JSON}" in found["advice"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("u 0 100000 65536 # users\n|g 0 100000 65536\n", ["Proxmox takes lxc.idmap only as"]),
        ("u 0 100000 65536\n|x 0 100000 65536\n", ["Proxmox takes lxc.idmap only as"]),
        ("u 0 100000 65536 # users\n|u 0 100000 9\n", ["Proxmox takes", "it maps no gids at all"]),
    ],
)
def test_a_map_that_nobody_can_read_is_not_also_missing(
    host: FakeHost, lines: str, said: list[str]
) -> None:
    host.conf("950", CONF + "".join(f"lxc.idmap: {line}" for line in lines.split("|")))
    found = [f["what"] for f in diagnose(host) if f["check"] == "id-maps"]
    assert len(found) == len(said)
    assert all(words in what for words, what in zip(said, found, strict=True))


def test_a_name_that_nothing_has_is_not_to_be_renamed(host: FakeHost) -> None:
    """Nor one that has a successor, which is named."""
    instead("lxc.apparmor.profile: lxc_phoenix_v1\n")(host)
    (found,) = (f for f in diagnose(host) if f["check"] == "profile-lines")
    assert "rename" not in found["advice"] and "holds lxc_phoenix_v1 either" in found["advice"]
    host.profile("lxc-phoenix-v1")
    (found,) = (f for f in diagnose(host) if f["check"] == "profile-lines")
    assert "there is one called lxc-phoenix-v1" in found["advice"]
    host.profile("lxc_phoenix_v1")
    (found,) = (f for f in diagnose(host) if f["check"] == "profile-lines")
    assert "rename the profile to lxc-phoenix-v1, in its file" in found["advice"]


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ("create", "pct unlock 950, then pct destroy 950"),
        ("destroyed", "pct unlock 950, then pct destroy 950"),
        ("rollback", "pct unlock 950, then roll back again"),
        ("mounted", "pct unmount 950"),
        ("snapshot-delete", "a snapshot that is made or removed"),
        ("of-tomorrow", "the word in brackets"),
    ],
)
def test_what_a_lock_means_is_the_same_before_and_after_a_failed_start(
    host: FakeHost, lock: str, said: str
) -> None:
    host.conf("950", f"{CONF}lock: {lock}\n")
    (found,) = diagnose(host)
    assert said in found["advice"]
    assert ("pct start" in found["what"]) is (lock != "mounted"), "Proxmox starts that"
    assert ("A backup" in found["advice"] or "a backup" in found["advice"]) is (
        lock == "snapshot-delete"
    )
    task = "UPID:pve1:00000001:00000001:692634B1:vzstart:950:root@pam:"
    host.write("/var/log/pve/tasks/index", f"{task} 692634B2 CT is locked ({lock})\n")
    host.write(f"/var/log/pve/tasks/1/{task}", f"CT is locked ({lock})\n")
    told = json.loads(host.cli("doctor", "950", "--json").out)["findings"]
    assert found["advice"] in [f["advice"] for f in told if f["check"] == "last-start"]
