"""What the kernel enforces: apparmorfs (/sys/kernel/security/apparmor) and /proc/PID/attr."""

import os

from phoenix_apparmor import paths
from phoenix_apparmor.host import Host


def profile_list(host: Host) -> bytes | None:
    r"""The kernel's own list, lines of ``NAME (MODE)\n``; None: there is no AppArmor.

    With AppArmor off (apparmor=0) the file is missing; in a container that sees the host's
    securityfs it may not be read.
    """
    try:
        return host.read_if_there(paths.KERNEL_PROFILES)
    except OSError:
        return None


def mode_of(profiles: bytes, name: str) -> str | None:
    """Mode of a loaded profile (enforce, complain, kill, unconfined, prompt); None: not loaded."""
    start = name.encode() + b" ("
    begin = 0 if profiles.startswith(start) else profiles.find(b"\n" + start) + 1
    if begin == 0 and not profiles.startswith(start):
        return None
    begin += len(start)
    return profiles[begin : profiles.index(b")", begin)].decode()


def all_modes(profiles: bytes) -> dict[str, str]:
    """Profile name -> mode."""
    result = {}
    for line in profiles.decode("utf-8", "replace").split("\n"):
        name, separator, mode = line.rpartition(" (")
        if separator:
            result[name] = mode.removesuffix(")")
    return result


def policy_hash(host: Host, name: str) -> tuple[str, str] | None:
    """(algorithm, hex) of the compiled policy that the kernel holds for a profile.

    Kernel 6.12 has raw_sha256, 6.1 raw_sha1: the hash of just the bytes that were loaded.
    None: not loaded, or a kernel that keeps no hash.
    """
    folder = paths.KERNEL + "/policy/profiles"
    for entry in host.names(folder):
        # The folder is NAME.N, with a number that grows with each load of something new.
        if not entry.startswith(name + ".") or not entry[len(name) + 1 :].isdigit():
            continue
        for algorithm in ("sha256", "sha1"):
            value = host.read_if_there(f"{folder}/{entry}/raw_{algorithm}")
            if value is not None:
                return algorithm, value.decode().strip()
    return None


def label_of(host: Host, pid: int) -> str | None:
    """The label of a process as this namespace sees it, with its mode; None: no such process.

    Like ``lxc-nvidia-gpu-base (enforce)`` or ``A//&:ns:unconfined (enforce)``.
    """
    for name in ("attr/apparmor/current", "attr/current"):
        try:
            value = host.read(f"/proc/{pid}/{name}")
        except OSError:
            continue
        return value.decode("utf-8", "replace").strip("\n\0")
    return None


def namespace_path(namespace: str) -> str:
    """Where the policy namespace is made (mkdir) and removed (rmdir)."""
    return f"{paths.NAMESPACES}/{namespace}"


def make_namespace(host: Host, namespace: str) -> None:
    """Makes a policy namespace below the host's; no error if it is there. Raises OSError."""
    try:
        os.mkdir(host.path(namespace_path(namespace)))
    except FileExistsError:
        pass


def remove_namespace(host: Host, namespace: str) -> None:
    """Removes a policy namespace; no error if there is none. Raises OSError.

    The kernel removes one that is in use as well, and nobody can enter its container then:
    the caller makes sure that no process is left in it.
    """
    try:
        os.rmdir(host.path(namespace_path(namespace)))
    except FileNotFoundError:
        pass


def remove_profile(host: Host, name: str) -> None:
    """Takes a profile out of the kernel; no error if it is not there. Raises OSError.

    Its processes would be unconfined from then on: the caller makes sure that there is none.
    """
    try:
        with open(host.path(f"{paths.KERNEL}/.remove"), "wb", buffering=0) as file:
            file.write(name.encode())
    except FileNotFoundError:
        pass
