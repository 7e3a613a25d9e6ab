"""User-Mode Linux: the kernel as a program of this machine, whose instructions are not emulated.

AppArmor enforces in it as in any Linux, so it shows whether our logic is right, in a fraction of
the time. It cannot be saved and resumed, has no second disk, and is nobody's host: what a kernel
lets an attacker do is tried under QEMU.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from . import cache
from .channel import FolderChannel
from .errors import VmError, tail
from .image import MIRROR, command

PACKAGE = "user-mode-linux"
# sid has a kernel that traps system calls by seccomp: each costs half of what ptrace does.
RELEASES = ("sid", "trixie")
MEMORY = 2048  # MiB
APPEND = (
    "root=/dev/ubda rw panic=-1 loglevel=4 apparmor=1 security=apparmor systemd.show_status=0 "
    "net.ifnames=0 con=null con0=null,fd:1 ssl=null seccomp=auto"
)
# The programs of sid want its C library: with its loader in the place of this machine's, seen by
# this one process alone. $1 loader, $2 libraries, then the command.
START = """
mount --bind "$1" /lib64/ld-linux-x86-64.so.2
export LD_LIBRARY_PATH="$2"
shift 2
exec "$@"
"""


def kernel() -> Path:
    """A folder with the unpacked package; made if it is not there (20 s)."""
    return cache.entry("uml", cache.digest(PACKAGE, *RELEASES), _unpack)


def _unpack(folder: Path) -> None:
    tree = folder / "tree"
    for release in RELEASES:
        try:
            command(
                "mmdebstrap",
                "--variant=extract",
                '--aptopt=Acquire::Check-Valid-Until "false"',
                "--aptopt=Acquire::Languages { }; Acquire::Retries 3",
                "--dpkgopt=path-exclude=/usr/share/*",
                f"--include={PACKAGE}",
                release,
                str(tree),
                MIRROR,
            )
        except VmError as error:
            cache.say(f"{PACKAGE} of {release} cannot be had: {error}")
            shutil.rmtree(tree, ignore_errors=True)
            continue
        return
    raise VmError(f"no {PACKAGE} to be had")


def version() -> str:
    """Of the kernel, like 7.2.7."""
    return next((kernel() / "tree/usr/lib/uml/modules").iterdir()).name


class Uml:
    """A running User-Mode Linux. `folder` takes its console; the disk is written to."""

    SECOND = "/dev/ubdb"

    def __init__(
        self, folder: Path, disk: Path, base: Path, roots: Path | None = None, append: str = ""
    ) -> None:
        self.disk = folder / "disk.cow"
        self._console = folder / "console.log"
        if disk != base:
            command("cp", "--sparse=always", str(disk), str(self.disk))
        # In memory, as each message is synced.
        self._shared = Path(tempfile.mkdtemp(prefix="phoenix-test.", dir="/dev/shm"))
        usr = kernel() / "tree/usr"
        (self._shared / "modules").symlink_to(usr / "lib/uml/modules")
        arguments = [
            "unshare", "--mount", "setpriv", "--pdeathsig", "KILL",
            "setarch", "--addr-no-randomize", "sh", "-euc", START, "sh",
            str(usr / "lib64/ld-linux-x86-64.so.2"), str(usr / "lib/x86_64-linux-gnu"),
            str(usr / "bin/linux.uml"), f"mem={MEMORY}M", f"ubd0c={self.disk},{base}",
            *([] if roots is None else [f"ubd1r={roots}"]),
            f"umid={self._shared.name}", f"uml_dir={folder}", f"phoenix_share={self._shared}",
            *APPEND.split(), *append.split(),
        ]  # fmt: skip
        with self._console.open("w") as console:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                start_new_session=True,
            )  # fmt: skip

    def connect(self) -> FolderChannel:
        return FolderChannel(self._shared, lambda: self.process.poll() is None)

    def save(self, folder: Path) -> None:
        """Keep the disk, to which all has been written; and end."""
        self.kill()
        shutil.move(self.disk, folder / self.disk.name)

    def kill(self) -> None:
        """End it now, with the processes that run its programs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self._shared, ignore_errors=True)

    def why(self) -> str:
        """What its console says, for an error message."""
        state = self.process.poll()
        how = "runs" if state is None else f"ended with {state}"
        return f"User-Mode Linux {how}; its console:\n{tail(self._console)}"
