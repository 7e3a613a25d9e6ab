"""Runs inside the VM: takes commands from the virtio-serial port, one at a time.

Every message is a four-byte big-endian length and that many bytes of JSON.
host -> guest: {"argv": [...], "stdin": base64, "timeout": seconds}
guest -> host: {"hello": true} once, {"out"|"err": base64} while it runs, {"rc": N} at the end
(rc -N: killed by signal N; rc 124: the timeout passed and the process group was killed).
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import struct
import subprocess
import time
from typing import Any

PORT = "/dev/virtio-ports/phoenix"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
# A daemon that a command leaves behind may keep its pipes open: after the command itself ended,
# wait this long (seconds) for the rest of the output.
DRAIN = 0.2


def read_exactly(port: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(port, size - len(data))
        if not part:  # nobody is connected on the host's side
            time.sleep(0.05)
            continue
        data += part
    return data


def receive(port: int) -> dict[str, Any]:
    (size,) = struct.unpack(">I", read_exactly(port, 4))
    message: dict[str, Any] = json.loads(read_exactly(port, size))
    return message


def send(port: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(port, data) :]


def execute(port: int, request: dict[str, Any]) -> int:
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
                    send(port, {key.data: base64.b64encode(data).decode()})
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
    port = os.open(PORT, os.O_RDWR)
    send(port, {"hello": True})
    while True:
        request = receive(port)
        try:
            rc = execute(port, request)
        except OSError as error:
            send(port, {"err": base64.b64encode(f"agent: {error}\n".encode()).decode()})
            rc = 127
        send(port, {"rc": rc})


if __name__ == "__main__":
    main()
