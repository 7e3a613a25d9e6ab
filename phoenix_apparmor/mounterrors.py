"""Why what is shared read-only is not locked, with what helps."""

import errno
import os
import signal
from collections.abc import Sequence
from typing import NamedTuple

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


class Unknown(NamedTuple):
    """What nobody can know, though all that is read-only is locked ("" for nothing); what helps."""

    why: str = ""
    hint: str = ""


def not_read(file: str) -> Unknown:
    """A file with lines that mount something was not read."""
    return Unknown(
        f"whether all in a share is read-only that has to be: {file} is not read",
        "Let root own that file, and nobody else write to it: doctor names it too.",
    )


def unclear(place: bytes, option: str) -> Unknown:
    """A mount is writable, and LXC 6 would have made it read-only."""
    return Unknown(
        f"whether {_shown(place)} has to be read-only: LXC 5 has it writable with {option}",
        f'Write "ro" instead of "{option}" in its lxc.mount.entry, or remove that.',
    )


def _shown(place: bytes) -> str:
    return place.decode("utf-8", "backslashreplace")


def two_mounts(place: bytes, *, is_automount: bool) -> AdvisedError:
    """A share has two at one place. is_automount: whether the lower one waits to be used."""
    at = _shown(place)
    if is_automount:
        return AdvisedError(
            f"an automount that is in use is at {at}",
            "Share the folder without what is mounted in it: as an mpN, with ro=1 where it has to "
            f"be read-only, instead of by rbind; and what is mounted at {at} as another mpN.",
            is_final=True,
        )
    hint = (
        f"Remove one of the lines that mount at {at} from its configuration. If it has none, the "
        "host has both in a folder that is shared by rbind: share that as an mpN instead."
    )
    return AdvisedError(f"two mounts are at {at}", hint, is_final=True)


def hides(above: bytes, place: bytes) -> AdvisedError:
    """One of a share hides another; a neighbour can have it so, for a moment."""
    over, at = _shown(above), _shown(place)
    hint = (
        f"If its configuration mounts at {over} and at {at}, the line of {over} has to be the "
        f"first. Else: {AGAIN}"
    )
    return AdvisedError(f"what is mounted at {over} hides {at}", hint)


def made_inside(place: bytes) -> AdvisedError:
    """A mount that the kernel itself holds, as it is of another user namespace."""
    why = f"{_shown(place)} is mounted writable and made read-only inside"
    hint = (
        "Make it read-only where it is mounted: ro=1 of its mpN, or ro in its lxc.mount.entry. A "
        "program that runs in the container, as one of lxc.hook.mount does, cannot. If there is "
        "none, another container that has the same folder made LXC do it, by a symlink in that."
    )
    return AdvisedError(why, hint, is_final=True)


def not_read_only(place: bytes, *, is_final: bool = False) -> AdvisedError:
    """A line of the configuration says ro, and what is there is writable, or another mount."""
    at = _shown(place)
    return AdvisedError(
        f"{at} is not what its lxc.mount.entry with ro mounts there",
        f"{AGAIN} If its line is optional and {at} is no folder or file of the share: make one, or "
        "remove the line.",
        is_final=is_final,
    )


def source_is_gone(place: bytes) -> AdvisedError:
    """A line says ro, and its source is missing in a folder that is shared writable."""
    return AdvisedError(
        f"the source of the lxc.mount.entry with ro at {_shown(place)} is gone from a folder that "
        "is shared writable",
        "Put it back, or remove the line. Better share a source that is in no shared folder: who "
        "has that can rename it.",
        is_final=True,
    )


def writable_too(place: bytes, hooks: Sequence[str] = ()) -> AdvisedError:
    """A mount in a share is writable, and no line has it so: it may be what a line has read-only.

    hooks: programs of the admin's that may have mounted it.
    """
    why = f"{_shown(place)} is writable, and no line of its configuration has it so"
    if not hooks:
        return AdvisedError(why)
    hint = (
        f"A hook may have mounted it ({', '.join(hooks)}): have it mount that read-only, or "
        "outside of what is shared. Else another container that has the same folder renamed in it."
    )
    return AdvisedError(why, hint, is_final=True)


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
