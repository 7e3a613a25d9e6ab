# NVIDIA's container tools: the calls of theirs, by /nvidia-replay (see tests/vm/nvidia/src/main.c).
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

. "$here/80-containers.sh"

# ldconfig ran and found the driver's library, its program runs, nodes open, what is to be read-only is.
CHECK='grep -c libcuda.so.1 /etc/ld.so.cache; /usr/bin/nvidia-smi; cat /proc/driver/nvidia/params
head -c 4 /dev/nvidia0 | wc -c; touch /usr/bin/nvidia-smi || echo read-only'
EXPECTED='1
NVIDIA-SMI 550.54
ModifyDeviceFiles: 0
4
read-only'

same() {
    local found
    found=$("$@")
    [ "$found" = "$EXPECTED" ] || {
        echo "$found"
        return 1
    }
}

deed_nvidia_docker_gpus() {
    docker_up
    same docker run --rm --gpus all deeds sh -c "$CHECK"
}

deed_nvidia_docker_gpus_privileged() {
    docker_up
    same docker run --rm --privileged --gpus all deeds sh -c "$CHECK"
}

deed_nvidia_docker_compose() {
    docker_up
    cat >/root/gpu.yaml <<'X'
services:
  gpu:
    image: deeds
    command: [nvidia-smi]
    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all, capabilities: [gpu]}]}}}
X
    { docker compose -f /root/gpu.yaml up || docker-compose -f /root/gpu.yaml up; } 2>&1 | grep -q 'NVIDIA-SMI 550'
}

# Only a privileged container may: "no-cgroups = true" is the documented setting for others.
deed_nvidia_docker_device_cgroup() {
    docker_up
    grep -q ' 4294967295' /proc/self/uid_map || absent 'unprivileged'
    touch /etc/nvidia-replay-devices
    same docker run --rm --gpus all deeds sh -c "$CHECK" || {
        rm /etc/nvidia-replay-devices
        return 1
    }
    rm /etc/nvidia-replay-devices
}

deed_nvidia_docker_cdi() {
    docker_up
    docker run --help | grep -q -- --gpus
    docker info 2>/dev/null | grep -qi cdi || absent 'no CDI in this Docker'
    same docker run --rm --device nvidia.com/gpu=all deeds sh -c "$CHECK"
}

deed_nvidia_docker_runtime() {
    docker_up
    same docker run --rm --runtime nvidia deeds sh -c "$CHECK"
}

oci() {
    command -v crun || command -v runc
}

deed_nvidia_podman_hook() {
    podman_up
    same podman --runtime "$(oci)" run --rm --hooks-dir "$HOOKS" --network none deeds sh -c "$CHECK"
}

deed_nvidia_podman_cdi() {
    podman_up
    same podman --runtime "$(oci)" run --rm --network none --device nvidia.com/gpu=all deeds sh -c "$CHECK"
}

# A user namespace inside: dockerd with userns-remap.
deed_nvidia_docker_userns() {
    docker_up
    echo 'dockremap:30000:20000' >>/etc/subuid
    echo 'dockremap:30000:20000' >>/etc/subgid
    sed -i 's/^{/{"userns-remap": "default", /' /etc/docker/daemon.json
    systemctl stop docker docker.socket
    systemctl reset-failed docker || true
    docker_up
    same docker run --rm --gpus all deeds sh -c "$CHECK"
}
