"""status on real containers and a real kernel; the metrics' timer."""

from __future__ import annotations

import json
from typing import Any

from tests.names import BASE, DOCKER
from tests.vm.containers import assign, create, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROGRAMS

ONLY_SUITES = PROGRAMS
METRICS = "phoenix-apparmor-metrics"
FOLDER = "/var/lib/prometheus/node-exporter"


def status(vm: Machine) -> dict[str, Any]:
    out = vm.run("phoenix-apparmor", "status", "--json", check=False).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def verdicts(vm: Machine) -> dict[str, str]:
    return {c["ctid"]: c["verdict"] for c in status(vm)["containers"]}


def test_verdicts_follow_what_happens(fresh_vm: Machine) -> None:
    vm = fresh_vm
    for ctid in (950, 952, 955):
        create(vm, ctid)
    # 957 without the hookscript: its start gets as far as the unit, whose drop-in refuses it
    create(vm, 957, hookscript=None)
    create(vm, 100, hookscript=None)
    assign(vm, {950: None, 952: DOCKER, 955: "unconfined", 957: BASE})
    vm.run("phoenix-apparmor", "apply", "--all")
    down = {"100": "not managed", "950": "down", "952": "down", "955": "down", "957": "down"}
    assert verdicts(vm) == down
    for ctid in (950, 952, 955):
        pct(vm, "start", ctid)
    shown = json.loads(vm.run("phoenix-apparmor", "status", "--json").stdout)  # exit status 0
    found = {c["ctid"]: c["verdict"] for c in shown["containers"]}
    assert found == down | {"950": "ok", "952": "ok", "955": "ok"}
    states = [(p["name"], p["conffile"], p["mode"], p["text"]) for p in shown["profiles"]]
    assert states == [(name, "as shipped", "enforce", "same") for name in (BASE, DOCKER)]
    # the JSON changes under running containers
    assign(vm, {950: DOCKER, 952: DOCKER, 955: BASE, 957: "lxc-not-there"})
    assert pct(vm, "start", 957, check=False).rc != 0
    assert verdicts(vm) == down | {
        "950": "restart pending", "952": "ok", "955": "restart pending", "957": "refused",
    }  # fmt: skip
    assign(vm, {950: DOCKER, 952: DOCKER, 955: BASE, 957: BASE})
    # now nothing but the failed unit tells of it
    assert verdicts(vm)["957"] == "refused"
    pct(vm, "start", 957)
    assert verdicts(vm)["957"] == "ok"


def test_metrics_timer_is_shipped_and_off(vm: Machine) -> None:
    assert vm.run("systemctl", "is-enabled", f"{METRICS}.timer", check=False).stdout == "disabled\n"
    assert vm.run("systemctl", "is-active", f"{METRICS}.timer", check=False).stdout == "inactive\n"
    vm.run("systemctl", "start", f"{METRICS}.service")
    assert vm.run("test", "-e", FOLDER, check=False).rc == 1  # no node exporter, nothing done
    vm.run("mkdir", "-p", FOLDER)
    create(vm, 960)
    assign(vm, {960: "lxc-not-there"})
    vm.run("systemctl", "start", f"{METRICS}.service", timeout=300)  # although something is off
    text = vm.read(f"{FOLDER}/phoenix-apparmor.prom")
    assert 'phoenix_apparmor_containers{verdict="refused"} 1\n' in text
    assert f'phoenix_apparmor_profile_current{{profile="{BASE}"}} 1\n' in text
    assert "# TYPE phoenix_apparmor_denials gauge\n" in text
    assert vm.run("ls", FOLDER).stdout == "phoenix-apparmor.prom\n"
    vm.run("systemctl", "enable", "--now", f"{METRICS}.timer")
    assert "phoenix-apparmor-metrics" in vm.run("systemctl", "list-timers").stdout
