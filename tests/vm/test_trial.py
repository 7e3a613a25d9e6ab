"""A trial on a real kernel: what the profile would refuse is allowed and logged, its explicit
denies hold, and root inside cannot leave it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.names import BASE, DOCKER, JSON
from tests.vm.attacks.program import ALL_ROWS, SET, program_rows, push, put, results
from tests.vm.containers import UNITS, conf_path, create, label, pct
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import precompile
from tests.vm.harness.suites import USER_MODE
from tests.vm.test_attacks import left
from tests.vm.walk import PLAIN, unconfined, walk, work

# One mechanism of the kernel's, all of it seen on trixie and bookworm too; the second has what is
# the heart of it. (test_attacks has the attacks in a trial, on all kernels.)
ONLY_SUITES = (USER_MODE, "bookworm")
first = pytest.mark.suites(USER_MODE)

AUDIT = "/sys/module/apparmor/parameters/audit"
PROFILES = "/sys/kernel/security/apparmor/profiles"
# As the kernel shows profiles that were made for a container, and their guard.
MADE = f"grep -aE '[.]([0-9]+|trial|guard) ' {PROFILES} || true"


def write(vm: Machine, entries: dict[int, dict[str, object]]) -> None:
    document = json.dumps({"lxc_configs": {str(c): e for c, e in entries.items()}})
    vm.write(JSON, document, 0o640)
    precompile(vm, document)


# What root writes to its own attr/current to be under another label.
LABEL_WRITES = (
    "changeprofile unconfined",
    "changeprofile no-such-profile",
    f"changeprofile {BASE}",
    f"changeprofile {BASE}.guard",
    "stack unconfined",
)
# Seen from the host: inside a policy namespace of its own the rest of the label is not shown.
LABEL_AFTER = """\
lxc-attach -n {ctid} --clear-env -- /bin/sh -c \
    'echo {write} >/proc/self/attr/current; exec sleep 7777' >/dev/null 2>&1 &
for _ in $(seq 60); do pid=$(pgrep -x -f "sleep 7777") && break; sleep 0.5; done
cat "/proc/$pid/attr/current"
kill -9 "$pid"; wait
"""


def label_after(vm: Machine, ctid: int, write: str) -> str:
    """The label of a process that tried to change it, as the host's kernel says it."""
    return vm.sh(LABEL_AFTER.format(ctid=ctid, write=write), timeout=120).stdout.strip()


def inside(vm: Machine, ctid: int, script: str) -> str:
    argv = ("lxc-attach", "-n", str(ctid), "--clear-env", "--", "/bin/sh", "-c", script)
    return vm.run(*argv, timeout=120, check=False).output


@pytest.fixture
def noquiet(vm: Machine) -> Iterator[None]:
    """Explicit denies are logged too: which turns them into "allowed" in complain mode."""
    vm.sh(f"echo -n noquiet >{AUDIT}")
    yield
    vm.sh(f"echo -n normal >{AUDIT}")


@first
@pytest.mark.parametrize(
    ("ctid", "profile", "unprivileged"), [(440, DOCKER, True), (441, BASE, False)]
)
@pytest.mark.usefixtures("noquiet")
def test_nobody_leaves(vm: Machine, ctid: int, profile: str, unprivileged: bool) -> None:
    """Every attack row, with noquiet, which disarms a complain profile alone."""
    push(vm)
    vm.sh(f"sysctl -qe {SET}")
    write(vm, {ctid: {"apparmor_profile": profile, "apparmor_mode": "trial"}})
    create(vm, ctid, unprivileged=unprivileged)
    put(vm, ctid, unprivileged=unprivileged)
    pct(vm, "start", ctid)
    begin = f"{profile}.{ctid}.trial//&{profile}.guard"
    assert label(vm, ctid).startswith(begin) and label(vm, ctid).endswith(" (mixed)")
    assert f"lxc.apparmor.profile: {profile}\n" in vm.read(conf_path(ctid))
    told = vm.run("lxc-attach", "-n", str(ctid), "--clear-env", "--", "/attack", timeout=ALL_ROWS)
    found = results(told.stdout)
    assert list(found) == program_rows()
    harmed = {row for row, word in found.items() if word == "harm"}
    assert harmed <= left(vm.suite, unprivileged=unprivileged)
    for said in LABEL_WRITES:
        assert label_after(vm, ctid, said).startswith(begin), said
    pct(vm, "stop", ctid)
    for _ in range(30):
        if not vm.sh(MADE).stdout:
            break
        time.sleep(1)
    assert vm.sh(MADE).stdout == "", "removed after the stop"


