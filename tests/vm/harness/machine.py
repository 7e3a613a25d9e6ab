"""A throw-away VM: booted once per image, then resumed from its saved state in seconds."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from . import cache, emulator, qemu, uml
from .channel import ChannelClosed, ChannelSilent, Result
from .errors import CommandFailed, VmError
from .image import image
from .suites import SUITES

# A file for a line a command: its seconds, the suite, the command.
TIMES = "PHOENIX_TEST_TIMES"
# Times below, and all that are asked for, end what hangs; they are of a machine that is not shared.
# Another may be a quarter as fast: what is slow is no fault.
PATIENCE = 4.0
BOOT_TIMEOUT = 600.0
RESUME_TIMEOUT = 120.0
# Virtual size of the second disk (GiB): the same for the empty and the full one, so that one
# saved state fits both.
ROOTS_SIZE = 12


@dataclass(frozen=True)
class Snapshot:
    """A VM at rest. In `folder`: disk.* (what it wrote), under QEMU state (memory, devices)."""

    suite: str
    folder: Path

    @property
    def disk(self) -> Path:
        return next(self.folder.glob("disk.*"))

    @property
    def state(self) -> Path | None:
        """None: it can only be booted."""
        path = self.folder / "state"
        return path if path.exists() else None

    @property
    def key(self) -> str:
        return self.folder.name


class Machine:
    """A running VM. Use as a context manager, or call close()."""

    def __init__(
        self,
        suite: str,
        disk: Path,
        roots: Path | None,
        state: Path | None,
        append: str = "",
        accelerator: qemu.Accelerator | None = None,
    ) -> None:
        base = image(suite)
        self.suite = suite
        self._folder = Path(tempfile.mkdtemp(prefix=f"vm-{suite}."))
        self._engine: qemu.Qemu | uml.Uml
        if SUITES[suite].emulated:
            self._engine = qemu.Qemu(
                self._folder,
                base,
                disk,
                roots or empty_roots(),
                accelerator or qemu.accelerator(base),
                state,
                append,
            )
        else:
            self._engine = uml.Uml(self._folder, disk, base / "root.img", roots, append)
        try:
            self._channel = self._engine.connect()
            if isinstance(self._engine, qemu.Qemu) and state:
                self._engine.wait_resumed(PATIENCE * RESUME_TIMEOUT)
                # The VM's clock stands where it was saved.
                self.run("date", "-u", "-s", f"@{time.time():.3f}")
            else:
                self._channel.wait_hello(PATIENCE * BOOT_TIMEOUT)
            if roots:
                self.sh(f"mkdir -p /srv/big && mount -o ro,noload {self._engine.SECOND} /srv/big")
        except (ChannelClosed, ChannelSilent) as error:
            raise self._lost(error, "waiting for the agent") from error
        except BaseException:
            self.close()
            raise

    @property
    def debian(self) -> str:
        """The release of its programs."""
        return SUITES[self.suite].debian

    @classmethod
    def resume(cls, snapshot: Snapshot, roots: Path | None = None) -> Machine:
        """A VM that goes on where the snapshot stands; any number at the same time."""
        return cls(snapshot.suite, snapshot.disk, roots, snapshot.state)

    @classmethod
    def boot(
        cls, snapshot: Snapshot, append: str = "", accelerator: qemu.Accelerator | None = None
    ) -> Machine:
        """A VM that boots anew from the snapshot's disk; append: to the kernel's command line."""
        return cls(snapshot.suite, snapshot.disk, None, None, append, accelerator)

    def run(
        self,
        *argv: str,
        timeout: float = 120,
        stdin: bytes = b"",
        check: bool = True,
        live: Callable[[bytes], None] | None = None,
    ) -> Result:
        """Run a program as root in the VM, outside any container.

        timeout in seconds, PATIENCE times that, then it is killed and rc is 124. check: rc other
        than 0 raises CommandFailed. A VM that panics or hangs raises VmError with the end of its
        console.
        """
        begin = time.monotonic()
        try:
            result = self._channel.run(argv, stdin, PATIENCE * timeout, live)
        except (ChannelClosed, ChannelSilent) as error:
            raise self._lost(error, shlex.join(argv)) from error
        if TIMES in os.environ:
            took = time.monotonic() - begin
            with open(os.environ[TIMES], "a") as log:
                log.write(f"{took:.2f}\t{self.suite}\t{shlex.join(argv)[:200]!r}\n")
        if check and result.rc:
            raise CommandFailed(
                f"in the {self.suite} VM: {shlex.join(argv)}\nexit status {result.rc}\n"
                f"stdout:\n{result.stdout}\nstderr:\n{result.stderr}"
            )
        return result

    def sh(
        self,
        script: str,
        timeout: float = 120,
        check: bool = True,
        live: Callable[[bytes], None] | None = None,
    ) -> Result:
        """Run a script with bash -e (and pipefail); otherwise as run()."""
        return self.run("bash", "-e", "-o", "pipefail", "-c", script,
                        timeout=timeout, check=check, live=live)  # fmt: skip

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file in the VM; missing folders are made."""
        data = content.encode() if isinstance(content, str) else content
        # Each program that is started costs an emulated machine 30 ms, six hundred times.
        script = '[ -d "$3" ] || mkdir -p "$3"; cat >"$1" && chmod "$2" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", os.path.dirname(path), stdin=data)

    def read(self, path: str) -> str:
        """The text of a file in the VM."""
        return self.run("cat", path).stdout

    def push(self, source: Path, target: str) -> None:
        """Copy a file or a folder (its contents) of this machine to the path target in the VM."""
        if source.is_file():
            self.write(target, source.read_bytes(), source.stat().st_mode & 0o777)
            return
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", dereference=False) as archive:
            archive.add(source, arcname=".", filter=_as_root)
        self.run("mkdir", "-p", target)
        self.run("tar", "-x", "-C", target, "--no-same-owner", stdin=buffer.getvalue())

    def pull(self, source: str, target: Path) -> None:
        """Copy a file out of the VM."""
        target.write_bytes(self.run("cat", source).stdout_bytes)

    def save(self, folder: Path) -> None:
        """Freeze the VM into `folder` as a Snapshot's contents; this Machine ends."""
        self.run("sync")
        self._channel.close()
        self._engine.save(folder)
        self.close()

    def close(self) -> None:
        """End the VM, drop what it wrote."""
        self._engine.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lost(self, error: Exception, doing: str) -> VmError:
        what = "ended" if isinstance(error, ChannelClosed) else "does not answer"
        text = f"the {self.suite} VM {what} (during: {doing})\n{self._engine.why()}"
        self.close()
        return VmError(text)

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "__pycache__" in info.name:
        return None
    info.uid = info.gid = 0
    return info


