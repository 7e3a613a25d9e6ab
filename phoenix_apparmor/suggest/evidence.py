"""What a container's configuration and files say about it. Pure but for collect()."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from phoenix_apparmor import containers, ctconf, kernel, labels, paths, pveconf, start
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.suggest.rootfs import Root

PVESM_SECONDS = 20

# Programs and stores of what runs containers inside a container, without the leading slash.
RUNTIMES: dict[str, tuple[str, ...]] = {
    "Docker": (
        "usr/bin/dockerd", "usr/sbin/dockerd", "usr/local/bin/dockerd", "var/lib/docker",
        "snap/bin/docker", "var/snap/docker", "opt/bin/dockerd", "etc/docker/daemon.json",
    ),
    "podman": ("usr/bin/podman", "usr/local/bin/podman", "var/lib/containers/storage"),
    "containerd": (
        "usr/bin/containerd", "usr/local/bin/containerd", "var/lib/containerd", "usr/local/bin/k3s",
        "usr/bin/nerdctl", "usr/local/bin/nerdctl", "usr/bin/buildkitd", "usr/local/bin/buildkitd",
    ),
}  # fmt: skip
# A root without any of these is not a system's: a file system that is not mounted.
SYSTEM = ("usr", "bin", "etc")
NETWORK_TYPES = ("nfs", "nfs4", "cifs", "smb3")

_GPU = re.compile(r"/dev/(nvidia[\w/-]*|dri(/\w+)?|kfd)")
_STORE = re.compile(r"/(docker|containerd|containers/storage)(/|$)")


@dataclass(frozen=True)
class Evidence:
    """What was seen of one container.

    gpu: the lines that give it a GPU. inside: runtimes of containers that it has, and where
    that was seen. looked: whether its files could be seen. network_mounts: types that its
    fstab or its mounts name. under: what it runs under now, or would if it were started.
    """

    conf: Conf
    proxmox: bool
    running: bool | None
    under: str
    gpu: tuple[str, ...]
    inside: tuple[str, ...]
    looked: bool
    network_mounts: tuple[str, ...] = ()

    @property
    def unprivileged(self) -> bool:
        """Whether it has a user namespace."""
        return self.conf.is_unprivileged

    def has_feature(self, name: str) -> bool:
        """Whether a boolean feature of Proxmox is on."""
        return pveconf.has_feature(self.conf.features, name)

    @property
    def allow_nesting(self) -> bool:
        """Whether LXC's own key for nesting is set."""
        return ("lxc.apparmor.allow_nesting", "1") in list(self.conf.lxc())


def collect(host: Host, ctid: str, running: frozenset[str] | None) -> Evidence:
    """Everything that is seen of a container of this node."""
    proxmox = host.exists(paths.CONF_FOLDER)
    path = paths.conf(ctid) if proxmox else paths.runtime(ctid)
    conf = Conf(ctid, path, host.read(path))
    runs = None if running is None else ctid in running
    pid = _pid(host, ctid) if runs else None
    label = kernel.label_of(host, pid) if pid is not None else None
    inside, looked, types = _look_inside(host, conf, pid, proxmox=proxmox)
    if label is not None:
        under = labels.short(label, ctid)
    else:
        under = conf.profile or (labels.GENERATED if proxmox else labels.LXC_DEFAULT)
    return Evidence(
        conf, proxmox, runs, under, tuple(gpu_lines(conf)), tuple(inside), looked, tuple(types)
    )


def gpu_lines(conf: Conf) -> Iterator[str]:
    """Lines of a configuration that give the container a GPU."""
    for raw in conf.main:
        line = ctconf.as_text(raw.strip(ctconf.BLANK))
        key = re.split(r"[\s:=]", line, maxsplit=1)[0]
        numbers = re.search(r"[:=]\s*[bc]?\s*(\d+):", line) if "devices.allow" in key else None
        if (
            (re.fullmatch(r"dev\d+", key) and _GPU.search(line))
            or (key == "lxc.mount.entry" and _GPU.search(line))
            # Linux' devices.txt: 195 is NVIDIA's, 226 is DRM's
            or (numbers and numbers[1] in ("195", "226"))
            or (key.startswith("lxc.hook.") and "nvidia" in line)
            or (key == "lxc.environment" and "NVIDIA_" in line)
        ):
            yield line


