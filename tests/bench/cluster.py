"""status --cluster on 32 nodes with 1,000 containers: seconds and memory.

    /usr/bin/python3 -m tests.bench.cluster [NODES CONTAINERS]

On a fake host: what stands for apparmor_parser only reads the profile, so the time of compiling (a
sixth of a second for each of our two) comes on top.
"""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from phoenix_apparmor.cluster import node_report
from phoenix_apparmor.status.report import Container
from tests.names import BASE, DOCKER
from tests.unit.cluster_host import LABEL, Cluster
from tests.unit.fakehost import PYTHON, REPO

PROGRAM = """
import resource, sys
from phoenix_apparmor.cli import main
status = main(sys.argv[1:])
own, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
seconds = [used.ru_utime + used.ru_stime for used in (own, others)]
sys.stderr.write(f"{own.ru_maxrss / 1024} {seconds[0]} {seconds[1]}")
"""
ROUNDS = 5


def make(folder: Path, nodes: int, containers: int) -> Cluster:
    """A cluster; the first node has what it has for real, the others have published it."""
    names = [f"pve{n}" for n in range(1, nodes + 1)]
    cluster = Cluster(folder / "c", names[0])
    ctids = [str(1000 + n) for n in range(containers)]
    cluster.assign(**{f"c{ctid}": (BASE, DOCKER)[n % 2] for n, ctid in enumerate(ctids)})
    first = cluster.nodes[names[0]]
    cluster.publish(names[0])
    mine = node_report.decode(cluster.report(names[0]).read_bytes(), names[0])
    for number, name in enumerate(names):
        (cluster.shared / "nodes" / name / "lxc").mkdir(parents=True, exist_ok=True)
        (cluster.shared / "nodes" / name / "priv").mkdir(exist_ok=True)
        said = []
        for ctid in ctids[number::nodes]:
            profile = (BASE, DOCKER)[ctids.index(ctid) % 2]
            text = f"arch: amd64\nhostname: ct{ctid}\nmemory: 4096\nunprivileged: 1\n" + (
                "#a line of notes\n" * 10 + f"lxc.apparmor.profile: {profile}\n"
            )
            (cluster.shared / "nodes" / name / "lxc" / f"{ctid}.conf").write_text(text)
            shown = LABEL.replace(BASE, profile)
            said.append(Container(ctid, f"ct{ctid}", "", profile, profile, True, shown, "ok"))
            if number == 0:
                first.running(ctid, shown, int(ctid) + 4000)
        report = replace(mine, node=name, containers=tuple(said))
        cluster.report(name).write_bytes(node_report.encode(report))
    members = {"nodename": names[0], "cluster": {"quorate": 1},
               "nodelist": {name: {"online": 1} for name in names}}  # fmt: skip
    first.write("/etc/pve/.members", json.dumps(members))
    assert first.cli("apply", "--all").status == 0, "which also makes the copy of the JSON"
    return cluster


def main() -> None:
    """Prints the quickest of some rounds."""
    nodes, containers = map(int, sys.argv[1:3] or ("32", "1000"))
    folder = Path(tempfile.mkdtemp(prefix="pa-"))
    try:
        cluster = make(folder, nodes, containers)
        host = cluster.nodes["pve1"]
        sizes = [cluster.report(name).stat().st_size for name in ("pve1", f"pve{nodes}")]
        arguments = ["--root", str(host.root), "status", "--cluster"]
        best = 1e9
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            done = host.execute([PYTHON, "-c", PROGRAM, *arguments], {"PYTHONPATH": str(REPO)})
            best = min(best, time.perf_counter() - begin)
            assert done.status == 0, done
            assert f"{containers} containers: {containers} ok." in done.out, done.out[-500:]
        memory, own, others = map(float, done.err.split())
        print(f"{nodes} nodes, {containers} containers, {max(sizes)} bytes a report: "
              f"{best:.2f} s; of the processor {own:.2f} s, and {others:.2f} s for what it "
              f"runs (lxc-info, the parser); {memory:.0f} MiB")  # fmt: skip
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