def empty_roots() -> Path:
    """A second disk with nothing in it."""

    def make(folder: Path) -> None:
        with (folder / "roots.img").open("wb") as file:
            file.truncate(ROOTS_SIZE << 30)

    return cache.entry("no-roots", f"{ROOTS_SIZE}-raw", make) / "roots.img"


def booted(suite: str) -> Snapshot:
    """The suite's VM, just booted, without our package (about a minute when not in the cache)."""
    with ThreadPoolExecutor() as beside:  # QEMU comes from the mirror while the image is made
        unpacked = beside.submit(emulator.tree) if SUITES[suite].emulated else None
        base = image(suite)
    if unpacked is not None:
        unpacked.result()
        accelerator = qemu.accelerator(base)
        how = accelerator.name
        key = cache.digest(base.name, qemu.version(), *qemu.hardware(accelerator))
    else:
        how = f"Linux {uml.version()}"
        key = cache.digest(base.name, how, uml.APPEND)

    def make(folder: Path) -> None:
        cache.say(f"booting {suite} ({how})")
        with Machine(suite, base / "root.img", None, None) as machine:
            state = machine.run("systemctl", "is-system-running", "--wait", check=False)
            if state.stdout.strip() != "running":
                failed = machine.run("systemctl", "--failed", "--no-legend", check=False)
                raise VmError(f"{suite} booted to '{state.stdout.strip()}':\n{failed.stdout}")
            machine.save(folder)

    return Snapshot(suite, cache.entry(f"booted-{suite}", key, make))


def derived(kind: str, base: Snapshot, key: str, prepare: Callable[[Machine], None]) -> Snapshot:
    """The base's VM after prepare(machine), kept in the cache under KIND-SUITE and key."""

    def make(folder: Path) -> None:
        with Machine.resume(base) as machine:
            prepare(machine)
            machine.save(folder)

    full = cache.digest(base.key, key)
    return Snapshot(base.suite, cache.entry(f"{kind}-{base.suite}", full, make))
