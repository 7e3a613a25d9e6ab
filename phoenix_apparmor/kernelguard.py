"""The kernel asks programs of ours what root of a privileged container opens, whatever its path is.

There AppArmor is the only guard, and it goes by paths: a bind mount whose source is looked up twice
gives a file of /proc or /sys any name (see SECURITY.md). So a BPF program is asked each time that a
file is opened, or its mode or owner changed, right before AppArmor, and others about sockets,
modules and bpf(2), of whose arguments AppArmor knows nothing. What they say is guardprogram.py's.
What they refuse AppArmor is not asked about any more, so it is in no log.

They are of the kind that changes what a security_*() function says (kernel, bpf/verifier.c,
check_attach_modify_return; Linux 5.7): those work where "bpf" is not in the list of security
modules, as on Proxmox.
"""

import contextlib
import os

from phoenix_apparmor import bpf
from phoenix_apparmor.errors import PhoenixError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Where the programs are held: without that they end with the process that has loaded them. The
# folder's last part counts their texts: new ones come with an upgrade, and what an older version of
# this package left goes then.
FOLDER, NAME = "/sys/fs/bpf", "phoenix_apparmor_"
VERSION = "1"
PINS = f"{FOLDER}/{NAME}{VERSION}"

# linux/bpf.h
BPF_PROG_TYPE_TRACING, BPF_MODIFY_RETURN = 26, 26
# What asks which process it is has to be under the GPL; ours is under the package's licence, too.
LICENSE = b"Dual MIT/GPL"


def hold() -> None:
    """Has the kernel ask the programs from now on, unless it does.

    Raises PhoenixError with status 0 where it cannot be: the profile is what there is then.
    """
    if os.path.isdir(PINS):
        return
    from phoenix_apparmor import btf, guardprogram

    asked = btf.VMLINUX
    new = f"{FOLDER}/{NAME}new_{os.getpid()}"
    try:
        with open(btf.VMLINUX, "rb") as file:
            at = guardprogram.layout(file.read())
        os.mkdir(new, 0o700)
        for asked, number in at.functions.items():
            text = guardprogram.program(at, asked)
            _pin(text, number, f"{new}/{asked}")
        # All of them, or none. (Where another start was faster, there is a folder with pins.)
        os.rename(new, PINS)
    except btf.UnknownError as error:
        raise _no_way(f"in {btf.VMLINUX} is something unknown: {error}") from error
    except OSError as error:
        if not os.path.isdir(PINS):
            raise _no_way(f"{bpf.reason(error)} ({error.filename or asked})") from error
    finally:
        # What an older version holds stays if there is nothing better.
        _let_go(lambda folder: folder == new or (folder != PINS and os.path.isdir(PINS)))


def _pin(text: bytes, function: int, path: str) -> None:
    """Has the kernel ask a program for as long as the path is there. Raises OSError."""
    kinds = (BPF_PROG_TYPE_TRACING, BPF_MODIFY_RETURN)
    with contextlib.ExitStack() as opened:
        loaded = bpf.load(text, *kinds, b"phoenix_kernel", LICENSE, function)
        opened.callback(os.close, loaded)
        link = bpf.attach_to_function(loaded)
        opened.callback(os.close, link)
        bpf.pin(link, path)


def _let_go(which: "Callable[[str], bool]") -> None:
    """Ends the programs that some folders of ours hold."""
    with contextlib.suppress(OSError):
        for name in os.listdir(FOLDER):
            folder = f"{FOLDER}/{name}"
            if name.startswith(NAME) and which(folder):
                for pin in os.listdir(folder):
                    os.unlink(f"{folder}/{pin}")
                os.rmdir(folder)


def _no_way(why: str) -> PhoenixError:
    return PhoenixError(
        f"the kernel's files in /proc and /sys are closed to it by its profile alone: {why}.",
        hint="See SECURITY.md, or make it unprivileged.",
        status=0,
    )
