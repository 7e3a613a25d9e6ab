"""From unconfined to confined in five commands: the demo's second act, and a test."""

from __future__ import annotations

from collections.abc import Callable

from tests.names import BASE, JSON
from tests.vm.containers import START, create, label, pct
from tests.vm.harness.machine import Machine

CTID = 970
# What the container does all day: the profile refuses it (AppArmor knows a remount only by its
# place), and it is harmless. With a source, as busybox would take the options of /proc/mounts,
# where the owner is the host's number.
WORK = (
    "mkdir -p /run/r; mount -t tmpfs none /run/r; "
    "mount -t tmpfs -o remount,nosuid none /run/r && echo done"
)


Show = Callable[[str], None]


def work(vm: Machine, ctid: int = CTID) -> bool:
    """Whether the container can do its work."""
    argv = ("lxc-attach", "-n", str(ctid), "--clear-env", "--", "/bin/sh", "-c", WORK)
    return "done" in vm.run(*argv, timeout=120, check=False).output


def unconfined(vm: Machine) -> None:
    """A running container as people have them, which the JSON does not know."""
    create(vm, CTID, more="lxc.apparmor.profile: unconfined\n")
    pct(vm, "start", CTID)


def walk(vm: Machine, show: Show) -> None:
    """All of it; raises where the kernel does not say what it should at a step."""

    def kernel(step: str, begin: str) -> None:
        found = label(vm, CTID)
        worked = work(vm)
        show(f"the kernel: {found}; its work {'is done' if worked else 'is refused'}")
        if not found.startswith(begin) or not worked:
            raise AssertionError(f"{step}: {found}, worked: {worked}")

    def command(*argv: str) -> str:
        show(f"# {' '.join(argv)}")
        said = vm.run(*argv, timeout=START, check=False).output
        for line in said.splitlines():
            show(f"  {line}")
        return said

    kernel("as it was", "unconfined")
    command("phoenix-apparmor", "suggest", str(CTID), "--write", "--trial")
    command("pct", "stop", str(CTID))
    command("pct", "start", str(CTID))
    kernel("trial", f"{BASE}.{CTID}.trial//&{BASE}.guard")
    said = command("phoenix-apparmor", "status", str(CTID))
    if "would have been refused" not in " ".join(said.split()):
        raise AssertionError(said)
    command("phoenix-apparmor", "allow", str(CTID), "--enforce")
    command("pct", "stop", str(CTID))
    command("pct", "start", str(CTID))
    kernel("enforced", f"{BASE}.{CTID} (enforce)")
    said = command("phoenix-apparmor", "status", str(CTID))
    if " ok" not in said:
        raise AssertionError(said)


def forget(vm: Machine) -> None:
    """Stops the container and takes the JSON away."""
    pct(vm, "stop", CTID)
    vm.run("rm", "-f", JSON)
