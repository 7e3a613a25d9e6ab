"""What of the host a container's own configuration mounts where no profile guards it. Pure.

The rules of a profile name paths: what guards /proc and /sys knows them there, and not as
/hostproc; and of the host's own files, which a bind mount gives a container, it knows none.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import pveconf
from phoenix_apparmor.assignments import places
from phoenix_apparmor.lxcsettings import Entry

# With these root of a privileged container has the host: all of it, what its services and its
# root run, who may log in, the containers' configurations.
WHOLE = frozenset(
    ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/root", "/run", "/sbin", "/usr",
     "/usr/bin", "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/sbin", "/usr/sbin",
     "/usr/share", "/var", "/var/lib", "/var/lib/vz")
)  # fmt: skip
# The same below them: what the host's root and its services run, read at their start or listen on.
# (Not what people share of these: data in /root, /usr/local and /var/lib/vz, GPU sockets in /run.)
_BELOW = re.compile(
    r"/(?:proc|sys|boot|bin|sbin|lib\d*"
    r"|etc/(?!(?:hostname|hosts|localtime|resolv\.conf|timezone)\Z|(?:letsencrypt|ssl)(?:/|\Z)).+"
    r"|root/(?:\.[^/]+|bin)|run/(?:containerd|dbus|docker|docker\.sock|lxc|podman|pve|systemd)"
    r"|usr/(?:bin|sbin|lib\w*|local/(?:bin|etc|lib\w*|sbin)|share/(?:lxc|perl\w*|python\w*))"
    r"|var/lib/(?:dpkg|lxc|phoenix-apparmor|pve[\w-]*|systemd|vz/snippets)|var/spool)(?:/|\Z)"
)
_MOVED = {"run": "/run", "lock": "/run/lock"}
# What is secret there, so that it matters read-only too.
_SECRET = frozenset(
    ("/", "/etc", "/etc/pve", "/etc/pve/priv", "/etc/shadow", "/etc/ssh", "/proc", "/root",
     "/root/.ssh", "/var/lib/pve-cluster")
)  # fmt: skip


class HostMount(NamedTuple):
    """what: a folder of the host, or a type of file system; place: in the container.

    key: of its line (mp0, lxc.mount.entry); line: the whole. file: that it is in, "" for the
    configuration itself.
    """

    what: str
    place: str
    key: str
    line: str
    file: str = ""


def unguarded(main: Sequence[bytes], entries: Iterable[Entry]) -> list[HostMount]:
    """Folders of the host's and views of its kernel that a configuration mounts there.

    entries: all that LXC mounts (Conf.mount_entries).
    """
    return [*_mount_points(main), *_entries(entries)]


def _mount_points(main: Sequence[bytes]) -> Iterator[HostMount]:
    for key, volume, options in pveconf.mount_points(main):
        source, place = _source(volume), _whole(options.get("mp", ""))
        is_read_only = pveconf.is_true(options.get("ro"))
        if volume.startswith("/") and _matters(source, place, is_read_only=is_read_only):
            line = f"{key}: {pveconf.options(main)[key]}"
            yield HostMount(f"the host's {source}", place, key, line)


def _entries(entries: Iterable[Entry]) -> Iterator[HostMount]:
    for entry in entries:
        source, place = _source(entry.source), entry.place
        words = set(entry.options)
        key, file, line = entry.setting.key, entry.setting.file, entry.setting.line
        if words & {"bind", "rbind"}:
            # "ro" is for the first of several mounts
            is_read_only = "ro" in words and "rbind" not in words
            is_hosts = entry.source.startswith("/") and "relative" not in words
            if is_hosts and _matters(source, place, is_read_only=is_read_only):
                yield HostMount(f"the host's {source}", place, key, line, file)
        elif entry.fstype in places.KERNEL_VIEWS and entry.fstype != "cgroup2":
            is_secret = entry.fstype == "proc"
            if not places.is_kernels(place) and (is_secret or "ro" not in words):
                yield HostMount(entry.fstype, place, key, line, file)


def _whole(path: str) -> str:
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _source(path: str) -> str:
    """A folder of the host's; Debian has /run and /run/lock by older names too."""
    path = _whole(path)
    return re.sub(r"\A/var/(run|lock)(?=/|\Z)", lambda name: _MOVED[name[1]], path)


def _matters(source: str, place: str, *, is_read_only: bool) -> bool:
    if is_read_only:
        return source in _SECRET
    if places.is_kernels(source) and source == place:
        return False  # there the profile knows it
    return source in WHOLE or _BELOW.match(source) is not None
