"""What doctor says of devN options together: its fixes, run in any order, give each node once."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from tests.unit import doctor_cases_gpu
from tests.unit.doctor_host import CONF, diagnose, make_sound, run_fix
from tests.unit.fakehost import FakeHost

MOUNT = doctor_cases_gpu.MOUNT
MANY = {
    "one without its folder": "dev0: /dev/nvidia0\ndev1: /dev/nvidiactl\ndev2: nvidia-uvm\n",
    "all without their folder": "dev0: nvidia0\ndev4: nvidiactl\n",
    "twice, once without its folder": "dev0: /dev/nvidia0\ndev1: nvidia0\ndev2: /dev/nvidia0\n",
    "by a mount as well": "dev0: nvidia0\n" + MOUNT.format("nvidia0") + MOUNT.format("nvidiactl"),
}


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("lines", MANY.values(), ids=MANY)
@pytest.mark.slow
def test_fixes_in_any_order(host: FakeHost, tmp_path: Path, lines: str, privileged: bool) -> None:
    make_sound(host)
    plain = "".join(line for line in CONF.splitlines(True) if not line.startswith("dev"))
    plain = plain.replace("unprivileged: 1\n", "") if privileged else plain
    host.conf("950", plain + lines)
    fixes = [found["fix"] for found in diagnose(host) if found["fix"]]
    assert fixes
    for number, order in enumerate(itertools.permutations(fixes)):
        copy = FakeHost(tmp_path / str(number))
        shutil.copytree(host.root, copy.root, symlinks=True, dirs_exist_ok=True)
        copy.environment["TZ"] = "UTC"
        for fix in order:
            run_fix(copy, fix)
        assert [f for f in diagnose(copy) if f["severity"] != "note"] == [], order
        named = [
            line.partition(": ")[2].partition(",")[0]
            for line in copy.read("/etc/pve/lxc/950.conf").decode().splitlines()
            if line.startswith("dev")
        ]
        bound = MOUNT.format("nvidiactl") in lines and not privileged
        assert len(named) == len(set(named)) == (2 if bound else 3), named


def test_who_has_all_of_dev_is_advised_no_option(host: FakeHost) -> None:
    make_sound(host)
    plain = "".join(line for line in CONF.splitlines(True) if not line.startswith("dev"))
    for device in ("", "dev0: /dev/nvidia0\n"):
        host.conf("950", f"{plain}{device}lxc.mount.entry: /dev dev none rbind,create=dir 0 0\n")
        said = diagnose(host)
        assert ["/dev/nvidia0 is there already" in f["what"] for f in said] == [True] * bool(device)


def test_without_autodev_proxmox_makes_no_node_in_the_container(host: FakeHost) -> None:
    make_sound(host)
    twice = f"{CONF}lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind,create=file 0 0\n"
    host.conf("950", twice)
    assert [f["check"] for f in diagnose(host)] == ["needs"]
    host.conf("950", f"{twice}lxc.autodev: 0\n")
    assert diagnose(host) == []


def test_a_start_that_failed_for_it(host: FakeHost) -> None:
    make_sound(host)
    host.failed("950")
    made = "/var/lib/lxc/950/passthrough/dev/nvidia0"
    host.write("/run/pve/ct-950.stderr", f"lxc pre-start: failed to mknod {made}: File exists\n")
    done = json.loads(host.cli("doctor", "950", "--json").out)["findings"]
    assert "Two devN options name the same node" in done[0]["advice"]
