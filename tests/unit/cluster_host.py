"""Nodes of a cluster: fake hosts whose /etc/pve show one folder, as pmxcfs does."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost
from tests.unit.status_host import LINE, validated

LABEL = f"{BASE} (enforce)"
NAMES = ("pve1", "pve2", "pve3")


class Cluster:
    """nodes: name -> its host; shared: what they all see of /etc/pve."""

    def __init__(self, folder: Path, *names: str, like: Path | None = None) -> None:
        """like: the folder of another cluster, of which this one is a copy."""
        self.folder = folder
        self.shared = folder / "pve"
        self.json = self.shared / "phoenix_lxc_configs.json"
        if like is not None:
            self.nodes = {name: FakeHost(folder / name) for name in names}
            shutil.rmtree(folder)
            shutil.copytree(like, folder, symlinks=True)
            return
        (self.shared / "nodes").mkdir(parents=True)
        self.nodes = {}
        for name in names:
            self.nodes[name] = self._node(folder / name, name)
        self.online(*names)

    def _node(self, root: Path, name: str) -> FakeHost:
        host = FakeHost(root)
        (self.shared / "nodes" / name / "lxc").mkdir(parents=True)
        (self.shared / "nodes" / name / "priv").mkdir()
        host.path("/etc/pve/lxc").rmdir()
        host.path("/etc/pve/lxc").symlink_to(f"nodes/{name}/lxc")
        host.path("/etc/pve/nodes").symlink_to("../../../pve/nodes")
        json_name = "phoenix_lxc_configs.json"
        host.path(f"/etc/pve/{json_name}").symlink_to(f"../../../pve/{json_name}")
        host.proxmox()
        host.write("/proc/sys/kernel/osrelease", "6.8.12-4-pve\n")
        host.write("/proc/net/unix", "")
        if self.nodes:
            first = next(iter(self.nodes.values()))
            for tree in ("etc/apparmor.d", "sys"):
                shutil.copytree(first.root / tree, root / tree, dirs_exist_ok=True)
            return host
        for profile in (BASE, DOCKER):
            host.profile(profile)
        host.load(BASE, DOCKER)
        return host

    def online(self, *names: str, quorate: int = 1) -> None:
        """What corosync sees, told by each node's own /etc/pve/.members."""
        nodes = {name: {"id": n, "online": int(name in names)} for n, name in enumerate(self.nodes)}
        for name, host in self.nodes.items():
            cluster = {"name": "c", "nodes": len(nodes), "quorate": quorate}
            members = {"nodename": name, "version": 3, "nodelist": nodes, "cluster": cluster}
            host.write("/etc/pve/.members", json.dumps(members))

    def assign(self, **profiles: str) -> None:
        entries = {k[1:]: {"apparmor_profile": v} for k, v in profiles.items()}
        self.json.write_text(json.dumps({"lxc_configs": entries}))
        self.json.chmod(0o640)

    def container(self, node: str, ctid: str, profile: str | None, more: str = "") -> None:
        text = f"arch: amd64\nhostname: ct{ctid}\nunprivileged: 1\n{more}"
        text += f"{LINE}{profile}\n" if profile else ""
        self.nodes[node].conf(ctid, text)

    def publish(self, *names: str) -> None:
        for name in names or self.nodes:
            self.allow(name)
            done = self.nodes[name].cli("publish")
            assert (done.status, done.err) == (0, ""), done

    def report(self, node: str) -> Path:
        return self.shared / "nodes" / node / "priv/phoenix-apparmor.json"

    def said(self, node: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report(node).read_bytes())
        return found

    def allow(self, node: str, seconds: int = 3600) -> None:
        """Lets a node's report have been written so long ago, by its own word."""
        if self.report(node).exists():
            first, second, rest = self.report(node).read_text().split("\n", 2)
            written = int(second.removeprefix('"written":').removesuffix(",")) - seconds
            self.report(node).write_text(f'{first}\n"written":{written},\n{rest}')

    def age(self, node: str, seconds: float) -> None:
        """Lets a node have looked for the last time so long ago (below 0: in time to come)."""
        seen = time.time() - seconds
        os.utime(self.report(node), (seen, seen))

    def changed(self, key: str, value: Any, node: str = "pve2") -> None:
        """A node's report with something else at a place like "containers.0.ctid"."""
        self.report(node).write_text(json.dumps(with_other(self.said(node), key, value)))


def well(folder: Path) -> Cluster:
    """Three nodes on which all is well; pve1, on which status is asked, does not publish."""
    cluster = Cluster(folder, *NAMES)
    cluster.assign(c950=BASE, c951=BASE, c960=DOCKER, c970=BASE)
    cluster.container("pve1", "950", BASE)
    cluster.container("pve2", "951", BASE)
    cluster.container("pve2", "960", DOCKER)
    cluster.container("pve3", "970", BASE)
    cluster.container("pve3", "100", None)
    cluster.nodes["pve1"].running("950", LABEL, 4001)
    cluster.nodes["pve2"].running("951", LABEL, 4002)
    cluster.nodes["pve3"].running("970", LABEL, 4003)
    cluster.publish("pve2", "pve3")
    return cluster


ALL_WELL = {"100": "not managed", "950": "ok", "951": "ok", "960": "down", "970": "ok"}


def with_other(said: Any, key: str, value: Any) -> Any:
    """A document with something else at a place like "containers.0.ctid"."""
    *way, last = key.split(".")
    at: Any = said
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    at[int(last) if last.isdigit() else last] = value
    return said


def shown(cluster: Cluster, *arguments: str, node: str = "pve1") -> tuple[int, Any]:
    """(exit status, document) of status --cluster --json."""
    done = cluster.nodes[node].cli("status", "--cluster", "--json", *arguments)
    assert "Traceback" not in done.err
    return done.status, validated("status", done.out)


def verdicts(document: Any) -> dict[str, str]:
    return {c["ctid"]: c["verdict"] for c in document["containers"]}


def node(document: Any, name: str) -> dict[str, Any]:
    """A node of a document."""
    (found,) = (n for n in document["cluster"]["nodes"] if n["name"] == name)
    return dict(found)
