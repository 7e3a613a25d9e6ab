"""Lets the zygote remember what nearly all commands ask of the profiles as they ship."""

import tempfile
from pathlib import Path

from tests.build import scratch_dir
from tests.names import BASE, DOCKER
from tests.unit.denials_host import everything, make_host, real_profiles
from tests.unit.doctor_host import journal, make_sound
from tests.unit.fakehost import REPO, FakeHost, zygote

RULES = ["mount fstype=nfs -> /mnt/nas/,", "/closed w,", "capability net_admin,", "network vsock,"]


def warm_up() -> None:
    with tempfile.TemporaryDirectory(prefix="pa-", dir=scratch_dir()) as folder:
        host = make_sound(FakeHost(Path(folder)))
        journal(host)
        _run(host, "doctor", "--json")
        _run(host, "doctor")
        _run(host, "status")
        _run(host, "reload", "--dry-run")
    with tempfile.TemporaryDirectory(prefix="pa-", dir=scratch_dir()) as folder:
        host = make_host(FakeHost(Path(folder)))
        real_profiles(host)
        everything(host)
        for name in (BASE, DOCKER):
            host.json({"952": {"apparmor_profile": name, "apparmor_rules": RULES}})
            _run(host, "validate", "--json")
            _run(host, "denials", "--json")
        _run(host, "denials")
        _run(host, "allow", "952", "--dry-run")
        _run(host, "suggest", "952")


def _run(host: FakeHost, *words: str) -> None:
    environment = {**host.environment, "PYTHONPATH": str(REPO)}
    argv = ("--root", str(host.root), *words)
    zygote().run("phoenix_apparmor", argv, environment, warm=True)
