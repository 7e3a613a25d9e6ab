"""The quick answer after a start: where it says that all is right, verify finds nothing wrong."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from phoenix_apparmor import confined, init_process, lxcconf, paths
from phoenix_apparmor.confined import is_confined
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import MARKERS, FakeHost

CT, MONITOR = "952", "4200"
CHILDREN = f"/proc/{MONITOR}/task/{MONITOR}/children"
STATUS = "/proc/4242/status"
RUNTIME = paths.runtime(CT)
NOTE, BEGUN, READ = paths.confined(CT), paths.begun(CT), paths.was_read(CT)
INCLUDE = b"lxc.include = /root/extra.conf\n"
PLAIN, STACKED = f"{DOCKER} (enforce)", f"{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined (enforce)"

State = Callable[[FakeHost], object]


def in_turn(*changes: State) -> State:
    return lambda host: [change(host) for change in changes]


def runs(host: FakeHost, label: str, *, privileged: bool = False, seccomp: int = 2) -> None:
    """lxc-start has started the container's init."""
    host.running(CT, label)
    host.write(CHILDREN, "4201 4242 ")
    host.executes("/usr/bin/dash", 4201)
    host.write("/proc/4201/status", "Name:\tsh\nNSpid:\t4201\n")
    host.write(READ, "")
    host.write(STATUS, f"Name:\tinit\nNSpid:\t4242\t1\nSeccomp:\t{seccomp}\n")
    host.write("/proc/4242/uid_map", "0 0 4294967295\n" if privileged else "0 100000 65536\n")


