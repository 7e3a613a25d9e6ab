"""What the kernel enforces: apparmorfs (/sys/kernel/security/apparmor) and /proc/PID/attr."""

import posix

from phoenix_apparmor import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_apparmor.reader import Reader

# Modes in which the kernel refuses what a profile does not allow.
ENFORCING = ("enforce", "kill")

# Labels and lists say nothing of it.
GLOBAL_MODE = "/sys/module/apparmor/parameters/mode"
# (With a newline the kernel does not take it.)
TO_ENFORCE = f"printf enforce >{GLOBAL_MODE}"
OFF_COMMAND_LINE = (
    "If the kernel command line has apparmor.mode= (cat /proc/cmdline), take it away there too."
)


def overriding_mode(host: "Reader") -> str:
    """The mode that all profiles are in, whatever their own is, where that stops nothing; or "".

    AppArmor's parameter mode (apparmor.mode=complain on the kernel's command line): a profile
    complains if it does or all do (security/apparmor/include/policy.h, PROFILE_MODE). Raises
    OSError where that cannot be known.
    """
    try:
        mode = host.read(GLOBAL_MODE).strip().decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""  # of a tree: a kernel with AppArmor has it
    return "" if mode in ENFORCING else mode


def in_force(profiles: bytes, overriding: str) -> bytes:
    """A list with the modes that count."""
    if not overriding:
        return profiles
    mode = f" ({overriding})\n".encode()
    return profiles.replace(b" (enforce)\n", mode).replace(b" (kill)\n", mode)


def profile_list(host: "Reader") -> bytes | None:
    r"""The kernel's list of the host's own profiles, lines of ``NAME (MODE)\n``, as they count.

    None: there is none, or this user may not see it; listing tells the two apart.
    """
    from phoenix_apparmor.errors import PhoenixError

    try:
        return listing(host)
    except PhoenixError:
        return None


def listing(host: "Reader") -> bytes | None:
    """As profile_list, for who acts on it. None: there is no AppArmor (apparmor=0).

    Raises PhoenixError where that cannot be known.
    """
    from phoenix_apparmor.errors import from_os_error

    try:
        profiles = of_host(host)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise from_os_error(error, f"cannot read {paths.KERNEL_PROFILES}") from error
    try:
        return in_force(profiles, overriding_mode(host))
    except OSError as error:
        raise from_os_error(error, f"cannot read {GLOBAL_MODE}") from error


def of_host(host: "Reader") -> bytes:
    r"""What the list has before the profiles of policy namespaces, whose lines begin with ``:``.

    The root of a container names the profiles in its namespace as it likes, also
    ``x\nlxc-nvidia-gpu-base (complain)``, and loads as many as it likes: 72 MB of names have been
    seen. The kernel writes the list as it walks the namespaces, the host's own first (apparmorfs.c,
    p_start, next_profile): what is behind the first line of another one says nothing about the
    host's, and is not read. Raises OSError.
    """
    own = host.read_before(paths.KERNEL_PROFILES, b"\n:")
    if own.startswith(b":"):
        return b""
    return own if not own or own.endswith(b"\n") else own + b"\n"


def has_apparmor(host: "Reader") -> bool:
    """Whether the kernel runs with AppArmor, and its file system is mounted."""
    return host.exists(paths.KERNEL_PROFILES)


def mode_of(profiles: bytes, name: str) -> str | None:
    """Mode of a loaded profile (enforce, complain, kill, unconfined, prompt); None: not loaded."""
    start = name.encode() + b" ("
    if not profiles.startswith(start):
        start = b"\n" + start
    _, found, rest = profiles.partition(start)
    return rest.partition(b")")[0].decode("ascii", "replace") if found else None


def all_modes(profiles: bytes) -> dict[str, str]:
    """Profile name -> mode."""
    result = {}
    for line in profiles.decode("utf-8", "replace").split("\n"):
        name, separator, mode = line.rpartition(" (")
        if separator:
            result[name] = mode.removesuffix(")")
    return result


def policy_hash(host: "Reader", name: str) -> tuple[str, str] | None:
    """(algorithm, hex) of the compiled policy that the kernel holds for a profile.

    Kernel 6.12 has raw_sha256, 6.1 raw_sha1: the hash of just the bytes that were loaded.
    None: not loaded, or a kernel that keeps no hash.
    """
    folder = paths.KERNEL + "/policy/profiles"
    for entry in host.names(folder):
        # The folder is NAME.N, with a number that grows with each load of something new.
        # A name with slashes is there without them, so what is in it says whose it is.
        if not entry.startswith(name + ".") or not entry[len(name) + 1 :].isdigit():
            continue
        own = host.read_if_there(f"{folder}/{entry}/name")
        if own is not None and own.strip() != name.encode():
            continue
        for algorithm in ("sha256", "sha1"):
            value = host.read_if_there(f"{folder}/{entry}/raw_{algorithm}")
            if value is not None:
                return algorithm, value.decode().strip()
    return None


