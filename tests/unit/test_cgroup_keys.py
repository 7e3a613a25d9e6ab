"""Limits of cgroups: which of them the kernel has, and what the fixes leave."""

import pytest

from tests.unit.doctor_host import CONF, diagnose, make_sound, on_cgroup_v1, run_fix
from tests.unit.fakehost import FakeHost

OLD = "lxc.cgroup2.memory.limit_in_bytes"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_sound(host)


@pytest.mark.parametrize(
    ("value", "then"), [("4G", "lxc.cgroup2.memory.max: 4G"), ("-1", ""), ("4 GiB", "")]
)
def test_a_limit_is_renamed_where_its_value_means_the_same(
    host: FakeHost, value: str, then: str
) -> None:
    host.conf("950", f"{CONF}{OLD}: {value}\n")
    (found,) = diagnose(host)
    run_fix(host, found["fix"])
    lines = host.read("/etc/pve/lxc/950.conf").decode().splitlines()
    assert [line for line in lines if "cgroup" in line] == ([then] if then else [])
    assert diagnose(host) == []


def test_what_the_kernel_has_is_right(host: FakeHost) -> None:
    host.conf("950", f"{CONF}lxc.cgroup2.new.limit: 1\nlxc.cgroup2.memory.high: 1G\n")
    assert [f["check"] for f in diagnose(host)] == ["cgroup-keys"]
    host.write("/sys/fs/cgroup/system.slice/new.limit", "")
    assert diagnose(host) == []


def test_with_cgroup_v1_its_lines_are_right(host: FakeHost) -> None:
    on_cgroup_v1(lambda h: h.conf("950", f"{CONF}lxc.cgroup.memory.limit_in_bytes: 4G\n"))(host)
    assert diagnose(host) == []
