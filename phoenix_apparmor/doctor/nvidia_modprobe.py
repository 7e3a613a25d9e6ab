"""Which command makes an NVIDIA node that is missing on the host.

nvidia-modprobe has an option a kind of node: -c MINOR for /dev/nvidiaMINOR, -u for those of
unified memory, -m for /dev/nvidia-modeset, -f FILE for one of MIG's capabilities, whose file in
/proc/driver/nvidia/capabilities has "DeviceFileMinor: N" (man nvidia-modprobe).
"""

import re
from collections.abc import Iterator

from phoenix_apparmor.host import Host

PROGRAM = "nvidia-modprobe"
# The first GPU, /dev/nvidiactl, and those of unified memory.
USUAL = f"{PROGRAM} -u -c 0"
CAPABILITIES = "/proc/driver/nvidia/capabilities"
GPUS = "/proc/driver/nvidia/gpus"
FOLDER = "/dev/nvidia-caps"
MADE = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
DEPTH = 6


def command(host: Host, node: str) -> str:
    """The command that makes a node, "" where none does: this host has no such device."""
    if node in MADE:
        return USUAL
    if node == "/dev/nvidia-modeset":
        return f"{PROGRAM} -m"
    gpu = re.fullmatch(r"/dev/nvidia(\d+)", node)
    if gpu:
        minors = _gpu_minors(host)
        return "" if minors and gpu[1] not in minors else f"{PROGRAM} -c {gpu[1]}"
    capability = re.fullmatch(r"/dev/nvidia-caps/nvidia-cap(\d+)", node)
    if capability:
        files = [f for f in _files(host, CAPABILITIES) if _minor(host, f) == capability[1]]
        return f"{PROGRAM} -f {files[0]}" if files else ""
    if node.rstrip("/") == FOLDER:
        first = next((f for f in _files(host, CAPABILITIES) if _minor(host, f)), "")
        return f"{PROGRAM} -f {first}" if first else ""
    return ""


def _gpu_minors(host: Host) -> set[str]:
    """Minors of the GPUs that the driver has; empty where it does not say."""
    found = set()
    for name in host.names(GPUS):
        text = _text(host, f"{GPUS}/{name}/information")
        match = re.search(r"^Device Minor:\s*(\d+)\s*$", text, re.MULTILINE)
        if match is None:
            return set()
        found.add(match[1])
    return found


def _files(host: Host, folder: str, depth: int = DEPTH) -> Iterator[str]:
    for name in host.names(folder) if depth else ():
        yield f"{folder}/{name}"
        yield from _files(host, f"{folder}/{name}", depth - 1)


def _minor(host: Host, file: str) -> str:
    match = re.search(r"^DeviceFileMinor:\s*(\d+)\s*$", _text(host, file), re.MULTILINE)
    return match[1] if match else ""


def _text(host: Host, name: str) -> str:
    try:
        return (host.read_if_there(name) or b"").decode("utf-8", "replace")
    except OSError:
        return ""
