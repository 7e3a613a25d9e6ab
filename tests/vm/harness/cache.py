"""A folder of things that are expensive to make, each keyed by a hash of all it is made from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DEFAULT = "/var/cache/phoenix-apparmor-tests"
# An entry that nobody used for this long (seconds) goes when a newer one of its kind is made.
# Long enough for any run of the tests that still starts VMs from it.
UNUSED = 3 * 3600


def say(text: str) -> None:
    """A line of progress, on stderr: stdout belongs to results."""
    print(f"[vm] {text}", file=sys.stderr, flush=True)


def folder() -> Path:
    path = Path(os.environ.get("PHOENIX_TEST_CACHE", DEFAULT))
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str | bytes | Path) -> str:
    """Hash of texts and of files' contents (a folder: its files with names and modes)."""
    total = hashlib.sha256()
    for part in parts:
        for data in _bytes_of(part):
            total.update(len(data).to_bytes(8, "big"))
            total.update(data)
    return total.hexdigest()[:16]


def _bytes_of(part: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(part, str):
        yield part.encode()
    elif isinstance(part, bytes):
        yield part
    elif part.is_dir():
        for file in sorted(part.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(part)).encode()
                yield str(file.stat().st_mode & 0o111).encode()
                yield file.read_bytes()
    else:
        yield part.read_bytes()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time for NAME; the lock goes with the process that held it."""
    with (folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder KIND-KEY of the cache; made by make(empty folder) if it is not there.

    It appears by a rename when it is complete, so that what is there can be trusted.
    """
    target = folder() / f"{kind}-{key}"
    with lock(kind):
        if not target.is_dir():
            say(f"making {target.name} (kept in {folder()})")
            began = time.monotonic()
            temporary = Path(tempfile.mkdtemp(prefix=f"{kind}.new.", dir=folder()))
            try:
                make(temporary)
                temporary.chmod(0o755)
                temporary.rename(target)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            say(f"made {target.name} in {time.monotonic() - began:.0f} s")
            _prune(kind, target)
        os.utime(target)
    return target


def _prune(kind: str, keep: Path) -> None:
    """Remove what was left behind (the lock is held) and entries of this kind no longer used."""
    for old in folder().glob(f"{kind}.new.*"):
        shutil.rmtree(old, ignore_errors=True)
    for old in folder().glob(f"{kind}-*"):
        if old != keep and old.is_dir() and old.stat().st_mtime < time.time() - UNUSED:
            shutil.rmtree(old, ignore_errors=True)
