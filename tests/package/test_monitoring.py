"""The examples for monitoring, judged by Prometheus' own programs with what status writes."""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.build import TREE
from tests.names import BASE, DOCKER
from tests.package import picture
from tests.package.dashboard import panels, svg
from tests.package.prometheus import RULES, asked, exporter, free_port, server, until
from tests.unit import denials_host
from tests.unit.cluster_host import LABEL, Cluster
from tests.unit.fakehost import FakeHost
from tests.unit.status_host import mixed_host, quiet_host

pytestmark = pytest.mark.slow

EXAMPLES = TREE / "debian/monitoring"
DASHBOARD = picture.DASHBOARD
SHOWN = panels(json.loads(DASHBOARD.read_text()))
SAMPLE = re.compile(r"(phoenix_apparmor_\w+(?:\{.*\})?) (\S+)")


@pytest.fixture
def host() -> Iterator[FakeHost]:
    root = Path(tempfile.mkdtemp(prefix="pa-", dir="/tmp"))
    yield FakeHost(root)
    shutil.rmtree(root)


def written(host: FakeHost, *arguments: str) -> str:
    """What status writes for Prometheus, promtool's check of the format passed."""
    done = host.cli("status", "--prometheus", *arguments)
    assert done.status in (0, 2) and done.err == ""
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=done.out, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    return done.out


def series(text: str, values: str = "{}+0x120") -> list[dict[str, str]]:
    """promtool's input: each sample of a scrape of pve1, for two hours."""
    found = []
    for line in text.splitlines():
        match = SAMPLE.fullmatch(line)
        if match:
            name, brace, labels = match[1].partition("{")
            more = 'instance="pve1:9100",job="node"' + ("," if brace else "}")
            found.append({"series": f"{name}{{{more}{labels}", "values": values.format(match[2])})
    return found


