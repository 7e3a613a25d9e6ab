"""Many starts at once, reload and apply beside them: no torn file, no lost edit, no wrong label.

All come to each step at the same time. PHOENIX_TEST_STARTS=50 tries fifty.
"""

from __future__ import annotations

import os

from tests.names import BASE
from tests.vm.containers import (
    OUR_HOOKSCRIPT,
    assign,
    be_patient,
    conf_path,
    create,
    write_profile,
)
from tests.vm.harness.machine import Machine
from tests.vm.harness.suites import USER_MODE

# Our own locks and files: no matter of the kernel.
ONLY_SUITES = (USER_MODE,)


def test_many_starts_at_once_with_reload_and_apply_beside_them(fresh_vm: Machine) -> None:
    vm = fresh_vm
    ctids = range(300, 300 + int(os.environ.get("PHOENIX_TEST_STARTS", "20")))
    write_profile(vm, "lxc-other")
    be_patient(vm)
    for ctid in ctids:
        create(vm, ctid)
    wanted = {ctid: (BASE, "lxc-other")[ctid % 2] for ctid in ctids}
    assign(vm, wanted)
    script = f"""
        cd /root
        export STANDIN_START_SECONDS=1500
        for ctid in {" ".join(map(str, ctids))}; do
            pct start $ctid >start.$ctid 2>&1 || echo "$ctid did not start" >>failed &
        done
        starts=$(jobs -p)
        while sleep 5 && [ ! -e done ]; do
            phoenix-apparmor reload >>beside 2>&1 || echo "reload: $?" >>failed
            phoenix-apparmor apply --all >>applied 2>&1 || true  # some are locked: see below
        done &
        wait $starts
        touch done
        wait
        cat failed start.* 2>/dev/null || true
        grep -v "Nothing to do" beside || true
    """
    told = vm.sh(script, timeout=1800).stdout
    labels = vm.sh(
        f'for c in {" ".join(map(str, ctids))}; do echo "$c '
        '$(cat /proc/$(lxc-info -n $c -p -H)/attr/current 2>&1)"; done'
    ).stdout.splitlines()
    assert labels == [f"{ctid} {name} (enforce)" for ctid, name in wanted.items()], told
    assert "did not start" not in told
    assert "reload:" not in told, told
    assert told.count("loaded profile lxc-other") <= 1, "the first loads it, the others find it"
    # A start holds Proxmox' lock to its end, for which apply waits ten seconds, and says so.
    errors = [x for x in vm.read("/root/applied").splitlines() if x.startswith("CT ")]
    assert all("locked by another task" in x or "profile in .conf" in x for x in errors), errors
    for ctid, name in wanted.items():
        lines = vm.read(conf_path(ctid)).splitlines()
        assert lines.count(f"lxc.apparmor.profile: {name}") == 1, lines
        assert f"hookscript: {OUR_HOOKSCRIPT}" in lines
        assert len(lines) == 7, lines
    left = vm.sh("ls -A /etc/pve/lxc /var/lib/lxc/3*").stdout
    assert "phoenix-apparmor." not in left, "a temporary file was left"
