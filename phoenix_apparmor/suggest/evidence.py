"""What a container's configuration and files say about it. Pure but for collect()."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from phoenix_apparmor import (
    containers,
    init_process,
    kernel,
    labels,
    lxcdevices,
    lxcsettings,
    paths,
    pveconf,
)
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.denials import vocabulary
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
# How Proxmox names volumes that are folders (ZFS, btrfs, size=0), clones' bases too.
_IS_FOLDER = re.compile(r"[:/](sub|base)vol-")
NO_INIT, NO_ROOT = "its init is not found", "its configuration names no root"
_STORE = re.compile(r"/(docker|containerd|containers/storage)(/|$)|\A/var/lib/containers/?\Z")


@dataclass(frozen=True)
class Evidence:
    """What was seen of one container.

    gpu: the lines that give it a GPU. inside: runtimes of containers that it has, and where
    that was seen. unseen: why its files could not be seen, "" if they were. network_mounts: types
    that its fstab or its mounts name. under: what it runs under now, or would if it were started.
    """

    conf: Conf
    proxmox: bool
    running: bool | None
    under: str
    gpu: tuple[str, ...]
    inside: tuple[str, ...]
    unseen: str
    network_mounts: tuple[str, ...] = ()

    @property
    def unprivileged(self) -> bool:
        """Whether it has a user namespace."""
        return self.conf.is_unprivileged

    def has_feature(self, name: str) -> bool:
        """Whether a boolean feature of Proxmox is on."""
        return pveconf.has_feature(self.conf.features, name)

    def can_mount(self, fstype: str) -> bool:
        """Whether the kernel lets its root mount a type, whatever AppArmor allows."""
        return not (self.unprivileged and vocabulary.is_host_only(fstype))

    @property
    def allow_nesting(self) -> bool:
        """Whether LXC's own key for nesting is set."""
        last = lxcsettings.last(self.conf.settings, "lxc.apparmor.allow_nesting")
        return last is not None and last.value == "1"


def collect(host: Host, ctid: str, running: frozenset[str] | None) -> Evidence:
    """Everything that is seen of a container of this node."""
    proxmox = host.exists(paths.CONF_FOLDER)
    path = paths.conf(ctid) if proxmox else paths.runtime(ctid)
    conf = containers.with_files(host, Conf(ctid, path, host.read(path)))
    runs = None if running is None else ctid in running
    pid = _pid(host, ctid) if runs else None
    label = kernel.label_of(host, pid) if pid is not None else None
    inside, unseen, types = _look_inside(host, conf, pid, proxmox=proxmox)
    if label is not None:
        under = labels.short(label, ctid)
    else:
        under = conf.used_profile or (labels.GENERATED if proxmox else labels.LXC_DEFAULT)
    return Evidence(
        conf,
        proxmox,
        runs,
        under,
        tuple(gpu_lines(conf)),
        tuple(inside),
        unseen,
        tuple(types),
    )


def gpu_lines(conf: Conf) -> Iterator[str]:
    """Lines of a configuration, and of what it brings in, that give the container a GPU."""
    for key, value in pveconf.options(conf.main).items():
        if re.fullmatch(r"dev\d+", key) and _GPU.search(value):
            yield f"{key}: {value}"
    lacking = lxcsettings.without_place(conf.settings)
    for entry in conf.mount_entries:
        if _GPU.search(entry.source) and entry not in lacking:
            yield entry.setting.said
    device_lines = dict(lxcdevices.named(conf.settings))
    for setting in conf.settings:
        line = device_lines.get(setting)
        if (
            (line is not None and _is_of_gpu(line))
            or (setting.key.startswith("lxc.hook.") and "nvidia" in setting.value)
            or (setting.key == "lxc.environment" and "NVIDIA_" in setting.value)
        ):
            yield setting.said


