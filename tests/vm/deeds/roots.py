"""The second disk of these tests: a release's container root with much of what people run.

As tests.vm.harness.roots has it, for one release and with more packages; at /srv/big in the VM.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.harness import cache
from tests.vm.harness import roots as plain
from tests.vm.harness.image import command, debootstrap

# Each is used once by a deed.
USED = (
    # Sandboxes, and what builds and runs containers beside Docker.
    *("buildah", "crun", "runc", "uidmap", "slirp4netns", "systemd-container"),
    *("rootlesskit", "containernetworking-plugins"),
    # File systems of users.
    *("fuse3", "fuse-overlayfs", "squashfuse", "squashfs-tools", "acl"),
    # Databases and queues.
    *("postgresql", "redis-server", "memcached", "mosquitto"),
    # Web, mail, names, time, files.
    *("nginx", "apache2", "haproxy", "dovecot-imapd", "unbound", "dnsmasq", "bind9"),
    *("bind9-dnsutils", "systemd-resolved", "chrony", "rsync"),
    # Tunnels and firewalls.
    *("openvpn", "wireguard-tools", "nftables"),
    # The system itself.
    *("openssh-server", "libpam-systemd", "dbus-user-session", "polkitd", "systemd-oomd", "cron"),
    *("python3", "curl", "catatonit"),
)
# Those of in/55-slow-services.sh, which are done when they are asked for.
SLOW = (
    *("mariadb-server", "postfix", "samba", "smbclient", "tor", "fail2ban"),
    *("rsyslog", "unattended-upgrades", "avahi-daemon", "prometheus-node-exporter"),
)
# Of what packages enable at a boot, this stays: the rest costs minutes of an emulated machine.
ENABLED = ("getty@tty1.service", "remote-fs.target", "apparmor.service", "systemd-pstore.service")


def roots(release: str, *, slow: bool = False) -> Path:
    """The image with RELEASE and RELEASE-100000; made if it is not there (minutes).

    slow: with what the slow services need too.
    """
    packages = (*plain.PACKAGES, *plain.MORE[release], *USED, *(SLOW if slow else ()))
    key = cache.digest(Path(__file__), " ".join(packages))

    def make(folder: Path) -> None:
        _make(release, packages, folder)

    return cache.entry(f"lived-{release}", key, make) / "roots.img"


def _make(release: str, packages: tuple[str, ...], folder: Path) -> None:
    def fill(tree: Path) -> None:
        debootstrap(release, packages, tree / release)
        _configure(tree / release)
        shifted = tree / f"{release}-100000"
        command("cp", "-a", str(tree / release), str(shifted))
        plain.shift(shifted, 100000)

    plain.disk(folder, fill)


def _configure(tree: Path) -> None:
    units = tree / "etc/systemd/system"
    for name in plain.MASKED:
        link = units / name
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for link in units.glob("*.wants/*"):
        if link.name not in ENABLED:
            link.unlink()
    (tree / "etc/fstab").write_text("")
    (tree / "etc/machine-id").write_text("")
    for name in ("var/lib/apt/lists", "var/cache/apt", "usr/lib/modules"):
        shutil.rmtree(tree / name, ignore_errors=True)
