"""The quick answer at a container's start: is there nothing to do?

A start on a host where nothing changed should cost little more than the start of Python, so
this module imports only what has no imports of its own, and answers False to everything out
of the ordinary. start.prepare then finds out what it is; it alone decides and acts.
"""

from phoenix_apparmor import ctconf, kernel, lastgood, lxcconf, paths
from phoenix_apparmor.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os


def is_settled(host: Host, ctid: str) -> bool:
    """Whether both files and the kernel already say what the JSON assigns to the container."""
    try:
        return _is_settled(host, ctid)
    except (OSError, ValueError):
        return False


def _is_settled(host: Host, ctid: str) -> bool:
    copy = host.read(paths.COPY)
    found = _trusted_json(host)
    if found is None or not lastgood.is_current(copy, *found):
        return False
    name = lastgood.line_of(copy, ctid)
    if name is None:
        return True
    conf = host.read(paths.conf(ctid))
    runtime = host.read(paths.runtime(ctid))
    if name in paths.NO_LINE:
        generated = "generated" if host.exists(paths.PVE_MODULE) else None
        return ctconf.conf_says(conf, None) and lxcconf.says(runtime, generated)
    if not name.startswith("lxc-") or " " in name:
        return False
    return (
        ctconf.conf_says(conf, name)
        and lxcconf.says(runtime, name)
        and kernel.mode_of(host.read(paths.KERNEL_PROFILES), name) == "enforce"
        and _has_our_lines(host, ctid, name, runtime)
    )


def _trusted_json(host: Host) -> "tuple[str, os.stat_result] | None":
    """The JSON that counts, if it is root's and only root can write it (the usual case)."""
    for source in paths.JSON_FILES:
        seen = host.stat(source)
        if seen is not None:
            return (source, seen) if seen.st_uid == 0 and not seen.st_mode & 0o022 else None
    return None


def _has_our_lines(host: Host, ctid: str, name: str, runtime: bytes) -> bool:
    """Whether the lines that we add are just those that its profile asks for."""
    profile = host.read(f"{paths.APPARMOR_D}/{name}")
    if lxcconf.is_unprivileged(runtime):
        if paths.NAMESPACE_MARKER in profile:
            return runtime == lxcconf.stack(runtime, name, ctid) and host.exists(
                kernel.namespace_path(lxcconf.namespace_of(ctid))
            )
    elif paths.SECCOMP_MARKER in profile and not lxcconf.has_seccomp(runtime):
        return runtime == lxcconf.with_seccomp(runtime) and host.exists(paths.SECCOMP)
    return lxcconf.BEGIN not in runtime
