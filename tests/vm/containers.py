"""Containers of the Proxmox stand-in, as tests see them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping

from tests.names import JSON
from tests.vm.harness.channel import Result
from tests.vm.harness.machine import Machine

OUR_HOOKSCRIPT = "local:snippets/phoenix-apparmor.py"
# What a whole start of a container may take on an emulated machine with others beside it, seconds.
START = 240.0

UNITS = "/etc/systemd/system"
# A profile that confines little: for tests of who gets which, cheap to compile.
RULES = (
    "  file,\n  mount,\n  umount,\n  pivot_root,\n  capability,\n  network,\n  signal,\n  ptrace,\n"
)
FLAGS = "attach_disconnected,mediate_deleted"


def conf_path(ctid: int) -> str:
    return f"/etc/pve/lxc/{ctid}.conf"


def create(
    vm: Machine,
    ctid: int,
    *,
    root: str = "busybox",
    unprivileged: bool = True,
    hookscript: str | None = OUR_HOOKSCRIPT,
    more: str = "",
) -> None:
    """A stopped container. root: busybox, or with the big roots trixie or bookworm."""
    lines = ["arch: amd64", f"hostname: ct{ctid}", f"rootfs: standin:{root}"]
    lines += ["ostype: busybox"] if root == "busybox" else []
    lines += ["unprivileged: 1"] if unprivileged else []
    lines += [f"hookscript: {hookscript}"] if hookscript else []
    # As after a rewrite by Proxmox: sorted keys, then what the test adds.
    vm.write(conf_path(ctid), "\n".join(sorted(lines)) + "\n" + more, 0o640)


def assign(vm: Machine, assignments: Mapping[int, str | None]) -> None:
    """Writes the JSON: CTID -> apparmor_profile; None: the container without the key."""
    entries = {
        str(ctid): {"name": f"ct{ctid}"} | ({"apparmor_profile": name} if name else {})
        for ctid, name in assignments.items()
    }
    vm.write(JSON, json.dumps({"lxc_configs": entries}, indent=1), 0o640)


def pct(vm: Machine, *arguments: str | int, check: bool = True) -> Result:
    return vm.run("pct", *map(str, arguments), timeout=START, check=check)


def label(vm: Machine, ctid: int) -> str:
    """What the host's kernel says the container's init is confined by."""
    script = f'cat "/proc/$(lxc-info -n {ctid} -p -H)/attr/current"'
    return vm.sh(script).stdout.strip()


def stacked(label: str, profile: str, ctid: int) -> bool:
    """Whether a label is the profile, stacked on the container's own policy namespace."""
    begin = f"{profile}//&:lxc-{ctid}_<-var-lib-lxc>:"
    return label.startswith(begin) and label.endswith(" (enforce)")


def expect_label(vm: Machine, ctid: int, profile: str) -> None:
    """Fails unless the container runs under the profile, plain or stacked, enforced."""
    found = label(vm, ctid)
    good = found == f"{profile} (enforce)" or stacked(found, profile, ctid)
    assert good, f"CT {ctid} is under {found}, not under {profile}"


def init(vm: Machine, ctid: int) -> int:
    """Process id of the container's init as the host sees it; -1: it does not run."""
    found = vm.sh(f"lxc-info -n {ctid} -p -H", check=False).stdout.strip()
    return int(found) if found else -1


def journal(vm: Machine) -> str:
    """What our package wrote to the journal."""
    return vm.run("journalctl", "-t", "phoenix-apparmor", "-o", "cat", "--no-pager").stdout


def be_patient(vm: Machine) -> None:
    """A host's seconds are minutes on a busy emulated processor: no limit of the units fits."""
    for unit in ("pve-container@", "pve-container-debug@"):
        vm.write(f"{UNITS}/{unit}.service.d/90-slow.conf", "[Service]\nTimeoutStartSec=900\n")
    vm.run("systemctl", "daemon-reload")


@contextlib.contextmanager
def drop_in(vm: Machine, ctid: int, *lines: str) -> Iterator[None]:
    """The lines in the [Service] of a container's unit, behind ours and all others."""
    folder = f"{UNITS}/pve-container@{ctid}.service.d"
    vm.write(f"{folder}/99-test.conf", "\n".join(("[Service]", *lines, "")))
    vm.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        vm.sh(f"rm -r {folder}; systemctl daemon-reload")


def wait_until(happened: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """otherwise: what an AssertionError says when it has not happened after 20 minutes."""
    end = time.monotonic() + 1200
    while not happened():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.5)


def write_profile(vm: Machine, name: str, flags: str = FLAGS, rules: str = RULES) -> None:
    text = f"abi <abi/3.0>,\nprofile {name} flags=({flags}) {{\n{rules}}}\n"
    vm.write(f"/etc/apparmor.d/{name}", text)
