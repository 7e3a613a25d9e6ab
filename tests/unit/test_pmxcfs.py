"""On a file system that behaves as pmxcfs does, without quorum, and over a kill at every step."""

import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor import lxcconf
from tests.names import BASE
from tests.unit.fakehost import Done, FakeHost

OLD = b"arch: amd64\nlxc.apparmor.profile: lxc-old\n"
NEW = OLD.replace(b"lxc-old", BASE.encode())


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "pmxcfs.so"
    source = Path(__file__).parent / "fake/pmxcfs.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source, "-ldl"],
                   check=True)  # fmt: skip
    return library


@pytest.fixture
def host(host: FakeHost, shim: Path) -> FakeHost:
    host.json({"952": {}})
    host.conf("952", OLD).chmod(0o640)
    host.runtime("952")
    host.profile(BASE)
    host.kernel({BASE: "enforce"})
    host.environment |= {"LD_PRELOAD": str(shim), "PMXCFS": str(host.path("/etc/pve"))}
    return host


def leftovers(host: FakeHost) -> list[str]:
    return [p.name for p in host.root.rglob("*.phoenix-apparmor.*")]


def test_the_shim_refuses_what_pmxcfs_refuses(host: FakeHost) -> None:
    """So that the tests below would fail for a writer that does what is usual elsewhere."""
    script = """
import os, shutil, sys, tempfile
d = sys.argv[1]
def tried(f, *a):
    try: f(*a)
    except OSError as e: return e.errno
    return 0
open(d + "/a", "w").close()
print(tried(os.chmod, d + "/a", 0o644), tried(shutil.copy2, "/etc/hostname", d + "/b"),
      tried(os.rename, "/etc/hostname", d + "/c"), tried(os.link, d + "/a", d + "/l"),
      tried(os.symlink, "x", d + "/s"), oct(os.stat(d + "/a").st_mode & 0o777))
"""
    done = host.run("/usr/bin/python3", "-c", script, str(host.path("/etc/pve/lxc")))
    assert done.out.split() == ["1", "1", "18", "1", "38", "0o640"], done.err


@pytest.mark.parametrize("command", ["hook", "apply"])
def test_each_command_writes_as_pmxcfs_allows(host: FakeHost, command: str) -> None:
    done = host.hook("952") if command == "hook" else host.cli("apply", "952")
    assert done.status == 0, done.err
    assert host.read("/etc/pve/lxc/952.conf") == NEW
    assert leftovers(host) == []


@pytest.mark.parametrize("command", ["hook", "apply"])
def test_no_quorum(host: FakeHost, command: str) -> None:
    def run() -> Done:
        return host.hook("952") if command == "hook" else host.cli("apply", "952")

    host.environment["PMXCFS_NO_QUORUM"] = "1"
    done = run()
    assert done.status == 1
    assert done.err.splitlines() == [
        "CT 952: cannot write /etc/pve/lxc/952.conf: Permission denied.",
        "The cluster has no quorum, so /etc/pve is read-only. See: pvecm status",
    ]
    assert host.read("/etc/pve/lxc/952.conf") == OLD
    host.conf("952", NEW)
    assert run().status == 0, "nothing to write, no error"
    assert run().err == ""


def test_a_conf_over_one_mebibyte(host: FakeHost) -> None:
    text = b"description: " + b"a" * (1 << 20) + b"\n"
    host.conf("952", text)
    done = host.hook("952")
    assert done.status == 1
    assert "at most 1 MiB" in done.err
    assert host.read("/etc/pve/lxc/952.conf") == text
    assert leftovers(host) == []


@pytest.mark.slow
def test_killed_between_any_two_system_calls(host: FakeHost) -> None:
    """Every file is the old one or the new one, and the next start repairs the rest."""
    old_runtime = host.read("/var/lib/lxc/952/config")
    plain = old_runtime.replace(b"generated", BASE.encode())
    new_runtime = lxcconf.with_our_lines(plain, None, lock=lxcconf.LOCK_SHARES)
    kills = 0
    for step in range(1, 100):
        host.conf("952", OLD)
        host.runtime("952", old_runtime)
        done = host.hook("952", KILL_AT=str(step))
        assert host.read("/etc/pve/lxc/952.conf") in (OLD, NEW)
        assert host.read("/var/lib/lxc/952/config") in (old_runtime, new_runtime)
        copy = host.path("/var/lib/phoenix-apparmor/assignments")
        if copy.exists():
            assert b"\n952 lxc-nvidia-gpu-base\nend " in copy.read_bytes()
        if done.status == 0:
            break
        assert done.status == -9
        kills += 1
        assert host.hook("952").status == 0
        assert host.read("/etc/pve/lxc/952.conf") == NEW
        assert host.read("/var/lib/lxc/952/config") == new_runtime
        assert leftovers(host) == [], "what the killed one left is cleaned up"
        copy.unlink()
    assert kills >= 8


def test_disk_full_loses_nothing(host: FakeHost) -> None:
    """A file size limit stops the write half way, as a full disk does."""
    host.conf("952", OLD + b"description: " + b"x" * 4000 + b"\n")
    before = host.read("/etc/pve/lxc/952.conf")
    hook = host.hook_file("hookscript")
    done = host.run(
        "/bin/sh", "-c", f"ulimit -f 2; trap '' XFSZ; exec {hook} 952 pre-start",
        PHOENIX_APPARMOR_ROOT=str(host.root),
    )  # fmt: skip
    assert done.status == 1
    assert host.read("/etc/pve/lxc/952.conf") == before
    assert leftovers(host) == []
