"""Files and folders of the host on bad days: whose they are, what is no file, what changes."""

import os
import time

import pytest

from phoenix_apparmor import logfiles, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.host import Host
from tests.names import BASE
from tests.unit.fakehost import PYTHON, REPO, FakeHost

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
NOBODY = 65534


# -- the host's own folders ------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o077])
def test_our_own_umask(base: FakeHost, umask: int) -> None:
    base.run("/bin/sh", "-c", f"umask {umask:o}; exec {base.hook_file('hookscript')} 952 pre-start",
             PHOENIX_APPARMOR_ROOT=str(base.root))  # fmt: skip
    modes = {
        name: base.path(name).stat().st_mode & 0o777
        for name in (paths.RUN, paths.LOCKS, paths.STATE, paths.COPY, paths.conf("952"))
    }
    assert list(modes.values()) == [0o700, 0o700, 0o755, 0o644, 0o644], modes
    assert base.path(paths.ASSIGNMENTS_LOCK).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="makes folders of another user")
def test_locks_of_others_and_links_are_not_followed(base: FakeHost) -> None:
    victim = base.path("/etc/nologin")
    locks = base.path(paths.LOCKS)
    locks.mkdir(parents=True)
    os.chown(locks, NOBODY, NOBODY)
    (locks / "assignments.lock").symlink_to(victim)
    (locks / "loading.lock").symlink_to(victim)
    base.kernel({})
    done = base.hook("952")
    assert done.status == 1 and "belongs to uid 65534" in done.err, done
    assert not victim.exists()
    os.chown(locks, 0, 0)
    assert base.hook("952").status == 1
    assert not victim.exists()
    (locks / "loading.lock").unlink()
    (locks / "assignments.lock").unlink()
    assert base.hook("952").status == 0, "the control"


def test_the_lock_of_a_conf_is_taken_by_the_hook(base: FakeHost) -> None:
    base.hook("952")
    assert base.path(paths.conf_lock("952")).exists()


# -- what is no file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [f"{paths.APPARMOR_D}/{BASE}", paths.COPY, paths.conf("952"), paths.JSON_FILES[0],
             paths.runtime("952")]
)  # fmt: skip
@pytest.mark.parametrize("kind", ["fifo", "folder", "loop"])
def test_what_is_no_file_hangs_nothing(base: FakeHost, name: str, kind: str) -> None:
    assert base.hook("952").status == 0
    place = base.path(name)
    place.unlink()
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(place)
    begin = time.monotonic()
    for done in (base.hook("952"), base.cli("status"), base.cli("reload"), base.cli("validate"),
                 base.cli("apply", "--all")):  # fmt: skip
        assert "Traceback" not in done.err and "error in phoenix" not in done.err, done
    assert base.hook("952").status == (0 if name in (paths.COPY, paths.JSON_FILES[0]) else 1)
    assert time.monotonic() - begin < 90


def test_all_goes_on_after_one_that_cannot_be(base: FakeHost) -> None:
    base.json({c: {"apparmor_profile": BASE} for c in ("951", "952", "953")})
    base.path(paths.conf("951")).mkdir()
    base.conf("953")
    done = base.cli("apply", "--all")
    assert done.status == 1 and "951.conf: not a regular file" in done.err.replace(
        str(base.root), ""
    )
    assert BASE.encode() in base.read(paths.conf("953"))
    assert "1 failed" in done.out


def test_full_output_is_an_error_and_no_traceback(base: FakeHost) -> None:
    for verb in ("status", "doctor", "validate"):
        command = f"exec {PYTHON} -m phoenix_apparmor --root {base.root} {verb} >/dev/full"
        done = base.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))
        assert done.status == 1, done
        assert "No space left" in done.err and "Traceback" not in done.err


# -- files -----------------------------------------------------------------------------------------


def test_only_what_is_surely_ours_is_removed(base: FakeHost) -> None:
    kept = [
        f"/etc/pve/lxc/952.conf.phoenix-apparmor.{end}"
        for end in (
            "bak",
            "20261125",
            "1",
            f"{os.getpid()}.1795644707380831682",
            "1.2",
            "x.1795644707380831682",
        )
    ]
    for name in kept:
        base.write(name, "mine")
    left = base.write("/etc/pve/lxc/953.conf.phoenix-apparmor.4194305.1795644707380831682", "x")
    assert base.hook("952").status == 0
    assert [name for name in kept if not base.path(name).exists()] == []
    assert not left.exists()


