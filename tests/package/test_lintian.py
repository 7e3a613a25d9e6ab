"""lintian at its strictest, without a line and without an override."""

from pathlib import Path

import pytest

from tests.build import built_dsc
from tests.package.chroots import Chroot, with_packages
from tests.package.debs import variant

STRICT = "lintian -EvIL +pedantic --show-overrides --allow-root --no-cfg --tag-display-limit 0"


def canary(v1: Path, folder: Path) -> Path:
    """A package with a flaw, so that silence about ours means something."""

    def rename(tree: Path) -> None:
        control = tree / "DEBIAN/control"
        control.write_text(control.read_text().replace("phoenix-apparmor", "canary", 1))
        (tree / "usr/share/doc/phoenix-apparmor/copyright").unlink()

    return variant(v1, folder, "0.1", rename)


def lintian(suite: str, folder: Path, v1: Path, *files: Path) -> list[str]:
    """The lines that it has to say of the files, of which the first is to be checked."""
    chroot = Chroot(with_packages(suite, ["lintian"]), folder / "chroot")
    names = [chroot.put(file) for file in (canary(v1, folder), *files)]
    lines = chroot.run(f"{STRICT} {names[0]} {names[1]}", check=False).out.splitlines()
    assert [line for line in lines if " canary: " in line], lines
    return [line for line in lines if " canary: " not in line]


@pytest.mark.slow
def test_the_deb_has_no_tag(suite: str, v1: Path, tmp_path: Path) -> None:
    assert lintian(suite, tmp_path, v1, v1) == []


@pytest.mark.slow
def test_the_source_has_no_tag(v1: Path, tmp_path: Path) -> None:
    """On trixie only: bookworm's does not know the current Standards-Version."""
    dsc = built_dsc()
    assert lintian("trixie", tmp_path, v1, dsc, dsc.with_suffix(".tar.xz")) == []
