"""denials: what it advises is so: asked of the profile, into the place that is read."""

import pytest

from tests.names import BASE, DOCKER
from tests.unit.denials_host import (
    GENERATED,
    capability,
    denied,
    found,
    make_host,
    mounted,
    only,
    real_profiles,
)
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

PROXMOX = "/usr/share/perl5/PVE/LXC.pm"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    real_profiles(make_host(host))
    return host


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
    assert not group["rule_is_futile"] and "there already: capability," in group["advice"]
    assert not only(host, capability(BASE, "wake_alarm"))["rule_is_futile"]
    host.write(f"/etc/apparmor.d/local/{BASE}", "deny capability wake_alarm,\n")
    group = only(host, capability(BASE, "wake_alarm"))
    assert group["rule_is_futile"] and f"local/{BASE}" in group["warning"]


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("sys_module", "loads code into the host's kernel"),
        ("mac_admin", "AppArmor policy"),
        ("bpf", "loads programs"),
        ("sys_admin", "unless the container is unprivileged"),
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


@pytest.mark.parametrize(("line", "warns"), [("unprivileged: 1\n", False), ("", True)])
def test_sys_admin_by_what_the_container_is(host: FakeHost, line: str, *, warns: bool) -> None:
    host.conf("950", f"arch: amd64\n{line}")
    host.runtime("950", b"lxc.apparmor.profile = lxc-mine\n")
    group = only(host, capability("lxc-mine", "sys_admin"))
    assert bool(group["warning"]) is warns


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
    host.conf("101", "features: nesting=1\nunprivileged: 1\n")
    group = only(host, mounted(GENERATED, "/srv/x/", fstype="tmpfs"))
    assert group["rule_file"] == "/etc/pve/lxc/101.conf"
    assert group["rule"] == 'lxc.apparmor.raw: mount fstype=tmpfs -> "/srv/x/",'
    host.write("/srv/lxc/web/config", "lxc.apparmor.allow_nesting = 1\n")
    group = only(host, mounted("lxc-web_</srv/lxc>", "/srv/x/", fstype="tmpfs"))
    assert (group["ctid"], group["rule_file"]) == ("web", "/srv/lxc/web/config")
    # a plain LXC's container may have a number for a name
    host.path(PROXMOX).unlink()
    host.path("/etc/pve/lxc/101.conf").unlink()
    host.runtime("101", b"lxc.apparmor.allow_nesting = 1\n")
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
    assert {group["advice_kind"] for group in found(host, *SYSTEMD)} == {"rule"}


def test_nesting_is_no_advice_for_a_privileged_container(host: FakeHost) -> None:
    host.conf("101", "arch: amd64\n")
    group = only(host, *SYSTEMD)
    assert (group["advice_kind"], group["fix"]) == ("assign", None)


def test_with_nesting_it_is_a_denial_like_others(host: FakeHost) -> None:
    host.conf("101", "unprivileged: 1\nfeatures: nesting=1\n")
    assert {group["advice_kind"] for group in found(host, *SYSTEMD)} == {"rule"}


@pytest.mark.parametrize(
    "program", ["runc", "dockerd", "crun", "netavark", "containerd", "runc:[2:INIT]"]
)
def test_docker_under_the_wrong_profile(host: FakeHost, program: str) -> None:
    host.runtime("950", f"lxc.apparmor.profile = {BASE}\n".encode())
    group = only(
        host,
        mounted(BASE, "/var/lib/docker/overlay2/5b1c0d2e3f4a5b6c7d8e/merged/proc/", comm=program),
        mounted(BASE, "/run/netns/x", 130, comm=program, more='srcname="/" flags="rw, rbind"'),
    )
    assert (group["advice_kind"], group["rule"], group["count"]) == ("assign", None, 2)
    assert DOCKER in group["advice"] and "CT 950" in group["advice"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("/run/netns/", 'flags="rw, rshared"'),
        ("/run/netns/vpn", 'srcname="/" flags="rw, bind"'),
        ("/run/netns/", 'flags="rw, rbind" srcname="/run/netns/"'),
    ],
)
def test_a_network_namespace_is_no_container(host: FakeHost, name: str, more: str) -> None:
    """ip netns add, OpenStack, NetworkNamespacePath=: no reason for the profile of Docker."""
    host.runtime("950", b"lxc.apparmor.profile = lxc-mine\n")
    host.profile("lxc-mine")
    group = only(host, mounted("lxc-mine", name, comm="ip", more=more, fstype=""))
    assert (group["advice_kind"], DOCKER in (group["advice"] or "")) == ("rule", False), group
    # those that CNI and podman name are of containers
    for engine in ("cni", "netns"):
        name = f"/run/netns/{engine}-4a9bd1f6-0c1e-7b1f-3b9e-0a1b2c3d4e5f"
        more = 'srcname="/" flags="rw, bind"'
        group = only(host, mounted("lxc-mine", name, comm="k3s", more=more, fstype=""))
        assert group["advice_kind"] == "assign"


