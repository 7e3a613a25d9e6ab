"""Policies that a VM finds compiled: by its own parser, for its own kernel, but not emulated.

A profile of ours is up to half a minute of an emulated processor, and one second of a real one. The
product keeps what the parser made in /var/cache/phoenix-apparmor, by all that goes into it. So a
VM's parser is taken out of it, with its libraries, /etc/apparmor.d and the kernel's features; in
that root the product's own code compiles here (chrooted.py), and what it kept is put into the VM.
There a policy with another key is not used, and whatever a test changes has another.

tests/vm/test_policies.py compiles in the VM, as a host does, and compares. (COMPILE: a suite whose
VM compiles all.)
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from tests.build import TREE

from . import cache
from .errors import VmError
from .image import command
from .machine import Machine, Snapshot
from .suites import COMPILE, SUITES

HERE = Path(__file__).parent
# Where the product and the parser keep what is compiled.
KEPT = "/var/cache/phoenix-apparmor"
PARSERS = "/var/cache/apparmor"
# tar takes the sizes of apparmorfs' files for the truth: they are 0.
GATHER = f"""
mkdir -p /root/parser/sys/kernel/security/apparmor && cd /root/parser
cp -r /sys/kernel/security/apparmor/features sys/kernel/security/apparmor/
libraries=$(ldd /usr/sbin/apparmor_parser | grep -o '/[^ ]*' | cut -c 2-)
cd /
tar -ch usr/sbin/apparmor_parser $libraries etc/apparmor etc/apparmor.d usr/share/apparmor* \\
    --no-recursion {PARSERS[1:]} --recursion -C /root/parser sys
rm -r /root/parser
"""
# The parser asks /proc for the name of its cache's folder; seen by this process alone.
START = 'for name in proc dev; do mount --bind "/$name" "$0/$name"; done; exec "$@"'


class Wanted(NamedTuple):
    """What is to be compiled, beside a package.

    document: as of chrooted.py. file, text: a file in /etc/apparmor.d, or in local/ there, of the
    name of the profile that alone is compiled.
    """

    document: str = ""
    file: str = ""
    text: str = ""


# Its profiles.
PACKAGE = Wanted()


def compiled(host: Snapshot, deb: Path, wanted: Wanted = PACKAGE) -> Path | None:
    """A folder whose contents belong into /var/cache of the suite's VM; None: nothing does.

    host: the suite's VM without the package.
    """
    if host.suite in COMPILE or not SUITES[host.suite].emulated:
        return None
    return compiled_here(host, deb, wanted)


def compiled_here(host: Snapshot, deb: Path, wanted: Wanted = PACKAGE) -> Path:
    """As compiled, for any suite."""
    parser = parser_root(host)

    def make(folder: Path) -> None:
        root = folder / "root"
        shutil.copytree(parser, root, symlinks=True)
        for name in ("proc", "dev"):
            (root / name).mkdir()
        command("dpkg-deb", "--extract", str(deb), str(root))
        only = []
        if wanted.file:
            path = root / wanted.file.lstrip("/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted.text)
            only.append(path.name)
        uname = (parser / "uname").read_text().splitlines()
        compiler = (sys.executable, "-B", "-m", f"{__package__}.chrooted", str(root), *uname, *only)
        said = subprocess.run(
            ["unshare", "--mount", "sh", "-euc", START, str(root), *compiler],
            input=wanted.document.encode(),
            cwd=TREE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if said.returncode:
            raise VmError(f"policies for {host.suite}:\n{said.stdout.decode(errors='replace')}")
        cache.say(f"compiled for {host.suite}: {said.stdout.decode().strip()}")
        (root / "var/cache").rename(folder / "cache")
        shutil.rmtree(root)

    own = (HERE / "policies.py", HERE / "chrooted.py")
    key = cache.digest(parser.name, deb, *wanted, *own)
    return cache.entry(f"policies-{host.suite}", key, make) / "cache"


def put(machine: Machine, folder: Path) -> None:
    """What compiled() made, into a VM."""
    for path in (KEPT, PARSERS):
        source = folder / Path(path).name
        if source.is_dir():
            machine.push(source, path)


def kept(machine: Machine) -> set[str]:
    """PROFILE/KEY.HASH of all policies that are kept in a VM."""
    return set(machine.sh(f"cd {KEPT} && find * -type f").stdout.split())


def kept_in(folder: Path) -> set[str]:
    """The same of what compiled() made."""
    top = folder / Path(KEPT).name
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def parser_root(host: Snapshot) -> Path:
    """The root of the suite's parser; and `uname`, what its kernel says of itself."""

    def make(folder: Path) -> None:
        with Machine.resume(host) as machine:
            data = machine.sh(GATHER).stdout_bytes
            (folder / "uname").write_text(machine.sh("uname -r; uname -v").stdout)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(folder)

    key = cache.digest(host.key, GATHER)
    return cache.entry(f"parser-{host.suite}", key, make)
