"""Check of what the kernel refused since boot."""

from collections.abc import Iterator

from phoenix_apparmor.denials import groups, source
from phoenix_apparmor.denials.closing import Closed
from phoenix_apparmor.denials.owner import Owners
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host


def since_boot(host: Host) -> Iterator[Finding]:
    """Denials since boot, counted by container."""
    log = source.read(host)
    parts, _ = groups.group(log.denials, Owners(host), Closed(host))
    counts: dict[str, int] = {}
    for part in parts:
        profile = part.owner.profile or part.owner.inside
        who = f"CT {part.owner.ctid}" if part.owner.ctid else f"some container under {profile}"
        counts[who] = counts.get(who, 0) + part.count
    if counts:
        total = sum(counts.values())
        who = reading.listed([f"{name}: {count}" for name, count in counts.items()])
        more = "; there may be more, as messages were lost" if log.lost else ""
        yield Finding(
            "note",
            f"AppArmor refused {total} action{'' if total == 1 else 's'} of containers since boot.",
            f"{who}{more}",
            advice="see what, and how to allow it: phoenix-apparmor denials",
        )
