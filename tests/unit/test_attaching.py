"""The hookscript option and the steps of the maintainer scripts, each called by itself."""

import fcntl
import hashlib
import os

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.package import attaching, maintscript
from phoenix_apparmor.package.attaching import Storage
from tests.names import BASE
from tests.unit.fakehost import FakeHost

OURS = "local:snippets/phoenix-apparmor.py"
LOCAL = Storage("local", "/var/lib/vz/snippets/phoenix-apparmor.py")
CONF = paths.conf("952")


@pytest.fixture
def real(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    host.json({"952": {}})
    host.conf("952")
    return Host(str(host.root))


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "has_program", lambda *_: False)


# -- storages -----------------------------------------------------------------------------------


def test_storages_as_proxmox_reads_them() -> None:
    text = (
        "# dir: no\n\tpath /no\n#dir: no\n\tpath /no\n"
        "dir: a\n\tpath /srv/a\n\tcontent iso\ngarbage\n\tdisable\n\tcontent-dirs\n"
        "nfs: b\n\tserver x\n \ndir: c\n  path\t/c  \n\tcontent-dirs iso=i, snippets=/hooks/ \n"
        "lvm: d\n\tpath /d\n\n\tpath /lost\ncifs: e\nbtrfs: f\ncephfs: g\nglusterfs: h\n"
        " dir: indented\n"
    )
    assert attaching.storages(text) == {
        "a": "/srv/a/snippets",
        "b": "/mnt/pve/b/snippets",
        "c": "/c/hooks",
        "e": "/mnt/pve/e/snippets",
        "f": "/mnt/pve/f/snippets",
        "g": "/mnt/pve/g/snippets",
        "h": "/mnt/pve/h/snippets",
        "local": "/var/lib/vz/snippets",
    }
    moved = "dir: local\n\tpath /elsewhere\n\tcontent-dirs iso=x,snippets=\n"
    assert attaching.storages(moved) == {"local": "/var/lib/vz/snippets"}


def test_proxmox_is_asked_where_a_storage_is(host: FakeHost, real: Host) -> None:
    assert attaching.check_storage(real, "local") == LOCAL
    with pytest.raises(PhoenixError, match="storage 'x' does not exist") as raised:
        attaching.check_storage(real, "x")
    assert "pvesm status" in raised.value.hint
    odd = host.write("/fake/bin/pvesm", "#!/bin/sh\necho relative\n")
    odd.chmod(0o755)
    os.environ["PATH"] = f"{odd.parent}:{os.environ['PATH']}"
    with pytest.raises(PhoenixError, match="cannot hold the hookscript: relative"):
        attaching.check_storage(real, "local")
    odd.write_text("#!/bin/sh\necho /x\nexit 1\n")
    with pytest.raises(PhoenixError, match="cannot hold the hookscript: /x"):
        attaching.check_storage(real, "local")


@pytest.mark.usefixtures("no_programs")
def test_elsewhere_its_configuration_is_read(host: FakeHost, real: Host) -> None:
    assert attaching.check_storage(real, "local") == LOCAL
    host.write(attaching.STORAGE_CFG, "dir: a\n\tpath /a\n")
    assert attaching.check_storage(real, "a").snippet == "/a/snippets/phoenix-apparmor.py"
    with pytest.raises(PhoenixError, match='no storage "x"') as raised:
        attaching.check_storage(real, "x")
    assert "one of: a, local." in raised.value.hint


def test_a_line_to_paste_is_quoted() -> None:
    storage = Storage("x", "/srv/a b/phoenix-apparmor.py")
    assert attaching.snippet_of(storage) == storage.snippet
    assert attaching.link_command(storage) == (
        "mkdir -p '/srv/a b' && ln -sfn /usr/libexec/phoenix-apparmor/hookscript "
        "'/srv/a b/phoenix-apparmor.py'"
    )


# -- one container ------------------------------------------------------------------------------


