"""Checks of AppArmor's part in a container's options: what an explicit profile overrides.

Without a profile line Proxmox writes its generated profile, and rules for features:nesting and
features:mount. With one these vanish, and each start says so: "explicitly configured
lxc.apparmor.profile overrides the following settings: features:nesting" (PVE::LXC,
make_apparmor_config). What that means is up to the profile that the line names.
"""

import re
import shlex
from collections.abc import Iterator

from phoenix_apparmor import labels, paths, pveconf
from phoenix_apparmor.assignments import holes
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.denials import vocabulary
from phoenix_apparmor.doctor import conf_edits, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files, rules
from phoenix_apparmor.pveconf import has_feature

SAYS = "explicitly configured lxc.apparmor.profile overrides the following settings"
# In the order of Proxmox's message.
OVERRIDDEN = ("fuse", "nesting", "mount")
# What nested containers mount; a profile that refuses one of them runs no Docker.
NESTED = (
    ("overlay", "overlay", "/var/lib/docker/overlay2/x/merged/"),
    ("proc", "proc", "/var/lib/docker/overlay2/x/merged/proc/"),
)
# Distributions whose containers (Proxmox's ostype) do not boot with systemd.
NO_SYSTEMD = ("alpine", "devuan", "gentoo", "busybox")
NESTING_OPENS = (
    "under the generated profile root in a privileged container can get at the host with it"
)
_FSTYPE = re.compile(r"[a-z0-9][a-z0-9._-]*")


def overridden(host: Host) -> Iterator[Finding]:
    """What Proxmox's message about overridden features means for each profile."""
    allows = _Rules(host)
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[Conf]] = {}
    futile: dict[tuple[str, ...], list[Conf]] = {}
    for conf in reading.confs(host):
        profile = conf.profile
        if not profile or profile == "generated":
            continue
        has = conf.features
        names = tuple(n for n in OVERRIDDEN if (n == "mount" and has.get(n)) or has_feature(has, n))
        types = has.get("mount", ())
        if conf.has_user_namespace and profile != "unconfined":
            hosts = tuple(kind for kind in types if vocabulary.is_host_only(kind))
            if hosts:
                futile.setdefault(hosts, []).append(conf)
            types = tuple(kind for kind in types if kind not in hosts)
        if names:
            groups.setdefault((profile, names, types), []).append(conf)
    for hosts, confs in futile.items():
        yield _host_only(hosts, confs)
    for (profile, names, types), confs in groups.items():
        yield from _overridden(allows, profile, names, types, confs)


def _overridden(
    allows: "_Rules",
    profile: str,
    names: tuple[str, ...],
    types: tuple[str, ...],
    confs: list[Conf],
) -> Iterator[Finding]:
    ctids = tuple(conf.ctid for conf in confs)
    said = f"{SAYS}: {', '.join(f'features:{name}' for name in names)}"
    seen = f"{confs[0].path}: features: {confs[0].option('features')}, profile {profile}"
    who = reading.cts(ctids)
    if profile == "unconfined":
        return  # refuses nothing; another check says what that means
    known = allows.of(profile)
    if known is None:
        if allows.has_file(profile):
            return  # it does not compile, or cannot be read: told by another check
        yield Finding(
            "note",
            f'{who}: Proxmox says at each start "{said}". What {profile} allows instead is '
            "unknown: no file holds it.",
            seen,
            ctids=ctids,
        )
        return
    refused = [kind for kind in types if not _can_mount(known, kind)]
    means = []
    advice = ""
    if "nesting" in names:
        if _can_nest(known):
            means.append("nested containers work under it")
        else:
            means.append("it does not let Docker and other nested containers run")
            advice = f'if it runs Docker, assign "{paths.DOCKER}" in the JSON'
    if "fuse" in names:
        able = _can_mount(known, "fuse")
        means.append(f"FUSE {'works' if able else 'does not work'} under it")
    allowed = [kind for kind in types if kind not in refused]
    if allowed:
        means.append(f"it allows mounting {', '.join(allowed)}")
    if means:
        yield Finding(
            "note",
            f'{who}: Proxmox says at each start "{said}". That is harmless in itself: {profile} '
            f"applies instead, and {'; '.join(means)}.",
            seen,
            advice=advice,
            ctids=ctids,
        )
    denied = [kind for kind in refused if _denies(known, kind)]
    yield from _denied_mounts(profile, denied, who, seen, confs)
    yield from _refused_mounts(
        allows, profile, [kind for kind in refused if kind not in denied], who, seen, ctids
    )


