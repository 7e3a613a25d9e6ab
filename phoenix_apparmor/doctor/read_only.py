"""Whether what containers are to have read-only of the host is so, and locked (see shares.py)."""

import re
from collections.abc import Iterator

from phoenix_apparmor import lxcsettings, mountholder
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

START_HOOK = "lxc.hook.start"
# What people write for read-only, as in an mpN or a unit of systemd.
_MEANT = re.compile(r"ro(=.*)?|read-?only", re.IGNORECASE)


def findings(host: Host) -> Iterator[Finding]:
    """What is writable though somebody wrote that it is not, and what is not locked."""
    yield from _writable(host)
    yield from _unlocked(host)


def _writable(host: Host) -> Iterator[Finding]:
    """Binds with a word for read-only that LXC does not take for it, or not each LXC.

    LXC (conf.c, parse_vfs_attr) hands a word that it does not know on to the file system, and a
    bind mount has no use for it; of ro and rw it takes the last.
    """
    for conf in reading.confs(host):
        for entry in lxcsettings.mount_entries(conf.settings):
            meant = [word for word in entry.options if _MEANT.fullmatch(word)]
            if not entry.is_bind or not meant or entry.access == "ro":
                continue
            word, last = meant[-1], entry.access
            advice = f'write "ro" instead of "{word}"'
            if last.startswith("rw"):
                what, advice = f'"{last}" makes it writable', f'remove "{last}"'
            elif last == word:
                what = f'"{word}" is for LXC 6 what "ro" is; LXC 5 makes it writable'
            else:
                what = f'LXC does not know "{word}", so that it is writable'
            place = entry.setting.file or conf.path
            yield Finding(
                "warning",
                f"CT {conf.ctid}: its mount at {entry.place} may not be read-only: {what}.",
                f"{place}: {entry.setting.line}",
                advice=f"{advice} in {place}",
                ctids=(conf.ctid,),
            )


def _unlocked(host: Host) -> Iterator[Finding]:
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
