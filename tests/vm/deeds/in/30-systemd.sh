# What systemd.exec offers to units, as transient units.
# Texts in single quotes are scripts for other shells; all runs with bash -e.
# shellcheck shell=bash disable=SC2016,SC2154,SC2164,SC1091

deed_private_tmp() {
    touch /tmp/outside
    shell PrivateTmp=yes -- '[ ! -e /tmp/outside ]; touch /tmp/x /var/tmp/x'
}

deed_private_tmp_disconnected() {
    newer 257
    touch /tmp/outside
    # systemd-run 257 takes yes and no only.
    printf '[Service]\nType=oneshot\nPrivateTmp=disconnected\nExecStart=/bin/sh -c "[ ! -e /tmp/outside ] && touch /tmp/x /var/tmp/x"\n' \
        >/run/systemd/system/disconnected.service
    start disconnected
}

deed_protect_system() {
    shell ProtectSystem=strict ReadWritePaths=/var/lib -- \
        'refused touch /usr/x; refused touch /etc/x; refused touch /var/x; touch /var/lib/x'
}

deed_protect_home() {
    mkdir -p /home/deed
    shell ProtectHome=yes -- 'refused ls /home/deed'
    shell ProtectHome=tmpfs -- '[ ! -e /home/deed ]'
    shell ProtectHome=read-only -- 'ls -d /home/deed; refused touch /home/x'
}

deed_dynamic_user() {
    shell DynamicUser=yes StateDirectory=deed RuntimeDirectory=deed CacheDirectory=deed -- \
        '[ $(id -u) -gt 1000 ]; touch $STATE_DIRECTORY/x $RUNTIME_DIRECTORY/x $CACHE_DIRECTORY/x /tmp/x'
}

root_for_unit() {
    mkdir -p /root/unit/{bin,proc,sys,dev,run,tmp,var/tmp,etc,usr}
    cp /bin/busybox /root/unit/bin
    ln -sf busybox /root/unit/bin/sh
    touch /root/unit/etc/os-release
}

deed_root_directory() {
    root_for_unit
    unit RootDirectory=/root/unit MountAPIVFS=no -- /bin/busybox ls -d /bin/busybox
}

deed_root_directory_api() {
    root_for_unit
    unit RootDirectory=/root/unit MountAPIVFS=yes -- /bin/busybox ls -d /proc/self/fd /sys/fs /dev/null
}

deed_portable_service() {
    need portablectl
    root_for_unit
    mkdir -p /root/unit/etc/systemd /root/unit/usr/lib/systemd/system
    touch /root/unit/etc/{machine-id,resolv.conf}
    echo 'ID=debian' >/root/unit/etc/os-release
    printf '[Service]\nType=oneshot\nExecStart=/bin/busybox touch /var/tmp/portable\n' \
        >/root/unit/usr/lib/systemd/system/unit.service
    portablectl --quiet --runtime --profile=trusted attach /root/unit
    start unit.service
    portablectl --quiet --runtime detach /root/unit
}

# What is mounted while a unit with mounts of its own runs is mounted in it too.
deed_mount_while_unit_runs() {
    local at status=0
    at=$(place seen)
    systemd-run --quiet --collect --unit=seen -p Type=exec -p PrivateTmp=yes sleep 600
    mount -t tmpfs none "$at"
    touch "$at/x"
    ls "/proc/$(systemctl show -P MainPID seen)/root$at/x" || status=1
    umount "$at"
    systemctl stop seen
    return "$status"
}

deed_protect_proc() {
    shell ProtectProc=invisible User=nobody -- 'refused ls -d /proc/1; ls -d /proc/$$'
    shell ProtectProc=ptraceable ProcSubset=pid User=nobody -- '[ ! -e /proc/meminfo ]'
}

deed_bind_paths() {
    mkdir -p /root/bound
    touch /root/bound/x
    shell BindPaths=/root/bound:/opt BindReadOnlyPaths=/root/bound:/srv -- \
        'ls /opt/x /srv/x; touch /opt/y; refused touch /srv/y'
}

deed_temporary_file_system() {
    shell TemporaryFileSystem=/var:ro,size=1M TemporaryFileSystem=/opt -- 'refused touch /var/x; touch /opt/x'
}

deed_temporary_root() {
    shell TemporaryFileSystem=/:ro 'BindReadOnlyPaths=/usr /bin /lib -/lib64 /etc' -- '[ ! -e /var ]; ls /etc/passwd'
}

deed_bound_proc() {
    shell BindReadOnlyPaths=/proc:/opt -- 'ls /opt/self'
}

# Nothing is executed but what is in these.
deed_exec_paths() {
    shell NoExecPaths=/ 'ExecPaths=/usr /bin /lib -/lib64' -- 'cp /bin/true /var/tmp; refused /var/tmp/true'
}

deed_paths() {
    shell InaccessiblePaths=/var/log ReadOnlyPaths=/var ReadWritePaths=/var/tmp NoExecPaths=/opt -- \
        'refused ls /var/log/x; refused touch /var/x; touch /var/tmp/x'
}

deed_credentials() {
    echo secret >/root/credential
    shell LoadCredential=a:/root/credential SetCredential=b:word -- \
        'grep -x secret $CREDENTIALS_DIRECTORY/a; grep -x word $CREDENTIALS_DIRECTORY/b'
}

deed_private_devices() {
    shell PrivateDevices=yes -- '[ ! -e /dev/fuse ]; echo x >/dev/null; head -c 1 /dev/urandom; ls /dev/shm'
}

