"""The disk image of the VM for a suite: Debian with LXC and AppArmor, nothing that only costs time.

Entry of the cache: root.img (ext4, raw, sparse), vmlinuz, initrd.img.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import cache
from .errors import VmError
from .suites import PROXMOX_KERNEL, STOCK, SUITES, Suite

MIRROR = "http://deb.debian.org/debian"
HERE = Path(__file__).parent

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "apparmor",
    "lxc",
    "python3",
    "python3-jsonschema",
    "python3-debian",
    "perl-base",
    "busybox-static",
    "iproute2",
    "procps",
    "psmisc",
)

# What the VM has to find its disk with. Debian's own list of modules is packed for a quarter of a
# minute, and unpacked for seconds by an emulated boot.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")

# Each costs seconds of an emulated boot, or wakes up in the middle of a test.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "ldconfig.service",
    "lxc.service",
    "lxc-net.service",
    "lxc-monitord.service",
    "man-db.timer",
    "remote-fs.target",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-machine-id-commit.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
)

AGENT_UNIT = """\
[Unit]
Description=Commands from the host of this VM
After=apparmor.service dbus.service systemd-user-sessions.service
[Service]
ExecStart=/usr/bin/python3 -I /usr/local/lib/phoenix-test/agent.py
# What a command leaves running (a container) outlives the agent, as it would a login shell.
KillMode=process
Delegate=yes
OOMScoreAdjust=-900
[Install]
WantedBy=multi-user.target
"""

# A container that boots in a second: PID 1 is busybox init. lxc.signal.halt must be SIGUSR1.
INITTAB = """\
::sysinit:/bin/true
::respawn:/bin/sleep 1000000
::ctrlaltdel:/sbin/reboot
"""


def image(suite: str) -> Path:
    """The folder of the cache with the suite's image; made if it is not there (about a minute)."""
    chosen = SUITES[suite]
    if not chosen.emulated:  # the kernel is a program on this side
        return image(chosen.debian)
    if suite == PROXMOX_KERNEL:
        return _with_second_kernel(suite)
    key = cache.digest(*chosen, *_second_kernels(suite), HERE / "image.py", HERE / "agent.py")
    return cache.entry(f"image-{suite}", key, lambda folder: _make(suite, folder))


def _second_kernels(suite: str) -> tuple[str, ...]:
    """Kernels beside its own that a suite's image has, for a suite of the same release."""
    other = SUITES[PROXMOX_KERNEL]
    return (other.kernel,) if suite == other.debian else ()


def _with_second_kernel(suite: str) -> Path:
    """The image of the suite's release, booted by the second kernel that is in it."""
    release = image(SUITES[suite].debian)
    kernel = SUITES[suite].kernel

    def link(folder: Path) -> None:
        for source, name in (("root.img", "root.img"), *_names(kernel)):
            (folder / name).hardlink_to(release / source)

    return cache.entry(f"image-{suite}", cache.digest(release.name, kernel), link)


def _names(kernel: str) -> tuple[tuple[str, str], ...]:
    """(name in the image's folder of what a second kernel boots from, name of an only one)."""
    return tuple((f"{kernel}.{name}", name) for name in ("vmlinuz", "initrd.img"))


def debootstrap(debian: str, packages: Sequence[str], target: Path, *options: str) -> None:
    """A minimal Debian in the folder target, by mmdebstrap with further options."""
    command(
        "mmdebstrap",
        "--variant=minbase",
        *options,
        "--aptopt=Acquire::Languages { }; Acquire::Retries 3",
        # Nobody reads documentation in a throw-away machine, and nobody pulls its plug.
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--include={','.join(packages)}",
        debian,
        str(target),
        f"deb {MIRROR} {debian} main",
    )


def _sources(suite: Suite) -> tuple[str, ...]:
    """mmdebstrap's options for where a kernel comes from that the release does not have."""
    if not suite.backports:
        # The mirror's copy of a release in the making may be an old one.
        return () if suite.debian in STOCK else ('--aptopt=Acquire::Check-Valid-Until "false"',)
    pin = (
        "Package: src:linux src:linux-signed-amd64 src:linux-base\n"
        f"Pin: release n={suite.debian}-backports\nPin-Priority: 600\n"
    )
    return (
        _backports(suite.debian),
        f"--setup-hook=printf '{pin}' >\"$1/etc/apt/preferences.d/kernel\"",
    )


