"""The deeds: scripts in in/ and a program of system calls, done by root in a booted container."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.vm.harness import cache
from tests.vm.harness.image import command
from tests.vm.harness.machine import Machine
from tests.vm.nvidia import driver

HERE = Path(__file__).parent
SCRIPTS = HERE / "in"
CALLS = HERE / "src/calls.c"
# Seconds that all of them may take on a busy emulated machine.
ALL_DEEDS = 2400.0
# What a Proxmox host has loaded for its firewall, bridges and guests; a container cannot.
MODULES = """\
for module in fuse tun binfmt_misc wireguard bridge veth br_netfilter nf_tables nft_compat \
    nft_chain_nat nft_reject nft_reject_inet nft_ct nft_log nft_limit xt_MASQUERADE xt_conntrack \
    xt_addrtype xt_nat xt_tcpudp ip_tables iptable_filter; do modprobe "$module" || true; done
"""


class Done(NamedTuple):
    """How a deed ended: works, fails, or absent (not offered by this kernel or release)."""

    word: str
    milliseconds: int
    said: str


def calls() -> Path:
    """The compiled program of system calls, static."""

    def make(folder: Path) -> None:
        flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-static")
        command("gcc", *flags, "-o", str(folder / "calls"), str(CALLS))

    return cache.entry("calls", cache.digest(CALLS), make) / "calls"


def prepare(vm: Machine) -> None:
    """Makes the host ready. Quiet denies are logged too: they stop people as any other."""
    vm.sh("echo -n noquiet >/sys/module/apparmor/parameters/audit")
    vm.sh(MODULES)
    driver.install(vm)


def put(vm: Machine, ctid: int) -> None:
    """Copies the deeds into a running container: /deeds, /calls, /nvidia-replay."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(SCRIPTS, arcname="deeds")
        archive.add(calls(), arcname="calls")
        archive.add(driver.built() / "nvidia-replay", arcname="nvidia-replay")
    unpack = ("tar", "-x", "-C", "/", "--no-same-owner")
    vm.run("lxc-attach", "-n", str(ctid), "--clear-env", "--", *unpack, stdin=buffer.getvalue())


def do(
    vm: Machine,
    ctid: int,
    files: tuple[str, ...] = (),
    only: str = "",
    live: Callable[[bytes], None] | None = None,
) -> dict[str, Done]:
    """Does the deeds of these files (none named: of all), or only some by name; deed -> result."""
    argv = ["env", f"ONLY={only}", "bash", "/deeds/run", *(f"/deeds/{name}" for name in files)]
    attach = ("lxc-attach", "-n", str(ctid), "--clear-env", "--")
    said = vm.run(*attach, *argv, timeout=ALL_DEEDS, live=live)
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    return {row[0]: Done(row[1], int(row[2]), row[3]) for row in rows if len(row) == 4}


def names(files: tuple[str, ...] = ()) -> list[str]:
    """Every deed of these files (none named: of all), in their order."""
    found = []
    for path in sorted(SCRIPTS.glob("*.sh")):
        if not files or path.name in files:
            lines = path.read_text().splitlines()
            found += [line[5:].partition("()")[0] for line in lines if line.startswith("deed_")]
    return found
