"""What a trial has seen: what the profile would have refused its container, and since when.

The kernel logs it as apparmor="ALLOWED" with the profile's name, which is made for the
container (policy/variants.py), so the container is known from the line.
"""

import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from phoenix_apparmor import lxcconf, paths
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.source import Log
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files

# More names of profiles than this at once were made up.
MOST_NAMES = 4096
RATELIMIT = "/proc/sys/kernel/printk_ratelimit"
# With "quiet" complain mode refuses, and logs nothing (kernel, security/apparmor/audit.c).
AUDIT_PARAMETER, QUIET = "/sys/module/apparmor/parameters/audit", b"quiet"
# Without auditd the kernel prints, and prints at most this many lines in so many seconds.
BURST, BURST_SECONDS = "/proc/sys/kernel/printk_ratelimit_burst", 5

# lxcconf.variants makes the names.
_MADE = re.compile(
    r"(?P<profile>lxc-[^/]+?)\."
    r"(?:(?P<guard>guard)(?:\.(?P<its>[1-9][0-9]{2,8}))?|(?P<ctid>[1-9][0-9]{2,8})(?P<trial>\.trial)?)\Z"
)

# What is said of such a profile where a container is assigned it.
MADE = "is made for a container while it runs, and no file holds it"


class Seen(NamedTuple):
    """Of one container's trial.

    since: seconds since 1970 of its begin, 0.0 if unknown. denials: what would have been
    refused, oldest first, as denials of the assigned profile; None: the log cannot be read.
    cut: whether the kernel's rate limit may have left lines out. quiet: whether the kernel
    refuses all that now, unlogged.
    """

    since: float
    denials: tuple[Denial, ...] | None
    cut: bool = False
    quiet: bool = False


class Made(NamedTuple):
    """What the name of a profile that was made for a container says.

    profile: the assigned one. ctid: the container, "" for a guard that several share.
    """

    profile: str
    ctid: str
    trial: bool = False
    guard: bool = False


def made_of(profile: str) -> Made | None:
    """What the name says if it is such a profile's; the site may have called one of its own so."""
    match = _MADE.match(profile)
    if match is None:
        return None
    ctid = match["ctid"] or match["its"] or ""
    return Made(match["profile"], ctid, trial=bool(match["trial"]), guard=bool(match["guard"]))


def assignable(host: Host, name: str) -> str:
    """The profile to assign instead of one that was made for a container, "" if it is none."""
    made = made_of(name)
    try:
        is_made = made is not None and files.find(host, name) is None
        has_file = made is not None and is_made and files.find(host, made.profile) is not None
    except PhoenixError:
        return ""
    return made.profile if made is not None and has_file else ""


def container_of(profile: str) -> tuple[str, str] | None:
    """(assigned profile, CTID) of a trial's profile, None if it is none."""
    made = made_of(profile.partition("//")[0])
    return (made.profile, made.ctid) if made is not None and made.trial else None


def _confined_by(denial: Denial) -> str:
    """The profile of what was refused; D-Bus says the whole label, a guard in it too."""
    if denial.get("profile"):
        return denial.get("profile")
    parts = [part for part in denial.get("label").split("//&") if not part.startswith(":")]
    mades = ((part, made_of(part.partition("//")[0])) for part in parts)
    others = (part for part, made in mades if made is None or not made.guard)
    return next(others, parts[0] if parts else "")


