"""Docker inside a container under lxc-nvidia-gpu-docker, as Debian ships and starts it.

One container is booted and all is done in it: Debian 13 (BuildKit, compose 2), unprivileged, with a
policy namespace. tests/vm/test_docker_templates.py has the other kinds of containers. What only
asks more of the programs inside, and not of the kernel, is done under User-Mode Linux; what goes
through the host's firewall only where a kernel has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.build import TREE
from tests.names import DOCKER
from tests.vm.booting import Boot, boot, denials, inside, make
from tests.vm.containers import assign, conf_path, label
from tests.vm.deeds.program import Done, do
from tests.vm.dockers import DATA_ROOT, LOCAL, PODMAN, STACKED, nested, start_docker
from tests.vm.harness.machine import Machine
from tests.vm.harness.prepared import write_policy
from tests.vm.harness.suites import EMULATED, PROGRAMS, RELEASES_AND_KERNEL
from tests.vm.nvidia import driver

# (In a privileged container on Linux 6.1: test_docker_templates.py.)
ONLY_SUITES = RELEASES_AND_KERNEL
CTID = 952
of_programs = pytest.mark.suites(*PROGRAMS)
CONFINED = "docker-default (enforce)"
BUILD = """\
mkdir -p /root/b; printf 'FROM bb\\nRUN echo built >/built\\n' >/root/b/Dockerfile
export DOCKER_BUILDKIT={kit}
docker build -q -t b{kit} /root/b >/dev/null && docker run --rm b{kit} /bin/cat /built
"""
NETWORK = """\
docker network create n1 >/dev/null
docker run -d --name web --network n1 -p 8080:80 bb /bin/sh -c \
    'mkdir /www; echo hello >/www/index.html; httpd -f -p 80 -h /www' >/dev/null
docker run --rm --network n1 bb wget -T 20 -qO- http://web/
docker run --rm bb wget -T 20 -qO- http://172.17.0.1:8080/
busybox wget -T 20 -qO- http://127.0.0.1:8080/
"""
COMPOSE = """\
printf 'services:\\n  a:\\n    image: bb\\n    command: [echo, composed]\\n' >/root/compose.yaml
docker compose -f /root/compose.yaml up
"""
# What an admin shares read-only, where anybody may write, but for that.
SHARE = "lxc.mount.entry: /var/lib/test-share share none bind,ro,create=dir 0 0\n"
MAKE_SHARE = "mkdir -m 1777 /var/lib/test-share; echo shared >/var/lib/test-share/word"
USE_SHARE = """\
docker run --rm -v /share:/s bb sh -c 'cat /s/word; touch /s/a 2>/dev/null || echo refused'
docker run --rm -v /share:/s:ro bb cat /s/word
systemd-run --quiet --wait --pipe --collect -p ProtectSystem=strict -p PrivateTmp=yes \
    -p ReadWritePaths=/share -p BindPaths=/share:/srv -- cat /share/word /srv/word
