# The kernel's files and namespaces, as far as they are the container's own.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

# In a new pid namespace with a /proc of its own: LXC mounts its /proc/sys read-only.
own_sysctl() {
    unshare -mpf --mount-proc bash -ec "echo '$2' >/proc/sys/$1; cat /proc/sys/$1"
}

deed_sysctl_hostname() {
    [ "$(own_sysctl kernel/hostname deed)" = deed ]
}

deed_sysctl_domainname() {
    [ "$(own_sysctl kernel/domainname deed)" = deed ]
}

deed_sysctl_shm() {
    [ "$(own_sysctl kernel/shmmax 123456789)" = 123456789 ]
}

deed_sysctl_sem() {
    own_sysctl kernel/sem '250 32000 100 128' | grep -q 100
}

deed_sysctl_msg() {
    [ "$(own_sysctl kernel/msgmax 16384)" = 16384 ]
}

deed_sysctl_net() {
    [ "$(own_sysctl net/ipv4/ip_forward 1)" = 1 ]
    echo 1 >/proc/sys/net/ipv4/ip_unprivileged_port_start
}

deed_hostname() {
    hostname deed
    [ "$(cat /proc/sys/kernel/hostname)" = deed ]
}

deed_pressure() {
    exec 3<>/proc/pressure/memory
    echo 'some 500000 1000000' >&3
}

deed_oom_score() {
    echo 500 >/proc/self/oom_score_adj
    grep -qx 500 /proc/self/oom_score_adj
}

deed_cgroup() {
    mkdir /sys/fs/cgroup/deed
    sleep 100 &
    echo $! >/sys/fs/cgroup/deed/cgroup.procs
    grep -q deed "/proc/$!/cgroup"
    kill $!
    wait $! || true
    rmdir /sys/fs/cgroup/deed
}

deed_user_namespace() {
    unshare -Urm bash -ec 'mount -t tmpfs none /mnt; echo 1 >/mnt/x; id -u' | grep -qx 0
}

deed_pid_namespace() {
    [ "$(unshare -mpf --mount-proc ps -e --no-headers | wc -l)" -le 3 ]
}

deed_net_namespace() {
    ip netns add deed
    ip -n deed link set lo up
    ip netns exec deed ip link show lo | grep -q UP
    ip netns delete deed
}

# Namespaces without a process, kept by files that are not where ip has its own.
deed_kept_namespaces() {
    touch /run/kept-net /tmp/kept-uts
    unshare --net=/run/kept-net ip link add deed type dummy
    nsenter --net=/run/kept-net ip link show deed
    unshare --uts=/tmp/kept-uts hostname kept
    nsenter --uts=/tmp/kept-uts hostname | grep -qx kept
    umount /run/kept-net /tmp/kept-uts
}

# Where qemu-user registers itself for programs of other machines: from Linux 6.7 on a user
# namespace may have its own.
deed_binfmt_misc() {
    grep -qw binfmt_misc /proc/filesystems || absent "no binfmt_misc"
    unshare -m bash -ec '
        mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
        ls /proc/sys/fs/binfmt_misc/register'
}

deed_chroot() {
    mkdir -p /root/chroot/{bin,dev,tmp}
    cp /bin/busybox /root/chroot/bin
    touch /root/chroot/dev/null
    mount --bind /dev/null /root/chroot/dev/null
    mount -t tmpfs none /root/chroot/tmp
    chroot /root/chroot /bin/busybox sh -c 'echo x >/dev/null && echo x >/tmp/x && echo in' | grep -qx in
    umount /root/chroot/dev/null /root/chroot/tmp
}

root_with_busybox() {
    mkdir -p /root/chroot/{bin,proc,sys}
    cp /bin/busybox /root/chroot/bin
}

# As debootstrap, schroot and builders make it.
deed_chroot_with_proc() {
    root_with_busybox
    unshare -m bash -ec '
        mount -t proc proc /root/chroot/proc
        mount -t sysfs sysfs /root/chroot/sys
        chroot /root/chroot /bin/busybox cat /proc/self/comm' | grep -qx busybox
}

deed_chroot_with_bound_proc() {
    root_with_busybox
    unshare -m bash -ec '
        mount --rbind /proc /root/chroot/proc
        mount --rbind /sys /root/chroot/sys
        chroot /root/chroot /bin/busybox cat /proc/self/comm' | grep -qx busybox
}