def test_attached_and_detached(host: FakeHost, real: Host) -> None:
    assert attaching.attach(real, "953", LOCAL) == "is not on this node, nothing done."
    assert attaching.detach(real, "953") == attaching.detach(real, "952") == ""
    before = host.read(CONF)
    assert attaching.attach(real, "952", LOCAL, dry_run=True) == f"would set hookscript: {OURS}"
    assert host.read(CONF) == before
    assert attaching.attach(real, "952", LOCAL) == f"hookscript set: {OURS}"
    assert f"hookscript: {OURS}\n".encode() in host.read(CONF)
    assert attaching.attach(real, "952", LOCAL) == "has our hookscript already."
    assert attaching.detach(real, "952", dry_run=True) == f"would remove hookscript: {OURS}"
    assert b"hookscript" in host.read(CONF)
    assert attaching.detach(real, "952") == f"hookscript removed: {OURS}"
    assert host.read(CONF) == before


def test_the_hookscript_of_others_stays(host: FakeHost, real: Host) -> None:
    host.conf("952", "hookscript: local:snippets/gpu.sh\n")
    assert "keeps its own hookscript local:snippets/gpu.sh" in attaching.attach(real, "952", LOCAL)
    assert attaching.detach(real, "952") == ""
    assert host.read(CONF) == b"hookscript: local:snippets/gpu.sh\n"
    host.conf("952", "hookscript: other:snippets/phoenix-apparmor.py\n")
    assert attaching.attach(real, "952", LOCAL) == f"hookscript set: {OURS}", "ours, moved"


@pytest.mark.usefixtures("no_programs")
def test_without_pct_nothing_is_attached_and_a_locked_conf_stays(
    host: FakeHost, real: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PhoenixError, match="not a Proxmox host"):
        attaching.attach(real, "952", LOCAL)
    host.conf("952", f"hookscript: {OURS}\narch: amd64\n")
    monkeypatch.setattr(attaching, "LOCK_SECONDS", 0.1)
    lock = host.write(paths.conf_lock("952"), "")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PhoenixError, match="locked by another task"):
            attaching.detach(real, "952")
    assert b"hookscript" in host.read(CONF)
    assert attaching.detach(real, "952") == f"hookscript removed: {OURS}"
    assert host.read(CONF) == b"arch: amd64\n"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("CT is locked (backup)", "pct unlock 952"),
        ("cluster not ready - no quorum?", "pvecm status"),
        ("unable to open file - Permission denied", "pvecm status"),
        ("can't lock file - got timeout", "fuser -v /run/lock/lxc/pve-config-952.lock"),
        ("anything else", "pct config 952"),
    ],
)
def test_what_helps_where_pct_refuses(host: FakeHost, real: Host, said: str, hint: str) -> None:
    pct = host.write("/fake/bin/pct", f'#!/bin/sh\necho "{said}" >&2\nexit 255\n')
    pct.chmod(0o755)
    os.environ["PATH"] = f"{pct.parent}:{os.environ['PATH']}"
    with pytest.raises(PhoenixError, match="pct could not change its hookscript") as raised:
        attaching.attach(real, "952", LOCAL)
    assert hint in raised.value.hint and said in raised.value.what


def test_times_bound_every_step() -> None:
    assert 10 <= attaching.PCT_SECONDS <= 120
    assert 10 <= attaching.PVESM_SECONDS <= 120
    assert 1 <= attaching.LOCK_SECONDS <= 60


# -- the maintainer scripts ---------------------------------------------------------------------


def test_one_step_that_fails_stops_no_other(
    real: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Host] = []

    def fails(_: Host) -> None:
        raise PhoenixError("the first.", hint="A hint.")

    def odd(_: Host) -> None:
        raise ValueError("the second")

    monkeypatch.setattr(maintscript, "CONFIGURE", (fails, odd, done.append))
    assert maintscript.main(["configure"], real) == 1
    assert done == [real]
    said = capsys.readouterr().err
    assert "the first." in said and "A hint." in said and "the second" in said
    monkeypatch.setattr(maintscript, "REMOVE", (done.append,))
    assert maintscript.main(["remove"]) == 0
    assert done[1].root == "", "this machine, as the maintainer scripts call it"


