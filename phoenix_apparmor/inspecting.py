"""A host -> the report of status. Reads only; what cannot be known is said as unknown."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from phoenix_apparmor import comparing, ctconf, kernel, lookup, lxcconf, paths, report, starting
from phoenix_apparmor.assignments import Assignment
from phoenix_apparmor.comparing import Progress
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.lookup import Known
from phoenix_apparmor.report import Container, Note, Report

SYSTEMCTL_SECONDS = 10
LXC_FOLDER = "/var/lib/lxc"
NODES = "/etc/pve/nodes"


def inspect(
    host: Host, ctids: Sequence[str] = (), *, cluster: bool = False, progress: Progress
) -> Report:
    """The report on this host's containers (all, or those named) and their profiles.

    Raises PhoenixError where a named container is neither here nor in the JSON, or where
    this user may not read the configurations.
    """
    known = lookup.everyone(host, save=False)
    confs = dict(_local_confs(host))
    others = dict(_other_confs(host)) if cluster else {}
    _check_named(ctids, known, confs, others)
    chosen = [ctid for ctid in confs if not ctids or ctid in ctids]
    running = running_ctids(host)
    failed = failed_ctids(host) if chosen else frozenset()
    looked_at = tuple(comparing.all_profiles(host, known, tuple(confs), ctids, progress))
    blocks = {profile.name: profile.blocks for profile in looked_at}
    found = []
    for number, ctid in enumerate(chosen):
        if running is not None and ctid in running:
            progress(f"asking the kernel about CT {ctid} ({number + 1} of {len(chosen)})")
        runs = None if running is None else ctid in running
        found.append(_here(host, ctid, known.of(ctid), confs[ctid], runs, ctid in failed, blocks))
    found += [
        _there(ctid, node, known.of(ctid), text)
        for ctid, (node, text) in others.items()
        if not ctids or ctid in ctids
    ]
    elsewhere = [c for c in known.assigned if c not in confs and c not in others]
    if ctids:
        elsewhere = [c for c in elsewhere if c in ctids]
    return Report(
        known.source,
        tuple(_trouble(host, known)),
        tuple(sorted(found, key=lambda c: int(c.ctid))),
        looked_at,
        tuple(elsewhere),
    )


def _trouble(host: Host, known: Known) -> Iterator[Note]:
    if known.trouble is not None:
        used = " The last good assignments are used." if known.ever else ""
        yield Note(known.trouble.what + used, known.trouble.hint)
    # Of a tree below --root nobody can say what its kernel has.
    if kernel.profile_list(host) is None and not host.root and os.geteuid() == 0:
        yield Note(
            "this kernel runs without AppArmor: nothing is enforced.",
            "Boot it with apparmor=1 security=apparmor, and see that /sys/kernel/security is "
            "mounted.",
        )


def _check_named(
    ctids: Sequence[str], known: Known, confs: Iterable[str], others: Iterable[str]
) -> None:
    for ctid in ctids:
        if not paths.is_ctid(ctid):
            raise PhoenixError(
                f'"{ctid}" is no CTID.', hint="A CTID is a number from 100 to 999999999.", status=64
            )
        if ctid not in confs and ctid not in others and known.of(ctid) is None:
            raise PhoenixError(
                "there is no such container here, and the JSON does not have it.",
                hint="What there is: phoenix-apparmor status --cluster",
                ctid=ctid,
            )


def _local_confs(host: Host) -> Iterator[tuple[str, bytes | None]]:
    """(CTID, text of its .conf) of this node; without Proxmox None, and LXC's folders count."""
    if not host.exists(paths.CONF_FOLDER):
        for ctid in host.names(LXC_FOLDER):
            if paths.is_ctid(ctid) and host.exists(paths.runtime(ctid)):
                yield ctid, None
        return
    for ctid, text in _confs_in(host, paths.CONF_FOLDER):
        yield ctid, text


def _other_confs(host: Host) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """(CTID, (node, text of its .conf)) of the cluster's other nodes."""
    here = os.path.realpath(host.path(paths.CONF_FOLDER))
    for node in host.names(NODES):
        folder = f"{NODES}/{node}/lxc"
        if os.path.realpath(host.path(folder)) == here:
            continue
        for ctid, text in _confs_in(host, folder):
            yield ctid, (node, text)


