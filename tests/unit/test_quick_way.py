"""The decision table of the quick way: where it says "nothing to do", the full way agrees.

Every pair of a state of one thing (the JSON's trust, what the copy remembers of it, .conf, the
runtime configuration, the kernel, the profile's file) and a state of another, on a host where
all else is as it should be.
"""

import errno
import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from phoenix_apparmor import lxcconf, paths, start
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.settled import is_settled, settle
from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import MARKERS, FakeHost

CT = "952"
COPY = "/var/lib/phoenix-apparmor/assignments"
CONF = f"/etc/pve/lxc/{CT}.conf"
RUNTIME = f"/var/lib/lxc/{CT}/config"
FILE = f"/etc/apparmor.d/{DOCKER}"

State = Callable[[FakeHost], None]


def as_it_is(_: FakeHost) -> None:
    """The state in which there is nothing to do."""


def mode(name: str, bits: int) -> State:
    return lambda host: host.path(name).chmod(bits)


def owner(name: str, uid: int, gid: int) -> State:
    return lambda host: os.chown(host.path(name), uid, gid)


def gone(name: str) -> State:
    return lambda host: host.path(name).unlink()


def more(name: str, text: bytes) -> State:
    def change(host: FakeHost) -> None:
        host.write(name, host.read(name) + text)

    return change


def instead(name: str, old: bytes, new: bytes) -> State:
    def change(host: FakeHost) -> None:
        text = host.read(name)
        assert old in text, (name, old)
        host.write(name, text.replace(old, new, 1))

    return change


def remembered(field: int) -> State:
    """The copy remembers another device, inode, size or time of the JSON."""

    def change(host: FakeHost) -> None:
        lines = host.read(COPY).split(b"\n")
        number = next(n for n, line in enumerate(lines) if line.startswith(b"seen "))
        words = lines[number].split(b" ")
        words[field] = b"%d" % (int(words[field]) + 1)
        lines[number] = b" ".join(words)
        host.write(COPY, b"\n".join(lines))

    return change


def kernel(*modes: tuple[str, str]) -> State:
    return lambda host: host.kernel(dict(modes))


def made(host: FakeHost, name: str) -> None:
    host.write(name, "x")


def only_checked(host: FakeHost) -> None:
    made(host, f"{paths.VARIANTS}/{BASE}.1952")
    made(host, f"{paths.COMPILED}/{DOCKER}.guard.952/policy")


STATES: Mapping[str, Mapping[str, State]] = {
    "trust": {
        "right": as_it_is,
        "others may write it": mode(JSON, 0o666),
        "a group may write it": lambda host: (
            owner(JSON, 0, 33)(host),
            mode(JSON, 0o660)(host),
        )[0],
        "somebody else's": owner(JSON, 65534, 0),
        "gone": gone(JSON),
        "broken": more(JSON, b"}"),
    },
    "identity": {
        "right": as_it_is,
        "device": remembered(1),
        "inode": remembered(2),
        "size": remembered(3),
        "mtime": remembered(4),
        "ctime": remembered(5),
        "copy gone": gone(COPY),
        "copy cut": lambda host: (host.write(COPY, host.read(COPY)[:-2]), None)[1],
        "copy of others": mode(COPY, 0o666),
    },
    "conf": {
        "right": as_it_is,
        "another profile": instead(CONF, DOCKER.encode(), b"lxc-x"),
        "no line": instead(CONF, b"lxc.apparmor.profile: " + DOCKER.encode() + b"\n", b""),
        "two lines": more(CONF, b"lxc.apparmor.profile: lxc-x\n"),
        "the dead key": more(CONF, b"lxc.aa_profile: lxc-x\n"),
        "only in a snapshot": instead(CONF, b"lxc.apparmor", b"[snap]\nlxc.apparmor"),
        "gone": gone(CONF),
    },
    "runtime": {
        "right": as_it_is,
        "another profile": more(RUNTIME, b"lxc.apparmor.profile = lxc-x\n"),
        "unconfined": more(RUNTIME, b"lxc.apparmor.profile = unconfined\n"),
        "not stacked": instead(RUNTIME, b"//&:", b"//&"),
        "nesting gone": instead(RUNTIME, b"lxc.apparmor.allow_nesting = 1\n", b""),
        "raw rule": more(RUNTIME, b"lxc.apparmor.raw = mount,\n"),
        "gone": gone(RUNTIME),
    },
    "kernel": {
        "right": as_it_is,
        "complain": kernel((BASE, "enforce"), (DOCKER, "complain")),
        "unconfined": kernel((BASE, "enforce"), (DOCKER, "unconfined")),
        "prompt": kernel((BASE, "enforce"), (DOCKER, "prompt")),
        "not loaded": kernel((BASE, "enforce")),
        "a longer name": kernel((DOCKER + "-x", "enforce"), ("x-" + DOCKER, "enforce")),
        "no AppArmor": lambda host: host.kernel(None),
        "all only log": lambda host: made(host, "/sys/module/apparmor/parameters/mode"),
    },
    "variants": {
        "right": as_it_is,
        "of others": lambda host: made(host, f"{paths.VARIANTS}/{BASE}.1952"),
        "no longer assigned": lambda host: made(host, f"{paths.VARIANTS}/{DOCKER}.952"),
        "of a trial": lambda host: made(host, f"{paths.VARIANTS}/{DOCKER}.952.trial.began"),
        "only checked": only_checked,
    },
    "markers": {
        "right": as_it_is,
        "no namespace asked for": instead(FILE, b"# phoenix-apparmor: policy-namespace\n", b""),
        "file gone": gone(FILE),
        "another profile's file": instead(FILE, b"profile " + DOCKER.encode(), b"profile lxc-y"),
    },
}
RIGHT = ("right", "of others")
ALONE = [
    pytest.param(thing, name, id=f"{thing}: {name}")
    for thing, states in STATES.items()
    for name in states
]


