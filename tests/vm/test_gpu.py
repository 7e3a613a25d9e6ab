"""The NVIDIA nodes as containers get them: open and mmap, and what grants them without "file,".

A driver is not needed: the nodes have the numbers of /dev/zero, which opens and maps, under the
names of the driver's. AppArmor judges names.
"""

from __future__ import annotations

import json

import pytest

from tests.names import BASE, DOCKER
from tests.vm.containers import assign, create, expect_label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import PROGRAMS

# Names of device nodes: no matter of the kernel.
ONLY_SUITES = PROGRAMS

ABSTRACTIONS = "/etc/apparmor.d/abstractions/phoenix"
ALLOWED = "opened and mapped"
DENIED = "Permission denied"
NODES = (
    "nvidia0",
    "nvidia15",
    "nvidiactl",
    "nvidia-modeset",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidia-caps/nvidia-cap1",
    "nvidia-caps-imex-channels/channel0",
    "dri/card0",
    "dri/renderD128",
)
MAKE_NODES = f"""\
for node in {" ".join(NODES)}; do
    mkdir -p "$(dirname "/dev/$node")"
    mknod -m 666 "/dev/$node" c 1 5
done
"""
# As an admin binds them, and the VM's /usr for its python: the busybox root has nothing that maps.
MOUNTS = "".join(
    f"lxc.mount.entry: /dev/{node} dev/{node} none bind,create=file 0 0\n" for node in NODES
) + ("lxc.mount.entry: /usr host none bind,ro,create=dir 0 0\n")
PYTHON = (
    *("/usr/bin/env", "PYTHONHOME=/host", "/host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    *("--library-path", "/host/lib/x86_64-linux-gnu", "/host/bin/python3", "-IS", "-c"),
)
PROBE = f"""\
import json, mmap, os
def probe(node):
    try:
        file = os.open("/dev/" + node, os.O_RDWR)
        with mmap.mmap(file, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
            memory[:3] = b"gpu"
            return {ALLOWED!r} if memory[:3] == b"gpu" else "lost"
    except OSError as error:
        return error.strerror
print(json.dumps({{node: probe(node) for node in {NODES!r}}}))
"""
# In place of "file,": all but the folder of the nodes.
NO_FILE = "  / r,\n  /{[^d],d[^e],de[^v]}** rwlkmix,\n  /dev/{,null,zero,tty,console,pts/**} rw,\n"


def probe(vm: Machine, ctid: int, profile: str, *, unprivileged: bool = True) -> dict[str, str]:
    """What a process in a container under the profile gets: node -> opened and mapped, or why not.

    The nodes that it opens were never opened before: no earlier descriptor helps.
    """
    create(vm, ctid, unprivileged=unprivileged, more=MOUNTS)
    assign(vm, {ctid: profile})
    pct(vm, "start", ctid)
    try:
        expect_label(vm, ctid, profile)
        out = vm.run("lxc-attach", "-n", str(ctid), "--", *PYTHON, PROBE).stdout
    finally:
        pct(vm, "stop", ctid)
    found: dict[str, str] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def nodes_vm(vm: Machine) -> Machine:
    vm.sh(MAKE_NODES)
    return vm


@pytest.mark.parametrize(
    ("profile", "unprivileged"), [(BASE, True), (DOCKER, True), (DOCKER, False)]
)
def test_the_nodes_open_and_map(nodes_vm: Machine, profile: str, unprivileged: bool) -> None:
    found = probe(nodes_vm, 980, profile, unprivileged=unprivileged)
    assert found == dict.fromkeys(NODES, ALLOWED)


@pytest.mark.parametrize(
    ("include", "expected"),
    [("", DENIED), ("  include <abstractions/phoenix/nvidia>\n", ALLOWED)],
    ids=["without", "with"],
)
def test_the_abstraction_grants_them_where_file_does_not(
    nodes_vm: Machine, include: str, expected: str
) -> None:
    """Our base profile without "file,", with and without the abstraction: nothing else grants."""
    vm = nodes_vm
    container = vm.read(f"{ABSTRACTIONS}/container")
    assert container.count("\n  file,\n") == 1
    text = (
        f"abi <abi/3.0>,\ninclude <tunables/global>\n"
        f"profile lxc-no-file flags=(attach_disconnected,mediate_deleted) {{\n"
        f"{container.replace('  file,' + chr(10), NO_FILE)}{include}"
        f"  include <abstractions/phoenix/mounts>\n}}\n"
    )
    vm.write("/etc/apparmor.d/lxc-no-file", text)
    vm.run("phoenix-apparmor", "reload", "lxc-no-file")
    assert probe(vm, 981, "lxc-no-file") == dict.fromkeys(NODES, expected)
