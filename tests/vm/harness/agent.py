"""Runs inside the VM: takes commands from a port, one at a time.

The port is a virtio-serial one or, under User-Mode Linux, a folder of the host's (class Shared).
Every message is a four-byte big-endian length and that many bytes of JSON.
host -> guest: {"argv": [...], "stdin": base64, "timeout": seconds}
guest -> host: {"hello": true} once, {"out"|"err": base64} while it runs, {"rc": N} at the end
(rc -N: killed by signal N; rc 124: the timeout passed and the process group was killed).
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import selectors
import signal
import struct
import subprocess
import time
from typing import Any

PORT = "/dev/virtio-ports/phoenix"
# On the kernel's command line: the folder of the host's, in which `modules` is a link to the
# kernel's modules there.
SHARE = "phoenix_share"
MOUNTED = "/run/phoenix-test"
MODULES = "/run/phoenix-test-modules"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# A daemon that a command leaves behind may keep its pipes open: after the command itself ended,
# wait this long (seconds) for the rest of the output.
DRAIN = 0.2


class Serial:
    """A virtio-serial port."""

    def __init__(self) -> None:
        self._port = os.open(PORT, os.O_RDWR)

    def receive(self) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._read(4))
        message: dict[str, Any] = json.loads(self._read(size))
        return message

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(self._port, size - len(data))
            if not part:  # nobody is connected on the host's side
                time.sleep(0.05)
                continue
            data += part
        return data

    def send(self, message: dict[str, Any]) -> None:
        data = packed(message)
        while data:
            data = data[os.write(self._port, data) :]


class Shared:
    """A folder of the host's, mounted by hostfs, which does not see that a file has grown.

    The host puts each message into a file of its own: 1, 2, ...; ours all go into `answers`.
    """

    def __init__(self, folder: str) -> None:
        hostfs(folder, MOUNTED)
        hostfs(os.readlink(f"{MOUNTED}/modules"), MODULES)
        # (No mount in /usr: a container could not have that without it.)
        link = f"/usr/lib/modules/{os.uname().release}"
        if not os.path.lexists(link):
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(f"{MODULES}/{os.uname().release}", link)
        subprocess.run(["modprobe", "overlay"], check=True)  # containers' roots
        self._answers = os.open(f"{MOUNTED}/answers", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._number = 0

    def receive(self) -> dict[str, Any]:
        self._number += 1
        path = f"{MOUNTED}/{self._number}"
        while not os.path.exists(path):
            time.sleep(0.02)
        with open(path, "rb") as file:
            message: dict[str, Any] = json.loads(file.read()[4:])
        os.unlink(path)
        return message

    def send(self, message: dict[str, Any]) -> None:
        data = packed(message)
        while data:
            data = data[os.write(self._answers, data) :]
        os.fsync(self._answers)


def hostfs(folder: str, target: str) -> None:
    """Mounts a folder of the host's.

    By mount(2), which hostfs gives the bare path: Debian 12's mount(8) calls that, Debian 13's the
    new calls, which want hostfs=PATH (fs/hostfs/hostfs_kern.c), and neither takes the other's.
    """
    os.makedirs(target, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(target), b"hostfs", 0, os.fsencode(folder)):
        raise OSError(ctypes.get_errno(), "mount of hostfs", target)


def packed(message: dict[str, Any]) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data


def port() -> Serial | Shared:
    with open("/proc/cmdline") as file:
        words = dict(word.partition("=")[::2] for word in file.read().split())
    return Shared(words[SHARE]) if SHARE in words else Serial()


def execute(port: Serial | Shared, request: dict[str, Any]) -> int:
    process = subprocess.Popen(
        request["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr
    pending = base64.b64decode(request.get("stdin", ""))
    end = time.monotonic() + request["timeout"]
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "out")
        selector.register(process.stderr, selectors.EVENT_READ, "err")
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE, "in")
        ended = False
        while len(selector.get_map()) and time.monotonic() < end:
            ready = selector.select(DRAIN)
            if ended and not any(key.data != "in" for key, _ in ready):
                break
            for key, _ in ready:
                if key.data == "in":
                    try:
                        pending = pending[os.write(key.fd, pending) :] if pending else b""
                    except BrokenPipeError:
                        pending = b""
                    if not pending:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                data = os.read(key.fd, 65536)
                if data:
                    port.send({key.data: base64.b64encode(data).decode()})
                else:
                    selector.unregister(key.fileobj)
            ended = process.poll() is not None
    try:
        return process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 124


def main() -> None:
    connection = port()
    connection.send({"hello": True})
    while True:
        request = connection.receive()
        try:
            rc = execute(connection, request)
        except OSError as error:
            text = f"agent: {error}\n".encode()
            connection.send({"err": base64.b64encode(text).decode()})
            rc = 127
        connection.send({"rc": rc})


if __name__ == "__main__":
    main()
