"""Docker in a booted container, as tests see it."""

from __future__ import annotations

import time

from tests.names import DOCKER
from tests.vm.booting import inside
from tests.vm.deeds.program import put
from tests.vm.harness.machine import Machine

LOCAL = f"/etc/apparmor.d/local/{DOCKER}"
# What the host's kernel says, of a CTID and what is inside its policy namespace.
STACKED = f"{DOCKER}//&:lxc-{{}}_<-var-lib-lxc>:{{}} (enforce)"

# A Proxmox host has loaded these for its firewall and its bridges; a container cannot.
MODULES = """\
for module in bridge veth br_netfilter nf_tables nft_compat nft_chain_nat xt_MASQUERADE \
    xt_conntrack xt_addrtype xt_nat xt_tcpudp ip_tables; do modprobe "$module" || true; done
"""
# An image of busybox, without a network to pull one from; with the folders that every image has.
# (User-Mode Linux has no NAT: containers have a network without a way out.)
START = """\
mkdir -p /etc/docker; { iptables -t nat -N X && iptables -t nat -X X; } 2>/dev/null ||
    echo '{"iptables": false, "ip6tables": false}' >/etc/docker/daemon.json
systemctl unmask docker.service docker.socket containerd.service 2>/dev/null
timeout 150 systemctl start docker || journalctl -u docker -u containerd -n 20 -o cat
mkdir -p /root/img/{bin,dev,etc,proc,sys,tmp,run} && cp /bin/busybox /root/img/bin/
for applet in sh cat ls touch sleep wget httpd mkdir echo; do
    ln -sf busybox /root/img/bin/$applet
done
tar -c -C /root/img . | docker import - bb >/dev/null
docker info --format '{{.Driver}} {{.SecurityOptions}}'
"""
# The same with NVIDIA's tools configured before it starts for the first time.
START_GPU = """\
set -e; here=/deeds; . "$here/common"; . "$here/80-containers.sh"
trap '[ $? = 0 ] || cat /root/said' EXIT
docker_up >/root/said 2>&1
docker tag deeds bb
docker info --format '{{.Driver}} {{.SecurityOptions}}'
"""
# Told apart from all else that runs by how long it sleeps.
NESTED = "docker run -d --rm --name nested {} bb sleep {} >/dev/null"

# Docker's data elsewhere, which the profile leaves to a site; podman.
DATA_ROOT = """\
systemctl stop docker docker.socket
touch /etc/docker/daemon.json
python3 -c '
import json
text = open("/etc/docker/daemon.json").read()
said = json.loads(text or "{}") | {"data-root": "/data/docker"}
print(json.dumps(said))' >/root/daemon.json
mv /root/daemon.json /etc/docker/
timeout 90 systemctl start docker
tar -c -C /root/img . | docker import - bb >/dev/null
docker info --format '{{.DockerRootDir}}'
"""
PODMAN = """\
tar -c -C /root/img . | podman import -q - pbb >/dev/null
export NETAVARK_FW=iptables  # nft is not there; under User-Mode Linux neither works
{ iptables -t nat -N X && iptables -t nat -X X; } 2>/dev/null || NETAVARK_FW=none
podman run --rm pbb /bin/sh -c 'ls /sys/class/net/eth0 && echo podman runs'
"""


def start_docker(vm: Machine, ctid: int, *, gpu: bool = False) -> str:
    """Starts it as the service that it is, makes the image bb; storage driver and security.

    gpu: with NVIDIA's container tools; deeds can be done then.
    """
    vm.sh(MODULES)
    if gpu:
        put(vm, ctid)
    return inside(vm, ctid, START_GPU if gpu else START, timeout=240).splitlines()[-1]


def nested(vm: Machine, ctid: int, arguments: str = "") -> str:
    """The label of a process in a nested container, read on the host."""
    seconds = time.monotonic_ns() // 1000
    said = inside(vm, ctid, NESTED.format(arguments, seconds))
    try:
        found = vm.sh(f"cat /proc/$(pgrep -xf 'sleep {seconds}')/attr/current", check=False)
        return found.stdout.strip() or said + found.stderr
    finally:
        inside(vm, ctid, "docker kill nested")