# A process of the host's that is not confined, in the container's namespace of processes. (Its
# environment and its maps any root may read that has CAP_SYS_ADMIN of the host, AppArmor's word
# against it notwithstanding: kernel/fork.c, may_access_mm, of newer Linux.)
STRANGER = """\
pid=$(lxc-info -n {ctid} -p -H)
nsenter -t "$pid" -p -m sleep 8888 >/dev/null 2>&1 &
for _ in $(seq 60); do pgrep -x -f "sleep 8888" >/dev/null && break; sleep 0.5; done
lxc-attach -n {ctid} --clear-env -- /bin/sh -c '
for p in /proc/[0-9]*; do
    grep -qa 8888 $p/cmdline && [ $p != /proc/$$ ] || continue
    (: <$p/mem) 2>/dev/null && echo memory
    ls $p/root/. >/dev/null 2>&1 && echo root
done; true'
pkill -x -f "sleep 8888"; wait
"""


@first
def test_nobody_gets_at_processes_that_are_not_confined(vm: Machine) -> None:
    """The profile closes that by having no rule for it: the guard does in a trial."""
    create(vm, 446, unprivileged=False)
    create(vm, 447, unprivileged=False, more="lxc.apparmor.profile: unconfined\n")
    write(vm, {446: {"apparmor_profile": BASE, "apparmor_mode": "trial"}})
    said = {}
    for ctid in (446, 447):
        pct(vm, "start", ctid)
        said[ctid] = vm.sh(STRANGER.format(ctid=ctid), timeout=120, check=False).stdout.split()
        pct(vm, "stop", ctid)
    assert said == {446: [], 447: ["memory", "root"]}, "one that is not confined is the control"


@first
def test_without_the_guard_it_is_left(vm: Machine) -> None:
    """The control: the same profile in complain mode, alone."""
    ctid = 445
    text = vm.read(f"/etc/apparmor.d/{BASE}")
    text = text.replace(f"profile {BASE} flags=(", "profile lxc-alone flags=(complain,")
    vm.write("/etc/apparmor.d/lxc-alone", text)
    vm.run("apparmor_parser", "-r", "/etc/apparmor.d/lxc-alone", timeout=120)
    create(vm, ctid, more="lxc.apparmor.profile: lxc-alone\n")
    pct(vm, "start", ctid)
    assert label(vm, ctid) == "lxc-alone (complain)"
    assert label_after(vm, ctid, LABEL_WRITES[0]) == "unconfined"
    pct(vm, "stop", ctid)


def test_what_it_would_refuse_is_allowed_and_logged(vm: Machine) -> None:
    ctid, script = (
        442,
        "mkdir -p /var/odd; mount -t tmpfs x /var/odd "
        "&& mount -t tmpfs -o remount,nosuid x /var/odd",
    )
    entry: dict[str, object] = {"apparmor_profile": BASE}
    write(vm, {ctid: entry})
    create(vm, ctid)
    pct(vm, "start", ctid)
    assert "denied" in inside(vm, ctid, script).lower()
    pct(vm, "stop", ctid)
    write(vm, {ctid: {**entry, "apparmor_mode": "trial"}})
    pct(vm, "start", ctid)
    assert "denied" not in inside(vm, ctid, script).lower()
    log = vm.sh("journalctl -k -o cat --no-pager | grep -a 'apparmor=\"ALLOWED\"' || true").stdout
    assert f'profile="{BASE}.{ctid}.trial"' in log and 'name="/var/odd/"' in log
    # What reaches the host's kernel stays refused.
    assert "can't create" in inside(
        vm, ctid, "echo x >/proc/sysrq-trigger; echo x >/proc/sys/kernel/core_pattern"
    )
    said = vm.sh(f"phoenix-apparmor status {ctid}", check=False, timeout=120).stdout
    assert "trial" in said and "would have been refused" in " ".join(said.split())
    pct(vm, "stop", ctid)


