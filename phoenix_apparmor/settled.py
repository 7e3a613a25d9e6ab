"""The quick answer at a container's start: is there nothing to do, or only what each start needs?

Proxmox generates the runtime configuration anew at each start, without the lines that are ours.
A start on a host where nothing changed should cost little more than the start of Python, so
this module imports only what has no imports of its own, and answers False to everything out
of the ordinary. start.prepare then finds out what it is; it alone decides what to do about it.
"""

from phoenix_apparmor import ctconf, kernel, lastgood, lxcconf, paths
from phoenix_apparmor.reader import BIGGEST_PROFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from phoenix_apparmor.reader import Reader


class _UnsureError(Exception):
    """More may be to do than this module does."""


class _Missing:
    """What a start needs: the runtime configuration (b"": it is right), and a namespace."""

    __slots__ = ("namespace", "runtime")

    def __init__(self, runtime: bytes, *, namespace: bool) -> None:
        self.runtime = runtime
        self.namespace = namespace


def is_settled(host: "Reader", ctid: str) -> bool:
    """Whether both files and the kernel already say what the JSON assigns to the container."""
    try:
        missing = _missing(host, ctid)
    except (OSError, ValueError, _UnsureError):
        return False
    return not missing.runtime and not missing.namespace


def settle(host: "Reader", ctid: str) -> bool:
    """Whether it is settled now: our own lines and the policy namespace are made here.

    Only where start.prepare would do no more than that, and just as that does it.
    """
    try:
        missing = _missing(host, ctid)
        if missing.namespace:
            kernel.make_namespace(host, lxcconf.namespace_of(ctid))
        return not missing.runtime or _write(host, paths.runtime(ctid), missing.runtime)
    except (OSError, ValueError, _UnsureError):
        return False


def _write(reader: "Reader", name: str, text: bytes) -> bool:
    from phoenix_apparmor.errors import PhoenixError
    from phoenix_apparmor.host import Host

    try:
        Host(reader.root).replace(name, text)
    except PhoenixError:
        return False  # start.prepare says why
    return True


def _missing(host: "Reader", ctid: str) -> _Missing:
    """Raises _UnsureError, OSError and ValueError where it is not known to be all."""
    nothing = _Missing(b"", namespace=False)
    copy = current_copy(host)
    if copy is None:
        raise _UnsureError
    line = lastgood.line_of(copy, ctid)
    if line is None:
        return nothing
    name, *words = line.split(" ")
    if "!" in words:
        raise _UnsureError
    conf = host.read(paths.conf(ctid))
    runtime = host.read(paths.runtime(ctid))
    if name in paths.NO_LINE:
        generated = "generated" if host.exists(paths.PVE_MODULE) else None
        if (
            ctconf.conf_says(conf, None)
            and lxcconf.says(runtime, generated)
            and runtime == lxcconf.with_our_lines(runtime, None)
        ):
            return nothing
        raise _UnsureError
    loaded = kernel.of_host(host)
    profile = host.read(f"{paths.APPARMOR_D}/{name}", BIGGEST_PROFILE)
    names = lxcconf.variants(name, ctid, trial="trial" in words, rules="rules" in words)
    if (
        len(profile) <= BIGGEST_PROFILE
        and ctconf.conf_says(conf, name)
        and lxcconf.says(runtime, name)
        and kernel.mode_of(loaded, name) == "enforce"
        and not kernel.overriding_mode(host)
        and (len(words) == words.count("plain") or _has_variants(host, ctid, copy, loaded, line))
        and not _has_old_variants(host, ctid, names)
    ):
        return _own(host, ctid, name, runtime, profile, names, plain="plain" in words)
    raise _UnsureError


def current_copy(host: "Reader") -> bytes | None:
    """The copy of the assignments, if it says what the JSON says now. Raises OSError."""
    copy, seen = host.read_and_stat(paths.COPY)
    if seen.st_uid != 0 or seen.st_mode & 0o022:
        return None
    found = _trusted_json(host)
    return copy if found is not None and lastgood.is_current(copy, *found) else None


def _trusted_json(host: "Reader") -> "tuple[str, os.stat_result] | None":
    """The JSON that is used, if only root can write it (the usual case)."""
    for source in paths.JSON_FILES:
        seen = host.stat(source)
        if seen is not None:
            return (source, seen) if not host.distrust(source) else None
        if host.exists(source):
            return None  # a link to nowhere
    return None


def _has_variants(host: "Reader", ctid: str, copy: bytes, loaded: bytes, line: str) -> bool:
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


def _has_old_variants(host: "Reader", ctid: str, names: "tuple[str, ...]") -> bool:
    """Whether profiles are left that were made for the container and are no longer assigned."""
    if not host.exists(paths.VARIANTS):
        return False
    endings = (f".{ctid}", f".{ctid}.trial", f".{ctid}.trial.began")
    return any(
        name.endswith(endings) and name.removesuffix(".began") not in names
        for name in (*host.names(paths.VARIANTS), *host.names(paths.COMPILED))
    )


def _own(
    host: "Reader",
    ctid: str,
    name: str,
    runtime: bytes,
    profile: bytes,
    names: "tuple[str, ...]",
    *,
    plain: bool,
) -> _Missing:
    """What is missing of what its profile and its entry ask for."""
    if b"\nprofile " + name.encode() + b" " not in profile:
        raise _UnsureError
    namespace, seccomp, lock = False, "", lxcconf.LOCK_SHARES
    if lxcconf.is_unprivileged(runtime):
        namespace = paths.asks_for(profile, paths.NAMESPACE_MARKER) and not plain
    else:
        asked = paths.seccomp_policy(profile)
        seccomp = "" if lxcconf.has_seccomp(runtime) else asked
        lock = lxcconf.lock_of(asked)
    if namespace and not host.exists(paths.NAMESPACES):
        raise _UnsureError
    if seccomp and (not host.has_text(seccomp) or host.distrust(seccomp)):
        raise _UnsureError
    if any(map(host.is_empty, paths.own_parts(profile))):
        raise _UnsureError
    label = lxcconf.label(names, ctid, namespace=namespace)
    wanted = lxcconf.with_our_lines(
        runtime,
        None if label == name else label,
        namespace=namespace,
        seccomp=seccomp,
        lock=lock,
    )
    place = kernel.namespace_path(lxcconf.namespace_of(ctid))
    return _Missing(
        b"" if wanted == runtime else wanted, namespace=namespace and not host.exists(place)
    )
