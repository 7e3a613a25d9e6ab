# Mounts that people and programs make, by util-linux (the new mount API) and by mount(2) (busybox).
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

remount_tmpfs() {
    local at
    at=$(place "$1")
    mount -t tmpfs -o size=8M none "$at"
    "${@:2}" -o remount,size=16M "$at"
    has_option "$at" size=16384k
    "${@:2}" -o remount,ro "$at"
    refused touch "$at/x"
    "${@:2}" -o remount,rw "$at"
    touch "$at/x"
    umount "$at"
}

deed_remount_tmpfs() {
    remount_tmpfs a mount
}

deed_remount_tmpfs_busybox() {
    remount_tmpfs b busybox mount
}

deed_remount_tmp() {
    findmnt /tmp >/dev/null || mount -t tmpfs -o nosuid,nodev none /tmp
    mount -o remount,size=300M /tmp
    has_option /tmp size=307200k
}

deed_remount_shm() {
    mount -o remount,size=200M /dev/shm
    has_option /dev/shm size=204800k
}

deed_remount_proc() {
    mount -o remount,hidepid=2 /proc
    has_option /proc hidepid=invisible
    mount -o remount,hidepid=0 /proc
}

bind_options() {
    local at from
    at=$(place "$1")
    from=/root/$1
    mkdir -p "$from"
    "${@:2}" -o bind "$from" "$at"
    "${@:2}" -o remount,bind,nosuid,nodev "$at"
    has_option "$at" nosuid
    "${@:2}" -o remount,bind,ro "$at"
    refused touch "$at/x"
    "${@:2}" -o remount,bind,rw "$at"
    touch "$at/x"
    umount "$at"
}

deed_bind_remounts() {
    bind_options c mount
}

deed_bind_remounts_busybox() {
    bind_options d busybox mount
}

deed_bind_with_options() {
    local at
    at=$(place e)
    mkdir -p /root/e
    mount -o bind,nosuid,nodev,ro /root/e "$at"
    has_option "$at" nosuid
    refused touch "$at/x"
    umount "$at"
}

deed_rbind() {
    local at
    at=$(place f)
    mount -t tmpfs none "$at"
    mkdir -p "$at/a" "$at/b"
    mount -t tmpfs none "$at/a"
    touch "$at/a/x"
    mount --rbind "$at/a" "$at/b"
    [ -e "$at/b/x" ]
    umount -R "$at"
}

deed_move() {
    local at
    at=$(place g)
    mount -t tmpfs none "$at"
    mount --make-private "$at"
    mkdir "$at/a" "$at/b"
    mount -t tmpfs none "$at/a"
    touch "$at/a/x"
    mount --move "$at/a" "$at/b"
    [ -e "$at/b/x" ]
    umount -R "$at"
}

deed_propagation() {
    local at
    at=$(place h)
    unshare -m bash -ec "
        mount --make-rprivate /; mount -t tmpfs none $at; mount --make-rshared $at
        mount --make-rslave $at; mount --make-unbindable $at; mount --make-private $at"
}

# As images of busybox have it in what they begin with.
propagation_busybox='
    busybox mount --make-rshared /; grep -q " / / .* shared:" /proc/self/mountinfo
    busybox mount --make-rslave /; if grep -q " / / .* shared:" /proc/self/mountinfo; then exit 1; fi
    busybox mount --make-rprivate /; if grep -q " / / .* master:" /proc/self/mountinfo; then exit 1; fi'

deed_propagation_busybox() {
    unshare -m --propagation unchanged bash -ec "$propagation_busybox"
}

deed_propagation_own_busybox() {
    local at
    at=$(place m)
    unshare -m bash -ec "
        mount -t tmpfs none $at; busybox mount --make-rshared $at
        grep -q ' $at .* shared:' /proc/self/mountinfo"
}

deed_bind_read_only_busybox() {
    local at
    at=$(place l)
    mkdir -p /root/l
    busybox mount -o bind /root/l "$at"
    busybox mount -o remount,bind,ro "$at"
    refused touch "$at/x"
    umount "$at"
}

deed_overlay() {
    local at
    at=$(place i)
    mount -t tmpfs none "$at"
    mkdir "$at"/{lower,upper,work,merged}
    echo lower >"$at/lower/x"
    mount -t overlay -o "lowerdir=$at/lower,upperdir=$at/upper,workdir=$at/work" none "$at/merged"
    echo upper >"$at/merged/x"
    grep -qx upper "$at/upper/x"
    umount -R "$at"
}

deed_fstab() {
    mkdir -p /mnt/j /mnt/k /root/k
    printf 'none /mnt/j tmpfs size=4M,nosuid,noexec 0 0\n/root/k /mnt/k none bind,ro 0 0\n' >/etc/fstab
    systemctl daemon-reload
    start mnt-j.mount mnt-k.mount
    has_option /mnt/j noexec
    refused touch /mnt/k/x
    systemctl stop mnt-j.mount mnt-k.mount
    : >/etc/fstab
}

deed_fuse_squashfs() {
    need squashfuse
    local at
    at=$(place l)
    mkdir -p /root/l
    echo squashed >/root/l/x
    mksquashfs /root/l /root/l.squashfs -quiet -noappend
    squashfuse /root/l.squashfs "$at"
    grep -qx squashed "$at/x"
    umount "$at"
}

deed_fuse_bindfs() {
    need bindfs
    local at
    at=$(place m)
    mkdir -p /root/m
    bindfs /root/m "$at"
    touch "$at/x"
    [ -e /root/m/x ]
    umount "$at"
}

deed_fuse_overlay() {
    need fuse-overlayfs
    local at
    at=$(place n)
    mkdir -p /root/n/{lower,upper,work}
    fuse-overlayfs -o lowerdir=/root/n/lower,upperdir=/root/n/upper,workdir=/root/n/work "$at"
    touch "$at/x"
    [ -e /root/n/upper/x ]
    umount "$at"
}