def promtool(folder: Path, tests: Sequence[dict[str, Any]]) -> None:
    """Runs unit tests of the rules. A JSON document is YAML."""
    file = folder / "tests.yml"
    rules = {"rule_files": [str(RULES)], "evaluation_interval": "1m"}
    file.write_text(json.dumps({**rules, "tests": [{"interval": "1m", **t} for t in tests]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def firing(alert: str, when: str, *labels: str) -> dict[str, Any]:
    """What must fire of an alert: its labels beside the alert's own; nothing: it is quiet."""
    alerts = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    query = f"count by (ctid, profile, node, instance) ({alerts})"
    samples = [{"labels": f"{{{one}}}", "value": 1} for one in labels]
    return {"expr": query, "eval_time": when, "exp_samples": samples}


PVE1 = 'instance="pve1:9100"'


def off(*ctids: str) -> list[str]:
    return [f'ctid="{ctid}",{PVE1}' for ctid in ctids]


def profiles(*names: str) -> list[str]:
    return [f'profile="{name}",{PVE1}' for name in names]


def test_rules_pass_promtools_check() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", str(RULES)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_that_can_be_off_is_told(host: FakeHost, tmp_path: Path) -> None:
    mixed_host(host)
    tests = [
        firing("ContainerUnconfined", "1h", *off("956")),
        firing("ContainerRunsUnderLess", "1h", *off("951", "956", "957")),
        firing("ContainerRunsUnderLess", "5m"),
        firing("ContainerStartRefused", "1h", *off("953", "954", "958", "961")),
        firing("ProfileDiffersFromItsFile", "1h", *profiles("lxc-nowhere", DOCKER)),
        firing("ProfileDoesNotEnforce", "1h", *profiles("lxc-mine")),
        firing("NodeSilent", "1h"),
        firing("DenialsRise", "1h"),
    ]
    told = {
        "exp_labels": {
            "severity": "critical", "ctid": "956", "name": "escaped", "instance": "pve1:9100",
            "job": "node",
        },
        "exp_annotations": {
            "summary": "CT 956 (escaped) on pve1:9100 runs without being confined",
            "description": "phoenix-apparmor status 956; pct reboot 956",
        },
    }  # fmt: skip
    alert = {"eval_time": "1h", "alertname": "ContainerUnconfined", "exp_alerts": [told]}
    promtool(
        tmp_path,
        [{"input_series": series(written(host)), "promql_expr_test": tests,
          "alert_rule_test": [alert]}],
    )  # fmt: skip


def test_where_all_is_well_nothing_is_told(host: FakeHost, tmp_path: Path) -> None:
    quiet_host(host)
    every = 'count by (alertname) (ALERTS{alertstate=~"firing|pending"})'
    nothing = {"expr": every, "eval_time": "2h", "exp_samples": []}
    fresh = {
        "series": f'node_textfile_mtime_seconds{{file="/x/phoenix-apparmor.prom",{PVE1}}}',
        "values": "0+60x120",
    }
    given = [*series(written(host)), fresh]
    promtool(tmp_path, [{"input_series": given, "promql_expr_test": [nothing]}])


@pytest.mark.parametrize("file", ["phoenix-apparmor", "phoenix-apparmor-cluster"])
def test_a_node_that_says_nothing_is_told(host: FakeHost, tmp_path: Path, file: str) -> None:
    """Its file is not written any more, or it cannot be scraped; one that never had it is quiet."""
    quiet_host(host)
    mtime = f'node_textfile_mtime_seconds{{file="/x/{file}.prom",{PVE1}}}'
    old = [*series(written(host)), {"series": mtime, "values": "0+0x120"}]
    # scraped for half an hour, then gone
    gone = series(written(host), "{}+0x30 stale")
    up = [{"series": f'up{{{PVE1},job="node"}}', "values": "1+0x30 0+0x90"},
          {"series": 'up{instance="other",job="node"}', "values": "0+0x120"}]  # fmt: skip
    tests = [firing("NodeSilent", "1h", PVE1), firing("NodeSilent", "20m")]
    promtool(
        tmp_path,
        [{"input_series": old, "promql_expr_test": tests},
         {"input_series": [*gone, *up], "promql_expr_test": tests}],
    )  # fmt: skip


def test_rising_denials_are_told(host: FakeHost, tmp_path: Path) -> None:
    """Ten a minute are told, one a minute is not, nor a high count that stays."""
    with_denials(host, 3)
    text = written(host)
    tests = []
    told = f'ctid="955",profile="{OWN}",{PVE1}'
    cases: list[tuple[str, list[str]]] = [
        ("0+10x120", [told]), ("0+1x120", []), ("5000+0x120", []),
    ]  # fmt: skip
    for values, labels in cases:
        given = [s for s in series(text, values) if "_denials{" in s["series"]]
        assert given
        tests.append({"input_series": given,
                      "promql_expr_test": [firing("DenialsRise", "1h", *labels)]})  # fmt: skip
    promtool(tmp_path, tests)


OWN = "lxc-955_</var/lib/lxc>"


def with_denials(host: FakeHost, count: int) -> None:
    if not host.path("/proc/stat").exists():
        quiet_host(host)
        host.write("/proc/stat", f"btime {denials_host.BOOT}\n")
        host.path("/var/log/journal").mkdir(parents=True)
    denials_host.journal(host, [denials_host.mount(OWN, n) for n in range(1, count + 1)])


def cluster_of(folder: Path) -> Cluster:
    """Two nodes; pve2 is silent, and its base profile has another text."""
    cluster = Cluster(folder / "cluster", "pve1", "pve2", "pve3")
    cluster.assign(c950=BASE, c951=BASE)
    cluster.container("pve1", "950", BASE)
    cluster.container("pve2", "951", BASE)
    cluster.nodes["pve1"].running("950", LABEL, 4001)
    cluster.nodes["pve3"].profile(BASE, "  # other")
    cluster.nodes["pve3"].load(BASE)
    cluster.publish("pve2", "pve3")
    cluster.age("pve2", 7200)
    cluster.changed("trouble", [["its JSON cannot be used.", ""]], "pve3")
    return cluster


def test_the_cluster_is_told(host: FakeHost, tmp_path: Path) -> None:
    text = written(cluster_of(host.root).nodes["pve1"], "--cluster")
    tests = [
        firing("ClusterNodeUnknown", "1h", f'node="pve2",{PVE1}'),
        firing("ClusterProfilesDiffer", "2h", *profiles(BASE)),
        firing("ClusterNodeTrouble", "1h", f'node="pve3",{PVE1}'),
    ]
    promtool(tmp_path, [{"input_series": series(text), "promql_expr_test": tests}])


def queries() -> list[tuple[str, str]]:
    """(title, query) of every panel, as Grafana sends it with all nodes chosen."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = [(panel.title, target.query) for panel in SHOWN for target in panel.targets]
    (instance,) = (v for v in dashboard["templating"]["list"] if v["name"] == "instance")
    metric = re.fullmatch(r"label_values\((\w+), instance\)", instance["query"])
    assert metric
    return [*found, ("instance", metric[1])]


def test_every_query_of_the_dashboard_has_an_answer(host: FakeHost, tmp_path: Path) -> None:
    """By a real Prometheus that scrapes a real node exporter, which reads what status wrote."""
    folder = tmp_path / "textfiles"
    folder.mkdir()
    mixed_host(host)
    host.write("/proc/stat", f"btime {denials_host.BOOT}\n")
    host.path("/var/log/journal").mkdir(parents=True)
    with_denials(host, 3)
    outputs = ["--output", str(folder / "phoenix-apparmor.prom")]
    assert host.cli("status", "--prometheus", *outputs).status == 2
    one = cluster_of(tmp_path).nodes["pve1"]
    more = ["--cluster", "--output", str(folder / "phoenix-apparmor-cluster.prom")]
    assert one.cli("status", "--prometheus", *more).status == 2
    port, exporters = free_port(), {"pve1": free_port()}
    with exporter(exporters["pve1"], folder), server(port, tmp_path, exporters):
        until(lambda: asked(port, "/api/v1/query", query="phoenix_apparmor_fine")["result"])
        with_denials(host, 9)
        assert host.cli("status", "--prometheus", *outputs).status == 2
        until(lambda: [q for q in queries() if not answer(port, q[1])] == [])
        for title, query in queries():
            assert answer(port, query), title
        assert value(port, dict(queries())["Not confined"]) == 1
        assert value(port, dict(queries())["Cannot start"]) == 4
        groups = asked(port, "/api/v1/rules")["groups"]
        health = {rule["name"]: rule["health"] for g in groups for rule in g["rules"]}
        assert len(health) == 10 and set(health.values()) == {"ok"}
        assert answer(port, "phoenix_apparmor_nonexistent") == []
        words = ("escaped", "drift", "CT 955", "pve2")
        # A range's last step is up to a second before the moment that the queries above saw.
        until(lambda: [word for word in words if word not in drawn(port)] == [])
        check_picture(drawn(port), *words)


def drawn(port: int) -> str:
    """The dashboard's picture of the last 20 seconds."""
    return svg("x", SHOWN, picture.answers(port, SHOWN, (time.time() - 20, time.time())), (0, 1))


def check_picture(text: str, *words: str) -> None:
    """It is SVG, shows every panel of the dashboard, and these words."""
    said = "\n".join(ET.fromstring(text).itertext())
    assert [panel.title for panel in SHOWN if panel.title not in said] == []
    assert [word for word in words if word not in said] == []


def test_the_picture_in_the_docs_is_of_this_dashboard() -> None:
    """tests/package/picture.py draws it; a panel that is new or called otherwise is not there."""
    check_picture(picture.PICTURE.read_text(), "refused", "drift", "pve3", BASE)


def answer(port: int, query: str) -> list[Any]:
    found: list[Any] = asked(port, "/api/v1/query", query=query)["result"]
    return found


def value(port: int, query: str) -> float:
    ((_, text),) = (sample["value"] for sample in answer(port, query))
    return float(text)
