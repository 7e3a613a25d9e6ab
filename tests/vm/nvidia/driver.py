"""What stands for NVIDIA's driver and container tools: dummy files, a program."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.vm.harness import cache
from tests.vm.harness.image import command
from tests.vm.harness.machine import Machine

SOURCES = Path(__file__).parent / "src"
# The library that ldconfig is to find.
LIBRARY = "int cuInit(unsigned flags) { return (int)flags; }\n"
# On the host, in place of what a driver has there. (The nodes are /dev/zero and /dev/null.)
FILES = """\
at=/srv/driver
mkdir -p "$at"/proc/nvidia/gpus/0000:01:00.0 "$at"/lib "$at"/firmware "$at"/dev
echo 'ModifyDeviceFiles: 1' >"$at/proc/nvidia/params"
echo 'Model: none' >"$at/proc/nvidia/gpus/0000:01:00.0/information"
printf '#!/bin/sh\\necho "NVIDIA-SMI 550.54"\\n' >"$at/nvidia-smi"
chmod 755 "$at/nvidia-smi"
echo firmware >"$at/firmware/gsp.bin"
mknod -m 666 "$at/dev/nvidia0" c 1 5
mknod -m 666 "$at/dev/nvidiactl" c 1 3
mknod -m 666 "$at/dev/card0" c 1 3
"""
# As an admin mounts a driver's files into a container. (Where a driver is loaded the kernel itself
# shows /proc/driver/nvidia.)
MOUNTS = "".join(
    f"lxc.mount.entry: /srv/driver/{source} {target} none bind,create={kind} 0 0\n"
    for source, target, kind in (
        ("lib", "usr/lib/nvidia", "dir"),
        ("firmware", "usr/lib/firmware/nvidia", "dir"),
        ("nvidia-smi", "usr/bin/nvidia-smi", "file"),
        ("dev/nvidia0", "dev/nvidia0", "file"),
        ("dev/nvidiactl", "dev/nvidiactl", "file"),
        ("dev/card0", "dev/dri/card0", "file"),
    )
) + ("lxc.mount.entry: /srv/driver/proc proc/driver none bind 0 0\n")


def _make(folder: Path) -> None:
    flags = ("-O1", "-Wall", "-Wextra", "-Werror")
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    command("gcc", *flags, "-static", "-o", str(folder / "nvidia-replay"), *sources)
    with tempfile.NamedTemporaryFile("w", suffix=".c") as source:
        source.write(LIBRARY)
        source.flush()
        target = str(folder / "libcuda.so.550.54")
        link = ("-shared", "-nostdlib", "-Wl,-soname,libcuda.so.1")
        command("gcc", *flags, *link, "-o", target, source.name)


def built() -> Path:
    """The folder with nvidia-replay (static) and libcuda.so.550.54."""
    return cache.entry("nvidia", cache.digest(SOURCES, LIBRARY), _make)


def install(vm: Machine) -> None:
    """Puts the driver's files onto the host of the containers."""
    vm.sh(FILES)
    vm.push(built() / "libcuda.so.550.54", "/srv/driver/lib/libcuda.so.550.54")
