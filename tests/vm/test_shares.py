"""A neighbour moves folders that it shares while containers start that have one read-only.

Whatever it moves, the share is locked, or the container does not start. Shown by what root inside
can do once all is back in its place, under a profile that lets it mount what it likes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.vm.containers import START, assign, be_patient, create, init, pct, write_profile
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import LOGIC, USER_MODE

ONLY_SUITES = LOGIC
# A start takes an emulated processor half a minute: the controls are no matter of the kernel.
control = pytest.mark.suites(USER_MODE)

NEIGHBOUR, UNPRIVILEGED, PRIVILEGED = 900, 901, 902
BOTH = (UNPRIVILEGED, PRIVILEGED)
LAX = "lxc-lax"
# As Proxmox mounts an mpN: beside the root, before the container's namespaces are made.
MOUNT_MP = """\
#!/bin/sh
mkdir -p "/var/lib/lxc/$LXC_NAME/rootfs/data"
mount --bind "/srv/ours/$LXC_NAME/part" "/var/lib/lxc/$LXC_NAME/rootfs/data"
"""
# What is left where a neighbour had LXC make another mount read-only than it had made.
LEAVE_WRITABLE = """\
#!/bin/sh
[ ! -e /srv/raced ] || mount -o remount,bind,rw "$LXC_ROOTFS_MOUNT/data/ro"
"""
MOUNTED = "lxc.hook.pre-start: /srv/mount-mp\nlxc.hook.mount: /srv/leave-writable\n"
OTHER = "lxc.mount.entry: /srv/other data/t none bind 0 0\n"
# What is read-only: another folder of the host; a part of the folder that the neighbour has.
SECRETS = {UNPRIVILEGED: "/srv/secret", PRIVILEGED: f"/srv/ours/{PRIVILEGED}/part/ro"}
RO = "lxc.mount.entry: {} data/ro none bind,ro 0 0\n"
ENTRIES = {
    UNPRIVILEGED: OTHER + RO.format(SECRETS[UNPRIVILEGED]),
    PRIVILEGED: RO.format(SECRETS[PRIVILEGED])
    + "lxc.mount.entry: /srv/stays data/s none bind,ro 0 0\n"
    + OTHER,
}
# Below what another mount covers; or out of the folder, and below a cover what may be counted.
MOVES = {
    UNPRIVILEGED: ("mv ro t/ro", "mv t/ro ro"),
    PRIVILEGED: ("mv t s/t; mv ro ../away", "mv ../away ro; mv s/t t"),
}
HOOK = "/usr/libexec/phoenix-apparmor/lock-shares"
# The moment is the neighbour's best one: all is mounted, and nothing is locked.
LATE_HOOK = f"""\
#!/bin/sh
touch "/srv/ours/$LXC_NAME/begin"
while [ ! -e "/srv/ours/$LXC_NAME/moved" ]; do sleep 0.05; done
exec {HOOK}.real
"""
ONLY_THE_NOTE = '#!/bin/sh\n: >"/run/phoenix-apparmor/lock/$LXC_NAME.read"\n'
FOR_LONG = "while [ ! -e ../over ]; do usleep 20000; done"
FOR_A_MOMENT = "sleep 1"
# A lock that believes names: what is hidden is passed over.
CREDULOUS = (
    ("mountmarks", "raise _hidden(tree, hidden)", "continue"),
    ("mountwanted", "unknown = Unknown()", "return Unknown()"),
)
PACKAGE = "/usr/lib/python3/dist-packages/phoenix_apparmor"


@pytest.fixture(scope="module", autouse=True)
def neighbour(vm: Machine) -> None:
    be_patient(vm)
    write_profile(vm, LAX)
    vm.sh("""mkdir -p /srv/other /srv/secret /srv/stays; cd /srv
        echo old >secret/old; chmod 1777 secret
        for ctid in 901 902; do
            mkdir -p ours/$ctid/part/ro ours/$ctid/part/t ours/$ctid/part/s
            cp secret/old ours/$ctid/part/ro
        done
        chown -R 100000:100000 ours secret""")
    vm.write("/srv/mount-mp", MOUNT_MP, 0o755)
    vm.write("/srv/leave-writable", LEAVE_WRITABLE, 0o755)
    vm.write(f"{HOOK}.late", LATE_HOOK, 0o755)
    create(vm, NEIGHBOUR, more="lxc.mount.entry: /srv/ours w none bind,create=dir 0 0\n")
    for ctid in BOTH:
        create(vm, ctid, unprivileged=ctid == UNPRIVILEGED, more=MOUNTED + ENTRIES[ctid])
    assign(vm, dict.fromkeys((NEIGHBOUR, *BOTH), LAX))
    pct(vm, "start", NEIGHBOUR)


@contextlib.contextmanager
def moving(vm: Machine, until: str) -> Iterator[None]:
    """The neighbour moves its folders just before the lock, and back when a command ended."""
    vm.sh(f"cp -p {HOOK} {HOOK}.real && mv {HOOK}.late {HOOK}")
    for ctid, (there, back) in MOVES.items():
        script = (
            f"cd /w/{ctid}/part; while [ ! -e ../begin ]; do usleep 20000; done; "
            f"{there}; touch ../moved; {until}; {back}; touch ../end"
        )
        attach = f"lxc-attach -n {NEIGHBOUR} -- sh -c '{script}'"
        vm.sh(f"cd /srv/ours/{ctid}; rm -f begin moved over end")
        vm.sh(f"setsid {attach} </dev/null >/dev/null 2>&1 &")
    try:
        yield
    finally:
        vm.sh(f"mv {HOOK} {HOOK}.late && mv {HOOK}.real {HOOK}")
        for ctid in MOVES:
            wait = "while [ ! -e end ]; do sleep 0.05; done"
            vm.sh(f"cd /srv/ours/{ctid}; touch begin over; {wait}")


def start(vm: Machine) -> dict[int, str]:
    """Starts both at once: what was said of those that did not start."""
    script = """for ctid in 901 902; do
        (rm -f /tmp/$ctid; pct start $ctid >/tmp/$ctid.said 2>&1 && rm /tmp/$ctid.said) &
    done; wait"""
    vm.sh(script, timeout=START)
    said = {}
    for ctid in BOTH:
        found = vm.sh(f"cat /tmp/{ctid}.said", check=False)
        assert (init(vm, ctid) == -1) == (found.rc == 0)
        if found.rc == 0:
            said[ctid] = found.stdout
    return said


def writable(vm: Machine) -> set[int]:
    """In which of both root can write what is shared read-only, by the host's files; stops them."""
    found = set()
    for ctid in BOTH:
        inside = "mount -o remount,bind,rw /data/ro; echo new >>/data/ro/old"
        vm.sh(f"[ ! -e /tmp/{ctid}.said ] && lxc-attach -n {ctid} -- sh -c '{inside}'", check=False)
        if vm.read(f"{SECRETS[ctid]}/old") != "old\n":
            found.add(ctid)
        vm.sh(f"echo old >{SECRETS[ctid]}/old; pct stop {ctid}", check=False)
    vm.sh("systemctl stop pve-container@901 pve-container@902")  # waits for ExecStopPost
    return found


