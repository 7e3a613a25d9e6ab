"""A site's own profile, as README's "Your own profile" says it; and a bad local/ file."""

from __future__ import annotations

import pytest

from tests.build import TREE
from tests.names import BASE
from tests.vm.containers import (
    RULES,
    assign,
    conf_path,
    create,
    expect_label,
    label,
    pct,
    stacked,
    write_profile,
)
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROGRAMS

# Our own files and messages: no matter of the kernel.
ONLY_SUITES = PROGRAMS

MINE = "lxc-mine"
# Small ones are enough where rules do not matter, and compile in a moment.
SMALL = "lxc-small"
OTHER = "lxc-other"
MARKER = "# phoenix-apparmor: policy-namespace\n"
LOCAL = f"/etc/apparmor.d/local/{SMALL}"


def from_readme(name: str) -> str:
    """A profile made as the README says: a copy of the base profile with a name of its own."""
    return (TREE / "profiles/lxc-nvidia-gpu-base").read_text().replace(BASE, name)


def may_read(vm: Machine, ctid: int, path: str) -> bool:
    return vm.run("lxc-attach", "-n", str(ctid), "--", "cat", path, check=False).rc == 0


@pytest.fixture(scope="module")
def site(vm: Machine) -> Machine:
    """A host with a container under the README's profile."""
    vm.write(f"/etc/apparmor.d/{MINE}", from_readme(MINE))
    create(vm, 985)
    assign(vm, {985: MINE})
    # Named, as it takes an emulated machine a minute to look at all profiles.
    assert f"loaded {MINE}" in vm.run("phoenix-apparmor", "reload", MINE).stdout
    pct(vm, "start", 985)
    return vm


def test_dropped_in_named_loaded_started(site: Machine) -> None:
    expect_label(site, 985, MINE)
    assert f"\nlxc.apparmor.profile: {MINE}\n" in site.read(conf_path(985))
    assert label(site, 985) == f"{MINE} (enforce)", "no policy namespace without the marker"
    # It confines as ours do: a folder of /sys/kernel that lost its place would have this path.
    command = "mkdir -p /kernel; touch /kernel/x"
    out = site.run("lxc-attach", "-n", "985", "--", "sh", "-c", command, check=False)
    assert "Permission denied" in out.output


def test_with_the_marker_it_gets_a_policy_namespace(site: Machine) -> None:
    text = from_readme("lxc-mine-ns").replace("\nprofile ", f"\n{MARKER}profile ")
    assert MARKER in text
    site.write("/etc/apparmor.d/lxc-mine-ns", text)
    create(site, 986)
    assign(site, {985: MINE, 986: "lxc-mine-ns"})
    pct(site, "start", 986)
    assert stacked(label(site, 986), "lxc-mine-ns", 986)
    assert "\nlxc.apparmor.profile: lxc-mine-ns\n" in site.read(conf_path(986))
    pct(site, "stop", 986)


def test_a_local_file_that_does_not_compile(site: Machine) -> None:
    """reload says where; the old policy stays on the running container; others are loaded."""
    vm = site
    rules = f"{RULES}  include if exists <local/{SMALL}>\n"
    write_profile(vm, SMALL, rules=rules)
    write_profile(vm, OTHER)
    vm.write(LOCAL, "deny /etc/passwd r,\n")
    create(vm, 987)
    assign(vm, {985: MINE, 987: SMALL})
    pct(vm, "start", 987)  # loads it
    assert not may_read(vm, 987, "/etc/passwd")

    vm.write(LOCAL, "deny /etc/group r,\nthis is no rule\n")
    refused = vm.run("phoenix-apparmor", "reload", SMALL, OTHER, check=False)
    assert refused.rc == 1
    assert f"{LOCAL} at line 2" in refused.output
    assert f"loaded {OTHER}" in refused.stdout
    loaded = vm.read("/sys/kernel/security/apparmor/profiles").splitlines()
    assert f"{OTHER} (enforce)" in loaded
    expect_label(vm, 987, SMALL)
    assert may_read(vm, 987, "/etc/group"), "nothing of the new text"
    assert not may_read(vm, 987, "/etc/passwd"), "all of the old one"

    vm.write(LOCAL, "deny /etc/group r,\n")
    assert f"replaced {SMALL}" in vm.run("phoenix-apparmor", "reload", SMALL).stdout
    assert not may_read(vm, 987, "/etc/group")
    assert may_read(vm, 987, "/etc/passwd")
