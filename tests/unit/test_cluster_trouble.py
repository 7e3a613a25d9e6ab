"""status --cluster: what is wrong on another node is wrong in every form; old words are old."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.names import BASE, DOCKER
from tests.unit.cluster_host import LABEL, Cluster, node, shown, verdicts

NO_APPARMOR = "this kernel runs without AppArmor: nothing is enforced."


def check(cluster: Cluster, *arguments: str) -> tuple[int, str]:
    done = cluster.nodes["pve1"].cli("status", "--check", "--cluster", *arguments)
    return done.status, done.out


def without_apparmor(cluster: Cluster) -> None:
    cluster.changed("apparmor", False)
    cluster.changed("fine", False)
    cluster.changed("trouble", [[NO_APPARMOR, "Boot it"]])


def flag_without_words(cluster: Cluster) -> None:
    cluster.changed("apparmor", False)


def its_json_is_broken(cluster: Cluster) -> None:
    cluster.changed("trouble", [["its JSON is broken.", "Fix it"]])


def only_not_fine(cluster: Cluster) -> None:
    cluster.changed("fine", False)


def profile_is_off(cluster: Cluster) -> None:
    cluster.changed("profiles.0.fine", False)


def profile_complains(cluster: Cluster) -> None:
    cluster.nodes["pve2"].kernel({BASE: "complain", DOCKER: "enforce"})
    cluster.publish("pve2")


def another_text(cluster: Cluster) -> None:
    cluster.changed("profiles.0.hash", "0" * 64)


OFF: list[tuple[Callable[[Cluster], None], int, str, int]] = [
    (without_apparmor, 2, "AppArmor: nothing is enforced: on pve2", 0),
    (flag_without_words, 2, "AppArmor: nothing is enforced: on pve2", 0),
    (its_json_is_broken, 1, "its JSON is broken: on pve2", 0),
    (only_not_fine, 1, "nodes on which something is off: pve2", 0),
    (profile_is_off, 1, f"{BASE} on pve2", 1),
    (profile_complains, 2, f"profiles in complain mode: {BASE} on pve2", 1),
    (another_text, 1, f"have different texts: {BASE}", 0),
]


@pytest.mark.parametrize(("change", "level", "said", "profiles_off"), OFF)
def test_what_is_off_on_another_node(
    cluster: Cluster, change: Callable[[Cluster], None], level: int, said: str, profiles_off: int
) -> None:
    """One answer in all forms, and each says why."""
    assert check(cluster)[0] == 0
    change(cluster)
    status, line = check(cluster)
    assert (status, said in line) == (level, True), line
    assert f"profiles_off={profiles_off};" in line
    status, document = shown(cluster)
    assert (status, document["fine"]) == (2, False)
    pve2 = node(document, "pve2")
    why = (pve2["fine"] is False, bool(pve2["trouble"]), bool(document["cluster"]["different"]))
    assert any(why) or any(t["off"] for t in document["cluster"]["profiles"])
    metrics = cluster.nodes["pve1"].cli("status", "--cluster", "--prometheus").out.splitlines()
    assert "phoenix_apparmor_cluster_fine 0" in metrics
    traces = (
        'phoenix_apparmor_cluster_node_fine{node="pve2"} 0',
        'phoenix_apparmor_cluster_node_trouble{node="pve2"} 1',
        f'phoenix_apparmor_cluster_profile_fine{{node="pve2",profile="{BASE}"}} 0',
        f'phoenix_apparmor_cluster_profile_texts{{profile="{BASE}"}} 2',
    )
    assert any(trace in metrics for trace in traces)
    assert "pve2" in cluster.nodes["pve1"].cli("status", "--cluster").out.split("\n\n", 1)[1]


def test_asked_for_one_container_only_its_node_matters(cluster: Cluster) -> None:
    without_apparmor(cluster)
    assert check(cluster, "951")[0] == 2 and shown(cluster, "951")[0] == 2
    assert check(cluster, "970")[0] == 0 and shown(cluster, "970")[0] == 0


@pytest.mark.parametrize("way", ["silent", "offline", "unusable"])
def test_old_trouble_is_not_told_as_present(cluster: Cluster, way: str) -> None:
    without_apparmor(cluster)
    cluster.age("pve2", 86400)
    if way != "silent":
        cluster.online("pve1", "pve3")
    if way == "unusable":
        cluster.report("pve2").write_text("{")
    status, document = shown(cluster)
    pve2 = node(document, "pve2")
    assert (status, pve2["state"]) == (2, "silent" if way == "silent" else "offline")
    assert (pve2["fine"], pve2["trouble"]) == (None, [])
    one = cluster.nodes["pve1"]
    assert "without AppArmor" not in one.cli("status", "--cluster").out + check(cluster)[1]
    assert check(cluster)[0] == 3
    found = json.loads(one.cli("doctor", "--json").out)["findings"]
    severities = [f["severity"] for f in found if f["check"] == "migration"]
    assert severities == ["unknown" if way == "silent" else "note"]


def test_a_container_of_which_its_node_does_not_know(cluster: Cluster) -> None:
    """It was just moved: unknown in every form, and not fine."""
    source = cluster.shared / "nodes/pve3/lxc/970.conf"
    source.rename(cluster.shared / "nodes/pve2/lxc/970.conf")
    status, document = shown(cluster)
    assert (status, document["fine"], verdicts(document)["970"]) == (2, False, "unknown")
    status, line = check(cluster)
    assert status == 3 and "unknown: 970" in line


@pytest.mark.parametrize("copy", [False, True])
def test_while_the_json_cannot_be_used_the_other_nodes_word_stands(
    cluster: Cluster, copy: bool
) -> None:
    """This node's last good copy may be of long ago, or not there at all."""
    one = cluster.nodes["pve1"]
    if copy:
        cluster.assign(c950=BASE, c951=DOCKER)
        assert one.cli("apply", "950").status == 0
        cluster.assign(c950=BASE, c951=BASE, c960=DOCKER, c970=BASE)
    cluster.nodes["pve3"].running("970", "unconfined", 4003)
    cluster.publish("pve2", "pve3")
    cluster.json.write_text("{")
    found = verdicts(shown(cluster)[1])
    assert (found["951"], found["960"], found["970"]) == ("ok", "down", "drift")
    status, line = check(cluster)
    assert status == 2 and "without being confined: 970" in line
    cluster.age("pve2", 7200)
    found = verdicts(shown(cluster)[1])
    assert found["951"] == found["960"] == "unknown"
    (move,) = shown(cluster, "951")[1]["cluster"]["moves"]
    assert (move["profile"], {a["can"] for a in move["nodes"]}) == (None, {None})
    assert "not managed" not in one.cli("status", "--cluster", "951").out


