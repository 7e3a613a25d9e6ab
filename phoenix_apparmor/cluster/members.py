"""Which nodes the cluster has, which is this one, and which corosync sees: /etc/pve/.members."""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from phoenix_apparmor import paths
from phoenix_apparmor.errors import PhoenixError, from_os_error
from phoenix_apparmor.host import Host

MEMBERS = paths.MEMBERS
COROSYNC = "/etc/pve/corosync.conf"
BIGGEST = 1 << 20


class Members(NamedTuple):
    """The cluster as pmxcfs knows it.

    me: this node's name. quorate: whether /etc/pve can be written, None if unknown.
    online: node -> whether corosync sees it; None: nobody says (corosync does not run).
    left: nodes that the cluster does not have any more, though their folder is still there
    (pvecm delnode leaves it).
    is_mounted: whether pmxcfs said this.
    """

    me: str
    quorate: bool | None
    online: Mapping[str, bool | None]
    left: frozenset[str] = frozenset()
    is_mounted: bool = True

    @property
    def others(self) -> list[str]:
        """All nodes but this one, by name."""
        return sorted(self.online.keys() - {self.me})


def read(host: Host) -> Members | None:
    """None: no pmxcfs is mounted on /etc/pve. Raises PhoenixError where nobody can tell.

    pmxcfs (status.c, cfs_create_memberlist_msg) makes the text up at each read, so it is there
    just as long as /etc/pve is more than an empty folder of the root file system.
    """
    try:
        said = json.loads(host.read(MEMBERS, BIGGEST))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        raise from_os_error(error, f"cannot read {MEMBERS}") from error
    if not isinstance(said, dict) or not isinstance(said.get("nodename"), str):
        return None
    me = said["nodename"]
    if not paths.is_node(me):
        return None
    listed = {
        name: bool(_dict(node).get("online"))
        for name, node in _dict(said.get("nodelist")).items()
        if paths.is_node(name)
    }
    folders = frozenset(_folders(host)) - {me}
    # A host that is in no cluster has nobody to ask, and /etc/pve can be written.
    alone = "cluster" not in said and not listed and not host.exists(COROSYNC)
    left = folders - listed.keys() if listed or alone else frozenset()
    online: dict[str, bool | None] = dict.fromkeys(folders - left, None)
    online |= {**listed, me: True}
    told = 1 if alone else _dict(said.get("cluster")).get("quorate")
    return Members(me, bool(told) if isinstance(told, int) else None, online, left)


def this_host(host: Host) -> Members:
    """The same; where there is no pmxcfs, the nodes that have a folder in /etc/pve."""
    found = read(host)
    if found is not None:
        return found
    online: dict[str, bool | None] = dict.fromkeys(_folders(host), None)
    lxc = os.path.realpath(host.path(paths.CONF_FOLDER))
    folder = os.path.realpath(host.path(paths.NODES)) + "/"
    me = lxc.removeprefix(folder).removesuffix("/lxc") if lxc.startswith(folder) else ""
    if not paths.is_node(me):
        me = os.uname().nodename.partition(".")[0]
    online[me] = True
    return Members(me, None, online, is_mounted=False)


def need(host: Host) -> Members:
    """As read. Raises PhoenixError where there is no pmxcfs."""
    found = read(host)
    if found is None:
        raise PhoenixError(
            f"there is no {MEMBERS}: Proxmox's /etc/pve is not mounted.",
            hint="On a Proxmox host, see: systemctl status pve-cluster",
        )
    return found


def _folders(host: Host) -> list[str]:
    return [name for name in host.names(paths.NODES) if paths.is_node(name)]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
