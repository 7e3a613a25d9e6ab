"""publish: what a node tells the others, when, and what becomes of it where pmxcfs says no."""

import json
import os
import time
from pathlib import Path

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.cluster import node_report, publish
from phoenix_apparmor.cluster.node_report import NodeReport
from phoenix_apparmor.host import Host
from phoenix_apparmor.status.report import Container, Note
from tests.names import BASE, DOCKER
from tests.unit.cluster_host import LABEL, Cluster
from tests.unit.fakehost import PROGRAMS, REPO, FakeHost
from tests.unit.status_host import validated
from tests.unit.test_pmxcfs import shim

__all__ = ["shim"]


@pytest.fixture
def cluster(host: FakeHost) -> Cluster:
    cluster = Cluster(host.root / "cluster", "pve1", "pve2")
    cluster.assign(c950=BASE, c952=DOCKER)
    cluster.container("pve1", "950", BASE)
    cluster.container("pve1", "952", DOCKER)
    cluster.nodes["pve1"].running("950", LABEL, 4001)
    return cluster


def test_what_is_published(cluster: Cluster) -> None:
    node = cluster.nodes["pve1"]
    node.write("/etc/phoenix-apparmor/privileged.seccomp", "2\n")
    for device in ("nvidia0", "nvidiactl", "nvidia-uvm", "dri/renderD128", "sda"):
        node.write(f"/dev/{device}", "")
    done = node.cli("publish")
    assert (done.status, done.err) == (0, "")
    said = cluster.said("pve1")
    validated("published", json.dumps(said))
    assert (said["node"], said["kernel"], said["parser"]) == ("pve1", "6.8.12-4-pve", "3.0.8")
    assert abs(said["written"] - time.time()) < 60
    labels = {c["ctid"]: (c["label"], c["verdict"]) for c in said["containers"]}
    assert labels == {"950": (LABEL, "ok"), "952": (None, "down")}
    held = node.read(f"{paths.KERNEL}/policy/profiles/{BASE}.1/raw_sha256").decode().strip()
    assert [p["policy"] for p in said["profiles"] if p["name"] == BASE] == [f"sha256:{held}"]
    assert said["devices"] == ["/dev/dri/renderD128", "/dev/nvidia-uvm", "/dev/nvidia0",
                               "/dev/nvidiactl"]  # fmt: skip
    # root's alone, and what is shown is what is written
    assert cluster.report("pve1").stat().st_mode & 0o777 == 0o600
    shown = json.loads(node.cli("publish", "--dry-run").out)
    assert {k: v for k, v in shown.items() if k != "written"} == {
        k: v for k, v in said.items() if k != "written"
    }


def test_the_text_counts_with_all_that_it_includes(cluster: Cluster) -> None:
    node = cluster.nodes["pve1"]

    def text_hash() -> str:
        said = json.loads(node.cli("publish", "--dry-run").out)
        return str(next(p["hash"] for p in said["profiles"] if p["name"] == BASE))

    seen = [text_hash()]
    node.profile(BASE, f"  include if exists <local/{BASE}>")
    seen.append(text_hash())
    node.write(f"/etc/apparmor.d/local/{BASE}", "  mount fstype=nfs,\n")
    seen.append(text_hash())
    shared = "/etc/apparmor.d/abstractions/phoenix"
    node.write(f"{shared}/nvidia", "  include <abstractions/phoenix/b>\n")
    node.write(f"{shared}/b", "  file,\n")
    seen.append(text_hash())
    node.write(f"{shared}/b", "  file,  # other\n")
    seen.append(text_hash())
    assert len(set(seen)) == 5
    node.write("/etc/apparmor.d/tunables/global", "@{x}=/\n")
    assert text_hash() == seen[-1]


def test_written_only_when_something_changed(cluster: Cluster) -> None:
    node = cluster.nodes["pve1"]
    cluster.publish("pve1")
    cluster.allow("pve1")
    before = cluster.report("pve1").read_bytes()
    inode = cluster.report("pve1").stat().st_ino
    done = node.cli("publish")
    assert done.out.startswith("Nothing changed since")
    assert cluster.report("pve1").read_bytes() == before
    assert cluster.report("pve1").stat().st_ino == inode, "not even replaced by the same"
    node.running("952", f"{DOCKER} (enforce)", 4002)
    assert node.cli("publish").out.startswith("Published in")
    assert cluster.said("pve1")["containers"][1]["verdict"] == "ok"


