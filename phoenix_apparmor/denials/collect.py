"""The host's log -> the report of denials: for the command, doctor, status, and to build rules."""

from collections.abc import Iterable, Mapping

from phoenix_apparmor import trial
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.denials.adviser import Adviser
from phoenix_apparmor.denials.groups import Group, Report, group, only_of
from phoenix_apparmor.denials.kinds import Collector
from phoenix_apparmor.denials.known import Known
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import Owners
from phoenix_apparmor.denials.profiles import Profiles
from phoenix_apparmor.denials.source import Log
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

# Series of metrics in all, and of one container; a container can make up any number of profiles.
MOST_SERIES = 500
MOST_PROFILES = 10
OTHERS = "(others)"


def report(host: Host, since: float | None = None, ctid: str | None = None) -> Report:
    """All denials since a time (None: since boot), or those of one container.

    Raises PhoenixError if no log can be read.
    """
    log = Log(host, since)
    collector = Collector(Owners(host))
    variants = trial.Variants(host)
    for denial in log:
        collector.add(variants.as_assigned(denial))
    profiles = Profiles(host)
    known = Known(host)
    found = Report(
        log.since,
        tuple(log.sources),
        log.lost,
        (*log.problems, *known.problems),
        log.untrusted,
        collector.left_out,
        group(collector.found(), Adviser(host, profiles, _assigned(host)), known),
        dict(collector.others),
        profiles.silent(),
        profiles.logs_all(),
    )
    return found if ctid is None else only_of(found, ctid)


def judged(host: Host, denials: Iterable[Denial]) -> tuple[Group, ...]:
    """These denials, from wherever they are, in groups with a judgement each."""
    collector = Collector(Owners(host))
    for denial in denials:
        collector.add(denial)
    return group(collector.found(), Adviser(host, Profiles(host), _assigned(host)), Known(host))


def _assigned(host: Host) -> Mapping[str, Assignment]:
    """What containers are assigned; nothing where that cannot be read, which others tell."""
    try:
        return lookup.everyone(host, save=False).assigned
    except (PhoenixError, OSError):
        return {}


def of_container(host: Host, ctid: str, since: float | None = None) -> tuple[Group, ...]:
    """What one container was refused, each with its judgement (Group.advice).

    A rule that may be written is in advice.line with advice.kind "rule", for advice.place,
    and nothing speaks against it where advice.warning is empty. Those that are only possibly
    this container's (owner.candidates) are not among them.
    """
    return tuple(part for part in report(host, since, ctid).groups if part.owner.ctid == ctid)


def counts(host: Host) -> dict[tuple[str, str], int]:
    """(CTID, profile) -> number of denials since boot, a bounded number of them."""
    owners, variants = Owners(host), trial.Variants(host)
    numbers: dict[tuple[str, str], int] = {}
    profiles: dict[str, int] = {}
    for denial in Log(host):
        owner = owners.of(variants.as_assigned(denial))
        if not owner.concerns_containers:
            continue
        key = (owner.ctid, owner.profile or owner.inside)
        if key not in numbers:
            if profiles.get(owner.ctid, 0) >= MOST_PROFILES and owner.ctid:
                key = (owner.ctid, OTHERS)
            if key not in numbers and len(numbers) >= MOST_SERIES:
                key = ("", OTHERS)
            if key not in numbers:
                profiles[owner.ctid] = profiles.get(owner.ctid, 0) + 1
        numbers[key] = numbers.get(key, 0) + 1
    return numbers
