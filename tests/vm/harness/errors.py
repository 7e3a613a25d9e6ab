"""What can go wrong with a VM, told so that the reader need not look further."""

from __future__ import annotations

from pathlib import Path


class VmError(Exception):
    """The harness or the VM itself failed (not a command inside it)."""


class CommandFailed(AssertionError):
    """A command in the VM ended with another exit status than 0."""


def tail(file: Path, lines: int = 40) -> str:
    """The last lines of a console log, or a word that there are none."""
    try:
        text = file.read_text(errors="replace")
    except FileNotFoundError:
        return f"({file}: no such file)"
    return "\n".join(text.splitlines()[-lines:]) or f"({file} is empty)"
