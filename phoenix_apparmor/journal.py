"""Lines for the journal; a log that cannot be written stops nothing."""

import os
import socket
from collections.abc import Iterable

from phoenix_apparmor.errors import one_line


def send(root: str, priority: int, entries: Iterable[tuple[str, str | None, str | None]]) -> None:
    """A line each of (message, CTID, profile), on the host whose tree begins at root.

    The journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL); /dev/log where there is no
    journald.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1)
        for message, ctid, profile in entries:
            text = one_line(message)
            fields = [f"PRIORITY={priority}", "SYSLOG_IDENTIFIER=phoenix-apparmor"]
            fields.append(f"MESSAGE={text}")
            if ctid is not None:
                fields.append(f"PHOENIX_CTID={one_line(ctid)}")
            if profile is not None:
                fields.append(f"PHOENIX_PROFILE={one_line(profile)}")
            native = "\n".join(fields) + "\n"
            # facility daemon (3)
            classic = f"<{3 << 3 | priority}>phoenix-apparmor[{os.getpid()}]: {text}"
            for name, data in (("/run/systemd/journal/socket", native), ("/dev/log", classic)):
                try:
                    channel.sendto(data.encode("utf-8", "backslashreplace"), f"{root}{name}")
                except OSError:
                    continue
                break
