"""Check of what the kernel refused since boot."""

from collections.abc import Iterator

from phoenix_apparmor.denials import collect
from phoenix_apparmor.denials.quoting import readable
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host


def since_boot(host: Host) -> Iterator[Finding]:
    """Denials since boot that are not marked as known, counted by container."""
    report = collect.report(host)
    counts: dict[str, int] = {}
    for part in report.groups:
        if part.known:
            continue
        profile = readable(part.owner.profile or part.owner.inside)
        ctid = readable(part.owner.ctid)
        who = f"CT {ctid}" if ctid else f"some container under {profile}"
        counts[who] = counts.get(who, 0) + part.count
    if counts:
        total = sum(counts.values())
        most = sorted(counts.items(), key=lambda item: -item[1])
        more = "; there may be more, as messages were lost" if report.lost else ""
        yield Finding(
            "note",
            f"AppArmor refused {total} action{'' if total == 1 else 's'} of containers since boot.",
            f"{reading.listed([f'{name}: {count}' for name, count in most])}{more}",
            advice="see what, and how to allow it: phoenix-apparmor denials",
        )
