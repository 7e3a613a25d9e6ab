"""The quick answer: it is quick, and it overlooks nothing that changed since."""

from collections.abc import Callable

import pytest

from phoenix_apparmor import lxcconf
from tests.names import BASE, DOCKER
from tests.unit.fakehost import MARKERS, FakeHost

NAMESPACE = "/sys/kernel/security/apparmor/policy/namespaces/lxc-952_<-var-lib-lxc>"
CONF = "/etc/pve/lxc/952.conf"
RUNTIME = "/var/lib/lxc/952/config"


@pytest.fixture(params=[BASE, DOCKER, "unconfined", "privileged"])
def host(host: FakeHost, request: pytest.FixtureRequest) -> FakeHost:
    """CT 952 as it should be, under each kind of assignment, the JSON unchanged for long."""
    host.confined("952", BASE, DOCKER)
    host.profile(DOCKER, before=MARKERS)
    host.write("/etc/phoenix-apparmor/privileged.seccomp", "2\ndenylist\n")
    if request.param == "privileged":
        host.runtime("952", b"lxc.uts.name = privileged\n")
    host.assign(c952=DOCKER if request.param == "privileged" else request.param)
    assert host.hook("952").status == 0
    host.settle()
    assert host.hook("952") == (0, "", "")
    return host


def imports(host: FakeHost) -> set[str]:
    """Modules that a start imports."""
    done = host.run(
        "/usr/bin/python3", "-IS", "-X", "importtime", host.hook_file("hook"),
        "952", "pre-start", PHOENIX_APPARMOR_ROOT=str(host.root),
    )  # fmt: skip
    assert done.status == 0
    return {line.rpartition("|")[2].strip() for line in done.err.splitlines()}


def test_it_imports_only_what_it_uses(host: FakeHost) -> None:
    loaded = imports(host)
    assert "phoenix_apparmor.settled" in loaded
    heavy = {"os", "re", "json", "typing", "dataclasses", "subprocess", "collections", "argparse"}
    assert loaded.isdisjoint(heavy)
    generated = lxcconf.without_our_lines(host.read(RUNTIME))
    host.runtime("952", generated)
    assert imports(host).isdisjoint(heavy), "as Proxmox generates it at each start"
    if host.read(CONF).count(b"lxc.apparmor.profile"):
        assert host.read(RUNTIME) != generated
    host.conf("952", "lxc.apparmor.profile: lxc-x\n")
    assert not imports(host).isdisjoint(heavy), "the check can fail"


def states(host: FakeHost) -> tuple[bytes, bytes, bool]:
    return host.read(CONF), host.read(RUNTIME), host.path(NAMESPACE).exists()


def other_line(host: FakeHost) -> None:
    host.conf("952", host.read(CONF) + b"lxc.apparmor.profile: lxc-x\n")


def second_runtime_line(host: FakeHost) -> None:
    host.runtime("952", b"lxc.apparmor.profile = lxc-x\n" + host.read(RUNTIME))


def stray_block(host: FakeHost) -> None:
    text = host.read(RUNTIME)
    begin = text.find(b"# phoenix-apparmor")
    if begin >= 0:
        host.runtime("952", text[:begin])
        return
    host.runtime("952", text + b"# phoenix-apparmor: its own lines (begin)\n")


def no_namespace(host: FakeHost) -> None:
    if host.path(NAMESPACE).exists():
        host.path(NAMESPACE).rmdir()


@pytest.mark.parametrize("change", [other_line, second_runtime_line, stray_block, no_namespace])
def test_what_changed_is_put_right(host: FakeHost, change: Callable[[FakeHost], None]) -> None:
    before = states(host)
    change(host)
    if states(host) == before:
        pytest.skip("does not apply to this assignment")
    if change is stray_block and b"unconfined" in host.read(
        "/var/lib/phoenix-apparmor/assignments"
    ):
        pytest.skip("a container without a profile line never has the block")
    assert host.hook("952").status == 0
    assert states(host) == before


def test_the_kernel_is_looked_at_each_time(host: FakeHost) -> None:
    if b"unconfined" in host.read("/var/lib/phoenix-apparmor/assignments"):
        host.kernel(None)
        assert host.hook("952").status == 0, "needs no AppArmor"
        return
    host.kernel({BASE: "complain", DOCKER: "complain"})
    assert "complain mode" in host.hook("952").err
    host.kernel({})
    assert "loaded profile" in host.hook("952").out


def test_a_json_that_others_may_write_is_noticed(host: FakeHost) -> None:
    host.path("/etc/pve/phoenix_lxc_configs.json").chmod(0o666)
    assert "anyone but root may write it too" in host.hook("952").err


def test_a_json_just_written_is_read_again(host: FakeHost) -> None:
    """Within its second a file can change without its times showing it (pmxcfs)."""
    copy = "/var/lib/phoenix-apparmor/assignments"
    text = host.read(copy)
    lines = text.split(b"\n")
    words = lines[2].split(b" ")
    words[-1] = words[-3]  # read just when it was written
    lines[2] = b" ".join(words)
    host.write(copy, b"\n".join(lines).replace(b"\n952 ", b"\n952 lxc-wrong plain"))
    assert host.hook("952").status == 0
    assert b"lxc-wrong" not in host.read(CONF)
