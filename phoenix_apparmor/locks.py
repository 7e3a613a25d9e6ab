"""Locks between processes: ours, and those of Proxmox."""

import errno
import fcntl
import os
import stat
import time

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host, open_folder, write_error


class Lock:
    """flock(2) LOCK_EX as a context: waits up to wait seconds; held tells whether it was got.

    Locks by name of a file are what Proxmox uses; the file is never removed. The caller
    decides what not getting it means, so this is no error. A folder or file that is not root's
    is one (PhoenixError): whoever can write there says which file root opens.
    """

    __slots__ = ("_fd", "_host", "_name", "_wait", "held")

    def __init__(self, host: Host, name: str, wait: float) -> None:
        self._host = host
        self._name = name
        self._wait = wait
        self._fd = -1
        self.held = False

    def __enter__(self) -> "Lock":
        try:
            self._fd = self._open()
        except OSError as error:
            raise write_error(self._name, error) from error
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

    def late(self) -> PhoenixError:
        """What to tell where one goes on without a lock that was not free in time."""
        pid = _holder(self._fd)
        who, hint = "another process has held", f"See which one: fuser -v {self._name}"
        if pid:
            stopped = _is_stopped(pid)
            who = f"process {pid}{', which is stopped,' if stopped else ''} has held"
            hint = f"See what it does: ps -fp {pid}"
            hint += f"; to let it go on: kill -CONT {pid}" if stopped else ""
        what = f"{who} {self._name} for more than {self._wait:.3g} s; gave up waiting."
        return PhoenixError(what, hint=hint)

    def _open(self) -> int:
        folder, _, base = self._name.rpartition("/")
        mode = 0o700 if folder == paths.LOCKS else 0o755
        place = self._host.path(folder)
        if folder == paths.LOCKS:
            self._host.own_folder(paths.RUN, mode)
        if not os.path.isdir(place):
            self._host.make_folder(folder, mode)
        where = open_folder(place, folder, mode)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            before = os.umask(0o077)
            try:
                fd = os.open(base, flags, 0o600, dir_fd=where)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._not_ours(folder) from error  # a link
                raise
            finally:
                os.umask(before)
        finally:
            os.close(where)
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid not in (0, os.geteuid()):
            os.close(fd)
            raise self._not_ours(folder)
        return fd

    def _not_ours(self, folder: str) -> PhoenixError:
        return PhoenixError(
            f"{self._name} is not a file of root's, so it is not used as a lock.",
            hint=f"See who made it: ls -la {folder}; then: rm -r {self._name}",
        )


def _holder(fd: int) -> int:
    """Process id of who holds a file's lock, as proc_locks(5) says; 0 if it does not."""
    seen = os.fstat(fd)
    place = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    for line in _proc("locks").splitlines():
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == place:
            return int(words[4]) if words[4].isdigit() else 0
    return 0


def _is_stopped(pid: int) -> bool:
    state = _proc(f"{pid}/stat").rpartition(") ")[2][:1]
    return state in ("T", "t")


def _proc(name: str) -> str:
    """A file of this machine's /proc, whatever tree the host is; "" if it cannot be read."""
    try:
        return Host().read(f"/proc/{name}").decode("ascii", "replace")
    except OSError:
        return ""
