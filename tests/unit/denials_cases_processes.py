"""Kernel messages about processes, labels and sockets, and what denials says of them."""

from tests.unit.denials_cases import BOOKWORM, PVE8, PVE9, TRIXIE, Case, P

CASES = (
    Case(
        PVE9,
        'operation="mknod" class="file" profile="lxc-web" name="/srv/www/x" pid=12 comm="php" '
        'requested_mask="c" denied_mask="c" fsuid=100033 ouid=100033',
        "create /srv/www/x",
        '"/srv/www/x" w,',
    ),
    Case(
        PVE9,
        f'operation="file_receive" class="unix" {P} pid=12 comm="x" family="unix" '
        'sock_type="stream" protocol=0 requested_mask="send receive" denied_mask="send receive" '
        'addr=none peer_addr=none peer="lxc-nvidia-gpu-base"',
        "receive an open unix socket of lxc-nvidia-gpu-base",
        'unix (send, receive) type=stream peer=(label="@{profile_name}"),',
    ),
    Case(
        PVE9,
        f'operation="file_inherit" class="net" {P} pid=12 comm="x" family="inet" '
        'sock_type="stream" protocol=6 requested_mask="send receive" denied_mask="send receive"',
        "use an inherited socket: inet stream",
        "network inet stream,",
    ),
    Case(
        PVE9,
        f'operation="mount" class="mount" info="failed type match" error=-13 {P} name="/mnt/x/" '
        'pid=12 comm="mount" fstype="9p" srcname="hostshare" flags="rw"',
        "mount 9p on /mnt/x/ from hostshare",
        'mount fstype=9p options=(rw) "hostshare" -> "/mnt/x/",',
    ),
    Case(
        BOOKWORM,
        f'operation="ptrace" {P} pid=12 comm="x" requested_mask="readby" denied_mask="readby" '
        'peer="unconfined"',
        "look into a process under lxc-nvidia-gpu-base, itself under unconfined",
        'ptrace (readby) peer="unconfined",',
    ),
    Case(
        PVE9,
        f'operation="signal" class="signal" {P} pid=12 comm="x" requested_mask="receive" '
        'denied_mask="receive" signal=term peer="unconfined"',
        "send signal term to a process under lxc-nvidia-gpu-base, itself under unconfined",
        'signal (receive) set=(term) peer="unconfined",',
    ),
    Case(
        PVE9,
        f'operation="create" class="net" {P} pid=12 comm="sh" family="unix" sock_type="dgram" '
        'protocol=0 requested_mask="create" denied_mask="create" addr=none',
        "create a unix socket",
        "unix (create) type=dgram,",
    ),
    Case(
        PVE9,
        'operation="signal" class="signal" profile="docker-default" pid=12 comm="runc" '
        'requested_mask="receive" denied_mask="receive" signal=kill peer="runc"',
        "send signal kill to a process under docker-default, itself under runc",
        'signal (receive) set=(kill) peer="runc",',
    ),
    Case(
        BOOKWORM,
        f'operation="ptrace" {P} pid=12 comm="gdb" requested_mask="tracedby" '
        'denied_mask="tracedby" peer="unconfined"',
        "trace a process under lxc-nvidia-gpu-base, itself under unconfined",
        'ptrace (tracedby) peer="unconfined",',
    ),
    Case(
        PVE9,
        f'operation="setrlimit" class="rlimits" {P} pid=12 comm="mv" rlimit=nofile value=4096',
        "set the resource limit nofile to 4096",
        "",
        note="set rlimit nofile",
    ),
    Case(
        PVE8,
        f'operation="setrlimit" class="rlimits" info="cap_sys_resource" error=-13 {P} pid=12 '
        'comm="prlimit" rlimit=memlock value=65536 peer="lxc-nvidia-gpu-base//child"',
        "set the resource limit memlock to 65536 of a process under lxc-nvidia-gpu-base//child",
        "capability sys_resource,",
    ),
    Case(
        PVE9,
        f'operation="sysctl" {P} pid=12 comm="x"',
        "do what the kernel calls sysctl",
        "",
        note="not known here",
    ),
    Case(
        TRIXIE,
        f'operation="change_profile" class="file" {P} name="unconfined" pid=604 comm="sh" '
        'target="unconfined"',
        "change to profile unconfined",
        'change_profile -> "unconfined",',
        hole="leaves its profile",
    ),
    Case(
        BOOKWORM,
        f'operation="ptrace" {P} pid=12 comm="ps" requested_mask="read" denied_mask="read" '
        'peer="unconfined"',
        "look into a process under unconfined",
        'ptrace (read) peer="unconfined",',
        hole="outside of itself",
    ),
    Case(
        TRIXIE,
        f'operation="ptrace" class="ptrace" {P} pid=12 comm="gdb" requested_mask="trace" '
        'denied_mask="trace" peer="lxc-nvidia-gpu-base//child"',
        "trace a process under lxc-nvidia-gpu-base//child",
        'ptrace (trace) peer="@{profile_name}//child",',
    ),
    Case(
        PVE9,
        'operation="signal" class="signal" profile="lxc-nvidia-gpu-docker" pid=12 comm="runc" '
        'requested_mask="send" denied_mask="send" signal=kill '
        'peer="lxc-nvidia-gpu-docker//&:lxc-952_<-var-lib-lxc>:docker-default"',
        "send signal kill to a process under "
        "lxc-nvidia-gpu-docker//&:lxc-952_<-var-lib-lxc>:docker-default",
        'signal (send) set=(kill) peer="@{profile_name}//&:lxc-952_<-var-lib-lxc>:docker-default",',
        ctid="952",
    ),
    Case(
        BOOKWORM,
        f'operation="capable" {P} pid=12 comm="modprobe" capability=16  capname="sys_module"',
        "use the capability sys_module",
        "capability sys_module,",
        hole="loads code",
    ),
    Case(
        PVE9,
        f'operation="userns_create" class="namespace" {P} pid=12 comm="unshare" '
        'requested="userns_create" denied="userns_create" target="unprivileged_userns"',
        "create a user namespace",
        "userns create,",
    ),
    Case(
        BOOKWORM,
        f'operation="change_profile" info="change_profile not permitted" error=-13 {P} '
        'name="unconfined" pid=12 comm="sh"',
        "change to profile unconfined",
        'change_profile -> "unconfined",',
        hole="leaves its profile",
    ),
    Case(
        TRIXIE,
        'operation="change_onexec" class="file" info="label not found" error=-2 '
        'profile="/usr/bin/lxc-start" name="lxc-gone" pid=12 comm="lxc-start"',
        "change to profile lxc-gone",
        "",
        note="phoenix-apparmor reload",
    ),
    Case(
        TRIXIE,
        'operation="change_onexec" class="file" info="label not found" error=-2 '
        'profile="/usr/bin/lxc-start" name="lxc_phoenix_v1" pid=12 comm="lxc-start"',
        "change to profile lxc_phoenix_v1",
        "",
        note='begins with "lxc-"',
    ),
    Case(
        TRIXIE,
        'operation="change_onexec" class="file" info="label not found" error=-2 '
        'profile="/usr/bin/lxc-start" name="lxc-gone//&:lxc-952_<-var-lib-lxc>:" pid=12 comm="x"',
        "change to profile lxc-gone//&:lxc-952_<-var-lib-lxc>:",
        "",
        note="has no policy namespace lxc-952_<-var-lib-lxc>, which our hookscript or drop-in "
        "makes at each start, or no profile lxc-gone",
    ),
    Case(
        PVE9,
        'operation="stack_onexec" class="file" info="label not found" error=-2 '
        'profile="lxc-nvidia-gpu-docker" name="docker-default" pid=12 comm="runc:[2:INIT]"',
        "change to profile docker-default",
        "",
        note="engine loads that profile itself",
    ),
    Case(
        PVE9,
        'operation="change_profile" class="file" info="label not found" error=-2 '
        'profile="lxc-nvidia-gpu-docker" name="docker-nginx" pid=12 comm="runc"',
        "change to profile docker-nginx",
        "",
        note="loads its profiles itself (apparmor_parser -r, inside)",
    ),
    Case(
        TRIXIE,
        'operation="change_onexec" class="file" profile="/usr/bin/lxc-start" '
        'name="lxc_phoenix_v1" pid=12 comm="lxc-start"',
        "change to profile lxc_phoenix_v1",
        "",
        note='begins with "lxc-"',
    ),
    Case(
        PVE8,
        f'operation="profile_load" info="not policy admin" error=-13 {P} '
        'name="docker-default" pid=12 comm="apparmor_parser"',
        "load the AppArmor profile docker-default",
        "",
        note="policy namespace",
    ),
    Case(
        BOOKWORM,
        f'operation="create" {P} pid=12 comm="ping" family="inet" sock_type="raw" protocol=1 '
        'requested_mask="create" denied_mask="create"',
        "create a socket: inet raw",
        "network inet raw,",
    ),
    Case(
        PVE9,
        f'operation="connect" class="net" {P} pid=12 comm="sh" family="unix" sock_type="stream" '
        'protocol=0 requested_mask="send receive connect" denied_mask="send connect" addr=none '
        'peer_addr="@/tmp/dbus" peer="unconfined"',
        "connect a unix socket @/tmp/dbus of unconfined",
        'unix (send, connect) type=stream peer=(label="unconfined",addr="@/tmp/dbus"),',
        hole="talks to processes outside",
    ),
    Case(
        PVE9,
        f'operation="mqueue_create" class="posix_mqueue" {P} name="/q" pid=12 comm="x" '
        'requested="create" denied="create" class="posix_mqueue" fsuid=0 ouid=0',
        "create the POSIX message queue /q",
        'mqueue (create) type=posix "/q",',
    ),
    Case(
        PVE9,
        f'operation="uring_sqpoll" class="io_uring" {P} pid=12 comm="x" requested="sqpoll" '
        'denied="sqpoll"',
        "have the kernel poll an io_uring for it (sqpoll)",
        "io_uring (sqpoll),",
    ),
    Case(
        PVE9,
        f'operation="new_in_2030" class="future" {P} name="/x" pid=12 comm="x"',
        "do what the kernel calls new_in_2030 /x",
        "",
        note="not known here",
    ),
    Case(
        PVE9,
        f'operation="new_in_2030" class="future" {P} name="/x" pid=12 comm="x" '
        'requested_mask="d" denied_mask="d"',
        "do what the kernel calls new_in_2030 /x",
        "",
        note="not known here",
    ),
)
