"""Profiles made for one container, each step called by itself: made, loaded, removed, forgotten."""

import os
import time
from collections.abc import Iterator

import pytest

from phoenix_apparmor import paths
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import variants
from tests.names import BASE, DOCKER
from tests.unit.fakehost import FakeHost

TRIAL = Assignment(DOCKER, trial=True)
RULES = Assignment(DOCKER, rules=("/srv/** r,",))
FLAGS = "flags=(attach_disconnected) "


@pytest.fixture
def real(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Host:
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)
    host.confined("952", DOCKER, BASE)
    host.profile(DOCKER, flags=FLAGS)
    return Host(str(host.root))


def ensure(real: Host, assignment: Assignment) -> list[str]:
    return variants.ensure(real, "952", assignment, time.monotonic() + 60)


# -- made ---------------------------------------------------------------------------------------


def test_who_has_no_profile_has_no_variant(real: Host) -> None:
    assert ensure(real, Assignment("unconfined", trial=True)) == []
    assert ensure(real, Assignment(DOCKER)) == []
    assert ensure(real, TRIAL) == [f"{DOCKER}.952.trial", f"{DOCKER}.guard"], "the control"


@pytest.mark.parametrize(
    ("assignment", "way"), [(TRIAL, '"apparmor_mode": "trial"'), (RULES, "apparmor_rules")]
)
def test_without_a_file_none_can_be_made(
    host: FakeHost, real: Host, assignment: Assignment, way: str
) -> None:
    host.path(f"/etc/apparmor.d/{DOCKER}").unlink()
    with pytest.raises(PhoenixError, match=f"{DOCKER} is in no file") as raised:
        ensure(real, assignment)
    assert f" {way} from its JSON entry" in raised.value.hint


def test_a_name_that_is_no_file_name_has_no_variant(host: FakeHost, real: Host) -> None:
    host.profile("lxc-a+b", flags=FLAGS)
    with pytest.raises(PhoenixError, match=r"called lxc-a\+b cannot have variants"):
        ensure(real, Assignment("lxc-a+b", trial=True))


def test_a_profile_of_the_same_name_is_not_replaced(host: FakeHost, real: Host) -> None:
    host.profile(f"{DOCKER}.952")
    with pytest.raises(PhoenixError, match="the name of this container's variant"):
        ensure(real, RULES)


@pytest.mark.parametrize(
    ("said", "has_new", "allowed"),
    [("3.0", True, False), ("4.0", True, True), ("4.0", False, False), ("3.0", False, False)],
)
def test_the_guard_allows_what_its_abi_asks_about(
    host: FakeHost, real: Host, said: str, has_new: bool, allowed: bool
) -> None:
    path = host.path(f"/etc/apparmor.d/{DOCKER}")
    path.write_text(path.read_text().replace("<abi/3.0>", f"<abi/{said}>"))
    if has_new:
        host.write("/etc/apparmor.d/abi/4.0", "")
    guard = variants.texts(real, "952", TRIAL)[f"{DOCKER}.guard"]
    assert (b"  userns,\n" in guard) is allowed
    assert b"  file,\n" in guard


def test_their_folder_is_open_and_their_text_is_not(host: FakeHost, real: Host) -> None:
    ensure(real, TRIAL)
    text = host.path(f"{paths.VARIANTS}/{DOCKER}.952.trial")
    assert text.stat().st_mode & 0o777 == 0o600
    assert text.parent.stat().st_mode & 0o777 == 0o755


def test_their_size_is_that_of_what_is_kept(host: FakeHost, real: Host) -> None:
    name = f"{DOCKER}.952"
    assert variants.compiled_size(real, name) == 0
    ensure(real, RULES)
    [policy] = host.path(f"{paths.COMPILED}/{name}").iterdir()
    policy.with_name("gone").symlink_to("/nowhere")
    assert variants.compiled_size(real, name) == policy.stat().st_size > 0


def test_when_a_trial_began_is_kept(host: FakeHost, real: Host) -> None:
    folder = host.path(paths.VARIANTS)
    ensure(real, RULES)
    assert list(folder.glob("*.began")) == [], "that is no trial"
    ensure(real, TRIAL)
    [mark] = folder.glob("*.began")
    os.utime(mark, (5, 5))
    ensure(real, TRIAL)
    assert mark.stat().st_mtime == 5


# -- loaded -------------------------------------------------------------------------------------


def test_what_the_kernel_does_not_have_starts_nothing(host: FakeHost, real: Host) -> None:
    host.profile(DOCKER, "  # NOT LOADED", flags=FLAGS)
    for apparmor in (False, True):
        host.kernel({} if apparmor else None)
        with pytest.raises(PhoenixError, match=f"{DOCKER}.952"):
            ensure(real, RULES)


