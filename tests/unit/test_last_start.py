"""doctor CTID: why a container did not start, in words, from what its last start left behind."""

import json
import re
from typing import Any

import pytest

from phoenix_apparmor.doctor import messages
from tests.names import BASE
from tests.unit.doctor_host import CONF, make_sound
from tests.unit.fakehost import FakeHost

UPID = "UPID:node:0001A2B3:00CDEF12:{}:vzstart:950:root@pam:"
FAILED = "command 'systemctl start pve-container@950' failed: exit code 1"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    make_sound(host)
    host.conf("951", CONF.replace("vllm", "other"))
    return host


def task(host: FakeHost, *lines: str, status: str, started: str = "692634A5") -> None:
    """A task log of Proxmox, and its line in the index."""
    upid = UPID.format(started)
    host.write(f"/var/log/pve/tasks/{started[-1]}/{upid}", "\n".join([*lines, f"TASK {status}"]))
    index = host.path("/var/log/pve/tasks/index")
    index.parent.mkdir(parents=True, exist_ok=True)
    with index.open("a") as file:
        file.write(f"{upid} {started} {status}\n")


def reasons(host: FakeHost, ctid: str = "950") -> list[dict[str, Any]]:
    done = host.cli("doctor", ctid, "--json")
    assert done.err == ""
    return [f for f in json.loads(done.out)["findings"] if f["check"] == "last-start"]


def test_our_refusal_is_the_reason(host: FakeHost) -> None:
    """Not what follows from it: that the unit failed."""
    host.failed("950")
    refusal = "CT 950: profile lxc-x is neither in the kernel nor in a file in /etc/apparmor.d."
    host.write("/fake/our-journal", f"{refusal}\n")
    host.write("/fake/unit-journal", "Starting pve-container@950.service\nFailed with result\n")
    task(host, f"WARN: {refusal}", FAILED, status=FAILED)
    (found,) = reasons(host)
    assert found["what"].startswith("CT 950 did not start: profile lxc-x is neither in the kernel")
    assert "its last start failed" not in host.cli("doctor", "950").out, "told with the reason"
    assert "mistyped name" in found["advice"] and "`" not in found["advice"]
    assert found["containers"] == ["950"]


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        (
            "/run/pve/ct-950.stderr",
            "lxc-start: 950: sync.c: sync_wait: 34 An error",
            "lines before it",
        ),
        ("/fake/unit-journal", "start request repeated too quickly.", "reset-failed"),
        ("/run/pve/ct-950.stderr", 'Failed to run lxc.hook.pre-start for container "950"', "hook"),
        (
            "/run/pve/ct-950.stderr",
            "lxc_setup: 3900 Failed to setup mounts",
            "what it names is not on the host",
        ),
        *(
            (
                "/run/pve/ct-950.stderr",
                line,
                "or of a file that it includes, is none that LXC takes",
            )
            for line in (
                'Unsupported config key "lxc.network.type"',
                "parse_line: 2875 Invalid argument - Invalid configuration line: lxc.foo",
                "lxc_start_main: 220 Failed to load config for 950",
            )
        ),
        (
            "/run/pve/ct-950.stderr",
            "can't lock file '/run/lock/lxc/pve-config-950.lock' - got timeout",
            "Another task works on the container, such as a backup or a snapshot. Try again when "
            "it has ended; fuser -v /run/lock/lxc/pve-config-950.lock shows who",
        ),
        (
            "/run/pve/ct-950.stderr",
            "can't lock file '/var/lock/pve-manager/pve-storage-local-lvm' - got timeout",
            "works on that storage: it makes, moves or removes a volume, of any container or VM. "
            "Try again when it has ended; fuser -v /var/lock/pve-manager/pve-storage-local-lvm",
        ),
        (
            "/run/pve/ct-950.stderr",
            "can't lock file '/var/lock/pve-manager/x.lck' - got timeout",
            "fuser -v /var/lock/pve-manager/x.lck shows",
        ),
        (
            "/run/pve/ct-950.stderr",
            "cfs-lock 'storage-nas' error: got lock request timeout",
            "perhaps on another node",
        ),
        (
            "/run/pve/ct-950.stderr",
            "command '/sbin/vgs --separator :' failed: got timeout",
            "Run it by hand",
        ),
        (
            "/run/pve/ct-950.stderr",
            "command 'zfs mount tank/subvol-950-disk-0' failed: exit code 1",
            "Run it by hand",
        ),
        (
            "/run/pve/ct-950.stderr",
            "hookscript error for 950 on pre-start: command '/var/lib/vz/snippets/gpu.sh 950 "
            "pre-start' failed: exit code 127",
            "pct set 950 --delete hookscript",
        ),
        (
            "/run/pve/ct-950.stderr",
            'lxc_map_ids: 3701 newgidmap failed to write mapping "newgidmap: gid range [44-45) -> '
            '[44-45) not allowed": newgidmap 4567 0 100000 44 44 44 1',
            "/etc/subgid",
        ),
        ("/run/pve/ct-950.stderr", "volume 'local-lvm:vm-950-disk-0' does not exist", "pct config"),
        ("/run/pve/ct-950.stderr", "unsupported debian version '14.0'", "Upgrade pve-container"),
    ],
)
def test_other_programs_are_translated(host: FakeHost, name: str, line: str, words: str) -> None:
    host.failed("950")
    host.write(name, f"{line}\n")
    (found,) = reasons(host)
    assert line.rstrip(".") in found["what"] and words in found["advice"]
    assert "FILE" not in found["advice"] and "CTID" not in found["advice"]
    assert "drop-in" not in found["advice"] and "lxc-`" not in found["advice"]