def test_the_others_see_that_it_still_looks(cluster: Cluster) -> None:
    """Unchanged, its time is set anew every ten minutes, not at each look."""
    node = cluster.nodes["pve1"]
    cluster.publish("pve1")
    cluster.allow("pve1")
    for age, touched in ((publish.BEAT - 60, False), (publish.BEAT + 5, True)):
        then = time.time() - age
        os.utime(cluster.report("pve1"), (then, then))
        assert node.cli("publish").status == 0
        assert (abs(cluster.report("pve1").stat().st_mtime - time.time()) < 30) is touched


def test_at_most_once_a_minute(cluster: Cluster) -> None:
    node = cluster.nodes["pve1"]
    cluster.publish("pve1")
    node.running("952", f"{DOCKER} (enforce)", 4002)
    before = cluster.report("pve1").read_bytes()
    done = node.cli("publish")
    assert "nothing written" in done.out and done.status == 0
    assert cluster.report("pve1").read_bytes() == before
    cluster.allow("pve1", 61)
    assert node.cli("publish").out.startswith("Published in")


def test_a_large_report_is_written_more_rarely(cluster: Cluster) -> None:
    now = 1_800_000_000
    host = Host(str(cluster.nodes["pve1"].root))
    for size, seconds in ((1 << 10, 60), (200 << 10, 200), (1000 << 10, 1000)):
        text = b'{"schema_version":1,\n"written":%d,\n' % now
        rest = node_report.encode(empty("pve1")).split(b"\n", 2)[2]
        data = text + rest.rstrip(b"\n") + b" " * (size - len(text) - len(rest))
        cluster.report("pve1").write_bytes(data)
        assert publish.due_in(host, "pve1", now + 1) == pytest.approx(seconds - 1, abs=2)
        assert publish.due_in(host, "pve1", now + seconds + 1) == 0
        assert publish.due_in(host, "pve1", now - 3600) == 0, "a clock that was set back"


def empty(node: str, *containers: Container) -> NodeReport:
    return NodeReport(node, 0, "1", "6", "3", "", True, True, None, (), True, (), (), containers)


def test_a_report_never_exceeds_what_pmxcfs_takes() -> None:
    """Containers that are fine are left out first, and it is said how many."""
    note = Note("x" * 300, "y" * 300)
    many = [
        Container(str(1000 + n), "n" * 60, "", BASE, BASE, True, LABEL,
                  "drift" if n % 100 == 0 else "ok", (note,) if n % 100 == 0 else ())
        for n in range(8000)
    ]  # fmt: skip
    data = node_report.encode(empty("pve1", *many))
    assert len(data) <= 1 << 20
    said = node_report.decode(data, "pve1")
    assert said.left_out == 8000 - len(said.containers) > 0
    assert sum(c.verdict == "drift" for c in said.containers) == 80
    assert node_report.decode(node_report.encode(empty("pve1", *many[:500])), "pve1").left_out == 0


