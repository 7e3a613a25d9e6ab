"""Running an external command with a bound on its time."""

import os
import selectors
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor.errors import PhoenixError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

# Of a compiled profile there are 3 MiB at most; of messages a person reads some lines.
MOST_OUTPUT, MOST_MESSAGES = 32 << 20, 64 << 10
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
    try:
        out, err = _listen(process, until)
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        _end(process)
        what = f"{command[0]} did not end within {timeout:.3g} s."
        raise PhoenixError(what, hint=by_hand) from error
    except _TooMuchError as error:
        _end(process)
        what = f"{command[0]} printed more than {MOST_OUTPUT >> 20} MiB."
        raise PhoenixError(what, hint=by_hand) from error
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    return Ran(process.returncode, out, err.decode("utf-8", "replace"))


class _TooMuchError(Exception):
    """A program printed more than MOST_OUTPUT."""


def _listen(process: "subprocess.Popen[bytes]", until: float) -> tuple[bytes, bytes]:
    """What a process prints until nobody can say more, and the begin of its messages.

    until: time.monotonic(). Raises subprocess.TimeoutExpired and _TooMuchError.
    """
    heard = {1: bytearray(), 2: bytearray()}
    with selectors.DefaultSelector() as pipes:
        for number, pipe in ((1, process.stdout), (2, process.stderr)):
            if pipe is not None:
                pipes.register(pipe, selectors.EVENT_READ, heard[number])
        last_words = 0.0
        while pipes.get_map():
            now = time.monotonic()
            ended = process.poll() is not None
            last_words = last_words or (now + LOOK_SECONDS if ended else 0.0)
            if now >= (last_words or until):
                break
            ready = pipes.select(0 if ended else min(LOOK_SECONDS, until - now))
            if ended and not ready:
                break  # what is still open, a child of its has
            for key, _ in ready:
                part = os.read(key.fd, 1 << 16)
                key.data.extend(part if key.data is heard[1] else part[: _room(heard[2])])
                if not part:
                    pipes.unregister(key.fileobj)
            if len(heard[1]) > MOST_OUTPUT:
                raise _TooMuchError
    if process.poll() is None and time.monotonic() >= until:
        raise subprocess.TimeoutExpired(process.args, 0)
    return bytes(heard[1]), bytes(heard[2])


def _room(messages: bytearray) -> int:
    return MOST_MESSAGES - len(messages)


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
        import tempfile
        import threading

        environment = {**os.environ, "PATH": program_path(), "LC_ALL": "C"}
        with tempfile.TemporaryFile() as messages:
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=messages,
                    env=environment,
                    cwd="/",
                    bufsize=self.LONGEST,
                    start_new_session=True,
                )
            except OSError as error:
                raise PhoenixError(f"cannot run {self._command[0]}: {error.strerror}.") from error
            late = threading.Event()
            timer = threading.Timer(self._timeout, _end_late, (process, late))
            timer.start()
            try:
                assert process.stdout is not None
                while line := process.stdout.readline(self.LONGEST):
                    yield line
                self.status = process.wait()
            finally:
                timer.cancel()
                if process.poll() is None:
                    _end(process)
                    process.wait()
                elif process.stdout is not None:
                    process.stdout.close()
            messages.seek(0)
            self.err = messages.read(self.LONGEST).decode("utf-8", "replace")
        if late.is_set():
            raise PhoenixError(
                f"{self._command[0]} did not end within {self._timeout:g} s.",
                hint=f"Try it by hand: {shlex.join(self._command)}",
            )


def _end_late(process: "subprocess.Popen[bytes]", late: "threading.Event") -> None:
    """Kills a process that still runs, and its children; its reader then sees the end."""
    if process.poll() is None:
        late.set()
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass


def program_path() -> str:
    """Where programs are looked for: PATH, then the standard folders, as apt resets PATH."""
    return f"{os.environ.get('PATH', '')}:{STANDARD_PATH}"


def has_program(name: str) -> bool:
    """Whether run would find the program."""
    return any(
        os.access(f"{folder}/{name}", os.X_OK) for folder in program_path().split(":") if folder
    )
