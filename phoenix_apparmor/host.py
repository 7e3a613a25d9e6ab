"""One host: every path below one root, every external command, the log.

The start of a container is a hot path, so what a quiet start does not use is in modules of its
own: programs in commands, the log in journal, files that are too long to hold in logfiles.
"""

import errno
import os
import stat
import sys

from phoenix_apparmor.errors import PhoenixError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from phoenix_apparmor.commands import Ran, Stream

# syslog(3) priorities
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6

NOT_REGULAR = "it is not a regular file"
BIGGEST = 64 << 20  # of a file that is read as a whole
TOO_BIG = f"it is larger than {BIGGEST >> 20} MiB"
MOST_LINKS = 40  # as the kernel
STAMP_DIGITS = 19  # of time.time_ns()
# Between a file's name and the ending of the temporary one that will replace it: PID.NANOSECONDS.
TEMPORARY = ".phoenix-apparmor."


def need_streams() -> None:
    """Gives a process whose caller closed its standard streams ones that lead nowhere.

    Python has None for such a stream, and the next file that is opened would take its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, os.O_RDWR)
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            os.set_inheritable(number, True)
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
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Host:
    """The host whose tree begins at root ("" is this machine itself).

    Paths are given as on the host ("/etc/pve/lxc/952.conf"). Reading raises OSError, as
    the callers know what a missing file means; writing raises PhoenixError.
    """

    __slots__ = ("_cleaned", "root")

    def __init__(self, root: str = "") -> None:
        self.root = os.path.abspath(root).rstrip("/") if root else ""
        self._cleaned: set[str] = set()  # folders that were looked through for leftovers

    def path(self, name: str) -> str:
        """Where the host's file name is for this process."""
        return self.root + name

    def stat(self, name: str) -> os.stat_result | None:
        """stat(2), or None where there is nothing (a missing folder counts as that too)."""
        try:
            return os.stat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Whether name is there; a dangling link is there. Raises OSError where nobody can tell."""
        try:
            os.lstat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def has_text(self, name: str) -> bool:
        """Whether name is a regular file, or leads to one, in which something is."""
        seen = self.stat(name)
        return seen is not None and stat.S_ISREG(seen.st_mode) and seen.st_size > 0

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; none if there is no such folder."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a regular file: all of them, or at most limit + 1 (the caller sees more).

        Anything else, such as a FIFO that nobody writes to, is an OSError and never a wait; so is
        a file that is too big to hold, of which a part would be written back as the whole.
        """
        return self.read_and_stat(name, limit)[0]

    def read_and_stat(self, name: str, limit: int | None = None) -> tuple[bytes, os.stat_result]:
        """As read, and what the file that was read looks like."""
        path = self.path(name)
        try:
            fd, seen = open_regular(path)
            try:
                if limit is None and seen.st_size > BIGGEST:
                    raise OSError(errno.EINVAL, TOO_BIG)
                parts = []
                left = (BIGGEST if limit is None else limit) + 1
                # apparmorfs and /proc give a page at a time.
                while left > 0 and (part := os.read(fd, min(left, 1 << 20))):
                    parts.append(part)
                    left -= len(part)
                if left <= 0 and limit is None:
                    raise OSError(errno.EINVAL, TOO_BIG)
            finally:
                os.close(fd)
        except OSError as error:
            error.filename = path
            raise
        return b"".join(parts), seen

    def read_if_there(self, name: str) -> bytes | None:
        """The bytes of a file, None if there is none."""
        try:
            return self.read(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def replace(self, name: str, data: bytes, *, mode: int = 0o644) -> None:
        """Writes a file: every reader sees the old bytes or the new ones, also after a crash.

        A temporary file in the same folder, fsync, rename. It keeps the mode of the file it
        replaces by creating with it (mode: of a new file): pmxcfs refuses every chmod and
        chown (EPERM) and would give a rename from elsewhere EXDEV.
        """
        try:
            temporary = self.write_beside(name, data, mode=mode)
            self.put(temporary, name)
            self.sync_folder(os.path.dirname(name))
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
        temporary = f"{path}{TEMPORARY}{os.getpid()}.{time.time_ns()}"
        self._remove_leftovers(os.path.dirname(path))
        try:
            mode = os.stat(path).st_mode & 0o777
        except FileNotFoundError:
            pass
        before = os.umask(0)
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        finally:
            os.umask(before)
        try:
            with open(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                if durable:
                    os.fsync(file.fileno())
        except BaseException:
            _unlink(temporary)
            raise
        return temporary

    def put(self, temporary: str, name: str) -> None:
        """The second half of replace; what cannot be put there is removed. Raises OSError."""
        try:
            os.rename(temporary, self.path(name))
        except BaseException:
            _unlink(temporary)
            raise

    def sync_folder(self, name: str) -> None:
        """Makes the renames in a folder durable. Raises OSError."""
        fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            # File systems such as pmxcfs have nothing to sync for a folder.
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOTSUP):
                raise
        finally:
            os.close(fd)

    def touch(self, name: str, when: float) -> None:
        """Sets a file's time of change, seconds since 1970. Raises PhoenixError."""
        try:
            os.utime(self.path(name), (when, when))
        except OSError as error:
            raise write_error(name, error) from error

    def mark(self, name: str) -> None:
        """Writes an empty file for who watches its folder; nothing if nobody made the folder."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(self.path(name), flags, 0o644))
        except OSError:
            return

    def _remove_leftovers(self, folder: str) -> None:
        """Temporary files of writers that were killed; only what is surely ours.

        Once a folder: ten thousand .conf are written one by one, and each look reads all names.
        """
        if folder in self._cleaned:
            return
        self._cleaned.add(folder)
        try:
            for other in os.listdir(folder):
                pid, _, stamp = other.rpartition(TEMPORARY)[2].partition(".")
                if (
                    TEMPORARY in other
                    and pid.isdecimal()
                    and stamp.isdecimal()
                    and len(stamp) == STAMP_DIGITS
                    and (pid == str(os.getpid()) or not os.path.exists(f"/proc/{pid}"))
                ):
                    os.unlink(f"{folder}/{other}")
        except OSError:
            return  # clutter stops nothing

    def make_folder(self, name: str, mode: int = 0o755) -> None:
        """Makes a folder that others cannot write, and those above it; no error if it is there."""
        path = self.path(name)
        before = os.umask(0o022)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                os.mkdir(path, mode)
            except FileExistsError:
                if not os.path.isdir(path):
                    raise
        except OSError as error:
            raise write_error(name, error) from error
        finally:
            os.umask(before)

    def own_folder(self, name: str, mode: int) -> None:
        """Makes a folder of ours, or sees that it is root's; closes it to others.

        Raises PhoenixError.
        """
        self.make_folder(name, mode)
        try:
            os.close(open_folder(self.path(name), name, mode))
        except OSError as error:
            raise write_error(name, error) from error

    def distrust(self, name: str) -> str:
        """Why anyone but root could change what name says, "" if only root can.

        The file itself, every folder on the way to it, and the same of each link on that way.
        Raises OSError where that cannot be seen.
        """
        done = self.root or "/"
        todo = [part for part in name.split("/") if part][::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in (".", ".."):
                done = os.path.dirname(done) if part == ".." else done
                continue
            done = f"{done.rstrip('/')}/{part}"
            seen = os.lstat(done)
            why = _writable_by_others(seen)
            if why:
                return f"{why}" if not todo else f"{done}, which it is in: {why}"
            if stat.S_ISLNK(seen.st_mode):
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path(name))
                target = os.readlink(done)
                done = "/" if target.startswith("/") else os.path.dirname(done)
                todo += [other for other in target.split("/") if other][::-1]
            elif not todo and not stat.S_ISREG(seen.st_mode):
                return NOT_REGULAR
        return ""

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


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file, never waiting for one that is none. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, path)
    except OSError:
        os.close(fd)
        raise
    return fd, seen


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def open_folder(path: str, name: str, mode: int) -> int:
    """A descriptor of a folder that is root's; what others may write is closed to them.

    Raises OSError, and PhoenixError where it is somebody else's.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    seen = os.fstat(fd)
    if seen.st_uid not in (0, os.geteuid()):
        os.close(fd)
        raise PhoenixError(
            f"{name} belongs to uid {seen.st_uid}, not to root, so nothing in it is used.",
            hint=f"See what it is: ls -la {name}; then: rm -r {name}",
        )
    if seen.st_mode & 0o022:
        try:
            os.fchmod(fd, mode)
        except OSError:
            os.close(fd)
            raise
    return fd


def _writable_by_others(seen: os.stat_result) -> str:
    """Why anyone but root could write this file or folder, "" if they cannot."""
    if seen.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {seen.st_uid}, not to root"
    if stat.S_ISLNK(seen.st_mode):
        return ""  # a link's mode means nothing
    if stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX:
        return ""  # as /tmp: others cannot take what is root's out of it
    if seen.st_mode & stat.S_IWOTH or (seen.st_mode & stat.S_IWGRP and seen.st_gid != 0):
        return f"anyone but root may write it too (mode {stat.S_IMODE(seen.st_mode):04o})"
    return ""


def write_error(name: str, error: OSError) -> PhoenixError:
    """What a failed write means and what helps."""
    return from_os_error(error, f"cannot write {name}", os.path.dirname(name))