@pytest.fixture
def started(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """CT 952 was prepared under the docker profile, and runs as it should."""
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(confined, "SECONDS", 0.0)
    host.confined(CT, DOCKER, BASE)
    host.profile(DOCKER, before=MARKERS)
    host.write(paths.SECCOMP, "2\n")
    assert host.hook(CT).status == 0
    host.settle()
    runs(host, STACKED)
    return host


def answers(host: FakeHost) -> tuple[bool, bool]:
    """(the quick answer, whether verify finds nothing wrong)."""
    quick = is_confined(Host(str(host.root)), CT, MONITOR)
    try:
        init_process.verify(Host(str(host.root)), CT, begun=True)
    except PhoenixError:
        return quick, False
    return quick, True


def privileged(label: str = PLAIN, *, said: str = paths.SECCOMP, seccomp: int = 2) -> State:
    """lxc-info says what LXC read as its seccomp policy."""

    def change(host: FakeHost) -> None:
        host.runtime(
            CT, lxcconf.with_our_lines(b"lxc.uts.name = x\n", None, lock=lxcconf.LOCK_SHARES)
        )
        runs(host, label, privileged=True, seccomp=seccomp)
        host.write(f"/fake/lxc/{CT}/lxc.seccomp.profile", f"lxc.seccomp.profile = {said}\n")

    return change


def assigned(label: str, **entry: object) -> State:
    """Another entry of the JSON, of which the copy was made long ago."""

    def change(host: FakeHost) -> None:
        host.json({CT: entry})
        host.cli("status", CT)
        init_process.verify(Host(str(host.root)), "953")
        host.settle()
        runs(host, label)

    return change


def more_runtime(line: bytes) -> State:
    return lambda host: host.runtime(CT, host.read(RUNTIME) + line)


RIGHT: Mapping[str, State] = {
    "stacked": lambda _: None,
    "privileged": privileged(),
    "with a policy of the admin's": in_turn(
        privileged(said="/own"),
        lambda host: host.runtime(CT, b"lxc.seccomp.profile = /own\n"),
    ),
    "without what is only comfort": lambda host: runs(host, PLAIN),
    "an included file, stacked": more_runtime(INCLUDE),
    "generated": assigned("lxc-952_</var/lib/lxc>//&:x:unconfined (enforce)",
                          apparmor_profile="generated"),
    "not managed": in_turn(
        lambda host: host.json({"953": {}}), lambda host: host.hook("953"), FakeHost.settle
    ),
}  # fmt: skip


WRONG: Mapping[str, State] = {
    "written anew before it was read": lambda host: host.path(READ).unlink(),
    "unconfined": lambda host: runs(host, "unconfined"),
    "another profile": lambda host: runs(host, f"{BASE} (enforce)"),
    "only logs": lambda host: runs(host, f"{DOCKER} (complain)"),
    "all profiles only log": lambda host: host.write(
        "/sys/module/apparmor/parameters/mode", "complain\n"
    ),
    "another policy": privileged(said="/usr/share/lxc/config/common.seccomp"),
    "no policy": privileged(seccomp=0),
    "generated for another": assigned("unconfined", apparmor_profile="generated"),
    "nesting by an included file": in_turn(
        more_runtime(INCLUDE),
        lambda host: runs(host, PLAIN),
        lambda host: host.write(f"/fake/lxc/{CT}/lxc.apparmor.allow_nesting", "1\n"),
    ),
}
# Of these verify decides, with what a quick look does not know.
UNSURE: Mapping[str, State] = {
    "the JSON changed": lambda host: host.json({CT: {"apparmor_profile": DOCKER, "x": 1}}),
    "others may write the JSON": lambda host: host.path(JSON).chmod(0o666),
    "the copy is gone": lambda host: host.path(paths.COPY).unlink(),
    "the copy is of others": lambda host: os.chown(host.path(paths.COPY), 65534, 0),
    "still lxc-start": lambda host: host.executes("/usr/bin/lxc-start"),
    "nobody knows what it executes": lambda host: host.path("/proc/4242/exe").unlink(),
    "no namespace of processes": lambda host: host.write(STATUS, "NSpid:\t4242\n"),
    "a namespace in a namespace": lambda host: host.write(STATUS, "NSpid:\t4242\t7\t1\n"),
    "no init yet": lambda host: host.write(CHILDREN, ""),
    "a kernel without children": lambda host: host.path(CHILDREN).unlink(),
    "no uid_map": lambda host: host.path("/proc/4242/uid_map").unlink(),
    "no runtime configuration": lambda host: host.path(RUNTIME).unlink(),
    "no file of the profile": lambda host: host.path(f"/etc/apparmor.d/{DOCKER}").unlink(),
    "an included file": in_turn(more_runtime(INCLUDE), lambda host: runs(host, PLAIN)),
    "lxc-info says nothing": privileged(said=""),
}


def test_what_is_written_anew_after_it_was_read_is_right(started: FakeHost) -> None:
    """pct set wrote it without our lines: LXC reads its own policy there now."""
    privileged(said="/usr/share/lxc/config/common.seccomp")(started)
    assert answers(started) == (False, False), "the control: it is as it was read"
    started.runtime(CT, lxcconf.without_our_lines(started.read(RUNTIME)))
    assert answers(started) == (False, True)


@pytest.mark.parametrize("state", RIGHT)
def test_what_is_right_is_known_at_once(started: FakeHost, state: str) -> None:
    RIGHT[state](started)
    assert answers(started) == (True, True)


@pytest.mark.parametrize("state", WRONG)
def test_what_is_wrong_is_for_verify(started: FakeHost, state: str) -> None:
    WRONG[state](started)
    assert answers(started) == (False, False)


@pytest.mark.parametrize("state", UNSURE)
def test_what_is_not_sure_is_for_verify(started: FakeHost, state: str) -> None:
    UNSURE[state](started)
    assert answers(started)[0] is False


@pytest.mark.parametrize("monitor", ["", "x", "-1", "1/../4200"])
def test_no_process_of_lxc_start(started: FakeHost, monitor: str) -> None:
    assert not is_confined(Host(str(started.root)), CT, monitor)


def test_an_lxc_info_that_fails(started: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    privileged()(started)
    fail = started.write("/fake/bin/lxc-info", f"#!/bin/sh\necho {paths.SECCOMP}\nexit 1\n")
    fail.chmod(0o755)
    before = started.environment["PATH"]
    assert answers(started)[0]
    monkeypatch.setenv("PATH", f"{fail.parent}:{before}")
    assert not is_confined(Host(str(started.root)), CT, MONITOR)
    monkeypatch.setenv("PATH", "/nowhere")
    assert not is_confined(Host(str(started.root)), CT, MONITOR)


def gate(host: FakeHost, phase: str) -> tuple[int, bool]:
    """The hookscript as Proxmox calls it: (exit status, whether it marked the start)."""
    mark = host.path(paths.CHANGED)
    mark.unlink(missing_ok=True)
    done = host.run(
        host.hook_file("hookscript"), CT, phase, PHOENIX_APPARMOR_ROOT=str(host.root)
    )  # fmt: skip
    return done.status, mark.exists()


def test_the_hookscript_need_not_look_again(started: FakeHost) -> None:
    assert started.unit("pre-start", CT).status == 0
    assert started.path(BEGUN).exists() and not started.path(NOTE).exists()
    assert gate(started, "post-start") == (0, True), "nobody has looked"
    started.write(READ, "")
    assert started.unit("post-start", CT, MAINPID=MONITOR) == (0, "", "")
    assert started.path(NOTE).stat().st_mode & 0o777 == 0o600
    assert not started.path(BEGUN).exists()
    assert gate(started, "post-start") == (0, False)
    assert gate(started, "pre-stop") == gate(started, "post-stop") == (0, False)
    runs(started, "unconfined")
    assert gate(started, "post-start") == (0, False), "of this start it was seen"
    steps: Sequence[State] = (
        lambda host: host.unit("pre-start", CT),
        lambda host: host.unit("post-stop", CT),
        lambda host: host.hook(CT),
    )
    for step in steps:
        started.write(NOTE, "")
        step(started)
        assert gate(started, "post-start") == (1, True), "that was another start"


@contextlib.contextmanager
def immutable(file: Path) -> Iterator[None]:
    """As on a file system that is read-only: a mount point cannot be removed."""
    subprocess.run(["/usr/bin/mount", "--bind", file, file], check=True)
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/umount", file], check=True)


def test_what_is_wrong_leaves_no_note(started: FakeHost) -> None:
    assert started.unit("pre-start", CT).status == 0
    runs(started, "unconfined")
    assert started.unit("post-start", CT, MAINPID=MONITOR).status == init_process.UNCONFINED
    assert not started.path(NOTE).exists()
    assert gate(started, "post-start") == (1, True)


def test_a_note_that_stays_stops_the_next_start(started: FakeHost) -> None:
    started.write(NOTE, "")
    with immutable(started.path(NOTE)):
        for done in (started.hook(CT), started.unit("pre-start", CT)):
            assert done.status == 1 and NOTE in done.err
    assert started.hook(CT).status == started.unit("pre-start", CT).status == 0


def test_a_start_that_failed_leaves_no_word_for_the_next(started: FakeHost) -> None:
    """An admin may do without our first step from then on."""
    assert started.unit("pre-start", CT).status == 0 and started.path(BEGUN).exists()
    assert started.unit("post-stop", CT).status == 0
    assert not started.path(BEGUN).exists()


def test_another_folder_is_no_note(started: FakeHost) -> None:
    started.path(NOTE).mkdir(parents=True)
    runs(started, "unconfined")
    assert gate(started, "post-start") == (1, True)


@pytest.mark.parametrize("words", [(), (CT,), (CT, "post-start", "x"), ("x", "pre-start")])
def test_a_wrong_call_is_told(started: FakeHost, words: tuple[str, ...]) -> None:
    done = started.run(
        started.hook_file("hookscript"), *words, PHOENIX_APPARMOR_ROOT=str(started.root)
    )
    assert done.status in (1, 64) and done.err


def test_it_imports_only_what_it_uses(started: FakeHost) -> None:
    for state in ("stacked", "privileged"):
        RIGHT[state](started)
        done = started.run(
            "/usr/bin/python3", "-IS", "-X", "importtime", started.hook_file("unit"),
            "post-start", CT, PHOENIX_APPARMOR_ROOT=str(started.root), MAINPID=MONITOR,
        )  # fmt: skip
        loaded = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
        ours = {name for name in loaded if name.startswith("phoenix_apparmor.")}
        assert done.status == 0 and "phoenix_apparmor.confined" in ours
        assert "phoenix_apparmor.host" not in ours
        assert loaded.isdisjoint({"os", "re", "json", "typing", "subprocess", "collections"})
