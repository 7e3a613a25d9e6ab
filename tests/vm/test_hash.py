"""Does the kernel run this file's text? What a hash in apparmorfs says, and what it does not."""

from __future__ import annotations

import json

import pytest

from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import LOGIC_AND_KERNEL

ONLY_SUITES = LOGIC_AND_KERNEL

pytestmark = pytest.mark.slow

RULES = "  include <abstractions/phoenix/container>\n"


def profile(name: str, *rules: str) -> str:
    body = "".join(f"  {rule},\n" for rule in ("file", *rules))
    return f"profile {name} flags=(attach_disconnected,mediate_deleted) {{\n{RULES}{body}}}\n"


def file(*profiles: str) -> str:
    return "abi <abi/3.0>,\ninclude <tunables/global>\n" + "".join(profiles)


def texts(vm: Machine) -> dict[str, str]:
    """Profile -> what status says about its text."""
    out = vm.sh("phoenix-apparmor status --json", check=False).stdout
    return {p["name"]: p["text"] for p in json.loads(out)["profiles"]}


def test_same_after_each_way_to_load(vm: Machine) -> None:
    """No false alarm: compiled or from the cache, one profile in the file or two."""
    # Ours would be compiled eight times, each time for six seconds of an emulated processor.
    vm.sh("cd /etc/apparmor.d && mkdir /root/ours && mv lxc-nvidia-gpu-* /root/ours")
    vm.write("/etc/apparmor.d/lxc-site-one", file(profile("lxc-site-one")))
    two = file(profile("lxc-site-a"), profile("lxc-site-b", "network"))
    vm.write("/etc/apparmor.d/lxc-site-two", two)
    same = dict.fromkeys(("lxc-site-one", "lxc-site-a", "lxc-site-b"), "same")
    for way in (
        "phoenix-apparmor reload",
        "systemctl reload apparmor",
        "apparmor_parser -r -T /etc/apparmor.d/lxc-site-one /etc/apparmor.d/lxc-site-two",
        "apparmor_parser -r -K /etc/apparmor.d/lxc-*",
    ):
        vm.sh(way)
        assert texts(vm) == same, way
    # The kernel does hold another hash for the same text, so that the test shows something.
    seen = set()
    for way in ("-r -T -K", "-r"):
        vm.sh(f"apparmor_parser {way} /etc/apparmor.d/lxc-site-two")
        raw = "/sys/kernel/security/apparmor/policy/profiles/lxc-site-a.*/raw_sha*"
        seen.add(vm.sh(f"cat {raw}").stdout)
    assert len(seen) == 2


def test_reload_of_apparmor_loads_a_stale_cache(vm: Machine) -> None:
    """Why a hash once differed after systemctl reload apparmor: the parser's cache was stale.

    It is real: the kernel then enforces the old text. status says so, and after our reload,
    which writes the cache anew, systemctl reload apparmor loads the right one.
    """
    path = "/etc/apparmor.d/lxc-site-old"
    vm.write(path, file(profile("lxc-site-old")))
    vm.sh("systemctl reload apparmor")
    assert texts(vm)["lxc-site-old"] == "same"
    # As dpkg does: another text, with the time of its build.
    vm.write(path, file(profile("lxc-site-old", "deny /forbidden w")))
    vm.sh(f"touch -d 2024-01-01 {path} && systemctl reload apparmor")
    assert texts(vm)["lxc-site-old"] == "differs"
    vm.sh("phoenix-apparmor reload")
    assert texts(vm)["lxc-site-old"] == "same"
    vm.sh("systemctl reload apparmor")
    assert texts(vm)["lxc-site-old"] == "same"
