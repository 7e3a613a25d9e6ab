"""Why what is shared read-only is not locked, with what helps."""

import errno
import os
import signal

AGAIN = (
    "Start it again. If that fails too, see whether another container that has the same folder "
    "renames in it."
)
KILLED = "Start it again. What killed it may be in: journalctl -k -g 'Killed process'"


class AdvisedError(OSError):
    """hint: what helps. is_final: no waiting does."""

    def __init__(self, why: str, hint: str = AGAIN, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.hint = hint
        self.is_final = is_final


class NoNamespaceError(Exception):
    """Whether that is for want of them (used up), or as this host makes none (forbidden)."""

    def __init__(self, number: int) -> None:
        self.used_up = number == errno.ENOSPC
        # (its own words are "No space left on device")
        why = "no more namespaces are allowed" if self.used_up else os.strerror(number)
        super().__init__(f"[Errno {number}] unshare: {why}")
        self.forbidden = number in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL)


def killed(status: int) -> str:
    """What is said of a process of ours with such an exit status (os.waitstatus_to_exitcode)."""
    if status >= 0:
        return "a process of this hook ended too early"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"a process of this hook was killed ({name})"
