"""What doctor says of NVIDIA's nodes, by the cards that the host has."""

from typing import Any

import pytest

from tests.unit.doctor_host import by_hand, diagnose, make_sound, no_devices
from tests.unit.fakehost import FakeHost

PCI = "/sys/bus/pci/devices"


def card(host: FakeHost, address: str, vendor: str, kind: str, driver: str = "") -> None:
    """A PCI device, as the kernel lists it."""
    host.write(f"{PCI}/{address}/vendor", f"{vendor}\n")
    host.write(f"{PCI}/{address}/class", f"{kind}\n")
    if driver:
        link = host.path(f"{PCI}/{address}/driver")
        link.symlink_to(f"../../../bus/pci/drivers/{driver}")


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    """Without NVIDIA's nodes, and with a card of Intel's."""
    make_sound(host)
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        host.path(f"/dev/{node}").unlink()
    return host


def found(host: FakeHost, check: str) -> Any:
    (one,) = (f for f in diagnose(host) if f["check"] == check)
    return one


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ((), "if it has a card (lspci -d 10de:), install its driver"),
        ((("0000:00:02.0", "0x8086", "0x030000"),), "has no NVIDIA card (PCI vendor 10de)"),
        # the sound of a card alone, as a switch and an USB port of one, is none
        ((("0000:01:00.1", "0x10de", "0x040300"),), "has no NVIDIA card (PCI vendor 10de)"),
        (
            (("0000:01:00.0", "0x10de", "0x030000"), ("0000:00:02.0", "0x8086", "0x030000")),
            "has an NVIDIA card (0000:01:00.0), but no node of it: install its driver",
        ),
        (
            (("0000:01:00.0", "0x10de", "0x030200", "nouveau"),),
            "has an NVIDIA card (0000:01:00.0), but no node of it: install its driver",
        ),
        (
            (("0000:01:00.0", "0x10de", "0x030000", "vfio-pci"),),
            "card (0000:01:00.0) has the driver vfio-pci, which is for VMs",
        ),
    ],
)
def test_a_driver_is_advised_where_there_may_be_a_card(
    host: FakeHost, cards: tuple[tuple[str, ...], ...], said: str
) -> None:
    for one in cards:
        card(host, *one)
    no_devices("")(host)
    advice = found(host, "gpu-configured")["advice"]
    assert said in advice
    assert ("install its driver" in advice) is ("install its driver" in said)


@pytest.mark.parametrize("there", [True, False])
def test_no_command_makes_a_node_of_a_card_that_is_not_there(
    host: FakeHost, *, there: bool
) -> None:
    card(host, "0000:01:00.0", "0x10de" if there else "0x8086", "0x030000")
    one = found(host, "gpu-nodes")
    assert ("nvidia-modprobe" in (one["fix"] or "")) is there
    assert ("this host has no NVIDIA card: remove them from" in one["advice"]) is not there
    by_hand("lxc.cgroup2.devices.allow: c 195:* rwm\n")(host)
    host.write("/proc/devices", "Character devices:\n  1 mem\n\nBlock devices:\n")
    one = found(host, "gpu-majors")
    assert ("modprobe" in (one["fix"] or "")) is there
    assert ("this host has no NVIDIA card" in one["what"]) is not there
