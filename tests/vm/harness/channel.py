"""The host's end of the command channel: see agent.py for the messages."""

from __future__ import annotations

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


class Channel:
    """Commands over the Unix socket of the VM's virtio-serial port, one at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))

    def close(self) -> None:
        self._socket.close()

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
        self._socket.settimeout(GRACE)
        try:
            self._socket.sendall(struct.pack(">I", len(data)) + data)
        except TimeoutError as error:
            raise ChannelSilent from error
        except OSError as error:
            raise ChannelClosed from error

    def _receive(self, end: float) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._read(4, end))
        message: dict[str, Any] = json.loads(self._read(size, end))
        return message

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
