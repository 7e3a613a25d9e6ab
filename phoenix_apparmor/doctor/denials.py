"""Check of what the kernel refused since boot."""

from collections.abc import Iterator

from phoenix_apparmor.denials import collect
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.doctor import one_container, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host


def since_boot(host: Host) -> Iterator[Finding]:
    """Denials since boot that are not marked as known, counted by container."""
    only = one_container.only(host)
    # whose a denial is, all containers of the host tell
    report = collect.report(Host(host.root), ctid=only or None)
    counts: dict[str, int] = {}
    ctids: dict[str, None] = {}
    for part in report.groups:
        if part.known or (only and part.owner.ctid != only):
            continue
        profile = readable(part.owner.profile or part.owner.inside)
        ctid = readable(part.owner.ctid)
        if ctid:
            ctids.setdefault(ctid)
            who = f"CT {ctid}"
        elif part.owner.profile.startswith("/"):
            who = f"LXC itself under {profile}"
        else:
            who = f"some container under {profile}"
        counts[who] = counts.get(who, 0) + part.count
    if counts:
        total = sum(counts.values())
        most = sorted(counts.items(), key=lambda item: -item[1])
        more = "; there may be more, as messages were lost" if report.lost else ""
        yield Finding(
            "note",
            f"AppArmor refused {total} action{'' if total == 1 else 's'} of "
            f"{f'CT {only}' if only else 'containers'} since boot.",
            f"{reading.listed([f'{name}: {count}' for name, count in most])}{more}",
            advice=f"see what, and how to allow it: phoenix-apparmor denials {only}".rstrip(),
            ctids=tuple(ctids),
        )
