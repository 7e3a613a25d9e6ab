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


def test_what_a_storage_is_for_plays_no_part(host: FakeHost) -> None:
    """Proxmox runs a hookscript from any storage with a folder, whatever its content."""
    host.write("/etc/pve/storage.cfg", STORAGE)
    assert host.cli("attach", "950").status == 0
    assert calls(host) == [f"pct set 950 --hookscript {VOLUME}"]


STORAGES = """dir: local
\tpath /elsewhere
\tcontent iso

dir: moved
\tpath\t/srv/moved
\tcontent-dirs iso=isos,snippets=hooks

nfs: bare
\tserver x
\texport /y

dir: cut
\tpath /srv/cut

\tcontent-dirs snippets=not-read

zfspool: fast
\tpool x
"""
PLACES = {
    "local": "/var/lib/vz/snippets",
    "moved": "/srv/moved/hooks",
    "bare": "/mnt/pve/bare/snippets",
    "cut": "/srv/cut/snippets",
}


@pytest.mark.parametrize("storage", [*PLACES, "fast"])
@pytest.mark.parametrize("asked", [True, False], ids=["pvesm", "no-pvesm"])
def test_where_a_storage_keeps_it(host: FakeHost, storage: str, asked: bool) -> None:
    """As Proxmox says; where it cannot be asked, as Proxmox reads storage.cfg."""
    host.write("/etc/pve/storage.cfg", STORAGES)
    path = {} if asked else {"PATH": "/usr/sbin:/usr/bin"}
    done = host.cli("attach", "950", "--dry-run", "--storage", storage, **path)
    if storage == "fast":
        assert done.status == 1 and 'storage "fast"' in done.err
    elif storage == "local":
        assert done.out == f"CT 950: would set hookscript: {VOLUME}\n"
    else:
        link = f"{PLACES[storage]}/phoenix-apparmor.py"
        assert f"{link} is missing" in done.err
        host.write(link, "")
        assert host.cli("attach", "950", "--dry-run", "--storage", storage, **path).status == 0


def test_a_container_of_another_node(host: FakeHost) -> None:
    """apply and attach give the same answer."""
    host.json({"960": {}})
    host.write("/etc/pve/nodes/other/lxc/960.conf", "arch: amd64\n")
    for verb in ("attach", "apply"):
        done = host.cli(verb, "960")
        assert (done.status, done.out) == (1, "")
        assert done.err == "CT 960: is on node other, not on this one.\nRun it on other.\n"


def test_attach_to_another_storage(host: FakeHost) -> None:
    host.write(
        "/etc/pve/storage.cfg",
        STORAGE + "\nnfs: shared\n\tserver x\n\texport /y\n\tpath /mnt/pve/shared\n"
        "\tcontent snippets\n",
    )
    done = host.cli("attach", "950", "--storage", "shared")
    assert done.status == 1
    assert "ln -sfn /usr/libexec/phoenix-apparmor/hookscript /mnt/pve/shared/snippets/" in done.err
    host.write("/mnt/pve/shared/snippets/phoenix-apparmor.py", "")
    assert host.cli("attach", "950", "--storage", "shared").status == 0
    assert calls(host) == ["pct set 950 --hookscript shared:snippets/phoenix-apparmor.py"]
    assert "storage 'x' does not exist" in host.cli("attach", "950", "--storage", "x").err


def test_local_is_there_without_being_named(host: FakeHost) -> None:
    host.path("/etc/pve/storage.cfg").unlink()
    assert host.cli("attach", "950").status == 0


def test_not_managed_is_not_attached(host: FakeHost) -> None:
    done = host.cli("attach", "999")
    assert done.status == 1
    assert "CT 999: is not in the JSON" in done.err


def test_a_dry_run_attaches_and_detaches_nothing(host: FakeHost) -> None:
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
    assert "pct unlock 950" in done.err
    assert "CT 952: has our" in done.out
