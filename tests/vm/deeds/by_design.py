"""What does not work under our profiles, and why: by design, or not yet.

The README shows this in short form. A deed here that works after all fails the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reason(NamedTuple):
    """Why a deed fails in the columns whose key begins so ("" for all: u-base, p-docker, ...)."""

    deeds: tuple[str, ...]
    columns: str
    why: str
    open: bool = False  # to be cured: it works under Proxmox' generated profile, and harms nobody


KNOWN = (
    Reason(
        ("chroot_with_proc", "chroot_with_bound_proc", "root_directory_api", "nspawn"),
        "",
        "a /proc or /sys at another path is out of reach of the denies by path",
    ),
    Reason(
        ("calls_perf", "calls_bpf_map"),
        "p-",
        "perf_event_open and bpf reach the host's kernel (seccomp policy)",
    ),
)


def reasons(key: str) -> Mapping[str, Reason]:
    """Deed -> why it fails, for a column's key."""
    return {
        name: reason for reason in KNOWN if key.startswith(reason.columns) for name in reason.deeds
    }
