"""Running an external command with a bound on its time."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor.errors import PhoenixError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

STANDARD_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Ran(NamedTuple):
    """What a command left: exit status (negative: the signal), output and messages."""

    status: int
    out: bytes
    err: str


def run(command: Sequence[str], *, timeout: float, stdin: bytes = b"", cwd: str = "/") -> Ran:
    """Runs a command and waits for it, at most timeout seconds.

    Any exit status is an answer. Raises PhoenixError, with a line that one can paste,
    where the program is missing or did not end in time (it and its children are killed:
    a container start must never hang on us).
    """
    environment = {**os.environ, "PATH": program_path(), "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise from_os_error(error, f"cannot run {command[0]}") from error
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise PhoenixError(
            f"{command[0]} did not end within {timeout:g} s.",
            hint=f"Try it by hand: {shlex.join(command)}",
        ) from error
    return Ran(process.returncode, out, err.decode("utf-8", "replace"))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process and its group, and waits for nothing.

    Not for the pipes either: a grandchild in a session of its own (setsid) may hold them.
    """
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                pass  # what stdin had not taken yet
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
