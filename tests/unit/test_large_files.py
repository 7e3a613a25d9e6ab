"""Files that are larger than they can be: nobody reads them to their end, and that is said."""

import json
import time
from pathlib import Path

import pytest

from phoenix_apparmor import containers, paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.names import BASE
from tests.unit.fakehost import PYTHON, REPO, FakeHost

CONF = paths.conf("952")
OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
MIB = 1 << 20


def grow(path: Path, line: bytes, size: int) -> None:
    """Appends lines until a file is that large, without holding it."""
    part = line * (MIB // len(line))
    with path.open("ab") as file:
        for _ in range(size // len(part)):
            file.write(part)


def ask(host: FakeHost, *words: str) -> tuple[str, int]:
    """(all that a command says, the most memory in MiB that it and its programs took)."""
    # in a process of its own: what its parent once took counts for a child as well
    script = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        "print(json.dumps([done.stdout + done.stderr, most // 1024]))\n"
    )
    command = (PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root), *words)
    done = host.run(PYTHON, "-c", script, *command, PYTHONPATH=str(REPO))
    said, most = json.loads(done.out)
    return said, most


def test_a_conf_that_proxmox_cannot_have_is_not_examined(base: FakeHost) -> None:
    real = Host(str(base.root))
    base.conf("952", "a" * MIB)
    assert [conf.ctid for conf in containers.confs(real)] == ["952"], "as large as it may be"
    grow(base.path(CONF), b"lxc.environment: A=B\n", 10 * MIB)
    [(ctid, why)] = containers.each_conf(real)
    assert ctid == "952" and isinstance(why, PhoenixError) and "larger than 1 MiB" in why.what
    begin = time.monotonic()
    said, _ = ask(base, "doctor")
    assert "CT 952 cannot be started or checked" in said and "larger than 1 MiB" in said
    assert time.monotonic() - begin < 20, "10 MiB took a minute on a busy machine"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["its file", "local"])
def test_a_profile_of_100_mib_takes_no_memory_of_who_looks(base: FakeHost, place: str) -> None:
    base.write("/proc/sys/kernel/osrelease", "6.1\n")
    file = f"/etc/apparmor.d/{BASE}" if place == "its file" else f"/etc/apparmor.d/local/{BASE}"
    path = base.path(file)
    path.parent.mkdir(exist_ok=True)
    _, usual = ask(base, "doctor")
    grow(path, b"# a comment\n" if place == "its file" else b"/a r,\n", 100 * MIB)
    for verb in ("status", "doctor"):
        said, most = ask(base, verb)
        words = " ".join(said.split())
        assert f"cannot read {file}: " in words and "larger than 16 MiB" in words, said
        assert "has no file in" not in words and "printed more than" not in words
        if (verb, place) == ("doctor", "local"):
            assert f"cannot tell what profile {BASE} allows" in words
            assert f"cannot tell whether profile {BASE} compiles" in words
        assert most < usual + 160, f"{verb} took {most} MiB, usually {usual}"
