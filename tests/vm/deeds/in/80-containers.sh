# Containers inside: Docker, containerd, podman, buildah. $here/img.tar is an image of busybox.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

. "$here/tools"

make_image() {
    [ ! -e /root/img.tar ] || return 0
    mkdir -p /root/img/{bin,etc,proc,dev/dri,tmp,usr/bin}
    cp /bin/busybox /root/img/bin
    for applet in sh cat ls touch sleep wget httpd mkdir echo grep id head wc hostname; do
        ln -sf busybox "/root/img/bin/$applet"
    done
    echo 'include /etc/ld.so.conf.d/*.conf' >/root/img/etc/ld.so.conf
    echo 'root:x:0:0:root:/:/bin/sh' >/root/img/etc/passwd
    tar -c -C /root/img -f /root/img.tar .
}

docker_up() {
    need docker
    { [ -e "$CDI" ] && systemctl is-active -q docker; } || {
        tools
        local nat=
        # User-Mode Linux has none.
        { iptables -t nat -N X && iptables -t nat -X X; } || nat='"iptables": false, "ip6tables": false, '
        echo "{$nat"'"features": {"cdi": true}, "runtimes": {"nvidia": {"path": "/usr/local/bin/nvidia-runtime"}}}' \
            >/etc/docker/daemon.json
        systemctl unmask docker.service docker.socket containerd.service
        systemctl stop docker docker.socket
        start docker
    }
    docker image inspect deeds >/dev/null 2>&1 || {
        make_image
        docker import /root/img.tar deeds
    }
}

podman_up() {
    need podman
    [ -e "$CDI" ] || tools
    podman image exists deeds || {
        make_image
        podman import -q /root/img.tar deeds
    }
}

deed_docker_run() {
    docker_up
    docker run --rm deeds echo inside | grep -qx inside
}

deed_docker_sysctl() {
    docker_up
    docker run --rm --sysctl kernel.shmmax=123456 --sysctl net.ipv4.ip_forward=1 --sysctl kernel.msgmax=16384 \
        deeds cat /proc/sys/kernel/shmmax | grep -qx 123456
}

deed_docker_options() {
    docker_up
    docker run --rm --read-only --tmpfs /tmp:size=8M,noexec --shm-size 64M --hostname deed --cap-drop ALL \
        --security-opt no-new-privileges --memory 64M --pids-limit 50 --init \
        deeds sh -c 'touch /tmp/x; hostname' | grep -qx deed
}

deed_docker_privileged() {
    docker_up
    docker run --rm --privileged --ipc host --pid host --net host deeds ls -d /sys/fs/cgroup
}

# As k3s and others begin, by busybox.
deed_docker_propagation() {
    docker_up
    docker run --rm --privileged deeds sh -ec 'busybox mount --make-rshared /
        grep -q " / / .* shared:" /proc/self/mountinfo'
}

deed_docker_privileged_proc() {
    docker_up
    docker run --rm --privileged deeds /bin/busybox mount -t proc none /tmp
}

deed_docker_volumes() {
    docker_up
    docker run --rm -v deed:/v -v /srv:/srv:ro --mount type=tmpfs,dst=/t deeds sh -c 'touch /v/x /t/x; touch /srv/x || echo ro' |
        grep -qx ro
}

deed_docker_compose() {
    docker_up
    printf 'services:\n  a:\n    image: deeds\n    command: [echo, composed]\n' >/root/compose.yaml
    { docker compose -f /root/compose.yaml up || docker-compose -f /root/compose.yaml up; } 2>&1 | grep -q 'composed'
}

deed_ctr() {
    docker_up
    docker save deeds | ctr images import - >/dev/null
    ctr run --rm docker.io/library/deeds:latest deed /bin/echo inside | grep -qx inside
}

