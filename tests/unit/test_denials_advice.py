"""denials: what it advises is so: asked of the profile, into the place that is read."""

import pytest

from tests.names import BASE, DOCKER
from tests.unit.denials_host import denied, found, make_host, only, process, real_profiles
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

GENERATED = "lxc-101_</var/lib/lxc>"
PROXMOX = "/usr/share/perl5/PVE/LXC.pm"


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    real_profiles(make_host(host))
    return host


def capability(profile: str, name: str, second: float = 100) -> str:
    return denied(
        f'operation="capable" class="cap" profile="{profile}" pid=9 comm="modprobe" '
        f'capability=16  capname="{name}"',
        second,
    )


def mounted(profile: str, name: str, second: float = 100, *, comm: str = "mount", more: str = "",
            fstype: str = "proc") -> str:  # fmt: skip
    more = more or f'fstype="{fstype}" srcname="{fstype}" flags="rw, nosuid"'
    return denied(
        f'operation="mount" class="mount" info="failed mntpnt match" error=-13 '
        f'profile="{profile}" name="{name}" pid=9 comm="{comm}" {more}',
        second,
    )


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


def test_a_rule_that_is_there_already(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/local/lxc-mine", '  mount fstype=tmpfs -> "/x/",\n')
    group = only(host, mounted("lxc-mine", "/x/", fstype="tmpfs"))
    assert "there already" in group["advice"] and group["fix"] is None


NFS = mounted("lxc-mine", "/data/", more='fstype="nfs4" srcname="nas:/x" flags="rw, noatime"')
RSLAVE = mounted("lxc-mine", "/", more='flags="rw, rslave"')
SIGNAL = (
    'operation="signal" class="signal" profile="lxc-mine" pid=9 comm="x" requested_mask="send" '
    'denied_mask="send" signal=kill peer="lxc-other"'
)
READ = (
    'operation="open" class="file" profile="lxc-mine" pid=9 comm="x" name="/srv/x/y" '
    'denied_mask="wc" requested_mask="wc"'
)


@pytest.mark.parametrize(
    ("rules", "message", "there"),
    [
        ("mount fstype=nfs*,", NFS, True),
        ("mount fstype={nfs,nfs4} options in (rw,noatime),", NFS, True),
        ("mount,", NFS, True),
        ("mount fstype=nfs,", NFS, False),
        ("mount fstype=nfs* options=(ro),", NFS, False),
        ("mount fstype=nfs* -> /other/,", NFS, False),
        ("mount options=(rw,make-rslave) -> /,", RSLAVE, True),
        ("mount options=(rw,make-rprivate) -> /,", RSLAVE, False),
        ("capability bpf wake_alarm,", capability("lxc-mine", "wake_alarm"), True),
        ("capability bpf,", capability("lxc-mine", "wake_alarm"), False),
        ("signal (send) peer=lxc-*,", denied(SIGNAL), True),
        ("signal (receive) peer=lxc-*,", denied(SIGNAL), False),
        ("signal set=(term) peer=lxc-*,", denied(SIGNAL), False),
        ("/srv/** rw,", denied(READ), True),
        ("/srv/** r,\n/srv/x/* w,", denied(READ), True),
        ("/srv/** r,", denied(READ), False),
        ("/srv/* rw,", denied(READ), False),
        ("all,", NFS, True),
        ("# mount fstype=nfs*,", NFS, False),
    ],
)
@pytest.mark.parametrize("in_local", [True, False])
def test_what_its_rules_allow_already(
    host: FakeHost, rules: str, message: str, *, there: bool, in_local: bool
) -> None:
    """By what a rule means; a rule for it is proposed only where none is there."""
    name = "lxc-mine"
    body = "  include if exists <local/lxc-mine>\n" if in_local else f"  {rules}\n"
    host.write(f"/etc/apparmor.d/{name}", f"profile {name} {{\n{body}}}\n")
    if in_local:
        host.write(f"/etc/apparmor.d/local/{name}", f"{rules}\n")
    group = only(host, message)
    assert (group["rule"] is None) is there
    assert ("there already" in (group["advice"] or "")) is there


def test_whether_a_rule_that_is_there_is_in_force(host: FakeHost) -> None:
    """Asked of the kernel, which tells the hash of what it has; or it is not known."""
    name = "lxc-mine"
    host.profile(name)
    host.write(f"/etc/apparmor.d/local/{name}", "mount fstype=nfs*,\n")
    assert "cannot be known" in only(host, NFS)["advice"]
    host.kernel({name: "enforce"})
    assert host.cli("reload").status == 0
    assert "denial is older" in only(host, NFS)["advice"]
    host.write(f"/etc/apparmor.d/local/{name}", "mount fstype=nfs*,\nmount fstype=cifs,\n")
    assert "in force after: phoenix-apparmor reload" in only(host, NFS)["advice"]


def test_rules_of_the_containers_configuration(host: FakeHost) -> None:
    host.conf("101", "features: nesting=1\nlxc.apparmor.raw: capability wake_alarm,\n")
    group = only(host, capability(GENERATED, "wake_alarm"))
    assert group["rule"] is None and "pct reboot 101" in group["advice"]
    assert only(host, capability(GENERATED, "block_suspend"))["rule"]


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


def test_another_profile_is_no_advice_where_it_denies_the_same(host: FakeHost) -> None:
    group = only(host, capability(BASE, "sys_time").replace("modprobe", "dockerd"))
    assert (group["advice_kind"], group["rule_is_futile"]) == ("none", True)
    group = only(host, mounted("lxc-mine", "/x/", comm="runc", fstype="debugfs"))
    assert (group["advice_kind"], group["rule_is_futile"]) == ("none", True)
    assert "deny mount fstype=debugfs," in group["warning"]


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


def signalled(profile: str, peer: str, second: float = 100) -> str:
    return denied(
        f'operation="signal" class="signal" profile="{profile}" pid=9 comm="runc" '
        f'requested_mask="send" denied_mask="send" signal=kill peer="{peer}"',
        second,
    )


def stacked(ctid: str, profile: str = DOCKER, inner: str = "unconfined") -> str:
    return f"{profile}//&:lxc-{ctid}_<-var-lib-lxc>:{inner}"


@pytest.mark.parametrize(
    ("peer", "other"),
    [
        (stacked("952"), ""),
        (stacked("952", inner="docker-default"), ""),
        (stacked("952", f"{DOCKER}.952"), ""),
        ("lxc-952_</var/lib/lxc>", ""),
        (stacked("953"), "CT 953"),
        (stacked("953", inner="docker-default"), "CT 953"),
        (stacked("953", f"{DOCKER}.953"), "CT 953"),
        (f"{DOCKER}.953", "CT 953"),
        ("lxc-953_</var/lib/lxc>", "CT 953"),
        (stacked("953", BASE), "CT 953"),
        (BASE, "outside of itself"),
        (DOCKER, ""),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [
        'operation="signal" class="signal" requested_mask="send" denied_mask="send" signal=kill',
        'operation="ptrace" class="ptrace" requested_mask="trace" denied_mask="trace"',
        'operation="connect" class="net" family="unix" sock_type="stream" denied_mask="connect"',
    ],
)
def test_a_peer_in_another_container(host: FakeHost, kind: str, peer: str, other: str) -> None:
    """All containers under one profile have its name in their labels."""
    host.runtime("952", f"lxc.apparmor.profile = {stacked('952', inner='')}\n".encode())
    group = only(host, denied(f'{kind} profile="{DOCKER}" pid=9 comm="x" peer="{peer}"'))
    assert group["ctid"] == "952" and (group["rule"] or "there already" in group["advice"])
    assert bool(group["warning"]) == bool(other)
    assert other in (group["warning"] or "")


def test_a_peer_in_a_container_where_it_is_not_known_whose_it_was(host: FakeHost) -> None:
    for ctid in ("952", "953"):
        host.runtime(ctid, f"lxc.apparmor.profile = {stacked(ctid, inner='')}\n".encode())
    group = only(host, signalled(DOCKER, stacked("953")))
    assert group["candidates"] == ["952", "953"]
    assert "of CT 953, if that is another" in group["warning"]


def test_who_did_it_is_not_who_it_was_done_to(host: FakeHost) -> None:
    """The kernel asks the target's profile too; the process is then the one that did it."""
    host.runtime("952", b"lxc.apparmor.profile = lxc-mine\n")
    process(host, 9, "/lxc/953/ns", 50)
    send = signalled("lxc-mine", "lxc-other")
    received = send.replace('_mask="send"', '_mask="receive"')
    group = only(host, received)
    assert (group["ctid"], group["ctid_known_by"]) == ("952", "only")
    assert group["rule"] == 'signal (receive) set=(kill) peer="lxc-other",'
    assert "runc tried to send signal kill to a process under lxc-mine," in " ".join(
        host.cli("denials").out.split()
    )
    # what the process itself was refused is its own container's, and runc is an engine there
    group = only(host, send)
    assert (group["ctid"], group["advice_kind"]) == ("953", "assign")


HOST_ONLY = [
    ("nfs4", "10.0.0.1:/x"),
    ("cifs", "//nas/x"),
    ("iso9660", "/dev/loop0"),
    ("squashfs", "/dev/loop0"),
    ("ext4", "/dev/vdb"),
    ("fuseblk", "/dev/vdb"),
]


def disk(profile: str, fstype: str, source: str) -> str:
    more = f'fstype="{fstype}" srcname="{source}" flags="rw"'
    return mounted(profile, "/data/", more=more)


@pytest.mark.parametrize("line", ["unprivileged: 1", "unprivileged: yes", "lxc.idmap: u 0 9 9"])
@pytest.mark.parametrize(("fstype", "source"), HOST_ONLY)
def test_what_no_user_namespace_mounts(host: FakeHost, fstype: str, source: str, line: str) -> None:
    """The kernel refuses it with EPERM even where AppArmor allows it (FS_USERNS_MOUNT)."""
    host.conf("952", f"arch: amd64\n{line}\n")
    host.runtime("952", f"lxc.apparmor.profile = {BASE}\n".encode())
    inside = denied(
        f'operation="mount" class="mount" namespace="root//lxc-952_<-var-lib-lxc>" '
        f'profile="docker-default" name="/data/" fstype="{fstype}" srcname="{source}" flags="rw"'
    )
    for message in (disk(BASE, fstype, source), inside):
        group = only(host, message)
        assert (group["rule"], group["warning"], group["advice_kind"]) == (None, None, "none")
        assert "pct set 952 --mp0" in group["advice"] and fstype in group["advice"]


@pytest.mark.parametrize(("fstype", "source"), HOST_ONLY)
def test_what_root_of_the_host_mounts(host: FakeHost, fstype: str, source: str) -> None:
    host.conf("952", "arch: amd64\n")
    host.runtime("952", f"lxc.apparmor.profile = {BASE}\n".encode())
    group = only(host, disk(BASE, fstype, source))
    assert group["rule"].startswith(f"mount fstype={fstype} ")
    assert bool(group["warning"]) == source.startswith("/dev/")
    assert "unprivileged" not in (group["advice"] or "")
    # whose it was is not known: so both are said
    host.path("/var/lib/lxc/952/config").unlink()
    group = only(host, disk(BASE, fstype, source))
    assert group["rule"] and "in an unprivileged container" in group["advice"]


def test_what_a_user_namespace_mounts(host: FakeHost) -> None:
    host.conf("952", "unprivileged: 1\n")
    host.runtime("952", b"lxc.apparmor.profile = lxc-mine\n")
    for fstype in ("tmpfs", "fuse.sshfs", "overlay"):
        assert only(host, mounted("lxc-mine", "/x/", fstype=fstype))["rule"]
    bind = mounted("lxc-mine", "/x/", more='fstype="nfs" srcname="/y/" flags="rw, bind"')
    assert only(host, bind)["rule"]


READS = (
    'operation="open" class="file" profile="{}" name="/proc/sysrq-trigger" pid=9 comm="x" '
    'requested_mask="w" denied_mask="w"'
)


@pytest.mark.parametrize("name", [f"{BASE}.950", f"{BASE}.950.trial"])
def test_a_profile_made_for_a_container_whose_text_is_gone(host: FakeHost, name: str) -> None:
    """By its documented name; the log is kept longer than the text."""
    host.conf("951")
    group = only(host, denied(READS.format(name)))
    assert (group["ctid"], group["profile"]) == ("950", BASE)
    assert group["rule_is_futile"] and "sysrq-trigger" in group["warning"]
    # one of the site's own may be called so
    host.write(f"/etc/apparmor.d/{name}", f"profile {name} {{\n}}\n")
    group = only(host, denied(READS.format(name)))
    assert (group["ctid"], group["profile"]) == (None, name)


def test_a_name_inside_a_policy_namespace_is_the_containers_own(host: FakeHost) -> None:
    body = READS.format(f"{BASE}.950") + ' namespace="root//lxc-105_<-var-lib-lxc>"'
    group = only(host, denied(body))
    assert (group["ctid"], group["inside_profile"]) == ("105", f"{BASE}.950")


@pytest.mark.parametrize("guard", [f"{BASE}.guard", f"{BASE}.guard.950"])
def test_what_a_guard_denies_no_rule_allows(host: FakeHost, guard: str) -> None:
    label = f"{BASE}.950.trial//&{guard}//&:lxc-950_<-var-lib-lxc>:"
    host.runtime("950", f"lxc.apparmor.profile = {label}\n".encode())
    group = only(host, denied(READS.format(guard)))
    assert (group["ctid"], group["profile"]) == ("950", guard)
    assert (group["rule"], group["rule_is_futile"]) == (None, True)
    assert BASE in group["warning"] and "sysrq-trigger" in group["warning"]
    # a rule that nothing denies is its own affair: the guard denies on purpose all the same
    kcore = denied(READS.format(guard).replace("sysrq-trigger", "nothing"))
    group = only(host, kcore)
    assert (group["rule"], group["rule_is_futile"]) == (None, True)
