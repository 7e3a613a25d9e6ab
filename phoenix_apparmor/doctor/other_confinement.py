"""Checks of what holds a container beside its profile: the user namespace, devices, capabilities.

What is left to root in a privileged container was measured: README, "Security".
"""

from collections.abc import Iterator

from phoenix_apparmor import hostmounts, kernel, lxcsettings, paths
from phoenix_apparmor.assignments import holes
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, device_access, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import CAP_DROP, CAP_KEEP, ENTRY, IDMAP, Setting
from phoenix_apparmor.paths import DOCKER

SECCOMP_KEY = "lxc.seccomp.profile"
# An empty value gives the container back what LXC's common.conf takes from it.
DANGEROUS = {
    "mac_admin": "mac_admin, with which root in it loads AppArmor policy",
    "sys_module": "sys_module, with which root in it loads kernel modules",
    "sys_rawio": "sys_rawio, with which root in it reaches the hardware",
}


def other_locks(host: Host) -> Iterator[Finding]:
    """Privileged containers that the JSON names, and what is open in them besides."""
    known = reading.assigned(host)
    each = [conf for conf in reading.confs(host) if not conf.is_unprivileged]
    privileged = [conf for conf in each if conf.ctid in known]
    others = [conf for conf in each if conf.ctid not in known and _depends_on_it(host, conf)]
    yield from _unmanaged(others)
    # (our start goes by .conf: it does not give its policy where that says "unprivileged")
    open_calls = [
        conf for conf in privileged if _seccomp_value(conf) == "" or conf.says_unprivileged
    ]
    docker = [c for c in privileged if known[c.ctid].name == DOCKER]
    for confs, walls in (
        (
            [c for c in privileged if c not in open_calls and c not in docker],
            "and only the profile and the seccomp policy stand between the two.",
        ),
        (
            [c for c in open_calls if c not in docker],
            "and only the profile stands between the two.",
        ),
        (docker, f"and {holes.NO_BOUNDARY}"),
    ):
        for mapped in (False, True):
            of_kind = [conf for conf in confs if conf.has_user_namespace is mapped]
            if of_kind:
                yield _privileged(of_kind, walls, mapped=mapped)
    privileged = [*privileged, *others]
    yield from _capabilities(host, privileged)
    yield from _seccomp(privileged)
    yield from device_access.opened(host, privileged)
    yield from _host_mounts([c for c in privileged if c.profile != "unconfined"])


def _host_mounts(confs: list[Conf]) -> Iterator[Finding]:
    for conf in confs:
        found = hostmounts.unguarded(conf.main, conf.mount_entries)
        if not found:
            continue
        has = ", ".join(f"{mount.what} at {mount.place}" for mount in found)
        points = [mount.key for mount in found if mount.key != ENTRY]
        how = [f"pct set {conf.ctid} --delete {','.join(points)}"] if points else []
        entries = [mount.file for mount in found if mount.key == ENTRY]
        how += [
            reading.take_out("its line", [file]) if file else f"take the {ENTRY} out of {conf.path}"
            for file in dict.fromkeys(entries)
        ]
        what = f"it has {has}; the profile's rules name paths and do not protect it there"
        # its own lines first: the file's name stands before them
        seen = [mount.line for mount in found if not mount.file]
        seen += [f"{mount.file}: {mount.line}" for mount in found if mount.file]
        told = _finding([conf], what, "; ".join(seen), [])
        yield told._replace(
            advice="share only those folders that it needs, read-only if it only reads them, "
            f"and remove this: {'; '.join(how)}"
        )


def _depends_on_it(host: Host, conf: Conf) -> bool:
    """Whether its profile asks for our seccomp policy, which only an entry in the JSON gives it."""
    file = reading.file_of(host, (conf.used_profile or "").partition("//")[0])
    return file is not None and bool(file.seccomp)


def _unmanaged(confs: list[Conf]) -> Iterator[Finding]:
    without = [c for c in confs if lxcsettings.last(c.settings, SECCOMP_KEY) is None]
    ctids = tuple(conf.ctid for conf in without)
    if without:
        profile = without[0].used_profile
        found = _finding(
            without,
            f"it starts without the seccomp policy on which {profile} depends, as the JSON has no "
            "entry for it",
            f"lxc.apparmor.profile: {profile}, and no entry in the JSON",
            [],
        )
        yield found._replace(fix=f"phoenix-apparmor suggest {' '.join(ctids)} --write")


def _privileged(confs: list[Conf], walls: str, *, mapped: bool) -> Finding:
    """mapped: whether they have a user namespace, with ids of root of the host in it."""
    ctids = tuple(conf.ctid for conf in confs)
    one = len(ctids) == 1
    if mapped:
        return Finding(
            "note",
            f"{reading.cts(ctids)} {'maps an id' if one else 'map ids'} to root of the host: what "
            f"that owns, it may use, {walls}",
            _why_privileged(confs[0]),
            advice="map none to it (lxc.idmap: u 0 100000 65536), and give its files to the ids "
            "that are mapped then; a restored backup keeps the maps and the owners of today",
            ctids=ctids,
        )
    return Finding(
        "note",
        f"{reading.cts(ctids)} {'is' if one else 'are'} privileged: root in "
        f"{'it' if one else 'them'} is root on the host, {walls}",
        _why_privileged(confs[0]),
        advice="an unprivileged copy, made beside it from a backup: vzdump "
        f"{ctids[0]} --mode stop; then: pct restore NEW_CTID ARCHIVE --unprivileged 1 "
        "--storage STORAGE",
        ctids=ctids,
    )


