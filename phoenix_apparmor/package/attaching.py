"""The hookscript option of containers: set, removed, and remembered over a removal."""

from typing import NamedTuple

from phoenix_apparmor import ctconf, paths
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host

PCT_SECONDS = 30
LOCK_SECONDS = 10
STORAGE_CFG = "/etc/pve/storage.cfg"

# What Proxmox takes "local" for where storage.cfg does not name it (PVE::Storage::Plugin).
LOCAL_DEFAULT = ("/var/lib/vz", "backup,images,import,iso,rootdir,snippets,vztmpl")


class Storage(NamedTuple):
    """A folder-like storage of /etc/pve/storage.cfg."""

    name: str
    path: str
    content: tuple[str, ...]


def storages(text: str) -> dict[str, Storage]:
    r"""Storages that have a path, by name, of the text of storage.cfg.

    ``TYPE: NAME`` begins a section, its properties are indented lines ``KEY VALUE``
    (PVE::SectionConfig). "local" is there in any case.
    """
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.split("\n"):
        kind, colon, name = line.partition(":")
        if line[:1].strip() and not line.startswith("#") and colon and " " not in kind:
            section = found.setdefault(name.strip(), {})
        elif line[:1].isspace() and line.strip():
            key, _, value = line.strip().partition(" ")
            section[key] = value.strip()
    found.setdefault("local", {"path": LOCAL_DEFAULT[0], "content": LOCAL_DEFAULT[1]})
    return {
        name: Storage(
            name,
            section.get("path", f"/mnt/pve/{name}"),
            tuple(word.strip() for word in section.get("content", "").split(",") if word.strip()),
        )
        for name, section in found.items()
    }


def check_storage(host: Host, name: str) -> Storage:
    """The storage for the hookscript. Raises PhoenixError with the command that makes it fit."""
    known = storages((host.read_if_there(STORAGE_CFG) or b"").decode("utf-8", "replace"))
    storage = known.get(name)
    if storage is None:
        raise PhoenixError(
            f'there is no storage "{name}" in {STORAGE_CFG}.',
            hint=f"One of: {', '.join(sorted(known))}. Say --storage NAME.",
        )
    if "snippets" not in storage.content:
        content = ",".join((*storage.content, "snippets"))
        raise PhoenixError(
            f'storage "{name}" does not hold snippets, so no hookscript can be in it.',
            # pvesm set replaces the whole list, so the list as it is must be in the command
            hint=f"Add that to what it holds: pvesm set {name} --content {content}",
        )
    return storage


def snippet_of(storage: Storage) -> str:
    """Where the hookscript is in a storage."""
    return f"{storage.path}/snippets/{paths.SNIPPET}"


def attach(host: Host, ctid: str, storage: Storage, *, dry_run: bool = False) -> str:
    """Sets our hookscript on one container; says in words what was (or would be) done."""
    conf = host.read_if_there(paths.conf(ctid))
    if conf is None:
        return "is not on this node, nothing done."
    present = ctconf.conf_value(conf, b"hookscript")
    volume = f"{storage.name}:snippets/{paths.SNIPPET}"
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
    if present is None or not paths.is_our_hookscript(present):
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
        raise PhoenixError("there is no pct: this is no Proxmox host.")
    ran = host.run(["pct", "set", ctid, *options], timeout=PCT_SECONDS)
    if ran.status != 0:
        raise PhoenixError(
            f"pct could not change its hookscript: {ran.err.strip()}",
            hint=f"Try it by hand: pct set {ctid} {' '.join(options)}",
        )


def _edit_out(host: Host, ctid: str) -> None:
    """Without pct: the line goes under Proxmox' lock."""
    with host.lock(paths.conf_lock(ctid), wait=LOCK_SECONDS) as lock:
        if not lock.held:
            raise PhoenixError("its configuration is locked by another task.", hint="Try again.")
        name = paths.conf(ctid)
        old = host.read(name)
        new = ctconf.remove_conf_option(old, b"hookscript")
        if new != old:
            host.replace(name, new)
