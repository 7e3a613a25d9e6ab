"""Times as people write them. Pure."""

import re
import time
from datetime import datetime

from phoenix_apparmor.errors import PhoenixError

HINT = 'Write it like "2026-11-23 10:00", "10:00", today, yesterday, 2h or 30min (ago).'


def parse_since(text: str, now: float) -> float:
    """A time as people write it, in seconds since 1970. Raises PhoenixError (usage).

    ``2026-11-23``, ``2026-11-23 10:00[:30]``, ISO 8601 as in our own JSON, ``10:00`` (the last
    one that there was), ``today``, ``yesterday``, ``@SECONDS``, and how long ago: ``30min``,
    ``2h``, ``1d``, ``-2h``, ``2h ago``. One that is yet to come is refused: no denial is of then.
    """
    found = _parse(text.strip(), now)
    if found is None:
        raise PhoenixError(f'"{text}" is not a valid time.', hint=HINT, status=64)
    if found > now + 1:
        raise PhoenixError(f'"{text}" is in the future.', hint=HINT, status=64)
    return found


def _parse(text: str, now: float) -> float | None:
    words = text.lower()
    if match := re.fullmatch(r"-?(\d+)\s*(s|min|m|h|d|w)[a-z]*(\s+ago)?", words):
        unit = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]
        return now - int(match[1]) * unit
    if match := re.fullmatch(r"@(\d+(?:\.\d+)?)", words):
        return float(match[1])
    found = _of_day(words, now)
    return _of_date(text) if found is None else found


def _of_day(words: str, now: float) -> float | None:
    """A time of today, or the last one of that name."""
    today = time.localtime(now)[:3]
    if words in ("today", "yesterday"):
        return time.mktime((*today[:2], today[2] - (words == "yesterday"), 0, 0, 0, 0, 0, -1))
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            clock = time.strptime(words, form)[3:6]
        except ValueError:
            continue
        at = time.mktime((*today, *clock, 0, 0, -1))
        # in the morning, 23:00 is last night's
        last_night = (*today[:2], today[2] - 1)
        return at if at <= now + 1 else time.mktime((*last_night, *clock, 0, 0, -1))
    return None


def _of_date(text: str) -> float | None:
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        try:
            return time.mktime((*time.strptime(text, form)[:8], -1))
        except ValueError:
            continue
    try:
        # without a zone it is this host's
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
