"""The host's end of the command channels: see agent.py for the messages."""

from __future__ import annotations

import abc
import base64
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Beyond a command's own timeout, kept by the agent: after this many seconds more the VM is hung.
GRACE = 60.0
# Between two looks at a file that may have grown, seconds.
PAUSE = 0.01


class ChannelClosed(Exception):
    """QEMU closed the socket: the VM is gone."""


class ChannelSilent(Exception):
    """No answer in time: the VM hangs."""


@dataclass(frozen=True)
class Result:
    """How a command in the VM ended; rc as in subprocess, 124 when its time was up."""

    argv: tuple[str, ...]
    rc: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode(errors="replace")

    @property
    def output(self) -> str:
        """Both, stdout first."""
        return self.stdout + self.stderr


class Channel(abc.ABC):
    """Commands to the agent in the VM, one at a time."""

    def wait_hello(self, timeout: float) -> None:
        """The agent says hello once, when the VM has booted."""
        self._receive(time.monotonic() + timeout)

    def run(
        self,
        argv: tuple[str, ...],
        stdin: bytes,
        timeout: float,
        live: Callable[[bytes], None] | None = None,
    ) -> Result:
        """Run argv; `live` gets stdout and stderr as they come."""
        encoded = base64.b64encode(stdin).decode()
        self._send({"argv": argv, "stdin": encoded, "timeout": timeout})
        end = time.monotonic() + timeout + GRACE
        parts: dict[str, list[bytes]] = {"out": [], "err": []}
        while True:
            message = self._receive(end)
            if "rc" in message:
                return Result(
                    argv, int(message["rc"]), b"".join(parts["out"]), b"".join(parts["err"])
                )
            for name, received in parts.items():
                if name in message:
                    data = base64.b64decode(message[name])
                    received.append(data)
                    if live:
                        live(data)

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode()
        self._write(struct.pack(">I", len(data)) + data)

    def _receive(self, end: float) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._read(4, end))
        message: dict[str, Any] = json.loads(self._read(size, end))
        return message

    @abc.abstractmethod
    def close(self) -> None:
        """Lets go of the VM."""

    @abc.abstractmethod
    def _write(self, data: bytes) -> None:
        """Sends one message."""

    @abc.abstractmethod
    def _read(self, size: int, end: float) -> bytes:
        """The next bytes, until a time of time.monotonic()."""


class SocketChannel(Channel):
    """Over the Unix socket of QEMU's virtio-serial port."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))

    def close(self) -> None:
        self._socket.close()

    def _write(self, data: bytes) -> None:
        self._socket.settimeout(GRACE)
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise ChannelSilent from error
        except OSError as error:
            raise ChannelClosed from error

    def _read(self, size: int, end: float) -> bytes:
        data = b""
        while len(data) < size:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                part = self._socket.recv(size - len(data))
            except TimeoutError as error:
                raise ChannelSilent from error
            except OSError as error:
                raise ChannelClosed from error
            if not part:
                raise ChannelClosed
            data += part
        return data


class FolderChannel(Channel):
    """Over files that User-Mode Linux sees by hostfs: see class Shared of agent.py.

    runs: whether the VM's process is still there.
    """

    def __init__(self, folder: Path, runs: Callable[[], bool]) -> None:
        self._folder = folder
        self._runs = runs
        self._number = 0
        answers = folder / "answers"
        answers.touch()
        self._answers = answers.open("rb", buffering=0)

    def close(self) -> None:
        self._answers.close()

    def _write(self, data: bytes) -> None:
        self._number += 1
        temporary = self._folder / "new"
        temporary.write_bytes(data)
        temporary.rename(self._folder / str(self._number))

    def _read(self, size: int, end: float) -> bytes:
        data = b""
        while len(data) < size:
            part = self._answers.read(size - len(data))
            if part:
                data += part
                continue
            if not self._runs():
                raise ChannelClosed
            if time.monotonic() > end:
                raise ChannelSilent
            time.sleep(PAUSE)
        return data
