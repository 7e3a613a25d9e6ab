"""A host -> the report of status. Reads only; what cannot be known is said as unknown."""

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from phoenix_apparmor import (
    containers,
    ctconf,
    init_process,
    kernel,
    labels,
    lxcconf,
    mountholder,
    paths,
    startways,
    trial,
)
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import compiled, variants
from phoenix_apparmor.status import profiles, report
from phoenix_apparmor.status.conf import of_conf
from phoenix_apparmor.status.profiles import Progress
from phoenix_apparmor.status.report import Container, Note, Report, Verdict
from phoenix_apparmor.trial import Seen

# Seconds for all running containers that do not say which process is their init.
PATIENCE = 40.0


def inspect(
    host: Host,
    ctids: Sequence[str] = (),
    *,
    named: Sequence[str] = (),
    known: Known | None = None,
    others: Collection[str] = (),
    progress: Progress,
) -> Report:
    """The report on this host's containers (all, or those named) and their profiles.

    named: containers that must be there, where all are looked at.
    known: if the caller has asked already. others: CTIDs of other nodes (cluster/overview.py).
    Raises PhoenixError where a named container is neither here nor in the JSON, or where
    this user may not read the configurations.
    """
    known = known or lookup.everyone(host, save=False)
    confs: dict[str, Conf | None] = {}
    unread: dict[str, Note] = {}
    for ctid, conf in _here_confs(host):
        confs[ctid] = None if isinstance(conf, PhoenixError) else conf
        if isinstance(conf, PhoenixError):
            unread[ctid] = Note(conf.what, conf.hint)
    _check_named((*ctids, *named), known, confs, others)
    chosen = [ctid for ctid in confs if not ctids or ctid in ctids]
    running = containers.running(host)
    failed = containers.failed(host) if chosen else frozenset()
    looked_at = tuple(profiles.all_profiles(host, known, tuple(confs), ctids, progress))
    blocks = {profile.name: profile.blocks for profile in looked_at}
    seen = trial.seen(host, _trials(known, chosen, running))
    found = []
    inits = _Inits(host)
    for number, ctid in enumerate(chosen):
        if running is not None and ctid in running:
            progress(f"asking the kernel about CT {ctid} ({number + 1} of {len(chosen)})")
        runs = None if running is None else ctid in running
        here = _here(inits, ctid, known.of(ctid), confs[ctid], runs, ctid in failed, blocks)
        here = _without_conf(here, unread[ctid]) if ctid in unread else here
        here = _with_trial(here, seen.get(ctid))
        found.append(_with_own_profiles(host, here, known.of(ctid)))
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


def _trials(known: Known, chosen: Iterable[str], running: frozenset[str] | None) -> dict[str, str]:
    """CTID -> profile of the containers on trial that run."""
    assigned = ((ctid, known.of(ctid)) for ctid in chosen if running is None or ctid in running)
    return {
        c: a.profile for c, a in assigned if a is not None and a.trial and a.profile is not None
    }


def _with_trial(found: Container, seen: Seen | None) -> Container:
    """A container with what its trial has shown, if it runs under one."""
    if seen is None or found.enforced is None or not found.enforced.endswith("(trial)"):
        return found
    note = Note(*trial.in_words(seen, found.ctid))
    refused = None if seen.denials is None else len(seen.denials)
    shown = report.Trial(seen.since, refused, seen.cut)
    return replace(found, trial=shown, notes=(*found.notes, note))


def _with_own_profiles(host: Host, found: Container, assignment: Assignment | None) -> Container:
    """A container with what the profiles that were made for it cost, while it runs under them."""
    if found.label is None or assignment is None or not (assignment.trial or assignment.rules):
        return found
    names = assignment.variants(found.ctid)
    if not found.label.startswith(names[0]):
        return found
    size = sum(variants.compiled_size(host, name) for name in names)
    rules = len(assignment.rules)
    whose = f"{rules} rule{'' if rules == 1 else 's'} of its own" if rules else "its trial"
    kept = f"{size * variants.KERNEL_FACTOR / (1 << 20):.1f}"
    note = Note(f"{whose}: the kernel keeps up to {kept} MiB for that while it runs.")
    return replace(found, notes=(*found.notes, note))


def _trouble(host: Host, known: Known) -> Iterator[Note]:
    if containers.is_unmounted(host):
        yield Note(report.NOT_MOUNTED, containers.SEE_MOUNT)
    elif known.trouble is not None:
        used = " The last good assignments are used." if known.ever else ""
        yield Note(known.trouble.what + used, known.trouble.hint)
    # Of a tree below --root nobody can say what its kernel has.
    if not host.root and os.geteuid() == 0:
        try:
            listing = kernel.listing(host)
        except PhoenixError as error:
            yield Note(f"{error.what} So nobody can tell what is enforced.", error.hint)
        else:
            if listing is None:
                yield Note(
                    report.NO_APPARMOR,
                    "Boot it with apparmor=1 security=apparmor, and see that /sys/kernel/security "
                    "is mounted.",
                )
    with contextlib.suppress(OSError):  # not for this user to know
        if kernel.overriding_mode(host):
            hint = f"To have it enforce: {kernel.TO_ENFORCE}. {kernel.OFF_COMMAND_LINE}"
            yield Note(report.NOT_ENFORCING, hint)


