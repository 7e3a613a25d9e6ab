"""The attack program: built here without libraries, run as root in a container."""

from __future__ import annotations

from pathlib import Path

from tests.vm.harness import cache
from tests.vm.harness.image import command
from tests.vm.harness.machine import Machine

SOURCES = Path(__file__).parent / "src"
# A profile of its own, which the rows on policy try to load.
POLICY = "profile attack-policy { }"
# /proc and /sys are folders of the root's upper layer, and not of the one below, as on a host whose
# containers have no overlays: those of the lower one cannot be renamed.
OWN_FOLDERS = """\
python3 -c '
import os
for name in ("proc", "sys"):
    path = "{}/" + name
    os.makedirs(path, exist_ok=True)
    os.setxattr(path, "trusted.overlay.opaque", b"y")'"""
# The seconds that all rows may take: each has ten, and nearly all need a fraction of one.
ALL_ROWS = 1200.0


# Rows that a setting of the host decides: as Debian and Proxmox have it, and tried without it too.
# (ptrace_scope decides nothing here: no process of the host has a number in a container.)
SETTINGS = {
    "kernel-log": "kernel.dmesg_restrict=0",
    "kernel-addresses": "kernel.kptr_restrict=0",
    "perf": "kernel.perf_event_paranoid=-1",
    "perf-kernel": "kernel.perf_event_paranoid=-1",
    "bpf-load": "kernel.unprivileged_bpf_disabled=0",
}
SET = (
    "kernel.dmesg_restrict=1 kernel.kptr_restrict=1 kernel.perf_event_paranoid=3 "
    "kernel.unprivileged_bpf_disabled=2"
)
# (The kernel's addresses are for all only if perf is for all.)
UNSET = " ".join(sorted(set(SETTINGS.values())))


def without(name: str) -> str:
    """A row as it is called when its setting is off."""
    return f"{name} ({SETTINGS[name].removeprefix('kernel.')})"


def binary() -> Path:
    """The compiled program, static: it runs in any container."""

    def make(folder: Path) -> None:
        sources = sorted(str(path) for path in SOURCES.glob("*.c"))
        flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
        command("gcc", *flags, "-o", str(folder / "attack"), *sources)

    return cache.entry("attack", cache.digest(SOURCES), make) / "attack"


def push(vm: Machine) -> None:
    """Puts the program and the compiled policy onto the host, for put() to copy."""
    vm.push(binary(), "/root/attack")
    vm.write("/root/attack-policy", POLICY)
    # What an admin shares read-only: anybody may write there, but for that.
    vm.sh("mkdir -p -m 1777 /var/lib/attack-ro; chmod 1777 /var/lib/attack-ro")
    vm.sh("apparmor_parser -QTKS /root/attack-policy >/root/attack.policy")


def put(vm: Machine, ctid: int, *, unprivileged: bool) -> None:
    """Makes /attack and /attack.policy appear in a container that is not running."""
    upper = f"/var/lib/standin/{ctid}/upper"
    owner = 100000 if unprivileged else 0
    vm.sh(
        f"mkdir -p {upper} && {OWN_FOLDERS.format(upper)} "
        f"&& cp /root/attack /root/attack.policy {upper} "
        f"&& chown -R {owner}:{owner} /var/lib/standin/{ctid}"
    )


def results(text: str) -> dict[str, str]:
    """Row -> harm, stopped, or n/a, from what the program printed."""
    lines = [line.split("\t") for line in text.splitlines()]
    return {parts[0]: parts[1] for parts in lines if len(parts) == 3}


def row_names() -> list[str]:
    """Every row of the table: the program's, and those that a setting of the host decides."""
    return [*program_rows(), *map(without, SETTINGS)]


def program_rows() -> list[str]:
    """Every row of the program, in its order."""
    texts = [(SOURCES / name).read_text() for name in ("rows.c", "chains.c")]
    rows = [text.partition("const struct row ")[2] for text in texts]
    return [x.split('"')[1] for text in rows for x in text.splitlines() if x.startswith('\t{"')]
