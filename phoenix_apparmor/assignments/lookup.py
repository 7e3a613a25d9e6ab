"""Who gets which profile now: the JSON on disk, or the last good copy of it.

The JSON is parsed and validated again only when it changed. While it is broken or gone the
last good assignments are used, and every answer says so.
"""

import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phoenix_apparmor import lastgood, paths
from phoenix_apparmor.assignments import parse
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "phoenix_lxc_configs.schema.json")


@dataclass(frozen=True)
class Known:
    """What is known of all containers.

    source: path of the JSON it comes from, "" if there never was one.
    assigned: CTID -> Assignment.
    trouble: why the JSON as it is now cannot be used (then assigned is the last good one).
    ever: whether there is or was a good JSON.
    unread: text of the JSON that cannot be used.
    """

    source: str
    assigned: Mapping[str, Assignment]
    trouble: PhoenixError | None = None
    ever: bool = True
    unread: bytes = field(default=b"", repr=False)

    def of(self, ctid: str) -> Assignment | None:
        """The container's assignment; None: it is not managed.

        A container that no good JSON knew, but that today's broken one speaks of, has an
        assignment that nobody can read: not "not managed".
        """
        found = self.assigned.get(ctid)
        if found is None and self.trouble and b'"%s"' % ctid.encode() in self.unread:
            return Assignment("", problem=self.trouble.what)
        return found


def schema() -> Mapping[str, Any]:
    """The schema of the AppArmor part that ships with this package."""
    with open(SCHEMA_FILE, "rb") as file:
        result: Mapping[str, Any] = json.load(file)
    return result


def find_json(host: Host) -> tuple[str, os.stat_result] | None:
    """The JSON that counts, and what it looks like."""
    for source in paths.JSON_FILES:
        seen = host.stat(source)
        if seen is not None:
            return source, seen
    return None


def distrust(seen: os.stat_result) -> str:
    """Why a file with such an owner and mode must not assign profiles, "" if it may.

    Whoever can write it decides what confines root in a container.
    """
    if not stat.S_ISREG(seen.st_mode):
        return "it is no regular file"
    if seen.st_uid not in (0, os.geteuid()):
        return f"it belongs to uid {seen.st_uid}, not to root"
    if seen.st_mode & stat.S_IWOTH or (seen.st_mode & stat.S_IWGRP and seen.st_gid != 0):
        return f"others than root may write it (mode {stat.S_IMODE(seen.st_mode):04o})"
    return ""


def assignment_of(
    host: Host, ctid: str, *, wait: float = 10
) -> tuple[Assignment | None, Known | None]:
    """The container's assignment, and all that is known where that had to be found out.

    Known is None on the quick way: the copy is current and only the one line was read.
    """
    found = find_json(host)
    copy = host.read_if_there(paths.COPY) or b""
    if found and lastgood.is_current(copy, *found) and not distrust(found[1]):
        line = lastgood.line_of(copy, ctid)
        if line is None:
            return None, None
        return parse.read_line(line, lastgood.rules_of(copy, ctid)), None
    known = everyone(host, wait=wait)
    return known.of(ctid), known


def everyone(host: Host, *, save: bool = True, wait: float = 10) -> Known:
    """What all containers are assigned now; a changed JSON is validated, and remembered if save.

    Of many at once the first one validates, which costs most by far. wait: seconds that the
    others give it before each does it for itself.
    """
    try:
        with host.lock(paths.ASSIGNMENTS_LOCK, wait=wait):
            return _read_now(host, save)
    except PhoenixError:
        # No lock on a read-only or full /run: the answer is the same, only slower.
        return _read_now(host, save)


def _read_now(host: Host, save: bool) -> Known:
    copy = host.read_if_there(paths.COPY) or b""
    before = parse.read_copy(copy)
    ever = lastgood.is_copy(copy)
    old_source = parse.source_of(copy) if ever else ""
    found = find_json(host)
    if found is None:
        where = " or ".join(paths.JSON_FILES)
        return Known(
            old_source,
            before,
            PhoenixError(
                f"{old_source} is gone." if ever else f"There is no {where}.",
                hint=("Put it back" if ever else "Write one (man phoenix_lxc_configs.json)")
                + '. To manage no container, let it say {"lxc_configs": {}}.',
            ),
            ever,
        )
    source, seen = found
    if lastgood.is_current(copy, source, seen) and not distrust(seen):
        return Known(source, before)
    text = b""
    try:
        head, text = _read_json(host, source)
        today = parse.assignments(text, schema())
    except PhoenixError as error:
        return Known(
            source,
            before,
            PhoenixError(
                f"{source} cannot be used: {error.what}",
                hint=error.hint or f"Mend it; this checks it: phoenix-apparmor validate {source}",
            ),
            ever,
            text,
        )
    merged = parse.remember(today, before)
    if save:
        _save(host, parse.write_copy(head, merged), copy)
    return Known(source, merged)


def _read_json(host: Host, source: str) -> tuple[bytes, bytes]:
    """(head for the copy, text) of one state of the file."""
    for _ in range(5):
        read_ns = time.time_ns()
        seen = host.stat(source)
        if seen is None:
            raise PhoenixError("it vanished while it was read.")
        why = distrust(seen)
        if why:
            raise PhoenixError(
                f"{why}.",
                hint=f"If its content is right: chown root:root {source}; chmod go-w {source}",
            )
        try:
            text = host.read(source, parse.BIGGEST_JSON)
        except OSError as error:
            raise PhoenixError(f"it cannot be read: {error.strerror}.") from error
        head = lastgood.identity(source, seen, read_ns)
        after = host.stat(source)
        if after is not None and lastgood.identity(source, after, read_ns) == head:
            return head, text
    raise PhoenixError("it changes all the time.", hint="Write it anew and rename it into place.")


def _save(host: Host, new: bytes, old: bytes) -> None:
    if new == old:
        return
    try:
        host.make_folder(paths.STATE)
        host.replace(paths.COPY, new)
    except PhoenixError as error:
        # What was read counts all the same; without the copy the next start reads it again.
        host.journal(4, f"{error.what} {error.hint}")