def test_files_are_synced_and_never_opened_over_another(base: FakeHost) -> None:
    log = base.path("/fake/strace")
    log.parent.mkdir(exist_ok=True)
    traced = ["strace", "-y", "-o", str(log), "-e", "trace=openat,fsync,rename"]
    base.run(*traced, base.hook_file("hookscript"), "952", "pre-start",
             PHOENIX_APPARMOR_ROOT=str(base.root))  # fmt: skip
    lines = log.read_text().splitlines()
    for name in (paths.conf("952"), paths.runtime("952"), paths.COPY):
        path = f"{base.root}{name}"
        renames = [
            n
            for n, line in enumerate(lines)
            if line.startswith("rename") and f', "{path}")' in line
        ]
        assert len(renames) == 1, name
        before = [line for line in lines[: renames[0]] if path + ".phoenix-apparmor." in line]
        assert any("O_CREAT|O_EXCL" in line for line in before), before
        assert any(line.startswith("fsync") for line in before), before
        folder = os.path.dirname(path)
        after = lines[renames[0] : renames[0] + 3]
        assert any(line.startswith("fsync") and f"<{folder}>" in line for line in after), after


def test_a_file_that_changes_while_it_is_read_is_read_again(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Host.read_and_stat
    new = b'{"lxc_configs": {"952": {"apparmor_profile": "lxc-other"}}}'

    def changing(self: Host, name: str, limit: int = 64 << 20) -> tuple[bytes, os.stat_result]:
        result = real(self, name, limit)
        if name == paths.JSON_FILES[0] and result[0] != new:
            base.json(new)
        return result

    monkeypatch.setattr(Host, "read_and_stat", changing)
    known = lookup.everyone(Host(str(base.root)))
    assert known.assigned["952"].name == "lxc-other"


def test_a_json_that_a_group_may_write_is_not_trusted(base: FakeHost) -> None:
    path = base.path(paths.JSON_FILES[0])
    path.chmod(0o660)
    host = Host(str(base.root))
    assert host.distrust(paths.JSON_FILES[0]) == ""
    if os.geteuid() == 0:
        os.chown(path, 0, 33)
        assert "anyone but root may write" in host.distrust(paths.JSON_FILES[0])


def test_a_link_in_the_place_of_a_lock_is_called_what_it_is(base: FakeHost) -> None:
    lock = base.path(paths.conf_lock("952"))
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.symlink_to(base.path("/elsewhere"))
    done = base.hook("952")
    assert done.status == 1 and f"rm -r {paths.conf_lock('952')}" in done.err
    assert not base.path("/elsewhere").exists()
    lock.unlink()
    assert base.hook("952").status == 0, "the control"


# -- what is too long to hold ----------------------------------------------------------------------


def test_a_configuration_that_is_too_big_is_never_written_back_in_part(base: FakeHost) -> None:
    for name in (paths.conf("952"), paths.runtime("952")):
        path = base.path(name)
        before = path.read_bytes()
        with path.open("ab") as file:
            file.truncate(65 << 20)
        done = base.hook("952")
        assert done.status == 1 and "larger than 64 MiB" in done.err, done
        assert path.stat().st_size == 65 << 20
        assert base.cli("apply", "952").status == (1 if name == paths.conf("952") else 0)
        assert base.cli("detach", "--all").status == (1 if name == paths.conf("952") else 0)
        assert path.stat().st_size == 65 << 20
        path.write_bytes(before)
    assert base.hook("952").status == 0, "the control"


def test_a_read_with_a_limit_of_its_own_gives_one_byte_more(base: FakeHost) -> None:
    host = Host(str(base.root))
    base.write("/x", b"abc")
    assert host.read("/x", 1) == b"ab"
    assert host.read("/x") == b"abc"
    assert logfiles.end(host, "/x", 2) == b"bc"
    assert logfiles.end(host, "/x", 9) == b"abc"


def test_the_holes_of_a_file_are_not_read(base: FakeHost) -> None:
    path = base.write("/log", b"first\n")
    with path.open("ab") as file:
        file.truncate(200 << 30)
        file.seek(100 << 30)
        file.write(b"\nsecond\n")
    begin = time.monotonic()
    lines = [line.strip(b"\0\n") for line in logfiles.lines(Host(str(base.root)), "/log")]
    assert [line for line in lines if line] == [b"first", b"second"]
    assert time.monotonic() - begin < 10
