"""Names from the kernel's log, for people and for rules. Pure.

Whatever a container chose passes here before it reaches a terminal, a file or a rule.
"""

import re

from phoenix_apparmor.denials.names import Name, as_name
from phoenix_apparmor.errors import readable as visible

# Bytes that apparmor_parser takes as they are between quotes. All others are written as \ooo,
# the backslash too: as "\\" in front of the closing quote it would take that away (the parser's
# lexer reads \" as one), and with it the rules that follow.
_PLAIN = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-+:,=<>&()~% "
)
_LONGEST = 200


def readable(name: "str | Name", longest: int = _LONGEST) -> str:
    """name on one line, with what cannot be printed made visible, and cut where it is long."""
    text = "".join("*" if part.wild else part.text for part in as_name(name))
    text = visible(text).replace("\n", "\\n").replace("\t", "\\t")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def quoted(name: "str | Name") -> str:
    """name as a quoted AppArmor pattern that matches just this; what changes stays a pattern."""
    parts = (part.text if part.wild else _escaped(part.text) for part in as_name(name))
    return f'"{"".join(parts)}"'


def quoted_source(name: "str | Name") -> str:
    """The same of what is mounted, which need not be a path: nas://export, https://cloud/dav.

    The parser makes one slash of several, but not of two at the start alone, and the kernel
    compares such a name as it is. A class in brackets it leaves alone (3.0.8).
    """
    text = quoted(name)[1:-1]
    host = "//" if re.match("//(?!/)", text) else ""
    return f'"{host}{re.sub("(?<=/)/", "[/]", text[len(host) :])}"'


def _escaped(text: str) -> str:
    # apparmor_parser turns \ooo into the byte, and into an escaped one where it is an
    # operator of its patterns (parser_misc.c, processunquoted): the same on 3.0 and 4.1
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in raw)


def is_path(name: str) -> bool:
    """Whether the kernel can mean a file by it, and the parser leaves it as it is.

    apparmor_parser makes one slash of several, which would be a rule for another name.
    """
    return name.startswith("/") and "//" not in name and "\0" not in name


_DBUS = re.compile(r"[A-Za-z0-9_./:-]{1,255}\Z")


def is_dbus_word(text: str) -> bool:
    """Whether text is a name, path, interface or member by D-Bus' own grammar."""
    return _DBUS.match(text) is not None