CHILD_FAILED = (
    'do_start: 1268 Failed to setup container "950"',
    "sync_wait: 34 An error occurred in another process (expected sequence number 4)",
    '__lxc_start: 2114 Failed to spawn container "950"',
    "startup for container '950' failed",
)


@pytest.mark.parametrize(
    ("lines", "what", "advice", "not_said"),
    [
        (
            (
                'mount_entry: 2445 No such file or directory - Failed to mount "/dev/nvidia-uvm" '
                'on "/usr/lib/x86_64-linux-gnu/lxc/rootfs/dev/nvidia-uvm"',
                "lxc_setup: 4437 Failed to setup mount entries",
            ),
            'Failed to mount "/dev/nvidia-uvm"',
            "not on the host",
            "kernel does not have the profile",
        ),
        (
            (
                "apparmor_process_label_set: 1189 No such file or directory - Failed to write "
                'AppArmor profile "lxc-x" to 5',
            ),
            'AppArmor profile "lxc-x"',
            "The kernel does not have the profile",
            "sync_wait",
        ),
        (
            (
                'mount_autodev: 1028 Permission denied - Failed to create "/dev" directory',
                'lxc_setup: 3898 Failed to mount "/dev"',
            ),
            'Permission denied - Failed to create "/dev" directory',
            "belongs to ids that are none of its own",
            "driver",
        ),
        (
            (
                'cgfsng_setup_limits: 3324 No such file or directory - Failed to set "memory.x" '
                'to "4G"',
                "lxc_spawn: 1840 Failed to setup cgroup limits",
            ),
            'Failed to set "memory.x" to "4G"',
            "no such setting of cgroups",
            "driver",
        ),
        (
            ("setup_rlimits: 12 Operation not permitted - Failed to set limit",),
            "Failed to set limit",
            "--debug",
            "profile",
        ),
    ],
)
def test_a_child_of_lxc_that_failed(
    host: FakeHost, lines: tuple[str, ...], what: str, advice: str, not_said: str
) -> None:
    """sync_wait says that the setup failed: the lines before it say of what, and where."""
    task(host, *lines, *CHILD_FAILED, status=CHILD_FAILED[-1])
    (found,) = reasons(host)
    assert what in found["what"] and advice in found["advice"]
    assert not_said not in found["what"] + found["advice"]
    assert "Failed to spawn" not in found["what"]
    assert found["evidence"].startswith("cat /var/log/pve/tasks/"), "where that text is"


NO_NETWORK = (
    "run_buffer: 571 Script exited with status 2",
    "lxc_create_network_priv: 3427 No such device - Failed to create network device",
    "lxc_spawn: 1840 Failed to create the network",
    '__lxc_start: 2119 Failed to spawn container "950"',
)


@pytest.mark.parametrize(
    ("lines", "advice"),
    [
        (("bridge 'vmbr1' does not exist", *NO_NETWORK), "ip link show type bridge"),
        (("WARN: x", "no veth left for this one", *NO_NETWORK), "--debug"),
        (
            ("no veth left for this one", *NO_NETWORK[:2], "a: 1 b", "c: 2 d", *NO_NETWORK[2:]),
            "--debug",
        ),
        (("no veth left for this one", "lxc-start: 950: ../src/lxc/conf.c: x: 1 y"), "--debug"),
    ],
)
def test_who_says_why_is_shown_with_what_lxc_says_behind_it(
    host: FakeHost, lines: tuple[str, ...], advice: str
) -> None:
    failed = "startup for container '950' failed"
    task(host, *lines, failed, status=failed)
    (found,) = reasons(host)
    cause = next(line for line in lines if not line.startswith("WARN"))
    assert cause in found["what"] and advice in found["advice"]
    assert "WARN" not in found["what"] and found["what"].count(" / ") <= 3
    assert advice != "--debug" or lines[lines.index(cause) + 1] in found["what"], "LXC's first"


@pytest.mark.parametrize(
    "failed",
    [
        "command 'mount -o noacl /dev/dm-7 /var/lib/lxc/.pve-staged-mounts/rootfs' failed: "
        "exit code 32",
        "hookscript error for 950 on pre-start: command '/x/gpu.sh 950 pre-start' failed: "
        "exit code 1",
    ],
)
def test_what_a_program_said_before_it_failed_is_shown(host: FakeHost, failed: str) -> None:
    said = ("mount: /x: can't read superblock on /dev/dm-7.", "mounting container failed")
    task(host, "WARN: not of it", *said, failed, status=failed)
    (found,) = reasons(host)
    assert found["what"] == (
        f"CT 950 did not start: {failed} (before that: {said[0]} / {said[1]})."
    )
    task(host, failed, status=failed, started="692634B1")
    (found,) = reasons(host)
    assert found["what"] == f"CT 950 did not start: {failed}."