@first
def test_a_restart_of_the_unit_alone(vm: Machine) -> None:
    """Without a hookscript's call, and back to enforce. (Each is compiled in a start by pct, which
    has the patience that an emulated machine needs.)"""
    ctid = 443
    create(vm, ctid)
    rules = ["mount fstype=proc -> /var/odd/,"]
    entries: list[dict[str, object]] = [{"apparmor_mode": "trial"}, {"apparmor_rules": rules}]
    namespace = f"//&:lxc-{ctid}_<-var-lib-lxc>:"
    begins = [f"{DOCKER}.{ctid}.trial//&{DOCKER}.guard{namespace}", f"{DOCKER}.{ctid}{namespace}"]
    for entry, begin in zip(entries, begins, strict=True):
        write(vm, {ctid: {"apparmor_profile": DOCKER, **entry}})
        pct(vm, "start", ctid)
        assert label(vm, ctid).startswith(begin)
        vm.run("systemctl", "restart", f"pve-container@{ctid}", timeout=240)
        assert label(vm, ctid).startswith(begin)
        if entry == entries[0]:
            pct(vm, "stop", ctid)
    assert label(vm, ctid).endswith(" (enforce)")
    assert f"{DOCKER}.{ctid} (enforce)\n" in vm.sh(MADE).stdout
    script = "mkdir -p /var/odd /var/even; mount -t proc p /var/odd && echo first; "
    said = inside(vm, ctid, script + "mount -t proc p /var/even && echo second")
    assert "first" in said and "second" not in said
    # `pct stop` does not wait for what is done after the stop: the start's hookscript comes before.
    late = f"{UNITS}/pve-container@.service.d/40-late.conf"
    vm.write(late, "[Service]\nExecStopPost=/bin/sleep 5\n")
    vm.run("systemctl", "daemon-reload")
    pct(vm, "stop", ctid)
    write(vm, {ctid: {"apparmor_profile": DOCKER}})
    assert f"{DOCKER}.{ctid} (enforce)\n" in vm.sh(MADE).stdout, "still there"
    pct(vm, "start", ctid)
    vm.sh(f"rm {late} && systemctl daemon-reload")
    assert label(vm, ctid).startswith(f"{DOCKER}//&:")
    assert vm.sh(MADE).stdout == ""
    pct(vm, "stop", ctid)


@first
def test_from_unconfined_to_confined(vm: Machine) -> None:
    """The whole way, and at its end the work is done under an enforced profile."""
    write(vm, {PLAIN.ctid: {"apparmor_profile": BASE, "apparmor_mode": "trial"}})
    write(vm, {})
    unconfined(vm)
    walk(vm, print)
    entry = json.loads(vm.read(JSON))["lxc_configs"][str(PLAIN.ctid)]
    assert "apparmor_mode" not in entry and len(entry["apparmor_rules"]) == 1
    vm.run("phoenix-apparmor", "validate")
    # Nothing is left to allow of the last start, and the control: it was the rule.
    pct(vm, "stop", PLAIN.ctid)
    write(vm, {PLAIN.ctid: {"apparmor_profile": BASE}})
    pct(vm, "start", PLAIN.ctid)
    assert label(vm, PLAIN.ctid) == f"{BASE} (enforce)"
    assert "done" not in work(vm).split()
    pct(vm, "stop", PLAIN.ctid)
