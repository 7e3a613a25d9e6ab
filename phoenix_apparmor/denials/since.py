"""Times as people write them. Pure."""

import re
import time

from phoenix_apparmor.errors import PhoenixError


def parse_since(text: str, now: float) -> float:
    """A time as people write it, in seconds since 1970. Raises PhoenixError (usage).

    ``2026-11-23``, ``2026-11-23 10:00[:30]``, ``10:00``, ``today``, ``yesterday``,
    ``@SECONDS``, and how long ago: ``30min``, ``2h``, ``1d``, ``-2h``, ``2h ago``.
    """
    words = text.strip().lower()
    today = time.localtime(now)[:3]
    if words in ("today", "yesterday"):
        return time.mktime((*today[:2], today[2] - (words == "yesterday"), 0, 0, 0, 0, 0, -1))
    if match := re.fullmatch(r"-?(\d+)\s*(s|min|m|h|d|w)[a-z]*(\s+ago)?", words):
        unit = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]
        return now - int(match[1]) * unit
    if match := re.fullmatch(r"@(\d+(?:\.\d+)?)", words):
        return float(match[1])
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dt%H:%M:%S"):
        try:
            return time.mktime((*time.strptime(words, form)[:8], -1))
        except ValueError:
            continue
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            return time.mktime((*today, *time.strptime(words, form)[3:6], 0, 0, -1))
        except ValueError:
            continue
    raise PhoenixError(
        f'"{text}" is no time.',
        hint='Say it like "2026-11-23 10:00", "10:00", today, yesterday, 2h or 30min (ago).',
        status=64,
    )