class Variants:
    """Knows which names of profiles are of those made for containers of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, Made | None] = {}

    def as_assigned(self, denial: Denial) -> Denial:
        """A denial by a profile made for one container, as one of the assigned profile's.

        Said as the label of a stack on the container's policy namespace is, which names both. A
        guard keeps its name: what it denies, it denies on purpose.
        """
        outer, separator, child = _confined_by(denial).partition("//")
        # in a policy namespace profiles are called whatever the container likes
        made = None if denial.get("namespace") else self._made(outer)
        if made is None or not made.ctid:
            return denial
        name = outer if made.guard else made.profile
        return _of(denial, name, made.ctid, separator + child)

    def _made(self, name: str) -> Made | None:
        """What the name says, unless it is that of a profile of the site's own.

        The text of one may be gone, with its container or with the trial, and its denials not.
        """
        if name not in self._known:
            if len(self._known) >= MOST_NAMES:
                self._known.clear()
            made = made_of(name)
            if made is not None and not self._host.exists(f"{paths.VARIANTS}/{name}"):
                made = made if files.find(self._host, name) is None else None
            self._known[name] = made
        return self._known[name]


def _of(denial: Denial, profile: str, ctid: str, child: str = "") -> Denial:
    label = lxcconf.label((f"{profile}{child}",), ctid, namespace=True)
    peers = {key: _as_peer(denial.get(key), ctid) for key in ("peer", "peer_label")}
    fields = {key: peer for key, peer in peers.items() if peer}
    return Denial(denial.time, denial.serial, {**denial.fields, **fields, "profile": label})


def _as_peer(label: str, ctid: str) -> str:
    """The label of a peer as it is without a trial and rules of the container's own.

    A program that no rule lets run has a profile in the trial that will not be: null-NAME.
    """
    parts = []
    for part in label.split("//&"):
        outer, *children = part.split("//")
        made = made_of(outer)
        if made is None or made.ctid != ctid or part.startswith(":"):
            guard = made is not None and made.guard and not children
            parts += [] if guard and "//&" in label else [part]
        elif not made.guard:
            named = [child for child in children if not child.startswith("null-")]
            parts.append("//".join((made.profile, *named)))
    return "//&".join(parts)


def began(host: Host, ctid: str, profile: str) -> float:
    """When the trial of a profile began, over restarts; 0.0 if unknown."""
    mark = host.stat(f"{paths.VARIANTS}/{lxcconf.trial_mark(profile, ctid)}")
    return mark.st_mtime if mark is not None else 0.0


def seen(host: Host, trials: Mapping[str, str]) -> dict[str, Seen]:
    """CTID -> what its trial saw; trials: CTID -> assigned profile. Reads the kernel's log."""
    if not trials:
        return {}
    now = time.time()
    starts = {ctid: began(host, ctid, profile) for ctid, profile in trials.items()}
    # The clock was set back since: what was refused then is older than the trial. So all counts.
    starts = {ctid: start if start <= now else 0.0 for ctid, start in starts.items()}
    try:
        events = _events(host, min(starts.values()))
    except (PhoenixError, OSError):
        return {ctid: Seen(start, None) for ctid, start in starts.items()}
    limited = _rate_limit(host)
    quiet = (host.read_if_there(AUDIT_PARAMETER) or b"").strip() == QUIET
    result = {}
    for ctid, profile in trials.items():
        own = tuple(d for d in events.get((profile, ctid), ()) if d.time >= starts[ctid] - 1)
        cut = quiet or (limited > 0 and _is_cut(own, limited))
        result[ctid] = Seen(starts[ctid], own, cut, quiet)
    return result


def _events(host: Host, since: float) -> dict[tuple[str, str], list[Denial]]:
    """(profile, CTID) -> what was allowed because of a trial, by time.

    Raises PhoenixError where a log cannot be read: nothing seen is not nothing refused then.
    """
    log = Log(host, since, tried=True)
    result: dict[tuple[str, str], list[Denial]] = {}
    for denial in log:
        owner = container_of(_confined_by(denial))
        # in a policy namespace profiles are called whatever the container likes
        if owner is not None and not denial.get("namespace"):
            result.setdefault(owner, []).append(_of(denial, *owner))
    if log.problems:
        raise PhoenixError(f"the kernel's log cannot be read: {' '.join(log.problems)}")
    return result


def _rate_limit(host: Host) -> int:
    """Lines that the kernel prints before it holds back; 0: no limit, or auditd gets them all."""
    if host.exists("/run/auditd.pid"):
        return 0
    try:
        interval = int(host.read(RATELIMIT))
        return int(host.read(BURST)) if interval else 0
    except (OSError, ValueError):
        return 10  # Linux' default


def _is_cut(denials: tuple[Denial, ...], burst: int) -> bool:
    """Whether so many came at once that the kernel may have left out more, without a word."""
    times = [denial.time for denial in denials]
    return any(
        times[n + burst - 1] - times[n] <= BURST_SECONDS for n in range(len(times) - burst + 1)
    )


def in_words(found: Seen, ctid: str, now: float | None = None) -> tuple[str, str]:
    """(what a trial has shown, what to do) for status."""
    since = "on trial"
    if found.since:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.since))
        since = f"on trial since {day} ({_age((now or time.time()) - found.since)})"
    if found.denials is None:
        return f"{since}; what would have been refused cannot be read.", "Run it as root."
    if found.quiet:
        return (
            f"{since}; but the kernel refuses what the profile lacks a rule for, and logs nothing.",
            f"To have it allowed and logged: echo -n normal >{AUDIT_PARAMETER}",
        )
    count = len(found.denials)
    actions = f"{count} action{'' if count == 1 else 's'}" if count else "nothing"
    what = f"{since}: {actions} would have been refused."
    if count == 0:
        return what, (
            f"If it has done its usual work, enforce it: phoenix-apparmor allow {ctid} --enforce; "
            f"then: pct reboot {ctid}"
        )
    hint = f"To see what, and the rules for it: phoenix-apparmor allow {ctid} --dry-run"
    if found.cut:
        what += " The kernel prints at most a few lines at once, so there may be more."
        hint += "; to see all: sysctl kernel.printk_ratelimit=0"
    return what, hint


def _age(seconds: float) -> str:
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            number = int(seconds // unit)
            return f"{number} {name}{'' if number == 1 else 's'}"
    return "just now"
