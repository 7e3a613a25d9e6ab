"""Draws debian/doc/dashboard.svg: what the Grafana dashboard shows of three nodes.

    /usr/bin/python3 -m tests.package.picture

A real Prometheus scrapes a real node exporter a node, each with our textfile, for two minutes in
which some things go wrong; the nodes are fake hosts, on which the real command line runs.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.build import TREE
from tests.names import BASE, DOCKER
from tests.package.dashboard import Answers, Panel, Series, is_instant, panels, svg
from tests.package.prometheus import asked, exporter, free_port, server, until
from tests.unit import denials_host
from tests.unit.cluster_host import LABEL, Cluster
from tests.unit.fakehost import FakeHost

DASHBOARD = TREE / "debian/monitoring/grafana-dashboard.json"
PICTURE = TREE / "debian/doc/dashboard.svg"
NODES = ("pve1", "pve2", "pve3")
ON = {"950": "pve1", "952": "pve1", "953": "pve2", "954": "pve2", "960": "pve3"}
# Of a container under Proxmox' own profile.
OWN = "lxc-955_</var/lib/lxc>"
SECONDS = 120
TITLE = "The dashboard of phoenix-apparmor, as Prometheus answered its queries"


def main() -> None:
    """Records, and writes the picture."""
    folder = Path(tempfile.mkdtemp(prefix="pa-"))
    try:
        cluster = make(folder)
        ports = {name: free_port() for name in NODES}
        port = free_port()
        with contextlib.ExitStack() as stack:
            for name in NODES:
                stack.enter_context(exporter(ports[name], folder / "text" / name))
            stack.enter_context(server(port, folder, ports))
            begin = play(cluster, folder)
            shown = panels(json.loads(DASHBOARD.read_text()))
            until(lambda: asked(port, "/api/v1/query", query="phoenix_apparmor_fine")["result"])
            span = (begin, time.time())
            PICTURE.write_text(svg(TITLE, shown, answers(port, shown, span), span))
    finally:
        shutil.rmtree(folder)


def make(folder: Path) -> Cluster:
    """Three nodes on which all is well."""
    cluster = Cluster(folder / "c", *NODES)
    cluster.assign(**{f"c{ctid}": (BASE, DOCKER)[int(ctid) % 2 == 0] for ctid in ON})
    for number, (ctid, node) in enumerate(ON.items()):
        profile = (BASE, DOCKER)[int(ctid) % 2 == 0]
        cluster.container(node, ctid, profile)
        cluster.nodes[node].running(ctid, LABEL.replace(BASE, profile), 4001 + number)
    for name, host in cluster.nodes.items():
        (folder / "text" / name).mkdir(parents=True)
        host.write("/proc/stat", f"btime {denials_host.BOOT}\n")
        host.path("/var/log/journal").mkdir(parents=True)
        denies(host, 1)
    return cluster


def denies(host: FakeHost, count: int) -> None:
    """The kernel of a node has refused so much since boot."""
    denials_host.journal(host, [denials_host.mount(OWN, n) for n in range(1, count + 1)])


def play(cluster: Cluster, folder: Path) -> float:
    """Lets things go wrong while the nodes write their metrics; when it began."""
    pve1, pve2, pve3 = (cluster.nodes[name] for name in NODES)
    events: list[tuple[float, Callable[[], object]]] = [
        (25, lambda: pve2.running("953", "unconfined", 4003)),
        (40, lambda: denies(pve1, 30)),
        (55, lambda: pve3.profile(DOCKER, "  # edited, and not loaded")),
        (70, lambda: denies(pve1, 80)),
        (80, lambda: pve1.failed("952")),
        (80, lambda: pve1.path("/proc/net/unix").write_text("")),
        (80, lambda: pve1.running("950", LABEL.replace(BASE, DOCKER), 4001)),
        (95, lambda: cluster.age("pve3", 7200)),
    ]
    begin = time.time()
    silent: set[str] = set()
    while (now := time.time() - begin) < SECONDS:
        while events and events[0][0] <= now:
            events.pop(0)[1]()
            silent = {"pve3"} if now > 95 else silent
        for name in NODES:
            write(cluster.nodes[name], folder / "text" / name / "phoenix-apparmor.prom")
            if name not in silent:
                cluster.publish(name)
        write(pve1, folder / "text/pve1/phoenix-apparmor-cluster.prom", "--cluster")
    return begin


def write(host: FakeHost, file: Path, *more: str) -> None:
    done = host.cli("status", "--prometheus", *more, "--output", str(file))
    assert done.status in (0, 2), done


def answers(port: int, shown: list[Panel], span: tuple[float, float]) -> Answers:
    """What Prometheus says to each query now, or over the time."""
    return {
        panel.title: [
            series(port, target.query, None if is_instant(panel) else span)
            for target in panel.targets
        ]
        for panel in shown
    }


def series(port: int, query: str, span: tuple[float, float] | None) -> list[Series]:
    if span is None:
        found = asked(port, "/api/v1/query", query=query)["result"]
        return [Series(s["metric"], ((s["value"][0], float(s["value"][1])),)) for s in found]
    begin, end = (f"{when:.0f}" for when in span)
    result = asked(port, "/api/v1/query_range", query=query, start=begin, end=end, step="1")
    return [
        Series(s["metric"], tuple((t, float(value)) for t, value in s["values"]))
        for s in result["result"]
    ]


if __name__ == "__main__":
    main()
