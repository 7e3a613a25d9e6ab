"""denials: names that change, and any number of messages, in bounded time, memory and output."""

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from phoenix_apparmor.denials import names
from phoenix_apparmor.denials.quoting import quoted, readable
from tests.names import BASE
from tests.unit.denials_host import BOOT, denied, file, found, journal, make_host, only
from tests.unit.fakehost import PYTHON, REPO, FakeHost

HEX = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
UUID = "0b1c2d3e-1111-2222-3333-444455556666"
H = "[0-9a-f]"
ANY_UUID = "-".join(H * length for length in (8, 4, 4, 4, 12))


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    return make_host(host)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("/run/systemd/namespace-18ipI3/", "/run/systemd/namespace-??????/"),
        (f"/var/lib/docker/overlay2/{HEX}/merged/proc/", "/var/lib/docker/overlay2/*/merged/proc/"),
        (f"/var/lib/docker/overlay2/{HEX}-init/x", "/var/lib/docker/overlay2/*-init/x"),
        ("/var/lib/docker/overlay2/l/ABCDEFGHIJ2KLMNOPQRSTUVWXY", "/var/lib/docker/overlay2/l/*"),
        (f"/run/user/0/netns/netns-{UUID}", f"/run/user/0/netns/netns-{ANY_UUID}"),
        ("/run/docker/netns/4f3a2b1c9d8e", "/run/docker/netns/*"),
        ("/tmp/tmpab12cd34/x.so", f"/tmp/tmp{'[a-z0-9_]' * 8}/x.so"),
        ("/run/tmpabcdefgh", f"/run/tmp{'[a-z0-9_]' * 8}"),
        ("/tmp/tmp.aB3dE5fG7h", "/tmp/tmp.??????????"),
        ("/run/docker.Ab3dE9xQ", "/run/docker.????????"),
        ("/proc/4711/task/4712/mem", "/proc/[0-9]*/task/[0-9]*/mem"),
        ("/proc/4711/fd/3", "/proc/[0-9]*/fd/[0-9]*"),
        (f"/tmp/systemd-private-{HEX[:32]}-ntp.service-AbCdEf/tmp/",
         f"/tmp/systemd-private-{H * 32}-ntp.service-??????/tmp/"),
        (f"/sys/fs/cgroup/system.slice/docker-{HEX}.scope/x",
         f"/sys/fs/cgroup/system.slice/docker-{H * 32}{'?' * 32}.scope/x"),
        ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/17/fs/proc/",
         "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs/proc/"),
        ("/tmp/ssh-gRozJw4786ab/agent.4711", "/tmp/ssh-????????????/agent.[0-9]*"),
        ("/tmp/go-build3210234234/b001/x", "/tmp/go-build[0-9]*/b001/x"),
        ("/var/lib/docker/buildkit/executor/k2m3nq9v0x8z7y6w5u4t3s2r1/x",
         "/var/lib/docker/buildkit/executor/*/x"),
        ("/run/d123456", "/run/d[0-9]*"),
        ("/etc/0123456789abcdef", f"/etc/{'[0-9a-f]' * 8}*"),
        ("/run/0123456789abcdef", f"/run/{'[0-9a-f]' * 8}*"),
        ("/var/lib/0123456789abcdef", f"/var/lib/{'[0-9a-f]' * 8}*"),
        ("/var/lib/x/0123456789abcdef", "/var/lib/x/*"),
        ("/dev/shm/torch_4711_3141592653_0", "/dev/shm/torch_[0-9]*_[0-9]*_[0-9]*"),
        ("/dev/shm/cuda.shm.0.1f3a.2", "/dev/shm/cuda.shm.[0-9a-f]*.[0-9a-f]*.[0-9a-f]*"),
        ("/dev/shm/sem.mp-yenpxawz", "/dev/shm/sem.mp-*"),
        ("/run/systemd/journal/streams/8:12345", "/run/systemd/journal/streams/8:[0-9]*"),
        # an id behind a dot or a dash is no pattern for all that begins with one
        ("/root/.0123456789ab", f"/root/.{H * 12}"),
        (f"/etc/.{UUID}", f"/etc/.{ANY_UUID}"),
        (f"/etc/app-{UUID}.conf", f"/etc/app-{ANY_UUID}.conf"),
        (f"/run/.{UUID}", f"/run/.{ANY_UUID}"),
        (f"/etc/cron.d/x-{HEX[:24]}", f"/etc/cron.d/x-{H * 24}"),
        ("/etc/.k2m3nq9v0x8z7y6w5u4t3s2r1", f"/etc/.{'[0-9a-z]' * 25}"),
        ("/proc/12/environ", "/proc/[0-9]*/environ"),
        ("/dev/pts/3", "/dev/pts/[0-9]*"),
        # what stays as it is
        ("/proc/1/environ", None),
        ("/srv/torch_4711_3141592653_0", None),
        ("/etc/containers/123456", None),
        ("/dev/l/ABCDEFGHIJ2KLMNOPQRSTUVWXY", None),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", None),
        ("/usr/bin/python3.11", None),
        ("/etc/systemd/system/multi-user.target.wants/x.service", None),
        ("/run/user/1000/bus", None),
        ("/proc/sys/kernel/core_pattern", None),
        ("/proc/self/mem", None),
        ("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf", None),
        ("/opt/app/releases/20240101/x", None),
        ("/dev/nvidia-caps/nvidia-cap1", None),
    ],
)  # fmt: skip
def test_what_is_known_to_change(name: str, pattern: str | None) -> None:
    shown = re.sub(r"(?:\[[^]]*\]|\?)+\*?", "*", pattern or name)
    assert quoted(names.generic(name)) == f'"{pattern or name}"'
    assert readable(names.generic(name)) == shown


