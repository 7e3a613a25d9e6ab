"""tests/demo: four containers of an example JSON start in a throw-away VM, as on Proxmox."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.build import built_deb
from tests.names import BASE, DOCKER, JSON
from tests.vm.containers import assign, conf_path, create, init, label, pct, stacked
from tests.vm.harness.docker_root import docker_root
from tests.vm.harness.errors import VmError
from tests.vm.harness.machine import Machine, booted
from tests.vm.harness.prepared import install, install_proxmox
from tests.vm.walk import PLAIN, WITH_DOCKER, Scene, unconfined, walk

SUITE = "trixie"
BAD = "lxc_phoenix_v1"
ASSIGNED = {950: None, 952: DOCKER, 955: "unconfined", 960: BAD}

BEGAN = time.monotonic()


class Row(NamedTuple):
    """What became of one container; log: what its refused start said."""

    ctid: int
    assigned: str
    enforced: str
    log: str
    right: bool


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:3.0f} s] {text}", flush=True)


def main() -> int:
    # Docker's container takes two minutes more: to install, to start, and to run at each step.
    scene = WITH_DOCKER if sys.argv[1:] == ["--docker"] else PLAIN
    say("Building the Debian package")
    deb = built_deb()
    say(f"Starting a throw-away virtual machine: Debian {SUITE} with a real kernel, AppArmor, LXC")
    say("(made once, in about two minutes, and kept for the next time)")
    try:
        # A download and a file system: beside the boot it takes no time of its own.
        with ThreadPoolExecutor(max_workers=1) as beside:
            root = beside.submit(docker_root) if scene is WITH_DOCKER else None
            snapshot = booted(SUITE)
            with Machine.resume(snapshot, root.result() if root else None) as vm:
                return show(vm, deb.name, lambda: install(vm, deb), scene)
    except VmError as error:
        print(error, file=sys.stderr)
        return 1


def show(vm: Machine, deb: str, install_package: Callable[[], str], scene: Scene) -> int:
    say("Making it look like a Proxmox host: pct, /etc/pve, the units of containers")
    install_proxmox(vm)
    say(f"apt-get install {deb}")
    printed = install_package()
    for line in printed.splitlines():
        if "lxc-nvidia-gpu" in line:
            print(f"        {line}")
    for ctid in ASSIGNED:
        create(vm, ctid)
    assign(vm, ASSIGNED)
    print("        /etc/pve/phoenix_lxc_configs.json of that host:")
    print("".join(f"        {line}\n" for line in vm.read(JSON).splitlines()), end="")
    rows = [start(vm, ctid, assigned) for ctid, assigned in ASSIGNED.items()]
    print(report(rows))
    say("Second act: from unconfined to confined, a container that nobody dared to confine")
    unconfined(vm, scene)
    walk(vm, lambda line: print(f"        {line}", flush=True), scene)
    say("Done")
    print(WALKED)
    if scene is PLAIN:
        print("The same with a container that runs Docker: ./tests/demo --docker")
    wrong = [str(row.ctid) for row in rows if not row.right]
    if wrong:
        print(f"That is not right: CT {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def start(vm: Machine, ctid: int, assigned: str | None) -> Row:
    say(f"pct start {ctid}")
    started = pct(vm, "start", ctid, check=False)
    name = assigned or "(absent)"
    if started.rc:
        log = f"{started.stdout}{started.stderr}".strip()
        refused = init(vm, ctid) == -1 and "lxc.apparmor" not in vm.read(conf_path(ctid))
        return Row(ctid, name, "- not started", log, refused and assigned == BAD and BAD in log)
    enforced = label(vm, ctid)
    right = {
        None: enforced == f"{BASE} (enforce)",
        DOCKER: stacked(enforced, DOCKER, ctid),
        "unconfined": enforced.startswith(f"lxc-{ctid}_</var/lib/lxc>"),
    }
    return Row(ctid, name, enforced, "", right.get(assigned, False))


def report(rows: list[Row]) -> str:
    widths = (11, max(len(row.assigned) for row in rows) + 2)
    table = [("CONTAINER", "ASSIGNED", "ENFORCED BY THE KERNEL (label of the container's init)")]
    table += [(str(row.ctid), row.assigned, row.enforced) for row in rows]
    lines = [f"{a:<{widths[0]}}{b:<{widths[1]}}{c}" for a, b, c in table]
    logs = [f"What the refused start of {row.ctid} said in its task log:\n{indent(row.log)}"
            for row in rows if row.log]  # fmt: skip
    return "\n" + "\n".join(lines) + "\n\n" + "\n".join(logs) + "\n\n" + EXPLANATION


def indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


EXPLANATION = f"""\
Nobody edited the containers' configuration: at each start the hookscript read the JSON, put the
AppArmor line into CTID.conf and into what LXC reads, and made sure that the profile is loaded.
950 has no apparmor_profile and got the default, {BASE}. 952 runs Docker's profile,
stacked (//&) on a policy namespace of its own so that Docker inside can load its own. 955 says
"unconfined", which on Proxmox is Proxmox's own generated profile. 960 names no usable profile: it
does not start, rather than start with less.
"""


WALKED = """
The container did its work at each step. In the trial the profile refused nothing but
what would reach the host, and the kernel logged what it would have refused; allow made a rule of
that for this container alone, and the profile is enforced now.
"""

if __name__ == "__main__":
    sys.exit(main())