def test_waits_until_it_may_and_looks_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the service does: a start in the middle of it is not missed."""
    node = cluster.nodes["pve1"]
    node.write(paths.CHANGED, "")
    cluster.publish("pve1")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) % 2 == 0:
            cluster.allow("pve1", 100)

    # 952 starts while the kernel is asked about 950
    wrapper = node.write(
        "/fake/bin/lxc-info",
        f"""#!/bin/sh
        if [ ! -e $FAKE_ROOT/fake/once ]; then
            echo >$FAKE_ROOT/fake/once
            cp $FAKE_ROOT/fake/later $FAKE_ROOT/proc/net/unix
            : >$FAKE_ROOT{paths.CHANGED}
        fi
        exec {PROGRAMS}/lxc-info "$@"
        """,
    )
    wrapper.chmod(0o755)
    before = node.read("/proc/net/unix")
    node.running("952", f"{DOCKER} (enforce)", 4002)
    node.write("/fake/later", node.read("/proc/net/unix"))
    node.write("/proc/net/unix", before)
    monkeypatch.setenv("FAKE_ROOT", str(node.root))
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{node.environment['PATH']}")
    publish.publish(Host(str(node.root)), wait=True, sleep=sleep)
    assert len(slept) == 4
    assert slept[0] == publish.SETTLE and 50 < slept[1] <= 60
    assert cluster.said("pve1")["containers"][1]["verdict"] == "ok"


def test_a_start_and_a_stop_tell_the_service(cluster: Cluster) -> None:
    """By an empty file in the folder that systemd watches, once the container is up or gone."""
    node = cluster.nodes["pve1"]
    node.runtime("950")
    changed = node.path(paths.CHANGED)
    for run, step in (("unit", "post-start"), ("unit", "post-stop"), ("hook", "post-start")):
        changed.parent.mkdir(mode=0o700, exist_ok=True)
        changed.unlink(missing_ok=True)
        assert node.unit("pre-start", "950").status == 0
        assert not changed.exists(), "before it is up there is nothing to tell"
        node.write(paths.was_read("950"), "")  # lxc-start calls our hook
        done = node.unit(step, "950") if run == "unit" else node.hook("950", step)
        assert done.status == 0
        assert changed.exists() and changed.stat().st_size == 0


def test_units_fit_together() -> None:
    """The .path unit watches the folder of the file that starts write."""
    text = (REPO / "hooks/phoenix-apparmor-publish.path").read_text()
    assert f"PathChanged={os.path.dirname(paths.CHANGED)}\n" in text
    service = (REPO / "hooks/phoenix-apparmor-publish.service").read_text()
    assert "phoenix-apparmor publish --wait\n" in service
    assert "SuccessExitStatus=2\n" in service
    # /run has to stay writable for lxc-info, without which no label is seen (seen in the VM)
    assert "ProtectSystem=full\nReadWritePaths=/etc/pve\n" in service


def pmxcfs(cluster: Cluster, shim: Path) -> FakeHost:
    node = cluster.nodes["pve1"]
    node.environment |= {"LD_PRELOAD": str(shim), "PMXCFS": str(node.path("/etc/pve"))}
    return node


def test_a_report_is_published_by_the_rules_of_pmxcfs(cluster: Cluster, shim: Path) -> None:
    node = pmxcfs(cluster, shim)
    assert node.cli("publish").out.startswith("Published in")
    assert cluster.said("pve1")["node"] == "pve1"
    cluster.allow("pve1")
    cluster.age("pve1", 3600)
    assert node.cli("publish").status == 0
    assert time.time() - cluster.report("pve1").stat().st_mtime < 60


@pytest.mark.parametrize("before", ["nothing", "old", "unchanged"])
def test_without_quorum_nothing_is_written_and_nothing_is_left(
    cluster: Cluster, shim: Path, before: str
) -> None:
    """Nothing is written, it is said, and nothing is left behind."""
    node = pmxcfs(cluster, shim)
    if before != "nothing":
        cluster.publish("pve1")
        cluster.allow("pve1")
        cluster.age("pve1", 3600)
    if before == "old":
        node.running("952", f"{DOCKER} (enforce)", 4002)
    report = cluster.report("pve1")
    was = (report.read_bytes(), report.stat().st_mtime) if report.exists() else None
    done = node.cli("publish", PMXCFS_NO_QUORUM="1")
    assert done.status == 2
    assert "has no quorum" in done.err and "pvecm status" in done.err
    assert ((report.read_bytes(), report.stat().st_mtime) if report.exists() else None) == was
    assert [p.name for p in report.parent.iterdir()] == ([report.name] if was else [])
    done = node.cli("publish")
    assert done.status == 0, "the next time it works"


def test_without_pmxcfs_nothing_is_written(cluster: Cluster) -> None:
    """Not mounted, /etc/pve is a folder of the root file system: a file there would hide."""
    node = cluster.nodes["pve1"]
    node.path("/etc/pve/.members").unlink()
    done = node.cli("publish")
    assert done.status == 1
    assert "/etc/pve is not mounted" in done.err
    assert not cluster.report("pve1").exists()


def test_as_another_user(cluster: Cluster) -> None:
    done = cluster.nodes["pve1"].cli_as_nobody("publish")
    assert done.status != 0
    assert "Traceback" not in done.err
