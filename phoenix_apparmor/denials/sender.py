"""Whether a message in the name of D-Bus was sent by a D-Bus daemon of this host's."""

import re

from phoenix_apparmor.denials.processes import Processes
from phoenix_apparmor.host import Host

# The units of dbus-daemon and dbus-broker, of the system and of its users; a container's are
# below its own cgroup.
_UNIT = re.compile(r"/(?:system|user)\.slice(?:/[^/]+)*/dbus(?:-broker)?\.service\Z")


class Senders:
    """Asks each process once. One that is gone cannot be asked: a host's D-Bus daemon lives on."""

    def __init__(self, host: Host) -> None:
        self._processes = Processes(host)

    def is_dbus(self, pid: str, when: float) -> bool:
        """Whether process pid was a D-Bus daemon at that time (seconds since 1970)."""
        return _UNIT.match(self._processes.cgroup(pid, when)) is not None