def _why_privileged(conf: Conf) -> str:
    maps = [s for s in conf.settings if s.key == IDMAP]
    if maps:
        to_root = (s for s in maps if s.value and lxcsettings.maps_root([s.value]))
        used = next(to_root, maps[-1])
        does = "maps an id to root of the host" if used.value else "takes the maps of ids back"
        return f"{used.file or conf.path}: {used.line} {does}"
    return f"{conf.path} has neither unprivileged: 1 nor lxc.idmap"


def _seccomp_value(conf: Conf) -> str | None:
    values = [value for key, value in conf.lxc() if key == SECCOMP_KEY]
    return values[-1] if values else None


def _finding(confs: list[Conf], what: str, evidence: str, lines: list[str]) -> Finding:
    ctids = tuple(conf.ctid for conf in confs)
    return Finding(
        "warning",
        f"{reading.cts(ctids)}: privileged, and {what}.",
        evidence if evidence.startswith("/") else f"{confs[0].path}: {evidence}",
        fix=reading.all_of(lines),
        ctids=ctids,
    )


def _capabilities(host: Host, privileged: list[Conf]) -> Iterator[Finding]:
    known = reading.assigned(host)
    profiles: dict[str, Profile | None] = {}
    groups: dict[tuple[str, ...], list[Conf]] = {}
    for conf in privileged:
        if conf.has_user_namespace:
            continue  # the kernel asks for them in the host's own
        back = [name for name in DANGEROUS if conf.capabilities.has(name)]
        assigned = (known[conf.ctid].profile if conf.ctid in known else conf.used_profile) or ""
        if back and assigned:
            if assigned not in profiles:
                profiles[assigned] = reading.rules_of(host, assigned)
            profile = profiles[assigned]
            # what its profile refuses, LXC need not take
            back = [n for n in back if profile is None or profile.allows_capability(n)]
        if back:
            groups.setdefault(tuple(back), []).append(conf)
    for names, confs in groups.items():
        lines = {conf.ctid: _giving_back(conf) for conf in confs}
        files = list(dict.fromkeys(s.file for those in lines.values() for s in those if s.file))
        fixes = [
            conf_edits.take_out_empty(c.path, r"lxc\.cap\.(drop|keep)")
            for c in confs
            if lines[c.ctid] and not any(s.value or s.file for s in lines[c.ctid])
        ]
        shown = "; ".join(s.said if s.value else f"{s.said} (empty)" for s in lines[confs[0].ctid])
        shown = shown or f"{_why_privileged(confs[0])}, and {device_access.LIKE_UNPRIVILEGED}"
        found = _finding(
            confs,
            f"LXC leaves it {'; '.join(DANGEROUS[name] for name in names)}",
            shown,
            fixes if len(fixes) == len(confs) else [],
        )
        advice = reading.take_out("the lines lxc.cap", files)
        if not files and len(fixes) < len(confs):
            kept = all(lines[conf.ctid] for conf in confs)
            advice = (
                f"take {' and '.join(names)} out of lxc.cap.keep"
                if kept
                else f"give it maps of ids, or a line: lxc.cap.drop: {' '.join(names)}"
            )
        yield found._replace(advice=advice)


def _giving_back(conf: Conf) -> list[Setting]:
    """The lines for which LXC leaves a container capabilities: what is kept, or an empty line.

    Without that one LXC's own list would be dropped beside what is kept, and it does not start.
    """
    lines = [s for s in conf.settings if s.key in (CAP_DROP, CAP_KEEP)]
    cleared = [number for number, s in enumerate(lines) if not s.value]
    since = lines[cleared[-1] + 1 :] if cleared else lines
    return lxcsettings.of_key(since, CAP_KEEP) or [lines[number] for number in cleared]


def _seccomp(privileged: list[Conf]) -> Iterator[Finding]:
    groups: dict[str, list[Conf]] = {}
    for conf in privileged:
        value = _seccomp_value(conf)
        if value not in (None, paths.SECCOMP, paths.SECCOMP_WITHOUT_BPF):
            groups.setdefault(value or "", []).append(conf)
    for value, confs in groups.items():
        lines = [conf_edits.take_out(conf.path, r"lxc\.seccomp\.profile") for conf in confs]
        if value:
            yield _finding(
                confs,
                f"with a seccomp policy of its own ({value}), so ours does not stop what AppArmor "
                "is not asked about (open_tree, fsmount, bpf, swapon)",
                f"{SECCOMP_KEY}: {value}",
                lines,
            )
        else:
            yield _finding(
                confs,
                "its seccomp policy is switched off: no system call is refused, not even those "
                "that load a kernel module or another kernel",
                f"{SECCOMP_KEY}: (empty)",
                lines,
            )


# So many profiles no container needs: dockerd loads one, snapd some dozens.
MANY_POLICIES = 64


def policies(host: Host) -> Iterator[Finding]:
    """Profiles that containers loaded into their own policy namespace: the host's memory.

    About 2 MiB each, charged to nobody (measured: 100 of them, 215 MiB); under the generated
    profile as well. The kernel has no limit for their number.
    """
    for namespace in host.names(paths.NAMESPACES):
        count = kernel.namespace_policies(host, namespace)
        if count <= MANY_POLICIES:
            continue
        ctid = namespace.removeprefix("lxc-").partition("_<")[0]
        who = f"CT {ctid}" if paths.is_ctid(ctid) else f"policy namespace {namespace}"
        yield Finding(
            "warning",
            f"{who} has loaded {count} AppArmor profiles of its own: they take memory of the host "
            "that no limit of the container covers.",
            f"{kernel.namespace_path(namespace)}/profiles",
            advice="see inside what loads them; stopping the container frees the memory",
            ctids=(ctid,) if paths.is_ctid(ctid) else (),
        )


TYPE_CHECKING = False
if TYPE_CHECKING:
    from phoenix_apparmor.policy.rules import Profile
