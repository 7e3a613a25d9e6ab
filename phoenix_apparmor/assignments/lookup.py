"""Who gets which profile now: the JSON on disk, or the last good copy of it.

The JSON is parsed and checked again only when it changed. Whatever makes it unusable (gone,
unreadable, not trusted, not UTF-8, broken, doubled) has one answer: the last good assignments,
and every answer says so.
"""

import json
import os
import stat
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from phoenix_apparmor import lastgood, paths
from phoenix_apparmor.assignments import parse
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.errors import PhoenixError, as_error, from_os_error
from phoenix_apparmor.host import WARNING, Host
from phoenix_apparmor.locks import Lock
from phoenix_apparmor.reader import NOT_REGULAR

SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "phoenix_lxc_configs.schema.json")


class Known(NamedTuple):
    """What is known of all containers.

    source: path of the JSON it comes from, "" if there never was one.
    assigned: CTID -> Assignment.
    trouble: why the JSON as it is now cannot be used (then assigned is the last good one).
    ever: whether there is or was a good JSON.
    unread: text of the JSON that cannot be used, b"" if there is none; None: nobody knows it.
    lost: whether there was a last good copy, which nobody can read any more.
    late: who held the lock for longer than it was waited for.
    """

    source: str
    assigned: Mapping[str, Assignment]
    trouble: PhoenixError | None = None
    ever: bool = True
    unread: bytes | None = b""
    lost: bool = False
    late: PhoenixError | None = None

    def of(self, ctid: str) -> Assignment | None:
        """The container's assignment; None: it is not managed.

        A container that no good JSON knew, but of which today's unusable one speaks or may
        speak, has an assignment that nobody can read: not "not managed".
        """
        found = self.assigned.get(ctid)
        if found is None and self.trouble and (self.lost or speaks_of(self.unread, ctid)):
            return Assignment("", problem=self.trouble.what.removesuffix("."))
        return found


class Found(NamedTuple):
    """The JSON that is used now.

    source: its path, "" if there is and was none. seen: what it looks like, None if nobody can
    see that. trouble: why it must not or cannot be used. gone: whether there is no such file.
    """

    source: str
    seen: os.stat_result | None
    trouble: PhoenixError | None = None
    gone: bool = False


def schema() -> Mapping[str, Any]:
    """The schema of the AppArmor part that ships with this package."""
    with open(SCHEMA_FILE, "rb") as file:
        result: Mapping[str, Any] = json.load(file)
    return result


def speaks_of(text: bytes | None, ctid: str) -> bool:
    r"""Whether a text that is no usable JSON may speak of a container; None: an unknown text.

    In any encoding of Unicode and with the digits escaped as well (UTF-16, "\u0039\u0035").
    """
    if text is None:
        return True
    text = text.replace(b"\0", b"")
    if b"\\u003" in text:
        for digit in b"0123456789":
            text = text.replace(b"\\u00%x" % digit, b"%c" % digit)
    wanted = ctid.encode()
    place = text.find(wanted)
    while place >= 0:
        end = place + len(wanted)
        if not text[max(0, place - 1) : place].isdigit() and not text[end : end + 1].isdigit():
            return True
        place = text.find(wanted, place + 1)
    return False


def find_json(host: Host, copy: bytes | None = None) -> Found:
    """The JSON that is used: the first one that is there.

    Where the one that the last good copy came from is gone, that is trouble: another one
    elsewhere does not take over silently. copy: its text, if the caller has it.
    """
    if copy is None:
        copy = _read_copy(host)[0]
    before = lastgood.source_of(copy)
    gone = ""
    for source in paths.JSON_FILES:
        found = _look_at(host, source)
        if found is None:
            gone = gone or (source if source == before else "")
        elif gone and not found.gone:
            what = f"{gone} is gone. {source} exists, but is not used in its place automatically."
            hint = f"Put {gone} back; or to use {source} from now on: rm {paths.COPY}"
            trouble = _unmounted(host) or PhoenixError(what, hint=hint)
            return Found(gone, None, trouble, gone=True)
        else:
            return found
    unmounted = _unmounted(host)
    if unmounted is not None:
        return Found(gone, None, unmounted, gone=True)
    empty = '. To manage no container, write {"lxc_configs": {}}.'
    if gone:
        trouble = PhoenixError(f"{gone} is gone.", hint="Put it back" + empty)
    else:
        where = " or ".join(paths.JSON_FILES)
        hint = "Write one (man phoenix_lxc_configs.json)" + empty
        trouble = PhoenixError(f"There is no {where}.", hint=hint)
    return Found(gone, None, trouble, gone=True)


def _unmounted(host: Host) -> PhoenixError | None:
    """The trouble where the JSON is not there because /etc/pve is not; a quiet start never asks."""
    from phoenix_apparmor import containers

    try:
        if not containers.is_unmounted(host):
            return None
    except OSError:
        return None
    return PhoenixError("Proxmox's /etc/pve is not mounted.", hint=containers.SEE_MOUNT)


