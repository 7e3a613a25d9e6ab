"""What dpkg knows of a package's conffiles, and what is on disk.

In a postinst /var/lib/dpkg/status does not have the package's new state yet (it is in
dpkg's journal); dpkg-query reads both, so it is asked, and python-debian reads its answer.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from typing import Literal, NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.commands import Ran
from phoenix_apparmor.errors import PhoenixError, from_os_error
from phoenix_apparmor.host import Host

OURS = "phoenix-apparmor"
DATABASE = "/var/lib/dpkg/status"
QUERY_SECONDS = 30

State = Literal["pristine", "modified", "missing", "obsolete", "unconfigured"]


class Conffile(NamedTuple):
    """One conffile of a package.

    path: as on the host.
    state: "pristine", as shipped; "modified", it differs from what dpkg last shipped or
        offered; "missing", deleted, which dpkg respects; "obsolete", no longer shipped and
        left in place (a profile among these is still loaded at boot); "unconfigured", new
        and unpacked only.
    waiting: where the new version is that an upgrade did not put in place, "" if none:
        path + ".dpkg-dist" (the admin's was kept) or ".dpkg-new" (dpkg's question is
        unanswered). apparmor_parser skips both names, so that version is not in force.
    """

    path: str
    state: State
    waiting: str = ""

    @property
    def held_back(self) -> bool:
        """Whether what the package ships now is not what is in force."""
        return bool(self.waiting)


def place_of_own(path: str) -> str:
    """Where a site's own text goes that would else be an edit of this conffile of ours."""
    folder, _, name = path.rpartition("/")
    if path in (paths.SECCOMP, paths.SECCOMP_WITHOUT_BPF):
        return "a seccomp policy of your own, which .conf names (lxc.seccomp.profile)"
    return f"{paths.APPARMOR_D}/local/{name if folder == paths.APPARMOR_D else 'PROFILE'}"


def of_package(host: Host, package: str = OURS) -> list[Conffile]:
    """All conffiles of a package, by path; none if dpkg does not know it.

    Raises PhoenixError where dpkg-query cannot be run.
    """
    from debian.deb822 import Deb822

    ran = query(host, ["--status", package])
    if ran.status == 1 and ran.out == b"":
        return []
    if ran.status != 0:
        raise PhoenixError(f"dpkg-query failed: {ran.err.strip()}", hint="See: dpkg --audit")
    lines = Deb822(ran.out)["Conffiles"].splitlines() if b"\nConffiles:" in ran.out else []
    return sorted(_conffile(host, line.split()) for line in lines if line.strip())


def query(host: Host, arguments: Sequence[str]) -> Ran:
    """What dpkg-query answers for this host's tree. Raises PhoenixError where it cannot."""
    try:
        seen = host.stat(DATABASE)
    except OSError as error:
        raise from_os_error(error, f"cannot read {DATABASE}") from error
    if seen is not None and not stat.S_ISREG(seen.st_mode):
        # dpkg-query would wait for whoever writes into a FIFO.
        raise PhoenixError(f"{DATABASE} is not a regular file.", hint=f"See: ls -l {DATABASE}")
    admindir = host.path(os.path.dirname(DATABASE))
    command = ["dpkg-query", f"--admindir={admindir}", *arguments]
    return host.run(command, timeout=QUERY_SECONDS)


def _conffile(host: Host, words: list[str]) -> Conffile:
    """Of a line ``PATH MD5|newconffile [obsolete] [remove-on-upgrade]``.

    MD5 is that of the version that dpkg last installed or offered, not of the file.
    """
    path, md5, *flags = words
    text = _read(host, path)
    state: State
    if "obsolete" in flags:
        return Conffile(path, "obsolete")
    if text is None:
        state = "missing"
    elif md5 == "newconffile":
        state = "unconfigured"
    else:
        state = "pristine" if _md5(text) == md5 else "modified"
    if state == "pristine":
        return Conffile(path, state)
    for waiting in (path + ".dpkg-new", path + ".dpkg-dist"):
        other = _read(host, waiting)
        if other is not None and other != text:
            return Conffile(path, state, waiting)
    return Conffile(path, state)


def _read(host: Host, path: str) -> bytes | None:
    """The file's bytes; what is there but cannot be read as a file counts as edited."""
    try:
        return host.read_if_there(path)
    except OSError:
        return b""


def _md5(text: bytes) -> str:
    return hashlib.md5(text, usedforsecurity=False).hexdigest()
