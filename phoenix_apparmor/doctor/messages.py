"""What people see when something does not start or work, and what it means: one list. Pure.

doctor CTID translates with it what the last start left behind; the man page's DIAGNOSTICS are its
text, the README's troubleshooting table the common ones (tests/unit/test_docs.py).
"""

import re

from phoenix_apparmor.doctor.message import Message
from phoenix_apparmor.doctor.other_messages import OTHERS
from phoenix_apparmor.doctor.our_messages import OURS

__all__ = ["MESSAGES", "Message", "meaning", "rows", "told"]

MESSAGES: tuple[Message, ...] = (*OURS, *OTHERS)


def meaning(line: str) -> Message | None:
    """What a line of a log means; None if that is not known."""
    return next((m for m in MESSAGES if m.pattern and re.search(m.pattern, line)), None)


def told(message: Message, line: str, ctid: str) -> str:
    """What it means, for the line in which it was found."""
    found = re.search(message.pattern, line)
    names = found.groupdict() if found is not None else {}
    means = message.means.replace("CTID", ctid).replace("`", "")
    if names.get("FILE"):
        means = means.replace("FILE, with the file of the message,", names["FILE"])
    return means


def rows() -> list[str]:
    """The troubleshooting table of the common ones, in Markdown."""
    head = ["| what you see | what it is, and how to fix it |", "|---|---|"]
    return head + [
        f"| {_shown(message)} | {message.means} |" for message in MESSAGES if message.common
    ]


def _shown(message: Message) -> str:
    return message.shown + (f" ({message.speaker})" if message.speaker else "")
