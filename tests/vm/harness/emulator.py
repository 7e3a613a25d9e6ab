"""The QEMU that runs the VMs: Debian 13's, the same on every machine, which need not be installed.

QEMU 10 emulates in half to nine tenths of the time of Debian 12's 7.2. Its packages are unpacked
into the cache, and its programs run there by their own dynamic loader with their own libraries.
"""

from __future__ import annotations

from pathlib import Path

from . import cache
from .image import MIRROR, command

SUITE = "trixie"
PACKAGES = ("qemu-system-x86", "qemu-utils")


def tree() -> Path:
    """The folder with the unpacked packages; made if it is not there (20 s)."""
    return cache.entry("qemu", cache.digest(SUITE, *PACKAGES), _unpack)


def system() -> tuple[str, ...]:
    """The machine emulator: what goes before its arguments."""
    share = tree() / "usr/share"
    firmware = ("-L", str(share / "qemu"), "-L", str(share / "seabios"))
    return (*_program("qemu-system-x86_64"), *firmware)


def disk_tool() -> tuple[str, ...]:
    """qemu-img: what goes before its arguments."""
    return _program("qemu-img")


def _program(name: str) -> tuple[str, ...]:
    usr = tree() / "usr"
    loader = usr / "lib64/ld-linux-x86-64.so.2"
    libraries = usr / "lib/x86_64-linux-gnu"
    return (str(loader), "--library-path", str(libraries), str(usr / "bin" / name))


def _unpack(folder: Path) -> None:
    command(
        "mmdebstrap",
        "--variant=extract",  # no maintainer script runs: nothing is mounted or configured
        "--aptopt=Acquire::Languages { }; Acquire::Retries 3",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        f"--include={','.join(PACKAGES)}",
        SUITE,
        str(folder),
        MIRROR,
    )