def namespace_policies(host: "Reader", namespace: str) -> int:
    """Number of profiles that a container loaded into its policy namespace; 0 without one."""
    return len(host.names(f"{namespace_path(namespace)}/profiles"))


def label_of(host: "Reader", pid: int) -> str | None:
    """The label of a process as this namespace sees it, with the mode that counts; None: no such
    process.

    Like ``lxc-nvidia-gpu-base (enforce)`` or ``A//&:ns:unconfined (enforce)``.
    """
    for name in ("attr/apparmor/current", "attr/current"):
        try:
            value = host.read(f"/proc/{pid}/{name}")
        except OSError:
            continue
        label = value.decode("utf-8", "replace").strip("\n\0")
        try:
            overriding = overriding_mode(host)
        except OSError:
            overriding = ""  # not for this user to know
        shown, separator, mode = label.rpartition(" (")
        is_enforced = separator and mode in ("enforce)", "kill)", "mixed)")
        if is_enforced and not overriding and mode == "mixed)" and _none_enforces(host, shown):
            overriding = "complain"
        return f"{shown} ({overriding})" if overriding and is_enforced else label
    return None


def _none_enforces(host: "Reader", stack: str) -> bool:
    """Whether all of the host's own profiles in a stack only log.

    "mixed" says only that two of a stack differ in their mode (security/apparmor/label.c,
    label_modename), and those that root of the container loads are among them. The host's stand
    first (label.c, ns_cmp).
    """
    try:
        loaded = of_host(host)
    except OSError:
        return False  # not for this user to know
    hosts = stack.partition("//&:")[0].split("//&")
    return not any(mode_of(loaded, name) in (*ENFORCING, None) for name in hosts)


def is_lxcs_own(host: "Reader", pid: int) -> bool | None:
    """Whether a process still executes lxc-start, and not yet the container's init.

    None: it is gone, or nobody can tell. Root inside may call its init lxc-start: the file has to
    be the one that its parent executes, which is the container's monitor.
    """
    exe = host.path(f"/proc/{pid}/exe")
    try:
        # (so does the kernel end the name of a file that an upgrade has replaced)
        if posix.readlink(exe).rpartition("/")[2].removesuffix(" (deleted)") != "lxc-start":
            return False
        lines = host.read(f"/proc/{pid}/status").split(b"\n")
        parent = next(int(line.split()[1]) for line in lines if line.startswith(b"PPid:"))
        own, its = posix.stat(exe), posix.stat(host.path(f"/proc/{parent}/exe"))
    except (OSError, StopIteration, ValueError):
        return None
    return (own.st_dev, own.st_ino) == (its.st_dev, its.st_ino)


def seccomp_mode(host: "Reader", pid: int) -> int | None:
    """0 none, 1 strict, 2 filters (proc(5), Seccomp); None: no such process, or no such line."""
    try:
        lines = host.read(f"/proc/{pid}/status").split(b"\n")
    except OSError:
        return None
    values = [line.split()[-1] for line in lines if line.startswith(b"Seccomp:")]
    return int(values[0]) if values and values[0].isdigit() else None


def is_privileged(host: "Reader", pid: int) -> bool | None:
    """Whether root of the host is among the users of a process' user namespace."""
    try:
        # the first id inside, the first of the host, how many; as this namespace sees them
        maps = host.read(f"/proc/{pid}/uid_map").split()
    except OSError:
        return None
    return b"0" in maps[1::3] if maps else None


def namespace_path(namespace: str) -> str:
    """Where the policy namespace is made (mkdir) and removed (rmdir)."""
    return f"{paths.NAMESPACES}/{namespace}"


def make_namespace(host: "Reader", namespace: str) -> None:
    """Makes a policy namespace below the host's; no error if it is there. Raises OSError."""
    try:
        posix.mkdir(host.path(namespace_path(namespace)))
    except FileExistsError:
        pass


def remove_namespace(host: "Reader", namespace: str) -> None:
    """Removes a policy namespace; no error if there is none. Raises OSError.

    The kernel removes one that is in use as well, and nobody can enter its container then:
    the caller makes sure that no process is left in it.
    """
    try:
        posix.rmdir(host.path(namespace_path(namespace)))
    except FileNotFoundError:
        pass


def remove_profile(host: "Reader", name: str) -> None:
    """Takes a profile out of the kernel; no error if it is not there. Raises OSError.

    Its processes would be unconfined from then on: the caller makes sure that there is none.
    """
    try:
        fd = posix.open(host.path(f"{paths.KERNEL}/.remove"), posix.O_WRONLY | posix.O_TRUNC)
    except FileNotFoundError:
        return
    try:
        posix.write(fd, name.encode())
    finally:
        posix.close(fd)
