"""NVIDIA's cards, as the kernel lists PCI devices: they are there without any driver."""

import os
from typing import NamedTuple

from phoenix_apparmor.host import Host

DEVICES = "/sys/bus/pci/devices"
# Linux' pci_ids.h: PCI_VENDOR_ID_NVIDIA; the first byte of a class, 03, is a display controller.
NVIDIA, DISPLAY = "0x10de", "0x03"
# The driver that passes a device through to a VM.
VFIO = "vfio-pci"


class Card(NamedTuple):
    """A card: its address, and the driver that has it, "" without any."""

    address: str
    driver: str


def nvidia_cards(host: Host) -> list[Card] | None:
    """The host's NVIDIA cards; None: this cannot be known, as /sys shows no PCI device at all."""
    addresses = host.names(DEVICES)
    if not addresses:
        return None
    found = []
    for address in addresses:
        folder = f"{DEVICES}/{address}"
        kinds = [_text(host, f"{folder}/{name}") for name in ("vendor", "class")]
        if kinds[0] == NVIDIA and kinds[1].startswith(DISPLAY):
            found.append(Card(address, _driver(host, folder)))
    return found


def why_no_node(host: Host) -> str:
    """What to do on a host without NVIDIA nodes, by what cards it has."""
    cards = nvidia_cards(host)
    if cards is None:
        return "this host has no NVIDIA node: if it has a card (lspci -d 10de:), install its driver"
    if not cards:
        return "this host has no NVIDIA card (PCI vendor 10de): nothing to give"
    given_away = [card.address for card in cards if card.driver == VFIO]
    if len(given_away) == len(cards):
        return (
            f"this host's NVIDIA card ({', '.join(given_away)}) has the driver {VFIO}, which is "
            "for VMs: a container gets it only with NVIDIA's"
        )
    addresses = ", ".join(card.address for card in cards if card.driver != VFIO)
    return f"this host has an NVIDIA card ({addresses}), but no node of it: install its driver"


def _text(host: Host, name: str) -> str:
    try:
        return (host.read_if_there(name) or b"").decode("ascii", "replace").strip()
    except OSError:
        return ""


def _driver(host: Host, folder: str) -> str:
    try:
        return os.path.basename(os.readlink(host.path(f"{folder}/driver")))
    except OSError:
        return ""
