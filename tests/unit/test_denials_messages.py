"""Kernel messages as kernels write them -> words, rule and warning. Pure."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from phoenix_apparmor.denials import aare, message, quoting
from phoenix_apparmor.denials.acts import Act, act_of
from phoenix_apparmor.denials.message import Denial

BOOKWORM = "bookworm, 6.1"  # no class=
PVE8 = "PVE 8, 6.8"
TRIXIE = "trixie, 6.12"
PVE9 = "PVE 9, 6.17"
P = 'profile="lxc-nvidia-gpu-base"'


def parsed(body: str, prefix: str = "audit: type=1400 audit(1700000000.123:45): ") -> Denial:
    denial = message.parse(f'{prefix}apparmor="DENIED" {body}')
    assert denial is not None
    return denial


class Case(NamedTuple):
    kernel: str
    body: str
    words: str
    rule: str
    hole: str = ""
    note: str = ""


CASES = (
    Case(
        BOOKWORM,
        f'operation="ptrace" {P} pid=12 comm="x" requested_mask="readby" denied_mask="readby" '
        'peer="unconfined"',
        "be looked into by a process under unconfined",
        "ptrace (readby) peer=unconfined,",
    ),
    Case(
        PVE9,
        f'operation="signal" class="signal" {P} pid=12 comm="x" requested_mask="receive" '
        'denied_mask="receive" signal=term peer="unconfined"',
        "get signal term from a process under unconfined",
        "signal (receive) set=(term) peer=unconfined,",
    ),
    Case(
        PVE9,
        f'operation="create" class="net" {P} pid=12 comm="sh" family="unix" sock_type="dgram" '
        'protocol=0 requested_mask="create" denied_mask="create" addr=none',
        "create a unix socket",
        "unix (create) type=dgram,",
    ),
    Case(
        PVE8,
        f'operation="exec" class="file" info="profile transition not found" error=-13 {P} '
        'name="/usr/bin/man" pid=1 comm="sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0',
        "execute /usr/bin/man",
        "",
        note="The kernel says: profile transition not found.",
    ),
    Case(PVE9, f'operation="sysctl" {P} pid=12 comm="x"', "do sysctl", ""),
    Case(
        TRIXIE,
        f'operation="link" class="file" {P} name="/new" pid=1 comm="ln" requested_mask="l" '
        'denied_mask="l" fsuid=0 ouid=0 target="/old"',
        "make the hard link /new to /old",
        "link /new -> /old,",
    ),
    Case(
        TRIXIE,
        f'operation="open" class="file" {P} name="/log" pid=1 comm="sh" requested_mask="a" '
        'denied_mask="a" fsuid=0 ouid=0 target="/other"',
        "append to /log",
        "/log a,",
    ),
    Case(
        BOOKWORM,
        f'operation="file_mmap" {P} name="/x" pid=1 comm="sh" requested_mask="wam::" '
        'denied_mask="wam::" fsuid=0 ouid=0',
        "write and append to and map as code /x",
        "/x wm,",
    ),
    Case(
        BOOKWORM,
        f'operation="open" {P} name="/proc/sysrq-trigger" pid=4711 comm="sh" requested_mask="w" '
        'denied_mask="w" fsuid=100000 ouid=0',
        "write /proc/sysrq-trigger",
        "/proc/sysrq-trigger w,",
    ),
    Case(
        TRIXIE,
        f'operation="open" class="file" {P} name="/proc/sys/kernel/core_pattern" pid=4711 '
        'comm="sh" requested_mask="wc" denied_mask="wc" fsuid=100000 ouid=65534',
        "write /proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/core_pattern w,",
    ),
    Case(
        PVE8,
        f'operation="open" class="file" {P} name="/proc/831/environ" pid=831 comm="ps" '
        'requested_mask="r" denied_mask="r" fsuid=100000 ouid=100000',
        "read /proc/*/environ",
        "/proc/[0-9]*/environ r,",
    ),
    Case(
        PVE9,
        f'operation="mkdir" class="file" {P} name="/srv/a b/" pid=1 comm="mkdir" '
        'requested_mask="c" denied_mask="c" fsuid=0 ouid=0',
        "make the folder /srv/a b/",
        '"/srv/a b/" w,',
    ),
    Case(
        PVE9,
        f'operation="exec" class="file" {P} name="/usr/bin/id" pid=1 comm="sh" '
        'requested_mask="x" denied_mask="x" fsuid=0 ouid=0',
        "execute /usr/bin/id",
        "/usr/bin/id ix,",
    ),
    Case(
        BOOKWORM,
        f'operation="open" info="Failed name lookup - disconnected path" error=-13 {P} '
        'name="sysrq-trigger" pid=9 comm="x" requested_mask="w" denied_mask="w" fsuid=0 ouid=0',
        "write sysrq-trigger",
        "",
        note="attach_disconnected",
    ),
    Case(
        BOOKWORM,
        f'operation="mount" info="failed mntpnt match" error=-13 {P} name="/mnt/" pid=4712 '
        'comm="mount" fstype="proc" srcname="proc"',
        "mount proc on /mnt/",
        "mount fstype=proc -> /mnt/,",
        hole="host kernel's own interface",
    ),
    Case(
        PVE8,
        'operation="mount" class="mount" info="failed flags match" error=-13 '
        'profile="lxc-101_</var/lib/lxc>" name="/run/systemd/unit-root/" pid=4178 '
        'comm="(networkd)" srcname="/" flags="rw, rbind"',
        "bind-mount / on /run/systemd/unit-root/",
        "mount options=(rw,rbind) / -> /run/systemd/unit-root/,",
    ),
    Case(
        TRIXIE,
        f'operation="mount" class="mount" info="failed flags match" error=-13 {P} '
        'name="/dev/shm/" pid=80 comm="(sd-mkdcreds)" fstype="ramfs" srcname="ramfs" '
        'flags="rw, nosuid, nodev, noexec"',
        "mount ramfs on /dev/shm/",
        "mount fstype=ramfs options=(rw,nosuid,nodev,noexec) -> /dev/shm/,",
        note="mount fstype=ramfs -> /dev/shm/,",
    ),
    Case(
        TRIXIE,
        f'operation="mount" class="mount" info="failed mntpnt match" error=-13 {P} '
        'name="/proc/" pid=80 comm="mount" flags="rw, move"',
        "mount something on /proc/",
        "mount options=(rw,move) -> /proc/,",
        hole="hides what the deny rules know",
        note="new mount API",
    ),
    Case(
        PVE9,
        f'operation="mount" class="mount" info="failed srcname match" error=-13 {P} name="/mnt/" '
        'pid=80 comm="mount" srcname="/proc/sys/" flags="rw, move"',
        "move the mount /proc/sys/ to /mnt/",
        "mount options=(rw,move) /proc/sys/ -> /mnt/,",
        hole="/proc/sys/ under another path",
    ),
    Case(
        PVE9,
        f'operation="mount" class="mount" info="failed perms check" error=-13 {P} name="/x/" '
        'pid=80 comm="mount" flags="rw, rslave"',
        "make /x/ rslave",
        "mount options=(rw,make-rslave) -> /x/,",
        note="CVE-2016-1585",
    ),
    Case(
        BOOKWORM,
        f'operation="mount" info="failed flags match" error=-13 {P} name="/run/" pid=80 '
        'comm="mount" flags="ro, nosuid, remount, bind"',
        "remount /run/ (ro, nosuid)",
        "mount -> /run/,",
        note="any mount there",
    ),
    Case(
        BOOKWORM,
        f'operation="mount" info="failed type match" error=-13 {P} name="/mnt/" pid=80 '
        'comm="mount" fstype="ext4" srcname="/dev/vdb" flags="rw"',
        "mount ext4 on /mnt/ from /dev/vdb",
        "mount fstype=ext4 options=(rw) /dev/vdb -> /mnt/,",
        hole="crafted file system",
    ),
    Case(
        PVE8,
        f'operation="mount" class="mount" info="failed type match" error=-13 {P} name="/mnt/" '
        'pid=80 comm="mount.nfs" fstype="nfs" srcname="10.0.0.1:/export" flags="rw"',
        "mount nfs on /mnt/ from 10.0.0.1:/export",
        "mount fstype=nfs options=(rw) 10.0.0.1:/export -> /mnt/,",
    ),
    Case(
        TRIXIE,
        f'operation="mount" class="mount" info="failed flags match" error=-13 {P} name="/run/s/" '
        'pid=611 comm="mount" fstype="sysfs" srcname="none" flags="ro, silent"',
        "mount sysfs on /run/s/ read-only",
        "mount fstype=sysfs options=(ro,silent) -> /run/s/,",
        hole="own interface",
    ),
    Case(
        TRIXIE,
        f'operation="change_profile" class="file" {P} name="unconfined" pid=604 comm="sh" '
        'target="unconfined"',
        "change to profile unconfined",
        "change_profile -> unconfined,",
        hole="leaves its profile",
    ),
    Case(
        BOOKWORM,
        f'operation="umount" {P} name="/x/" pid=80 comm="umount"',
        "unmount /x/",
        "umount /x/,",
    ),
    Case(
        PVE8,
        f'operation="pivotroot" class="mount" {P} name="/new/" pid=8 comm="runc" srcname="/new/o/"',
        "make /new/ its root (pivot_root)",
        "pivot_root oldroot=/new/o/ /new/,",
    ),
    Case(
        BOOKWORM,
        f'operation="ptrace" {P} pid=12 comm="ps" requested_mask="read" denied_mask="read" '
        'peer="unconfined"',
        "look into a process under unconfined",
        "ptrace (read) peer=unconfined,",
        hole="outside of itself",
    ),
    Case(
        TRIXIE,
        f'operation="ptrace" class="ptrace" {P} pid=12 comm="gdb" requested_mask="trace" '
        'denied_mask="trace" peer="lxc-nvidia-gpu-base//child"',
        "trace a process under lxc-nvidia-gpu-base//child",
        "ptrace (trace) peer=lxc-nvidia-gpu-base//child,",
    ),
    Case(
        PVE9,
        'operation="signal" class="signal" profile="lxc-nvidia-gpu-docker" pid=12 comm="runc" '
        'requested_mask="send" denied_mask="send" signal=kill '
        'peer="lxc-nvidia-gpu-docker//&:lxc-952_<-var-lib-lxc>:docker-default"',
        "send signal kill to a process under "
        "lxc-nvidia-gpu-docker//&:lxc-952_<-var-lib-lxc>:docker-default",
        "signal (send) set=(kill) "
        'peer="lxc-nvidia-gpu-docker//&:lxc-952_<-var-lib-lxc>:docker-default",',
    ),
    Case(
        BOOKWORM,
        f'operation="capable" {P} pid=12 comm="modprobe" capability=16  capname="sys_module"',
        "use the capability sys_module",
        "capability sys_module,",
    ),
    Case(
        PVE9,
        f'operation="userns_create" class="namespace" {P} pid=12 comm="unshare" '
        'requested="userns_create" denied="userns_create" target="unprivileged_userns"',
        "create a user namespace",
        "userns create,",
        note="AppArmor 3.0 (PVE 8) does not know this rule",
    ),
    Case(
        BOOKWORM,
        f'operation="change_profile" info="change_profile not permitted" error=-13 {P} '
        'name="unconfined" pid=12 comm="sh"',
        "change to profile unconfined",
        "change_profile -> unconfined,",
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
        "unix (send, connect) type=stream peer=(label=unconfined),",
        hole="talks to processes outside",
    ),
    Case(
        PVE9,
        f'operation="mqueue_create" class="posix_mqueue" {P} name="/q" pid=12 comm="x" '
        'requested="create" denied="create" class="posix_mqueue" fsuid=0 ouid=0',
        "use the message queue /q",
        "mqueue (create) /q,",
        note="AppArmor 3.0",
    ),
    Case(
        PVE9,
        f'operation="uring_sqpoll" class="io_uring" {P} pid=12 comm="x" requested="sqpoll" '
        'denied="sqpoll"',
        "use io_uring (uring_sqpoll)",
        "",
    ),
    Case(
        PVE9,
        f'operation="new_in_2030" class="future" {P} name="/x" pid=12 comm="x"',
        "do new_in_2030 /x",
        "",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kernel}: {case.words}"[:70])
def test_a_message_in_words_and_as_a_rule(case: Case) -> None:
    act = act_of(parsed(case.body))
    assert (act.words, act.rule) == (case.words, case.rule)
    for expected, said in ((case.hole, act.hole), (case.note, act.note)):
        assert expected in said
        assert bool(expected) == bool(said), said


def test_hex_is_decoded_only_where_the_kernel_writes_hex() -> None:
    denial = parsed(
        'operation="open" profile="lxc-x" name=2F746D702F6120622263E282AC comm=6162 '
        'pid=4142 requested_mask="r" denied_mask="r"'
    )
    assert denial.get("name") == '/tmp/a b"c€'
    assert denial.get("comm") == "ab"
    assert denial.get("pid") == "4142"
    # In quotes it is a name that looks like hex.
    assert parsed('operation="open" profile="lxc-x" name="6162"').get("name") == "6162"
    assert parsed('operation="open" profile="lxc-x" name=2FFF').get("name") == "/\udcff"
    assert act_of(parsed('operation="open" name=2FFF0A denied_mask="r"')) == Act(
        "read /\\udcff\\n", '"/\\377\\012" r,'
    )


def test_names_in_rules_match_just_themselves() -> None:
    for name in ("/a*b", "/a[1]", "/{x,y}", "/q?", "/back\\slash", "/with,comma"):
        pattern = quoting.literal(name)
        assert aare.matches(pattern, name), pattern
        assert not aare.matches(pattern, "/aXb")
    assert quoting.literal("/plain/path.txt") == "/plain/path.txt"
    assert quoting.literal('/a"b') == '"/a\\"b"'


def test_time_and_number_of_the_event() -> None:
    denial = parsed('operation="open"')
    assert (denial.time, denial.serial) == (1700000000.123, 45)
    later = message.parse('AVC apparmor="DENIED" operation="open"', 5.0, 6)
    assert later is not None and (later.time, later.serial) == (5.0, 6)


@pytest.mark.parametrize(
    "text",
    [
        'audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_replace" name="x"',
        'audit: type=1400 audit(1.2:3): apparmor="ALLOWED" operation="open" profile="lxc-x"',
        'audit: type=1400 audit(1.2:3): apparmor="AUDIT" operation="open" profile="lxc-x"',
        "usb 1-1: new device",
        'apparmor="',
        "",
    ],
)
def test_what_is_no_denial(text: str) -> None:
    assert message.parse(text) is None


def test_auditd_enriched_and_dbus() -> None:
    enriched = message.parse(
        'type=AVC msg=audit(1700000000.5:7): apparmor="DENIED" operation="open" profile="lxc-x" '
        'name="/x" comm="c" denied_mask="r"\x1dFSUID="root" OUID="root"'
    )
    assert enriched is not None and "OUID" not in enriched.fields
    dbus = message.parse(
        "type=USER_AVC msg=audit(1700000000.5:7): pid=500 uid=104 auid=4294967295 subj=unconfined "
        'msg=\'apparmor="DENIED" operation="dbus_method_call"  bus="system" path="/org/x" '
        'interface="org.x" member="Get" mask="send" name=":1.3" pid=77 label="lxc-x" '
        'peer_pid=1 peer_label="unconfined"  exe="/usr/bin/dbus-daemon" sauid=104 hostname=?\''
    )
    assert dbus is not None and dbus.get("pid") == "77"
    assert act_of(dbus).words == "send org.x.Get over the D-Bus system bus"


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("kauditd_printk_skb: 12 callbacks suppressed", ("left out", 12)),
        ("audit: audit_lost=7 audit_rate_limit=5 audit_backlog_limit=64", ("lost", 7)),
        ("audit: rate limit exceeded", ("limit", 0)),
        ("audit: kauditd hold queue overflow", ("limit", 0)),
        ("Missed 31 kernel messages", ("missed", 31)),
    ],
)
def test_what_says_that_messages_are_missing(text: str, loss: tuple[str, int]) -> None:
    assert message.tells_of_loss(text) == loss


@pytest.mark.parametrize(
    "text", ["audit: initializing netlink subsys", "net_ratelimit: 3 callbacks suppressed"]
)
def test_what_says_nothing_of_that(text: str) -> None:
    assert message.tells_of_loss(text) is None


def test_losses_are_summed_up_as_the_kernel_counts_them() -> None:
    out, lost = (message.Loss("left out", 3), message.Loss("lost", 3))
    losses = [out, lost, out, message.Loss("lost", 9), message.Loss("limit")]
    assert message.losses_in_words(losses) == [
        "the kernel left out 6 audit messages (rate limit of printk)",
        "the kernel lost 9 audit messages (audit_lost)",
        "the kernel's audit queue or rate limit was exceeded",
    ]


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("/{,**/}sysrq-trigger", "/sysrq-trigger", True),
        ("/{,**/}sysrq-trigger", "/a/b/sysrq-trigger", True),
        ("/{,**/}sysrq-trigger", "/sysrq-triggers", False),
        ("/proc/sys/{[^kn],k[^e]}**", "/proc/sys/vm/x", True),
        ("/proc/sys/{[^kn],k[^e]}**", "/proc/sys/net/x", False),
        ("/*/x", "/a/x", True),
        ("/*/x", "/a/b/x", False),
        ("/**", "/", False),
        ("/**", "/a", True),
        ("/a*", "/a", True),
        ("/a?c", "/abc", True),
        ("/a?c", "/a/c", False),
        ("/[", "/[", True),
        ("/{a", "/a", False),
    ],
)
def test_patterns_of_apparmor(pattern: str, name: str, *, fits: bool) -> None:
    assert aare.matches(pattern, name) is fits


def deny(text: str) -> aare.Deny:
    (rule,) = aare.deny_rules(iter([("f", text)]))
    return rule


@pytest.mark.parametrize(
    ("rule", "mask", "denied"),
    [
        ("deny /x/** wklx,", "w", True),
        ("deny /x/** wklx,", "c", True),
        ("deny /x/** wklx,", "r", False),
        ("audit deny rw /x/**,", "r", True),
        ("deny file /x/a r,", "r", True),
        ("deny mount fstype=x,", "r", False),
        ("deny capability sys_module,", "r", False),
    ],
)
def test_deny_rules_for_files(rule: str, mask: str, *, denied: bool) -> None:
    assert aare.denies_file(deny(rule), "/x/a", mask) is denied


@pytest.mark.parametrize(
    ("rule", "denied"),
    [
        ("deny mount fstype={proc,sysfs} -> /mnt{,/**},", True),
        ("deny mount fstype={proc,sysfs} -> /srv/,", False),
        ("deny mount fstype={bpf,tracefs},", False),
        ("deny mount options=(rw,nosuid),", True),
        ("deny mount options=(ro,nosuid),", False),
        ("deny mount,", True),
        ("deny mount fstype=proc /dev/x -> /mnt/,", False),
        ("deny /mnt/ w,", False),
    ],
)
def test_deny_rules_for_mounts(rule: str, *, denied: bool) -> None:
    flags = frozenset(("rw", "nosuid"))
    assert aare.denies_mount(deny(rule), "proc", flags, "proc", "/mnt/") is denied


def test_includes_end() -> None:
    """A chain of includes is followed eight deep, whatever a file says."""
    files = {f"/etc/apparmor.d/{n}": f"include <{n + 1}>\ndeny /{n} r,\n" for n in range(20)}
    rules = aare.deny_rules(aare.expand("include <0>\n", "top", files.get))
    assert [rule.text for rule in rules] == [f"deny /{n} r," for n in range(8)]


def test_deny_rules_of_a_text_and_its_includes() -> None:
    files = {"/etc/apparmor.d/a": "  audit deny /b w,\n", "/abs": "deny /c r,\ninclude <a>\n"}
    text = (
        '# deny /no w,\ninclude <a>\ninclude if exists <gone>\ninclude "/abs"\n  deny /a w, # x\n'
    )
    rules = aare.deny_rules(aare.expand(text, "top", files.get))
    assert [(rule.text, rule.path, rule.audited) for rule in rules] == [
        ("deny /a w,", "top", False),
        ("deny /b w,", "/etc/apparmor.d/a", True),
        ("deny /c r,", "/abs", False),
    ]


def test_the_parser_takes_every_rule(tmp_path: Path) -> None:
    names = ("/a b", "/a*b", "/a[1]", "/{x,y}", "/q?", "/x=y", "/#c", "/@{x}")
    rules = [case.rule for case in CASES if case.rule]
    rules += [act_of(parsed(f'operation="open" name="{n}" denied_mask="r"')).rule for n in names]
    rules.append(act_of(parsed('operation="open" name=2FFF0A226D denied_mask="rw"')).rule)
    # Known to AppArmor 4 only, and said so.
    rules = [rule for rule in rules if not rule.startswith(("userns", "mqueue"))]
    assert len(rules) > 30
    profile = tmp_path / "profile"
    profile.write_text("profile x {\n" + "".join(f"  {rule}\n" for rule in rules) + "}\n")
    command = ["/usr/sbin/apparmor_parser", "-QKS", "--config-file=/dev/null", str(profile)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, b"error" in done.stderr) == (0, False), done.stderr.decode()


def test_the_parser_refuses_what_is_no_rule(tmp_path: Path) -> None:
    """So that the test above means something."""
    profile = tmp_path / "profile"
    profile.write_text('profile x {\n  "/a b r,\n}\n')
    command = ["/usr/sbin/apparmor_parser", "-QKS", "--config-file=/dev/null", str(profile)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
