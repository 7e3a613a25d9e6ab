"""One container's start: decide and edit.

The hookscript, the unit's drop-in and `apply` all come here, so that a container gets the
same answer on every way to start. What Proxmox does when: facts in the README, "How a start
works"; in short, the runtime configuration is generated from .conf before the hookscript
runs, and lxc-start reads nothing else. So both files are made right, .conf for the next
start and the runtime configuration for this one.
"""

import time
from typing import Literal, NamedTuple

from phoenix_apparmor import containers, ctconf, kernel, lxcconf, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError, from_os_error
from phoenix_apparmor.host import Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.policy import files, load

# Proxmox's own generator, with the assignment put into the configuration in memory: right
# whether .conf says it already (hookscript) or may not be written now (drop-in).
REGENERATE = """use strict; use warnings; use PVE::LXC; use PVE::LXC::Config;
my ($vmid, $profile) = @ARGV;
my $conf = PVE::LXC::Config->load_config($vmid);
my @lxc = grep { $_->[0] !~ /^lxc\\.(apparmor\\.profile|aa_profile)$/ } @{$conf->{lxc} // []};
push @lxc, ['lxc.apparmor.profile', $profile] if defined $profile;
$conf->{lxc} = \\@lxc;
PVE::LXC::update_lxc_config($vmid, $conf);
"""

Where = Literal["hookscript", "unit"]

# What we may take for a whole start, seconds. Proxmox sets the hookscript no limit, and fifty
# starts at once on a small host need minutes; the unit has its drop-in's TimeoutStartSec=30s.
PATIENCE: dict[Where, float] = {"hookscript": 300, "unit": 25}


class Prepared(NamedTuple):
    """What a start was given.

    assignment: None if the container is not managed.
    changes: what was done, a few words each; empty when all was right before.
    warnings: what a person should know although the start goes on.
    """

    assignment: Assignment | None
    changes: tuple[str, ...] = ()
    warnings: tuple[PhoenixError, ...] = ()


def prepare(host: Host, ctid: str, where: Where) -> Prepared:
    """Makes this start run under what the JSON assigns to the container now.

    Raises PhoenixError if that cannot be: then the start must be aborted. The drop-in
    (where="unit") leaves .conf alone: Proxmox may hold its lock for our own parent.
    """
    try:
        return _prepare(host, ctid, where)
    except PhoenixError as error:
        raise error.about(ctid) from error
    except OSError as error:
        raise from_os_error(error).about(ctid) from error


def _prepare(host: Host, ctid: str, where: Where) -> Prepared:
    until = time.monotonic() + PATIENCE[where]
    conf = host.read_if_there(paths.conf(ctid))
    assignment, known = lookup.assignment_of(host, ctid, wait=PATIENCE[where] / 3)
    trouble = known.trouble if known is not None else None
    if trouble is not None and known is not None and not known.ever:
        is_ours = _has_our_hookscript(conf) or _has_our_profile(conf)
        if where == "hookscript" or is_ours or assignment is not None:
            raise PhoenixError(
                f"its profile is unknown, so it is not started. {trouble.what}", hint=trouble.hint
            )
        return Prepared(None)
    warnings = [] if known is None or known.late is None else [known.late.about(ctid)]
    if trouble is not None:
        warnings.append(
            PhoenixError(
                f"{trouble.what} The last good assignment is used: "
                f"{assignment.name if assignment else 'none'}.",
                hint=trouble.hint,
                ctid=ctid,
            )
        )
    if assignment is None:
        return Prepared(None, warnings=tuple(warnings))
    own = assignment.trouble
    if own is not None and not assignment.name:
        raise PhoenixError(own.what, hint=trouble.hint if trouble is not None else own.hint)
    if own is not None:
        warnings.append(own.about(ctid))
    changes = _make_it_so(host, ctid, assignment, where, conf, warnings, until)
    return Prepared(assignment, tuple(changes), tuple(warnings))


def _has_our_profile(conf: bytes | None) -> bool:
    """Whether its .conf names a profile that this package ships: it is, or was, managed."""
    return conf is not None and not {*ctconf.conf_profiles(conf)}.isdisjoint(paths.SHIPPED)


def _has_our_hookscript(conf: bytes | None) -> bool:
    return conf is not None and paths.is_our_hookscript(ctconf.conf_value(conf, b"hookscript"))


def _make_it_so(
    host: Host,
    ctid: str,
    assignment: Assignment,
    where: Where,
    conf: bytes | None,
    warnings: list[PhoenixError],
    until: float,
) -> list[str]:
    """Kernel first, so that a refused start has changed nothing; the runtime configuration last."""

    def late(told: PhoenixError) -> None:
        warnings.append(told.about(ctid))

    profile = assignment.profile
    changes = []
    if profile is not None and load.ensure_enforced(host, profile, until, late):
        changes.append(f"loaded profile {profile}")
    if assignment.trial or assignment.rules or host.exists(paths.VARIANTS):
        from phoenix_apparmor.policy import variants

        loaded = variants.ensure(host, ctid, assignment, until, late)
        changes += [f"loaded profile {name}" for name in loaded]
        variants.forget(host, ctid, assignment.variants(ctid))
    if where == "hookscript":
        if conf is None:
            raise PhoenixError(
                f"there is no {paths.conf(ctid)}: it is not a container on this node.",
                hint="See where it is: pct list; ls /etc/pve/nodes/*/lxc",
            )
        # Held by our parent on every way but vzdump's stop mode; then it is free for us.
        with Lock(host, paths.conf_lock(ctid), wait=0):
            before = edit_conf(host, ctid, profile)
        if before is not None:
            changes.append(before)
    elif conf is not None and not ctconf.conf_says(conf, profile):
        warnings.append(
            PhoenixError(
                f"{paths.conf(ctid)} does not name {assignment.name} yet; this start uses it.",
                hint=f"To update it: phoenix-apparmor apply {ctid}",
                ctid=ctid,
            )
        )
    if set_runtime(host, ctid, assignment, until):
        changes.append("corrected the runtime configuration")
    return changes


