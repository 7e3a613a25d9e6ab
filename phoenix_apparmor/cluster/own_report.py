"""The report of this node for the others: what status knows, and what only this node can see."""

import hashlib
import re
from collections.abc import Iterator

from phoenix_apparmor import __version__, kernel, paths
from phoenix_apparmor.cluster.node_report import Facts, NodeReport, profile_here
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files
from phoenix_apparmor.policy.files import ProfileFile
from phoenix_apparmor.status.report import Profile, Report

PARSER_SECONDS = 10
MOST_INCLUDED = 200
# The apparmor package's own, which differ with its version, which is told beside.
NOT_OURS = ("tunables/", "abi/")
# Folders and nodes that come and go with a GPU's driver, and those that containers often have.
DEVICE_FOLDERS = ("/dev", "/dev/nvidia-caps", "/dev/nvidia-caps-imex-channels", "/dev/dri")
GPU_NODE = re.compile(r"/dev/(?:nvidia[\w-]*|nvidia-caps[\w-]*/[\w-]+|dri/[\w-]+|kfd)")
OTHER_NODES = ("/dev/fuse", "/dev/kvm", "/dev/net/tun")

_INCLUDE = re.compile(
    rb'^[ \t]*#?include[ \t]+(?:if[ \t]+exists[ \t]+)?[<"]([^<>"]+)[>"]', re.MULTILINE
)


def of_node(host: Host, report: Report, node: str, now: float) -> NodeReport:
    """What this node publishes. report: status of all its containers. now: its clock."""
    return NodeReport(
        node,
        int(now),
        __version__,
        kernel_release(host),
        parser_version(host),
        report.source,
        kernel.has_apparmor(host),
        host.exists(paths.NAMESPACES),
        _seccomp_hash(host),
        tuple(devices(host)),
        not report.is_off,
        report.trouble,
        tuple(profile_here(p, facts(host, p)) for p in report.profiles),
        report.containers,
    )


def facts(host: Host, profile: Profile) -> Facts:
    """What a profile's file and the kernel say beside status."""
    try:
        held = kernel.policy_hash(host, profile.name)
    except OSError:
        held = None
    policy = None if held is None else ":".join(held)
    if profile.path is None:
        return Facts(policy=policy)
    try:
        text = host.read(profile.path, 1 << 20)
    except OSError:
        return Facts(policy=policy)
    file = ProfileFile(profile.name, profile.path, text)
    return Facts(text_hash(host, text), policy, file.wants_namespace, bool(file.seccomp))


def text_hash(host: Host, text: bytes) -> str:
    """SHA-256 of a profile's text and of all that it includes below /etc/apparmor.d.

    The rules of a site in local/ and the shared abstractions decide as much as the file; but
    tunables and ABI files belong to the apparmor package. A missing include is not the same
    as an empty one.
    """
    digest = hashlib.sha256(text)
    for path, more in included(host, text):
        if more is not None:
            digest.update(f"\n{path} {len(more)}\n".encode("utf-8", "surrogateescape"))
            digest.update(more)
    return digest.hexdigest()


def included(host: Host, text: bytes) -> Iterator[tuple[str, bytes | None]]:
    """(path, text) of all that a profile's text includes; None: it cannot be read, or is not there.

    What another node may have in its place counts for the text as well.
    """
    todo, done = _includes(text), set(NOT_OURS)
    while todo and len(done) < MOST_INCLUDED:
        name = todo.pop(0)
        if name in done or name.startswith(NOT_OURS):
            continue
        done.add(name)
        for path in _files_of(host, f"{paths.APPARMOR_D}/{name}"):
            try:
                more = host.read(path, 1 << 20)
            except OSError:
                yield path, None
                continue
            yield path, more
            todo += _includes(more)


def _includes(text: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in _INCLUDE.findall(text)]


def _files_of(host: Host, path: str) -> list[str]:
    """The parser reads a whole folder where an include names one."""
    return files.policy_files(host, path) or [path]


def _seccomp_hash(host: Host) -> str | None:
    """Of all our seccomp policies; None where one is missing."""
    digest = hashlib.sha256()
    try:
        for path in (paths.SECCOMP, paths.SECCOMP_WITHOUT_BPF):
            digest.update(host.read(path, 1 << 20))
    except OSError:
        return None
    return digest.hexdigest()


def kernel_release(host: Host) -> str | None:
    """Like 6.8.12-4-pve."""
    try:
        return host.read("/proc/sys/kernel/osrelease", 256).decode("utf-8", "replace").strip()
    except OSError:
        return None


def parser_version(host: Host) -> str | None:
    """Like 3.0.8, of apparmor_parser."""
    try:
        ran = host.run([*files.parser(host), "--version"], timeout=PARSER_SECONDS)
    except PhoenixError:
        return None
    found = re.search(rb"version (\d[\w.~+-]{0,40})", ran.out)
    return found[1].decode() if ran.status == 0 and found else None


def devices(host: Host) -> list[str]:
    """Device nodes that containers are given (dev0: and so on), as far as they are here."""
    found = {
        f"{folder}/{name}"
        for folder in DEVICE_FOLDERS
        for name in host.names(folder)
        if is_gpu_node(f"{folder}/{name}")
    }
    return sorted(found | {node for node in OTHER_NODES if host.exists(node)})


def is_gpu_node(path: str) -> bool:
    """Whether a node's report says of this path whether it is there."""
    return GPU_NODE.fullmatch(path) is not None
