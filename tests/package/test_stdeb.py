"""A second opinion: what stdeb derives from setup.cfg, beside the hand-kept debian/.

stdeb's own commands for a package would overwrite debian/, so it works in a copy without.
"""

import subprocess
from pathlib import Path

import pytest
from debian.changelog import Changelog
from debian.deb822 import Deb822

from tests.build import TREE, copy_sources
from tests.pypi import pypi_venv

pytestmark = pytest.mark.slow

DEBIANIZE = "from setuptools import setup; setup()"
NEWEST = ("stdeb==0.11.0", "setuptools==78.1.1")


def derived_by(python: str | Path, folder: Path) -> Path:
    """The debian/ folder that stdeb makes."""
    tree = folder / "tree"
    copy_sources(tree)
    (tree / "debian").rename(folder / "ours")
    command = [python, "-c", DEBIANIZE, "-q", "--command-packages=stdeb.command", "debianize"]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    return tree / "debian"


@pytest.fixture(params=["Debian's", "PyPI's"])
def derived(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "Debian's":
        return derived_by("/usr/bin/python3", tmp_path)
    return derived_by(pypi_venv(*NEWEST) / "bin/python", tmp_path)


def facts(debian: Path) -> dict[str, object]:
    """What both know, in one form."""
    with (debian / "control").open() as file:
        source, binary = Deb822.iter_paragraphs(file)
    changelog = Changelog((debian / "changelog").read_text())
    return {
        "name": (source["Source"], binary["Package"], changelog.package),
        "version": changelog.version.upstream_version,
        "section": source["Section"],
        "maintainer": source["Maintainer"],
        "homepage": source.get("Homepage", "None"),
        "architecture": binary["Architecture"],
        "synopsis": binary["Description"].splitlines()[0],
        "depends": relation_names(binary["Depends"]),
        "recommends": relation_names(binary["Recommends"]),
    }


def relation_names(field: str) -> set[str]:
    return {" ".join(relation.split()) for relation in field.split(",") if relation.strip()}


def test_stdeb_agrees(derived: Path) -> None:
    assert facts(derived) == facts(TREE / "debian")


def test_a_version_that_was_raised_in_one_place_only_is_seen(tmp_path: Path) -> None:
    derived = derived_by("/usr/bin/python3", tmp_path)
    changelog = tmp_path / "ours/changelog"
    changelog.write_text(changelog.read_text().replace("(", "(9.", 1))
    assert facts(derived)["version"] != facts(tmp_path / "ours")["version"]