def _confs_in(host: Host, folder: str) -> Iterator[tuple[str, bytes]]:
    try:
        for name in host.names(folder):
            ctid = name.removesuffix(".conf")
            # One that is destroyed while we look is not there.
            if ctid != name and paths.is_ctid(ctid):
                text = host.read_if_there(f"{folder}/{name}")
                if text is not None:
                    yield ctid, text
    except OSError as error:
        raise PhoenixError(
            f"cannot read {folder}: {error.strerror}.",
            hint="Run it as root." if os.geteuid() else "See: systemctl status pve-cluster",
        ) from error


def running_ctids(host: Host) -> frozenset[str] | None:
    """CTIDs of the containers that run, None if that cannot be seen.

    LXC's monitor listens on the abstract socket LXCPATH/NAME/command as long as its
    container runs (lxc commands_utils.c, lxc_make_abstract_socket_name). One read instead of
    an lxc-info for each of a thousand.
    """
    try:
        lines = host.read("/proc/net/unix").split(b"\n")
    except OSError:
        return None
    prefix, suffix = b"@" + LXC_FOLDER.encode() + b"/", b"/command"
    names = (line.rpartition(b" ")[2] for line in lines)
    return frozenset(
        name[len(prefix) : -len(suffix)].decode("ascii", "replace")
        for name in names
        if name.startswith(prefix) and name.endswith(suffix)
    )


def failed_ctids(host: Host) -> frozenset[str]:
    """CTIDs whose unit pve-container@CTID is failed: the last start was refused or went wrong."""
    if not host.exists("/run/systemd/system") or not host.has_program("systemctl"):
        return frozenset()
    command = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full"]
    units = ["pve-container@*", "pve-container-debug@*"]
    try:
        ran = host.run([*command, *units], timeout=SYSTEMCTL_SECONDS)
    except PhoenixError:
        return frozenset()
    lines = ran.out.decode("utf-8", "replace").split("\n")
    names = (line.split()[0] for line in lines if line.strip())
    return frozenset(
        name.partition("@")[2].removesuffix(".service") for name in names if "@" in name
    )


def _here(
    host: Host,
    ctid: str,
    assignment: Assignment | None,
    conf: bytes | None,
    runs: bool | None,
    failed: bool,
    blocks: Mapping[str, str],
) -> Container:
    label = _label(host, ctid) if runs else None
    why = blocks.get(assignment.name, "") if assignment is not None else ""
    verdict, notes = report.judge(
        ctid, assignment, conf, label, running=runs, failed=failed, blocks=why
    )
    if runs and label is None:
        notes += (Note("it runs, but its label cannot be read.", "Run it as root."),)
    name = (_lxc_name(host, ctid) if conf is None else ctconf.conf_value(conf, b"hostname")) or ""
    return Container(
        ctid,
        name,
        "",
        assignment.name if assignment is not None else "",
        _in_conf(conf) if conf is not None else _in_runtime(host, ctid),
        runs,
        label,
        verdict,
        notes,
    )


def _there(ctid: str, node: str, assignment: Assignment | None, conf: bytes) -> Container:
    verdict, notes = report.judge_elsewhere(ctid, node, assignment, conf)
    name = ctconf.conf_value(conf, b"hostname") or ""
    assigned = assignment.name if assignment is not None else ""
    return Container(ctid, name, node, assigned, _in_conf(conf), None, None, verdict, notes)


def _label(host: Host, ctid: str) -> str | None:
    """What the kernel enforces on the container's init; None if that cannot be seen."""
    try:
        pid = starting.init_pid(host, ctid)
    except PhoenixError:
        return None
    return kernel.label_of(host, pid) if pid is not None else None


def _in_conf(conf: bytes) -> str:
    values = ctconf.conf_profiles(conf)
    return values[-1] if values else report.GENERATED


def _in_runtime(host: Host, ctid: str) -> str | None:
    """Without Proxmox, LXC's own configuration is where the profile is written."""
    try:
        values = lxcconf.profiles(host.read(paths.runtime(ctid)))
    except OSError:
        return None
    return values[-1] if values else report.GENERATED


def _lxc_name(host: Host, ctid: str) -> str | None:
    text = host.read_if_there(paths.runtime(ctid)) or b""
    for setting in map(lxcconf.setting_of, text.split(b"\n")):
        if setting is not None and setting[0] == b"lxc.uts.name":
            return ctconf.as_text(setting[1])
    return None
