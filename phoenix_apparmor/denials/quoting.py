"""Names from the kernel's log, for people and for rules. Pure."""

import re

_SPECIAL = re.compile(r'[\\*?\[\]{}^"]')
_NEEDS_QUOTES = re.compile(r'[\s,()=#@<>&"]|[^\x21-\x7e]')


def readable(name: str) -> str:
    """name on one line: what a container chose may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def literal(name: str, before: str = "") -> str:
    """name as an AppArmor pattern that matches just this, in quotes where it needs them.

    before: a pattern that goes in front as it is.
    """
    escaped = _SPECIAL.sub(r"\\\g<0>", name)
    raw = escaped.encode("utf-8", "surrogateescape")
    # apparmor_parser reads \ooo in a quoted name (lib.c, strn_escseq)
    text = "".join(chr(b) if 0x20 <= b < 0x7F else f"\\{b:03o}" for b in raw)
    text = before + text
    return f'"{text}"' if _NEEDS_QUOTES.search(name) or not text else text
