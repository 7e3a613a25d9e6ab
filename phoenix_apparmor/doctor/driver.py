"""Check of NVIDIA's driver: the kernel module of the host against the libraries in containers.

A container has the user part of the driver (libcuda, libnvidia-ml) in its own files, and it works
with just the version of the host's kernel module. After a driver's upgrade on one side it says
"Failed to initialize NVML: Driver/library version mismatch".
"""

import re
from collections.abc import Iterable, Iterator

from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import devices, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.suggest import evidence
from phoenix_apparmor.suggest.rootfs import Root

VERSION = "/proc/driver/nvidia/version"
# Where distributions and NVIDIA's installer put the libraries, without the leading slash.
FOLDERS = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/nvidia/current",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib",
    "usr/local/nvidia/lib64",
)
_HOST = re.compile(r"Kernel Module\s+(?:for \S+\s+)?(\d+\.\d+(?:\.\d+)?)")
_LIBRARY = re.compile(r"(?:libnvidia-ml|libcuda)\.so\.(\d+\.\d+(?:\.\d+)?)")


def versions(host: Host) -> Iterator[Finding]:
    """The loaded module's version, against the host's own libraries and each GPU container's."""
    module = module_version(host)
    if not module:
        return
    own = libraries(lambda folder: host.names(f"/{folder}"))
    if own and module not in own:
        yield Finding(
            "warning",
            f"the host's NVIDIA libraries are of {' and '.join(own)}, the loaded kernel module is "
            f'of {module}: nvidia-smi says "Driver/library version mismatch".',
            f"{VERSION} says {module}",
            advice="the driver was upgraded since the host booted: reboot the host",
        )
    yield from _of_containers(host, module)


def _of_containers(host: Host, module: str) -> Iterator[Finding]:
    other: dict[tuple[str, ...], list[Conf]] = {}
    without: list[Conf] = []
    unseen: list[Conf] = []
    for conf in reading.confs(host):
        if not any(map(devices.GPU.fullmatch, devices.named_nodes(conf))):
            continue
        found = inside(host, conf)
        if found is None:
            unseen.append(conf)  # an image that is not mounted, or nobody may look
        elif not found:
            without.append(conf)
        elif module not in found:
            other.setdefault(tuple(found), []).append(conf)
    for found_versions, confs in other.items():
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in confs)}: the NVIDIA libraries inside are of "
            f"{' and '.join(found_versions)}, the host's driver is of {module}: CUDA says "
            '"Driver/library version mismatch".',
            f"{VERSION} says {module}; libcuda.so.* and libnvidia-ml.so.* inside say "
            f"{', '.join(found_versions)}",
            advice=f"install {module} inside, without the kernel module (with NVIDIA's installer: "
            f"NVIDIA-Linux-x86_64-{module}.run --no-kernel-module), or the other version on the "
            "host",
            ctids=tuple(c.ctid for c in confs),
        )
    if without:
        yield Finding(
            "note",
            f"{reading.cts(c.ctid for c in without)}: a GPU, but no NVIDIA libraries inside.",
            f"no libcuda.so.* in {', '.join(f'/{folder}' for folder in FOLDERS[:2])} or the like",
            advice=f"install those of {module} inside, without the kernel module",
            ctids=tuple(c.ctid for c in without),
        )
    if unseen:
        yield Finding(
            "note",
            f"{reading.cts(c.ctid for c in unseen)}: cannot tell whether the NVIDIA libraries "
            f"inside fit the host's driver ({module}).",
            "the root file system is an image that is not mounted now, or cannot be read",
            advice="look again while it runs",
            ctids=tuple(c.ctid for c in unseen),
        )


def module_version(host: Host) -> str:
    """The version of the loaded kernel module, "" if none is loaded or it is not said."""
    try:
        text = (host.read_if_there(VERSION) or b"").decode("utf-8", "replace")
    except OSError:
        return ""
    match = _HOST.search(text)
    return match[1] if match else ""


def libraries(names_in: "Names") -> list[str]:
    """Versions of the libraries in FOLDERS, by the names of their files alone."""
    found = set()
    for folder in FOLDERS:
        for name in names_in(folder) or ():
            match = _LIBRARY.fullmatch(name)
            if match:
                found.add(match[1])
    return sorted(found)


def inside(host: Host, conf: Conf) -> list[str] | None:
    """Versions of the libraries in a container; None where its files cannot be seen."""
    folder = evidence.root_folder(host, conf)
    if folder is None:
        return None
    try:
        with Root(host.path(folder)) as root:
            if not root.first(evidence.SYSTEM):
                return None
            return libraries(root.names)
    except OSError:
        return None


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Names = Callable[[str], Iterable[str] | None]