# What nerdctl does, with ctr: a bridge of CNI's, AppArmor's default profile (which containerd writes and
# loads) where there is AppArmor inside, Linux' overlay file system, a limited cgroup, a volume.
deed_nerdctl_like() {
    docker_up
    [ -x /usr/lib/cni/bridge ] || absent 'no bridge of CNI'
    local said apparmor=()
    [ ! -e /sys/kernel/security/apparmor/profiles ] || apparmor=(--apparmor-default-profile nerdctl-default)
    mkdir -p /opt/cni /etc/cni/net.d
    ln -sfn /usr/lib/cni /opt/cni/bin
    cni >/etc/cni/net.d/10-deed.conflist
    docker save deeds | ctr --namespace nerdctl images import - >/dev/null
    said=$(ctr --namespace nerdctl run --rm --cni "${apparmor[@]}" --memory-limit 67108864 \
        --mount type=bind,src=/srv,dst=/srv,options=rbind:ro docker.io/library/deeds:latest deed \
        /bin/sh -c 'ls /sys/class/net; touch /x /srv/x || echo ro; cat /proc/self/attr/current')
    echo "$said"
    [ -z "${apparmor[*]}" ] || grep -qx 'nerdctl-default (enforce)' <<<"$said"
    grep -qx eth0 <<<"$said"
    grep -qx ro <<<"$said"
}

