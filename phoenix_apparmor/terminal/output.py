"""What a terminal can show: colour, width, wrapped words, a line of progress."""

import os
import re
import shutil
import sys
import textwrap
from typing import TextIO

from phoenix_apparmor.errors import readable

RED, YELLOW, GREEN, BOLD, PLAIN = "31", "33", "32", "1", ""
WIDTH = 80
# The colours that our own texts set.
OUR_COLOUR = re.compile(r"(\x1b\[(?:0|1|31|32|33)m)")


def show(text: str, *, colour: bool = False) -> None:
    """Writes text to standard output: whatever goes to a terminal goes through here or warn.

    text may quote files, labels and logs that others wrote, so it is made readable. colour:
    whether text has colours of our own, which then stay.
    """
    parts = OUR_COLOUR.split(text) if colour else [text]
    # split gives what is between matches at even places, the matches at odd ones
    shown = (part if n % 2 else readable(part) for n, part in enumerate(parts))
    sys.stdout.write(_encodable("".join(shown), sys.stdout))


def say(text: str) -> None:
    """One or more lines to standard output."""
    show(f"{text}\n")


def warn(text: str) -> None:
    """One or more lines to standard error, behind what standard output has so far."""
    sys.stdout.flush()
    complain(text)


def complain(text: str) -> None:
    """As warn, whatever becomes of standard output. A full disk behind it stops no work."""
    try:
        sys.stderr.write(_encodable(f"{readable(text)}\n", sys.stderr))
        sys.stderr.flush()
    except OSError:
        return  # nowhere to say it; the exit status tells


def _encodable(text: str, stream: TextIO) -> str:
    """text as a terminal of another encoding than UTF-8 can take it."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def wrap(words: str, room: int, indent: str = "", *, then: str | None = None) -> list[str]:
    """Lines of at most room columns; then: the indent of all but the first line, if another.

    A word longer than that (a path, a command to paste) stays whole.
    """
    return textwrap.wrap(
        words,
        room,
        initial_indent=indent,
        subsequent_indent=indent if then is None else then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def has_colour(stream: TextIO) -> bool:
    """Colour on a terminal only, and not where NO_COLOR (no-color.org) is set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def room(stream: TextIO) -> int:
    """Columns of the terminal, 80 elsewhere."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if stream.isatty() else WIDTH


class Progress:
    """One line on a terminal that says what is done now, and goes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._on = stream.isatty()
        self._shown = False

    def say(self, what: str) -> None:
        """Replaces the line."""
        if self._on:
            self._stream.write(f"\r\x1b[K{readable(what)} …")
            self._stream.flush()
            self._shown = True

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
