"""What does not work under our profiles, and why: by design, or not yet.

The README shows this in short form. A deed here that works after all fails the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from . import program


class Reason(NamedTuple):
    """Why a deed fails in the columns whose key begins so ("" for all: u-base, p-docker, ...)."""

    deeds: tuple[str, ...]
    columns: str
    why: str


# All that runs containers of other tools.
ENGINES = tuple(program.names(("80-containers.sh", "85-slow-containers.sh", "90-nvidia.sh")))

KNOWN = (
    Reason(
        ("chroot_with_proc", "chroot_with_bound_proc"),
        "p-",
        "a /proc or /sys at another path is out of reach of the denies by path",
    ),
    Reason(
        ("root_directory_api", "portable_service", "nspawn"),
        "",
        "the same, which systemd mounts there itself",
    ),
    Reason(
        ("podman_rootfs",),
        "u-docker",
        "the same, which podman mounts there (a folder below /var/lib/containers works)",
    ),
    Reason(("podman_rootfs",), "p-docker", "the same"),
    Reason(("docker_privileged_proc",), "u-docker", "the same"),
    Reason(("docker_privileged_proc",), "p-docker", "the same"),
    Reason(
        ("binfmt_misc",),
        "",
        "from a privileged container it is the host's own, by which a program becomes root of it"
        " (register programs on the host: its kernel then runs them in every container)",
    ),
    Reason(
        ("protect_proc",),
        "",
        "the same: systemd mounts a new /proc for it elsewhere (the unit runs, and sees all of"
        " the container's processes)",
    ),
    Reason(ENGINES, "u-base", "lxc-nvidia-gpu-docker is for containers in a container"),
    Reason(ENGINES, "p-base", "the same"),
    Reason(
        ("bwrap_plain", "bwrap", "bwrap_as_user", "bwrap_flatpak"),
        "u-base",
        "the profile lets a container have one root; lxc-nvidia-gpu-docker lets it have others",
    ),
    Reason(("bwrap_plain", "bwrap", "bwrap_as_user", "bwrap_flatpak"), "p-base", "the same"),
    Reason(("temporary_root",), "u-base", "the same"),
    Reason(("temporary_root",), "p-base", "the same"),
    Reason(
        ("bound_proc",),
        "u-base",
        "a /proc or /sys at another path is out of reach of the denies by path",
    ),
    Reason(("bound_proc",), "p-base", "the same"),
    Reason(
        (
            *("bwrap", "bwrap_as_user", "bwrap_flatpak", "podman_rootless"),
            *("docker_rootless", "docker_rootless_fuse", "ctr_rootless", "podman_userns"),
        ),
        "p-docker",
        "LXC hides parts of /proc in a privileged container, and Linux then mounts no /proc in a"
        " user namespace (bwrap without --proc works)",
    ),
    Reason(
        ("podman_options",),
        "u-docker",
        "LXC has /proc/sys read-only, and crun opens a sysctl there for --sysctl (runc does not)",
    ),
    Reason(("podman_options",), "p-docker", "the same"),
    Reason(
        ("bind_remounts_busybox",),
        "u-",
        "a folder that the host shares read-only could be made writable (mount of util-linux 2.39"
        " and newer works)",
    ),
    Reason(
        ("bind_remounts", "bind_remounts_busybox"),
        "p-",
        "a folder that the host shares read-only could be made writable",
    ),
    Reason(
        ("remount_tmpfs", "remount_tmpfs_busybox", "remount_tmp", "remount_shm", "remount_proc"),
        "p-",
        "the seccomp policy cannot tell the container's file system from the host's",
    ),
    Reason(
        (
            *("nvidia_docker_gpus", "nvidia_docker_gpus_privileged", "nvidia_docker_compose"),
            *("nvidia_docker_device_cgroup", "nvidia_podman_hook", "nvidia_docker_userns"),
        ),
        "p-docker",
        "NVIDIA's legacy hook remounts a whole file system (seccomp policy); CDI works",
    ),
    Reason(
        ("device_policy",),
        "u-",
        "only a program of bpf(2) enforces DevicePolicy= of a unit, and root of a user namespace"
        " may load none, under any profile (the unit runs, and may open what its container may)",
    ),
    Reason(("device_policy",), "p-base", "bpf(2) is closed (seccomp policy)"),
    Reason(
        ("move", "propagation"),
        "p-base",
        "a rule for propagation is one for any mount in AppArmor 3.0: few places have it",
    ),
    Reason(
        ("propagation_own_busybox",),
        "u-base",
        "the same (mount of util-linux 2.39 and newer works)",
    ),
    Reason(("propagation_own_busybox",), "p-base", "the same"),
    Reason(
        ("mount_while_unit_runs", "propagation_busybox"),
        "p-base",
        "a mount that is shared with another can have a path that no rule knows (mount it before"
        " the service starts)",
    ),
    Reason(
        ("sysext",),
        "p-base",
        "systemd asks for a mount namespace as it does for a unit's credentials, which would then"
        " stay mounts (seccomp policy)",
    ),
    Reason(
        ("calls_perf", "calls_bpf_map", "calls_fanotify_own"),
        "p-",
        "perf_event_open, bpf and fanotify reach the host's kernel or files (seccomp policy)",
    ),
)


def reasons(key: str) -> Mapping[str, Reason]:
    """Deed -> why it fails, for a column's key."""
    return {
        name: reason for reason in KNOWN if key.startswith(reason.columns) for name in reason.deeds
    }