mount -o remount,bind,rw /share || echo refused
mount --bind /share /mnt && mount -o remount,bind,rw /mnt || echo refused
touch /share/b /mnt/b || echo refused
"""
# What NVIDIA's container tools do: tests/vm/deeds/in/90-nvidia.sh.
DOCKER_GPU = "nvidia_docker_gpus"
OTHER_GPU = ("nvidia_docker_cdi", "nvidia_podman_hook", "nvidia_podman_cdi")


@pytest.fixture(scope="module")
def booted(roots_vm: Machine) -> Boot:
    driver.install(roots_vm)
    roots_vm.sh(MAKE_SHARE)
    make(roots_vm, CTID, "trixie", unprivileged=True, more=driver.MOUNTS + SHARE)
    assign(roots_vm, {CTID: DOCKER})
    return boot(roots_vm, CTID)


@pytest.fixture(scope="module")
def vm(roots_vm: Machine, booted: Boot) -> Iterator[Machine]:
    """With dockerd, and an image bb. At the end: nothing was denied that was to work."""
    assert booted.state
    since = roots_vm.sh("date +%s").stdout.strip()
    info = start_docker(roots_vm, CTID, gpu=True)
    assert "overlay2" in info
    assert "name=apparmor" in info
    yield roots_vm
    assert "docker-default" not in denials(roots_vm, since).replace(f"{DOCKER}//", "")


def run(vm: Machine, *arguments: str) -> list[str]:
    """What a nested container prints."""
    return inside(vm, CTID, f"docker run --rm {' '.join(arguments)}").splitlines()


def test_it_boots_cleanly(roots_vm: Machine, booted: Boot) -> None:
    assert booted == Boot("running", "", "")
    assert label(roots_vm, CTID) == STACKED.format(CTID, "unconfined")
    assert f"\nlxc.apparmor.profile: {DOCKER}\n" in roots_vm.read(conf_path(CTID))


def test_docker_default_is_enforced_as_the_host_sees_it(vm: Machine) -> None:
    assert nested(vm, CTID) == STACKED.format(CTID, "docker-default")


def test_docker_run_is_under_docker_default(vm: Machine) -> None:
    assert run(vm, "bb cat /proc/self/attr/current") == [CONFINED]
    found = run(
        vm,
        "--read-only --security-opt no-new-privileges",
        "bb sh -c 'touch /x; cat /proc/self/attr/current'",
    )
    assert found == [CONFINED, "touch: /x: Read-only file system"]


def test_privileged_is_still_below_the_outer_profile(vm: Machine) -> None:
    assert nested(vm, CTID, "--privileged") == STACKED.format(CTID, "unconfined")


def test_volumes_of_the_whole_system(vm: Machine) -> None:
    script = "cat /h/etc/debian_version /p/1/comm; ls -d /s/class/net/lo"
    found = run(vm, f"-v /:/h -v /proc:/p -v /sys:/s:ro bb sh -c '{script}'")
    assert found[0].startswith("13")
    assert found[1:] == ["systemd", "/s/class/net/lo"]


def test_a_read_only_share_is_of_use_and_stays_so(vm: Machine) -> None:
    said = inside(vm, CTID, f"exec 2>/dev/null; {USE_SHARE}").splitlines()
    assert said == ["shared", "refused", *["shared"] * 3, *["refused"] * 3]


@of_programs
@pytest.mark.parametrize("kit", [0, 1], ids=["classic", "buildkit"])
def test_docker_build_works(vm: Machine, kit: int) -> None:
    assert "built" in inside(vm, CTID, BUILD.format(kit=kit)).splitlines()


@pytest.mark.suites(*(name for name in ONLY_SUITES if name in EMULATED))
def test_bridge_and_published_port(vm: Machine) -> None:
    assert inside(vm, CTID, NETWORK, timeout=240).splitlines() == ["hello"] * 3


@of_programs
def test_docker_compose_works(vm: Machine) -> None:
    said = inside(vm, CTID, COMPOSE)
    assert "| composed" in said, said


@pytest.fixture(scope="module")
def gpu(vm: Machine) -> Mapping[str, Done]:
    """These deeds, done in turn."""
    deeds = (DOCKER_GPU, *(OTHER_GPU if vm.suite in PROGRAMS else ()))
    return do(vm, CTID, ("90-nvidia.sh",), " ".join(deeds))


def test_a_nested_container_with_a_gpu(gpu: Mapping[str, Done]) -> None:
    assert gpu[DOCKER_GPU].word == "works", gpu[DOCKER_GPU].said


@of_programs
@pytest.mark.parametrize("deed", OTHER_GPU)
def test_other_ways_to_a_gpu(gpu: Mapping[str, Done], deed: str) -> None:
    assert gpu[deed].word == "works", gpu[deed].said


@of_programs
def test_podman_works(vm: Machine) -> None:
    said = inside(vm, CTID, PODMAN)
    assert "podman runs" in said.splitlines(), said


@of_programs
def test_another_data_root_with_the_readmes_line(vm: Machine) -> None:
    """Refused, and with the line it works."""
    section = (TREE / "README.md").read_text().split("\n## Docker inside\n")[1]
    lines = [x.strip() for x in section.splitlines() if x.startswith("    mount ")]
    assert len(lines) == 1
    assert "/data/docker" in inside(vm, CTID, DATA_ROOT, timeout=240).splitlines()
    if vm.debian != "bookworm":  # AppArmor 3.0: CVE-2016-1585, see abstractions/phoenix/mounts
        assert "permission denied" in "".join(run(vm, "bb echo runs"))
    write_policy(vm, LOCAL, "\n".join(lines) + "\n")
    vm.run("phoenix-apparmor", "reload", DOCKER, timeout=300)
    assert run(vm, "bb cat /proc/self/attr/current") == [CONFINED]