def test_loaded_anew_is_what_differs_from_the_kernels(host: FakeHost, real: Host) -> None:
    name = f"{DOCKER}.952"
    assert ensure(real, RULES) == [name]
    assert ensure(real, RULES) == []
    assert ensure(real, RULES._replace(rules=("/opt/** r,",))) == [name]
    assert ensure(real, RULES) == [name]
    host.kernel({DOCKER: "enforce"})
    assert ensure(real, RULES) == [name]


def test_one_in_another_mode_starts_nothing(host: FakeHost, real: Host) -> None:
    ensure(real, TRIAL)
    names = f"{DOCKER}.952.trial", f"{DOCKER}.guard"
    for odd in names:
        host.kernel({DOCKER: "enforce", names[0]: "complain", names[1]: "enforce"} | {odd: "kill"})
        with pytest.raises(PhoenixError, match=f"{odd} should be .* is in kill mode"):
            ensure(real, TRIAL)


# -- removed after the stop -----------------------------------------------------------------------


@pytest.fixture
def kernels_remove(host: FakeHost) -> Iterator[int]:
    """What is written into the kernel's .remove can be read here."""
    fifo = host.path(f"{paths.KERNEL}/.remove")
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    yield fd
    os.close(fd)


TRIAL_952, TRIAL_953, GUARD = f"{DOCKER}.952.trial", f"{DOCKER}.953.trial", f"{DOCKER}.guard"


@pytest.mark.parametrize(
    ("loaded", "removed"),
    [
        ((TRIAL_952, GUARD), (TRIAL_952, GUARD)),
        ((TRIAL_952, GUARD, TRIAL_953), (TRIAL_952,)),
        ((TRIAL_952, GUARD, "lxc-other.953.trial"), (TRIAL_952, GUARD)),
        ((TRIAL_952, GUARD, f"{DOCKER}.953"), (TRIAL_952, GUARD)),
        ((TRIAL_952,), (TRIAL_952,)),
        ((TRIAL_952, f"{DOCKER}.guard.952"), (TRIAL_952, f"{DOCKER}.guard.952")),
        ((f"{DOCKER}.952", f"{DOCKER}.953"), (f"{DOCKER}.952",)),
        ((f"{DOCKER}.952", GUARD, TRIAL_953), (f"{DOCKER}.952",)),
        ((f"{DOCKER}.952", GUARD), (f"{DOCKER}.952",)),
        ((TRIAL_953, GUARD), ()),
        ((f"{DOCKER}.1952",), ()),
        ((f"{DOCKER}.952//child",), ()),
    ],
)
def test_what_is_taken_out_of_the_kernel(
    host: FakeHost,
    real: Host,
    kernels_remove: int,
    loaded: tuple[str, ...],
    removed: tuple[str, ...],
) -> None:
    for name in loaded:
        host.write(f"{paths.VARIANTS}/{name}", "")
    host.kernel(dict.fromkeys((DOCKER, *loaded), "enforce"))
    assert variants.remove(real, "952") == [name for name in removed if name != GUARD]
    said = os.read(kernels_remove, 1 << 16).decode() if removed else ""
    assert said == "".join(removed)


def test_a_sites_own_profile_of_such_a_name_stays(
    host: FakeHost, real: Host, kernels_remove: int
) -> None:
    host.kernel({"lxc-mine.952": "enforce", f"{DOCKER}.952": "enforce"})
    host.write(f"{paths.VARIANTS}/{DOCKER}.952", "")
    assert variants.remove(real, "952") == [f"{DOCKER}.952"]
    assert os.read(kernels_remove, 1 << 16).decode() == f"{DOCKER}.952"


def test_a_kernel_without_apparmor_has_nothing_to_remove(host: FakeHost, real: Host) -> None:
    host.kernel(None)
    assert variants.remove(real, "952") == []


# -- forgotten ----------------------------------------------------------------------------------


def test_forgotten_is_what_a_container_has_no_more(host: FakeHost, real: Host) -> None:
    ensure(real, TRIAL)
    ensure(real, RULES)
    other = f"{DOCKER}.953"
    host.write(f"{paths.VARIANTS}/{other}", "")
    host.kernel({DOCKER: "enforce"})
    variants.forget(real, "952", RULES.variants("952"))
    left = sorted(path.name for path in host.path(paths.VARIANTS).iterdir())
    assert left == [f"{DOCKER}.952", other, GUARD]
    kept = sorted(path.name for path in host.path(paths.COMPILED).iterdir())
    assert kept == [f"{DOCKER}.952", GUARD]