def test_the_snippet_is_linked_once(host: FakeHost, real: Host) -> None:
    maintscript.link_hookscript(real)
    assert not host.path("/var/lib/vz").exists(), "no such storage"
    host.path("/var/lib/vz").mkdir(parents=True)
    link = host.path(LOCAL.snippet)
    for _ in range(2):
        maintscript.link_hookscript(real)
        assert os.readlink(link) == paths.HOOKSCRIPT
    for target in ("/elsewhere", ""):
        link.unlink()
        if target:
            link.symlink_to(target)
        else:
            link.write_text("x")
        with pytest.raises(PhoenixError, match="is not our link and stays"):
            maintscript.link_hookscript(real)
    link.unlink()
    link.parent.rmdir()
    link.parent.symlink_to("/proc")
    with pytest.raises(PhoenixError, match="cannot make the link"):
        maintscript.link_hookscript(real)


def test_removal_waits_for_the_clusters_file_system(host: FakeHost, real: Host) -> None:
    host.path(CONF).unlink()
    host.path(paths.CONF_FOLDER).rmdir()
    maintscript.detach_all(real)
    host.proxmox()
    with pytest.raises(PhoenixError, match="unknown which containers name our hookscript"):
        maintscript.detach_all(real)
    host.path(paths.CONF_FOLDER).mkdir()
    maintscript.detach_all(real)


def test_detached_are_attached_again(host: FakeHost, real: Host) -> None:
    host.conf("952", f"hookscript: {OURS}\n")
    host.conf("953", "hookscript: gone:snippets/phoenix-apparmor.py\n")
    host.conf("954", "hookscript: local:snippets/gpu.sh\n")
    maintscript.detach_all(real)
    record = host.read(maintscript.DETACHED)
    assert record == f"952 {OURS}\n953 gone:snippets/phoenix-apparmor.py\n".encode()
    assert b"phoenix" not in host.read(CONF) + host.read(paths.conf("953"))
    maintscript.detach_all(real)
    assert host.read(maintscript.DETACHED) == record, "a second removal forgets none"
    with pytest.raises(PhoenixError, match="gone"):
        maintscript.reattach(real)
    assert OURS.encode() in host.read(CONF)
    assert host.read(maintscript.DETACHED) == b"953 gone:snippets/phoenix-apparmor.py\n"
    host.write(maintscript.DETACHED, "")
    maintscript.reattach(real)
    assert not host.path(maintscript.DETACHED).exists()


