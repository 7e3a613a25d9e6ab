"""What a node publishes, by the real units: a start and a stop are told, a second node is read."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.names import BASE
from tests.vm.containers import assign, create, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import USER_MODE_12

# Seen on both; what it asks of systemd and of us is the same on each.
ONLY_SUITES = (USER_MODE_12,)
PUBLISH = "phoenix-apparmor-publish"
MEMBERS = {
    "nodename": "node",
    "version": 2,
    "cluster": {"name": "c", "version": 2, "nodes": 2, "quorate": 1},
    "nodelist": {"node": {"id": 1, "online": 1}, "other": {"id": 2, "online": 1}},
}
# Ten seconds until containers have settled, and the profiles compiled on an emulated processor.
LONGEST = 2000.0


def path(node: str) -> str:
    return f"/etc/pve/nodes/{node}/priv/phoenix-apparmor.json"


def said(vm: Machine) -> dict[str, Any]:
    """CTID -> container, as this node published it; {} while it has not."""
    text = vm.run("cat", path("node"), check=False).stdout
    return {c["ctid"]: c for c in json.loads(text)["containers"]} if text else {}


def wait_until(vm: Machine, ctid: str, running: bool) -> dict[str, Any]:
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        found = said(vm).get(ctid)
        if found and (found["running"], found["label"] is not None) == (running, running):
            return dict(found)
        time.sleep(2)
    log = vm.run("journalctl", "-u", PUBLISH, "-n", "30", "--no-pager").stdout
    raise AssertionError(f"not published: {said(vm)}\n{log}")


def test_starts_and_stops_are_published(fresh_vm: Machine) -> None:
    vm = fresh_vm
    for unit in ("path", "timer"):
        assert vm.run("systemctl", "is-enabled", f"{PUBLISH}.{unit}").stdout == "enabled\n"
        assert vm.run("systemctl", "is-active", f"{PUBLISH}.{unit}").stdout == "active\n"
    create(vm, 950)
    assign(vm, {950: BASE, 960: BASE})
    # without pmxcfs nothing is written
    vm.run("systemctl", "start", f"{PUBLISH}.service")
    assert said(vm) == {}
    vm.write("/etc/pve/.members", json.dumps(MEMBERS))
    pct(vm, "start", 950)
    found = wait_until(vm, "950", running=True)
    assert (found["label"], found["verdict"]) == (label(vm, 950), "ok")
    assert vm.run("stat", "-c", "%a %U", path("node")).stdout == "600 root\n"
    assert vm.run("systemctl", "is-failed", f"{PUBLISH}.path", check=False).stdout == "active\n"
    second_node(vm)
    # as if the minute had passed
    vm.sh(f'sed -i \'s/^"written":.*/"written":1000000000,/\' {path("node")}')
    pct(vm, "stop", 950)
    assert wait_until(vm, "950", running=False)["label"] is None


def second_node(vm: Machine) -> None:
    """Another node's file and container beside ours: shown with what it says."""
    vm.sh("mkdir -p /etc/pve/nodes/other/lxc /etc/pve/nodes/other/priv")
    line = f"lxc.apparmor.profile: {BASE}\n"
    vm.write("/etc/pve/nodes/other/lxc/960.conf", f"hostname: there\nunprivileged: 1\n{line}")
    vm.sh(
        f'sed \'s/"node":"node"/"node":"other"/; s/"ctid":"950"/"ctid":"960"/\' '
        f"{path('node')} >{path('other')}"
    )
    done = vm.run("phoenix-apparmor", "status", "--cluster", "--json", check=False, timeout=120)
    document = json.loads(done.stdout)
    found = {c["ctid"]: (c["node"], c["label"], c["verdict"]) for c in document["containers"]}
    assert found["960"] == ("other", label(vm, 950), "ok")
    assert found["950"][0] is None and found["950"][2] == "ok"
    assert [n["state"] for n in document["cluster"]["nodes"]] == ["this node", "fresh"]
    assert document["cluster"]["different"] == []
    done = vm.run("phoenix-apparmor", "status", "--cluster", "960", "--json", check=False)
    (move,) = json.loads(done.stdout)["cluster"]["moves"]
    assert {a["node"]: a["can"] for a in move["nodes"]} == {"node": True, "other": True}
