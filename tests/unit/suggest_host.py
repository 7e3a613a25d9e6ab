"""Containers for suggest to look at, and what it says of them."""

from pathlib import Path
from typing import Any

from tests.unit.fakehost import FakeHost
from tests.unit.status_host import validated

PVESM = """#!/bin/sh
case $2 in
zfs:*) echo "/rpool/data/${2#zfs:}" ;;
local:*) echo "/var/lib/vz/images/${2#local:}" ;;
*) exit 1 ;;
esac
"""


def suggested(host: FakeHost, *arguments: str) -> dict[str, Any]:
    """CTID -> what suggest --json says of it."""
    done = host.cli("suggest", "--json", *arguments)
    assert done.status == 0, done
    found = validated("suggest", done.out)
    return {entry["ctid"]: entry for entry in found["suggestions"]}


def root_of(host: FakeHost, ctid: str, *names: str) -> Path:
    """A mounted subvolume with these files, below a storage "zfs" that pvesm knows."""
    tool = host.write("/fake/bin/pvesm", PVESM)
    tool.chmod(0o755)
    host.environment["PATH"] = f"{tool.parent}:{host.environment['PATH']}"
    folder = host.path(f"/rpool/data/subvol-{ctid}-disk-0")
    for name in ("etc/os-release", "usr/bin/sh", *names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


def conf(host: FakeHost, ctid: str, *lines: str, unprivileged: bool = True) -> None:
    more = ["unprivileged: 1"] if unprivileged else []
    text = ["arch: amd64", f"hostname: ct{ctid}", f"rootfs: zfs:subvol-{ctid}-disk-0,size=8G"]
    host.conf(ctid, "\n".join([*text, *more, *lines]) + "\n")
