"""The same tree gives the same .deb, whoever builds it where and when."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.build import CLEAN_ENV, built_dsc

# Beside the folder, the umask and the age of the files: what differs between two people.
OTHER = {
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "C",
    "LANG": "de_CH.UTF-8",
    "USER": "somebody",
    "DEB_BUILD_OPTIONS": "parallel=1",
    "PYTHONHASHSEED": "7",
}


@pytest.mark.slow
@pytest.mark.parametrize("age", ["2030-01-01", "2001-01-01"])
def test_two_builds_are_the_same(tmp_path: Path, age: str) -> None:
    dsc = built_dsc()
    tree = tmp_path / "phoenix-apparmor"
    unpack = ("dpkg-source", "--no-check", "--extract")
    subprocess.run([*unpack, dsc, tree], check=True, capture_output=True)
    for path in tree.rglob("*"):
        if path.is_file():
            subprocess.run(["touch", "-d", age, path], check=True)
    subprocess.run(
        ["sh", "-c", "umask 002; exec dpkg-buildpackage --no-sign --no-check-builddeps"],
        cwd=tree,
        env={**CLEAN_ENV, **OTHER},
        check=True,
        capture_output=True,
    )
    # dpkg-source leaves a file its time if that is before the changelog's.
    kinds = {".deb", ".xz"} if age > "2026" else {".deb"}
    first = {p.name: digest(p) for p in dsc.parent.iterdir() if p.suffix in kinds}
    second = {p.name: digest(p) for p in tmp_path.iterdir() if p.suffix in kinds}
    assert len(first) == len(kinds) and second == first


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
