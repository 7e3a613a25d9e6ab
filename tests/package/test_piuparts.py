"""piuparts: install, remove and purge leave nothing behind."""

import subprocess
from pathlib import Path

import pytest

from tests.package.chroots import MIRROR, Chroot

PACK = "tar --one-file-system --exclude='./srv/*' -C / -c . | gzip -1 > /srv/base.tar.gz"


def piuparts(suite: str, tarball: Path, deb: Path) -> tuple[int, str]:
    command = ["piuparts", f"--basetgz={tarball}", f"--distribution={suite}"]
    command += [f"--mirror={MIRROR} main", "--no-eatmydata", "--no-upgrade-test", str(deb)]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return result.returncode, result.stdout[-5000:]


@pytest.fixture(scope="session")
def tarball(prepared: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with the dependencies: so nothing is left behind but by us, and no network."""
    chroot = Chroot(prepared, tmp_path_factory.mktemp("piuparts"))
    chroot.run(PACK)
    return chroot.share / "base.tar.gz"


@pytest.mark.slow
def test_nothing_is_left_behind(suite: str, tarball: Path, v1: Path) -> None:
    status, out = piuparts(suite, tarball, v1)
    assert status == 0, out
    assert "PASS: All tests" in out