def test_another_profile_is_no_advice_where_it_denies_the_same(host: FakeHost) -> None:
    group = only(host, capability(BASE, "sys_time").replace("modprobe", "dockerd"))
    assert (group["advice_kind"], group["rule_is_futile"]) == ("none", True)
    assert "abstractions/phoenix/container, as does" in group["warning"]
    # what only ours deny, a rule would allow under another profile
    group = only(host, mounted("lxc-mine", "/x/", comm="runc", fstype="debugfs"))
    assert (group["advice_kind"], group["rule_is_futile"]) == ("rule", False)
    assert "own interface" in group["warning"]


OVERCOMMIT = denied(
    'operation="open" class="file" profile="{}" name="/proc/sys/vm/overcommit_memory" pid=9 '
    'comm="{}" requested_mask="w" denied_mask="w" fsuid=0 ouid=0'
)


@pytest.mark.parametrize("program", ["dockerd", "k3s-server"])
@pytest.mark.parametrize("profile", [GENERATED, "lxc-mine", BASE])
def test_a_deny_is_said_of_the_profile_that_has_it(
    host: FakeHost, profile: str, program: str
) -> None:
    mine = "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", mine)
    group = only(host, OVERCOMMIT.format(profile, program))
    assert group["rule_is_futile"] is (profile == BASE)
    # the file is one that the profile includes, and the kinder answer has a place for the rule
    cited = group["warning"].rpartition(" in ")[2].rpartition("/")[2].split(",")[0].rstrip(".")
    if profile == BASE:
        assert f"abstractions/phoenix/{cited}>" in host.read(f"/etc/apparmor.d/{BASE}").decode()
        assert group["warning"].endswith(f"as does {DOCKER}") is (program == "dockerd")
    else:
        assert group["rule"] and group["rule_file"]
        assert "our profiles close that" in group["warning"]


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
    ("name", "rule"),
    [
        ("/data/docker/overlay2/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/", "/data/docker"),
        ("/srv/big/containerd/io.containerd.runtime.v2.task/moby/5b1c0d2e3f4a5b6c/rootfs/sys/",
         "/srv/big/containerd"),
        ("/data/containers/storage/overlay/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/",
         "/data/containers"),
        ("/opt/u/.local/share/containers/storage/overlay/5b1c0d2e3f4a5b6c/merged/sys/",
         "/opt/u/.local/share/containers"),
    ],
)  # fmt: skip
def test_an_engines_data_elsewhere(host: FakeHost, name: str, rule: str) -> None:
    others = name.replace("5b1c", "6c2d").replace("proc/", "sys/")
    group = only(host, mounted(DOCKER, name, comm="runc"), mounted(DOCKER, others, 130, comm="x"))
    assert group["rule"] == f'mount -> "{rule}/**",'
    assert group["rule_file"] == f"/etc/apparmor.d/local/{DOCKER}"
    assert (group["warning"], group["count"]) == (None, 2)
    host.write(f"/etc/apparmor.d/local/{DOCKER}", group["rule"] + "\n")
    assert run_parser(group["rule"], host.root).returncode == 0


