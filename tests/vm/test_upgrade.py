"""Upgrade, downgrade and removal on a real kernel, with containers running.

With dpkg, as apt adds a minute to each on an emulated machine; tests/package is about apt.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.names import BASE, DOCKER
from tests.package.debs import PROFILE, variant
from tests.vm.containers import assign, conf_path, create, expect_label, init, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import INSTALL_TIMEOUT
from tests.vm.harness.suites import LOGIC, USER_MODE_12

# dpkg and our own scripts: no matter of the kernel.
ONLY_SUITES = (*LOGIC, USER_MODE_12)
# What is about dpkg and files, with the older release's programs (tests/package has both); and
# about the kernel.
of_files = pytest.mark.suites(USER_MODE_12)
of_policy = pytest.mark.suites(*LOGIC)

LOCAL = f"/etc/apparmor.d/local/{BASE}"
SECRET = "/tmp/secret"


@pytest.fixture(scope="session")
def v2(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version whose base profile denies something more."""

    def deny(tree: Path) -> None:
        profile = tree / PROFILE.lstrip("/")
        text = profile.read_text()
        end = text.rindex("}")
        profile.write_text(f"{text[:end]}  deny {SECRET} r,\n{text[end:]}")

    return variant(deb, tmp_path_factory.mktemp("v2"), "2.0.0", deny)


def dpkg(vm: Machine, *arguments: str) -> str:
    """What dpkg and the maintainer scripts said; fails unless dpkg succeeds."""
    return vm.run("dpkg", *arguments, timeout=INSTALL_TIMEOUT).output


def install(vm: Machine, deb: Path) -> str:
    """Installs a version over the one that is there."""
    vm.push(deb, "/root/other.deb")
    return dpkg(vm, "--install", "/root/other.deb")


def running(vm: Machine, ctid: int) -> int:
    """A started container under the base profile, with a file that version 2 denies."""
    create(vm, ctid)
    assign(vm, {ctid: None})
    pct(vm, "start", ctid)
    expect_label(vm, ctid, BASE)
    inside(vm, ctid, f"echo found > {SECRET}")
    assert may_read(vm, ctid)
    return init(vm, ctid)


def inside(vm: Machine, ctid: int, script: str, *, check: bool = True) -> str:
    result = vm.run("lxc-attach", "-n", str(ctid), "--", "/bin/sh", "-c", script, check=check)
    return result.output


def may_read(vm: Machine, ctid: int) -> bool:
    out = inside(vm, ctid, f"cat {SECRET}", check=False)
    assert out.strip() == "found" or "Permission denied" in out, out
    return out.strip() == "found"


def policy(vm: Machine, name: str) -> str:
    """The kernel's hash of a profile's policy."""
    folder = "/sys/kernel/security/apparmor/policy/profiles"
    return vm.sh(f"cat {folder}/{name}.*/raw_sha*").stdout


def version(vm: Machine) -> str:
    query = ("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "phoenix-apparmor")
    return vm.run(*query).stdout


@of_policy
def test_running_containers_get_the_new_rules_and_keep_their_label(
    fresh_vm: Machine, deb: Path, v2: Path
) -> None:
    vm = fresh_vm
    process = running(vm, 950)
    before = policy(vm, DOCKER)
    said = install(vm, v2)
    assert f"replaced {BASE}" in said
    assert DOCKER not in said, "it did not change"
    assert policy(vm, DOCKER) == before
    assert init(vm, 950) == process
    expect_label(vm, 950, BASE)
    assert not may_read(vm, 950)

    # The files of the older version are older than the newer one's compiled policy.
    said = install(vm, deb)
    assert f"replaced {BASE}" in said
    expect_label(vm, 950, BASE)
    assert may_read(vm, 950)


@of_files
def test_upgrade_over_a_broken_local_file(fresh_vm: Machine, v2: Path) -> None:
    """The package ends configured, the kernel keeps the old policy, the message helps."""
    vm = fresh_vm
    process = running(vm, 950)
    before = policy(vm, BASE)
    vm.write(LOCAL, "# mine\nthis is no rule\n")
    said = install(vm, v2)
    assert version(vm) == "ii 2.0.0"
    assert f"{LOCAL} at line 2" in said
    assert "phoenix-apparmor reload" in said
    assert policy(vm, BASE) == before
    assert init(vm, 950) == process
    expect_label(vm, 950, BASE)
    assert may_read(vm, 950)

    vm.run("rm", LOCAL)
    assert f"replaced {BASE}" in vm.run("phoenix-apparmor", "reload").stdout
    assert not may_read(vm, 950)


@of_files
def test_removed_and_purged_beside_running_containers(fresh_vm: Machine, deb: Path) -> None:
    """No container is unconfined by it, and none is kept from starting."""
    vm = fresh_vm
    process = running(vm, 950)
    create(vm, 951)

    dpkg(vm, "--remove", "phoenix-apparmor")
    for ctid in (950, 951):
        assert "hookscript" not in vm.read(conf_path(ctid))
    assert init(vm, 950) == process
    expect_label(vm, 950, BASE)
    # The drop-in is gone from systemd's mind too: the container starts without the helper.
    pct(vm, "stop", 950)
    pct(vm, "start", 950)
    expect_label(vm, 950, BASE)

    install(vm, deb)
    for ctid in (950, 951):
        assert "hookscript: local:snippets/phoenix-apparmor.py" in vm.read(conf_path(ctid))

    said = dpkg(vm, "--purge", "phoenix-apparmor")
    assert conf_path(950) in said, "from the next boot on it would not start, unsaid"
    assert not vm.sh(f"ls {PROFILE}", check=False).stdout
    assert label(vm, 950).endswith("(enforce)")
    expect_label(vm, 950, BASE)


@of_policy
def test_where_the_list_of_profiles_may_not_be_read(vm: Machine) -> None:
    """As in a container that sees the host's securityfs: whether to load something cannot be
    known, which reload says and the package survives."""
    result = vm.run(
        "unshare", "--user", "--map-root-user", "phoenix-apparmor", "reload", check=False
    )
    assert result.rc == 1
    assert "/sys/kernel/security/apparmor/profiles" in result.stderr
