"""denials: what it advises is so: asked of the profile, into the place that is read."""

import pytest

from tests.names import BASE, DOCKER
from tests.unit.denials_host import (
    GENERATED,
    OVERCOMMIT,
    capability,
    denied,
    found,
    mounted,
    only,
)
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

PROXMOX = "/usr/share/perl5/PVE/LXC.pm"


pytestmark = pytest.mark.usefixtures("as_shipped")


@pytest.mark.parametrize("name", ["sys_module", "syslog", "sys_time"])
@pytest.mark.parametrize("profile", [BASE, DOCKER])
def test_a_capability_that_the_profile_denies(host: FakeHost, profile: str, name: str) -> None:
    group = only(host, capability(profile, name))
    assert (group["rule"], group["rule_is_futile"], group["advice_kind"]) == (None, True, "none")
    assert "deny capability syslog sys_module sys_time," in group["warning"]
    assert "abstractions/phoenix/container" in group["warning"]


def test_what_a_profile_denies_is_asked_of_the_profile(host: FakeHost) -> None:
    """Not of a list: without the rule it is no longer denied on purpose, in local/ it is."""
    path = "/etc/apparmor.d/abstractions/phoenix/container"
    text = host.read(path).decode()
    host.write(path, text.replace("deny capability syslog sys_module sys_time,", ""))
    group = only(host, capability(BASE, "sys_time"))
    assert not group["rule_is_futile"] and "already a rule for it: capability," in group["advice"]
    assert not only(host, capability(BASE, "wake_alarm"))["rule_is_futile"]
    host.write(f"/etc/apparmor.d/local/{BASE}", "deny capability wake_alarm,\n")
    group = only(host, capability(BASE, "wake_alarm"))
    assert group["rule_is_futile"] and f"local/{BASE}" in group["warning"]


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("sys_module", "loads code into the host's kernel"),
        ("sys_time", "clock"),
        ("syslog", "unless the container is unprivileged"),
        # which our profiles give
        ("mac_admin", None),
        ("sys_admin", None),
        ("chown", None),
    ],
)
def test_capabilities_of_another_profile(host: FakeHost, name: str, warning: str | None) -> None:
    group = only(host, capability("lxc-mine", name))
    assert group["rule"] == f"capability {name},"
    assert group["rule_file"] == "/etc/apparmor.d/local/lxc-mine"
    assert (warning is None) == (group["warning"] is None)
    assert (warning or "") in (group["warning"] or "")
    # what is better not done is no command to paste
    assert (group["fix"] is None) == (warning is not None)


@pytest.mark.parametrize("line", ["unprivileged: 1\n", ""])
def test_capabilities_by_what_the_container_is(host: FakeHost, line: str) -> None:
    host.conf("950", f"arch: amd64\n{line}")
    host.runtime("950", b"lxc.apparmor.profile = lxc-mine\n")
    assert only(host, capability("lxc-mine", "sys_admin"))["warning"] is None
    warning = only(host, capability("lxc-mine", "sys_time"))["warning"]
    assert ("sets the host's clock" in warning) is (line == "")


@pytest.mark.parametrize(
    ("profile", "own"), [("lxc-container-default-cgns", True), ("/usr/bin/lxc-start", False)]
)
def test_a_profile_of_a_package_that_reads_no_local_file(
    host: FakeHost, profile: str, *, own: bool
) -> None:
    group = only(host, mounted(profile, "/srv/x/", fstype="tmpfs"))
    assert (group["advice_kind"], group["rule_file"]) == ("profile", None)
    assert group["rule"] == 'mount fstype=tmpfs -> "/srv/x/",'
    assert "belongs to a package" in group["advice"]
    assert ("profile of your own" in group["advice"]) is own


def test_a_profile_that_reads_another_local_file(host: FakeHost) -> None:
    host.write(
        "/etc/apparmor.d/lxc-site",
        "include <tunables/global>\nprofile lxc-site {\n  include if exists <local/common>\n"
        "  profile inner {\n    include if exists <local/inner>\n  }\n}\n",
    )
    assert only(host, mounted("lxc-site", "/x/"))["rule_file"] == "/etc/apparmor.d/local/common"
    group = only(host, mounted("lxc-site//inner", "/x/"))
    assert (group["rule_file"], group["advice_kind"]) == (None, "profile")
    assert "part inner of /etc/apparmor.d/lxc-site" in group["advice"]


def test_a_profile_of_no_file(host: FakeHost) -> None:
    group = only(host, mounted("lxc-gone", "/x/"))
    assert (group["rule_file"], group["advice_kind"]) == (None, "profile")
    assert "No file in /etc/apparmor.d" in group["advice"]


