"""One host: every path below one root, every external command, the log.

Nothing else in this package opens a file or starts a program. The start of a container
is a hot path, so what a quiet start does not use is imported where it is used.
"""

import errno
import os

from phoenix_apparmor.errors import PhoenixError, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from phoenix_apparmor.commands import Ran

# syslog(3) priorities
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6


class Host:
    """The host whose tree begins at root ("" is this machine itself).

    Paths are given as on the host ("/etc/pve/lxc/952.conf"). Reading raises OSError, as
    the callers know what a missing file means; writing raises PhoenixError.
    """

    __slots__ = ("root",)

    def __init__(self, root: str = "") -> None:
        self.root = os.path.abspath(root).rstrip("/") if root else ""

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
        """Whether name is there; a dangling link is there."""
        return os.path.lexists(self.path(name))

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; none if there is no such folder."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str, limit: int = 64 << 20) -> bytes:
        """The bytes of a file, at most limit + 1 of them (so that the caller sees more)."""
        with open(self.path(name), "rb", buffering=0) as file:
            parts = []
            left = limit + 1
            # apparmorfs and /proc give a page at a time.
            while left > 0 and (part := file.read(min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

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
        path = self.path(name)
        temporary = f"{path}.phoenix-apparmor.{os.getpid()}"
        try:
            try:
                mode = os.stat(path).st_mode & 0o777
            except FileNotFoundError:
                pass
            self._remove_leftovers(path)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            try:
                with open(fd, "wb", buffering=0) as file:
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                    os.fsync(file.fileno())
                os.rename(temporary, path)
            except BaseException:
                _unlink(temporary)
                raise
            _sync_folder(os.path.dirname(path))
        except OSError as error:
            raise _write_error(name, error) from error

    def touch(self, name: str, when: float) -> None:
        """Sets a file's time of change, seconds since 1970. Raises PhoenixError."""
        try:
            os.utime(self.path(name), (when, when))
        except OSError as error:
            raise _write_error(name, error) from error

    def mark(self, name: str) -> None:
        """Writes an empty file for who watches its folder; nothing if nobody made the folder."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            os.close(os.open(self.path(name), flags, 0o644))
        except OSError:
            return

    def _remove_leftovers(self, path: str) -> None:
        """Temporary files of writers that were killed."""
        folder, base = os.path.split(path)
        prefix = base + ".phoenix-apparmor."
        for other in os.listdir(folder):
            pid = other.removeprefix(prefix)
            if pid != other and not os.path.exists(f"/proc/{pid}"):
                _unlink(f"{folder}/{other}")

    def make_folder(self, name: str) -> None:
        """Makes a folder and those above it; no error if it is there."""
        try:
            os.makedirs(self.path(name), exist_ok=True)
        except OSError as error:
            raise _write_error(name, error) from error

    def run(
        self, command: "Sequence[str]", *, timeout: float, stdin: bytes = b"", cwd: str = "/"
    ) -> "Ran":
        """Runs a program by name; see commands.run."""
        from phoenix_apparmor.commands import run

        return run(command, timeout=timeout, stdin=stdin, cwd=cwd)

    def has_program(self, name: str) -> bool:
        """Whether run would find the program."""
        from phoenix_apparmor.commands import has_program

        return has_program(name)

    def lock(self, name: str, *, wait: float) -> "Lock":
        """See Lock."""
        return Lock(self.path(name), wait)

    def journal(
        self, priority: int, message: str, *, ctid: str | None = None, profile: str | None = None
    ) -> None:
        """One line to the journal, with PHOENIX_CTID and PHOENIX_PROFILE as fields.

        The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL); /dev/log where
        there is no journald. A log that cannot be written stops nothing.
        """
        import socket

        text = one_line(message)
        fields = [f"PRIORITY={priority}", "SYSLOG_IDENTIFIER=phoenix-apparmor", f"MESSAGE={text}"]
        if ctid is not None:
            fields.append(f"PHOENIX_CTID={one_line(ctid)}")
        if profile is not None:
            fields.append(f"PHOENIX_PROFILE={one_line(profile)}")
        native = ("\n".join(fields) + "\n").encode("utf-8", "backslashreplace")
        # facility daemon (3)
        classic = f"<{3 << 3 | priority}>phoenix-apparmor[{os.getpid()}]: {text}"
        for name, data in (
            ("/run/systemd/journal/socket", native),
            ("/dev/log", classic.encode("utf-8", "backslashreplace")),
        ):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(1)
                try:
                    channel.sendto(data, self.path(name))
                except OSError:
                    continue
                return


class Lock:
    """flock(2) LOCK_EX as a context: waits up to wait seconds; held tells whether it was got.

    Locks by name of a file are what Proxmox uses; the file is never removed. The caller
    decides what not getting it means, so this is no error.
    """

    __slots__ = ("_fd", "_path", "_wait", "held")

    def __init__(self, path: str, wait: float) -> None:
        self._path = path
        self._wait = wait
        self._fd = -1
        self.held = False

    def __enter__(self) -> "Lock":
        import fcntl
        import time

        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _write_error(self._path, error) from error
        end = time.monotonic() + self._wait
        pause = 0.02
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return self
                # Ever more seldom: fifty that wait must not take the time of the one that works.
                time.sleep(min(pause, max(0.0, end - time.monotonic())))
                pause = min(pause * 1.5, 0.5)
            else:
                self.held = True
                return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _sync_folder(path: str) -> None:
    """Makes a rename durable; file systems such as pmxcfs have nothing to sync for a folder."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def _write_error(name: str, error: OSError) -> PhoenixError:
    """What a failed write means and what helps."""
    reason = error.strerror or str(error)
    hint = ""
    if error.errno in (errno.EACCES, errno.EROFS) and "/etc/pve" in name:
        # pmxcfs gives EACCES to root while the cluster has no quorum.
        hint = "The cluster has no quorum, so /etc/pve is read-only. See: pvecm status"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"Make room on the file system of {os.path.dirname(name)} and try again."
    elif error.errno == errno.EFBIG:
        hint = "/etc/pve takes files of at most 1 MiB."
    elif error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        hint = "Run it as root."
    return PhoenixError(f"cannot write {name}: {reason}.", hint=hint)
