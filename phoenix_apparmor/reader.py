"""What a quiet start does with the host's files: it looks and reads.

Without the module os, which costs a quarter of Python's start: posix has all that is used here. Its
open sets O_CLOEXEC by itself, as that of os.
"""

import errno
import posix
import stat

NOT_REGULAR = "it is not a regular file"
BIGGEST = 64 << 20  # of a file that is read as a whole
BIGGEST_PROFILE = 16 << 20  # of a file with profiles
TOO_BIG = f"it is larger than {BIGGEST >> 20} MiB"
MOST_LINKS = 40  # as the kernel


class Reader:
    """The host whose tree begins at root ("" is this machine itself), to be read.

    Paths are given as on the host ("/etc/pve/lxc/952.conf"). Reading raises OSError, as
    the callers know what a missing file means.
    """

    __slots__ = ("root",)

    def __init__(self, root: str = "") -> None:
        if root and not root.startswith("/"):
            import os

            root = os.path.abspath(root)
        self.root = root.rstrip("/")

    def path(self, name: str) -> str:
        """Where the host's file name is for this process."""
        return self.root + name

    def stat(self, name: str) -> posix.stat_result | None:
        """stat(2), or None where there is nothing (a missing folder counts as that too)."""
        try:
            return posix.stat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        """Whether name is there; a dangling link is there. Raises OSError where nobody can tell."""
        try:
            posix.lstat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def has_text(self, name: str) -> bool:
        """Whether name is a regular file, or leads to one, in which something is."""
        seen = self.stat(name)
        return seen is not None and stat.S_ISREG(seen.st_mode) and seen.st_size > 0

    def is_empty(self, name: str) -> bool:
        """Whether name is there, and nothing is in it."""
        seen = self.stat(name)
        return seen is not None and seen.st_size == 0

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder; none if there is no such folder."""
        try:
            return sorted(posix.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a regular file: all of them, or at most limit + 1 (the caller sees more).

        Anything else, such as a FIFO that nobody writes to, is an OSError and never a wait; so is
        a file that is too big to hold, of which a part would be written back as the whole.
        """
        return self.read_and_stat(name, limit)[0]

    def read_before(self, name: str, end: bytes) -> bytes:
        """The bytes of a regular file of the kernel's as far as end begins; all if it does not.

        Raises OSError as read does. What comes behind is not read, however much it is.
        """
        path = self.path(name)
        try:
            fd, _ = open_regular(path)
            try:
                parts, size, last, at = [], 0, b"", -1
                while at < 0 and (part := posix.read(fd, 1 << 16)):
                    # (end may have begun in the part before)
                    at = (last + part).find(end)
                    if at >= 0:
                        size += at - len(last)
                    elif (size := size + len(part)) > BIGGEST:
                        raise OSError(errno.EINVAL, TOO_BIG)
                    last = (last + part)[1 - len(end) :]
                    parts.append(part)
            finally:
                posix.close(fd)
        except OSError as error:
            error.filename = path
            raise
        return b"".join(parts)[:size]

    def read_and_stat(self, name: str, limit: int | None = None) -> tuple[bytes, posix.stat_result]:
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
                while left > 0 and (part := posix.read(fd, min(left, 1 << 20))):
                    parts.append(part)
                    left -= len(part)
                if left <= 0 and limit is None:
                    raise OSError(errno.EINVAL, TOO_BIG)
            finally:
                posix.close(fd)
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

    def mark(self, name: str) -> None:
        """Writes an empty file for who watches its folder; nothing if nobody made the folder."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW
        try:
            posix.close(posix.open(self.path(name), flags, 0o644))
        except OSError:
            return

    def is_own_folder(self, name: str) -> bool:
        """Whether it is a folder of root's that others cannot write: as Host.own_folder makes it.

        Raises OSError where that cannot be seen.
        """
        try:
            seen = posix.lstat(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return False
        mine = stat.S_ISDIR(seen.st_mode) and seen.st_uid in (0, posix.geteuid())
        return mine and not seen.st_mode & 0o022

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
                done = folder_of(done) if part == ".." else done
                continue
            done = f"{done.rstrip('/')}/{part}"
            seen = posix.lstat(done)
            why = _writable_by_others(seen)
            if why:
                return f"{why}" if not todo else f"{done}, which it is in: {why}"
            if stat.S_ISLNK(seen.st_mode):
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), self.path(name))
                target = posix.readlink(done)
                done = "/" if target.startswith("/") else folder_of(done)
                todo += [other for other in target.split("/") if other][::-1]
            elif not todo and not stat.S_ISREG(seen.st_mode):
                return NOT_REGULAR
        return ""


def open_regular(path: str) -> tuple[int, posix.stat_result]:
    """A descriptor of a regular file, never waiting for one that is none. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY)
    try:
        seen = posix.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR, path)
    except OSError:
        posix.close(fd)
        raise
    return fd, seen


def _writable_by_others(seen: posix.stat_result) -> str:
    """Why anyone but root could write this file or folder, "" if they cannot."""
    if seen.st_uid not in (0, posix.geteuid()):
        return f"it belongs to uid {seen.st_uid}, not to root"
    if stat.S_ISLNK(seen.st_mode):
        return ""  # a link's mode means nothing
    if stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX:
        return ""  # as /tmp: others cannot take what is root's out of it
    if seen.st_mode & stat.S_IWOTH or (seen.st_mode & stat.S_IWGRP and seen.st_gid != 0):
        return f"anyone but root may write it too (mode {stat.S_IMODE(seen.st_mode):04o})"
    return ""


def folder_of(path: str) -> str:
    """The folder of an absolute path, as os.path.dirname says it where there is no "//"."""
    return path.rpartition("/")[0] or "/"
