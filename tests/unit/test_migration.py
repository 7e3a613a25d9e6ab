"""status --cluster CTID: on which node the container could start under its profile, and why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_apparmor import paths
from tests.names import BASE, DOCKER
from tests.unit.cluster_host import LABEL, NAMES, Cluster
from tests.unit.fakehost import MARKERS, FakeHost
from tests.unit.golden import assert_golden
from tests.unit.status_host import validated

GPU = "dev0: /dev/nvidia0\ndev1: path=/dev/nvidiactl,mode=0666\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CT 950 with a GPU on pve2, and a privileged CT 952; all nodes could have both."""
    cluster = Cluster(tmp_path_factory.mktemp("template") / "cluster", *NAMES)
    cluster.assign(c950=BASE, c952=DOCKER, c955="unconfined")
    for host in cluster.nodes.values():
        host.profile(BASE, before=MARKERS)
        host.profile(DOCKER, before=MARKERS)
        host.load(BASE, DOCKER)
        host.write(paths.SECCOMP, "2\ndenylist\n")
        host.write(paths.SECCOMP_WITHOUT_BPF, "2\ndenylist\n")
        for device in ("nvidia0", "nvidiactl"):
            host.write(f"/dev/{device}", "")
    cluster.container("pve2", "950", BASE, GPU)
    cluster.container("pve2", "955", None)
    cluster.container("pve1", "952", DOCKER)
    conf = cluster.nodes["pve1"].path("/etc/pve/lxc/952.conf")
    conf.write_text(conf.read_text().replace("unprivileged: 1\n", ""))
    cluster.nodes["pve2"].running("950", LABEL, 4001)
    cluster.publish("pve2", "pve3")
    return cluster.folder


def answers(cluster: Cluster, ctid: str, asked_on: str = "pve1") -> dict[str, tuple[Any, str]]:
    done = cluster.nodes[asked_on].cli("status", "--cluster", ctid, "--json")
    (move,) = validated("status", done.out)["cluster"]["moves"]
    return {a["node"]: (a["can"], "; ".join(a["reasons"])) for a in move["nodes"]}


@pytest.mark.parametrize("ctid", ["950", "952", "955"])
def test_a_container_can_go_where_all_it_needs_is(cluster: Cluster, ctid: str) -> None:
    assert answers(cluster, ctid) == dict.fromkeys(NAMES, (True, ""))


def without_gpu(host: FakeHost) -> None:
    host.path("/dev/nvidiactl").unlink()


def other_text(host: FakeHost) -> None:
    host.profile(BASE, "  # other", before=MARKERS)
    host.load(BASE)


def without_profile(host: FakeHost) -> None:
    host.path(f"/etc/apparmor.d/{BASE}").unlink()


def broken_profile(host: FakeHost) -> None:
    host.profile(BASE, "SYNTAX ERROR", before=MARKERS)
    host.kernel({DOCKER: "enforce"})


def complains(host: FakeHost) -> None:
    host.kernel({BASE: "complain", DOCKER: "enforce"})


def without_apparmor(host: FakeHost) -> None:
    host.kernel(None)


def without_namespaces(host: FakeHost) -> None:
    host.path(paths.NAMESPACES).rmdir()


def without_seccomp(host: FakeHost) -> None:
    host.path(paths.SECCOMP).unlink()


def other_seccomp(host: FakeHost) -> None:
    host.write(paths.SECCOMP, "2\nallowlist\n")


def not_loaded_again(host: FakeHost) -> None:
    """pve2's text in the file of all, but this kernel still runs what was loaded before."""
    host.profile(BASE, "  # old", before=MARKERS)
    host.load(BASE)
    host.profile(BASE, before=MARKERS)


WHY_NOT = [
    ("950", not_loaded_again, f"its kernel runs a different version of {BASE} than its file"),
    ("950", without_gpu, "it has no /dev/nvidiactl"),
    ("950", other_text, f"its {BASE} is a different version than pve2's"),
    ("950", without_profile, f"it has no profile {BASE}"),
    ("950", broken_profile, f"its profile {BASE} cannot be loaded"),
    ("950", complains, f"its profile {BASE} is in complain mode"),
    ("950", without_apparmor, "its kernel runs without AppArmor"),
    ("950", without_namespaces, "its kernel has no policy namespaces"),
    ("952", without_seccomp, "it lacks a seccomp policy in /etc/phoenix-apparmor"),
    (
        "952",
        other_seccomp,
        "a seccomp policy in /etc/phoenix-apparmor is a different version than pve1's",
    ),
]


@pytest.mark.parametrize(("ctid", "change", "why"), WHY_NOT)
def test_a_node_that_lacks_what_is_needed_says_why(
    cluster: Cluster, ctid: str, change: Callable[[FakeHost], None], why: str
) -> None:
    change(cluster.nodes["pve3"])
    cluster.publish("pve3")
    found = answers(cluster, ctid)
    assert found["pve3"][0] is False and why in found["pve3"][1]
    assert found["pve1"] == found["pve2"] == (True, "")


@pytest.mark.parametrize("change", [without_seccomp, without_namespaces, without_gpu])
def test_what_a_container_does_not_need_does_not_hinder(
    cluster: Cluster, change: Callable[[FakeHost], None]
) -> None:
    """The seccomp policy is for privileged containers, the namespace for the others."""
    change(cluster.nodes["pve3"])
    cluster.publish("pve3")
    ctid = "950" if change is without_seccomp else "952"
    assert answers(cluster, ctid)["pve3"] == (True, "")


def test_the_node_that_is_asked_may_lack_it(cluster: Cluster) -> None:
    without_gpu(cluster.nodes["pve1"])
    assert answers(cluster, "950")["pve1"] == (False, "it has no /dev/nvidiactl")


