"""Tools that Debian does not have, or only in one version: from PyPI, cached."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.build import locked


def pypi_venv(*requirements: str) -> Path:
    """A virtual environment with the requirements ("ruff==0.17.6"), made once."""
    with locked("venv/" + "+".join(requirements)) as venv:
        if not (venv / "complete").exists():
            shutil.rmtree(venv, ignore_errors=True)
            subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True)
            pip = (venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check")
            subprocess.run([*pip, *requirements], check=True)
            (venv / "complete").touch()
    return venv


def pypi_program(requirement: str, name: str) -> Path:
    """A program from PyPI: $NAME if set ($RUFF for ruff), else that of a cached venv."""
    given = os.environ.get(name.upper())
    return Path(given) if given else pypi_venv(requirement) / "bin" / name
