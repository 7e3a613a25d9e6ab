"""Whether what containers have read-only of the host is locked at their start (see shares.py)."""

from collections.abc import Iterator

from phoenix_apparmor import lxcsettings, mountholder
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

START_HOOK = "lxc.hook.start"


def unlocked(host: Host) -> Iterator[Finding]:
    """Containers under a profile, with such a mount, for which nothing can lock it."""
    assigned = reading.assigned(host)
    confs = [
        conf
        for conf in reading.confs(host)
        if conf.ctid in assigned
        and assigned[conf.ctid].profile is not None
        and conf.shares_read_only
    ]
    ctids = tuple(conf.ctid for conf in confs)
    forbids = mountholder.forbidding(host.root)
    if ctids and forbids is not None:
        setting = forbids.removeprefix("/proc/sys/").replace("/", ".")
        yield Finding(
            "warning",
            f"what {reading.cts(ctids)} has read-only of the host is not locked, so root inside "
            "may make it writable: this host allows no "
            f"{'mount' if '_mnt_' in forbids else 'user'} namespaces.",
            f"{forbids} is 0",
            advice=f"allow some and start the containers again: sysctl -w {setting}=1000; see also "
            "what sets it in /etc/sysctl.d",
            ctids=ctids,
        )
    for conf in confs:
        hooks = lxcsettings.of_key(conf.settings, START_HOOK)
        if hooks:
            programs = reading.listed(list(dict.fromkeys(hook.value for hook in hooks)))
            files = list(dict.fromkeys(hook.file or conf.path for hook in hooks))
            lines = "that line" if len(hooks) == 1 else "those lines"
            yield Finding(
                "warning",
                f"CT {conf.ctid}: LXC runs {programs} in the container before what it has "
                "read-only of the host is locked, so that program could make it writable.",
                "; ".join(f"{hook.file or conf.path}: {hook.line}" for hook in hooks),
                advice=f"remove {lines} from {' and '.join(files)}, and let the container's own "
                "init run the program",
                ctids=(conf.ctid,),
            )
