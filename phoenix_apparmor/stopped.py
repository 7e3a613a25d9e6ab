"""After a container's stop: what was made for its start is released.

A module of its own, as start.py imports what takes three times as long as the rest of this.
"""

from phoenix_apparmor import kernel, lxcconf, paths
from phoenix_apparmor.host import Host


def release(host: Host, ctid: str) -> bool:
    """After the stop (ExecStopPost): removes the container's policy namespace and the profiles
    that were made for it alone; whether there was one.

    Only with no process left: the kernel would remove a namespace under a running container as
    well, into which nobody could enter any more, and a profile, leaving it unconfined.
    """
    for group in (f"/sys/fs/cgroup/lxc/{ctid}", f"/sys/fs/cgroup/lxc.payload.{ctid}"):
        events = host.read_if_there(f"{group}/cgroup.events")
        if events is not None and b"populated 1" in events:
            return False
    removed = False
    if host.exists(paths.VARIANTS):
        from phoenix_apparmor.policy import variants

        removed = bool(variants.remove(host, ctid))
    namespace = lxcconf.namespace_of(ctid)
    if not host.exists(kernel.namespace_path(namespace)):
        return removed
    kernel.remove_namespace(host, namespace)
    return True