def _is_of_gpu(line: lxcdevices.Line) -> bool:
    # Linux' devices.txt: 195 is NVIDIA's, 226 is DRM's
    return bool(_GPU.match(line.node)) or (line.kind == "c" and line.major in (195, 226))


def _pid(host: Host, ctid: str) -> int | None:
    try:
        return init_process.init_pid(host, ctid)
    except PhoenixError:
        return None


def _look_inside(
    host: Host, conf: Conf, pid: int | None, *, proxmox: bool
) -> tuple[list[str], str, list[str]]:
    """(runtimes seen inside, why its files cannot be seen, types of network mounts)."""
    mounted = pveconf.mounted(conf.main, conf.mount_entries)
    stores = ((key, path) for key, path in mounted if _STORE.search(path))
    found = [f"{path} is a mount point of it ({key})" for key, path in stores][:1]
    types: set[str] = set()
    if pid is not None:
        for target, fstype in _mounts(host, pid):
            types |= {fstype} & set(NETWORK_TYPES)
            if _STORE.search(target) and not found:
                found.append(f"{target} is mounted in it")
        folder = Folder(f"/proc/{pid}/root")
    else:
        folder = _folder(host, conf, proxmox=proxmox)
    unseen = folder.unseen
    if not unseen:
        try:
            with Root(host.path(folder.path)) as root:
                unseen = "" if root.first(SYSTEM) else folder.without_system
                found += _runtimes(root)
                types |= set(_fstab(root.text("etc/fstab") or ""))
        except OSError as error:
            unseen = folder.refused(error)
    return found, unseen, sorted(types)


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


class Folder(NamedTuple):
    """Where a container's files are now. unseen: why they are nowhere, "" if they are there."""

    path: str
    unseen: str = ""

    @property
    def without_system(self) -> str:
        """That no system is in it."""
        return f"{self.path} has no system in it: nothing is mounted there"

    def refused(self, error: OSError) -> str:
        """That it cannot be looked into."""
        return f"{self.path} cannot be opened: {error.strerror}"


def root_folder(host: Host, conf: Conf) -> Folder:
    """Where a container's files are now, if they can be seen."""
    running = containers.running(host) or frozenset()
    if conf.ctid in running:
        pid = _pid(host, conf.ctid)
        return Folder(f"/proc/{pid}/root" if pid is not None else "", "" if pid else NO_INIT)
    return _folder(host, conf, proxmox=containers.is_proxmox(host))


def _folder(host: Host, conf: Conf, *, proxmox: bool) -> Folder:
    """The folder that is the root of a container at rest."""
    if not proxmox:
        root = lxcsettings.last(conf.settings, "lxc.rootfs.path")
        path = root.value.removeprefix("dir:") if root is not None else ""
        return Folder(path, "" if path.startswith("/") else NO_ROOT)
    volume = (conf.option("rootfs") or "").partition(",")[0]
    found = Folder(volume) if volume.startswith("/") else _of_volume(host, volume)
    if found.unseen or os.path.isdir(host.path(found.path)):
        return found
    if _IS_FOLDER.search(volume):
        return Folder("", f"{found.path} is not there: {volume} is not mounted")
    return Folder("", "its root is an image, which is mounted only while it runs")


def _of_volume(host: Host, volume: str) -> Folder:
    """What Proxmox says is the path of a volume."""
    if ":" not in volume:
        return Folder("", NO_ROOT)
    if not host.has_program("pvesm"):
        return Folder("", f"there is no pvesm to say where {volume} is")
    try:
        ran = host.run(["pvesm", "path", volume], timeout=PVESM_SECONDS)
    except PhoenixError as error:
        return Folder("", f"pvesm path {volume} fails: {error.what}")
    path = ran.out.decode("utf-8", "surrogateescape").strip()
    if ran.status == 0 and path.startswith("/"):
        return Folder(path)
    said = ran.err.strip().splitlines()
    return Folder("", f"pvesm path {volume} fails" + (f": {said[-1]}" if said else ""))


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