def _backports(debian: str) -> str:
    """mmdebstrap's option with which what only the backports have can be installed by its name."""
    line = f"deb {MIRROR} {debian}-backports main"
    return f"--setup-hook=echo '{line}' >\"$1/etc/apt/sources.list.d/kernel.list\""


def _boot_modules() -> str:
    """mmdebstrap's option with which initramfs-tools packs no more than BOOT_MODULES."""
    lines = "".join(f"{module}\\n" for module in BOOT_MODULES)
    return (
        '--setup-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"'
        ' && echo MODULES=list >"$1/etc/initramfs-tools/conf.d/test"'
        f" && printf '{lines}' >\"$1/etc/initramfs-tools/modules\""
    )


def filesystem(tree: Path, image_file: Path, gigabytes: int) -> None:
    """An ext4 image with the tree's contents: no journal, it is never repaired, only copied."""
    command(
        "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0",
        "-E", "lazy_itable_init=1,nodiscard", "-d", str(tree), str(image_file), f"{gigabytes}G",
    )  # fmt: skip


def command(*argv: str) -> None:
    """Run a command of the host; a failure shows its whole output."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise VmError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}")


def _make(suite: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tree.", dir=folder) as temporary:
        tree = Path(temporary) / "root"
        chosen = SUITES[suite]
        second = _second_kernels(suite)
        more = (_backports(chosen.debian),) if second else ()
        options = (*_sources(chosen), *more, _boot_modules())
        debootstrap(chosen.debian, (*PACKAGES, chosen.kernel, *second), tree, *options)
        _configure(tree)
        busybox_root(tree, tree / "srv/roots/busybox")
        busybox_root(tree, tree / "srv/roots/busybox-100000", shift=100000)
        boot = tree / "boot"
        for kernel in second:
            version = kernel.removeprefix("linux-image-")
            for target, name in _names(kernel):
                shutil.move(boot / f"{name}-{version}", folder / target)
        shutil.move(next(boot.glob("vmlinuz-*")), folder / "vmlinuz")
        shutil.move(next(boot.glob("initrd.img-*")), folder / "initrd.img")
        filesystem(tree, folder / "root.img", 16)


def _configure(tree: Path) -> None:
    units = tree / "etc/systemd/system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (units / "test-agent.service").write_text(AGENT_UNIT)
    (units / "multi-user.target.wants/test-agent.service").symlink_to("../test-agent.service")
    agent = tree / "usr/local/lib/phoenix-test/agent.py"
    agent.parent.mkdir(parents=True)
    shutil.copy(HERE / "agent.py", agent)
    (tree / "etc/hostname").write_text("node\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost node\n")
    (tree / "etc/fstab").write_text("")
    # An id that is there already spares systemd its first-boot work.
    (tree / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (tree / "etc/systemd/journald.conf.d").mkdir(exist_ok=True)
    (tree / "etc/systemd/journald.conf.d/test.conf").write_text(
        "[Journal]\nStorage=volatile\nRateLimitBurst=0\n"
    )
    (tree / "etc/subuid").write_text("root:100000:65536\n")
    (tree / "etc/subgid").write_text("root:100000:65536\n")
    # Debian 13 has a hundred profiles that only name a program and leave it unconfined: loading
    # them is a third of an emulated boot.
    for profile in (tree / "etc/apparmor.d").iterdir():
        if profile.is_file() and "flags=(unconfined)" in profile.read_text():
            profile.unlink()
    # Containers' roots are overlays; squash the module's load time into the boot.
    (tree / "etc/modules-load.d/test.conf").write_text("overlay\n")
    for name in ("var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(tree / name, ignore_errors=True)
        (tree / name).mkdir()


def busybox_root(tree: Path, target: Path, shift: int = 0) -> None:
    """A container's root of busybox alone; owners shifted for an idmap."""
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "usr/bin"):
        (target / name).mkdir(parents=True)
    for name in ("var/tmp", "var/lib", "mnt", "sys/kernel"):
        (target / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(tree / "usr/bin/busybox", target / "bin/busybox")
    listing = subprocess.run(
        [target / "bin/busybox", "--list-full"], capture_output=True, text=True, check=True
    ).stdout
    for applet in listing.split():
        link = target / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")
    (target / "etc/inittab").write_text(INITTAB)
    (target / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (target / "etc/group").write_text("root:x:0:\n")
    (target / "tmp").chmod(0o1777)
    for path in (target, *target.rglob("*")):
        os.chown(path, shift, shift, follow_symlinks=False)