cni() {
    echo '{"cniVersion": "0.4.0", "name": "deed", "plugins": [
        {"type": "bridge", "bridge": "deed0", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "subnet": "10.88.9.0/24", "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]}'
}

# A user who runs containers without root, and a session of theirs.
rootless() {
    id deed >/dev/null 2>&1 || useradd -m -s /bin/bash deed
    echo 'deed:10000:20000' >/etc/subuid
    echo 'deed:10000:20000' >/etc/subgid
    # Its root is an overlay file system in this test: AppArmor knows no path of a library there, and
    # Debian's profile for PAM's helper, in the container's own policy namespace, then stops the session.
    printf unix-chkpwd 2>/dev/null >/sys/kernel/security/apparmor/.remove || true
    loginctl enable-linger deed
    systemctl start "user@$(id -u deed)"
    session=/run/user/$(id -u deed)
    retry test -S "$session/bus"
    as_deed=(runuser -u deed -- env "XDG_RUNTIME_DIR=$session" "DBUS_SESSION_BUS_ADDRESS=unix:path=$session/bus"
        HOME=/home/deed PATH=/usr/bin:/bin:/usr/sbin:/sbin)
    cd /home/deed
}

# Docker without root, by its own script. $1: the storage driver.
docker_without_root() {
    need rootlesskit
    make_image
    rootless
    local socket=unix://$session/docker.sock
    "${as_deed[@]}" sh /usr/share/docker.io/contrib/dockerd-rootless.sh --storage-driver "$1" >/root/rootless.log 2>&1 &
    retry test -S "$session/docker.sock" || tail -n 5 /root/rootless.log
    "${as_deed[@]}" docker -H "$socket" info >/root/rootless.info
    grep -qw rootless /root/rootless.info
    "${as_deed[@]}" docker -H "$socket" import - deeds </root/img.tar
    "${as_deed[@]}" docker -H "$socket" run --rm -v /srv:/srv:ro -p 8081:80 deeds \
        sh -c 'touch /x; id -u; ls /sys/class/net; touch /srv/x || echo ro' | tr '\n' ' ' | grep '^0 eth0 lo ro'
    pkill -u deed rootlesskit
    wait
}

deed_docker_rootless() {
    docker_without_root vfs
}

deed_docker_rootless_fuse() {
    docker_without_root fuse-overlayfs
}

# containerd without root, as nerdctl's containerd-rootless.sh has it.
deed_ctr_rootless() {
    need rootlesskit
    docker_up
    docker save deeds >/tmp/deeds.tar
    rootless
    cat >/tmp/containerd-rootless.sh <<'X'
rm -rf /run/containerd /var/lib/containerd /etc/containerd
mkdir -p ~/.local/share/containerd "$XDG_RUNTIME_DIR/containerd" /run/containerd /var/lib/containerd
mount --bind "$XDG_RUNTIME_DIR/containerd" /run/containerd
mount --bind ~/.local/share/containerd /var/lib/containerd
exec containerd
X
    "${as_deed[@]}" rootlesskit --state-dir="$session/containerd-rootless" --net=slirp4netns \
        --slirp4netns-sandbox=auto --slirp4netns-seccomp=auto --disable-host-loopback --copy-up=/etc --copy-up=/run \
        --copy-up=/var/lib --propagation=rslave sh /tmp/containerd-rootless.sh >/root/rootless.log 2>&1 &
    local pid=$session/containerd-rootless/child_pid
    retry test -s "$pid"
    local ctr=("${as_deed[@]}" nsenter -U --preserve-credentials -m -n -t "$(cat "$pid")" ctr)
    retry "${ctr[@]}" version >/dev/null 2>&1
    "${ctr[@]}" images import --snapshotter native - </tmp/deeds.tar
    "${ctr[@]}" run --rm --snapshotter native --runc-systemd-cgroup --cgroup user.slice:nerdctl:deed \
        docker.io/library/deeds:latest deed /bin/id -u | grep -qx 0
    pkill -u deed rootlesskit
    wait
}

deed_podman_run() {
    podman_up
    podman run --rm --network none deeds echo inside | grep -qx inside
}

deed_podman_runc() {
    podman_up
    podman --runtime runc run --rm --network none deeds echo inside | grep -qx inside
}

deed_podman_network() {
    podman_up
    export NETAVARK_FW=iptables
    podman run --rm deeds ls /sys/class/net/eth0/address
}

deed_podman_options() {
    podman_up
    podman run --rm --network none --read-only --tmpfs /t -v /srv:/srv:ro --shm-size 64M --sysctl kernel.msgmax=16384 \
        deeds sh -c 'touch /t/x; cat /proc/sys/kernel/msgmax' | grep -qx 16384
}

deed_podman_privileged() {
    podman_up
    podman run --rm --network none --privileged deeds ls -d /sys/fs/cgroup
}

deed_podman_userns() {
    podman_up
    podman run --rm --network none --uidmap 0:1000:1000 deeds cat /proc/self/uid_map | grep -qw 1000
}

# A root elsewhere than below podman's folders.
deed_podman_rootfs() {
    podman_up
    make_image
    podman run --rm --network none --rootfs /root/img echo inside | grep -qx inside
}

deed_podman_pod() {
    podman_up
    podman run -d --rm --network none --name deed deeds sleep 60
    podman exec deed echo inside | grep -qx inside
    podman kill deed
}

deed_podman_build() {
    podman_up
    mkdir -p /root/build
    printf 'FROM deeds\nRUN echo built >/built\n' >/root/build/Dockerfile
    podman build -q --network none -t built /root/build
    podman run --rm --network none built cat /built | grep -qx built
}

deed_buildah() {
    need buildah
    podman_up
    local container
    container=$(buildah from deeds)
    buildah run --network none "$container" -- echo inside | grep -qx inside
    buildah rm "$container"
}

deed_podman_rootless() {
    need podman
    make_image
    rootless
    cp /root/img.tar /tmp/img.tar
    # Its root is an overlay file system in this test: no second one on it.
    local podman=("${as_deed[@]}" podman --storage-driver vfs)
    "${podman[@]}" import -q /tmp/img.tar deeds
    "${podman[@]}" run --rm --network none deeds id -u | grep -qx 0
}

deed_buildah_rootless() {
    need buildah
    cd /home/deed
    runuser -u deed -- env "HOME=/home/deed" "XDG_RUNTIME_DIR=/run/user/$(id -u deed)" buildah --storage-driver vfs unshare id -u | grep -qx 0
}
