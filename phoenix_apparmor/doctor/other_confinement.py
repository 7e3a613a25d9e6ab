"""Checks of what holds a container beside its profile: the user namespace, devices, capabilities.

What is left to root in a privileged container was measured: README, "Security measured".
"""

from collections.abc import Iterator

from phoenix_apparmor import containers, paths
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

# Into a new container: the old one stays until the new one is seen to work.
UNPRIVILEGED = (
    "vzdump {0} --mode stop ; pct restore NEW_CTID ARCHIVE --unprivileged 1 --storage STORAGE"
)
SECCOMP_KEY = "lxc.seccomp.profile"
# Clearing a list (an empty value) gives the container what LXC's common.conf takes from it.
CLEARED = {
    "lxc.cap.drop": "all capabilities, mac_admin too, with which root in it loads AppArmor policy",
    SECCOMP_KEY: "all system calls, those that load a module or another kernel too",
}
DEVICES = "lxc.cgroup2.devices.allow"


def other_locks(host: Host) -> Iterator[Finding]:
    """Privileged containers that the JSON names, and what is open in them besides."""
    managed = reading.assigned(host)
    for conf in containers.confs(host):
        if conf.ctid not in managed or conf.option("unprivileged") == "1":
            continue
        yield Finding(
            "note",
            f"CT {conf.ctid} is privileged: root in it is root of the host, and only its profile "
            "and its seccomp policy stand between.",
            f"{conf.path} has no unprivileged: 1",
            UNPRIVILEGED.format(conf.ctid),
        )
        yield from _opened(conf)


def _opened(conf: Conf) -> Iterator[Finding]:
    mend = f"take the line out of {conf.path}"
    for key, value in conf.lxc():
        if value == "" and key in CLEARED:
            what = f"CT {conf.ctid} is privileged and has {CLEARED[key]}."
            yield Finding("warning", what, f"{conf.path}: {key}: (empty)", mend)
        elif key == SECCOMP_KEY and value != paths.SECCOMP:
            yield Finding(
                "warning",
                f"CT {conf.ctid} is privileged and has a seccomp policy of its own, so ours does "
                "not stop what AppArmor is not asked about (open_tree, fsmount, bpf, swapon).",
                f"{conf.path}: {key}: {value}",
                f"{mend}, or add to that policy what {paths.SECCOMP} has",
            )
        elif key == DEVICES and value.split()[:1] == ["a"]:
            yield Finding(
                "warning",
                f"CT {conf.ctid} is privileged and may use every device, the host's disks too.",
                f"{conf.path}: {key}: {value}",
                f"{mend}, and name the devices that it needs: dev0: /dev/…",
            )
