"""From unconfined to confined in five commands: the demo's second act, and a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.names import BASE, DOCKER
from tests.vm.containers import START, create, label, pct
from tests.vm.harness.docker_root import DATA
from tests.vm.harness.machine import Machine

Show = Callable[[str], None]


class Scene(NamedTuple):
    """A container as people have them, which the JSON does not know.

    root: of the stand-in. profile: which suggest must find for it. work: what it does all day, a
    shell script that prints "done"; the profile refuses a part of it.
    """

    ctid: int
    root: str
    profile: str
    work: str


# AppArmor knows a remount only by its place, so the profile refuses it, and it is harmless. With a
# source, as busybox would take the options of /proc/mounts, where the owner is the host's number.
PLAIN = Scene(
    970,
    "busybox",
    BASE,
    "mkdir -p /run/r; mount -t tmpfs none /run/r; "
    "mount -t tmpfs -o remount,nosuid none /run/r && echo done",
)
# Docker's data is where the profile does not expect it. The daemon is started by the container.
WITH_DOCKER = Scene(
    971,
    "docker",
    DOCKER,
    """\
for _ in $(seq 120); do docker info >/dev/null 2>&1 && break; sleep 1; done
if ! docker image inspect bb >/dev/null 2>&1; then
    mkdir -p /tmp/img/bin && cp /bin/busybox /tmp/img/bin/ && ln -sf busybox /tmp/img/bin/echo
    tar -c -C /tmp/img . | docker import - bb >/dev/null
fi
docker run --rm --network none bb /bin/echo done
""",
)


def work(vm: Machine, scene: Scene = PLAIN) -> str:
    """What the container says when it does its work; it is done if that has the word done."""
    argv = ("lxc-attach", "-n", str(scene.ctid), "--clear-env", "--", "/bin/sh", "-c", scene.work)
    return vm.run(*argv, timeout=300, check=False).output


def unconfined(vm: Machine, scene: Scene = PLAIN) -> None:
    """Makes the container, and starts it."""
    more = "lxc.apparmor.profile: unconfined\n"
    if scene.root == "docker":
        # An overlay cannot be the upper layer of another: its data is on the host's disk.
        data = f"/var/lib/standin-data/{scene.ctid}"
        vm.sh(f"mkdir -p {data} && chown 100000:100000 {data}")
        more += f"lxc.mount.entry: {data} {DATA} none bind,create=dir 0 0\n"
        more += "lxc.signal.halt: SIGUSR1\nlxc.signal.reboot: SIGTERM\n"
    create(vm, scene.ctid, root=scene.root, more=more)
    pct(vm, "start", scene.ctid)


def walk(vm: Machine, show: Show, scene: Scene = PLAIN) -> None:
    """All of it; raises where the kernel does not say what it should at a step."""
    ctid, profile = str(scene.ctid), scene.profile

    def kernel(step: str, begin: str) -> None:
        found, said = label(vm, scene.ctid), work(vm, scene)
        worked = "done" in said.split()
        show(f"the kernel: {found}; its work {'is done' if worked else 'is refused'}")
        if not found.startswith(begin) or not worked:
            raise AssertionError(f"{step}: {found}, worked: {worked}\n{said}")

    def command(*argv: str) -> str:
        show(f"# {' '.join(argv)}")
        said = vm.run(*argv, timeout=START, check=False).output
        for line in said.splitlines():
            show(f"  {line}")
        return said

    kernel("as it was", "unconfined")
    command("phoenix-apparmor", "suggest", ctid, "--write", "--trial")
    command("pct", "stop", ctid)
    command("pct", "start", ctid)
    kernel("trial", f"{profile}.{ctid}.trial//&{profile}.guard")
    said = command("phoenix-apparmor", "status", ctid)
    if "would have been refused" not in " ".join(said.split()):
        raise AssertionError(said)
    command("phoenix-apparmor", "allow", ctid, "--enforce")
    command("pct", "stop", ctid)
    command("pct", "start", ctid)
    kernel("enforced", f"{profile}.{ctid}" + ("//&:lxc-" if profile == DOCKER else " (enforce)"))
    said = command("phoenix-apparmor", "status", ctid)
    if " ok" not in said:
        raise AssertionError(said)