def _check_named(
    ctids: Sequence[str], known: Known, confs: Collection[str], others: Collection[str]
) -> None:
    for ctid in ctids:
        containers.check_ctid(ctid)
        if ctid not in confs and ctid not in others and known.of(ctid) is None:
            raise PhoenixError(
                "there is no such container here, and the JSON does not have it.",
                hint="To list all: phoenix-apparmor status --cluster",
                ctid=ctid,
            )


def _here_confs(host: Host) -> Iterator[tuple[str, Conf | PhoenixError | None]]:
    """(CTID, its .conf, or why it cannot be read) of this node.

    Without Proxmox None: LXC's own is all there is.
    """
    if host.exists(paths.CONF_FOLDER):
        yield from containers.each_conf(host)
    else:
        yield from ((ctid, None) for ctid in containers.here(host))


class _Inits:
    """Asks LXC for the init of one running container after the other.

    Who does not answer gets ever less time, so that a thousand who do not keep nobody waiting:
    one that answers needs a fiftieth of a second.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._left = PATIENCE

    def of(self, ctid: str) -> tuple[int | None, str | None, str]:
        """(its process id, what the kernel enforces on it, why that is unknown)."""
        if self._left <= 0:
            return None, None, "lxc-info did not answer for others, so it was not asked."
        begin = time.monotonic()
        try:
            pid = init_process.init_pid(self.host, ctid, timeout=max(1.0, self._left / 2))
        except PhoenixError as error:
            self._left -= time.monotonic() - begin
            return None, None, error.what
        label = kernel.label_of(self.host, pid) if pid is not None else None
        return pid, label, "Run it as root." if label is None else ""


def _here(
    inits: _Inits,
    ctid: str,
    assignment: Assignment | None,
    conf: Conf | None,
    runs: bool | None,
    failed: bool,
    blocks: Mapping[str, str],
) -> Container:
    host = inits.host
    pid, label, unknown = inits.of(ctid) if runs else (None, None, "")
    why = _blocks(host, ctid, assignment, blocks) if assignment is not None else None
    said = of_conf(conf) if conf is not None else None
    ways = startways.of(host, conf) if conf is not None else startways.USUAL
    if ways.refused and why is None:
        why = Note(ways.refused, f"See how to bring it back: phoenix-apparmor doctor {ctid}")
    then = report.NextStart(why, ways.any)
    verdict, notes = report.judge(
        ctid, assignment, said, label, running=runs, failed=failed, then=then
    )
    if runs and label is None:
        notes += (Note("it runs, but its label cannot be read.", unknown),)
    if verdict == "ok" and assignment is not None and pid is not None and label is not None:
        missing = init_process.shortfall(host, ctid, assignment, pid, label)
        if missing is not None:
            verdict = "restart pending"
            notes += (report.falls_short(ctid, missing.what, then),)
    if assignment is not None and assignment.profile is not None and conf is not None:
        notes += tuple(_not_locked(host, conf))
    name = (_lxc_name(host, ctid) if conf is None else conf.option("hostname")) or ""
    return Container(
        ctid,
        name,
        "",
        assignment.name if assignment is not None else "",
        in_conf(conf.text) if conf is not None else _in_runtime(host, ctid),
        runs,
        label,
        verdict,
        notes,
    )


def _blocks(
    host: Host, ctid: str, assignment: Assignment, blocks: Mapping[str, str]
) -> Note | None:
    """Why its start is refused: for its profile, or as none can be made for its rules or trial."""
    why = blocks.get(assignment.name, "")
    if why:
        return Note(why, report.BELOW)
    if assignment.profile is None or not (assignment.trial or assignment.rules):
        return None
    try:
        variants.try_out(host, ctid, assignment)
    except compiled.TooLargeError:
        pass  # nobody knows
    except PhoenixError as error:
        return Note(f"{report.OWN_FAILS}: {error.what.removesuffix('.')}", error.hint)
    except OSError:
        pass  # nobody knows
    return None


def _not_locked(host: Host, conf: Conf) -> Iterator[Note]:
    forbids = mountholder.forbidding(host.root)
    if forbids is not None and conf.shares_read_only:
        yield Note(
            "root inside may make writable what it has read-only of the host: it takes "
            f"namespaces to lock that, and the host allows none ({forbids} is 0).",
            f"See: phoenix-apparmor doctor {conf.ctid}",
        )


def _without_conf(found: Container, why: Note) -> Container:
    """A container whose .conf cannot be read: what is wrong beside that is still wrong."""
    verdict: Verdict = found.verdict if found.verdict in report.OFF else "unknown"
    return replace(found, in_conf=None, verdict=verdict, notes=(why, *found.notes))


def in_conf(conf: bytes) -> str:
    """The profile that a .conf names, GENERATED without a line."""
    values = ctconf.conf_profiles(conf)
    return values[-1] if values else labels.GENERATED


def _in_runtime(host: Host, ctid: str) -> str | None:
    """Without Proxmox, LXC's own configuration is where the profile is written."""
    try:
        values = lxcconf.profiles(host.read(paths.runtime(ctid)))
    except OSError:
        return None
    return values[-1] if values else labels.GENERATED


def _lxc_name(host: Host, ctid: str) -> str | None:
    try:
        text = host.read_if_there(paths.runtime(ctid)) or b""
    except OSError:
        return None
    for setting in map(lxcconf.setting_of, text.split(b"\n")):
        if setting is not None and setting[0] == b"lxc.uts.name":
            return ctconf.as_text(setting[1])
    return None