def edit_conf(host: Host, ctid: str, profile: str | None) -> str | None:
    """Makes .conf say profile, under the caller's lock; what was changed, None if nothing."""
    name = paths.conf(ctid)
    old = host.read(name)
    new = ctconf.set_conf_profile(old, profile)
    if new == old:
        return None
    host.replace(name, new)
    return describe_edit(old, profile)


def describe_edit(old: bytes, profile: str | None) -> str:
    """In words: from what to what."""
    values = ctconf.conf_profiles(old)
    return f"profile in .conf: {values[-1] if values else 'no line'} -> {profile or 'no line'}"


def set_runtime(host: Host, ctid: str, assignment: Assignment, until: float) -> bool:
    """Makes the runtime configuration be as it should for the assignment.

    Returns whether its profile was another one. On Proxmox its own generator writes it (with
    a profile line it leaves out allow_nesting and raw, which an edit of one line would
    leave), elsewhere the file is the admin's and only the line is edited. until:
    time.monotonic() of the end of the start's patience.
    """
    name = paths.runtime(ctid)
    old = host.read_if_there(name)
    if old is None and not containers.is_proxmox(host):
        return False  # lxc-start has nothing to start either, and says so
    profile = assignment.profile
    expected = "generated" if profile is None and containers.is_proxmox(host) else profile
    changed = old is None or not lxcconf.says(old, expected)
    if changed and containers.is_proxmox(host):
        _regenerate(host, ctid, profile, until)
        old = host.read(name)
        if not lxcconf.says(old, expected):
            raise PhoenixError(
                f"Proxmox did not put profile {expected} into {name}.",
                hint=f"See what else sets one there: grep apparmor {name} {paths.conf(ctid)}",
            )
    right = lxcconf.set_profile(old or b"", expected)
    new = _with_our_lines(host, ctid, assignment, right)
    if new != old:
        host.replace(name, new)
    return changed


def _with_our_lines(host: Host, ctid: str, assignment: Assignment, runtime: bytes) -> bytes:
    """The runtime configuration with what its profile file asks for beside the label.

    A policy namespace, unless the container is excepted or has no user namespace (only that
    can own one). Our seccomp policy in a container without a user namespace, unless its
    .conf names one itself. And what its host shares read-only is locked so.
    """
    profile = assignment.profile
    if profile is None:
        return lxcconf.with_our_lines(runtime, None)
    file = files.asked(host, profile)
    files.check_parts(host, file)
    namespace, seccomp, lock = False, "", lxcconf.LOCK_SHARES
    if lxcconf.is_unprivileged(runtime):
        wanted = file.wants_namespace and assignment.policy_namespace
        namespace = wanted and host.exists(paths.NAMESPACES)
    else:
        seccomp = "" if lxcconf.has_seccomp(runtime) else file.seccomp
        lock = lxcconf.lock_of(file.seccomp)
    if namespace:
        _make_namespace(host, ctid)
    if seccomp and not host.has_text(seccomp):
        raise PhoenixError(
            f"{seccomp}, which guards a privileged container, is missing or empty.",
            hint="Bring it back: apt install --reinstall -o Dpkg::Options::=--force-confmiss "
            "phoenix-apparmor",
        )
    if seccomp and (why := host.distrust(seccomp)):
        raise PhoenixError(
            f"{seccomp}, which guards a privileged container, is not used: {why}.",
            hint=f"If its content is right: {lookup.how_to_trust(seccomp, why)}",
        )
    label = lxcconf.label(assignment.variants(ctid), ctid, namespace=namespace)
    return lxcconf.with_our_lines(
        runtime,
        None if label == profile else label,
        namespace=namespace,
        seccomp=seccomp,
        lock=lock,
    )


def _make_namespace(host: Host, ctid: str) -> None:
    try:
        kernel.make_namespace(host, lxcconf.namespace_of(ctid))
    except OSError as error:
        raise PhoenixError(
            f"its policy namespace cannot be made: {error.strerror}.",
            hint='To do without it: "apparmor_policy_namespace": false in its JSON entry.',
        ) from error


def _regenerate(host: Host, ctid: str, profile: str | None, until: float) -> None:
    program = " ".join(REGENERATE.split())  # one line, so that an error's hint can be pasted
    command = ["perl", "-e", program, ctid, *([] if profile is None else [profile])]
    ran = host.run(command, timeout=load.seconds_left(until))
    if ran.status != 0:
        raise PhoenixError(
            f"Proxmox could not write {paths.runtime(ctid)}: {ran.err.strip()[-300:]}",
            hint=f"See what is wrong with its configuration: pct config {ctid}",
        )
