"""The signed repository, as a host of the fleet sees it: over HTTP, with apt."""

import contextlib
import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.build import CLEAN_ENV, TREE
from tests.names import VERSION
from tests.package.chroots import Chroot, Ran, with_packages
from tests.package.conftest import NEW_RULE
from tests.package.debs import PROFILE, depends
from tests.package.host import assert_settled, conffiles, state

pytestmark = pytest.mark.slow

SOURCES = "/etc/apt/sources.list.d/phoenix-apparmor.sources"
APT = "apt-get -yq -o Dir::Etc::SourceList=/dev/null -o APT::Update::Error-Mode=any"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The test's own output says what is needed."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of an HTTP server for a folder."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Repository(NamedTuple):
    folder: Path
    url: str
    keys: Path

    def publish(self, deb: Path, key: str = "fleet@example.org") -> None:
        self.gpg(TREE / "debian/make-repository", self.folder, self.url, key, deb)

    def gpg(self, *command: str | Path) -> None:
        environment = {**CLEAN_ENV, "GNUPGHOME": str(self.keys)}
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def make_key(self, address: str) -> None:
        self.gpg("gpg", "--batch", "--passphrase", "", "--quick-gen-key", address, "ed25519")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """An empty repository with a key of its own, served on loopback."""
    folder = tmp_path / "repository"
    keys = tmp_path / "keys"
    folder.mkdir()
    keys.mkdir(mode=0o700)
    with served(folder) as url:
        made = Repository(folder, url, keys)
        made.make_key("fleet@example.org")
        yield made
        made.gpg("gpgconf", "--kill", "all")


@pytest.fixture(scope="session")
def fleet_host(suite: str, v1: Path) -> tuple[Path, ...]:
    """A system that keeps itself up to date."""
    return with_packages(suite, [*depends(v1), "liblxc-common", "unattended-upgrades"])


@pytest.fixture
def chroot(
    fleet_host: tuple[Path, ...], suite: str, repository: Repository, v1: Path, tmp_path: Path
) -> Chroot:
    """A host that knows the repository, in which version 1 is."""
    repository.publish(v1)
    made = Chroot(fleet_host, tmp_path / "host")
    # Debian's own lists are there already; only ours is asked.
    made.run("rm -f /etc/apt/sources.list; rm -rf /var/lib/apt/lists/*")
    made.write(SOURCES, (repository.folder / f"{suite}.sources").read_text())
    return made


def apt(chroot: Chroot, *arguments: str, check: bool = True) -> Ran:
    return chroot.run(f"{APT} {' '.join(arguments)}", check=check)


def test_install_and_upgrade(chroot: Chroot, repository: Repository, v2: Path) -> None:
    apt(chroot, "update")
    apt(chroot, "install", "phoenix-apparmor")
    assert_settled(chroot, VERSION)

    repository.publish(v2)
    apt(chroot, "update")
    apt(chroot, "upgrade")
    assert_settled(chroot, "2.0.0")
    assert chroot.read(PROFILE).endswith(NEW_RULE)

    apt(chroot, "install", "--allow-downgrades", f"phoenix-apparmor={VERSION}")
    assert_settled(chroot, VERSION)


def test_tampered_index_is_refused(chroot: Chroot, repository: Repository, suite: str) -> None:
    packages = repository.folder / f"dists/{suite}/main/binary-amd64"
    text = (packages / "Packages").read_text()
    (packages / "Packages").write_text(text.replace("Maintainer: p", "Maintainer: q"))
    (packages / "Packages.gz").unlink()
    ran = apt(chroot, "update", check=False)
    assert ran.status != 0
    assert "Hash Sum mismatch" in ran.out
    assert apt(chroot, "install", "phoenix-apparmor", check=False).status != 0
    assert state(chroot) == ""


def test_tampered_package_is_refused(chroot: Chroot, repository: Repository) -> None:
    apt(chroot, "update")
    (deb,) = repository.folder.glob("pool/*.deb")
    content = bytearray(deb.read_bytes())
    content[-1] ^= 1
    deb.write_bytes(content)
    ran = apt(chroot, "install", "phoenix-apparmor", check=False)
    assert ran.status != 0
    assert "Hash Sum mismatch" in ran.out
    assert state(chroot) == ""


def test_wrong_key_is_refused(chroot: Chroot, repository: Repository, v1: Path) -> None:
    repository.make_key("mallory@example.org")
    repository.publish(v1, "mallory@example.org")
    ran = apt(chroot, "update", check=False)
    assert ran.status != 0
    assert "is not signed" in ran.out or "couldn't be verified" in ran.out
    assert apt(chroot, "install", "phoenix-apparmor", check=False).status != 0
    assert state(chroot) == ""


def test_unattended_upgrades(chroot: Chroot, repository: Repository, v2: Path) -> None:
    """An edited profile holds the package back until dpkg is told what to do with it."""
    apt(chroot, "update")
    apt(chroot, "install", "phoenix-apparmor")
    pattern = 'Unattended-Upgrade::Origins-Pattern { "origin=phoenix-apparmor"; };\n'
    chroot.write("/etc/apt/apt.conf.d/60phoenix-apparmor", pattern)
    edited = chroot.read(PROFILE) + "# mine\n"
    chroot.write(PROFILE, edited)
    repository.publish(v2)
    apt(chroot, "update")
    chroot.run("unattended-upgrade", "--verbose")
    assert state(chroot) == f"ii {VERSION}", "held back, as dpkg would ask"

    keep = 'Dpkg::Options { "--force-confdef"; "--force-confold"; };\n'
    chroot.write("/etc/apt/apt.conf.d/60phoenix-apparmor", pattern + keep)
    out = chroot.run("unattended-upgrade", "--verbose").out
    assert_settled(chroot, "2.0.0")
    assert chroot.read(PROFILE) == edited
    assert conffiles(chroot) == {PROFILE: f"modified {PROFILE}.dpkg-dist"}
    assert "All upgrades installed" in out


def test_unattended_upgrades_of_a_pristine_host(
    chroot: Chroot, repository: Repository, v2: Path
) -> None:
    apt(chroot, "update")
    apt(chroot, "install", "phoenix-apparmor")
    pattern = 'Unattended-Upgrade::Origins-Pattern { "origin=phoenix-apparmor"; };\n'
    chroot.write("/etc/apt/apt.conf.d/60phoenix-apparmor", pattern)
    repository.publish(v2)
    apt(chroot, "update")
    chroot.run("unattended-upgrade", "--verbose")
    assert_settled(chroot, "2.0.0")
    assert chroot.read(PROFILE).endswith(NEW_RULE)
