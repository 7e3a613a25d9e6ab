"""Keeps Proxmox LXC containers with NVIDIA GPUs confined by AppArmor."""

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__version__ = "1.1.0"


def environment() -> dict[str, str]:
    """os.environ for who does without the module os, a quarter of Python's start."""
    pairs = posix.environ.items()
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}


def leave(status: int) -> "NoReturn":
    """Ends this process at once: to take Python down is a sixth of its start.

    Nothing that must be written may be left to that. What the standard streams cannot take is lost.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass
    posix._exit(status)  # noqa: SLF001  (its name is that of exit(2))
