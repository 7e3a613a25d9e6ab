"""Replacing the JSON: under a lock, and only if nobody else wrote it meanwhile."""

import difflib
import os
from collections.abc import Callable

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.locks import Lock

LOCK_SECONDS = 10
# Not for everybody: it names every container of the cluster.
MODE = 0o640


def diff(source: str, old: bytes | None, new: bytes) -> str:
    """The unified diff of a file."""
    before, after = (
        (text or b"").decode("utf-8-sig", "surrogateescape").splitlines() for text in (old, new)
    )
    name = source if old is not None else "/dev/null"
    lines = difflib.unified_diff(before, after, name, source, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def replace_json(host: Host, source: str, change: Callable[[bytes | None], bytes]) -> bool:
    """Replaces the JSON by what change makes of it (None: there is none); whether it differs.

    Raises PhoenixError where somebody else is writing it: an editor takes no lock.
    """
    with Lock(host, paths.JSON_LOCK, wait=LOCK_SECONDS) as lock:
        if not lock.held:
            what = f"{source} is being written by another phoenix-apparmor."
            raise PhoenixError(what, hint=f"Try again. {lock.late().hint}")
        old = host.read_if_there(source)
        new = change(old)
        if new == old:
            return False
        if old is None:
            host.make_folder(os.path.dirname(source))
        target = source
        if not host.root and os.path.islink(source):
            target = os.path.realpath(source)  # the link stays, its file is replaced
        seen = host.stat(target)
        if host.read_if_there(source) != old:
            raise PhoenixError(f"{source} was changed meanwhile.", hint="Try again.")
        host.replace(target, new, mode=MODE)
        if seen is not None and seen.st_gid != os.getegid():
            _keep_group(host, target, seen.st_gid)
    return True


def _keep_group(host: Host, name: str, gid: int) -> None:
    try:
        os.chown(host.path(name), -1, gid)
    except OSError:
        return  # pmxcfs gives every file its own group