def _host_only(types: tuple[str, ...], confs: list[Conf]) -> Finding:
    """Root of a user namespace may not mount these, and neither profile nor rule changes that."""
    return Finding(
        "warning",
        f"{reading.cts(conf.ctid for conf in confs)}: features: mount={';'.join(types)} does "
        f"nothing in an unprivileged container: the kernel mounts {', '.join(types)} only for "
        "root of the host. No AppArmor rule changes that.",
        f"{confs[0].path}: features: {confs[0].option('features')}, unprivileged: 1",
        advice=f"mount it on the host and give the container that folder: pct set {confs[0].ctid} "
        f"--mp{pveconf.free_mount_point(confs[0].main)} /FOLDER,mp=/FOLDER"
        if not set(types) & vocabulary.KERNELS
        else "leave it out: root of an unprivileged container can do without it",
        ctids=tuple(conf.ctid for conf in confs),
    )


def _denied_mounts(
    profile: str, denied: list[str], who: str, seen: str, confs: list[Conf]
) -> Iterator[Finding]:
    """No rule of the site's takes an explicit deny back."""
    if not denied:
        return
    conf = confs[0]
    yield Finding(
        "warning",
        f"{who}: features: mount={';'.join(denied)} does nothing: {profile} denies that, and no "
        "rule in local/ or in the JSON takes it back (a file system on a disk may be the host's).",
        seen,
        advice=f"mount it on the host and give the container that folder: pct set {conf.ctid} "
        f"--mp{pveconf.free_mount_point(conf.main)} /FOLDER,mp=/FOLDER",
        ctids=tuple(conf.ctid for conf in confs),
    )


def _refused_mounts(
    allows: "_Rules", profile: str, refused: list[str], who: str, seen: str, ctids: tuple[str, ...]
) -> Iterator[Finding]:
    if not refused:
        return
    what = f"{who}: features: mount={';'.join(refused)} does nothing: {profile} refuses that."
    spelled = all(_FSTYPE.fullmatch(kind) for kind in refused)
    local = allows.local(profile)
    if not spelled or local is None:
        yield Finding(
            "warning",
            what,
            seen,
            advice=f"add a rule for it to the file of {profile} (it reads no local/ file)"
            if local is None
            else "check the names of the file systems",
            ctids=ctids,
        )
        return
    rules = {kind: f"mount fstype={kind}," for kind in refused}
    dangers = {kind: danger_of(kind, ctids[0]) for kind in refused}
    lines = [rules[kind] for kind in refused if not dangers[kind]]
    harmless = [kind for kind in refused if not dangers[kind]] or refused
    shown = " and ".join(f'"{rules[kind]}"' for kind in harmless)
    reload = files.reload_command(profile, reading.wanted_profiles(allows.host))
    them = "that rule" if len(harmless) == 1 else "these rules"
    better = [f"better not {kind}: {why}" for kind, why in dangers.items() if why]
    advice = (
        f"in {local} {them} would be for every container under {profile}; for {who} alone, "
        f'"apparmor_rules" of its entry in the JSON takes {shown}'
    )
    yield Finding(
        "warning",
        what,
        seen,
        fix=f"mkdir -p {paths.APPARMOR_D}/local && {allows.add_to(local, lines)} && {reload}"
        if lines and not better
        else "",
        advice="; ".join([*better, advice]),
        ctids=ctids,
    )


def danger_of(fstype: str, ctid: str) -> str:
    """Why a container should better not mount a type, "" if nothing speaks against it."""
    return holes.hole(f"mount fstype={fstype},", holes.Container(ctid))


