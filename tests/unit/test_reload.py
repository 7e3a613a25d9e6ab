"""reload: files -> kernel, only what differs."""

import os
import shutil

import pytest

from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost, Journal


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    host.profile(BASE)
    host.profile(DOCKER)
    host.json({})
    return host


def loads(host: FakeHost) -> list[str]:
    """What the parser was asked to load: profile files, or profiles that are kept compiled."""
    log = host.path("/fake-parser-calls")
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    paths = [(line.split("/"), "-B -r " in line) for line in lines if "-r " in line]
    return [parts[-2] if kept else parts[-1] for parts, kept in paths]


def test_loads_what_differs_and_nothing_else(host: FakeHost, journal: Journal) -> None:
    assert host.cli("reload") == (0, f"loaded {BASE}\nloaded {DOCKER}\n", "")
    assert loads(host) == [BASE, DOCKER]
    assert [entry["PHOENIX_PROFILE"] for entry in journal.entries()] == [BASE, DOCKER]
    done = host.cli("reload")
    assert done.out == "Nothing to do: the kernel has all 2 profiles as they are in the files.\n"
    assert loads(host) == []
    assert journal.entries() == []
    host.profile(DOCKER, body="  deny /x rw,")
    assert host.cli("reload").out == f"replaced {DOCKER}\n"
    assert loads(host) == [DOCKER]


@pytest.mark.parametrize("next_boot", ["the same", "an older text", "nothing"])
def test_what_the_kernel_lost_is_compiled_only_for_the_next_boot(
    host: FakeHost, next_boot: str
) -> None:
    """apparmor.service loads what is in the parser's cache: that has to be right afterwards."""
    host.cli("reload")
    cache = host.path(f"/var/cache/apparmor/0123abcd.0/{BASE}")
    right = cache.read_bytes()
    if next_boot == "an older text":
        cache.write_bytes(right.replace(b"/usr/", b"/opt/"))
    elif next_boot == "nothing":
        cache.unlink()
    host.kernel({DOCKER: "enforce"})
    shutil.rmtree(host.path(f"/sys/kernel/security/apparmor/policy/profiles/{BASE}.1"))
    calls = host.path("/fake-parser-calls")
    calls.unlink()
    assert host.cli("reload").out == f"loaded {BASE}\n"
    compiled = [line for line in calls.read_text().splitlines() if "-B " not in line]
    assert len(compiled) == (0 if next_boot == "the same" else 1), compiled
    assert cache.read_bytes() == right


def test_a_change_in_local_is_a_difference(host: FakeHost) -> None:
    host.profile(BASE, body=f"  include if exists <local/{BASE}>")
    host.cli("reload")
    host.write(f"/etc/apparmor.d/local/{BASE}", "  /srv/** rw,\n")
    assert host.cli("reload").out == f"replaced {BASE}\n"


def test_one_bad_profile_does_not_stop_the_others(host: FakeHost) -> None:
    host.cli("reload")
    held = host.read(f"/sys/kernel/security/apparmor/policy/profiles/{BASE}.1/raw_sha256")
    host.profile(BASE, body=f"  include if exists <local/{BASE}>")
    host.write(f"/etc/apparmor.d/local/{BASE}", "\n\n  SYNTAX ERROR\n")
    host.profile(DOCKER, body="  deny /x rw,")
    done = host.cli("reload")
    assert done.status == 1
    assert done.out == f"replaced {DOCKER}\n"
    assert f"failed {BASE}: profile {BASE} does not compile: AppArmor parser error" in done.err
    assert f"local/{BASE} at line" in done.err
    assert held == host.read(f"/sys/kernel/security/apparmor/policy/profiles/{BASE}.1/raw_sha256")


@pytest.mark.parametrize("how", ["gone", "loop", "huge", "fifo", "emptied"])
def test_a_profile_without_a_text_is_no_success(host: FakeHost, how: str) -> None:
    host.conf("952")
    host.assign(c952=BASE)
    assert host.cli("reload").status == 0
    path = host.path(f"/etc/apparmor.d/{BASE}")
    text = path.read_bytes()
    path.unlink()
    if how == "loop":
        path.symlink_to(path)
    elif how == "huge":
        path.write_bytes(text + b"#" * (17 << 20))
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "emptied":
        path.write_bytes(b"")
    host.profile(DOCKER, body="  deny /x rw,")
    done = host.cli("reload")
    assert done.status == 1 and f"failed {BASE}: " in done.err
    assert done.out == f"replaced {DOCKER}\n", "the others are loaded"
    host.path(f"/etc/apparmor.d/{DOCKER}").unlink()
    assert host.cli("reload").status == 1
    host.json({})
    assert host.cli("reload").status == (0 if how == "gone" else 1), "nobody needs it"


def test_a_dry_run_loads_nothing(host: FakeHost) -> None:
    assert host.cli("reload", "--dry-run").out == f"to be loaded: {BASE}\n" \
        f"to be loaded: {DOCKER}\n"  # fmt: skip
    assert loads(host) == []


def test_without_apparmor_reload_does_nothing_and_is_fine(host: FakeHost) -> None:
    host.kernel(None)
    done = host.cli("reload")
    assert done.status == 0
    assert "nothing to load" in done.out


def test_which_profiles_are_looked_after(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc-containers", "include <lxc>\n")
    host.write("/etc/apparmor.d/lxc-strange", "profile lxc-strange {\n  file,\n}\n")
    host.profile("lxc-mine")
    host.write("/etc/apparmor.d/site.policy", "profile lxc-assigned {\n  file,\n}\n")
    for ending in (".dpkg-dist", ".dpkg-new", "~"):
        host.profile(f"lxc-mine{ending}")
    host.assign(c950="lxc-assigned")
    assert host.cli("reload").status == 0
    assert loads(host) == ["lxc-assigned", "lxc-mine", BASE, DOCKER]


def test_disabled_is_told_and_not_loaded(host: FakeHost) -> None:
    link = host.path(f"/etc/apparmor.d/disable/{BASE}")
    link.parent.mkdir()
    link.symlink_to(f"../{BASE}")
    done = host.cli("reload")
    assert done.status == 0
    assert f"skipped {BASE}: /etc/apparmor.d/disable/{BASE} switches it off." in done.err
    assert loads(host) == [DOCKER]


def test_without_profiles_there_is_nothing_to_load(host: FakeHost) -> None:
    host.path(f"/etc/apparmor.d/{BASE}").unlink()
    host.path(f"/etc/apparmor.d/{DOCKER}").unlink()
    assert "nothing to load" in host.cli("reload").out
