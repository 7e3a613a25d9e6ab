"""Rules for D-Bus, sockets, queues and the like that are there in other words, or deny it."""

import pytest

from phoenix_apparmor.denials import channels
from tests.names import BASE
from tests.unit.denials_host import BOOT, denied, journal, only, process
from tests.unit.fakehost import FakeHost

pytestmark = pytest.mark.usefixtures("as_shipped")

ME = "lxc-mine"


def on_bus(host: FakeHost, body: str) -> str:
    """A message of the host's dbus-daemon."""
    process(host, 500, "/system.slice/dbus.service", 50)
    return (
        f"type=USER_AVC msg=audit({BOOT + 100}.5:9): pid=500 uid=101 auid=4294967295 "
        f'ses=4294967295 subj=unconfined msg=\'apparmor="DENIED" {body} '
        'exe="/usr/bin/dbus-daemon" sauid=101 hostname=? addr=? terminal=?\''
    )


def call(mask: str = "send", profile: str = ME, peer: str = ME, more: str = "") -> str:
    return (
        f'operation="dbus_method_call"  bus="system" path="/a" interface="a.b" member="M" '
        f'mask="{mask}" name="a.c" pid=55 label="{profile}" peer_pid=9 peer_label="{peer}"{more}'
    )


BIND = f'operation="dbus_bind"  bus="system" name="a.c" mask="bind" pid=55 label="{ME}"'
QUEUE = (
    f'operation="mqueue_open" class="posix_mqueue" profile="{ME}" name="/q" pid=9 comm="x" '
    'requested="read create" denied="read create"'
)
RING = (
    f'operation="uring_sqpoll" class="io_uring" profile="{ME}" pid=9 comm="x" '
    'requested="sqpoll" denied="sqpoll"'
)
USERNS = (
    f'operation="userns_create" class="namespace" info="x" error=-13 profile="{ME}" pid=9 '
    'comm="x" requested="userns_create" denied="userns_create"'
)
SOCKET = (
    f'operation="connect" class="net" profile="{ME}" pid=9 comm="x" family="unix" '
    'sock_type="stream" protocol=0 requested_mask="send receive connect" '
    'denied_mask="send connect" addr=none peer_addr="@foo" peer="unconfined"'
)
CASES = [
    ("dbus,", call(), True),
    ("dbus send,", call(), True),
    ("dbus (rw) bus=system,", call(), True),
    ("dbus bus=system path=/** interface=a.* member={L,M},", call(), True),
    ("dbus (send) peer=(name=a.c),", call(), True),
    ('dbus (send) peer=(name="a.*", label=lxc-{x,mine}),', call(), True),
    ("dbus (receive) peer=(label=lxc-mine),", call("receive"), True),
    ("dbus (bind) bus=system name=a.*,", BIND, True),
    ("dbus bus=system,", BIND, True),
    ("dbus (receive),", call(), False),
    ("dbus (send) bus=session,", call(), False),
    ("dbus (send) path=/b,", call(), False),
    ("dbus (send) member=N,", call(), False),
    ("dbus (send) interface=a,", call(), False),
    ("dbus (send) peer=(name=a.d),", call(), False),
    ("dbus (send) peer=(label=unconfined),", call(), False),
    ("dbus peer=(name=a.c),", call("receive"), False),
    ("dbus name=a.c,", call(), False),
    ("dbus (bind) name=a.d,", BIND, False),
    ("dbus path=/,", BIND, False),
    ("mqueue (r, create) type=posix /q,", denied(QUEUE), True),
    ("mqueue,", denied(QUEUE), True),
    ("mqueue /*,", denied(QUEUE), True),
    ("mqueue (read),\n  mqueue (create) /q,", denied(QUEUE), True),
    ("mqueue (read) /q,", denied(QUEUE), False),
    ("mqueue type=sysv,", denied(QUEUE), False),
    ("mqueue /r,", denied(QUEUE), False),
    ("io_uring,", denied(RING), True),
    ("io_uring (sqpoll, override_creds),", denied(RING), True),
    ("io_uring override_creds,", denied(RING), False),
    ("userns,", denied(USERNS), True),
    ("userns create,", denied(USERNS), True),
    ("unix (rw, connect) peer=(label={x,unconfined}),", denied(SOCKET), True),
    ("unix (rw, connect) peer=(label=unconfined, addr=@f*),", denied(SOCKET), True),
    ("unix (r, connect) peer=(label=unconfined),", denied(SOCKET), False),
    ("unix protocol=1,", denied(SOCKET), False),
]


