"""A host whose kernel refused something, for denials."""

import json
import shutil
from collections.abc import Sequence
from typing import Any

from tests.names import BASE, DOCKER
from tests.unit.fakehost import REPO, FakeHost

BOOT = 1764000000
GENERATED = "lxc-101_</var/lib/lxc>"


def denied(body: str, second: float = 100, serial: int = 0) -> str:
    """A message as the kernel prints it, so many seconds after boot."""
    number = serial or abs(int(second * 10))
    stamp = f"{BOOT + second:.3f}:{number}"
    return f'audit: type=1400 audit({stamp}): apparmor="DENIED" {body}'


def mount(profile: str, second: float, pid: int = 4712) -> str:
    return denied(
        'operation="mount" class="mount" info="failed mntpnt match" error=-13 '
        f'profile="{profile}" name="/run/x/" pid={pid} comm="mount" fstype="sysfs" '
        'srcname="sysfs"',
        second,
    )


def file(profile: str, name: str, second: float, pid: int = 4711, mask: str = "w") -> str:
    return denied(
        f'operation="open" class="file" profile="{profile}" name="{name}" pid={pid} comm="sh" '
        f'requested_mask="{mask}" denied_mask="{mask}" fsuid=100000 ouid=0',
        second,
    )


def capability(profile: str, name: str, second: float = 100) -> str:
    return denied(
        f'operation="capable" class="cap" profile="{profile}" pid=9 comm="modprobe" '
        f'capability=16  capname="{name}"',
        second,
    )


def mounted(profile: str, name: str, second: float = 100, *, comm: str = "mount", more: str = "",
            fstype: str = "proc") -> str:  # fmt: skip
    more = more or f'fstype="{fstype}" srcname="{fstype}" flags="rw, nosuid"'
    return denied(
        f'operation="mount" class="mount" info="failed mntpnt match" error=-13 '
        f'profile="{profile}" name="{name}" pid=9 comm="{comm}" {more}',
        second,
    )


def journal(host: FakeHost, messages: Sequence[str | dict[str, Any]]) -> None:
    """What journalctl answers."""
    entries = [
        {"MESSAGE": m, "__REALTIME_TIMESTAMP": f"{BOOT + 500}000000", "_TRANSPORT": "kernel"}
        if isinstance(m, str)
        else m
        for m in messages
    ]
    host.write("/fake/journal.json", "".join(json.dumps(entry) + "\n" for entry in entries))


def make_host(host: FakeHost) -> FakeHost:
    host.environment["TZ"] = "UTC"
    host.write("/proc/stat", f"cpu  1 2 3\nbtime {BOOT}\n")
    host.path("/var/log/journal").mkdir(parents=True)
    host.write(
        "/etc/apparmor.d/abstractions/phoenix/kernel-files",
        "# Files\n  deny /proc/sysrq-trigger w,\n  deny /{,**/}core_pattern wklx,\n"
        "  deny mount fstype={tracefs,bpf},\n",
    )
    for name in (BASE, DOCKER):
        host.write(
            f"/etc/apparmor.d/{name}",
            f"profile {name} {{\n  include <abstractions/phoenix/kernel-files>\n"
            f"  include if exists <local/{name}>\n}}\n",
        )
    return host


def process(host: FakeHost, pid: int, group: str, second: float) -> None:
    """A live process that began so many seconds after boot."""
    host.write(f"/proc/{pid}/cgroup", f"0::{group}\n")
    words = ["S", *"0" * 18, str(int(second * 100)), "0"]
    host.write(f"/proc/{pid}/stat", f"{pid} (a b) c) {' '.join(words)}\n")


def everything(host: FakeHost) -> None:
    """Something of each kind."""
    host.conf("950", "hostname: vllm\n")
    host.conf("952", "hostname: docker\n")
    host.runtime("952", b"lxc.apparmor.profile = lxc-nvidia-gpu-docker\n")
    process(host, 4711, "/lxc/950/ns/init.scope", 50)
    journal(
        host,
        [
            file(BASE, "/proc/sysrq-trigger", 100),
            file(BASE, "/proc/sysrq-trigger", 160),
            mount(DOCKER, 200),
            mount(DOCKER, 260.5, pid=4800),
            denied(
                'operation="open" class="file" namespace="root//lxc-952_<-var-lib-lxc>" '
                'profile="docker-default" name=2F612062 pid=9 comm="cat" requested_mask="r" '
                'denied_mask="r" fsuid=0 ouid=0',
                300,
            ),
            denied(
                'operation="mount" class="mount" info="failed flags match" error=-13 '
                'profile="lxc-101_</var/lib/lxc>" name="/dev/shm/" pid=4178 comm="(sd-mkdcreds)" '
                'fstype="ramfs" srcname="ramfs" flags="rw, nosuid"',
                310,
            ),
            denied(
                'operation="ptrace" class="ptrace" profile="lxc-other" pid=9 comm="ps" '
                'requested_mask="read" denied_mask="read" peer="unconfined"',
                320,
            ),
            denied(
                'operation="change_onexec" class="file" profile="/usr/bin/lxc-start" '
                'name="lxc_phoenix_v1" pid=12 comm="lxc-start"',
                330,
            ),
            denied('operation="open" profile="/usr/bin/man" name="/x" denied_mask="r"', 340),
            file(BASE, "/before-boot", -100),
            "kauditd_printk_skb: 12 callbacks suppressed",
            "kauditd_printk_skb: 30 callbacks suppressed",
            "audit: audit_lost=7 audit_rate_limit=5 audit_backlog_limit=64",
            "audit: rate limit exceeded",
            "usb 1-1: new device",
        ],
    )


def real_profiles(host: FakeHost) -> None:
    """The profiles as they ship, and one of LXC's as its package has it."""
    target = host.path("/etc/apparmor.d")
    shutil.rmtree(target)
    shutil.copytree(REPO / "profiles", target)
    host.write(
        "/etc/apparmor.d/lxc/lxc-default-cgns",
        "profile lxc-container-default-cgns flags=(attach_disconnected,mediate_deleted) {\n"
        "  #include <abstractions/lxc/container-base>\n  deny mount fstype=devpts,\n}\n",
    )
    host.write("/etc/apparmor.d/lxc-containers", "#include <tunables/global>\n#include <lxc>\n")
    host.write(
        "/etc/apparmor.d/usr.bin.lxc-start",
        "/usr/bin/lxc-start flags=(attach_disconnected) {\n"
        "  #include <abstractions/lxc/start-container>\n}\n",
    )
    host.write("/var/lib/dpkg/info/lxc-pve.conffiles", "/etc/apparmor.d/usr.bin.lxc-start\n")
    host.write(
        "/etc/apparmor.d/lxc-mine",
        "profile lxc-mine {\n  file,\n  include if exists <local/lxc-mine>\n}\n",
    )


def found(host: FakeHost, *messages: str, ctid: str = "") -> list[dict[str, Any]]:
    """What denials --json says of these messages."""
    journal(host, messages)
    done = host.cli("denials", "--json", *([ctid] if ctid else []))
    assert done.status in (0, 2), done
    denials: list[dict[str, Any]] = json.loads(done.out)["denials"]
    return denials


def only(host: FakeHost, *messages: str) -> dict[str, Any]:
    """The one group that these messages make."""
    (group,) = found(host, *messages)
    return group


OVERCOMMIT = denied(
    'operation="open" class="file" profile="{}" name="/proc/sys/vm/overcommit_memory" pid=9 '
    'comm="{}" requested_mask="w" denied_mask="w" fsuid=0 ouid=0'
)
