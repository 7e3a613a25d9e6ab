"""Versions of the package that differ as a test needs it, made from the built one."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from debian.deb822 import Deb822
from debian.debfile import DebFile

PROFILE = "/etc/apparmor.d/lxc-nvidia-gpu-base"


def depends(deb: Path) -> list[str]:
    """Names of the packages that it depends on, the first of alternatives each."""
    control: Deb822 = DebFile(deb).debcontrol()
    relations = control["Depends"].split(",")
    return [relation.split("|")[0].split("(")[0].split(":")[0].strip() for relation in relations]


def variant(
    deb: Path, folder: Path, version: str, change: Callable[[Path], None] = lambda _: None
) -> Path:
    """The package with another version, after change was called with its unpacked tree."""
    tree = folder / f"tree-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines(keepends=True)
    control.write_text(
        "".join(f"Version: {version}\n" if x.startswith("Version:") else x for x in lines)
    )
    change(tree)
    result = folder / f"phoenix-apparmor_{version}_all.deb"
    build = ("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build")
    subprocess.run([*build, tree, result], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return result


def append(path: str, text: str) -> Callable[[Path], None]:
    """A change: text at the end of a shipped file."""

    def change(tree: Path) -> None:
        with (tree / path.lstrip("/")).open("a") as file:
            file.write(text)

    return change


def before_postinst(text: str) -> Callable[[Path], None]:
    """A change: shell that the postinst runs first."""

    def change(tree: Path) -> None:
        script = tree / "DEBIAN/postinst"
        script.write_text(script.read_text().replace("set -e\n", f"set -e\n{text}\n", 1))

    return change


def without(path: str) -> Callable[[Path], None]:
    """A change: a conffile that is shipped no longer."""

    def change(tree: Path) -> None:
        (tree / path.lstrip("/")).unlink()
        conffiles = tree / "DEBIAN/conffiles"
        lines = conffiles.read_text().splitlines(keepends=True)
        conffiles.write_text("".join(line for line in lines if line.strip() != path))

    return change
