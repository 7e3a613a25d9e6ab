"""A fake host with CT 952, whose trial is under test."""

from collections.abc import Mapping

from tests.names import BASE, DOCKER
from tests.unit.fakehost import MARKERS, FakeHost

# Included by every profile of a fake host.
SHARED = "/etc/apparmor.d/abstractions/phoenix/nvidia"
NAMESPACE = ":lxc-952_<-var-lib-lxc>:"
TRIAL: dict[str, object] = {"apparmor_profile": DOCKER, "apparmor_mode": "trial"}
T, G = f"{DOCKER}.952.trial", f"{DOCKER}.guard"


def prepared(host: FakeHost) -> FakeHost:
    """With both profiles, and what they include."""
    host.confined("952", DOCKER, BASE)
    for name in (DOCKER, BASE):
        host.profile(name, "  deny /proc/kcore rwklx,\n", flags="flags=(attach_disconnected) ",
                     before=MARKERS)  # fmt: skip
    host.write(SHARED, "  audit deny mount fstype=proc,\n")
    host.write("/etc/phoenix-apparmor/privileged.seccomp", "2\ndenylist\n")
    return host


def started(host: FakeHost, entry: Mapping[str, object], *, way: str = "hookscript") -> None:
    host.json({"952": entry})
    done = host.hook("952") if way == "hookscript" else host.unit("pre-start", "952")
    assert done.status == 0, done
