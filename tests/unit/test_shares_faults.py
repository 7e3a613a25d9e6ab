"""lock-shares while a system call fails or kills: locked, or refused and said; nothing is left."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.fakehost import REPO
from tests.unit.share_scenes import ALONE, only_root

# Those that do the work, each of them; of the others, which Python makes, every so manieth.
WORKS = ("setns", "unshare", "mount_setattr", "open_tree", "move_mount", "umount2", "clone")
EACH = 23
ERRORS = ("EIO", "EPERM", "ENOSYS", "EINTR", "ENOSPC", "EMFILE", "KILL")


def faults(folder: Path, *words: str, lock: str = "on") -> list[str]:
    program = [str(REPO / "tests/unit/share_faults.py"), str(REPO), str(folder), *words]
    own = ["unshare", "-m", "--pid", "--fork", "--mount-proc", sys.executable, "-B", *program]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", ALONE, "sh", *own],
        env={**os.environ, "LOCK": lock},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@only_root
@pytest.mark.slow
def test_no_fault_leaves_a_share_unlocked_without_a_word(disk: Path) -> None:
    found = [line.replace(" ", ":") for line in faults(disk, "points")]
    assert len(found) > 200
    work = [point for point in found if point.startswith(WORKS)]
    others = [point for point in found if point not in work]
    kinds = itertools.cycle(ERRORS)
    points = [f"{point}:{next(kinds)}" for point in (*work, *others[::EACH])]
    results = faults(disk, "run", *points)
    assert [line for line in results if "\t" in line] == []
    assert [line.split(" ")[0] for line in results] == points
    outcomes = {re.split("[ ,]", line)[1] for line in results}
    assert outcomes >= {"locked", "refused"}, "the faults do something"


@only_root
def test_a_share_that_is_not_locked_would_be_noticed(disk: Path) -> None:
    """The control."""
    [result] = faults(disk, "run", "setns:1:EIO", lock="off")
    assert "\tit starts, but a is not locked, a/low is not locked" in result


@only_root
def test_whether_there_are_user_namespaces_is_known_or_it_does_not_start(disk: Path) -> None:
    """A file of /proc that cannot be read is none that is not there."""
    results = faults(disk, "run", "newfstatat:1:EIO", "newfstatat:1:ENOENT")
    assert [line.split(" ")[1].rstrip(",") for line in results] == ["refused", "warned"]
