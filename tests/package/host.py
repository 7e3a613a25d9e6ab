"""What the lifecycle tests ask of a system, and what they put there."""

from tests.package.chroots import Chroot

STATES = """
from phoenix_apparmor.policy import conffiles
from phoenix_apparmor.host import Host
for c in conffiles.of_package(Host()):
    print(c.path, c.state, c.waiting)
"""

# Of pct, as much as is needed: it changes the .conf that Proxmox would change.
PCT = """#!/bin/sh -eu
[ ! -e /run/pct-fails ] || { echo "can't lock file - got timeout" >&2; exit 255; }
conf=/etc/pve/lxc/$2.conf
sed -i '/^hookscript:/d' "$conf"
[ "$3" = --delete ] || sed -i "1i hookscript: $4" "$conf"
"""
OUR_HOOK = "hookscript: local:snippets/phoenix-apparmor.py"


def dpkg(chroot: Chroot, *arguments: str, check: bool = True, stdin: str = "") -> tuple[int, str]:
    """dpkg with an answer to its question on stdin, or with none; (exit status, output)."""
    return chroot.run("dpkg", *arguments, check=check, stdin=stdin)


def state(chroot: Chroot) -> str:
    """dpkg's short state of the package: "ii 1.0.0", "iU 2.0.0", "rc 1.0.0"; "" if unknown."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "phoenix-apparmor"]
    ran = chroot.run(*query, check=False)
    return ran.out if ran.status == 0 else ""


def conffiles(chroot: Chroot) -> dict[str, str]:
    """Conffiles that are not pristine: path -> "STATE WAITING"."""
    ran = chroot.run("python3", "-I", "-c", STATES)
    lines = [line.split(" ", 1) for line in ran.out.splitlines()]
    assert lines, "dpkg knows no conffiles"
    return {path: rest.strip() for path, rest in lines if rest.strip() != "pristine"}


def assert_settled(chroot: Chroot, version: str) -> None:
    """Installed and configured, and dpkg has nothing to complain of."""
    assert state(chroot) == f"ii {version}"
    assert chroot.run("dpkg", "--audit").out == ""


def make_proxmox(chroot: Chroot, confs: dict[str, str]) -> None:
    """Folders and a pct as on a Proxmox host, with containers (CTID -> text of its .conf)."""
    chroot.write("/usr/sbin/pct", PCT)
    chroot.run("chmod +x /usr/sbin/pct; mkdir -p /var/lib/vz/snippets")
    for ctid, text in confs.items():
        chroot.write(f"/etc/pve/lxc/{ctid}.conf", text)
