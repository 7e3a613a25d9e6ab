"""Many files of one folder replaced at once: the disk is waited for once, not for each of them."""

import os

from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host, write_error

SYNC_SECONDS = 120


class Batch:
    """A context: files that are added get their new bytes at commit, those left behind do not.

    As with Host.replace every reader sees the old bytes or the new ones, also after a crash.
    """

    def __init__(self, host: Host, folder: str) -> None:
        self._host = host
        self._folder = folder
        self._waiting: dict[str, str] = {}

    def __enter__(self) -> "Batch":
        return self

    def add(self, name: str, data: bytes) -> None:
        """Writes a file of the folder beside what it will replace. Raises PhoenixError."""
        try:
            self._waiting[name] = self._host.write_beside(name, data, durable=False)
        except OSError as error:
            raise write_error(name, error) from error

    def commit(self) -> dict[str, PhoenixError]:
        """Puts all in their places; name -> why it is not there, of those that failed."""
        failed: dict[str, PhoenixError] = {}
        if not self._waiting:
            return failed
        done = []
        try:
            self._sync()
            for name in list(self._waiting):
                try:
                    self._host.put(self._waiting.pop(name), name)
                    done.append(name)
                except OSError as error:
                    failed[name] = write_error(name, error)
            self._host.sync_folder(self._folder)
        except OSError as error:
            failed |= {name: write_error(name, error) for name in (*done, *self._waiting)}
        return failed

    def _sync(self) -> None:
        """Waits until what was written is on the disk (syncfs(2), which Python does not have)."""
        try:
            command = ["sync", "-f", self._host.path(self._folder)]
            if self._host.run(command, timeout=SYNC_SECONDS).status == 0:
                return
        except PhoenixError:
            pass  # then one by one, which also says what is wrong
        for temporary in self._waiting.values():
            fd = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def __exit__(self, *_: object) -> None:
        for temporary in self._waiting.values():
            try:
                os.unlink(temporary)
            except OSError:
                continue  # a leftover, which the next writer removes
