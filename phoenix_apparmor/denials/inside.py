"""Profiles that were loaded inside a container: which of its own files has one, and reads what."""

import re
from typing import NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.containers import running
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.init_process import init_pid
from phoenix_apparmor.policy import policytext
from phoenix_apparmor.suggest.rootfs import Root

# Profiles in a container are few; names beyond that were made up.
MOST = 20
_NAME = re.compile(r"/?[A-Za-z0-9._/-]{1,100}\Z")
_SAFE = re.compile(r"/etc/apparmor\.d/(?!.*\.\.)[A-Za-z0-9._/-]{1,100}\Z")


class Place(NamedTuple):
    """A profile's file in the container, the local file that it reads ("": none), its denies."""

    path: str
    local: str
    denies: tuple[policytext.Rule, ...] = ()


class Inside:
    """Looks into running containers, by names in their own root only; each profile once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[tuple[str, str], Place | None] = {}
        self._running: tuple[frozenset[str] | None] | None = None

    def place(self, ctid: str, profile: str) -> Place | None:
        """Where a profile is, None where that cannot be seen."""
        key = (ctid, profile)
        if key not in self._known:
            fits = _NAME.match(profile) and paths.is_ctid(ctid) and len(self._known) < MOST
            self._known[key] = self._look(ctid, profile) if fits else None
        return self._known[key]

    def is_stopped(self, ctid: str) -> bool:
        """Whether that is so for sure: then nobody can look into it."""
        if self._running is None:
            self._running = (running(self._host),)
        return self._running[0] is not None and ctid not in self._running[0]

    def _look(self, ctid: str, profile: str) -> Place | None:
        try:
            pid = init_pid(self._host, ctid)
            if pid is None:
                return None
            with Root(self._host.path(f"/proc/{pid}/root")) as root:
                outer = profile.partition("//")[0]
                for name in _candidates(outer):
                    path = f"{paths.APPARMOR_D}/{name}"
                    text = root.text(path, 256 << 10)
                    inner = policytext.body(text, profile) if text and outer in text else None
                    if inner is not None:
                        local = policytext.local_file(inner) or ""
                        denies = tuple(policytext.deny_rules([policytext.Text(path, inner)]))
                        return Place(path, local if _SAFE.match(local) else "", denies)
        except (PhoenixError, OSError):
            pass
        return None


def _candidates(profile: str) -> list[str]:
    """Names that packages give the file: of the profile, or of its program's path."""
    dotted = profile.removeprefix("/").replace("/", ".")
    return [dotted] + [f"{folder}.{dotted}" for folder in ("usr.sbin", "usr.bin", "sbin", "bin")]
