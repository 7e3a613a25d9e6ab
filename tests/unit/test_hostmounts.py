"""What of the host a privileged container has where its profile does not know it."""

import pytest

from phoenix_apparmor import hostmounts
from phoenix_apparmor.containers import Conf

UNGUARDED = (
    "mp0: /sys,mp=/hostsys",
    "mp0: volume=/sys/,mp=/hostsys",
    "mp0: /proc/sys,mp=/x",
    "mp0: /,mp=/host",
    "mp0: /,mp=/host,ro=1",
    "mp0: /dev,mp=/hostdev",
    "mp0: /etc,mp=/etc",
    "mp0: /etc/apparmor.d,mp=/srv/a",
    "mp0: /etc/pve/lxc,mp=/srv/a",
    "mp0: /etc/cron.d,mp=/srv/a",
    "mp0: /etc/shadow,mp=/srv/s",
    "mp0: /etc/shadow,mp=/srv/s,ro=1",
    "mp0: /etc/modprobe.d,mp=/srv/a",
    "mp0: /etc/rc.local,mp=/srv/a",
    "mp0: /var/lib/vz,mp=/srv/vz",
    "mp0: /var/lib/vz/snippets,mp=/srv/vz",
    "mp0: /var/lib/dpkg,mp=/srv/a",
    "mp0: /var/lib/pve-cluster,mp=/srv/a",
    "mp0: /var/lib/phoenix-apparmor,mp=/srv/a",
    "mp0: /usr/libexec/phoenix-apparmor,mp=/srv/a",
    "mp0: /usr/lib/x86_64-linux-gnu,mp=/srv/a",
    "mp0: /usr/share/perl5,mp=/srv/a",
    "mp0: /lib/modules,mp=/lib/modules",
    "mp0: /boot/grub,mp=/srv/a",
    "mp0: /root/.bashrc,mp=/srv/a",
    "mp0: /run/docker.sock,mp=/run/docker.sock",
    "mp0: /run/systemd,mp=/srv/a",
    "mp0: /var/run,mp=/hostrun",
    "lxc.mount.entry: /var/run/docker.sock var/run/docker.sock none bind,create=file,optional 0 0",
    "lxc.mount.entry: /usr/lib/x86_64-linux-gnu/libcuda.so.1 usr/lib/libcuda.so.1 none bind",
    "lxc.mount.entry: /sys srv/sys none rbind,create=dir",
    "lxc.mount.entry: /sys srv/sys none rbind,ro,create=dir",
    "lxc.mount.entry: /proc srv/proc none bind 0 0",
    "lxc.mount.entry: /proc /var/lib/lxc/950/rootfs/srv/proc none bind 0 0",
    "lxc.mount.entry: //sys/./kernel srv/k none bind 0 0",
    "lxc.mount.entry: proc srv/proc proc rw,create=dir 0 0",
    "lxc.mount.entry: sysfs srv/sys sysfs defaults 0 0",
    "lxc.mount.entry: debugfs srv/debug debugfs rw 0 0",
    "lxc.mount.entry: tracefs srv/debug tracefs",
)
GUARDED = (
    "mp0: zfs:subvol-950-disk-1,mp=/proc2",
    "mp0: /tank/models,mp=/models",
    "mp0: /etcetera,mp=/e",
    "mp0: /system,mp=/s",
    "mp0: /sys/class/drm,mp=/drm,ro=1",
    "mp0: /etc/ssl/certs,mp=/etc/ssl/certs",
    "mp0: /root/models,mp=/m",
    "mp0: /root/binaries,mp=/m",
    "mp0: /var/lib/vz/dump,mp=/m",
    "mp0: /usr/local/share/models,mp=/m",
    "mp0: /usr/local/cuda,mp=/usr/local/cuda",
    "mp0: /lib/modules,mp=/lib/modules,ro=1",
    "mp0: /run/nvidia-persistenced,mp=/run/nvidia-persistenced",
    "lxc.mount.entry: /etc/localtime etc/localtime none bind",
    "lxc.mount.entry: /usr/lib/x86_64-linux-gnu/libcuda.so.1 usr/lib/libcuda.so.1 none bind,ro",
    "mp0: /var/lib/models,mp=/m",
    "#mp0: /sys,mp=/hostsys",
    "lxc.mount.entry: /sys sys none rbind",
    "lxc.mount.entry: /sys/kernel/debug sys/kernel/debug none bind,optional 0 0",
    "lxc.mount.entry: /dev/dri dev/dri none bind,optional,create=dir",
    "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,optional,create=file",
    "lxc.mount.entry: sys srv/sys none bind,relative",
    "lxc.mount.entry: tmpfs srv tmpfs rw 0 0",
    "lxc.mount.entry: proc proc proc rw 0 0",
    "lxc.mount.entry: debugfs sys/kernel/debug debugfs rw 0 0",
    "lxc.mount.entry: sysfs srv/sys sysfs ro 0 0",
    "lxc.mount.auto: proc:rw sys:rw",
    # LXC ignores a mount at a place that begins with a slash
    "lxc.mount.entry: /proc /srv/proc none bind 0 0",
)


def unguarded(line: str) -> list[hostmounts.HostMount]:
    conf = Conf("950", "/etc/pve/lxc/950.conf", line.encode())
    return hostmounts.unguarded(conf.main, conf.mount_entries)


@pytest.mark.parametrize("line", UNGUARDED)
def test_what_no_profile_guards(line: str) -> None:
    (found,) = unguarded(line)
    assert found.line.split() == line.split()


@pytest.mark.parametrize("line", GUARDED)
def test_what_one_guards_or_what_is_of_no_matter(line: str) -> None:
    assert unguarded(line) == []
