"""Kernel messages as kernels write them -> words, rule and warning. Pure."""

import subprocess
from pathlib import Path

import pytest

from phoenix_apparmor.assignments import holes
from phoenix_apparmor.denials import denying, message, quoting
from phoenix_apparmor.denials.act import Act
from phoenix_apparmor.denials.explanation import act_of
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.policy import aare, policytext
from phoenix_apparmor.policy.mountrules import Mount
from tests.unit import denials_cases, denials_cases_processes
from tests.unit.denials_cases import Case

CASES = denials_cases.CASES + denials_cases_processes.CASES


def parsed(body: str, prefix: str = "audit: type=1400 audit(1700000000.123:45): ") -> Denial:
    denial = message.parse(f'{prefix}apparmor="DENIED" {body}')
    assert denial is not None
    return denial


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kernel}: {case.words}"[:70])
def test_a_message_in_words_and_as_a_rule(case: Case) -> None:
    act = act_of(parsed(case.body), case.ctid)
    assert (act.words, act.rule) == (case.words, case.rule)
    hole = act.hole or holes.hole(act.rule, holes.Container(case.ctid))
    for expected, said in ((case.hole, hole), (case.note, act.note)):
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
        "read /\\xff\\n", '"/\\377\\012" r,'
    )


def test_names_in_rules_match_just_themselves() -> None:
    for name in ("/a*b", "/a[1]", "/{x,y}", "/q?", "/back\\slash", "/with,comma"):
        pattern = quoting.quoted(name)
        assert aare.matches(pattern, name), pattern
        assert not aare.matches(pattern, "/aXb")
    assert quoting.quoted("/plain/path.txt") == '"/plain/path.txt"'
    assert quoting.quoted('/a"b\\') == '"/a\\042b\\134"'


def test_time_and_number_of_the_event() -> None:
    denial = parsed('operation="open"')
    assert (denial.time, denial.serial) == (1700000000.123, 45)
    later = message.parse('AVC apparmor="DENIED" operation="open"', 5.0, 6)
    assert later is not None and (later.time, later.serial) == (5.0, 6)