@pytest.mark.parametrize(("rules", "message", "there"), CASES)
def test_what_is_there_in_other_words(
    host: FakeHost, rules: str, message: str, *, there: bool
) -> None:
    """Neither a rule again, nor one where what is there is for something else."""
    # the parser of AppArmor 4 knows all of these
    host.write("/etc/apparmor.d/abi/4.0", "")
    host.write(f"/etc/apparmor.d/{ME}", f"profile {ME} {{\n  {rules}\n}}\n")
    group = only(host, on_bus(host, message) if "audit(" not in message else message)
    assert ("already a rule" in (group["advice"] or "")) is there, group
    assert (group["rule"] is None) is there


@pytest.mark.parametrize(
    ("rule", "message", "closed", "nothing"),
    [
        ("dbus (send) bus=system path=/a,", call(), True, True),
        ("dbus,", call(), True, True),
        ("dbus bind,", BIND, True, True),
        ("dbus (send) bus=system path=/b,", call(), False, False),
        ("dbus receive,", call(), False, False),
        ("mqueue (create),", denied(QUEUE), True, False),
        ("mqueue (delete),", denied(QUEUE), False, False),
        ("io_uring sqpoll,", denied(RING), True, True),
        ("userns create,", denied(USERNS), True, True),
        ("unix (connect) peer=(addr=@foo),", denied(SOCKET), True, False),
        ("unix (bind),", denied(SOCKET), False, False),
    ],
)
def test_a_deny_of_its_profile_is_seen(
    host: FakeHost, rule: str, message: str, *, closed: bool, nothing: bool
) -> None:
    """By denials in local/ and in the entry; validate says it of the rule that is offered.

    nothing: whether that rule allows nothing beside it.
    """
    host.write("/etc/apparmor.d/abi/4.0", "")
    text = f"profile {ME} {{\n  file,\n  include if exists <local/{ME}>\n}}\n"
    host.write(f"/etc/apparmor.d/{ME}", text)
    message = message.replace(f'"{ME}"', f'"{ME}.952"')
    message = on_bus(host, message) if "audit(" not in message else message
    offered = only(host, message)["rule"]
    assert offered

    def says(*rules: str) -> tuple[bool, bool]:
        entry = {"apparmor_profile": ME, "apparmor_rules": [*rules, offered]}
        host.json({"952": entry})
        futile = "this rule does nothing" in host.cli("validate", "--json").out
        host.json({"952": {**entry, "apparmor_rules": list(rules)}})
        return futile, only(host, message)["rule_is_futile"]

    assert says() == (False, False)
    assert says(f"deny {rule}") == (nothing, closed)
    host.write(f"/etc/apparmor.d/local/{ME}", f"  deny {rule}\n")
    assert says() == (nothing, closed)


@pytest.mark.parametrize("stack", ["", "//&:lxc-952_<-var-lib-lxc>:unconfined", f"//&{ME}.guard"])
def test_on_a_bus_a_container_with_rules_of_its_own_is_known(host: FakeHost, stack: str) -> None:
    """D-Bus names no profile but the whole label."""
    label = f"{ME}.952{stack}"
    group = only(host, on_bus(host, call(profile=label, peer=label)))
    assert (group["ctid"], group["profile"]) == ("952", ME)
    assert 'label="@{profile_name}' in group["rule"]


def test_a_trial_sees_what_happens_on_a_bus(host: FakeHost) -> None:
    host.runtime("952")
    host.json({"952": {"apparmor_profile": ME, "apparmor_mode": "trial"}})
    line = on_bus(host, call(profile=f"{ME}.952.trial//&{ME}.guard", peer="unconfined"))
    text = f"USER_AVC {line.partition('): ')[2]}".replace("DENIED", "ALLOWED")
    stamp = {"_AUDIT_ID": "9", "__REALTIME_TIMESTAMP": f"{BOOT + 100}000000"}
    journal(host, [{"_TRANSPORT": "audit", "MESSAGE": text, **stamp}])
    done = host.cli("allow", "952", "--dry-run")
    assert "a.b.M over the D-Bus system bus" in done.out, done


def test_what_our_profile_allows_is_not_offered(host: FakeHost) -> None:
    """It has "dbus," for what is in the container."""
    group = only(host, on_bus(host, call(profile=BASE, peer=BASE)))
    assert "already a rule for it: dbus," in group["advice"]


@pytest.mark.parametrize(
    "rule",
    [
        "dbus (send) bus=system path=/a/** member=M peer=(name=a.c,label=x)",
        "dbus (bind) bus=session name=a.{b,c}",
        "unix (send, connect) type=stream peer=(label=x,addr=@foo*)",
        "unix (bind) type=dgram addr=@x",
        "mqueue (read, write) type=posix /q",
        "mqueue (read) 12",
        "io_uring (override_creds) label=x",
        "userns create",
    ],
)
def test_examples_of_a_rule_are_what_it_is_about(rule: str) -> None:
    found = list(channels.acts(rule))
    assert found and all(channels.ways(rule, act) for act in found)
    assert not any(channels.ways("dbus (eavesdrop)", act) for act in found)
