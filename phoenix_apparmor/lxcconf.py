"""Text of /var/lib/lxc/CTID/config, the only one that lxc-start reads: pure functions, no I/O.

It is read as LXC reads it: ``key = value`` only, ``#`` comments, the last one wins. The hot
path's limits are those of ctconf.
"""

from phoenix_apparmor import paths
from phoenix_apparmor.ctconf import (
    BLANK,
    DEAD_KEY,
    PROFILE_KEY,
    as_bytes,
    as_text,
    insert_line,
    remove_line,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEGIN = b"# phoenix-apparmor: its own lines (begin)"
END = b"# phoenix-apparmor: its own lines (end)"

SECURITYFS_ENTRY = (
    b"lxc.mount.entry = /sys/kernel/security sys/kernel/security none rbind,create=dir,optional 0 0"
)
SECCOMP_KEY = b"lxc.seccomp.profile"
# Between a container's mounts and its init (see shares.py). LXC puts "exec " before it and words
# behind it. The shell keeps containers starting after the package is gone, as in the drop-in.
LOCK_SHARES = (
    b"lxc.hook.start-host = /bin/sh -c "
    b"'[ ! -x /usr/libexec/phoenix-apparmor/lock-shares ] || "
    b"exec /usr/libexec/phoenix-apparmor/lock-shares'"
)
# The same in a privileged container: the host's sysctls are closed to it (see sysctlguard.py).
LOCK_WITHOUT_SYSCTLS = LOCK_SHARES.removesuffix(b"'") + b" without-sysctls'"
# And where nothing runs containers: no mount is shared with another, too (see mountpeers.py).
LOCK_WITHOUT_PEERS = LOCK_SHARES.removesuffix(b"'") + b" without-peers'"
# LXC's common.conf lets a container open the node c 5 1, which is the host's console; its own
# /dev/console is another.
NO_HOST_CONSOLE = b"lxc.cgroup2.devices.deny = c 5:1 rwm"
NESTING_KEY = b"lxc.apparmor.allow_nesting"
RAW_KEY = b"lxc.apparmor.raw"
INCLUDE_KEY = b"lxc.include"
# What LXC's own package ships. Proxmox begins each runtime configuration with these of them, which
# set no profile; nesting.conf, which old instructions include, does.
STANDARD_INCLUDES = b"/usr/share/lxc/config/"
STANDARD_NAMES = (b"common.conf", b"userns.conf")


def setting_of(line: bytes) -> tuple[bytes, bytes] | None:
    """(key, value) of a line of LXC's own configuration, or None."""
    line = line.strip(BLANK)
    if line.startswith(b"#") or b"=" not in line:
        return None
    key, _, value = line.partition(b"=")
    return key.rstrip(BLANK), value.strip(BLANK)


def profiles(text: bytes) -> list[str]:
    """Values of the profile lines outside the part that is ours (see below), the dead key too."""
    lines = without_our_lines(text).split(b"\n")
    return [as_text(value) for _, _, value in _profile_lines(lines)]


def says(text: bytes, profile: str | None) -> bool:
    """Whether there is one profile line, outside our part, with this value (None: no line)."""
    found = _profile_lines(without_our_lines(text).split(b"\n"))
    if profile is None:
        return not found
    return len(found) == 1 and found[0][1:] == (PROFILE_KEY, as_bytes(profile))


def _profile_lines(lines: list[bytes]) -> list[tuple[int, bytes, bytes]]:
    found = []
    for number, line in enumerate(lines):
        setting = setting_of(line)
        if setting is not None and setting[0] in (PROFILE_KEY, DEAD_KEY):
            found.append((number, *setting))
    return found


def is_unprivileged(text: bytes) -> bool:
    """Whether a runtime configuration maps user ids, and none of them to root of the host.

    With such a map a user inside owns what root of the host owns, /proc/sys/kernel among it.
    """
    maps = [value for key, value in _settings(text) if key == b"lxc.idmap"]
    return bool(maps) and not any(map(maps_root, maps))


def maps_root(value: bytes) -> bool:
    """Whether an ``lxc.idmap`` (u|g|b, first inside, first of the host, count) has host uid 0."""
    words = value.split()
    return len(words) > 2 and words[0] in (b"u", b"b") and not words[2].strip(b"0")


def set_profile(text: bytes, profile: str | None) -> bytes:
    """LXC's configuration with exactly this profile (None: no line), for hosts without Proxmox."""
    text = without_our_lines(text)
    if says(text, profile):
        return text
    lines = text.split(b"\n")
    found = _profile_lines(lines)
    place = found[-1][0] if found and profile is not None else None
    for number, _, _ in reversed(found):
        if number != place:
            remove_line(lines, number)
    if profile is not None:
        line = PROFILE_KEY + b" = " + as_bytes(profile)
        if place is not None:
            lines[place - len(found) + 1] = line
        else:
            insert_line(lines, len(lines) - 1 if lines[-1] == b"" else len(lines), line)
    return b"\n".join(lines)


def namespace_of(ctid: str) -> str:
    """The AppArmor policy namespace of a container: the name LXC gives its own ones.

    LXC (lsm/apparmor.c, apparmor_namespace) makes it of the name and the path
    /var/lib/lxc, with ``/`` replaced by ``-``.
    """
    return f"lxc-{ctid}_<-var-lib-lxc>"


def variants(profile: str, ctid: str, *, trial: bool, rules: bool) -> tuple[str, ...]:
    """The profiles of the host's under which a container runs: its own, made of the assigned one.

    With rules of its own PROFILE.CTID. In trial PROFILE.CTID.trial, which only logs, and beside
    it an enforcing guard with all explicit denies; the guard's name sorts last (a digit is before
    a letter), as the kernel keeps a stack sorted (security/apparmor/label.c, profile_cmp) and
    takes the last one's change_profile rules for those of the whole.
    """
    if trial:
        guard = f"{profile}.guard.{ctid}" if rules else f"{profile}.guard"
        return f"{profile}.{ctid}.trial", guard
    return (f"{profile}.{ctid}",) if rules else (profile,)


def trial_mark(profile: str, ctid: str) -> str:
    """Name of the file (in paths.VARIANTS) whose time is that of the trial's begin."""
    return variants(profile, ctid, trial=True, rules=False)[0] + ".began"


def label(names: "Sequence[str]", ctid: str, *, namespace: bool) -> str:
    """The label of these profiles, stacked, and on the container's own policy namespace."""
    return "//&".join((*names, f":{namespace_of(ctid)}:") if namespace else names)


def has_seccomp(text: bytes) -> bool:
    """Whether the admin chose a seccomp policy (LXC's own comes from an included file)."""
    return any(key == SECCOMP_KEY for key, _ in _settings(without_our_lines(text)))


def lock_of(seccomp: str) -> bytes:
    """The hook of a privileged container whose profile file asks for this seccomp policy."""
    if not seccomp:
        return LOCK_SHARES
    return LOCK_WITHOUT_PEERS if seccomp == paths.SECCOMP_WITHOUT_BPF else LOCK_WITHOUT_SYSCTLS


def with_our_lines(
    text: bytes,
    label: str | None,
    *,
    namespace: bool = False,
    seccomp: str = "",
    lock: bytes = b"",
) -> bytes:
    """Runtime configuration with what we add, in a marked block at its end: the last one wins.

    label: for the profile, None: the plain line above is right as it is. The plain line stays
    what Proxmox generated. seccomp: path of the policy, "" for LXC's own. lock: the hook that
    locks what the host shares read-only, whatever makes it so, as files that are included and hooks
    of others can; LOCK_SHARES or, with what else it takes from a container, one of its kind.

    With a policy namespace, allow_nesting brings the unmasked proc and sysfs without which the
    kernel lets no user namespace mount proc; /sys/kernel/security is how the container's tools
    reach it. What an included file says of these is taken back.
    """
    text = without_our_lines(text)
    lines = _instead_of_includes(text)
    if label is not None:
        lines.append(PROFILE_KEY + b" = " + as_bytes(label))
    if namespace:
        lines += [NESTING_KEY + b" = 1", SECURITYFS_ENTRY]
    if seccomp:
        lines += [SECCOMP_KEY + b" = " + as_bytes(seccomp), NO_HOST_CONSOLE]
    if lock:
        lines.append(lock)
    if not lines:
        return text
    if text and not text.endswith(b"\n"):
        text += b"\n"
    return text + b"\n".join((BEGIN, *lines, END)) + b"\n"


def has_foreign_include(text: bytes) -> bool:
    """Whether a file is included that is not one of LXC's usual ones: it can say anything."""
    return any(
        key.startswith(INCLUDE_KEY) and not _is_standard(value)
        for key, value in _settings(without_our_lines(text))
    )


def _is_standard(value: bytes) -> bool:
    in_folder = value.startswith(STANDARD_INCLUDES) and value.endswith(STANDARD_NAMES)
    return in_folder and b".." not in value


def _instead_of_includes(text: bytes) -> list[bytes]:
    """What the lines outside of included files say, once more behind these files.

    An empty profile is LXC's default, an empty raw forgets those of before (LXC confile.c,
    set_config_apparmor_profile, set_config_apparmor_raw).
    """
    if not has_foreign_include(text):
        return []
    found: dict[bytes, list[bytes]] = {}
    for key, value in _settings(text):
        found.setdefault(key, []).append(value)
    profile = found.get(PROFILE_KEY, [b""])[-1]
    nesting = found.get(NESTING_KEY, [b"0"])[-1]
    said = [(PROFILE_KEY, profile), (NESTING_KEY, nesting), (RAW_KEY, b"")]
    said += [(RAW_KEY, value) for value in found.get(RAW_KEY, [])]
    if SECCOMP_KEY in found:
        said.append((SECCOMP_KEY, found[SECCOMP_KEY][-1]))
    return [(key + b" = " + value).rstrip(b" ") for key, value in said]


def settings_of_others(text: bytes) -> "Iterator[tuple[bytes, bytes]]":
    """(key, value) of the lines outside of our block."""
    return _settings(without_our_lines(text))


def _settings(text: bytes) -> "Iterator[tuple[bytes, bytes]]":
    return (setting for line in text.split(b"\n") if (setting := setting_of(line)) is not None)


def without_our_lines(text: bytes) -> bytes:
    """text without the block of our own lines."""
    begin = text.find(BEGIN)
    if begin < 0:
        return text
    # A block without its end was cut by somebody's edit: ours reached to the end of the file.
    rest = text[begin:].partition(END)[2].removeprefix(b"\n")
    return without_our_lines(text[:begin] + rest)
