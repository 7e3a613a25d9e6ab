"""Many starts at once, with reload and apply beside them."""

import json
import subprocess
import time

import pytest

from tests.names import BASE, DOCKER
from tests.unit.fakehost import PYTHON, REPO, FakeHost

CTIDS = [str(ctid) for ctid in range(900, 950)]
PROFILES = (BASE, DOCKER, "lxc-site")


@pytest.mark.slow
def test_fifty_starts_at_once(host: FakeHost) -> None:
    """No torn file, no lost edit, no wrong profile; the profiles start out not loaded."""
    for name in PROFILES:
        host.profile(name)
    assigned = {ctid: PROFILES[int(ctid) % 3] for ctid in CTIDS}
    for ctid in CTIDS:
        host.conf(ctid)
        host.runtime(ctid)
    host.json({ctid: {"apparmor_profile": profile} for ctid, profile in assigned.items()})
    environment = {**host.environment, "PHOENIX_APPARMOR_ROOT": str(host.root)}
    hook = host.hook_file("hookscript")

    def start(*command: str, **extra: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env={**environment, **extra},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    running = [start(hook, ctid, "pre-start") for ctid in CTIDS]
    cli = [PYTHON, "-m", "phoenix_apparmor", "--root", str(host.root)]
    running.append(start(*cli, "reload", PYTHONPATH=str(REPO)))
    running.append(start(*cli, "apply", "--all", PYTHONPATH=str(REPO)))
    # The JSON is rewritten, with the same content, while they read it.
    content = json.dumps({"lxc_configs": {c: {"apparmor_profile": p} for c, p in assigned.items()}})
    while any(process.poll() is None for process in running):
        new = host.write("/etc/pve/new.json", content)
        new.rename(host.path("/etc/pve/phoenix_lxc_configs.json"))
        time.sleep(0.05)
    for process in running:
        out, _ = process.communicate()
        assert process.returncode == 0, out.decode()
    for ctid in CTIDS:
        profile = assigned[ctid].encode()
        assert host.read(f"/etc/pve/lxc/{ctid}.conf") == (
            b"arch: amd64\nhostname: ct\nlxc.apparmor.profile: " + profile + b"\n"
        )
        assert b"\nlxc.apparmor.profile = " + profile in host.read(f"/var/lib/lxc/{ctid}/config")
