"""Running an external command with a bound on its time."""

import os
import selectors
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor.errors import PhoenixError, from_os_error

# Of a compiled profile there are 3 MiB at most; of messages a person reads some lines.
MOST_OUTPUT, MOST_MESSAGES = 32 << 20, 64 << 10
OUT, ERR = 1, 2
# Of what comes after a program has ended: more than a pipe holds is its child's.
MOST_AFTER = 1 << 20
# How often it is looked whether a program that prints nothing has ended.
LOOK_SECONDS = 0.2
STANDARD_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Ran(NamedTuple):
    """What a command left: exit status (negative: the signal), output and messages."""

    status: int
    out: bytes
    err: str


def run(command: Sequence[str], *, timeout: float, stdin: bytes = b"", cwd: str = "/") -> Ran:
    """Runs a command and waits for it, at most timeout seconds.

    Any exit status is an answer. Raises PhoenixError, with a line that one can paste,
    where the program is missing, did not end in time or printed more than anyone could hold (it
    and its children are killed: a container start must never hang on us). Once it has ended, a
    child of its that keeps its output open is not waited for.
    """
    environment = {**os.environ, "PATH": program_path(), "LC_ALL": "C"}
    try:
        with open(os.memfd_create("stdin"), "w+b") as given:
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
    except OSError as error:
        raise from_os_error(error, f"cannot run {command[0]}") from error
    by_hand = f"Try it by hand: {shlex.join(command)}"
    until = time.monotonic() + timeout
    heard = {OUT: bytearray(), ERR: bytearray()}
    try:
        for pipe, part in _hear(process, until):
            heard[pipe] += part
            if len(heard[OUT]) > MOST_OUTPUT:
                raise _TooMuchError
            del heard[ERR][MOST_MESSAGES:]
    except subprocess.TimeoutExpired as error:
        _end(process)
        what = f"{command[0]} did not end within {timeout:.3g} s."
        raise PhoenixError(what, hint=by_hand) from error
    except _TooMuchError as error:
        _end(process)
        what = f"{command[0]} printed more than {MOST_OUTPUT >> 20} MiB."
        raise PhoenixError(what, hint=by_hand) from error
    finally:
        _close(process)
    return Ran(process.returncode, bytes(heard[OUT]), heard[ERR].decode("utf-8", "replace"))


class _TooMuchError(Exception):
    """A program printed more than MOST_OUTPUT."""


def _hear(process: "subprocess.Popen[bytes]", until: float) -> Iterator[tuple[int, bytes]]:
    """What a process prints, (OUT or ERR, a part), until it has ended and nothing is left.

    A child of its that keeps the pipes open, or prints on and on, is not waited for. until:
    time.monotonic(). Raises subprocess.TimeoutExpired.
    """
    with selectors.DefaultSelector() as pipes:
        for number, pipe in ((OUT, process.stdout), (ERR, process.stderr)):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ, number)
        after = 0
        while pipes.get_map() and after <= MOST_AFTER:
            ended = process.poll() is not None
            left = until - time.monotonic()
            if left <= 0 and not ended:
                raise subprocess.TimeoutExpired(process.args, 0)
            ready = pipes.select(0 if ended else min(LOOK_SECONDS, left))
            if ended and not ready:
                break
            for key, _ in ready:
                part = os.read(key.fd, 1 << 16)
                if not part:
                    pipes.unregister(key.fileobj)
                    continue
                after += len(part) if ended else 0
                yield key.data, part
    process.wait(max(0.0, until - time.monotonic()))


def _close(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process and its group, and waits for nothing.

    Not for the pipes either: a grandchild in a session of its own (setsid) may hold them.
    """
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    process.poll()


class Stream:
    """A command whose output is too long to hold: its lines, one at a time.

    status and err are known once the lines have ended. Raises PhoenixError as run does; a
    reader that stops early ends the command.
    """

    # Longer lines come in pieces: nothing that we read has such.
    LONGEST = 1 << 20

    def __init__(self, command: Sequence[str], *, timeout: float) -> None:
        self._command = command
        self._timeout = timeout
        self.status = 0
        self.err = ""

    def __iter__(self) -> Iterator[bytes]:
        environment = {**os.environ, "PATH": program_path(), "LC_ALL": "C"}
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise PhoenixError(f"cannot run {self._command[0]}: {error.strerror}.") from error
        messages = bytearray()
        try:
            yield from self._lines(process, messages)
            self.status = process.returncode
        except subprocess.TimeoutExpired as error:
            raise PhoenixError(
                f"{self._command[0]} did not end within {self._timeout:.3g} s.",
                hint=f"Try it by hand: {shlex.join(self._command)}",
            ) from error
        finally:
            if process.poll() is None:
                _end(process)
                process.wait()
            _close(process)
            self.err = messages.decode("utf-8", "replace")

    def _lines(self, process: "subprocess.Popen[bytes]", messages: bytearray) -> Iterator[bytes]:
        rest = b""
        for pipe, part in _hear(process, time.monotonic() + self._timeout):
            if pipe == ERR:
                messages += part[: MOST_MESSAGES - len(messages)]
                continue
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if len(rest) > self.LONGEST:
                yield rest
                rest = b""
        if rest:
            yield rest


def program_path() -> str:
    """Where programs are looked for: PATH, then the standard folders, as apt resets PATH."""
    return f"{os.environ.get('PATH', '')}:{STANDARD_PATH}"


def has_program(name: str) -> bool:
    """Whether run would find the program."""
    return any(
        os.access(f"{folder}/{name}", os.X_OK) for folder in program_path().split(":") if folder
    )
