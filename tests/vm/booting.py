"""Containers with systemd, made quick to boot, and what they say once they are up."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.vm.containers import create, init, pct
from tests.vm.harness.machine import Machine

# The two mounts fail in every unprivileged container, also in an unconfined one: the kernel mounts
# debugfs and configfs in no user namespace. Proxmox masks them in its templates. (In a privileged
# container systemd does not try.) The others cost an emulated machine a minute and show nothing.
MASKED = (
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "console-getty.service",
    "getty-static.service",
    "ldconfig.service",
    "systemd-journal-catalog-update.service",
)
PREPARE = """\
upper=/var/lib/standin/{ctid}/upper docker=/var/lib/test-docker/{ctid}
mkdir -p "$upper/etc/systemd/system" "$upper/etc/systemd/journald.conf.d" "$upper/var"
mkdir -p "$docker"/{{docker,elsewhere,containers,containerd}}
for unit in {masked}; do ln -sfn /dev/null "$upper/etc/systemd/system/$unit"; done
# Not a first boot, and nothing to update: those are minutes of an emulated machine.
echo 0123456789abcdef0123456789{ctid:06} >"$upper/etc/machine-id"
touch "$upper/etc/.updated" "$upper/var/.updated"
printf '[Journal]\\nStorage=volatile\\n' >"$upper/etc/systemd/journald.conf.d/test.conf"
chown -hR {owner}:{owner} "/var/lib/standin/{ctid}" "$docker"
"""
# The container's own systemd, asked when its bus is there.
WAIT = """\
for _ in $(seq 600); do
    [ -S /proc/{pid}/root/run/dbus/system_bus_socket ] && break
    sleep 0.3
done
timeout 300 lxc-attach -n {ctid} -- systemctl is-system-running --wait || true
lxc-attach -n {ctid} -- systemctl --failed --no-legend --plain
"""
BOOT = 600.0


@dataclass(frozen=True)
class Boot:
    """How a boot ended: systemd's word, the failed units, and AppArmor's denials meanwhile."""

    state: str
    failed: str
    denials: str


# Where overlay file systems may be: a container's root is one here, and none on a Proxmox host.
STORES = {
    "docker": "var/lib/docker",
    "elsewhere": "data/docker",
    "containers": "var/lib/containers",
    "containerd": "var/lib/containerd",
}


def make(vm: Machine, ctid: int, root: str, *, unprivileged: bool, more: str = "") -> None:
    """A stopped container with a Debian root, and folders that overlay2 can use (STORES)."""
    owner = 100000 if unprivileged else 0
    vm.sh(PREPARE.format(ctid=ctid, owner=owner, masked=" ".join(MASKED)))
    mounts = "".join(
        f"lxc.mount.entry: /var/lib/test-docker/{ctid}/{name} {path} none bind,create=dir 0 0\n"
        for name, path in STORES.items()
    )
    create(vm, ctid, root=root, unprivileged=unprivileged, more=mounts + more)


def boot(vm: Machine, ctid: int) -> Boot:
    """Starts the container and waits until systemd has come to an end, good or bad."""
    since = vm.sh("date +%s").stdout.strip()
    pct(vm, "start", ctid)
    said = vm.sh(WAIT.format(ctid=ctid, pid=init(vm, ctid)), timeout=BOOT, check=False)
    state, _, failed = said.stdout.partition("\n")
    return Boot(state.strip() or said.stderr, failed.strip(), denials(vm, since))


def denials(vm: Machine, since: str) -> str:
    """AppArmor's denials in the kernel log since a time (seconds since 1970).

    But for one of Linux 6.1's own: it refuses every confined process to lock a socket (Debian bug
    1050256); systemd's PrivateNetwork= does, and goes on without.
    """
    time.sleep(0.5)
    script = f"journalctl -k --no-pager -o cat --since @{since} | grep -a 'apparmor=\"DENIED\"'"
    found = vm.sh(script, check=False).stdout.splitlines(keepends=True)
    kernels_own = ('operation="file_lock"', 'family="unix"')
    return "".join(line for line in found if not all(word in line for word in kernels_own))


def inside(vm: Machine, ctid: int, script: str, timeout: float = 120.0) -> str:
    """What a script prints (both streams) as root in the container; a failure is in the text.

    lxc-attach sets container=lxc also with --clear-env; containerd then takes AppArmor for absent,
    which it does not as a service.
    """
    argv = ("lxc-attach", "-n", str(ctid), "--clear-env", "--", "bash", "-c")
    return vm.run(*argv, f"unset container; {script}", timeout=timeout, check=False).output


def destroy(vm: Machine, ctid: int) -> None:
    """Stops the container at once and forgets what it wrote."""
    script = f"lxc-stop -k -n {ctid}; rm -rf /var/lib/standin/{ctid} /var/lib/test-docker/{ctid}"
    vm.sh(script, check=False)