def _look_at(host: Host, source: str) -> Found | None:
    """One of the places of the JSON; None: nothing is there."""
    try:
        seen = host.stat(source)
        if seen is None:
            if not host.exists(source):
                return None
            what = f"{source} is a link to a file that is not there."
            return Found(source, None, PhoenixError(what, hint=f"See: ls -l {source}"), gone=True)
        why = host.distrust(source)
    except OSError as error:
        return Found(source, None, from_os_error(error, f"cannot look at {source}"))
    if why:
        hint = (
            f"See what it is: ls -ld {source}"
            if why == NOT_REGULAR
            else f"If its content is right: {how_to_trust(source, why)}"
        )
        return Found(source, seen, PhoenixError(f"{source} is not used: {why}.", hint=hint))
    return Found(source, seen)


def how_to_trust(source: str, why: str) -> str:
    """The command that makes a file root's alone; why: what Host.distrust says."""
    folder, colon, _ = why.partition(", which it is in:")
    name = folder if colon else source
    return f"chown root:root {name} && chmod go-w {name}"


def assignment_of(
    host: Host, ctid: str, *, wait: float = 10
) -> tuple[Assignment | None, Known | None]:
    """The container's assignment, and all that is known where that had to be found out.

    Known is None on the quick way: the copy is current and only the one line was read.
    """
    since = time.time_ns()
    copy, _ = _read_copy(host)
    found = find_json(host, copy)
    if _is_current(copy, found, since):
        line = lastgood.line_of(copy, ctid)
        if line is None:
            return None, None
        return parse.read_line(line, lastgood.rules_of(copy, ctid)), None
    known = everyone(host, wait=wait, since=since)
    return known.of(ctid), known


def everyone(host: Host, *, save: bool = True, wait: float = 10, since: int = 0) -> Known:
    """What all containers are assigned now; a changed JSON is checked, and remembered if save.

    Of many at once the first one does that, which costs most by far: the others take what was
    read after they began (since, a time.time_ns()), also while the JSON is written again and
    again. wait: seconds that they give it before each does it for itself. Who only looks waits
    for nobody.
    """
    since = since or time.time_ns()
    if not save:
        return _read_now(host, since, save=False)
    try:
        with Lock(host, paths.ASSIGNMENTS_LOCK, wait=wait) as lock:
            late = None if lock.held else lock.late()
            return _read_now(host, since, save=True)._replace(late=late)
    except PhoenixError:
        # No lock on a read-only or full /run: the answer is the same, only slower.
        return _read_now(host, since, save=save)


def _is_current(copy: bytes, found: Found, since: int) -> bool:
    return (
        found.seen is not None
        and found.trouble is None
        and lastgood.is_current(copy, found.source, found.seen, since)
    )


def _read_copy(host: Host) -> tuple[bytes, bool]:
    """(text of the last good copy, whether there is one that cannot be used)."""
    try:
        text, seen = host.read_and_stat(paths.COPY)
    except (FileNotFoundError, NotADirectoryError):
        return b"", False
    except OSError:
        return b"", True
    if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return b"", True
    return text, not lastgood.is_copy(text)


def _read_now(host: Host, since: int, *, save: bool) -> Known:
    copy, lost = _read_copy(host)
    found = find_json(host, copy)
    before = parse.read_copy(copy)
    if _is_current(copy, found, since):
        return Known(found.source, before)
    ever = lastgood.is_copy(copy)
    text: bytes | None = b"" if found.gone else None
    trouble = found.trouble
    if found.seen is not None:
        try:
            head, text = _read_json(host, found.source)
            if trouble is None:
                merged = parse.remember(parse.assignments(text), before)
                if save:
                    _save(host, parse.write_copy(head, merged), copy)
                return Known(found.source, merged)
        except PhoenixError as error:
            trouble = trouble or PhoenixError(
                f"{found.source} is not used: {error.what}",
                hint=error.hint
                or f"Fix it, then check it: phoenix-apparmor validate {found.source}",
            )
    return Known(found.source, before, trouble, ever, text, lost)


def _read_json(host: Host, source: str) -> tuple[bytes, bytes]:
    """(head for the copy, text) of one state of the file."""
    try:
        for _ in range(5):
            read_ns = time.time_ns()
            text, seen = host.read_and_stat(source, parse.BIGGEST_JSON)
            if len(text) > parse.BIGGEST_JSON:
                # Cut: of whom the rest speaks, nobody knows.
                raise PhoenixError(parse.TOO_BIG)
            head = lastgood.identity(source, seen, read_ns)
            after = host.stat(source)
            if after is not None and lastgood.identity(source, after, read_ns) == head:
                break
        else:
            raise PhoenixError(
                "it keeps changing while it is read.",
                hint="Write a new file and rename it into place.",
            )
    except OSError as error:
        raise from_os_error(error, "it cannot be read") from error
    return head, text


def _save(host: Host, new: bytes, old: bytes) -> None:
    if new == old:
        return
    try:
        host.own_folder(paths.STATE, 0o755)
        _set_aside(host)
        host.replace(paths.COPY, new)
    except (PhoenixError, OSError) as error:
        # What was read is used all the same; without the copy the next start reads it again.
        host.journal(WARNING, " ".join(as_error(error).lines()))


def _set_aside(host: Host) -> None:
    """Whatever else than a file is in the copy's place: a rename cannot replace a folder."""
    place = host.path(paths.COPY)
    if os.path.isdir(place) and not os.path.islink(place):
        os.rename(place, f"{place}.broken.{time.time_ns()}")
