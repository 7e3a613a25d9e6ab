"""Which nodes there are, quorum, and whether /etc/pve is there: what pmxcfs says of itself."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phoenix_apparmor.cluster import members
from phoenix_apparmor.host import Host
from tests.build import scratch_dir
from tests.names import BASE
from tests.unit.cluster_host import ALL_WELL, LABEL, NAMES, Cluster, node, shown, verdicts
from tests.unit.fakehost import FakeHost
from tests.unit.status_host import validated

MEMBERS: dict[str, tuple[dict[str, Any], bool | None, list[bool]]] = {
    "a cluster": ({"cluster": {"quorate": 1}, "nodelist": {"b": {"online": 0}}}, True, [False]),
    "no quorum": ({"cluster": {"quorate": 0}, "nodelist": {"b": {"online": 1}}}, False, [True]),
    "one node": ({"version": 0}, True, []),
    "odd names": ({"nodelist": {"../b": {}, "-b": {}, "b\n": {}, "": {}}}, True, []),
    "odd types": ({"cluster": 7, "nodelist": ["b"]}, None, []),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_members_are_read_as_pmxcfs_writes_them(host: FakeHost, kind: str) -> None:
    said, quorate, online = MEMBERS[kind]
    host.write("/etc/pve/.members", json.dumps({"nodename": "a", **said}))
    found = members.read(Host(str(host.root)))
    assert found is not None and (found.me, found.quorate) == ("a", quorate)
    assert [found.online[name] for name in found.others] == online


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodename": 7}', '{"nodename": "../x"}'])
def test_members_that_cannot_be_read_are_none(host: FakeHost, text: str) -> None:
    host.write("/etc/pve/.members", text)
    assert members.read(Host(str(host.root))) is None


@pytest.mark.parametrize("in_cluster", [False, True])
def test_a_node_without_a_list(host: FakeHost, in_cluster: bool) -> None:
    """In no cluster, or corosync did not start: only the first can be sure to have quorum."""
    host.write("/etc/pve/.members", '{"nodename": "a", "version": 3}')
    host.path("/etc/pve/nodes/b/lxc").mkdir(parents=True)
    if in_cluster:
        host.write("/etc/pve/corosync.conf", "totem {}\n")
    found = members.read(Host(str(host.root)))
    assert found is not None and found.quorate is (None if in_cluster else True)
    assert found.others == (["b"] if in_cluster else [])
    assert found.left == (frozenset() if in_cluster else {"b"})


def corosync_is_down(cluster: Cluster) -> None:
    for name, host in cluster.nodes.items():
        host.write("/etc/pve/.members", json.dumps({"nodename": name, "version": 1}))
        host.write("/etc/pve/corosync.conf", "totem {}\n")


@pytest.mark.parametrize("known", [True, False])
def test_no_quorum_is_off(cluster: Cluster, known: bool) -> None:
    if known:
        cluster.online(*NAMES, quorate=0)
    else:
        corosync_is_down(cluster)
    status, document = shown(cluster)
    assert (status, document["fine"]) == (2, False)
    assert document["cluster"]["quorate"] is (False if known else None)
    assert [note for note in document["trouble"] if "quorum" in note["what"]]
    assert verdicts(document) == ALL_WELL, "what was published stands"
    assert shown(cluster, "951")[0] == 2
    done = cluster.nodes["pve1"].cli("status", "--cluster", "--check")
    assert done.status == (1 if known else 3) and "quorum" in done.out
    assert "quorum" in cluster.nodes["pve1"].cli("status", "--cluster").out
    found = json.loads(cluster.nodes["pve1"].cli("doctor", "--json").out)["findings"]
    (finding,) = (f for f in found if f["check"] == "quorum")
    assert finding["severity"] == ("error" if known else "unknown")


def left(cluster: Cluster, name: str) -> None:
    """pvecm delnode: out of the list, its folder stays."""
    for host in cluster.nodes.values():
        said = json.loads(host.read("/etc/pve/.members"))
        del said["nodelist"][name]
        host.write("/etc/pve/.members", json.dumps(said))


@pytest.mark.slow
@pytest.mark.parametrize("report", ["fresh", "old", "garbage", "none"])
def test_a_node_that_left_is_no_alarm(cluster: Cluster, report: str) -> None:
    """Whatever its last report was; a container that is still in its folder is named."""
    for ctid in ("951", "960"):
        source = cluster.shared / f"nodes/pve2/lxc/{ctid}.conf"
        source.rename(cluster.shared / f"nodes/pve3/lxc/{ctid}.conf")
    cluster.container("pve2", "990", BASE)
    cluster.container("pve2", "991", None)
    cluster.assign(c950=BASE, c951=BASE, c970=BASE, c990=BASE)
    cluster.nodes["pve3"].running("951", LABEL, 4004)
    (cluster.shared / "nodes/pve3/lxc/960.conf").unlink()
    cluster.publish("pve3")
    left(cluster, "pve2")
    if report == "old":
        cluster.age("pve2", 86400)
    elif report == "garbage":
        cluster.report("pve2").write_text("{")
    elif report == "none":
        cluster.report("pve2").unlink()
    one = cluster.nodes["pve1"]
    status, document = shown(cluster)
    assert (status, document["fine"]) == (0, True), document
    assert (node(document, "pve2")["state"], node(document, "pve2")["known"]) == ("left", False)
    done = one.cli("status", "--cluster")
    words = " ".join(done.out.split())
    assert "not in the cluster any more; its folder is left, with CT 990, 991." in words
    assert "systemctl" not in words
    assert one.cli("status", "--cluster", "--check").status == 0
    assert 'node="pve2"' not in one.cli("status", "--cluster", "--prometheus").out
    document = shown(cluster, "950")[1]
    can = {a["node"]: a["can"] for a in document["cluster"]["moves"][0]["nodes"]}
    assert can == {"pve1": True, "pve2": False, "pve3": True}
    assert verdicts(shown(cluster, "990")[1]) == {"990": "unknown"}
    found = json.loads(one.cli("doctor", "--json").out)["findings"]
    severities = {f["severity"] for f in found if f["check"] == "migration"}
    assert severities == {"note"}


def test_etc_pve_that_is_not_mounted(cluster: Cluster) -> None:
    """Then all of pmxcfs is gone, not only the JSON: that has another remedy."""
    one = cluster.nodes["pve1"]
    assert one.cli("apply", "--all").status == 0, "a last good copy is there"
    one.path("/etc/pve").rename(one.path("/etc/away"))
    one.path("/etc/pve").mkdir()
    forms: list[list[str]] = [[], ["--cluster"]]
    for arguments in forms:
        done = one.cli("status", "--json", *arguments)
        document = validated("status", done.out)
        assert (done.status, document["fine"]) == (2, False)
        (note,) = document["trouble"]
        assert "/etc/pve is not mounted" in note["what"]
        assert note["hint"] == "See: systemctl status pve-cluster"
        done = one.cli("status", "--check", *arguments)
        assert done.status == 3 and "not mounted" in done.out
    done = one.cli("doctor", "--json")
    found = json.loads(done.out)["findings"]
    assert [f["severity"] for f in found if f["check"] == "quorum"] == ["error"]
    assert len([f for f in found if "not mounted" in f["what"]]) == 1, "one cause, one finding"
    assert not any("Put it back" in f["advice"] for f in found if f["advice"])


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Where another user can come to; a folder of pytest is closed."""
    folder = Path(tempfile.mkdtemp(prefix="pa-", dir=scratch_dir()))
    folder.chmod(0o755)
    yield folder / "c"
    shutil.rmtree(folder)


def test_another_user_is_told_to_be_root(host: FakeHost) -> None:
    """What is closed to a user is not what is missing."""
    host.write("/etc/pve/.members", '{"nodename": "a"}')
    host.path("/etc/pve").chmod(0o700)
    done = host.cli_as_nobody("publish", "--dry-run")
    assert done.status == 1 and "Run it as root" in done.err and "not mounted" not in done.err


def test_a_report_that_is_closed_to_a_user(template: Path, open_folder: Path) -> None:
    cluster = Cluster(open_folder, *NAMES, like=template)
    (cluster.shared / "nodes/pve2/priv").chmod(0o700)
    cluster.folder.chmod(0o755)
    done = cluster.nodes["pve1"].cli_as_nobody("status", "--cluster")
    words = " ".join(done.out.split())
    assert "cannot be read: Permission denied" in words and "Run it as root." in words
    assert "On pve2: systemctl" not in words