def test_generated_on_proxmox_and_on_plain_lxc(host: FakeHost) -> None:
    host.write(PROXMOX, "")
    host.conf("101", "features: fuse=1\nunprivileged: 1\n")
    group = only(host, mounted(GENERATED, "/srv/x/", fstype="tmpfs"))
    assert group["rule_file"] == "/etc/pve/lxc/101.conf"
    assert group["rule"] == 'lxc.apparmor.raw: mount fstype=tmpfs -> "/srv/x/",'
    host.write("/srv/lxc/web/config", "lxc.uts.name = web\n")
    group = only(host, mounted("lxc-web_</srv/lxc>", "/srv/x/", fstype="tmpfs"))
    assert (group["ctid"], group["rule_file"]) == ("web", "/srv/lxc/web/config")
    # a plain LXC's container may have a number for a name
    host.path(PROXMOX).unlink()
    host.path("/etc/pve/lxc/101.conf").unlink()
    host.runtime("101", b"lxc.uts.name = web\n")
    assert only(host, mounted(GENERATED, "/x/"))["rule_file"] == "/var/lib/lxc/101/config"
    group = only(host, mounted("lxc-web_</srv/lxc>", "/srv/x/", fstype="tmpfs"))
    assert group["rule"] == 'lxc.apparmor.raw = mount fstype=tmpfs -> "/srv/x/",'


def test_what_a_generated_profile_denies_itself(host: FakeHost) -> None:
    host.conf("101", "features: nesting=1\n")
    host.write(
        "/var/lib/lxc/101/apparmor/lxc-101_<-var-lib-lxc>",
        f'profile "{GENERATED}" flags=(attach_disconnected) {{\n  deny mount fstype=debugfs,\n}}\n',
    )
    assert only(host, mounted(GENERATED, "/srv/x/", fstype="debugfs"))["rule_is_futile"]


def test_a_label_of_dbus_is_no_file_name(host: FakeHost) -> None:
    host.conf("101", "features: nesting=1\nunprivileged: 1\n")
    host.write("/proc/500/cgroup", "0::/system.slice/dbus.service\n")
    host.write("/proc/500/stat", f"500 (d) S {' '.join('0' * 18)} 100 0\n")
    label = f"{GENERATED}//&:lxc-101_<-var-lib-lxc>:unconfined"
    group = only(
        host,
        denied("").replace("type=1400", "type=1107").removesuffix('apparmor="DENIED" ')
        + f'pid=500 uid=104 subj=unconfined msg=\'apparmor="DENIED" operation="dbus_method_call"  '
        f'bus="system" path="/org/x" interface="org.x" member="Get" mask="send" name=":1.3" '
        f'pid=77 label="{label}" peer_label="unconfined" exe="/usr/bin/dbus-daemon"\'',
    )
    assert (group["ctid"], group["rule_file"]) == ("101", "/etc/pve/lxc/101.conf")
    assert group["rule"] == (
        'lxc.apparmor.raw: dbus (send) bus=system path="/org/x" interface="org.x" member="Get" '
        'peer=(label="unconfined"),'
    )


SYSTEMD = (
    mounted(GENERATED, "/", comm="(sd-gens)", more='flags="ro, remount, bind"'),
    mounted(GENERATED, "/dev/shm/", 110, comm="(sd-mkdcreds)", fstype="ramfs"),
    mounted(GENERATED, "/run/systemd/namespace-jC33GD/", 130, comm="(d-logind)"),
    mounted(GENERATED, "/run/systemd/namespace-aB12Cd/", 140, comm="(d-logind)"),
)


@pytest.mark.parametrize(
    ("features", "value"),
    [("", "nesting=1"), ("features: keyctl=1,fuse=1\n", "keyctl=1,fuse=1,nesting=1")],
)
def test_systemd_without_nesting_is_told_once(host: FakeHost, features: str, value: str) -> None:
    host.conf("101", f"unprivileged: 1\n{features}")
    group = only(host, *SYSTEMD)
    assert (group["advice_kind"], group["rule"], group["count"]) == ("nesting", None, 4)
    assert group["fix"] == f"pct set 101 --features {value}"
    assert BASE in group["advice"] and "3.0" not in group["advice"]
    assert host.run("sh", "-c", group["fix"]).status == 0
    assert host.read("/etc/pve/lxc/101.conf") == f"features: {value}\nunprivileged: 1\n".encode()
    after = found(host, *SYSTEMD)
    assert {(group["advice_kind"], group["rule"]) for group in after} == {("none", None)}
    assert all(
        "Nesting, which is on in /etc/pve/lxc/101.conf, allows" in g["advice"] for g in after
    )


