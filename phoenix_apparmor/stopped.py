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
    namespace = lxcconf.namespace_of(ctid)
    has_namespace = host.exists(kernel.namespace_path(namespace))
    has_variants = host.exists(paths.VARIANTS)
    if (has_namespace or has_variants) and _is_any_left(host, ctid):
        return False
    removed = False
    if has_variants:
        from phoenix_apparmor.policy import variants

        removed = bool(variants.remove(host, ctid))
    if not has_namespace:
        return removed
    kernel.remove_namespace(host, namespace)
    return True


def _is_any_left(host: Host, ctid: str) -> bool:
    """Whether a process is in the container's policy namespace, or under a profile made for it.

    Its cgroup may be elsewhere (lxc.cgroup.dir, cgroup v1), and the stop be that of a start that
    failed as the container ran already. The root of another container names the profiles in its
    namespace as it likes: what stands before a namespace is the host's, and behind that nothing.
    """
    namespace, variant = f"{lxcconf.namespace_of(ctid)}:".encode(), f".{ctid}".encode()
    for pid in host.names("/proc"):
        if not pid.isdigit():
            continue
        try:
            label = host.read(f"/proc/{pid}/attr/current")
        except OSError:
            continue  # it has ended
        hosts, inside, rest = (b"//&" + label).partition(b"//&:")
        if inside and rest.startswith(namespace):
            return True
        hosts = hosts if inside else hosts.rpartition(b" (")[0]
        if any(name.endswith(variant) or variant + b"." in name for name in hosts.split(b"//&")):
            return True
    return False
