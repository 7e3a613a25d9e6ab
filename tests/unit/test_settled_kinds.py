"""The quick answer for each kind of assignment: yes where all is right, no where a thing is off."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from phoenix_apparmor import lxcconf, paths, start
from phoenix_apparmor.host import Host
from phoenix_apparmor.settled import is_settled
from tests.names import BASE, DOCKER
from tests.unit.fakehost import MARKERS, FakeHost

CONF, RUNTIME = paths.conf("952"), paths.runtime("952")
UNPRIVILEGED = b"lxc.idmap = u 0 100000 65536\nlxc.apparmor.profile = x\n"
PRIVILEGED = b"lxc.apparmor.profile = x\n"
NAMESPACE = f"{paths.NAMESPACES}/lxc-952_<-var-lib-lxc>"
TRIAL = f"{DOCKER}.952.trial"
RULES = ["mount fstype=nfs,", "mount fstype=cifs,"]


@pytest.fixture(autouse=True)
def programs(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in host.environment.items():
        monkeypatch.setenv(key, value)


def settled(host: FakeHost, entry: Mapping[str, Any], runtime: bytes = UNPRIVILEGED) -> Host:
    """A host on which nothing is left to do for container 952."""
    host.confined("952", BASE, DOCKER)
    host.profile(DOCKER, before=MARKERS, flags="flags=(attach_disconnected) ")
    host.profile(BASE)
    host.write(paths.SECCOMP, "2\n")
    host.runtime("952", runtime)
    host.json({"952": entry})
    real = Host(str(host.root))
    assert not is_settled(real, "952")
    start.prepare(real, "952", "hookscript")
    host.settle()
    assert is_settled(real, "952")
    return real


def mode(name: str, other: str) -> Callable[[FakeHost], None]:
    def change(host: FakeHost) -> None:
        text = host.read(paths.KERNEL_PROFILES)
        lines = [x for x in text.split(b"\n") if x and not x.startswith(name.encode() + b" (")]
        lines += [f"{name} ({other})".encode()] if other else []
        host.write(paths.KERNEL_PROFILES, b"\n".join(lines) + b"\n")

    return change


def without(name: str, text: bytes, instead: bytes = b"") -> Callable[[FakeHost], None]:
    def change(host: FakeHost) -> None:
        assert text in host.read(name)
        host.write(name, host.read(name).replace(text, instead))

    return change


def gone(name: str) -> Callable[[FakeHost], None]:
    def change(host: FakeHost) -> None:
        path = host.path(name)
        path.rmdir() if path.is_dir() else path.unlink()

    return change


OWN_SECCOMP = PRIVILEGED + b"lxc.seccomp.profile = /mine\n"
INCLUDING = b"lxc.include = /root/extra.conf\n"
KINDS: dict[str, tuple[Mapping[str, Any], bytes, dict[str, Callable[[FakeHost], None]]]] = {
    "namespace": (
        {"apparmor_profile": DOCKER},
        UNPRIVILEGED,
        {"no namespace": gone(NAMESPACE), "no label": without(RUNTIME, b"//&:lxc-952")},
    ),
    "excepted": (
        {"apparmor_profile": DOCKER, "apparmor_policy_namespace": False},
        UNPRIVILEGED,
        {"complain": mode(DOCKER, "complain")},
    ),
    "privileged": (
        {"apparmor_profile": DOCKER},
        PRIVILEGED,
        {
            "no policy": gone(paths.SECCOMP),
            "not asked for": without(f"{paths.APPARMOR_D}/{DOCKER}", b"privileged-seccomp"),
            "no line": without(RUNTIME, b"lxc.seccomp.profile"),
        },
    ),
    "own seccomp policy": (
        {"apparmor_profile": DOCKER},
        OWN_SECCOMP,
        {"no longer": without(RUNTIME, b"lxc.seccomp.profile = /mine\n")},
    ),
    "asks for nothing": (
        {"apparmor_profile": BASE},
        PRIVILEGED,
        {"asks now": without(f"{paths.APPARMOR_D}/{BASE}", b"abi", MARKERS.encode() + b"abi")},
    ),
    "includes": (
        {"apparmor_profile": BASE},
        UNPRIVILEGED + INCLUDING,
        {"no last word": without(RUNTIME, b"\nlxc.apparmor.raw =\n", b"\n")},
    ),
    "no profile line": (
        {"apparmor_profile": "unconfined"},
        b"lxc.uts.name = x\n",
        {"a line": without(RUNTIME, b"lxc.uts", b"lxc.apparmor.profile = lxc-x\nlxc.uts")},
    ),
    "no profile line, includes": (
        {"apparmor_profile": "generated", "apparmor_policy_namespace": False},
        INCLUDING,
        {"no last word": without(RUNTIME, b"\nlxc.apparmor.raw =\n", b"\n")},
    ),
    "trial": (
        {"apparmor_profile": DOCKER, "apparmor_mode": "trial"},
        UNPRIVILEGED,
        {
            "enforced": mode(TRIAL, "enforce"),
            "not loaded": mode(TRIAL, ""),
            "guard only logs": mode(f"{DOCKER}.guard", "complain"),
            "guard not loaded": mode(f"{DOCKER}.guard", ""),
            "edited": without(f"{paths.VARIANTS}/{TRIAL}", b"complain"),
            "gone": gone(f"{paths.VARIANTS}/{TRIAL}"),
            "its profile changed": without(f"{paths.APPARMOR_D}/{DOCKER}", b"/usr", b"/opt"),
        },
    ),
    "rules": (
        {"apparmor_profile": DOCKER, "apparmor_rules": RULES},
        UNPRIVILEGED,
        {
            "not loaded": mode(f"{DOCKER}.952", ""),
            "complain": mode(f"{DOCKER}.952", "complain"),
            "edited": without(f"{paths.VARIANTS}/{DOCKER}.952", b"nfs"),
            "plain": without(RUNTIME, f"{DOCKER}.952".encode(), DOCKER.encode()),
        },
    ),
    "trial with rules": (
        {"apparmor_profile": DOCKER, "apparmor_mode": "trial", "apparmor_rules": RULES},
        UNPRIVILEGED,
        {
            "not loaded": mode(TRIAL, ""),
            "guard of all": mode(f"{DOCKER}.guard.952", ""),
            "edited": without(f"{paths.VARIANTS}/{TRIAL}", b"nfs"),
        },
    ),
}


@pytest.mark.parametrize(
    ("kind", "off"), [(kind, off) for kind, (_, _, changes) in KINDS.items() for off in changes]
)
def test_each_kind_is_settled_only_while_nothing_changed(
    host: FakeHost, kind: str, off: str
) -> None:
    entry, runtime, changes = KINDS[kind]
    real = settled(host, entry, runtime)
    changes[off](host)
    assert not is_settled(real, "952")


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_way_agrees(host: FakeHost, kind: str) -> None:
    entry, runtime, _ = KINDS[kind]
    real = settled(host, entry, runtime)
    before = host.read(CONF), host.read(RUNTIME)
    prepared = start.prepare(real, "952", "hookscript")
    assert (prepared.changes, prepared.warnings) == ((), ())
    assert (host.read(CONF), host.read(RUNTIME)) == before


def test_a_container_that_is_not_managed_is_settled(host: FakeHost) -> None:
    real = settled(host, {"apparmor_profile": DOCKER})
    assert is_settled(real, "953")


def test_a_bad_entry_is_not_settled_under_its_last_good_assignment(host: FakeHost) -> None:
    """All is as it was assigned; that it is only the last good one has to be said."""
    real = settled(host, {"apparmor_profile": BASE})
    host.json({"952": {"apparmor_profile": "lxc_x"}})
    prepared = start.prepare(real, "952", "hookscript")
    host.settle()
    assert prepared.warnings and prepared.changes == ()
    assert not is_settled(real, "952")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_the_copy_is_roots_alone(host: FakeHost) -> None:
    real = settled(host, {"apparmor_profile": BASE})
    copy = host.path(paths.COPY)
    for bits, good in ((0o755, True), (0o664, False), (0o646, False), (0o600, True)):
        copy.chmod(bits)
        assert is_settled(real, "952") is good
    os.chown(copy, 65534, 0)
    assert not is_settled(real, "952")


def test_a_link_to_nowhere_is_a_json_that_cannot_be_read(host: FakeHost) -> None:
    """The other one does not take over."""
    first, second = (host.path(name) for name in paths.JSON_FILES)
    settled(host, {"apparmor_profile": BASE})
    second.parent.mkdir(parents=True)
    first.rename(second)
    host.path(paths.COPY).unlink()
    real = Host(str(host.root))
    start.prepare(real, "952", "hookscript")
    host.settle()
    assert is_settled(real, "952")
    first.symlink_to(Path("/nowhere"))
    assert not is_settled(real, "952")


def test_what_proxmox_generates_is_settled_without_a_line(host: FakeHost) -> None:
    host.proxmox()
    settled_by = b"lxc.apparmor.profile = generated\n"
    real = settled(host, {"apparmor_profile": "unconfined"}, settled_by)
    assert lxcconf.says(host.read(RUNTIME), "generated")
    host.path(paths.PVE_MODULE).unlink()
    assert not is_settled(real, "952"), "elsewhere no line is right"


def test_a_policy_that_it_does_not_need_may_be_missing(host: FakeHost) -> None:
    real = settled(host, {"apparmor_profile": DOCKER})
    host.path(paths.SECCOMP).unlink()
    assert is_settled(real, "952")
