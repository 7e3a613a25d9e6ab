"""Throw-away Debian systems: an overlay over a cached base, in a mount namespace of its own.

Every command gets its own namespace, so that nothing stays mounted and no process stays
alive after it, however a test ends. /sys is not mounted: a chroot without AppArmor.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.build import locked

SUITES = ("bookworm", "trixie")
MIRROR = "http://deb.debian.org/debian"

# $1 overlay options, $2 the scenario's folder, $3 size of a tmpfs for all that it writes, or "".
ENTER = """
cd "$2"
[ -z "$3" ] || { mount -t tmpfs -o "size=$3" tmpfs writable; mkdir writable/upper writable/work; }
mount -t overlay -o "$1" overlay root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount --bind share root/srv
if [ -e root/etc/resolv.conf ]; then mount --bind /etc/resolv.conf root/etc/resolv.conf; fi
root=$PWD/root
shift 3
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
"""


class Ran(NamedTuple):
    """Exit status, and stdout and stderr as they came."""

    status: int
    out: str


class Chroot:
    """A Debian system that can be changed at will; folder/share is its /srv.

    lowers: folders of the base, the uppermost first; they are never written.
    """

    def __init__(self, lowers: Sequence[Path], folder: Path) -> None:
        self.lowers = tuple(lowers)
        self.folder = folder
        self.share = folder / "share"
        for path in ("writable/upper", "writable/work", "root", "share"):
            (folder / path).mkdir(parents=True, exist_ok=True)

    @property
    def layers(self) -> tuple[Path, ...]:
        """What another chroot needs as lowers to begin as this one is now."""
        return (self.folder / "writable/upper", *self.lowers)

    def run(
        self,
        *command: str,
        check: bool = True,
        stdin: str | int = subprocess.DEVNULL,
        tmpfs: str = "",
        timeout: float = 600,
    ) -> Ran:
        """Runs a command as root; one string is a shell script.

        stdin: text, or a file descriptor. tmpfs: a size; then all that the command writes
        goes to a tmpfs of this size and is gone afterwards.
        """
        argv = ("sh", "-euc", *command) if len(command) == 1 else command
        lowers = ":".join(map(str, self.lowers))
        options = f"lowerdir={lowers},upperdir=writable/upper,workdir=writable/work"
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", ENTER, "sh"]
        result = subprocess.run(
            [*enter, options, str(self.folder), tmpfs, *argv],
            input=stdin if isinstance(stdin, str) else None,
            stdin=None if isinstance(stdin, str) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            message = f"exit status {result.returncode} of {' '.join(command)}\n{result.stdout}"
            raise AssertionError(message)
        return Ran(result.returncode, result.stdout)

    def put(self, file: Path) -> str:
        """Copies a file of this machine into /srv; its path there."""
        shutil.copy(file, self.share)
        return f"/srv/{file.name}"

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.run("cat", path).out

    def write(self, path: str, text: str) -> None:
        """Makes or overwrites a file, and the folders above it."""
        self.run(f'mkdir -p "$(dirname {path})" && cat > {path}', stdin=text)

    def exists(self, path: str) -> bool:
        """Whether something is there, a dangling link too."""
        return self.run(f"[ -e {path} ] || [ -L {path} ]", check=False).status == 0


def base(suite: str) -> tuple[Path, ...]:
    """A minimal Debian of the suite, with security updates; made once."""
    with locked(f"chroot/{suite}-minbase") as path:
        if not path.exists():
            work = path.with_name(path.name + ".work")
            shutil.rmtree(work, ignore_errors=True)
            sources = [f"deb {MIRROR} {suite} main", f"deb {MIRROR}-security {suite}-security main"]
            subprocess.run(
                [
                    "mmdebstrap",
                    "--quiet",
                    "--mode=root",
                    "--variant=minbase",
                    "--dpkgopt=force-unsafe-io",
                    suite,
                    work,
                    *sources,
                ],
                env={**os.environ, "LC_ALL": "C.UTF-8"},
                check=True,
            )
            (work / "etc/dpkg/dpkg.cfg.d/tests").write_text("force-unsafe-io\n")
            (work / "etc/apt/apt.conf.d/tests").write_text('APT::Install-Recommends "false";\n')
            (work / "etc/resolv.conf").touch()
            work.rename(path)
    return (path,)


def with_packages(suite: str, packages: Sequence[str]) -> tuple[Path, ...]:
    """The base with packages installed; made once for each set of them."""
    lowers = base(suite)
    wanted = " ".join(sorted(packages))
    name = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    with locked(f"chroot/{suite}-{name}") as path:
        if not path.exists():
            work = path.with_name(path.name + ".work")
            shutil.rmtree(work, ignore_errors=True)
            chroot = Chroot(lowers, work)
            chroot.run(f"apt-get -q update && apt-get -yq install {wanted} && apt-get clean")
            work.rename(path)
    return Chroot(lowers, path).layers
