"""Check of NVIDIA's driver: the kernel module of the host against the libraries in containers.

A container has the user part of the driver (libcuda, libnvidia-ml) in its own files, and it works
with just the version of the host's kernel module. After a driver's upgrade on one side it says
"Failed to initialize NVML: Driver/library version mismatch".
"""

import re
from collections.abc import Iterable, Iterator, Mapping

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
_LIBRARY = re.compile(r"(libnvidia-ml|libcuda)\.so\.(\d+\.\d+(?:\.\d+)?)")


def versions(host: Host) -> Iterator[Finding]:
    """The loaded module's version, against the host's own libraries and each GPU container's."""
    module = module_version(host)
    if not module:
        return
    own = libraries(lambda folder: host.names(f"/{folder}"))
    if other_than(module, own):
        yield Finding(
            "warning",
            f"the host has {_words(own)}, but the loaded kernel module is version {module}: "
            'nvidia-smi says "Driver/library version mismatch".',
            f"{VERSION} says {module}",
            advice="the driver was upgraded since the host booted: reboot the host",
        )
    yield from _of_containers(host, module)


def _of_containers(host: Host, module: str) -> Iterator[Finding]:
    other: dict[str, list[Conf]] = {}
    without: list[Conf] = []
    unseen: dict[str, list[Conf]] = {}
    for conf in reading.confs(host):
        if not any(map(devices.GPU.fullmatch, devices.named_nodes(conf))):
            continue
        found = inside(host, conf)
        if isinstance(found, str):
            unseen.setdefault(found, []).append(conf)
        elif not found:
            without.append(conf)
        elif other_than(module, found):
            other.setdefault(_words(found), []).append(conf)
    for words, confs in other.items():
        yield Finding(
            "warning",
            f"{reading.cts(c.ctid for c in confs)}: inside is {words}, but the host's driver is "
            f'version {module}: CUDA says "Driver/library version mismatch".',
            f"{VERSION} says {module}; the files' names inside say {words}",
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
        confs = [conf for those in unseen.values() for conf in those]
        yield Finding(
            "note",
            f"{reading.cts(c.ctid for c in confs)}: cannot tell whether the NVIDIA libraries "
            f"inside fit the host's driver ({module}).",
            reading.listed(
                [f"{reading.cts(c.ctid for c in those)}: {why}" for why, those in unseen.items()]
            ),
            advice="look again while it runs",
            ctids=tuple(c.ctid for c in confs),
        )


def module_version(host: Host) -> str:
    """The version of the loaded kernel module, "" if none is loaded or it is not said."""
    try:
        text = (host.read_if_there(VERSION) or b"").decode("utf-8", "replace")
    except OSError:
        return ""
    match = _HOST.search(text)
    return match[1] if match else ""


Libraries = Mapping[str, tuple[str, ...]]


def libraries(names_in: "Names") -> Libraries:
    """Library (libcuda, libnvidia-ml) -> its versions in FOLDERS, by the files' names alone."""
    found: dict[str, set[str]] = {}
    for folder in FOLDERS:
        for name in names_in(folder) or ():
            match = _LIBRARY.fullmatch(name)
            if match:
                found.setdefault(match[1], set()).add(match[2])
    return {library: tuple(sorted(found[library])) for library in sorted(found)}


def other_than(module: str, found: Libraries) -> bool:
    """Whether a library has other versions alone: each must be the kernel module's by itself."""
    return any(module not in versions_of for versions_of in found.values())


def _words(found: Libraries) -> str:
    """libcuda and libnvidia-ml 535.1, or each with its own."""
    if len(set(found.values())) == 1:
        return f"{' and '.join(found)} {' and '.join(next(iter(found.values())))}"
    return ", ".join(f"{library} {' and '.join(v)}" for library, v in found.items())


def inside(host: Host, conf: Conf) -> Libraries | str:
    """The libraries in a container, or why its files cannot be seen."""
    folder = evidence.root_folder(host, conf)
    if folder.unseen:
        return folder.unseen
    try:
        with Root(host.path(folder.path)) as root:
            if not root.first(evidence.SYSTEM):
                return folder.without_system
            return libraries(root.names)
    except OSError as error:
        return folder.refused(error)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Names = Callable[[str], Iterable[str] | None]