def test_of_the_units_journal_the_last_start_is_read(host: FakeHost) -> None:
    host.failed("950")
    old, new = ("lxc-start: 950: conf.c: old: 1 it was this", "lxc-start: 950: conf.c: new: 2 now")
    begin = "Starting pve-container@950.service - PVE LXC Container: 950..."
    host.write("/fake/unit-journal", f"{begin}\n{old}\n{begin}\n{new}\n")
    (found,) = reasons(host)
    assert new in found["what"] and "it was this" not in found["what"]


def test_the_newest_task_is_read(host: FakeHost) -> None:
    task(host, status="OK", started="692634A0")
    task(host, "CT is locked (backup)", status="CT is locked (backup)", started="692634B1")
    (found,) = reasons(host)
    assert "pct unlock 950" in found["advice"]
    task(host, status="OK", started="692634C0")
    assert reasons(host) == []


def test_what_nobody_knows_is_shown(host: FakeHost) -> None:
    host.failed("950")
    host.write("/run/pve/ct-950.stderr", "something \x1b[31mnew\n")
    (found,) = reasons(host)
    assert (
        "not in the list of known ones" in found["what"]
        and "pct start 950 --debug" in found["advice"]
    )
    assert "\x1b" not in host.cli("doctor", "950").out


def test_a_running_container_has_no_failed_start(host: FakeHost) -> None:
    host.failed("950")
    host.running("950", f"{BASE} (enforce)")
    assert reasons(host) == []


def test_only_what_concerns_it(host: FakeHost) -> None:
    for ctid in ("950", "951"):
        host.conf(ctid, CONF.replace("dev2: /dev/nvidia-uvm\n", "lock: backup\n"))
    findings = json.loads(host.cli("doctor", "951", "--json").out)["findings"]
    assert {f["check"] for f in findings} == {"gpu-nodes", "locked"}
    host.conf("951", CONF)
    assert host.cli("doctor", "951").status == 0
    assert host.cli("doctor", "950").status == 2


def test_no_other_container_is_named_or_changed(host: FakeHost) -> None:
    """The same faults in three: text, containers and fix are of the one that is asked about."""
    host.assign(c950=BASE, c951=BASE, c952=BASE, c953="lxc_bad_1", c954="lxc_bad_2")
    for ctid in ("950", "951", "952"):
        plain = "".join(line for line in CONF.splitlines(True) if not line.startswith("hook"))
        host.conf(
            ctid,
            plain.replace("dev2: /dev/nvidia-uvm\n", "")
            .replace("keyctl=1", "mount=nfs")
            .replace(f"profile: {BASE}", "profile: unconfined")
            + "lock: backup\nlxc.apparmor.raw: mount,\n",
        )
    host.conf("953", CONF)
    host.conf("954", CONF)
    whole = json.loads(host.cli("doctor", "--json").out)["findings"]
    assert any("950 951 952" in (f["fix"] or "") for f in whole), "a fix of all of them"
    for ctid in ("951", "954"):
        findings = json.loads(host.cli("doctor", ctid, "--json").out)["findings"]
        assert len(findings) > (4 if ctid == "951" else 0)
        for found in findings:
            said = " ".join(str(found[key]) for key in ("what", "evidence", "fix", "advice"))
            assert set(re.findall(r"\b95\d\b", said)) <= {ctid}, found
            assert set(found["containers"]) <= {ctid}, found


def test_a_container_that_is_not_here(host: FakeHost) -> None:
    assert host.cli("doctor", "999").status == 1
    assert host.cli("doctor", "x").status == 64


def test_each_pattern_finds_its_message() -> None:
    for message in messages.MESSAGES:
        if message.pattern and "`" in message.shown:
            shown = message.shown.replace("…", "100").replace("`", "")
            assert messages.meaning(shown) is not None, message.shown


def test_where_a_container_is_instead(host: FakeHost) -> None:
    host.write("/etc/pve/nodes/pve2/lxc/960.conf", "")
    host.write("/etc/pve/nodes/pve1/qemu-server/961.conf", "")
    for ctid, words in {
        "960": "is on node pve2, not on this one.",
        "961": "is a virtual machine, not a container.",
        "962": "no such container, neither here (no /etc/pve/lxc/962.conf) nor on another node.",
    }.items():
        done = host.cli("doctor", ctid)
        assert (done.status, done.out) == (1, "") and words in done.err
    host.path("/etc/pve/.members").unlink(missing_ok=True)
    host.path("/etc/pve/lxc").rename(host.path("/etc/pve/gone"))
    done = host.cli("doctor", "962")
    assert done.status == 1 and "/etc/pve is not mounted" in done.err