def test_an_engines_data_where_its_profile_allows_it(host: FakeHost) -> None:
    name = "/var/lib/containers/storage/overlay/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/"
    group = only(host, mounted(DOCKER, name, comm="runc"))
    assert group["rule"] is None and "abstractions/phoenix/docker" in group["advice"]


def test_an_engines_data_where_no_line_helps(host: FakeHost) -> None:
    name = "/root/docker/overlay2/5b1c0d2e3f4a5b6c7d8e9f00/merged/proc/"
    group = only(host, mounted(DOCKER, name, comm="runc"))
    assert (group["rule"], group["rule_is_futile"]) == (None, True)
    assert "Move the folder" in group["advice"]


INSIDE = 'namespace="root//lxc-105_<-var-lib-lxc>" profile="{}" '


def test_a_profile_of_the_containers_own(host: FakeHost) -> None:
    group = only(
        host,
        denied(
            f'operation="open" class="file" {INSIDE.format("rsyslogd")} '
            'name="/run/systemd/journal/dev-log" comm="systemd-journal" denied_mask="r"'
        ),
    )
    assert (group["ctid"], group["inside_profile"]) == ("105", "rsyslogd")
    assert (group["advice_kind"], group["rule_file"]) == (
        "inside",
        "/etc/apparmor.d/local/rsyslogd",
    )
    assert group["rule"] == '"/run/systemd/journal/dev-log" r,'
    for words in ("loaded inside container 105", "apparmor_parser -r", "grep -rlwF rsyslogd"):
        assert words in group["advice"]
    out = host.cli("denials").out
    assert "To allow it, in /etc/apparmor.d/local/rsyslogd of the container:" in out


RSYSLOG = """\
include <tunables/global>
profile rsyslogd /usr/sbin/rsyslogd {
  include <abstractions/base>
  %s
}
"""


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("include if exists <local/usr.sbin.rsyslogd>", "/etc/apparmor.d/local/usr.sbin.rsyslogd"),
        ("include if exists <local/other>", "/etc/apparmor.d/local/other"),
        ("", None),
        ('include "/etc/apparmor.d/local/../../../x"', None),
    ],
)
def test_the_file_of_a_profile_of_the_containers_own(
    host: FakeHost, line: str, place: str | None
) -> None:
    """It is looked up in the container, where no link leads out of it."""
    host.conf("105")
    host.running("105", "x", 4242)
    folder = "/proc/4242/root/etc/apparmor.d"
    host.write(f"{folder}/usr.sbin.rsyslogd", RSYSLOG % line)
    message = denied(
        f'operation="open" class="file" {INSIDE.format("rsyslogd")} name="/x" denied_mask="r"'
    )
    group = only(host, message)
    assert (group["advice_kind"], group["rule_file"]) == ("inside", place)
    assert "apparmor_parser -r /etc/apparmor.d/usr.sbin.rsyslogd" in group["advice"]
    host.path(f"{folder}/usr.sbin.rsyslogd").unlink()
    host.write("/out", RSYSLOG % line)
    host.path(f"{folder}/usr.sbin.rsyslogd").symlink_to(host.path("/out"))
    assert "grep -rlwF" in only(host, message)["advice"]


