# Sandboxes of programs.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

user() {
    id deed >/dev/null 2>&1 || useradd -m -s /bin/bash deed
    runuser -u deed -- "$@"
}

deed_bwrap_plain() {
    need bwrap
    bwrap --ro-bind / / echo inside | grep -qx inside
}

bwrap_all() {
    "$@" bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
        --ro-bind /etc /etc --proc /proc --dev /dev --tmpfs /tmp --tmpfs /run --dir /var --unshare-all \
        --die-with-parent --new-session bash -ec 'touch /tmp/x; if touch /usr/x; then exit 1; fi; ls -d /proc/self /dev/null; id -u'
}

deed_bwrap() {
    need bwrap
    bwrap_all env
}

deed_bwrap_as_user() {
    need bwrap
    bwrap_all user
}

# As flatpak: files of the host below /newroot, devices, a bound socket.
deed_bwrap_flatpak() {
    need bwrap
    user bwrap --bind / / --dev-bind /dev /dev --proc /proc --bind /tmp /tmp --tmpfs /var/tmp --unshare-pid \
        --unshare-ipc --chdir / bash -ec '[ $$ -le 3 ]; touch /tmp/y'
}

# As chromium's sandbox for its renderers.
deed_chromium_namespaces() {
    user unshare -U -r -p -n -f bash -ec '[ $$ = 1 ]; mkdir -p /tmp/empty; chroot /tmp/empty /x || [ $? = 127 ]'
}