@control
def test_undisturbed_it_is_locked(vm: Machine) -> None:
    assert start(vm) == {}
    assert writable(vm) == set()


def test_moved_away_it_does_not_start(vm: Machine) -> None:
    with moving(vm, FOR_LONG):
        said = start(vm)
    assert set(said) == set(BOTH)
    for ctid in BOTH:
        assert f"CT {ctid}: what is shared read-only could not be locked: " in said[ctid]
        assert "whether another container that has the same folder renames in it" in said[ctid]


def test_back_in_time_it_starts_locked(vm: Machine) -> None:
    with moving(vm, FOR_A_MOMENT):
        assert start(vm) == {}
    assert writable(vm) == set()


def test_left_writable_by_lxc_it_does_not_start(vm: Machine) -> None:
    """Which nothing but the configuration says."""
    vm.sh("touch /srv/raced")
    try:
        said = start(vm)
    finally:
        vm.sh("rm /srv/raced")
    assert set(said) == set(BOTH)
    for ctid in BOTH:
        assert "/data/ro is not what its lxc.mount.entry with ro mounts there" in said[ctid]


@control
def test_without_the_lock_root_inside_makes_it_writable(vm: Machine) -> None:
    """The control. (Where nobody calls our hook, the container is stopped.)"""
    vm.sh(f"cp -p {HOOK} {HOOK}.kept")
    vm.write(HOOK, ONLY_THE_NOTE, 0o755)
    try:
        assert start(vm) == {}
        assert writable(vm) == set(BOTH)
    finally:
        vm.sh(f"mv {HOOK}.kept {HOOK}")


@control
def test_with_a_lock_that_believes_names_the_neighbour_wins(vm: Machine) -> None:
    """The control of the check itself: the container starts, and the share is not what it has."""
    kept = {name: vm.read(f"{PACKAGE}/{name}.py") for name, _, _ in CREDULOUS}
    try:
        for name, text, instead in CREDULOUS:
            assert kept[name].count(text) == 1
            vm.write(f"{PACKAGE}/{name}.py", kept[name].replace(text, instead))
        with moving(vm, FOR_LONG):
            said = start(vm)
        assert PRIVILEGED not in said, said[PRIVILEGED]
        assert PRIVILEGED in writable(vm)
    finally:
        for name, text in kept.items():
            vm.write(f"{PACKAGE}/{name}.py", text)
