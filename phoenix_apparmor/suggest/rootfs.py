"""Looking into a container's root without being led out of it.

Root in the container chooses every link, mount and node there. So each name is looked up by
openat2(2) with RESOLVE_IN_ROOT (a link, an absolute one too, ends in the container's root),
RESOLVE_NO_MAGICLINKS (nothing below /proc/PID) and RESOLVE_NO_XDEV (no file system that the
container mounted), and is opened with O_PATH, which runs no driver. Linux has it since 5.6, so
every kernel of PVE 8 and 9.

The root itself may be a file system of the container's, whose FUSE server keeps who looks waiting
for good (an overlay over it looks as any other, and hides that FUSE refuses root of the host: seen
on Linux 6.12). So a process of its own looks, for as long as its answers come in time.
"""

import contextlib
import ctypes
import errno
import itertools
import json
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

# linux/openat2.h
SYS_OPENAT2 = 437
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x01, 0x02, 0x10
RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT

ABSENT = (errno.ENOENT, errno.ENOTDIR)
# Seconds for an answer: a disk that sleeps, a share of the network's that is slow.
PATIENCE = 10.0
# Names in a folder that has a use for anybody.
MOST = 100_000


class Root:
    """A container's root folder, as a context.

    All of it raises OSError where it cannot be opened, or does not answer in time.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._looker = -1
        self._socket: socket.socket | None = None

    def __enter__(self) -> "Root":
        ours, theirs = socket.socketpair()
        looker = os.fork()
        if looker == 0:
            with contextlib.suppress(BaseException):
                ours.close()
                _serve(self._path, theirs)
            os._exit(0)
        theirs.close()
        self._looker, self._socket = looker, ours
        number = self._answer()
        if number:
            self._end()
            raise OSError(number, os.strerror(number), self._path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._end()

    def has(self, name: str) -> bool | None:
        """Whether there is such a name; None: it cannot be known without leaving the root."""
        found: bool | None = self._ask("has", name)
        return found

    def first(self, names: Iterable[str]) -> str:
        """The first of these names that is there, "" if none is known to be."""
        return next((name for name in names if self.has(name)), "")

    def names(self, folder: str) -> list[str] | None:
        """The names in a folder, None where there is none or it cannot be read."""
        found: list[str] | None = self._ask("names", folder)
        return found

    def text(self, name: str, limit: int = 64 << 10) -> str | None:
        """The beginning of a regular file, None where there is none or it cannot be read."""
        found: str | None = self._ask("text", name, limit)
        return found

    def _ask(self, what: str, name: str, limit: int = 0) -> Any:
        with contextlib.suppress(OSError):  # then there is no answer
            if self._socket is not None:
                self._socket.sendall(json.dumps((what, name, limit)).encode() + b"\n")
        return self._answer()

    def _answer(self) -> Any:
        """Once one has not come in time, no other is waited for."""
        until = time.monotonic() + PATIENCE
        answer = b""
        try:
            if self._socket is None:
                raise TimeoutError
            while not answer.endswith(b"\n"):
                self._socket.settimeout(max(0.01, until - time.monotonic()))
                part = self._socket.recv(1 << 20)
                if not part:
                    raise ConnectionError
                answer += part
        except OSError:
            self._end()
            why = "its file system does not answer"
            raise OSError(errno.ETIMEDOUT, why, self._path) from None
        return json.loads(answer)

    def _end(self) -> None:
        """It is not waited for: what waits for a server of the network's ends when that does."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        os.kill(self._looker, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._looker, os.WNOHANG)


def _serve(path: str, questions: socket.socket) -> None:
    """Answers what Root._ask asks, a line of JSON each, until nobody asks."""

    def say(answer: bool | int | str | list[str] | None) -> None:
        questions.sendall(json.dumps(answer).encode() + b"\n")

    try:
        looker = _Looker(path)
    except OSError as error:
        say(error.errno)
        return
    say(0)
    for line in questions.makefile("rb"):
        what, name, limit = json.loads(line)
        if what == "has":
            say(looker.has(name))
        elif what == "names":
            say(looker.names(name))
        else:
            say(looker.text(name, limit))


class _Looker:
    """What looks. Raises OSError where the root cannot be opened."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def has(self, name: str) -> bool | None:
        try:
            os.close(self._open(name))
        except OSError as error:
            return False if error.errno in ABSENT else None
        return True

    def names(self, folder: str) -> list[str] | None:
        try:
            found = self._open(folder)
        except OSError:
            return None
        try:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                return None
            # the same folder again, now to read
            with os.scandir(f"/proc/self/fd/{found}") as entries:
                some = [entry.name for entry in itertools.islice(entries, MOST + 1)]
            return sorted(some) if len(some) <= MOST else None
        except OSError:
            return None
        finally:
            os.close(found)

    def text(self, name: str, limit: int) -> str | None:
        try:
            found = self._open(name)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return None
            # the same inode again, now to read: only regular files come here. (Nobody waits until
            # the holder of a lease gives it up: fcntl(2).)
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(f"/proc/self/fd/{found}", flags), "rb") as file:
                return file.read(limit).decode("utf-8", "replace")
        except OSError:
            return None
        finally:
            os.close(found)

    def _open(self, name: str) -> int:
        """An O_PATH descriptor of a name. Raises OSError."""
        how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE))
        found: int = self._libc.syscall(
            ctypes.c_long(SYS_OPENAT2),
            ctypes.c_int(self._fd),
            ctypes.c_char_p(os.fsencode(name)),
            how,
            ctypes.c_size_t(24),
        )
        if found < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name)
        return found
