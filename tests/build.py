"""Builds the package once for every state of the tree; all kinds of tests share it."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
# tests/ is left out: it changes often and nothing of it gets into the .deb.
SOURCES = (
    *("debian", "hooks", "phoenix_apparmor", "profiles"),
    *("setup.cfg", "pyproject.toml", "README.md", "SECURITY.md", "LICENSE", ".gitignore"),
)
CLEAN_ENV = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "DEB_BUILD_OPTIONS": "parallel=2",
}


def cache_dir() -> Path:
    """The folder for what is costly to make; outside the tree, may vanish at any time."""
    path = Path(os.environ.get("PHOENIX_TEST_CACHE", "/var/cache/phoenix-apparmor-tests"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def scratch_dir() -> Path:
    """The folder for many small files that live for one test: in memory where there is room.

    ext4 looks long for the number of a new file while many were deleted a moment ago.
    """
    memory = Path("/dev/shm")
    try:
        here = os.statvfs(memory)
    except OSError:
        return Path("/tmp")
    has_room = here.f_bavail * here.f_frsize > 512 << 20
    is_usable = not here.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) and os.access(memory, os.W_OK)
    return memory if has_room and is_usable else Path("/tmp")


@contextlib.contextmanager
def locked(name: str) -> Iterator[Path]:
    """Holds the lock of the cache entry name and gives its path; other sessions wait."""
    path = cache_dir() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def copy_sources(target: Path) -> None:
    """Copies what the package is built from to target, which must not exist."""
    target.mkdir(parents=True)
    # Left-overs of a build in the tree, and of running it.
    junk = shutil.ignore_patterns(
        *("__pycache__", ".*_cache", ".debhelper", "*.substvars", "*.log", "*.debhelper"),
        *("files", "*-stamp", "*.5", "*.8"),
    )
    for name in SOURCES:
        source = TREE / name
        if source.is_dir():
            # Not the times: dpkg-source keeps those from before the changelog's.
            shutil.copytree(
                source, target / name, symlinks=True, ignore=junk, copy_function=shutil.copy
            )
        elif source.exists():
            shutil.copy(source, target / name)
    # dh's staging folder, where somebody built in the tree itself.
    shutil.rmtree(target / "debian/phoenix-apparmor", ignore_errors=True)


def tree_hash(top: Path) -> str:
    """A hash of all names, modes and contents below top."""
    digest = hashlib.sha256()
    for path in sorted(top.rglob("*")):
        digest.update(f"{path.relative_to(top)}\0{path.lstat().st_mode & 0o170111:o}\0".encode())
        if path.is_symlink():
            digest.update(os.readlink(path).encode())
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(source: Path) -> None:
    """Runs dpkg-buildpackage in source; the results land beside it.

    Raises CalledProcessError; the last lines of the build are printed then.
    """
    result = subprocess.run(
        # Nothing here needs the compilers of build-essential, which the check insists on.
        ["dpkg-buildpackage", "--no-sign", "--no-check-builddeps"],
        cwd=source, env=CLEAN_ENV, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        print("\n".join(result.stdout.splitlines()[-60:]))
        result.check_returncode()


def build_results() -> Path:
    """The folder with .deb, .dsc, .tar.xz, .changes and .buildinfo of the tree as it is now."""
    with locked("build/work") as work:
        shutil.rmtree(work, ignore_errors=True)
        # dpkg-source puts the folder's name into the tarball.
        tree = work / "phoenix-apparmor"
        copy_sources(tree)
        results = work.with_name(tree_hash(tree))
        if not results.exists():
            build(tree)
            shutil.rmtree(tree)
            work.rename(results)
        shutil.rmtree(work, ignore_errors=True)
    return results


def built_deb() -> Path:
    """The .deb of the tree as it is now."""
    (deb,) = build_results().glob("*.deb")
    return deb


def built_dsc() -> Path:
    """The .dsc of the tree as it is now; its tarball is beside it."""
    (dsc,) = build_results().glob("*.dsc")
    return dsc


if __name__ == "__main__":
    print(built_deb())
