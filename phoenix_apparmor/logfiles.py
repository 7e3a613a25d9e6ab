"""Files too long to hold: line by line, or their end. Raises OSError as Host.read does."""

import errno
import os
import sys
from collections.abc import Iterator

from phoenix_apparmor.host import Host
from phoenix_apparmor.reader import open_regular


def end(host: Host, name: str, most: int) -> bytes:
    """The last bytes of a regular file, however long it is."""
    fd, seen = open_regular(host.path(name))
    try:
        return os.pread(fd, most, max(0, seen.st_size - most))
    finally:
        os.close(fd)


def lines(host: Host, name: str) -> Iterator[bytes]:
    """The lines of a file; one without end comes in pieces. A FIFO is no wait."""
    fd, seen = open_regular(host.path(name))
    with open(fd, "rb") as file:
        for begin, stop in _written(fd, seen):
            file.seek(begin)
            left = stop - begin
            while left > 0 and (line := file.readline(min(left, 1 << 20))):
                left -= len(line)
                yield line


def _written(fd: int, seen: os.stat_result) -> Iterator[tuple[int, int]]:
    """(begin, end) of what is not a hole: a file may say that it has 50 GB, and have none."""
    if seen.st_blocks * 512 >= seen.st_size:
        yield 0, sys.maxsize  # also what is written while it is read
        return
    end = 0
    while end < seen.st_size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole up to the end
            raise
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end