def test_removal_stops_where_a_container_would_not_start(
    host: FakeHost, real: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    for ctid in ("1001", "953", "952"):
        host.conf(ctid, f"lock: backup\nhookscript: {OURS}\n" if ctid != "952" else
                  f"hookscript: {OURS}\n")  # fmt: skip
    with pytest.raises(PhoenixError, match="without its hookscript CT 953, 1001 would not start"):
        maintscript.detach_all(real)
    said = capsys.readouterr()
    assert "CT 953: pct could not" in said.err and "CT 1001: pct could not" in said.err
    assert "CT 952: hookscript removed" in said.out
    assert host.read(maintscript.DETACHED) == f"952 {OURS}\n".encode()


def test_snapshots_are_named(
    host: FakeHost, real: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = f"hookscript: {OURS}\n"
    one = "[one]\nhookscript: x:snippets/y\n"
    three = f"[three]\n#{ours}hookscript = {OURS}\n"
    four = f"[four]\nhookscript:{OURS} \n"
    host.conf("952", f"{ours}{one}[two]\n{ours}{three}{four}")
    maintscript.report_snapshots(real)
    said = capsys.readouterr().err
    assert "CT 952: snapshots name our hookscript: two, four." in said
    host.conf("952", f"hookscript: {OURS}\n")
    maintscript.report_snapshots(real)
    assert capsys.readouterr().err == ""


def test_the_deprecated_profile_goes_once_nobody_names_it(
    host: FakeHost, real: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    name = paths.DEPRECATED
    maintscript.retire_deprecated(real)
    path = f"{paths.APPARMOR_D}/{name}"
    host.write(path, "x")
    line = f"lxc.apparmor.profile: {name}\n"
    places = {
        CONF: "a: 1\n[snap]\n" + line,
        f"{paths.NODES}/other/lxc/960.conf": line,
        paths.JSON_FILES[0]: name,
        paths.JSON_FILES[1]: name,
        paths.COPY: name,
    }
    host.path(paths.JSON_FILES[0]).unlink()
    for place, text in places.items():
        before = host.read(place) if host.path(place).exists() else None
        host.write(place, text)
        with pytest.raises(PhoenixError, match="the deprecated profile") as raised:
            maintscript.retire_deprecated(real)
        assert f"stays: {place} name it" in raised.value.what
        host.path(place).unlink() if before is None else host.write(place, before)
    host.conf("952", f"lxc.apparmor.profile: {name}-x\n#{line}")
    # One that is gone by the time it is read.
    host.path(f"{paths.NODES}/other/lxc/961.conf").symlink_to("/gone")
    kept = host.path(path + ".dpkg-bak")
    kept.mkdir()
    with pytest.raises(PhoenixError, match=f"cannot set {path} aside"):
        maintscript.retire_deprecated(real)
    assert host.read(path) == b"x"
    kept.rmdir()
    maintscript.retire_deprecated(real)
    assert not host.path(path).exists() and host.read(path + ".dpkg-bak") == b"x"
    assert "is retired; kept as" in capsys.readouterr().out


def test_without_proxmox_lxc_s_own_configuration_names_it(host: FakeHost, real: Host) -> None:
    host.path(CONF).unlink()
    host.path(paths.CONF_FOLDER).rmdir()
    path = host.write(f"{paths.APPARMOR_D}/{paths.DEPRECATED}", "x")
    host.write(paths.runtime("web"), f"lxc.apparmor.profile = {paths.DEPRECATED}\n")
    with pytest.raises(PhoenixError, match="/var/lib/lxc/web/config name it"):
        maintscript.retire_deprecated(real)
    host.write(paths.runtime("web"), "lxc.apparmor.profile = lxc-x\n")
    maintscript.retire_deprecated(real)
    assert not path.exists()


def test_edited_conffiles_are_told(host: FakeHost, real: Host) -> None:
    maintscript.report_held_back(real)
    path = host.profile(BASE)
    host.dpkg(**{BASE.replace("-", "_"): hashlib.md5(b"shipped").hexdigest()})
    maintscript.report_held_back(real)
    waiting = path.with_name(path.name + ".dpkg-dist")
    waiting.write_bytes(b"shipped")
    with pytest.raises(PhoenixError, match="edited, so this version's text is not in force") as r:
        maintscript.report_held_back(real)
    assert f"mv {paths.APPARMOR_D}/{BASE}.dpkg-dist {paths.APPARMOR_D}/{BASE}" in r.value.hint


def test_tunables_of_another_package_are_told(host: FakeHost, real: Host) -> None:
    home = "/etc/apparmor.d/tunables/home"
    status = "Package: apparmor\nStatus: install ok installed\nVersion: 1\nMaintainer: x <x@x>\n"
    md5 = hashlib.md5(b"theirs").hexdigest()
    host.write("/var/lib/dpkg/info/format", "1\n")
    other = "/etc/apparmor.d/tunables/edited"
    status += f"Architecture: all\nDescription: x\nConffiles:\n {home} {md5}\n {other} {md5}\n\n"
    host.write(other, "an admin's")
    host.write("/var/lib/dpkg/status", status)
    for text, told in ((b"theirs", False), (b"mine", True), (None, True)):
        if text is None:
            host.path(home).unlink()
        else:
            host.write(home, text)
        if told:
            with pytest.raises(PhoenixError, match=f"{home} is (modified|missing)"):
                maintscript.report_tunables_home(real)
        else:
            maintscript.report_tunables_home(real)