def settled_host(root: Path) -> FakeHost:
    """CT 952 under the docker profile with its namespace; nothing has changed for long."""
    host = FakeHost(root)
    host.confined(CT, BASE, DOCKER)
    host.profile(DOCKER, before=MARKERS)
    host.write("/etc/phoenix-apparmor/privileged.seccomp", "2\ndenylist\n")
    host.assign(c952=DOCKER)
    start.prepare(Host(str(host.root)), CT, "hookscript")
    host.settle()
    return host


@pytest.fixture
def settled(tmp_path: Path) -> FakeHost:
    return settled_host(tmp_path / "host")


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the full way runs is the fake host's."""
    for name, value in FakeHost(tmp_path / "programs").environment.items():
        monkeypatch.setenv(name, value)


def outcome(host: FakeHost) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What the full way does: (refusal, changes, warnings)."""
    try:
        prepared = start.prepare(Host(str(host.root)), CT, "hookscript")
    except PhoenixError as error:
        return str(error), (), ()
    return "", prepared.changes, tuple(str(warning) for warning in prepared.warnings)


def files(host: FakeHost) -> tuple[bytes | None, bytes | None]:
    return tuple(  # type: ignore[return-value]
        host.read(name) if host.path(name).exists() else None for name in (CONF, RUNTIME)
    )


def test_nothing_to_do_where_all_is_right(settled: FakeHost) -> None:
    before = files(settled)
    assert is_settled(Host(str(settled.root)), CT)
    assert outcome(settled) == ("", (), ())
    assert files(settled) == before


@pytest.mark.parametrize(("thing", "name"), ALONE)
def test_one_thing_that_is_off_is_never_settled(settled: FakeHost, thing: str, name: str) -> None:
    STATES[thing][name](settled)
    assert is_settled(Host(str(settled.root)), CT) is (name in RIGHT)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(STATES, 2)))
def test_two_things_that_are_off_do_not_make_up_for_each_other(
    tmp_path: Path, one: str, other: str
) -> None:
    for first, second in itertools.product(STATES[one], STATES[other]):
        if first in RIGHT or second in RIGHT:
            continue
        host = settled_host(tmp_path / first / second)
        try:
            STATES[one][first](host)
            STATES[other][second](host)
        except FileNotFoundError:
            continue  # the first took away what the second changes
        before = files(host)
        settled = is_settled(Host(str(host.root)), CT)
        assert not settled or (outcome(host), files(host)) == (("", (), ()), before), (
            first,
            second,
        )
        assert not settled, (first, second)


def everything(host: FakeHost) -> tuple[tuple[bytes | None, bytes | None], list[str]]:
    """Both files, and the policy namespaces that there are."""
    place = host.path(paths.NAMESPACES)
    return files(host), sorted(os.listdir(place)) if place.exists() else []


def no_namespace(host: FakeHost) -> None:
    host.path(paths.NAMESPACES).joinpath(lxcconf.namespace_of(CT)).rmdir()


# As after a stop, and after Proxmox has generated the runtime configuration.
EACH_START: Mapping[str, Callable[[FakeHost], object]] = {
    "no block": lambda host: host.runtime(CT, lxcconf.without_our_lines(host.read(RUNTIME))),
    "no namespace": no_namespace,
    "an old block": instead(RUNTIME, b"lxc.apparmor.allow_nesting = 1\n", b""),
    "an included file": lambda host: host.runtime(
        CT, lxcconf.without_our_lines(host.read(RUNTIME)) + b"lxc.include = /root/extra\n"
    ),
}


@pytest.mark.parametrize("name", EACH_START)
def test_what_each_start_needs_is_made_on_the_quick_way(tmp_path: Path, name: str) -> None:
    quick, full = settled_host(tmp_path / "quick"), settled_host(tmp_path / "full")
    before = everything(quick)
    for host in (quick, full):
        EACH_START[name](host)
    assert everything(quick) != before
    assert settle(Host(str(quick.root)), CT)
    assert outcome(full) == ("", (), ()), "nothing to tell, so the quick way says nothing"
    assert everything(quick) == everything(full)
    assert is_settled(Host(str(quick.root)), CT)
    if name != "an included file":
        assert everything(quick) == before


@pytest.mark.parametrize("each", EACH_START)
@pytest.mark.parametrize(("thing", "name"), ALONE)
def test_nothing_is_made_where_more_is_off(
    tmp_path: Path, thing: str, name: str, each: str
) -> None:
    """Else the full way would make it, or refuse the start."""
    quick, full = settled_host(tmp_path / "quick"), settled_host(tmp_path / "full")
    for host in (quick, full):
        EACH_START[each](host)
        try:
            STATES[thing][name](host)
        except (AssertionError, FileNotFoundError):
            pytest.skip("takes away what the other changes")
    before = everything(quick)
    if settle(Host(str(quick.root)), CT):
        assert outcome(full) == ("", (), ())
        assert everything(quick) == everything(full)
    else:
        assert everything(quick) == before


def test_where_it_cannot_be_written_the_full_way_says_why(
    settled: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    EACH_START["no block"](settled)
    before = files(settled)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Host, "write_beside", full)
    assert not settle(Host(str(settled.root)), CT)
    assert files(settled) == before
    assert "No space left" in outcome(settled)[0]
