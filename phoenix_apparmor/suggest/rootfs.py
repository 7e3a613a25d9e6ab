"""Looking into a container's root without being led out of it.

Root in the container chooses every link, mount and node there. So each name is looked up by
openat2(2) with RESOLVE_IN_ROOT (a link, an absolute one too, ends in the container's root),
RESOLVE_NO_MAGICLINKS (nothing below /proc/PID) and RESOLVE_NO_XDEV (no file system that the
container mounted: its FUSE server could keep us waiting for good), and is opened with O_PATH,
which runs no driver. Linux has it since 5.6, so every kernel of PVE 8 and 9.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from types import TracebackType

# linux/openat2.h
SYS_OPENAT2 = 437
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x01, 0x02, 0x10
RESOLVE = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT

ABSENT = (errno.ENOENT, errno.ENOTDIR)


class Root:
    """A container's root folder, as a context. Raises OSError where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> "Root":
        self._fd = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool | None:
        """Whether there is such a name; None: it cannot be known without leaving the root."""
        try:
            os.close(self._open(name))
        except OSError as error:
            return False if error.errno in ABSENT else None
        return True

    def first(self, names: Iterable[str]) -> str:
        """The first of these names that is there, "" if none is known to be."""
        return next((name for name in names if self.has(name)), "")

    def names(self, folder: str) -> list[str] | None:
        """The names in a folder, None where there is none or it cannot be read."""
        try:
            found = self._open(folder)
        except OSError:
            return None
        try:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                return None
            # the same folder again, now to read
            return sorted(os.listdir(f"/proc/self/fd/{found}"))
        except OSError:
            return None
        finally:
            os.close(found)

    def text(self, name: str, limit: int = 64 << 10) -> str | None:
        """The beginning of a regular file, None where there is none or it cannot be read."""
        try:
            found = self._open(name)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return None
            # the same inode again, now to read: only regular files come here
            with open(f"/proc/self/fd/{found}", "rb") as file:
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
