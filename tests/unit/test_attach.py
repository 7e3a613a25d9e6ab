"""attach and detach."""

import pytest

from tests.unit.fakehost import FakeHost

VOLUME = "local:snippets/phoenix-apparmor.py"
STORAGE = "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.json({"950": {}, "951": {}, "952": {}})
    host.conf("950", "arch: amd64\n")
    host.conf("951", "hookscript: local:snippets/gpu.sh\n")
    host.conf("952", f"hookscript: {VOLUME}\n")
    host.conf("999", "arch: amd64\n")
    host.write("/etc/pve/storage.cfg", STORAGE.replace("backup", "backup,snippets"))
    host.write("/var/lib/vz/snippets/phoenix-apparmor.py", "")
    return host


def calls(host: FakeHost) -> list[str]:
    log = host.path("/fake-pct-calls")
    return log.read_text().splitlines() if log.exists() else []


def test_attach_all(host: FakeHost) -> None:
    done = host.cli("attach", "--all")
    assert done == (
        0,
        f"CT 950: hookscript set: {VOLUME}\n"
        "CT 951: keeps its own hookscript local:snippets/gpu.sh; the drop-in of "
        "pve-container@951 guards its starts.\n"
        "CT 952: has our hookscript already.\n",
        "",
    )
    assert calls(host) == [f"pct set 950 --hookscript {VOLUME}"]


def test_attach_says_how_to_let_the_storage_hold_snippets(host: FakeHost) -> None:
    host.write("/etc/pve/storage.cfg", STORAGE)
    done = host.cli("attach", "--all")
    assert done.status == 1
    assert "pvesm set local --content iso,vztmpl,backup,snippets" in done.err
    assert calls(host) == []


def test_attach_to_another_storage(host: FakeHost) -> None:
    host.write(
        "/etc/pve/storage.cfg",
        STORAGE + "\nnfs: shared\n\tserver x\n\texport /y\n\tpath /mnt/pve/shared\n"
        "\tcontent snippets\n",
    )
    done = host.cli("attach", "950", "--storage", "shared")
    assert done.status == 1
    assert "ln -s /usr/libexec/phoenix-apparmor/hookscript /mnt/pve/shared/snippets/" in done.err
    host.write("/mnt/pve/shared/snippets/phoenix-apparmor.py", "")
    assert host.cli("attach", "950", "--storage", "shared").status == 0
    assert calls(host) == ["pct set 950 --hookscript shared:snippets/phoenix-apparmor.py"]
    assert "no storage" in host.cli("attach", "950", "--storage", "x").err


def test_local_is_there_without_being_named(host: FakeHost) -> None:
    host.path("/etc/pve/storage.cfg").unlink()
    assert host.cli("attach", "950").status == 0


def test_not_managed_is_not_attached(host: FakeHost) -> None:
    done = host.cli("attach", "999")
    assert done.status == 1
    assert "CT 999: is not in the JSON" in done.err


def test_dry_runs(host: FakeHost) -> None:
    assert (
        f"CT 950: would set hookscript: {VOLUME}\n" in host.cli("attach", "--all", "--dry-run").out
    )
    out = host.cli("detach", "--all", "--dry-run").out
    assert out == f"CT 952: would remove hookscript: {VOLUME}\n"
    assert calls(host) == []


def test_detach_all_takes_ours_only(host: FakeHost) -> None:
    done = host.cli("detach", "--all")
    assert done == (0, f"CT 952: hookscript removed: {VOLUME}\n", "")
    assert calls(host) == ["pct set 952 --delete hookscript"]
    assert b"gpu.sh" in host.read("/etc/pve/lxc/951.conf")


def test_detach_without_pct_edits_under_the_lock(host: FakeHost) -> None:
    host.conf("952", f"hookscript: {VOLUME}\narch: amd64\n\n[snap]\nhookscript: {VOLUME}\n")
    done = host.cli("detach", "952", PATH="/nowhere")
    assert done.status == 0
    assert host.read("/etc/pve/lxc/952.conf") == (
        b"arch: amd64\n\n[snap]\nhookscript: local:snippets/phoenix-apparmor.py\n"
    )
    assert host.path("/run/lock/lxc/pve-config-952.lock").exists()


def test_a_container_that_pct_may_not_change(host: FakeHost) -> None:
    host.conf("950", "lock: backup\n")
    done = host.cli("attach", "--all")
    assert done.status == 1
    assert "CT 950: pct could not change its hookscript: CT is locked (backup)" in done.err
    assert "CT 952: has our" in done.out
