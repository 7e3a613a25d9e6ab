"""status --cluster: several nodes over one /etc/pve, and whatever can be wrong with a report."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from phoenix_apparmor import __version__
from phoenix_apparmor.cluster.node_report import BadNodeReport, decode
from tests.names import BASE, DOCKER
from tests.unit.cluster_host import (
    ALL_WELL,
    LABEL,
    Cluster,
    node,
    shown,
    verdicts,
    with_other,
)
from tests.unit.fakehost import PYTHON, REPO, FakeHost
from tests.unit.golden import assert_golden
from tests.unit.status_host import validated


def test_every_nodes_kernel(cluster: Cluster) -> None:
    cluster.age("pve2", 300)
    status, document = shown(cluster)
    assert verdicts(document) == ALL_WELL
    found = {c["ctid"]: c for c in document["containers"]}
    assert (found["951"]["label"], found["951"]["running"]) == (LABEL, True)
    assert found["950"]["age"] == 0 and 300 <= found["951"]["age"] < 400
    assert status == 0 and document["fine"] is True
    assert [n["state"] for n in document["cluster"]["nodes"]] == ["this node", "fresh", "fresh"]
    assert node(document, "pve3")["kernel"] == "6.8.12-4-pve"
    cluster.publish("pve1")
    assert verdicts(shown(cluster, node="pve3")[1]) == ALL_WELL, "the same from any node"


def test_less_than_assigned_on_another_node(cluster: Cluster) -> None:
    cluster.nodes["pve2"].running("951", "unconfined", 4002)
    cluster.publish("pve2")
    status, document = shown(cluster)
    assert (status, verdicts(document)["951"]) == (2, "drift")
    done = cluster.nodes["pve1"].cli("status", "--cluster")
    assert "runs unconfined" in done.out and "On pve2: Restart it: pct reboot 951" in done.out
    assert done.status == 2


def test_the_cluster_for_people_is_the_golden_text(cluster: Cluster) -> None:
    cluster.nodes["pve3"].profile(BASE, "  # another text")
    cluster.nodes["pve3"].load(BASE)
    cluster.publish("pve3")
    cluster.age("pve2", 7300)
    done = cluster.nodes["pve1"].cli("status", "--cluster")
    text = re.sub(r"\b\d+ s\b", "N s", done.out).replace(__version__.ljust(7), "VERSION")
    assert_golden("cluster.txt", re.sub(r"N s {2,}|now {2,}", "SEEN  ", text))
    assert done.status == 2
    assert "…" not in done.out, "names are cut for a terminal only"


@pytest.mark.parametrize("way", ["offline", "silent", "no report", "gone"])
def test_a_node_that_vanishes(cluster: Cluster, way: str) -> None:
    """What its kernel enforces is unknown, not what it was."""
    if way == "offline":
        cluster.online("pve1", "pve3")
    elif way == "silent":
        cluster.age("pve2", 1900)
    else:
        cluster.report("pve2").unlink()
    if way == "gone":
        cluster.report("pve2").parent.rmdir()
    status, document = shown(cluster)
    assert status == 2
    assert node(document, "pve2")["state"] == ("no report" if way == "gone" else way)
    found = {c["ctid"]: c for c in document["containers"]}
    assert found["951"]["verdict"] == found["960"]["verdict"] == "unknown"
    assert (found["951"]["label"], found["951"]["running"], found["951"]["age"]) == (None,) * 3
    assert found["970"]["verdict"] == "ok", "the others are not concerned"
    text = cluster.nodes["pve1"].cli("status", "--cluster").out
    assert "What its kernel enforces is unknown" in " ".join(text.split())


def test_what_conf_says_is_known_of_a_silent_node(cluster: Cluster) -> None:
    cluster.age("pve2", 1900)
    cluster.container("pve2", "951", "lxc-other")
    assert verdicts(shown(cluster)[1])["951"] == "drift"


@pytest.mark.parametrize(
    ("ahead", "state"), [(30, "fresh"), (90, "silent"), (86400, "silent"), (-1700, "fresh")]
)
def test_clocks_that_differ(cluster: Cluster, ahead: int, state: str) -> None:
    """A report from time to come can be of any age."""
    cluster.age("pve2", -ahead)
    status, document = shown(cluster)
    assert node(document, "pve2")["state"] == state
    assert verdicts(document)["951"] == ("ok" if state == "fresh" else "unknown")
    assert status == (0 if state == "fresh" else 2)
    if state == "silent":
        assert "clock" in node(document, "pve2")["why"]
        assert node(document, "pve2")["age"] is None


def test_a_report_of_a_newer_version(cluster: Cluster) -> None:
    cluster.report("pve2").write_text('{"schema_version": 2, "containers": "in another shape"}')
    status, document = shown(cluster)
    assert (status, node(document, "pve2")["state"]) == (2, "newer")
    assert verdicts(document)["951"] == "unknown"
    # a field more in the same version is none of our business
    cluster.publish("pve3")
    text = cluster.report("pve3").read_text()
    cluster.report("pve3").write_text(text.replace('"node":', '"more":[{"a":1.5e3}],"node":', 1))
    assert node(shown(cluster)[1], "pve3")["state"] == "unusable", "no number of ours is a fraction"
    cluster.report("pve3").write_text(text.replace('"node":', '"more":[{"a":1}],"node":', 1))
    assert node(shown(cluster)[1], "pve3")["state"] == "fresh"


GARBAGE = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "not JSON": b"schema_version: 1\n",
    "cut": b'{"schema_version":1,\n"written":17',
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 500_000 + b"]" * 500_000,
    "deep objects": b'{"a":' * 100_000,
    "too large": b" " * ((1 << 20) + 1),
    "long number": b'{"schema_version": ' + b"1" * 1_000_000 + b"}",
    "infinite": b'{"schema_version": Infinity}',
    "fraction": b'{"schema_version": 1e400}',
    "a million lists": b"[" + b"[]," * 349_000 + b"[]]",
    "a million objects": b"[" + b"{}," * 349_000 + b"{}]",
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_no_report(kind: str) -> None:
    with pytest.raises(BadNodeReport) as bad:
        decode(GARBAGE[kind], "pve2")
    assert bad.value.newer is False


@pytest.mark.parametrize("kind", ["cut", "deep", "too large"])
def test_garbage_costs_that_nodes_report_only(cluster: Cluster, kind: str) -> None:
    cluster.report("pve2").write_bytes(GARBAGE[kind])
    status, document = shown(cluster)
    assert (status, node(document, "pve2")["state"]) == (2, "unusable")
    assert verdicts(document) == ALL_WELL | {"951": "unknown", "960": "unknown"}


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself"])
def test_what_is_no_file_is_no_report(cluster: Cluster, kind: str) -> None:
    """pmxcfs has none of these; a restored tree might, and a pipe would be waited for."""
    path = cluster.report("pve2")
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name)
    status, document = shown(cluster)
    assert (status, node(document, "pve2")["state"]) == (2, "unusable")


WRONG = [
    ("schema_version", 0), ("schema_version", True), ("schema_version", "1"), ("written", -1),
    ("written", 10**30), ("node", "pve3"), ("node", "../pve3"), ("fine", 1), ("fine", None),
    ("containers", {}), ("containers", [1]), ("containers", None), ("containers.0.ctid", 951),
    ("containers.0.ctid", "../../x"), ("containers.0.ctid", "951\n"), ("containers.0.ctid", "960"),
    ("containers.0.verdict", "splendid"), ("containers.0.verdict", ["ok"]),
    ("containers.0.label", 7), ("containers.0.label", "x" * 1001), ("containers.0.running", 1),
    ("containers.0.notes", [["a"]]), ("containers.0.notes", [["a", 1]]),
    ("containers.0.notes", [["a", "b"]] * 21), ("profiles.0.name", None), ("profiles.0.fine", 0),
    ("profiles", [[]]), ("profiles.0.name", DOCKER),
    ("devices", [1]), ("devices", ["/dev/x"] * 1001), ("trouble", "bad"),
    ("left_out", -1), ("package", 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_field_spoils_a_report(template: Path, key: str, value: Any) -> None:
    """Rather than to show half of what nobody can rely on."""
    data = (template / "pve/nodes/pve2/priv/phoenix-apparmor.json").read_bytes()
    assert decode(data, "pve2").containers
    with pytest.raises(BadNodeReport):
        decode(json.dumps(with_other(json.loads(data), key, value)).encode(), "pve2")


HOSTILE = "\x1b]0;own\x07\x1b[2J\u202etxt\u2028\x9b31m\ud800"


def test_hostile_texts_do_not_reach_the_terminal(cluster: Cluster) -> None:
    """Each text of a report, shown in each form; the control that they are shown at all."""
    for key in ("containers.0.name", "containers.0.label", "package", "kernel", "parser", "source",
                "profiles.0.name", "profiles.0.blocks", "profiles.0.hash"):  # fmt: skip
        cluster.changed(key, f"seen-{HOSTILE}")
    cluster.changed("containers.0.notes", [[f"seen-{HOSTILE}", f"fix: {HOSTILE}"]])
    cluster.changed("trouble", [[f"seen-{HOSTILE}", HOSTILE]])
    cluster.changed("profiles.0.fine", False)
    forms: list[list[str]] = [[], ["951"], ["--json"], ["--prometheus"]]
    for form in forms:
        done = cluster.nodes["pve1"].cli("status", "--cluster", *form)
        assert done.status == 2 and done.err == ""
        assert "seen-" in done.out, form
        odd = {c for c in done.out if not c.isprintable() and c != "\n"}
        assert odd == set(), form
        if form != ["--json"]:
            assert "\\x1b]0;own" in done.out


def test_hostile_names_of_files(cluster: Cluster) -> None:
    """A node's folder or a file in it with a name that no node and no container has."""
    folder = cluster.shared / "nodes"
    (folder / "pve\x1b[2J" / "lxc").mkdir(parents=True)
    (folder / "pve\x1b[2J" / "lxc" / "990.conf").write_text("hostname: x\n")
    (folder / "pve2" / "lxc" / "9\x1b[2J.conf").write_text("hostname: x\n")
    status, document = shown(cluster)
    assert status == 0 and verdicts(document) == ALL_WELL