def hexes(number: int) -> str:
    return f"{number:012x}" * 2


NAMES: dict[str, Callable[[int], str]] = {
    "/run/systemd/namespace-{}/": lambda n: f"{n % 10}a{n:04d}"[:6],
    "/var/lib/docker/overlay2/{}/merged/proc/": hexes,
    "/proc/{}/mem": lambda n: str(n + 2),
    "/srv/work/job{}/out": str,
    "/srv/work/{}": lambda n: f"{n}-result",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_thousand_names_are_one_group(host: FakeHost, name: str) -> None:
    messages = [file(BASE, name.format(NAMES[name](n)), 100 + n / 10) for n in range(2000)]
    group = only(host, *messages)
    assert group["count"] == 2000 and ("*" in group["rule"] or "?" in group["rule"])
    assert len(host.cli("denials").out.splitlines()) < 40


def test_a_few_names_stay_themselves(host: FakeHost) -> None:
    groups = found(host, *(file(BASE, f"/usr/bin/p{n}", 100 + n) for n in range(15)))
    assert len(groups) == 15


def test_what_many_have_in_common_stays_narrow(host: FakeHost) -> None:
    messages = [file(BASE, f"/srv/job-{n}.log", 100 + n) for n in range(30)]
    messages += [file(BASE, "/srv/other", 200), file(BASE, "/srv/job-1.txt", 201)]
    rules = {group["rule"] for group in found(host, *messages)}
    # a few others in that folder make it no wider
    assert rules == {'"/srv/job-[0-9]*.log" w,', '"/srv/other" w,', '"/srv/job-1.txt" w,'}


def test_no_pattern_is_learned_where_each_name_means_something_else(host: FakeHost) -> None:
    groups = found(host, *(file(BASE, f"/proc/sys/vm/x{n}y", 100 + n) for n in range(30)))
    assert len(groups) == 30


def test_the_text_shows_the_top_and_how_many_more(host: FakeHost) -> None:
    messages = [
        denied(f'operation="capable" profile="{BASE}-{n}" capname="chown"', 100 + n, 1000 + k)
        for n in range(60)
        for k in range(2 if n == 59 else 1)
    ]
    journal(host, messages)
    out = host.cli("denials").out
    assert out.count("tried to") == 20 and "40 more kinds (40 denials) are not shown" in out
    assert f"{BASE}-59" in out
    everything = host.cli("denials", "--all").out
    assert everything.count("tried to") == 60 and "not shown" not in everything


def test_profiles_made_up_inside_make_few_series(host: FakeHost) -> None:
    journal(
        host,
        [
            denied(
                f'operation="open" namespace="root//lxc-952_<-var-lib-lxc>" profile="p{n}" '
                'name="/x" denied_mask="r"',
                100 + n / 10,
            )
            for n in range(3000)
        ],
    )
    out = host.cli("status", "--prometheus").out
    series = [line for line in out.splitlines() if line.startswith("phoenix_apparmor_denials{")]
    assert len(series) <= 11
    assert sum(int(line.rpartition(" ")[2]) for line in series) == 3000


LOAD = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["equal", "names", "kinds", "numbers", "flocks"])
def test_a_hundred_thousand_lines(host: FakeHost, kind: str) -> None:
    """A million take under a minute of a processor that is left alone, and 100 MB.

    Here a tenth of them, beside a tenth of those: what is not linear takes up to 100 times as long.
    """
    part, _, _ = examined(host, kind, LOAD // 10)
    seconds, kilobytes, document = examined(host, kind, LOAD)
    told = sum(group["count"] for group in document["denials"]) + document["left_out"]
    assert told == LOAD
    assert len(document["denials"]) <= 3000
    assert seconds < 25 * part, (seconds, part)
    assert kilobytes < 100_000, kilobytes


def examined(host: FakeHost, kind: str, load: int) -> tuple[float, int, dict[str, Any]]:
    """CPU time in seconds, peak in kB and document for so many lines of a kind."""
    lines = []
    for n in range(load):
        name, profile = "/x", BASE
        if kind == "names":
            name = f"/srv/{n % 997}/{n}/x{n}"
        elif kind == "kinds":
            profile, name = f"lxc-{n}", f"/{n}"
        elif kind == "flocks":
            name = f"/srv/{n // 20}x/{n}"
        elif kind == "numbers":
            name = f"/proc/{n}/mem"
        text = file(profile, name, 100 + n / 1000, pid=1000 + n)
        lines.append(
            json.dumps(
                {
                    "MESSAGE": text,
                    "_TRANSPORT": "kernel",
                    "SYSLOG_IDENTIFIER": "kernel",
                    "__CURSOR": "s=0123456789abcdef;i=1;b=0123456789abcdef;m=1;t=2;x=3",
                    "__REALTIME_TIMESTAMP": f"{BOOT + 100}000000",
                    "__MONOTONIC_TIMESTAMP": "100000000",
                    "_BOOT_ID": "0123456789abcdef0123456789abcdef",
                }
            )
        )
    host.write("/fake/journal.json", "\n".join(lines) + "\n")
    seconds, kilobytes, out = measured(host)
    return seconds, kilobytes, json.loads(out)


# The program tells its own peak: what wait4 says begins with that of the process it was forked of.
PROGRAM = """
import re, resource, sys
from phoenix_apparmor.cli import main
status = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(status, used.ru_utime + used.ru_stime, peak, file=sys.stderr)
"""


def measured(host: FakeHost) -> tuple[float, int, bytes]:
    """(processor's seconds, most memory in kB, output) of denials --json."""
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM, "--root", str(host.root), "denials", "--json"],
        capture_output=True,
        env={**host.environment, "PYTHONPATH": str(REPO)},
        check=True,
    )
    status, seconds, kilobytes = done.stderr.split()
    assert status == b"2"
    return float(seconds), int(kilobytes), done.stdout