class _Rules:
    """Rules of profiles, each read once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._known: dict[str, rules.Profile | None] = {}

    def of(self, name: str) -> rules.Profile | None:
        """What a profile allows, None if that cannot be known."""
        if name not in self._known:
            self._known[name] = reading.rules_of(self.host, name)
        return self._known[name]

    def has_file(self, name: str) -> bool:
        """Whether a file holds the profile."""
        return reading.file_of(self.host, name) is not None

    def add_to(self, local: str, lines: list[str]) -> str:
        """The shell line that adds rules to such a file."""
        return conf_edits.add_lines(local, lines, self.host.read_if_there(local) or b"")

    def local(self, name: str) -> str | None:
        """The file of site rules that a profile reads, None if it reads none."""
        file = reading.file_of(self.host, name)
        base = file.path.rpartition("/")[2] if file is not None else ""
        if file is None or f"<local/{base}>".encode() not in file.text:
            return None
        return f"{paths.APPARMOR_D}/local/{base}"


def _can_mount(profile: rules.Profile, fstype: str) -> bool:
    return profile.new_mount_rule(fstype, "source", "/mnt/x/") is not None


def _denies(profile: rules.Profile, fstype: str) -> bool:
    return profile.denies_new_mount(fstype, "source", "/mnt/x/")


def _can_nest(profile: rules.Profile) -> bool:
    return profile.allows("pivot_root") and all(
        profile.new_mount_rule(*mount) is not None for mount in NESTED
    )


def generated(host: Host) -> Iterator[Finding]:
    """Managed containers under Proxmox's generated profile, in which systemd's units fail.

    Without nesting=1 the generated profile refuses the mounts with which systemd (240 and
    later) builds the sandboxes of its units: status=226/NAMESPACE.
    """
    known = reading.assigned(host)
    without: list[Conf] = []
    for conf in reading.confs(host):
        assignment = known.get(conf.ctid)
        is_assigned = assignment is not None and labels.honest(assignment.name) == "generated"
        if not is_assigned and conf.profile != "generated":
            continue
        if not has_feature(conf.features, "nesting") and conf.option("ostype") not in NO_SYSTEMD:
            without.append(conf)
    # a file that is not read may say otherwise
    safe = [conf for conf in without if conf.is_unprivileged and conf.is_whole]
    others = [conf for conf in without if conf not in safe]
    yield from (_without_nesting(confs, is_safe=confs is safe) for confs in (safe, others) if confs)


def _without_nesting(without: list[Conf], *, is_safe: bool) -> Finding:
    """is_safe: whether nothing speaks against nesting in these."""
    has = without[0].option("features")
    ctids = tuple(conf.ctid for conf in without)
    return Finding(
        "warning",
        f"{reading.cts(ctids)}: Proxmox's generated profile without nesting=1. Units of systemd "
        "240 and later fail under it (status=226/NAMESPACE), logind too.",
        f"{without[0].path}: {f'features: {has}' if has else 'no features:'}, profile "
        f"{without[0].profile or 'none'}",
        fix=reading.all_of([_with_nesting(conf) for conf in without]) if is_safe else "",
        advice='assign one of our profiles in the JSON ("lxc-nvidia-gpu-base"), under which '
        "systemd works" + ("" if is_safe else f"; better not nesting=1: {NESTING_OPENS}"),
        ctids=ctids,
    )


def _with_nesting(conf: Conf) -> str:
    value = pveconf.with_feature(conf.option("features"), "nesting")
    return f"pct set {conf.ctid} --features {shlex.quote(value)}"


def explicit_generated(host: Host) -> Iterator[Finding]:
    """A line that says "generated": Proxmox then leaves out what goes with its profile."""
    managed = reading.managed(host)
    found = [conf for conf in reading.confs(host) if conf.profile == "generated"]
    if not found:
        return
    ctids = tuple(conf.ctid for conf in found)
    fixes = [
        f"phoenix-apparmor apply {conf.ctid}"
        if conf.ctid in managed
        else conf_edits.take_out(conf.path, conf_edits.PROFILE_LINE)
        for conf in found
    ]
    yield Finding(
        "warning",
        f"{reading.cts(ctids)}: the line lxc.apparmor.profile: generated loses the rules that "
        "Proxmox adds to that profile (nesting, mount=, mqueue); without the line it is the "
        "same profile, with them.",
        f"{found[0].path}: lxc.apparmor.profile: generated",
        fix=reading.all_of(fixes),
        ctids=ctids,
    )