def _pid(host: Host, ctid: str) -> int | None:
    try:
        return start.init_pid(host, ctid)
    except PhoenixError:
        return None


def _look_inside(
    host: Host, conf: Conf, pid: int | None, *, proxmox: bool
) -> tuple[list[str], bool, list[str]]:
    """(runtimes seen inside, whether its files could be seen, types of network mounts)."""
    found: list[str] = []
    types: set[str] = set()
    if pid is not None:
        for target, fstype in _mounts(host, pid):
            types |= {fstype} & set(NETWORK_TYPES)
            if _STORE.search(target) and not found:
                found.append(f"{target} is mounted in it")
    folder = f"/proc/{pid}/root" if pid is not None else _folder(host, conf, proxmox=proxmox)
    looked = False
    if folder is not None:
        try:
            with Root(host.path(folder)) as root:
                looked = bool(root.first(SYSTEM))
                found += _runtimes(root)
                types |= set(_fstab(root.text("etc/fstab") or ""))
        except OSError:
            looked = False
    return found, looked, sorted(types)


def _runtimes(root: Root) -> Iterator[str]:
    for name, places in RUNTIMES.items():
        place = root.first(places)
        if place:
            yield f"{name} (/{place})"


def _fstab(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        words = line.split()
        if len(words) >= 3 and not words[0].startswith("#") and words[2] in NETWORK_TYPES:
            yield words[2]


def _mounts(host: Host, pid: int) -> Iterator[tuple[str, str]]:
    """(target, type) of what is mounted in a running container, as the kernel lists it."""
    try:
        text = host.read(f"/proc/{pid}/mounts", 4 << 20).decode("utf-8", "replace")
    except OSError:
        return
    for line in text.split("\n"):
        words = line.split(" ")
        if len(words) > 2:
            yield words[1], words[2]


def root_folder(host: Host, conf: Conf) -> str | None:
    """Where a container's files are now; None: an image that is not mounted."""
    running = containers.running(host) or frozenset()
    if conf.ctid in running:
        pid = _pid(host, conf.ctid)
        return f"/proc/{pid}/root" if pid is not None else None
    return _folder(host, conf, proxmox=containers.is_proxmox(host))


def _folder(host: Host, conf: Conf, *, proxmox: bool) -> str | None:
    """The folder that is the root of a container at rest; None: an image, or not mounted."""
    if not proxmox:
        for key, value in conf.lxc():
            if key == "lxc.rootfs.path":
                path = value.removeprefix("dir:")
                return path if path.startswith("/") else None
        return None
    volume = (conf.option("rootfs") or "").partition(",")[0]
    if volume.startswith("/"):
        path = volume
    elif ":" in volume and host.has_program("pvesm"):
        try:
            ran = host.run(["pvesm", "path", volume], timeout=PVESM_SECONDS)
        except PhoenixError:
            return None
        path = ran.out.decode("utf-8", "surrogateescape").strip() if ran.status == 0 else ""
    else:
        return None
    return path if path.startswith("/") and os.path.isdir(host.path(path)) else None


def chosen(host: Host, ctids: tuple[str, ...], managed: frozenset[str]) -> list[str]:
    """The containers of this node that are meant: those named, or all that the JSON lacks."""
    here = containers.here(host)
    for ctid in ctids:
        containers.check_ctid(ctid)
        if ctid not in here:
            raise PhoenixError(
                "there is no such container on this node.",
                hint="See where it is: pct list; ls /etc/pve/nodes/*/lxc",
                ctid=ctid,
            )
    return [c for c in here if (c in ctids if ctids else c not in managed)]