def test_after_generated_the_profile_that_is_assigned_now_counts(host: FakeHost) -> None:
    """Advice for the generated profile is none for a container that has left it."""
    host.conf("101", "unprivileged: 1\n")
    host.write("/etc/apparmor.d/lxc-own", "profile lxc-own {\n  mount,\n  deny /closed w,\n}\n")
    body = 'operation="open" class="file" profile="{}" name="{}" pid=9 denied_mask="w" fsuid=0'
    closed, opened = (
        denied(body.format(GENERATED, name), second)
        for name, second in (("/closed", 150), ("/opened", 160))
    )
    peer = denied(
        f'operation="ptrace" class="ptrace" profile="{GENERATED}" pid=9 denied_mask="read" '
        f'peer="{GENERATED}"',
        170,
    )
    everything = (*SYSTEMD, closed, opened, peer)

    def kinds() -> set[str]:
        return {group["advice_kind"] for group in found(host, *everything)}

    assert "nesting" in kinds()
    host.json({"101": {"apparmor_profile": "generated"}, "950": {}})
    assert "nesting" in kinds()
    host.json({"101": {"apparmor_profile": "lxc-own"}, "950": {}})
    groups = found(host, *everything)
    files = [group for group in groups if group["operation"] == "open"]
    assert len(files) == 2 and not [g for g in files if "lxc.apparmor" in (g["rule"] or "")]
    (allows,) = (g for g in groups if g["count"] == len(SYSTEMD))
    assert allows["rule"] is None and "lxc-own is assigned now, and allows" in allows["advice"]
    (denies,) = (g for g in groups if "/closed" in g["tried_to"])
    assert denies["rule_is_futile"] and "lxc-own denies that on purpose" in denies["warning"]
    (lacks,) = (g for g in groups if "/opened" in g["tried_to"])
    assert lacks["rule_file"] == "/etc/apparmor.d/local/lxc-own"


def test_nesting_is_no_advice_for_a_privileged_container(host: FakeHost) -> None:
    host.conf("101", "arch: amd64\n")
    group = only(host, *SYSTEMD)
    assert (group["advice_kind"], group["fix"]) == ("assign", None)


@pytest.mark.parametrize("line", ["features: nesting=1", "lxc.apparmor.allow_nesting: 1"])
def test_what_nesting_allows_needs_no_rule(host: FakeHost, line: str) -> None:
    host.conf("101", f"unprivileged: 1\n{line}\n")
    pivot = denied(
        f'operation="pivotroot" class="mount" profile="{GENERATED}" name="/x/" pid=9 comm="x"', 170
    )
    groups = found(host, *SYSTEMD, pivot)
    assert groups and {(g["advice_kind"], g["rule"]) for g in groups} == {("none", None)}
    assert all("pct reboot 101" in g["advice"] for g in groups)


def test_what_it_does_not_allow_is_a_denial_like_others(host: FakeHost) -> None:
    host.conf("101", "unprivileged: 1\nfeatures: nesting=1\n")
    assert only(host, capability(GENERATED, "wake_alarm"))["advice_kind"] == "rule"
    closed = mounted(GENERATED, "/", comm="mount", more='flags="ro, remount"')
    assert "Nesting" not in only(host, closed)["advice"]


def test_what_a_child_or_the_containers_own_rule_denies(host: FakeHost) -> None:
    host.write(
        "/etc/apparmor.d/lxc-mine",
        "profile lxc-mine {\n  file,\n  deny /a w,\n  profile inner {\n    deny /b w,\n  }\n}\n",
    )
    host.conf("950")
    host.runtime("950", b"lxc.apparmor.profile = lxc-mine\n")
    host.json({"950": {"apparmor_profile": "lxc-mine", "apparmor_rules": ["audit deny /c w,"]}})

    def futile(profile: str, name: str) -> str:
        group = only(
            host, OVERCOMMIT.format(profile, "sh").replace("/proc/sys/vm/overcommit_memory", name)
        )
        return (group["warning"] or "") if group["rule_is_futile"] else ""

    assert '"deny /a w," in /etc/apparmor.d/lxc-mine' in futile("lxc-mine", "/a")
    assert futile("lxc-mine//inner", "/a") == "" and futile("lxc-mine", "/b") == ""
    assert '"deny /b w," in /etc/apparmor.d/lxc-mine' in futile("lxc-mine//inner", "/b")
    assert "in the entry of CT 950" in futile("lxc-mine", "/c")
    assert futile("lxc-mine//inner", "/c") == ""