def test_what_a_report_does_not_say_is_unknown(cluster: Cluster) -> None:
    """Silent, its own JSON, a device of which reports do not speak: neither yes nor no."""
    cluster.age("pve3", 7200)
    assert answers(cluster, "950")["pve3"][0] is None
    cluster.age("pve3", 0)
    cluster.container("pve2", "950", BASE, GPU + "dev2: /dev/ttyUSB0\n")
    found = answers(cluster, "950")
    assert found["pve3"] == (None, "whether it has /dev/ttyUSB0 is not in its report")
    cluster.container("pve2", "950", BASE, GPU)
    said = cluster.said("pve3")
    said["source"] = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"
    cluster.report("pve3").write_text(json.dumps(said))
    found = answers(cluster, "950")
    assert found["pve3"][0] is None and "a JSON of its own" in found["pve3"][1]


def test_home_is_silent(cluster: Cluster) -> None:
    """Then nobody knows under which text it runs now."""
    cluster.age("pve2", 7200)
    found = answers(cluster, "950")
    assert found["pve3"] == (None, f"which version of {BASE} pve2 has is unknown")
    assert found["pve2"][0] is None


def test_a_container_that_is_not_managed_starts_as_its_conf_says(cluster: Cluster) -> None:
    cluster.container("pve2", "970", "lxc-site-special")
    found = answers(cluster, "970")
    asked = "whether it has profile lxc-site-special is not in its report"
    assert found == dict.fromkeys(NAMES, (None, asked))
    for usual in ("generated", "lxc-container-default-cgns", None):
        cluster.container("pve2", "970", usual)
        assert answers(cluster, "970") == dict.fromkeys(NAMES, (True, "")), usual
    cluster.container("pve2", "970", BASE)
    complains(cluster.nodes["pve3"])
    cluster.publish("pve3")
    found = answers(cluster, "970")
    assert found["pve3"] == (False, f"its profile {BASE} is in complain mode")
    assert found["pve1"] == (True, "")


@pytest.mark.parametrize("order", ["mode=0666,path=/dev/nvidia9", "/dev/nvidia9,mode=0666"])
def test_device_options_in_any_order(cluster: Cluster, order: str) -> None:
    cluster.container("pve2", "950", BASE, f"dev0: {order}\n")
    assert answers(cluster, "950")["pve3"] == (False, "it has no /dev/nvidia9")


def test_mount_entries_of_devices(cluster: Cluster) -> None:
    line = "lxc.mount.entry: /dev/nvidia9 dev/nvidia9 none bind{},create=file\n"
    cluster.container("pve2", "950", BASE, line.format(",optional"))
    assert answers(cluster, "950")["pve3"] == (True, "")
    cluster.container("pve2", "950", BASE, line.format(""))
    assert answers(cluster, "950")["pve3"] == (False, "it has no /dev/nvidia9")


def test_as_text(cluster: Cluster) -> None:
    without_gpu(cluster.nodes["pve3"])
    cluster.publish("pve3")
    cluster.online("pve1", "pve3")
    cluster.age("pve2", 3 * 3600 + 10)
    done = cluster.nodes["pve1"].cli("status", "--cluster", "950")
    begin = done.out.index("Where could CT 950")
    assert_golden("migration.txt", done.out[begin:].partition("\n\n")[0] + "\n")
    assert done.status == 2, "its node says nothing"
    done = cluster.nodes["pve1"].cli("status", "--cluster", "999")
    assert (done.status, done.out) == (1, "")


def doctor(cluster: Cluster, *arguments: str, on: str) -> tuple[int, list[tuple[str, str]]]:
    """(exit status, (severity, what)) of what doctor says about migration."""
    done = cluster.nodes[on].cli("doctor", "--json", *arguments)
    document = json.loads(done.out)
    found = [(f["severity"], f["what"]) for f in document["findings"] if f["check"] == "migration"]
    return done.status, found


def test_doctor_says_it_of_each_node(cluster: Cluster) -> None:
    cluster.publish("pve1")
    where = [("note", "CT 950: could start on pve1, pve3.")]
    assert doctor(cluster, "950", on="pve2")[1] == where
    without_gpu(cluster.nodes["pve3"])
    cluster.publish("pve3")
    why_not = "could not start on pve3: it has no /dev/nvidiactl."
    assert doctor(cluster, "950", on="pve2")[1] == [
        ("note", "CT 950: could start on pve1."), ("note", f"CT 950: {why_not}")
    ]  # fmt: skip
    assert doctor(cluster, on="pve2")[1] == [("note", f"CT 950: {why_not}")]


def test_doctor_and_nodes_that_say_nothing(cluster: Cluster) -> None:
    """What cannot be known is not a no. That a node is switched off is no fault of this one."""
    cluster.publish("pve1")
    cluster.age("pve3", 7200)
    asked: list[list[str]] = [[], ["950"]]
    for arguments in asked:
        status, found = doctor(cluster, *arguments, on="pve2")
        severity, what = found[0]
        assert (status, severity) == (2, "unknown")
        assert what.startswith("cannot tell which containers could start on pve3: its last report")
        assert not any("could not start" in what for _, what in found)
    cluster.online("pve1", "pve2")
    assert doctor(cluster, "950", on="pve2")[1][0][0] == "note"


def test_doctor_outside_of_a_cluster(cluster: Cluster) -> None:
    alone = cluster.nodes["pve2"]
    alone.path("/etc/pve/.members").unlink()
    assert doctor(cluster, "950", on="pve2")[1] == doctor(cluster, on="pve2")[1] == []