def test_a_conf_that_cannot_be_read_is_one_containers(cluster: Cluster) -> None:
    (cluster.shared / "nodes/pve3/lxc/777.conf").mkdir()
    found: dict[str, Any] = {c["ctid"]: c for c in shown(cluster)[1]["containers"]}
    assert (found["777"]["verdict"], found["777"]["node"]) == ("unknown", "pve3")
    assert "777.conf cannot be read" in found["777"]["notes"][0]["what"]
    assert found["970"]["verdict"] == "ok"
    status, line = check(cluster)
    assert status == 3 and "unknown: 777" in line
    assert shown(cluster, "777")[0] == 2


def test_the_files_to_compare_are_those_that_can_differ(cluster: Cluster) -> None:
    """All that a profile includes is part of its text."""
    for host in cluster.nodes.values():
        host.write("/etc/apparmor.d/abstractions/phoenix/nvidia", "  /dev/nvidia* rw,\n")
        host.load(BASE, DOCKER)
    other = cluster.nodes["pve3"]
    other.write("/etc/apparmor.d/abstractions/phoenix/nvidia", "  /dev/nvidia0 rw,\n")
    other.load(BASE, DOCKER)
    cluster.publish("pve2", "pve3")
    done = cluster.nodes["pve1"].cli("status", "--cluster")
    compare = [line for line in done.out.splitlines() if "sha256sum" in line]
    assert len(compare) == 2
    for name, line in zip((BASE, DOCKER), compare, strict=True):
        folder = "/etc/apparmor.d"
        paths = (name, "abstractions/phoenix/nvidia", f"local/{name}")
        assert line.endswith("sha256sum " + " ".join(f"{folder}/{path}" for path in paths))


def test_colours_of_a_conf_do_not_reach_a_terminal(cluster: Cluster) -> None:
    """SGR as our own: show keeps what looks like a colour of ours where it may colour."""
    script = (
        "import sys\nfrom phoenix_apparmor.cluster import overview, text\n"
        "from phoenix_apparmor.host import Host\n"
        "from phoenix_apparmor.terminal.output import show\n"
        "seen = overview.inspect(Host(sys.argv[1]), ('951',), progress=lambda _: None)\n"
        "show(text.text(seen, 80, colour=True), colour=True)\n"
    )
    odd = "dev0: /dev/nvidia\x1b[31m9\nlxc.mount.entry: /dev/x\x1b[32m dev/x none bind\n"
    cluster.container("pve2", "951", BASE, odd)
    done = cluster.nodes["pve1"].run(
        "/usr/bin/python3", "-B", "-c", script, str(cluster.nodes["pve1"].root),
        PYTHONPATH=str(Path(__file__).resolve().parents[2]),
    )  # fmt: skip
    assert "\\x1b[31m9" in done.out and "\x1b[31m9" not in done.out, done
    assert "\x1b[33munknown\x1b[0m" in done.out, "ours stay"
    assert LABEL.startswith(BASE)
