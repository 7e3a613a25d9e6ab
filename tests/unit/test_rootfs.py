"""A container's root is looked into without being led out of it, and without waiting for it."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor.suggest.rootfs import Root
from tests.unit.fakehost import PYTHON


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A FIFO would keep the reader for good, a device could do anything."""
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    with Root(str(tmp_path)) as root:
        assert root.text("file") == "x"
        assert root.text("fifo") is None
        assert root.has("fifo") is True
        assert root.text("passwd") is None
        assert root.text("../" * 20 + "etc/passwd") is None
        assert root.has("") is not True


def test_a_root_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an overlay over the container's own FUSE; SIGKILL alone ends who looks there."""
    monkeypatch.setattr("phoenix_apparmor.suggest.rootfs.PATIENCE", 0.5)
    (tmp_path / "file").write_text("x")
    with Root(str(tmp_path)) as root:
        assert root.text("file") == "x"
        [looker] = children()
        os.kill(looker, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(OSError, match="does not answer"):
                root.has("file")
        os.waitid(os.P_PID, looker, os.WEXITED | os.WNOWAIT)
    with pytest.raises(FileNotFoundError), Root(str(tmp_path / "none")):
        pass


def children() -> list[int]:
    """Processes of this one, but for those that others have started for all tests."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in text.split() if Path(f"/proc/{pid}/cmdline").read_bytes() == MINE]


MINE = Path("/proc/self/cmdline").read_bytes()
HOLDER = """\
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_WRONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
time.sleep(600)
"""


def test_the_holder_of_a_lease_is_not_waited_for(tmp_path: Path) -> None:
    """Linux gives it 45 seconds to let go (/proc/sys/fs/lease-break-time)."""
    (tmp_path / "fstab").write_text("x")
    command = [PYTHON, "-c", HOLDER, str(tmp_path / "fstab")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with Root(str(tmp_path)) as root:
            assert root.text("fstab") is None
    finally:
        holder.kill()
        holder.wait()
    with Root(str(tmp_path)) as root:
        assert root.text("fstab") == "x", "the control"
