"""The hookscript option of containers: set, removed, and remembered over a removal."""

import os
import re
import shlex
from typing import NamedTuple

from phoenix_apparmor import ctconf, paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.locks import Lock

PCT_SECONDS = 30
LOCK_SECONDS = 10
STORAGE_CFG = "/etc/pve/storage.cfg"

PVESM_SECONDS = 30

# PVE::Storage::Plugin: "local" is this folder whatever storage.cfg says of its path.
LOCAL_PATH = "/var/lib/vz"
# Types that hold files in a folder, mounted at /mnt/pve/NAME where no path is given.
PATH_TYPES = ("dir", "btrfs", "nfs", "cifs", "cephfs", "glusterfs")
_HEADER = re.compile(r"(\S+):\s*(\S+)\s*")
_PROPERTY = re.compile(r"\s+(\S+)(?:\s+(.*?))?\s*")


class Storage(NamedTuple):
    """A storage that can hold the hookscript. snippet: where the hookscript is in it."""

    name: str
    snippet: str


def volume_of(name: str) -> str:
    """The volume of our hookscript in a storage, as .conf names it."""
    return f"{name}:snippets/{paths.SNIPPET}"


def storages(text: str) -> dict[str, str]:
    r"""Storages with a folder -> that of their snippets, of the text of storage.cfg.

    ``TYPE: NAME`` begins a section, a blank line ends it, its properties are indented lines
    ``KEY VALUE`` with blanks or tabs between (PVE::SectionConfig). "local" is there in any case.
    Which content a storage is for plays no part: Proxmox does not ask for that when it runs a
    hookscript.
    """
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] | None = None
    for line in text.split("\n"):
        header = _HEADER.fullmatch(line)
        prop = _PROPERTY.fullmatch(line)
        if header and not line.startswith("#"):
            section = found.setdefault(header[2], {"": header[1]})
        elif not line.strip():
            section = None
        elif prop and section is not None:
            section[prop[1]] = prop[2] or ""
    found.setdefault("local", {"": "dir"})["path"] = LOCAL_PATH
    return {
        name: f"{section.get('path') or f'/mnt/pve/{name}'}/{_snippets(section)}"
        for name, section in found.items()
        if section[""] in PATH_TYPES
    }


def _snippets(section: dict[str, str]) -> str:
    """The folder of snippets in a storage (content-dirs moves it)."""
    for pair in section.get("content-dirs", "").split(","):
        kind, _, folder = pair.strip().partition("=")
        if kind == "snippets" and folder:
            return folder.strip("/")
    return "snippets"


def check_storage(host: Host, name: str) -> Storage:
    """Where the hookscript is in a storage: Proxmox itself is asked, where it is there.

    Raises PhoenixError where there is no such storage, or it cannot hold a hookscript.
    """
    return Storage(name, snippet(host, volume_of(name)))


def snippet(host: Host, volume: str) -> str:
    """Where a snippet (STORAGE:snippets/NAME) is, as check_storage."""
    name, _, file = volume.partition(":")
    if host.has_program("pvesm"):
        ran = host.run(["pvesm", "path", volume], timeout=PVESM_SECONDS)
        path = ran.out.decode("utf-8", "surrogateescape").strip()
        if ran.status == 0 and path.startswith("/"):
            return path
        raise PhoenixError(
            f'storage "{name}" cannot hold the hookscript: {ran.err.strip() or path}',
            hint="Name one that is a folder: --storage NAME. To list them: pvesm status",
        )
    known = storages((host.read_if_there(STORAGE_CFG) or b"").decode("utf-8", "replace"))
    if name not in known:
        raise PhoenixError(
            f'there is no storage "{name}" with a folder in {STORAGE_CFG}.',
            hint=f"Use --storage NAME with one of: {', '.join(sorted(known))}.",
        )
    return f"{known[name]}/{file.removeprefix('snippets/')}"


def snippet_of(storage: Storage) -> str:
    """Where the hookscript is in a storage."""
    return storage.snippet


def link_command(storage: Storage) -> str:
    """A shell line that puts the hookscript there."""
    folder, link = (shlex.quote(p) for p in (os.path.dirname(storage.snippet), storage.snippet))
    return f"mkdir -p {folder} && ln -sfn {paths.HOOKSCRIPT} {link}"


def attach(host: Host, ctid: str, storage: Storage, *, dry_run: bool = False) -> str:
    """Sets our hookscript on one container; says in words what was (or would be) done."""
    conf = host.read_if_there(paths.conf(ctid))
    if conf is None:
        return "is not on this node, nothing done."
    present = ctconf.conf_value(conf, b"hookscript")
    volume = volume_of(storage.name)
    if present == volume:
        return "has our hookscript already."
    if present and not paths.is_our_hookscript(present):
        return (
            f"keeps its own hookscript {present}; the drop-in of pve-container@{ctid} "
            "guards its starts."
        )
    if dry_run:
        return f"would set hookscript: {volume}"
    _pct(host, ctid, ["--hookscript", volume])
    return f"hookscript set: {volume}"


def detach(host: Host, ctid: str, *, dry_run: bool = False) -> str:
    """Removes our hookscript from one container; "" if it was not there."""
    conf = host.read_if_there(paths.conf(ctid))
    present = None if conf is None else ctconf.conf_value(conf, b"hookscript")
    if not paths.is_our_hookscript(present):
        return ""
    if dry_run:
        return f"would remove hookscript: {present}"
    if host.has_program("pct"):
        _pct(host, ctid, ["--delete", "hookscript"])
    else:
        _edit_out(host, ctid)
    return f"hookscript removed: {present}"


def _pct(host: Host, ctid: str, options: list[str]) -> None:
    if not host.has_program("pct"):
        raise PhoenixError("there is no pct: this is not a Proxmox host.")
    ran = host.run(["pct", "set", ctid, *options], timeout=PCT_SECONDS)
    if ran.status != 0:
        said = ran.err.strip()
        raise PhoenixError(f"pct could not change its hookscript: {said}", hint=_why(ctid, said))


def _why(ctid: str, said: str) -> str:
    """What helps against a refusal of pct."""
    if "CT is locked" in said:
        return (
            "A task (backup, snapshot, migration) has it; try again when that has ended. If none "
            f"runs, the lock was left behind: pct unlock {ctid}"
        )
    if "quorum" in said or "Permission denied" in said:
        return "The cluster has no quorum, so nothing can be changed. See: pvecm status"
    if "got timeout" in said:
        return f"Another task has its lock. Which one: fuser -v {paths.conf_lock(ctid)}"
    return f"See what its configuration is: pct config {ctid}"


def _edit_out(host: Host, ctid: str) -> None:
    """Without pct: the line goes under Proxmox's lock."""
    with Lock(host, paths.conf_lock(ctid), wait=LOCK_SECONDS) as lock:
        if not lock.held:
            what = "its configuration is locked by another task."
            raise PhoenixError(what, hint=f"Try again. {lock.late().hint}")
        name = paths.conf(ctid)
        old = host.read(name)
        new = ctconf.remove_conf_option(old, b"hookscript")
        if new != old:
            host.replace(name, new)
