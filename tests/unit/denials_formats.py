"""One message of each format in which kernels and D-Bus daemons report what AppArmor refused."""

from phoenix_apparmor.denials import message
from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.explanation import act_of

P = 'profile="lxc-x"'
M = 'requested_mask="{0}" denied_mask="{0}"'.format
NET = f'operation="{{}}" class="net" {P} pid=7 comm="x" family="{{}}" sock_type="{{}}" protocol=0'

FORMATS = (
    # files: since 2.6.36 with parent=, older masks with colons, 6.x with class=
    f'operation="open" parent=12 {P} name="/home/u/.ssh/" pid=7 comm="ls" {M("r")} fsuid=0 ouid=9',
    f'operation="truncate" pid=7 parent=1 {P} {M("w::")} fsuid=0 ouid=0 name="/var/lib/x"',
    f'operation="rename_src" pid=7 {P} {M("r::")} fsuid=0 ouid=0 name="/var/run/motd.new"',
    f'operation="rename_dest" pid=7 {P} {M("wc::")} fsuid=0 ouid=0 name="/var/run/motd"',
    f'operation="inode_permission" {M("r::")} fsuid=0 name="/bin/dash" pid=7 {P}',
    f'operation="file_lock" {M("wk::")} fsuid=0 name="/home/u/.parentlock" pid=7 {P}',
    f'operation="mkdir" class="file" {P} name=2F736F6D6520706C6163652F pid=7 {M("c")}',
    f'operation="chown" class="file" {P} name="/run/certs/" pid=7 {M("w")} fsuid=0 ouid=4',
    f'operation="getattr" class="file" {P} name="/lib/libdl.so" pid=7 comm="bash" {M("r")}',
    f'operation="symlink" {P} name="/home/b.c" pid=7 comm="ln" {M("c")} fsuid=0 ouid=0',
    f'operation="link" {P} name="/t/new" pid=7 {M("l")} fsuid=0 ouid=0 target="/t/old"',
    f'operation="link" {P} name="/t/new.rlib" pid=7 {M("xm")} fsuid=2 target="/t/old.rlib"',
    f'operation="exec" class="file" {P} name="/usr/bin/rm" pid=7 {M("x")} target="lxc-x//null-rm"',
    f'operation="exec" info="no new privs" error=-1 {P} name="/usr/bin/rm" pid=7 {M("x")}',
    f'operation="file_mmap" {P} name="/x.so" pid=7 comm="sh" {M("rm")} fsuid=0 ouid=0',
    f'operation="file_inherit" class="file" {P} name="/dev/tty1" pid=7 comm="x" {M("wr")}',
    f'operation="open" info="Failed name lookup - deleted entry" error=-2 {P} name="/x" {M("r")}',
    # sockets: addresses, 6.x fine-grained ones, inherited descriptors, no address at all
    f'operation="create" {P} pid=7 comm="ping" family="inet" sock_type="raw" protocol=1 {M("x")}',
    f'operation="sendmsg" {P} pid=7 laddr=192.0.2.1 lport=765 faddr=192.0.2.2 fport=2049 '
    'family="inet" sock_type="stream" protocol=6',
    f'operation="file_perm" class="net" {P} pid=7 laddr=::1 lport=80 faddr=::1 fport=6 '
    'family="inet6" sock_type="stream" protocol=6 requested_mask="send" denied_mask="send"',
    f'operation="file_inherit" {P} pid=7 lport=10580 family="inet6" sock_type="dgram"',
    f'{NET.format("bind", "inet", "dgram")} saddr=127.0.0.3 src=345 requested="bind" denied="bind"',
    f'{NET.format("setsockopt", "inet", "dgram")} info="failed cmd selection match" error=-13 '
    'requested="setopt" denied="setopt"',
    f'{NET.format("recvmsg", "inet", "dgram")} info="failed remote addr match" error=-13',
    f'{NET.format("create", "unknown(44)", "unknown(9)")} requested="create" denied="create"',
    f'{NET.format("create", "netlink", "raw")} requested="create" denied="create"',
    f"{NET.format('file_lock', 'unix', 'dgram')} addr=none",
    f'{NET.format("bind", "unix", "stream")} requested="bind" denied="bind" addr="@socket"',
    f'{NET.format("bind", "unix", "stream")} requested="bind" denied="bind" addr="@0a1b2"',
    f'{NET.format("connect", "unix", "stream")} requested="send receive connect" '
    'denied="send receive connect" addr=none peer_addr="@socket" peer="unconfined"',
    f'{NET.format("connect", "unix", "stream")} requested="send accept" denied="send accept" '
    'addr=4073205C22 peer_addr=none peer="lxc-y//&:lxc-1_<-var-lib-lxc>:unconfined"',
    f'{NET.format("file_perm", "unix", "dgram")} requested_mask="receive" denied_mask="receive" '
    'addr=none peer_addr=none peer="unconfined"',
    # processes
    f'operation="ptrace" {P} pid=7 comm="netstat" target=""',
    f'operation="ptrace" {P} pid=7 comm="netstat" target=8022C0FF81A0FFFF',
    f'operation="ptrace" {P} pid=7 comm="pidgin" peer="unconfined"',
    f'operation="ptrace" class="ptrace" {P} pid=7 {M("tracedby")} peer="/usr/bin/a b"',
    f'operation="signal" class="signal" {P} pid=7 {M("send")} signal=term peer="a///b/c"',
    f'operation="signal" class="signal" {P} pid=7 {M("receive")} signal=rtmin+3 peer="unconfined"',
    f'operation="signal" class="signal" {P} pid=7 {M("send")} signal=exists peer="unconfined"',
    f'operation="signal" class="signal" {P} pid=7 {M("send")} signal=unknown(35) peer="x"',
    f'operation="capable" class="cap" {P} pid=7 comm="x" capability=23  capname="sys_nice"',
    f'operation="capable" class="cap" {P} pid=7 comm="x" capability=63  capname="new_in_2030"',
    # profiles
    f'operation="change_onexec" class="file" info="no new privs" error=-1 {P} name="system_tor" '
    'pid=7 comm="(tor)" target="system_tor"',
    f'operation="change_profile" info="label not found" error=-2 {P} name="x" pid=7 comm="sh"',
    f'operation="change_profile" {P} pid=7 comm="php" target="php-fpm//webapp"',
    'operation="change_hat" info="unconfined can not change_hat" error=-1 profile="unconfined"',
    f'operation="change_hat" info="hat not found" error=-2 {P} pid=7 name="lxc-x//HAT"',
    f'operation="stack_onexec" {P} name="&x" pid=7 comm="sh" target="&x"',
    f'operation="profile_load" info="not policy admin" error=-13 {P} name="docker-default"',
    # mounts
    f'operation="mount" info="failed type match" error=-13 {P} name="/m/" pid=7 fstype="ext2" '
    'srcname="/dev/loop0/" flags="rw, mand"',
    f'operation="mount" info="failed flags match" error=-13 {P} name="/newroot/dev/" pid=7 '
    'flags="rw, nosuid, nodev, remount, bind, silent, relatime"',
    f'operation="mount" class="mount" info="failed perms check" error=-13 {P} name="/" '
    'flags="rw, rslave"',
    f'operation="mount" class="mount" {P} name="/x/" fstype="fuse.sshfs" srcname="u@h:/a" '
    'flags="rw, nosuid, nodev"',
    f'operation="mount" class="mount" {P} name="/x/" pid=7 comm="mount" flags="rw, move"',
    f'operation="umount" class="mount" {P} name="/mnt/a/" pid=7 comm="x"',
    f'operation="pivotroot" class="mount" {P} name="/n/" pid=7 comm="x" srcname="/n/old/"',
    f'operation="pivotroot" class="mount" {P} name="/n/" pid=7 comm="runc:[2:INIT]"',
    # queues, io_uring, user namespaces
    f'operation="create" {P} name="/q" pid=7 requested="create" denied="create" '
    'class="posix_mqueue" fsuid=0 ouid=0',
    f'operation="open" {P} name="/q" requested="read create" denied="read" class="posix_mqueue"',
    f'operation="unlink" {P} name="/q" requested="delete" denied="delete" class="posix_mqueue"',
    f'operation="sysv_mqueue" {P} name="123" pid=7 requested="create" denied="create" '
    'class="sysv_mqueue" fsuid=0 ouid=0',
    f'operation="sysv_mqueue" {P} name="123" requested="read" denied="read" class="sysv_mqueue"',
    f'operation="uring_sqpoll" class="io_uring" {P} pid=7 requested="sqpoll" denied="sqpoll"',
    f'operation="uring_override" class="io_uring" {P} requested="override_creds" '
    'denied="override_creds" tcontext="/usr/bin/x y"',
    f'operation="userns_create" class="namespace" {P} pid=7 requested="userns_create" '
    'denied="userns_create"',
    # D-Bus: dbus-daemon and dbus-broker
    'operation="dbus_method_call"  bus="system" path="/org/x" interface="org.x.Y" member="Get" '
    'mask="send" name="org.x" pid=7 label="lxc-x" peer_pid=1 peer_label="unconfined"',
    'operation="dbus_signal"  bus="system" path="/org/x" interface="org.x.Y" member="Changed" '
    'name=":1.3" mask="receive" pid=7 label="lxc-x" peer_pid=1 peer_label="unconfined"',
    'operation="dbus_bind"  bus="session" name="com.example.Test" mask="bind" pid=7 label="lxc-x"',
    'operation="dbus_eavesdrop"  bus="system" mask="eavesdrop" pid=7 label="lxc-x"',
    'operation="dbus_method_call" bus="system" path="/org/x" interface="org.x.Y" method="Hello" '
    'mask="send" label="lxc-x" peer_label="unconfined"',
    'operation="dbus_error"  bus="system" error_name="org.x.Failed" mask="receive" name=":1.9" '
    'pid=7 label="lxc-x" peer_label="unconfined"',
    # nothing that is known
    f'operation="sysctl" {P} pid=7 comm="x"',
    f'operation="new_in_2030" class="future" {P} name="/x" pid=7 comm="x"',
)


def denied(body: str) -> message.Denial:
    found = message.parse(f'audit: type=1400 audit(1700000000.1:2): apparmor="DENIED" {body}')
    assert found is not None
    return found


def act(body: str) -> Act:
    return act_of(denied(body))
