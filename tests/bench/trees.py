"""Copies of the tree, and pytest in them: forked, so that all it needs is imported once."""

import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PHOENIX_TEST_CACHE", "/var/cache/phoenix-apparmor-tests"))
# What earlier runs found out.
STATE = CACHE / "mutations"
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line", "--assert=plain",
           "--hypothesis-seed=0")  # fmt: skip


def digest(*paths: Path) -> str:
    """Hash of files."""
    return hashlib.sha1(b"\0".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def new_tree(place: Path) -> Path:
    ignore = shutil.ignore_patterns(".git", "__pycache__", ".hypothesis")
    shutil.copytree(REPO, place, ignore=ignore, symlinks=True)
    return place


def start(tree: Path, options: list[str], *, say: Path | None = None) -> int:
    """The pid of a forked pytest: that this process has all its imports saves half its time."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        os.chdir(tree)
        with open(say or os.devnull, "wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        # What was imported so far is not the tree's.
        sys.path[:2] = [str(tree)]
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        sys.dont_write_bytecode = False
        sys.pycache_prefix = f"{tree}.bytecode"
        os.environ["PHOENIX_TEST_CACHE"] = f"{tree}.cache"
        import pytest

        status = int(pytest.main([*OPTIONS, *options]))
    finally:
        os._exit(status)


def wait(running: dict[int, Any], until: dict[int, float]) -> tuple[int, int | None]:
    """(pid, exit status) of the next one that ends; None: it was killed as it took too long."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in running:
            return pid, os.waitstatus_to_exitcode(status)
        for late in [pid for pid in running if time.monotonic() > until[pid]]:
            os.killpg(late, signal.SIGKILL)
            os.waitpid(late, 0)
            return late, None
        if pid == 0:
            time.sleep(0.02)