@pytest.mark.parametrize(
    "text",
    [
        'audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_replace" name="x"',
        # what was asked for is wrong, nothing was refused
        'audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_remove" '
        'info="profile does not exist" error=-2 profile="lxc-x" name="x"',
        'audit: type=1400 audit(1.2:3): apparmor="STATUS" operation="profile_load" '
        'profile="lxc-x" name="error=-13"',
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
    assert dbus is not None and (dbus.get("pid"), dbus.sender) == ("77", "500")
    assert act_of(dbus).words == "send org.x.Get over the D-Bus system bus to :1.3"


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
    assert message.Losses(losses).in_words() == (
        "the kernel left out 6 audit messages (rate limit of printk)",
        "the kernel lost 9 audit messages (audit_lost)",
        "the kernel's audit queue or rate limit was exceeded",
    )


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


def deny(text: str) -> policytext.Rule:
    (rule,) = policytext.deny_rules([policytext.Text("f", text)])
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
    assert denying.denies_file(deny(rule), "/x/a", mask) is denied


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
    mount = Mount(frozenset(("rw", "nosuid")), "proc", "proc", "/mnt/")
    assert denying.denies_mount(deny(rule), mount) is denied


def test_includes_are_followed_eight_deep() -> None:
    """A chain of includes is followed eight deep, whatever a file says."""
    files = {f"/etc/apparmor.d/{n}": f"include <{n + 1}>\ndeny /{n} r,\n" for n in range(20)}
    rules = policytext.deny_rules(policytext.expand("include <0>\n", "top", files.get))
    assert [rule.text for rule in rules] == [f"deny /{n} r," for n in range(8)]


def test_deny_rules_of_a_text_and_its_includes() -> None:
    files = {"/etc/apparmor.d/a": "  audit deny /b w,\n", "/abs": "deny /c r,\ninclude <a>\n"}
    text = (
        '# deny /no w,\ninclude <a>\ninclude if exists <gone>\ninclude "/abs"\n  deny /a w, # x\n'
    )
    rules = policytext.deny_rules(policytext.expand(text, "top", files.get))
    assert [(rule.text, rule.path, rule.audited) for rule in rules] == [
        ("deny /a w,", "top", False),
        ("deny /b w,", "/etc/apparmor.d/a", True),
        ("deny /c r,", "/abs", False),
    ]


@pytest.mark.parametrize(
    ("rule", "body", "denied"),
    [
        ("deny capability syslog sys_module,", 'operation="capable" capname="sys_module"', True),
        ("deny capability syslog,", 'operation="capable" capname="sys_module"', False),
        ("deny capability,", 'operation="capable" capname="sys_module"', True),
        ("audit deny ptrace peer=unconfined,", 'operation="ptrace" peer="unconfined"', True),
        ("deny ptrace (trace),", 'operation="ptrace" denied_mask="read" peer="x"', False),
        ("deny signal set=(kill, term),", 'operation="signal" signal=term peer="x"', True),
        ("deny signal set=(kill),", 'operation="signal" signal=term peer="x"', False),
        ("deny network inet raw,", 'operation="create" family="inet" sock_type="raw"', True),
        ("deny network inet raw,", 'operation="create" family="inet" sock_type="dgram"', False),
        ("deny network,", 'operation="create" family="inet" sock_type="dgram"', True),
        ("deny unix,", 'operation="bind" family="unix" sock_type="dgram"', True),
        ("deny umount /x/,", 'operation="umount" name="/x/"', True),
        ("deny umount /x/,", 'operation="umount" name="/y/"', False),
        ("deny pivot_root,", 'operation="pivotroot" name="/y/"', True),
        ("deny @{T}/a w,", 'operation="open" name="/t/a" denied_mask="w"', True),
        ("deny owner file /t/a rw,", 'operation="open" name="/t/a" denied_mask="w"', True),
        ('deny "/a b" w,', 'operation="open" name=2F612062 denied_mask="w"', True),
    ],
)
def test_deny_rules_of_all_kinds(rule: str, body: str, *, denied: bool) -> None:
    (read,) = policytext.deny_rules([policytext.Text("f", rule)], {"T": ("/t/",)})
    assert denying.denies(read, parsed(body)) is denied


PROFILES = """
# profile commented {
abi <abi/3.0>,
include <tunables/global>
@{MINE}=/srv /data
/usr/bin/x flags=(attach_disconnected) {
  deny /x w,
  include <local/usr.bin.x>
}
profile lxc-a flags=(attach_disconnected, mediate_deleted) { # }
  deny mount fstype={a,b} -> /{x,y}/{,**},
  deny "/ } " w,
  profile child {
    deny /child w,
    include <local/child>
  }
  include if exists <local/lxc-a>
}
profile "lxc-b c" {
  deny /b r,
}
"""


def test_the_profiles_of_a_file() -> None:
    assert policytext.names(PROFILES) == ["/usr/bin/x", "lxc-a", "lxc-b c"]
    inner = policytext.body(PROFILES, "lxc-a")
    assert inner is not None and "child w" not in inner
    assert policytext.local_file(inner) == "/etc/apparmor.d/local/lxc-a"
    rules = policytext.deny_rules([policytext.Text("f", inner)])
    assert [rule.text for rule in rules] == [
        "deny mount fstype={a,b} -> /{x,y}/{,**},",
        'deny "/ } " w,',
    ]
    assert policytext.local_file(policytext.body(PROFILES, "lxc-b c") or "") is None
    assert policytext.body(PROFILES, "lxc-c") is None


def test_a_profiles_variables_are_known() -> None:
    found = policytext.variables([policytext.Text("f", "@{A}=/a /b\n@{A}+=/c\n@{B}=x\n")])
    assert found == {"A": ("/a", "/b", "/c"), "B": ("x",)}


def test_the_parser_takes_every_rule(tmp_path: Path) -> None:
    names = ("/a b", "/a*b", "/a[1]", "/{x,y}", "/q?", "/x=y", "/#c", "/@{x}")
    rules = [case.rule for case in CASES if case.rule]
    rules += [act_of(parsed(f'operation="open" name="{n}" denied_mask="r"')).rule for n in names]
    rules.append(act_of(parsed('operation="open" name=2FFF0A226D denied_mask="rw"')).rule)
    # Known to AppArmor 4 only, and said so.
    rules = [rule for rule in rules if not rule.startswith(("userns", "mqueue", "io_uring"))]
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