@pytest.mark.parametrize(
    ("rule", "closed"),
    [
        ("deny change_profile -> unconfined,", True),
        ("audit deny change_profile,", True),
        ("deny change_profile -> {un,}conf*,", True),
        ("deny change_profile -> other,", False),
        ("deny change_profile /bin/x -> unconfined,", False),
    ],
)
def test_a_change_of_profile_that_is_denied_explicitly(
    host: FakeHost, rule: str, *, closed: bool
) -> None:
    host.write("/etc/apparmor.d/lxc-mine", f"profile lxc-mine {{\n  file,\n  {rule}\n}}\n")
    message = denied(
        'operation="change_profile" class="file" profile="lxc-mine" name="unconfined" pid=9'
    )
    assert only(host, message)["rule_is_futile"] is closed


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('operation="file_lock" class="net" comm="(sh)" family="unix" sock_type="dgram" addr=none',
         "no word for a lock"),
        ('operation="change_onexec" info="no new privs" error=-1 name="system_tor" '
         'target="system_tor"', "NoNewPrivileges="),
        ('operation="ptrace" class="ptrace" denied_mask="read"', "does not say of which profile"),
        ('operation="userns_create" class="namespace" denied="userns_create"',
         "AppArmor 3.0 does not know such a rule"),
    ],
)  # fmt: skip
def test_where_no_rule_helps(host: FakeHost, body: str, words: str) -> None:
    group = only(host, denied(f'{body} profile="lxc-mine" pid=9'))
    assert (group["advice_kind"], group["rule"]) == ("none", None)
    assert words in group["advice"]


def test_rules_of_apparmor_4_where_it_is(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/abi/4.0", "")
    group = only(host, denied('operation="userns_create" class="namespace" profile="lxc-mine"'))
    assert group["rule"] == "userns create,"


def test_a_fix_is_a_command_that_does_it(host: FakeHost) -> None:
    """Run as it is printed, where its paths are the fake host's; what is there stays."""
    text = host.read("/etc/apparmor.d/lxc-mine").replace(b"  file,\n", b"")
    host.write("/etc/apparmor.d/lxc-mine", text)
    local = host.write("/etc/apparmor.d/local/lxc-mine", "# mine, without an end")
    name = "/srv/a b'c\"d $(id) `id` \\ {x}/"
    message = denied(
        'operation="mkdir" class="file" profile="lxc-mine" denied_mask="c" '
        f"name={name.encode().hex()}"
    )
    group = only(host, message)
    assert group["fix"].endswith(" && phoenix-apparmor reload lxc-mine")
    command = group["fix"].partition(" && ")[0].replace("/etc/", f"{host.root}/etc/")
    done = host.run("sh", "-c", command)
    assert done.status == 0, done
    assert local.read_text() == f"# mine, without an end\n{group['rule']}\n"
    assert "already a rule" in only(host, message)["advice"]
    assert run_parser(local.read_text(), host.root).returncode == 0


@pytest.mark.parametrize("info", ["not policy admin", "policy_locked"])
def test_a_refused_change_of_policy_is_a_status_to_the_kernel(host: FakeHost, info: str) -> None:
    refused = denied(
        f'operation="profile_replace" info="{info}" error=-13 profile="{DOCKER}" pid=9 '
        'comm="apparmor_parser"'
    ).replace("DENIED", "STATUS")
    loaded = refused.replace(f'info="{info}" error=-13 ', "").replace(":1000)", ":1001)")
    group = only(host, refused, loaded)
    assert group["tried_to"].startswith("replace the AppArmor profile") and group["count"] == 1
    assert "policy namespace" in group["advice"]


def test_what_allow_leaves_out_is_warned_of(host: FakeHost) -> None:
    more = 'srcname="/" flags="rw, rbind"'
    group = only(host, mounted("lxc-mine", "/opt/v/", more=more))
    assert "another path" in group["warning"] and group["fix"] is None


def test_limits_of_other_resources_are_other_denials(host: FakeHost) -> None:
    limit = 'operation="setrlimit" class="rlimits" profile="lxc-x" pid=9 comm="x" rlimit={} value=9'
    groups = found(host, denied(limit.format("nofile"), 100), denied(limit.format("memlock"), 101))
    assert len(groups) == 2


def test_a_container_that_signals_lxc_itself(host: FakeHost) -> None:
    group = only(
        host,
        denied(
            'operation="signal" class="signal" profile="/usr/bin/lxc-start" pid=9 comm="kill" '
            f'requested_mask="receive" denied_mask="receive" signal=term peer="{BASE}"'
        ),
    )
    assert "reach LXC" in group["warning"]


@pytest.mark.parametrize("info", ["disconnected path", "deleted entry"])
@pytest.mark.parametrize(("profile", "has"), [(BASE, True), ("lxc-mine", False)])
def test_a_flag_is_said_to_be_missing_where_it_is(
    host: FakeHost, info: str, profile: str, *, has: bool
) -> None:
    group = only(
        host,
        denied(
            f'operation="open" class="file" info="Failed name lookup - {info}" error=-13 '
            f'profile="{profile}" name="run/x" pid=9 comm="x" requested_mask="r" denied_mask="r"'
        ),
    )
    assert ("only if" in group["advice"]) is not has
    assert ("To load it: phoenix-apparmor reload" in group["advice"]) is has
