"""A container whose profile refuses things, and what allow makes of it."""

import itertools
import json
import time
from collections.abc import Mapping

from tests.names import DOCKER, JSON
from tests.unit.fakehost import Done, FakeHost

SERIALS = itertools.count(1)


def line(
    name: str,
    *,
    profile: str = DOCKER,
    fstype: str = "nfs",
    src: str = "nas:/x",
    word: str = "DENIED",
) -> str:
    number = next(SERIALS)
    # After whatever the test begins, however long the run took to come to it.
    when = time.time() + 100 + number
    return (
        f'type=AVC msg=audit({when:.3f}:{number}): apparmor="{word}" operation="mount" '
        f'class="mount" info="failed type match" error=-13 profile="{profile}" name="{name}" '
        f'pid=7 comm="mount" fstype="{fstype}" srcname="{src}" flags="rw"\n'
    )


def capable(name: str) -> str:
    number = next(SERIALS)
    return (
        f'type=AVC msg=audit({time.time() + 100 + number:.3f}:{number}): apparmor="DENIED" '
        f'operation="capable" class="cap" profile="{DOCKER}" pid=7 comm="x" capability=1  '
        f'capname="{name}"\n'
    )


def prepare(host: FakeHost) -> None:
    """CT 952 under the docker profile, which reads its local file and denies one thing."""
    host.confined("952", DOCKER)
    host.profile(
        DOCKER,
        "  deny mount fstype=tracefs,\n",
        flags="flags=(attach_disconnected) ",
        before="# phoenix-apparmor: policy-namespace\n",
    )
    text = host.read(f"/etc/apparmor.d/{DOCKER}").decode()
    end = f"  include if exists <local/{DOCKER}>\n}}\n"
    host.write(f"/etc/apparmor.d/{DOCKER}", text.rstrip().removesuffix("}") + end)
    assert host.hook("952").status == 0


def log(host: FakeHost, *lines: str) -> None:
    host.write("/var/log/audit/audit.log", "".join(lines))


def entry(host: FakeHost) -> dict[str, object]:
    found: dict[str, object] = json.loads(host.read(JSON))["lxc_configs"]["952"]
    return found


def rules_of(host: FakeHost) -> list[str]:
    found = entry(host).get("apparmor_rules", [])
    assert isinstance(found, list)
    return found


def assign(host: FakeHost, more: Mapping[str, object]) -> None:
    host.json({"952": {"apparmor_profile": DOCKER, **more}})
    assert host.hook("952").status == 0


def allow(host: FakeHost, *arguments: str) -> Done:
    return host.cli("allow", "952", *arguments)


def opened(name: str, mask: str = "r") -> str:
    """A file that a site's own, narrow profile refuses."""
    number = next(SERIALS)
    return (
        f'type=AVC msg=audit({time.time() + 100 + number:.3f}:{number}): apparmor="DENIED" '
        f'operation="open" class="file" profile="{DOCKER}" name="{name}" pid=7 comm="x" '
        f'requested_mask="{mask}" denied_mask="{mask}" fsuid=100000 ouid=0\n'
    )
