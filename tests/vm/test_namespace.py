"""A policy namespace of a container's own: what root loads into it changes nothing outside it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.names import DOCKER
from tests.vm.attacks.program import push, put
from tests.vm.containers import assign, create, expect_label, label, pct
from tests.vm.harness.channel import Result
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import KERNELS

ONLY_SUITES = KERNELS
HOST = "/sys/kernel/security/apparmor/policy"
INSIDE = "/sys/kernel/security/apparmor"
# Everything is allowed, under the name of the container's own profile on the host.
ALL = (
    f"abi <abi/3.0>,\nprofile {DOCKER} flags=(attach_disconnected) {{\n  capability,\n  network,\n"
    "  file,\n  mount,\n  umount,\n  pivot_root,\n  signal,\n  ptrace,\n  unix,\n  dbus,\n"
    "  change_profile,\n}\n"
)
ATTACKER, OTHER, THIRD = 420, 421, 422
# No file has it.
MADE_UP = "lxc-made-up"
# As LXC's own configuration for Ubuntu has it (ubuntu.common.conf).
SECURITYFS = "/sys/kernel/security sys/kernel/security none bind,create=dir,optional 0 0"
# Policies in one container: what doctor speaks of.
MANY = 65


def namespace(ctid: int) -> str:
    return f"lxc-{ctid}_<-var-lib-lxc>"


def loaded(vm: Machine, where: str) -> list[str]:
    """Names of the profiles in a folder of policy (without the kernel's running number)."""
    names = vm.sh(f'ls "{where}/profiles"').stdout.split()
    return sorted(name.rpartition(".")[0] for name in names)


def inside(vm: Machine, ctid: int, script: str) -> Result:
    argv = ("lxc-attach", "-n", str(ctid), "--clear-env", "--", "sh", "-c", script)
    return vm.run(*argv, check=False)


@pytest.fixture(scope="module")
def pair(vm: Machine) -> Iterator[Machine]:
    """Two running containers with the same profile, each in a namespace of its own."""
    push(vm)
    vm.write("/root/all", ALL)
    vm.sh("apparmor_parser -QTKS /root/all >/root/all.policy")
    assign(vm, {ATTACKER: DOCKER, OTHER: DOCKER})
    for ctid in (ATTACKER, OTHER):
        create(vm, ctid)
        put(vm, ctid, unprivileged=True)
        vm.sh(f"cp /root/all.policy /var/lib/standin/{ctid}/upper/")
        pct(vm, "start", ctid)
        expect_label(vm, ctid, DOCKER)
    yield vm
    for ctid in (ATTACKER, OTHER):
        pct(vm, "stop", ctid)


def test_policy_goes_into_the_containers_own_namespace(pair: Machine) -> None:
    before = loaded(pair, HOST)
    done = inside(pair, ATTACKER, f"cat /attack.policy >{INSIDE}/.load")
    assert done.rc == 0, done.output
    assert loaded(pair, f"{HOST}/namespaces/{namespace(ATTACKER)}") == ["attack-policy"]
    assert loaded(pair, f"{HOST}/namespaces/{namespace(OTHER)}") == []
    assert loaded(pair, HOST) == before
    seen = inside(pair, OTHER, f"cat {INSIDE}/profiles")
    assert "attack-policy" not in seen.stdout


@pytest.mark.parametrize(
    "name",
    [
        DOCKER,
        f":root:{DOCKER}",
        f":{namespace(OTHER)}:",
        f":{namespace(ATTACKER)}:",
        "unconfined",
    ],
)
def test_nothing_of_the_host_or_the_neighbour_can_be_removed(pair: Machine, name: str) -> None:
    inside(pair, OTHER, f"cat /attack.policy >{INSIDE}/.load")
    before = loaded(pair, HOST), loaded(pair, f"{HOST}/namespaces/{namespace(OTHER)}")
    assert "attack-policy" in before[1]
    inside(pair, ATTACKER, f"printf '%s' '{name}' >{INSIDE}/.remove")
    after = loaded(pair, HOST), loaded(pair, f"{HOST}/namespaces/{namespace(OTHER)}")
    assert after == before
    expect_label(pair, ATTACKER, DOCKER)
    expect_label(pair, OTHER, DOCKER)


def test_own_policy_does_not_weaken_the_profile_outside(pair: Machine) -> None:
    done = inside(pair, ATTACKER, f"cat /all.policy >{INSIDE}/.replace")
    assert done.rc == 0, done.output
    # The program says first whether the profile outside still holds.
    script = f"printf 'changeprofile {DOCKER}' >/proc/self/attr/current && exec /attack --probe"
    told = inside(pair, ATTACKER, script).output
    assert told == f"1{DOCKER} (enforce)", "it runs under its own profile and under the host's"
    # and without the profile outside they are not: the check can fail
    vm = pair
    vm.sh("cp /root/attack /tmp/probe")
    assert vm.run("/tmp/probe", "--probe").stdout.startswith("0")


@pytest.mark.parametrize(
    "target",
    [
        f":{namespace(OTHER)}:unconfined",
        f":root//{namespace(OTHER)}:unconfined",
        f"&:{namespace(OTHER)}:unconfined",
        ":root:unconfined",
        "unconfined",
    ],
)
def test_the_neighbours_namespace_cannot_be_entered(pair: Machine, target: str) -> None:
    seconds = time.monotonic_ns() // 1000  # told apart from all else that sleeps
    script = f"printf '%s' 'changeprofile {target}' >/proc/self/attr/current; exec sleep {seconds}"
    sleeping = f"-xf 'sleep {seconds}'"
    pair.sh(
        f"lxc-attach -n {ATTACKER} --clear-env -- sh -c {script!r} >/tmp/attached 2>&1 &"
        f" for _ in $(seq 100); do pgrep {sleeping} >/dev/null && exit; sleep 0.1; done"
    )
    found = pair.sh(f"cat /proc/$(pgrep {sleeping})/attr/current; pkill {sleeping}").stdout.strip()
    assert found.startswith(f"{DOCKER}//&:{namespace(ATTACKER)}:"), found
    assert label(pair, OTHER).startswith(f"{DOCKER}//&:{namespace(OTHER)}:")


def test_a_name_with_newlines_does_not_speak_for_the_hosts_profile(pair: Machine) -> None:
    """The kernel writes names as they are, also into the list that the host reads.

    It takes blanks and newlines from their ends alone, so the forged lines are in the middle.
    """
    lines = ("x", f"{MADE_UP} (enforce)", f"{DOCKER} (complain)", "y")
    room = "Q" * len("\n".join(lines))
    pair.write("/root/forged", ALL.replace(f"profile {DOCKER}", f"profile {room}"))
    pair.sh("apparmor_parser -QTKS /root/forged >/root/forged.policy")
    pair.sh(
        "python3 - <<'E'\n"
        "data = open('/root/forged.policy', 'rb').read()\n"
        f"new = data.replace(b'{room}', '\\n'.join({lines!r}).encode())\n"
        "assert new != data and len(new) == len(data)\n"
        f"open('/var/lib/standin/{ATTACKER}/upper/forged.policy', 'wb').write(new)\n"
        "E"
    )
    done = inside(pair, ATTACKER, f"cat /forged.policy >{INSIDE}/.load")
    assert done.rc == 0, done.output
    listed = pair.sh(f"cat {INSIDE}/profiles").stdout.splitlines()
    assert {*lines[1:-1]} <= {*listed}, "the control: the list does say so"
    shown = json.loads(pair.sh("phoenix-apparmor status --json", check=False).stdout)
    assert [p["mode"] for p in shown["profiles"] if p["name"] == DOCKER] == ["enforce"]
    doctor = json.loads(pair.sh("phoenix-apparmor doctor --json", check=False).stdout)
    assert [f["what"] for f in doctor["findings"] if "complain" in f["what"]] == []
    # Nothing starts under a profile that only that list has.
    assign(pair, {ATTACKER: DOCKER, OTHER: DOCKER, THIRD: MADE_UP})
    create(pair, THIRD)
    refused = pct(pair, "start", THIRD, check=False)
    assert refused.rc != 0
    assert f"{MADE_UP} is neither in the kernel nor in a file" in refused.output


def test_doctor_names_who_fills_the_hosts_memory_under_proxmox_profile(pair: Machine) -> None:
    """Policies are the host's memory, and no limit of the container counts them.

    With nesting it is the same.
    """
    assign(pair, {ATTACKER: DOCKER, OTHER: DOCKER, THIRD: "generated"})
    create(pair, THIRD, more=f"lxc.mount.entry: {SECURITYFS}\n")
    pct(pair, "start", THIRD)
    assert label(pair, THIRD).startswith(f"lxc-{THIRD}_<"), "Proxmox' own profile"
    room = "Q" * 8
    pair.write("/root/one", ALL.replace(f"profile {DOCKER}", f"profile {room}"))
    pair.sh("apparmor_parser -QTKS /root/one >/root/one.policy")
    pair.sh(
        "python3 - <<'E'\n"
        "one = open('/root/one.policy', 'rb').read()\n"
        f"many = [one.replace(b'{room}', b'made-%03d' % n) for n in range({MANY})]\n"
        f"open('/var/lib/standin/{THIRD}/upper/many.policy', 'wb').write(b''.join(many))\n"
        "E"
    )
    # In one write, as the kernel takes it.
    done = inside(pair, THIRD, f"dd bs=64M if=/many.policy of={INSIDE}/.load")
    assert done.rc == 0, done.output
    doctor = json.loads(pair.sh("phoenix-apparmor doctor --json", check=False).stdout)
    said = [f["what"] for f in doctor["findings"] if "profiles of its own" in f["what"]]
    assert [text.partition(" AppArmor ")[0] for text in said] == [f"CT {THIRD} has loaded {MANY}"]
    # As doctor says, a stop gives the memory back.
    pct(pair, "stop", THIRD)
    left = pair.sh(f'ls "{HOST}/namespaces/{namespace(THIRD)}/profiles"', check=False)
    assert left.stdout == ""