@pytest.mark.parametrize("name", ["docker-default", "x; rm -rf /", "$(id)", "unconfined"])
def test_profiles_inside_that_are_in_no_file_there(host: FakeHost, name: str) -> None:
    group = only(
        host,
        denied(
            f'operation="open" class="file" {INSIDE.format("X")} name="/x" denied_mask="r"'
        ).replace('"X"', name.encode().hex()),
    )
    assert (group["advice_kind"], group["rule"], group["rule_file"]) == ("none", None, None)
    assert "grep" not in group["advice"] and "apparmor_parser" not in group["advice"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('operation="file_lock" class="net" comm="(sh)" family="unix" sock_type="dgram" addr=none',
         "no word for a lock"),
        ('operation="change_onexec" info="no new privs" error=-1 name="system_tor" '
         'target="system_tor"', "NoNewPrivileges="),
        ('operation="ptrace" class="ptrace" denied_mask="read"', "does not say of which profile"),
        ('operation="userns_create" class="namespace" denied="userns_create"',
         "AppArmor 3.0 of this host knows no such rule"),
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
    assert group["fix"].endswith(" && phoenix-apparmor reload")
    command = group["fix"].partition(" && ")[0].replace("/etc/", f"{host.root}/etc/")
    done = host.run("sh", "-c", command)
    assert done.status == 0, done
    assert local.read_text() == f"# mine, without an end\n{group['rule']}\n"
    assert "there already" in only(host, message)["advice"]
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


ENGINES = (
    'operation="change_onexec" info="label not found" error=-2 profile="{}" pid=9 '
    'comm="runc:[2:INIT]" name="docker-default"'
)


def test_why_the_engines_profile_is_missing_decides_what_helps(host: FakeHost) -> None:
    def advice(profile: str) -> str:
        host.runtime("952", f"lxc.apparmor.profile = {profile}\n".encode())
        said: str = only(host, denied(ENGINES.format(profile)))["advice"]
        return said

    host.json({"952": {"apparmor_profile": DOCKER}})
    host.conf("952", "unprivileged: 1\n")
    assert "Restart the container" in advice(DOCKER)
    assert f'"apparmor_profile": "{DOCKER}"' in advice(BASE) and "Restart" not in advice(BASE)
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_policy_namespace": False}})
    assert '"apparmor_policy_namespace": false' in advice(DOCKER)
    host.conf("952", "hostname: x\n")
    assert "privileged container has no policy namespace" in advice(DOCKER)


@pytest.mark.parametrize(
    ("flags", "warning"),
    [
        ("rw, remount, bind", "makes writable"),
        ("ro, remount", "other options"),
        ("ro, remount, bind, nosymfollow", ""),
    ],
)
def test_what_the_host_shares_with_root_of_its_own(
    host: FakeHost, flags: str, warning: str
) -> None:
    """Of root of a user namespace, what Proxmox mounts keeps its options; what LXC does, not."""
    host.runtime("952", f"lxc.apparmor.profile = {BASE}\n".encode())
    tried = mounted(BASE, "/models/", more=f'flags="{flags}"')
    host.conf("952", "hostname: x\n")
    group = only(host, tried)
    assert warning in (group["warning"] or "") and bool(group["warning"]) == bool(warning)
    if warning:
        assert group["fix"] is None and group["rule"].startswith("mount options=(")
    host.conf("952", "unprivileged: 1\n")
    assert ("lxc.mount.entry" in (only(host, tried)["warning"] or "")) == ("makes" in warning)
    # bubblewrap's root, in which lxc-nvidia-gpu-docker allows it anything
    assert only(host, tried.replace("/models/", "/newroot/x/"))["warning"] is None


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


def test_why_policy_may_not_be_changed_decides_what_helps(host: FakeHost) -> None:
    load = 'operation="profile_load" info="not policy admin" error=-13 {} pid=9 comm="snapd"'

    def advice(whose: str) -> str:
        said: str = only(host, denied(load.format(whose)).replace("DENIED", "STATUS"))["advice"]
        return said

    host.runtime("952", f"lxc.apparmor.profile = {DOCKER}\n".encode())
    host.json({"952": {"apparmor_profile": DOCKER}})
    host.conf("952", "unprivileged: 1\n")
    assert "Restart the container" in advice(f'profile="{DOCKER}"')
    assert "Restart" not in advice(f'profile="{BASE}"')
    stacked = f'label="{DOCKER}//&:lxc-952_<-var-lib-lxc>:unconfined"'
    assert "only root of the container" in advice(stacked)
    host.json({"952": {"apparmor_profile": DOCKER, "apparmor_policy_namespace": False}})
    assert '"apparmor_policy_namespace": false' in advice(f'profile="{DOCKER}"')
    host.conf("952", "hostname: x\n")
    assert "privileged container has no policy namespace" in advice(f'profile="{DOCKER}"')
