"""One host: every path below one root, every external command, the log.

What few need is elsewhere: programs in commands, the log in journal, files that are too long to
hold in logfiles. Without the module os, as reader.
"""

import errno
import posix
import stat
import sys

from phoenix_apparmor.errors import PhoenixError, from_os_error
from phoenix_apparmor.reader import Reader, folder_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phoenix_apparmor.commands import Ran, Stream

# syslog(3) priorities
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6

STAMP_DIGITS = 19  # of time.time_ns()
# Between a file's name and the ending of the temporary one that will replace it: PID.NANOSECONDS.
TEMPORARY = ".phoenix-apparmor."


def need_streams() -> None:
    """Gives a process whose caller closed its standard streams ones that lead nowhere.

    Python has None for such a stream, and the next file that is opened would take its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            fd = posix.open("/dev/null", posix.O_RDWR)
            if fd != number:
                posix.dup2(fd, number)
                posix.close(fd)
            posix.set_inheritable(number, True)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115  (for good)


def forget_output() -> None:
    """What the standard streams cannot take is not tried once more at the end of Python.

    It would make the exit status 120, whatever was done.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            posix.dup2(posix.open("/dev/null", posix.O_WRONLY), stream.fileno())


class Host(Reader):
    """The host whose tree begins at root, to be read and written. Writing raises PhoenixError."""

    __slots__ = ("_cleaned",)

    def __init__(self, root: str = "") -> None:
        super().__init__(root)
        self._cleaned: set[str] = set()  # folders that were looked through for leftovers

    def replace(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        """Writes a file: every reader sees the old bytes or the new ones, also after a crash.

        A temporary file in the same folder, fsync, rename. It keeps the mode of the file it
        replaces by creating with it (mode: of a new file): pmxcfs refuses every chmod and
        chown (EPERM) and would give a rename from elsewhere EXDEV.
        """
        try:
            temporary = self.write_beside(name, data, mode=mode)
            self.put(temporary, name)
            self.sync_folder(folder_of(name))
        except OSError as error:
            raise write_error(name, error) from error

    def write_beside(
        self, name: str, data: bytes, *, mode: int = 0o644, durable: bool = True
    ) -> str:
        """The first half of replace: the path of the file that put gives its name.

        durable: whether it is on the disk then; a batch waits once for all. Raises OSError.
        """
        import time

        path = self.path(name)
        # Never a name of before: the process id alone comes again, a leftover of it would too.
        temporary = f"{path}{TEMPORARY}{posix.getpid()}.{time.time_ns()}"
        self._remove_leftovers(folder_of(path))
        try:
            mode = posix.stat(path).st_mode & 0o777
        except FileNotFoundError:
            pass
        before = posix.umask(0)
        try:
            fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, mode)
        finally:
            posix.umask(before)
        try:
            with open(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                if durable:
                    posix.fsync(file.fileno())
        except BaseException:
            _unlink(temporary)
            raise
        return temporary

    def put(self, temporary: str, name: str) -> None:
        """The second half of replace; what cannot be put there is removed. Raises OSError."""
        try:
            posix.rename(temporary, self.path(name))
        except BaseException:
            _unlink(temporary)
            raise

    def sync_folder(self, name: str) -> None:
        """Makes the renames in a folder durable. Raises OSError."""
        fd = posix.open(self.path(name), posix.O_RDONLY | posix.O_DIRECTORY)
        try:
            posix.fsync(fd)
        except OSError as error:
            # File systems such as pmxcfs have nothing to sync for a folder.
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOTSUP):
                raise
        finally:
            posix.close(fd)

    def touch(self, name: str, when: float) -> None:
        """Sets a file's time of change, seconds since 1970. Raises PhoenixError."""
        try:
            posix.utime(self.path(name), (when, when))
        except OSError as error:
            raise write_error(name, error) from error

    def _remove_leftovers(self, folder: str) -> None:
        """Temporary files of writers that were killed; only what is surely ours.

        Once a folder: ten thousand .conf are written one by one, and each look reads all names.
        """
        if folder in self._cleaned:
            return
        self._cleaned.add(folder)
        try:
            for other in posix.listdir(folder):
                pid, _, stamp = other.rpartition(TEMPORARY)[2].partition(".")
                if (
                    TEMPORARY in other
                    and pid.isdecimal()
                    and stamp.isdecimal()
                    and len(stamp) == STAMP_DIGITS
                    and (pid == str(posix.getpid()) or not _is_there(f"/proc/{pid}"))
                ):
                    posix.unlink(f"{folder}/{other}")
        except OSError:
            return  # clutter stops nothing

    def make_folder(self, name: str, mode: int = 0o755) -> None:
        """Makes a folder that others cannot write, and those above it; no error if it is there."""
        path = self.path(name)
        before = posix.umask(0o022)
        try:
            _make_above(path)
            try:
                posix.mkdir(path, mode)
            except FileExistsError:
                if not stat.S_ISDIR(posix.stat(path).st_mode):
                    raise
        except OSError as error:
            raise write_error(name, error) from error
        finally:
            posix.umask(before)

    def own_folder(self, name: str, mode: int) -> None:
        """Makes a folder of ours, or sees that it is root's; closes it to others.

        Raises PhoenixError.
        """
        self.make_folder(name, mode)
        try:
            posix.close(open_folder(self.path(name), name, mode))
        except OSError as error:
            raise write_error(name, error) from error

    def run(
        self, command: "Sequence[str]", *, timeout: float, stdin: bytes = b"", cwd: str = "/"
    ) -> "Ran":
        """Runs a program by name; see commands.run."""
        from phoenix_apparmor.commands import run

        return run(command, timeout=timeout, stdin=stdin, cwd=cwd)

    def stream(self, command: "Sequence[str]", *, timeout: float) -> "Stream":
        """Runs a program whose output may be too long to hold; see commands.Stream."""
        from phoenix_apparmor.commands import Stream

        return Stream(command, timeout=timeout)

    def has_program(self, name: str) -> bool:
        """Whether run would find the program."""
        from phoenix_apparmor.commands import has_program

        return has_program(name)

    def journal(
        self, priority: int, message: str, *, ctid: str | None = None, profile: str | None = None
    ) -> None:
        """One line to the journal, with PHOENIX_CTID and PHOENIX_PROFILE as fields."""
        self.journal_all(priority, [(message, ctid, profile)])

    def journal_all(
        self, priority: int, entries: "Iterable[tuple[str, str | None, str | None]]"
    ) -> None:
        """A line each of (message, CTID, profile); see journal.send."""
        try:
            from phoenix_apparmor import journal
        except (ImportError, OSError):
            return  # Python takes EIO for "no such module"
        journal.send(self.root, priority, entries)


def _is_there(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _make_above(path: str) -> None:
    """Makes the folders above, where they are missing."""
    folder = folder_of(path)
    if not _is_there(folder):
        import os

        os.makedirs(folder, exist_ok=True)


def _unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass


def open_folder(path: str, name: str, mode: int) -> int:
    """A descriptor of a folder that is root's; what others may write is closed to them.

    Raises OSError, and PhoenixError where it is somebody else's.
    """
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW)
    seen = posix.fstat(fd)
    if seen.st_uid not in (0, posix.geteuid()):
        posix.close(fd)
        raise PhoenixError(
            f"{name} belongs to uid {seen.st_uid}, not to root, so nothing in it is used.",
            hint=f"See what it is: ls -la {name}; then: rm -r {name}",
        )
    if seen.st_mode & 0o022:
        try:
            posix.fchmod(fd, mode)
        except OSError:
            posix.close(fd)
            raise
    return fd


def write_error(name: str, error: OSError) -> PhoenixError:
    """What a failed write means and what helps."""
    return from_os_error(error, f"cannot write {name}", folder_of(name))
