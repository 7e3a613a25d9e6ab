"""One QEMU process: its arguments, its control socket, its end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cache, emulator
from .channel import SocketChannel
from .errors import VmError, tail
from .image import command

MEMORY = 3072  # MiB
APPEND = (
    "root=/dev/vda rw console=ttyS0 panic=-1 loglevel=4 apparmor=1 security=apparmor "
    "mitigations=off systemd.show_status=0 net.ifnames=0"
)
# How long (seconds) a kernel may take to say its first word under KVM before KVM counts as broken.
KVM_PATIENCE = 8.0


@dataclass(frozen=True)
class Accelerator:
    name: str
    arguments: tuple[str, ...]


KVM = Accelerator("kvm", ("-accel", "kvm", "-cpu", "host", "-smp", "2"))
# One virtual CPU: QEMU 7.2 with several panics now and then in the guest's early boot ("Oops:
# int3" at a static key), because its threads do not order code that another one modifies.
# Nehalem: a small instruction set is emulated faster than `max`, and is enough for Debian.
TCG = Accelerator(
    "tcg", ("-accel", "tcg,thread=single,tb-size=512", "-cpu", "Nehalem", "-smp", "1")
)

# The guest's clock goes by instructions (one a nanosecond): slower, and what a program costs is
# the same number on every machine, busy or not.
COUNTING = Accelerator("counting", (*TCG.arguments, "-icount", "shift=0,sleep=off"))


def version() -> str:
    argv = (*emulator.system(), "--version")
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def accelerator(image: Path) -> Accelerator:
    """KVM if a kernel really boots under it, else TCG. The answer is remembered in the cache.

    A /dev/kvm that opens is not enough: there are machines on which the guest then hangs.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    key = cache.digest(version(), " ".join(os.uname()), _processor())
    answer = cache.entry("kvm", key, lambda folder: _try_kvm(image, folder))
    return KVM if (answer / "works").exists() else TCG


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in lines if line.startswith("model name")), "")


def _try_kvm(image: Path, folder: Path) -> None:
    console = folder / "console"
    with subprocess.Popen(
        [
            *emulator.system(), *KVM.arguments,
            "-m", "512", "-display", "none", "-nodefaults", "-no-reboot",
            "-kernel", str(image / "vmlinuz"), "-append", "console=ttyS0 panic=-1",
            "-serial", f"file:{console}",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        end = time.monotonic() + KVM_PATIENCE
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is None:
            process.kill()
    # Without a root the kernel panics at the very end of its boot: it has come all the way.
    text = console.read_text(errors="replace") if console.exists() else ""
    works = "Unable to mount root" in text
    cache.say("KVM works" if works else "KVM does not work here: emulating (TCG)")
    if works:
        (folder / "works").touch()


def hardware(accelerator: Accelerator, more: str = "") -> Sequence[str]:
    """The machine's parts; a saved VM resumes only on the same ones. more: to the kernel's line."""
    return (
        "-nodefaults", "-no-user-config", "-machine", "q35", *accelerator.arguments,
        "-m", str(MEMORY), "-display", "none", "-no-reboot", "-nic", "none",
        "-append", f"{APPEND} {more}".strip(),
        "-device", "virtio-blk-pci,drive=root,serial=root",
        "-device", "virtio-blk-pci,drive=roots,serial=roots",
        "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=phoenix",
        "-device", "virtio-rng-pci", "-rtc", "base=utc",
    )  # fmt: skip


class Qemu:
    """A running QEMU. `folder` takes its sockets and logs; the disk is written to."""

    SECOND = "/dev/vdb"

    def __init__(
        self,
        folder: Path,
        image: Path,
        disk: Path,
        roots: Path,
        accelerator: Accelerator,
        incoming: Path | None = None,
        append: str = "",
    ) -> None:
        self.disk = folder / "disk.qcow2"
        kind = "raw" if disk.suffix == ".img" else "qcow2"
        command(*emulator.disk_tool(), "create", "-q", "-f", "qcow2", "-b", str(disk), "-F", kind,
                str(self.disk))  # fmt: skip
        self.console = folder / "console.log"
        self.agent_socket = folder / "agent"
        self._log = folder / "qemu.log"
        self._control = folder / "qmp"
        arguments = [
            *emulator.system(), *hardware(accelerator, append),
            "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
            "-drive", f"file={self.disk},format=qcow2,if=none,id=root,cache=unsafe",
            # (User-Mode Linux, which may have it too, locks all of a disk, also to read only.)
            "-drive", f"file={roots},format=raw,if=none,id=roots,readonly=on,cache=unsafe,"
                      "file.locking=off",
            "-serial", f"file:{self.console}",
            "-chardev", f"socket,id=agent,path={self.agent_socket},server=on,wait=off",
            "-qmp", f"unix:{self._control},server=on,wait=off",
            *(["-incoming", f"exec:cat {incoming}"] if incoming else []),
        ]  # fmt: skip
        with self._log.open("w") as log:
            # A test run that is killed takes its machine with it: an orphan costs half a core.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._qmp = self._connect()
        self._lines = self._qmp.makefile("r")
        self._lines.readline()  # its greeting
        self.command("qmp_capabilities")

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        for _ in range(300):
            if self.process.poll() is not None:
                break
            try:
                connection.connect(str(self._control))
                return connection
            except OSError:
                time.sleep(0.1)
        self.process.kill()
        raise VmError(f"QEMU did not start:\n{tail(self._log)}")

    def command(self, name: str, **arguments: Any) -> Any:
        """A command of QEMU's control protocol (QMP); its answer's `return`."""
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        self._qmp.sendall(json.dumps(request).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise VmError(f"QEMU: {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise VmError(f"QEMU ended during {name}:\n{tail(self._log)}")

    def connect(self) -> SocketChannel:
        return SocketChannel(self.agent_socket)

    def wait_resumed(self, timeout: float) -> None:
        """Until a VM that was started with `incoming` runs."""
        end = time.monotonic() + timeout
        while self.command("query-status")["status"] == "inmigrate":
            if time.monotonic() > end:
                raise VmError(f"the saved VM did not resume in {timeout} s:\n{tail(self._log)}")
            time.sleep(0.05)
        self.command("cont")  # it was stopped when it was saved

    def save(self, folder: Path) -> None:
        """Write the machine's state and its disk, which then fits the state; and end QEMU."""
        unlimited = 1 << 40
        self.command("migrate-set-parameters", **{"max-bandwidth": unlimited})
        self.command("stop")
        self.command("migrate", uri=f"exec:cat > {folder / 'state'}")
        while True:
            status = self.command("query-migrate").get("status")
            if status == "completed":
                break
            if status in ("failed", "cancelled"):
                raise VmError(f"QEMU could not save the VM's state:\n{tail(self._log)}")
            time.sleep(0.1)
        self.kill()
        shutil.move(self.disk, folder / self.disk.name)

    def kill(self) -> None:
        """End it now; nothing in it is worth an orderly end."""
        self._qmp.close()
        self.process.kill()
        self.process.wait()

    def why(self) -> str:
        """What its logs say, for an error message."""
        state = self.process.poll()
        how = "runs" if state is None else f"ended with {state}"
        return (
            f"QEMU {how}; its log:\n{tail(self._log, 10)}\nthe VM's console:\n{tail(self.console)}"
        )
