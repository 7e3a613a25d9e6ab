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
    copy, seen = host.read_and_stat(paths.COPY)
    if seen.st_uid != 0 or seen.st_mode & 0o022:
        return False
    found = _trusted_json(host)
    if found is None or not lastgood.is_current(copy, *found):
        return False
    line = lastgood.line_of(copy, ctid)
    if line is None:
        return True
    name, *words = line.split(" ")
    if "!" in words:
        return False
    conf = host.read(paths.conf(ctid))
    runtime = host.read(paths.runtime(ctid))
    if name in paths.NO_LINE:
        generated = "generated" if host.exists(paths.PVE_MODULE) else None
        return (
            ctconf.conf_says(conf, None)
            and lxcconf.says(runtime, generated)
            and runtime == lxcconf.with_our_lines(runtime, None)
        )
    loaded = kernel.of_host(host.read(paths.KERNEL_PROFILES))
    profile = host.read(f"{paths.APPARMOR_D}/{name}")
    names = lxcconf.variants(name, ctid, trial="trial" in words, rules="rules" in words)
    return (
        ctconf.conf_says(conf, name)
        and lxcconf.says(runtime, name)
        and kernel.mode_of(loaded, name) == "enforce"
        and not kernel.overriding_mode(host)
        and (len(words) == words.count("plain") or _has_variants(host, ctid, copy, loaded, line))
        and _has_our_lines(host, ctid, name, runtime, profile, names, plain="plain" in words)
    )


def _trusted_json(host: Host) -> "tuple[str, os.stat_result] | None":
    """The JSON that is used, if only root can write it (the usual case)."""
    for source in paths.JSON_FILES:
        seen = host.stat(source)
        if seen is not None:
            return (source, seen) if not host.distrust(source) else None
        if host.exists(source):
            return None  # a link to nowhere
    return None


def _has_variants(host: Host, ctid: str, copy: bytes, loaded: bytes, line: str) -> bool:
    """Whether the kernel has the container's own profiles, made of its profile as it is now."""
    from phoenix_apparmor import variant

    name, *words = line.split(" ")
    trial = "trial" in words
    rules = lastgood.rules_of(copy, ctid) if "rules" in words else ()
    names = lxcconf.variants(name, ctid, trial=trial, rules=bool(rules))
    profile = host.read(f"{paths.APPARMOR_D}/{name}")
    modes = [kernel.mode_of(loaded, each) for each in names]
    text = variant.text_of(profile, name, names[0], rules, trial=trial)
    return (
        modes == (["complain", "enforce"] if trial else ["enforce"])
        and host.read(f"{paths.VARIANTS}/{names[0]}") == text
    )


def _has_our_lines(
    host: Host,
    ctid: str,
    name: str,
    runtime: bytes,
    profile: bytes,
    names: "tuple[str, ...]",
    *,
    plain: bool,
) -> bool:
    """Whether the lines that we add are just those that its profile and its entry ask for."""
    if b"\nprofile " + name.encode() + b" " not in profile:
        return False
    namespace, seccomp = False, ""
    if lxcconf.is_unprivileged(runtime):
        namespace = paths.asks_for(profile, paths.NAMESPACE_MARKER) and not plain
    else:
        seccomp = "" if lxcconf.has_seccomp(runtime) else paths.seccomp_policy(profile)
    if namespace and not host.exists(kernel.namespace_path(lxcconf.namespace_of(ctid))):
        return False
    if seccomp and (not host.has_text(seccomp) or host.distrust(seccomp)):
        return False
    label = lxcconf.label(names, ctid, namespace=namespace)
    return runtime == lxcconf.with_our_lines(
        runtime,
        None if label == name else label,
        namespace=namespace,
        seccomp=seccomp,
        lock=True,
    )
