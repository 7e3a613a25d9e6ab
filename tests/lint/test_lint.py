"""The linters, over every file of the tree that they understand."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.build import TREE, cache_dir
from tests.pypi import pypi_program

# Pinned, as a newer one has other rules. Not in Debian.
RUFF = "ruff==0.17.6"


def run(*command: str | Path) -> None:
    """Runs a linter in the tree; what it says is the failure."""
    result = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    if result.returncode or result.stderr:
        pytest.fail(f"{command[0]}:\n{result.stdout}{result.stderr}", pytrace=False)


def files() -> list[Path]:
    """Every file of the project, relative to the tree; not what git ignores."""
    command = ["git", "-c", f"safe.directory={TREE}", "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True)
    names = [Path(name) for name in listed.stdout.split("\0") if name]
    return [name for name in names if (TREE / name).is_file()]


def shebang(name: Path) -> str:
    with (TREE / name).open("rb") as file:
        line = file.readline(100)
    return line.decode(errors="replace") if line.startswith(b"#!") else ""


def shell_files() -> list[Path]:
    return [
        name for name in files() if name.suffix == ".sh" or shebang(name).rstrip().endswith("sh")
    ]


def python_files() -> list[Path]:
    return [name for name in files() if name.suffix == ".py" or "python3" in shebang(name)]


def program(name: str) -> str:
    path = shutil.which(name, path="/usr/bin:/bin")
    assert path, f"apt install {name}"
    return path


def mypy(*targets: str | Path) -> None:
    cache = cache_dir() / "mypy"
    run(program("mypy"), "--no-error-summary", "--cache-dir", cache, *targets)


def test_ruff_check() -> None:
    run(pypi_program(RUFF, "ruff"), "check", "--quiet", "--no-cache", *python_files())


def test_ruff_format() -> None:
    run(pypi_program(RUFF, "ruff"), "format", "--quiet", "--no-cache", "--diff", *python_files())


def test_mypy_package() -> None:
    mypy("phoenix_apparmor", "tests")


def test_mypy_scripts() -> None:
    scripts = [name for name in python_files() if not name.suffix]
    assert Path("hooks/unit") in scripts
    mypy("--scripts-are-modules", *scripts)


def test_shellcheck() -> None:
    found = shell_files()
    assert Path("debian/postinst") in found
    run(program("shellcheck"), *found)


def test_codespell() -> None:
    run(program("codespell"), *files())
