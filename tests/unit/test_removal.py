"""Removing the package: who is detached, what is remembered, what it names."""

import fcntl

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.package import attaching, maintscript
from tests.unit.fakehost import PYTHON, REPO, Done, FakeHost

OURS = "hookscript: local:snippets/phoenix-apparmor.py\n"
NOBODY = 65534


def test_removal_remembers_before_its_first_step(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ctid in ("952", "953"):
        base.conf(ctid, OURS)

    def killed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(attaching, "detach", killed)
    with pytest.raises(KeyboardInterrupt):
        maintscript.detach_all(Host(str(base.root)))
    assert base.read("/var/lib/phoenix-apparmor/detached").count(b"local:snippets") == 2
    folder = base.path("/var/lib/phoenix-apparmor")
    assert folder.stat().st_mode & 0o777 == 0o755, "status may be run by anyone"


def test_removal_stays_where_one_cannot_be_detached(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.conf("952", OURS + "lock: backup\n")
    base.conf("953", OURS)
    base.write("/var/lib/phoenix-apparmor/detached", "960 nfs:snippets/phoenix-apparmor.py\n")
    for key, value in base.environment.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(PhoenixError, match="952"):
        maintscript.detach_all(Host(str(base.root)))
    assert (
        base.read("/var/lib/phoenix-apparmor/detached")
        == b"953 local:snippets/phoenix-apparmor.py\n960 nfs:snippets/phoenix-apparmor.py\n"
    ), "what an earlier removal took stays known"


def test_removal_needs_nobody_who_reads_what_it_says(base: FakeHost) -> None:
    for ctid in ("952", "953"):
        base.conf(ctid, OURS)
    assert removed(base, ">/dev/full").status == 0
    assert b"hookscript" not in base.read(paths.conf("952")) + base.read(paths.conf("953"))


def test_removal_without_standard_streams(base: FakeHost) -> None:
    """The files that it opens first would get their numbers, and what it says would go there."""
    for ctid in ("952", "953"):
        base.conf(ctid, OURS)
    assert removed(base, "<&- >&- 2>&-").status == 0
    assert base.read(paths.conf("952")) == base.read(paths.conf("953")) == b""
    record = base.read("/var/lib/phoenix-apparmor/detached")
    assert record.count(b"\n") == record.count(b"local:snippets") == 2


def removed(host: FakeHost, streams: str) -> Done:
    """The removal, as prerm runs it, with its standard streams redirected."""
    text = (
        "import sys; from phoenix_apparmor.host import Host; "
        "from phoenix_apparmor.package.maintscript import main; "
        "sys.exit(main(['remove'], Host(sys.argv[1])))"
    )
    command = f'exec {PYTHON} -c "{text}" {host.root} {streams}'
    return host.run("/bin/sh", "-c", command, PYTHONPATH=str(REPO))


def test_removal_names_the_snapshots_that_bring_the_hookscript_back(
    base: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    base.conf(
        "952", f"arch: amd64\n\n[before]\narch: amd64\n{OURS}\n[other]\nhookscript: a:snippets/x\n"
    )
    maintscript.detach_all(Host(str(base.root)))
    said = capsys.readouterr().err
    assert "CT 952" in said and "before" in said and "other" not in said


def test_without_pct_the_option_goes_under_proxmox_lock(
    base: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.conf("952", OURS)
    monkeypatch.setattr(attaching, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(Host, "has_program", lambda *_: False)
    lock = base.write(paths.conf_lock("952"), "")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PhoenixError, match="locked"):
            attaching.detach(Host(str(base.root)), "952")
    assert attaching.detach(Host(str(base.root)), "952")