def test_memory_is_bounded(cluster: Cluster) -> None:
    """Three reports of 1 MiB that are dear to read: the process stays small."""
    for name, data in (("pve2", GARBAGE["a million objects"]), ("pve3", GARBAGE["many keys"])):
        cluster.report(name).write_bytes(data)
    used = peak(cluster.nodes["pve1"], "status", "--cluster")
    assert used < 120, f"{used} MiB"


def peak(host: FakeHost, *arguments: str) -> float:
    """MiB that the command line needs at most."""
    script = (
        "import re, sys\nfrom phoenix_apparmor.cli import main\n"
        "main(sys.argv[1:])\n"
        # getrusage(2) would say what the process that forked this one had, too
        "sys.stderr.write(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    command = [PYTHON, "-c", script, "--root", str(host.root), *arguments]
    done = host.execute(command, {"PYTHONPATH": str(REPO)})
    return int(done.err) / 1024


def test_profiles_of_different_text(cluster: Cluster) -> None:
    other = cluster.nodes["pve3"]
    other.write(f"/etc/apparmor.d/local/{BASE}", "  mount fstype=nfs,\n")
    other.profile(BASE, f"  include if exists <local/{BASE}>")
    other.load(BASE)
    cluster.publish("pve3")
    status, document = shown(cluster)
    assert status == 2 and document["cluster"]["different"] == [BASE]
    texts = [t for t in document["cluster"]["profiles"] if t["profile"] == BASE]
    assert [t["nodes"] for t in texts] == [["pve1", "pve2"], ["pve3"]]
    assert texts[0]["policies"]["pve1"] == texts[0]["policies"]["pve2"]
    assert texts[0]["policies"]["pve1"] != texts[1]["policies"]["pve3"]


def test_a_profile_that_another_nodes_kernel_does_not_run(cluster: Cluster) -> None:
    """The same file everywhere, but one kernel was not told."""
    for host in cluster.nodes.values():
        host.profile(DOCKER, "  # new")
    for name in ("pve1", "pve3"):
        cluster.nodes[name].load(DOCKER)
    cluster.publish("pve2", "pve3")
    status, document = shown(cluster)
    (text,) = (t for t in document["cluster"]["profiles"] if t["profile"] == DOCKER)
    assert (status, text["off"]) == (2, ["pve2"])


def test_other_versions_are_shown(cluster: Cluster) -> None:
    cluster.changed("package", "9.9.9")
    status, document = shown(cluster)
    assert (status, node(document, "pve2")["package"]) == (0, "9.9.9")
    assert " 9.9.9 " in cluster.nodes["pve1"].cli("status", "--cluster").out


def test_what_changed_since_the_report(cluster: Cluster) -> None:
    """The JSON and .conf are known at once, on every node; the label is as told."""
    cluster.assign(c950=BASE, c951=DOCKER, c960=DOCKER, c970=BASE)
    cluster.container("pve2", "951", DOCKER)
    status, document = shown(cluster)
    assert (status, verdicts(document)["951"]) == (2, "restart pending")
    # migrated: its new node has not spoken of it yet
    (cluster.shared / "nodes/pve3/lxc/970.conf").rename(cluster.shared / "nodes/pve2/lxc/970.conf")
    status, document = shown(cluster)
    found = {c["ctid"]: c for c in document["containers"]}
    assert (found["970"]["node"], found["970"]["verdict"]) == ("pve2", "unknown")
    assert (status, document["fine"]) == (2, False)


OWN_JSON = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"


@pytest.mark.parametrize("both", [False, True])
def test_a_json_of_its_own(cluster: Cluster, both: bool) -> None:
    """Where a node's assignments are of a JSON of its own, its word counts, not ours."""
    cluster.changed("source", OWN_JSON)
    cluster.changed("containers.0.assigned", "lxc-mine")
    if both:
        cluster.json.unlink()
        cluster.nodes["pve1"].path("/etc/pve/phoenix_lxc_configs.json").unlink()
        cluster.nodes["pve1"].write(OWN_JSON, '{"lxc_configs": {"950": {}}}')
    found = {c["ctid"]: c for c in shown(cluster)[1]["containers"]}
    assert (found["951"]["verdict"], found["951"]["assigned"]) == ("ok", "lxc-mine")
    cluster.age("pve2", 7200)
    found = {c["ctid"]: c for c in shown(cluster)[1]["containers"]}
    assert (found["951"]["verdict"], found["951"]["assigned"]) == ("unknown", None)


def test_metrics_of_the_cluster(cluster: Cluster) -> None:
    cluster.age("pve2", 1900)
    done = cluster.nodes["pve1"].cli("status", "--cluster", "--prometheus")
    text = re.sub(r"(age_seconds\S+ )\d+", r"\1N", done.out).replace(__version__, "VERSION")
    assert_golden("cluster.prom", text)
    assert done.status == 2


def test_a_host_without_proxmox(host: FakeHost) -> None:
    host.path("/etc/pve/lxc").rmdir()
    host.profile(BASE)
    host.assign(c950=BASE)
    host.load(BASE)
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())
    host.running("950", LABEL, 4001)
    done = host.cli("status", "--cluster", "--json")
    assert done.status == 0
    assert verdicts(validated("status", done.out)) == {"950": "ok"}
