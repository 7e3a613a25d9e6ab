"""Processes that a message names, if they still live: their cgroup."""

import os
import re

from phoenix_apparmor.host import Host

# More numbers than this at once are of processes that came and went.
MOST = 1 << 16
# random(4): made anew at each boot.
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_time(host: Host) -> float:
    """When this kernel was booted (seconds since 1970), 0.0 if unknown."""
    text = host.read_if_there("/proc/stat") or b""
    match = re.search(rb"^btime (\d{1,11})$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def is_this_machine(host: Host) -> bool:
    """Whether the running kernel is the host's: not where --root is a folder or another disk."""
    if not host.root:
        return True
    own = host.read_if_there(BOOT_ID)
    return own is not None and own == Host().read_if_there(BOOT_ID)


class Processes:
    """Looks each process up once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._boot = boot_time(host)
        self._known: dict[str, tuple[str, float]] = {}

    def cgroup(self, pid: str, when: float) -> str:
        """Path of the process' cgroup; "" if it is gone, or is a later one of that number.

        when: seconds since 1970.
        """
        found = self._known.get(pid)
        if found is None:
            if len(self._known) >= MOST:
                self._known.clear()
            found = self._known[pid] = self._look(pid)
        path, started = found
        return path if started <= when + 2 else ""

    def _look(self, pid: str) -> tuple[str, float]:
        if not (pid.isascii() and pid.isdigit() and 0 < len(pid) <= 10) or pid == "0":
            return "", 0.0
        try:
            text = self._host.read(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape")
            # proc(5): the name in brackets may hold blanks; starttime is the 20th word behind it
            stat = self._host.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            started = self._boot + int(stat[19]) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return "", 0.0
        # cgroups(7): HIERARCHY:CONTROLLERS:PATH; the one of version 2, else the first
        paths = [line.split(":", 2)[2] for line in text.split("\n") if line.count(":") >= 2]
        unified = [line[3:] for line in text.split("\n") if line.startswith("0::")]
        return next(iter(unified + paths), ""), started