deed_device_policy() {
    # A node that the container may open, and the unit may not.
    [ -c /dev/net/tun ] || absent 'no /dev/net/tun'
    true <>/dev/net/tun
    shell DevicePolicy=closed DeviceAllow='/dev/zero r' -- \
        'head -c 1 /dev/zero; echo x >/dev/null; ! true <>/dev/net/tun'
}

deed_private_network() {
    [ "$(shell PrivateNetwork=yes -- 'ip -br link | wc -l')" -le 1 ]
}

deed_private_users() {
    shell PrivateUsers=yes -- 'wc -l </proc/self/uid_map; refused chown 33 /root'
}

deed_private_ipc() {
    shell PrivateIPC=yes PrivateMounts=yes ProtectHostname=yes -- '[ -z "$(ipcs -m | grep 0x)" ]'
}

deed_private_pids() {
    newer 257
    shell PrivatePIDs=yes -- '[ $$ -le 3 ]; ls -d /proc/$$'
}

deed_protect_kernel() {
    shell ProtectKernelTunables=yes ProtectKernelModules=yes ProtectKernelLogs=yes \
        ProtectControlGroups=yes ProtectClock=yes -- \
        'refused mkdir /sys/fs/cgroup/x; refused ls /usr/lib/modules/x; ls /proc/sys/kernel/hostname'
}

deed_system_calls() {
    shell SystemCallFilter=@system-service SystemCallArchitectures=native NoNewPrivileges=yes \
        MemoryDenyWriteExecute=yes RestrictNamespaces=yes RestrictRealtime=yes RestrictSUIDSGID=yes \
        LockPersonality=yes 'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6' -- 'refused unshare -m true; echo x'
}

deed_folders() {
    shell StateDirectory=deed2 CacheDirectory=deed2 LogsDirectory=deed2 ConfigurationDirectory=deed2 \
        RuntimeDirectory=deed2 User=daemon -- 'touch $STATE_DIRECTORY/x $LOGS_DIRECTORY/x $RUNTIME_DIRECTORY/x'
}

deed_resource_limits() {
    shell MemoryMax=100M CPUQuota=50% TasksMax=50 IOWeight=50 Nice=5 OOMScoreAdjust=100 LimitNOFILE=4096 -- \
        '[ $(ulimit -n) = 4096 ]; [ $(cat /proc/$$/oom_score_adj) = 100 ]'
}

deed_network_rules() {
    shell IPAddressDeny=any IPAddressAllow=localhost SocketBindDeny=any -- 'echo x'
}

deed_network_namespace_path() {
    ip netns add deed2
    shell NetworkNamespacePath=/run/netns/deed2 -- '[ $(ip -br link | wc -l) -le 1 ]'
    ip netns delete deed2
}

deed_capabilities() {
    shell User=daemon AmbientCapabilities=CAP_NET_BIND_SERVICE CapabilityBoundingSet=CAP_NET_BIND_SERVICE \
        KeyringMode=private -- 'grep -q "CapAmb.*400" /proc/self/status'
}

deed_extension_directories() {
    newer 255
    mkdir -p /root/extension/usr/lib/extension-release.d /root/extension/usr/share/deed
    echo ID=_any >/root/extension/usr/lib/extension-release.d/extension-release.extension
    shell ExtensionDirectories=/root/extension -- 'ls -d /usr/share/deed'
}

deed_log_namespace() {
    shell LogNamespace=deed -- 'echo logged'
    retry systemctl stop 'systemd-journald@deed.service' 'systemd-journald@deed.socket' 'systemd-journald-varlink@deed.socket'
}

deed_hardened() {
    shell ProtectSystem=strict ProtectHome=yes PrivateTmp=yes PrivateDevices=yes ProtectKernelTunables=yes \
        ProtectControlGroups=yes ProtectProc=invisible ProcSubset=pid PrivateUsers=yes PrivateNetwork=yes \
        DynamicUser=yes RestrictNamespaces=yes SystemCallFilter=@system-service -- 'refused touch /usr/x; touch /tmp/x'
}

deed_resolved() {
    start systemd-resolved
    resolvectl status | grep -q Global
}

deed_oomd() {
    [ -e /proc/pressure/memory ] || absent 'no pressure'
    start systemd-oomd
    timeout 6 oomctl | grep -q 'Dry Run'
}

deed_hostnamed() {
    hostnamectl set-hostname deed2
    [ "$(hostnamectl --static)" = deed2 ]
    [ "$(hostname)" = deed2 ]
}

deed_timedated() {
    timedatectl set-timezone Europe/Prague
    timedatectl show | grep -qx Timezone=Europe/Prague
    timedatectl set-timezone UTC
}

deed_user_session() {
    id deed >/dev/null 2>&1 || useradd -m -s /bin/bash deed
    mkdir -p /var/lib/systemd/linger
    loginctl enable-linger deed
    local at
    at=/run/user/$(id -u deed)
    retry test -S "$at/bus"
    runuser -u deed -- env XDG_RUNTIME_DIR="$at" systemd-run --user --wait -q --pipe -p PrivateTmp=yes \
        bash -ec 'touch /tmp/x; id -un' | grep -qx deed
}

deed_sysext() {
    local release=/run/extensions/deed/usr/lib/extension-release.d
    mkdir -p $release
    echo ID=_any >$release/extension-release.deed
    touch /run/extensions/deed/usr/deed
    systemd-sysext merge
    test -e /usr/deed
    systemd-sysext unmerge
    test ! -e /usr/deed
    rm -r /run/extensions/deed
}

deed_polkit() {
    start polkit
    pkcheck --action-id org.freedesktop.systemd1.manage-units --process $$
}

deed_nspawn() {
    root_for_unit
    systemd-nspawn -q --register=no --keep-unit -D /root/unit /bin/busybox echo inside | grep -q inside
}
