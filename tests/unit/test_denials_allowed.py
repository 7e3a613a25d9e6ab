"""denials: no rule where there is one already, none where the kernel refuses it anyway."""

from pathlib import Path

import pytest

from tests.names import BASE
from tests.unit.denials_host import (
    GENERATED,
    capability,
    denied,
    mounted,
    only,
)
from tests.unit.fakehost import FakeHost
from tests.unit.policydfa import run_parser

pytestmark = pytest.mark.usefixtures("as_shipped")


def test_a_rule_that_is_there_already(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/local/lxc-mine", '  mount fstype=tmpfs -> "/x/",\n')
    group = only(host, mounted("lxc-mine", "/x/", fstype="tmpfs"))
    assert "already a rule" in group["advice"] and group["fix"] is None


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


UNIX = denied(
    'operation="connect" class="unix" profile="lxc-mine" pid=9 comm="x" family="unix" '
    'sock_type="stream" protocol=0 requested_mask="send receive connect" '
    'denied_mask="send connect" addr=none peer_addr="@foo" peer="lxc-mine"'
)
PIVOT = denied(
    'operation="pivotroot" class="mount" profile="lxc-mine" name="/run/x/" pid=9 comm="x" '
    'srcname="/run/x/y"'
)
LINK = denied(
    'operation="link" class="file" profile="lxc-mine" name="/srv/b" pid=9 comm="ln" '
    'requested_mask="l" denied_mask="l" fsuid=0 ouid=0 target="/srv/c"'
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
        ("owner /srv/** rw,", denied(f"{READ} fsuid=0 ouid=0"), True),
        ("owner /srv/** rw,", denied(f"{READ} fsuid=100000 ouid=0"), False),
        ("unix (send, connect) peer=(label=lxc-*),", UNIX, True),
        ("unix (connect),\nunix (send) type=stream,", UNIX, True),
        ("unix peer=(addr=@foo),", UNIX, True),
        ("unix (send, connect) type=stream peer=(label=@{profile_name},addr=@foo),", UNIX, True),
        ("unix (connect),", UNIX, False),
        ("unix type=dgram,", UNIX, False),
        ("unix peer=(addr=@bar),", UNIX, False),
        ("unix peer=(label=lxc-other),", UNIX, False),
        ("pivot_root oldroot=/run/x/* /run/x/,", PIVOT, True),
        ("pivot_root /run/x/,", PIVOT, True),
        ("pivot_root oldroot=/run/y/ /run/x/,", PIVOT, False),
        ("file,", LINK, True),
        ("/srv/b l,", LINK, False),
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
    assert ("already a rule" in (group["advice"] or "")) is there


@pytest.mark.parametrize("is_4", [False, True])
def test_a_remount_without_options_is_there_for_any_where_it_is_compiled_so(
    host: FakeHost, is_4: bool
) -> None:
    host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  remount /srv/,\n}\n")
    if is_4:
        host.write("/etc/apparmor.d/abi/4.0", "")
    for flags, there in (("ro, remount", is_4), ("remount", True), ("ro, bind", False)):
        group = only(host, mounted("lxc-mine", "/srv/", more=f'flags="{flags}"'))
        assert ("already a rule" in (group["advice"] or "")) is there, flags


LACKS = LINK.replace('"l"', '"w"').replace("/srv/c", "/srv/a")


def test_a_hard_link_may_not_allow_more_than_its_target(host: FakeHost, tmp_path: Path) -> None:
    """The kernel compares where any rule has it compared, and rules only add to that."""
    link, target = "/srv/b rwl,", '"/srv/a" w,'
    path = "/etc/apparmor.d/local/lxc-mine"
    host.write("/etc/apparmor.d/lxc-mine",
               "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n")  # fmt: skip
    host.write(path, f"{link}\n/srv/a r,\n")
    group = only(host, LACKS)
    assert group["rule"] == target and "target" in group["advice"]
    policies = [
        run_parser(f"{link}\n/srv/a r,\n{more}", tmp_path).stdout
        for more in ("", 'link "/srv/b" -> "/srv/a",', target)
    ]
    assert policies[0] == policies[1] != policies[2], "a rule for the link does nothing"
    host.write(path, f"{link}\n/srv/a rw,\n")
    assert "already a rule for it: /srv/a rw," in only(host, LACKS)["advice"]
    host.write(path, f"{link}\n/srv/a r,\ndeny /srv/a w,\n")
    assert only(host, LACKS)["rule_is_futile"]
    # how they are executed differs: no rule that is added makes that the same
    other = LACKS.replace('class="file"', 'class="file" info="link not subset of target"')
    group = only(host, other.replace('denied_mask="w"', 'denied_mask="x"'))
    assert group["rule"] is None and "execute" in group["advice"]
    host.write(path, "file,\n")
    assert "already" not in only(host, other)["advice"]


SHORT = mounted("lxc-mine", "/mnt/nas/", more='fstype="nfs4" srcname="nas:/x" flags="rw"')
BOUND = mounted("lxc-mine", "/mnt/", more='srcname="/opt/" flags="rw, bind"')
TAKEN = denied('operation="umount" class="mount" profile="lxc-mine" name="/mnt/x/" pid=9')
LISTED = READ.replace("/srv/x/y", "/srv/x/").replace('"wc"', '"r"')


@pytest.mark.parametrize(
    ("rule", "message", "right"),
    [
        ("mount fstype=nfs4 -> /mnt/nas,", SHORT, "mount fstype=nfs4 -> /mnt/nas/,"),
        ('mount fstype=nfs4 -> "/mnt/nas",', SHORT, "mount fstype=nfs* -> /mnt/**,"),
        ("mount fstype=nfs4 -> /mnt/*,", SHORT, "mount fstype=nfs4 -> /mnt/*/,"),
        ("mount options=(rw,bind) /opt -> /mnt,", BOUND, "mount options=bind /opt/ -> /mnt/,"),
        ("umount /mnt/x,", TAKEN, "umount /mnt/x/,"),
        ("/srv/x r,", denied(LISTED), "/srv/x/ r,"),
    ],
)
def test_a_rule_without_the_slash_of_a_folder_is_not_there(
    host: FakeHost, rule: str, message: str, right: str
) -> None:
    """By no reload and no restart does it allow what it was written for."""
    mine = "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", mine)
    host.write("/etc/apparmor.d/local/lxc-mine", f"{rule}\n")
    group = only(host, message)
    assert group["rule"] and f"{rule} in /etc/apparmor.d/local/lxc-mine" in group["advice"]
    assert "ends in a slash" in group["advice"]
    host.write("/etc/apparmor.d/local/lxc-mine", f"{rule}\n{right}\n")
    group = only(host, message)
    assert group["rule"] is None and "already a rule" in group["advice"]


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
    assert "takes effect after: phoenix-apparmor reload" in only(host, NFS)["advice"]


def test_rules_of_the_containers_configuration(host: FakeHost) -> None:
    host.conf("101", "features: nesting=1\nlxc.apparmor.raw: capability wake_alarm,\n")
    group = only(host, capability(GENERATED, "wake_alarm"))
    assert group["rule"] is None and "pct reboot 101" in group["advice"]
    assert only(host, capability(GENERATED, "block_suspend"))["rule"]


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
    if source.startswith("/dev/"):
        assert (group["rule"], group["rule_is_futile"]) == (None, True), "a disk may be the host's"
        return
    assert group["rule"].startswith(f"mount fstype={fstype} ")
    assert not group["warning"]
    assert "unprivileged" not in (group["advice"] or "")
    # whose it was is not known: so both are said
    host.path("/var/lib/lxc/952/config").unlink()
    group = only(host, disk(BASE, fstype, source))
    assert group["rule"] and "in an unprivileged container" in group["advice"]


def test_what_a_user_namespace_mounts(host: FakeHost) -> None:
    host.conf("952", "unprivileged: 1\n")
    host.runtime("952", b"lxc.apparmor.profile = lxc-mine\n")
    for fstype in ("tmpfs", "fuse.sshfs", "fuse.Foo-1.0_x86_64.AppImage", "overlay"):
        assert only(host, mounted("lxc-mine", "/x/", fstype=fstype))["rule"]
    bind = mounted("lxc-mine", "/x/", more='fstype="nfs" srcname="/y/" flags="rw, bind"')
    assert only(host, bind)["rule"]


KERNELS = ("hugetlbfs", "configfs", "debugfs", "autofs", "fusectl", "tracefs", "securityfs",
           "rpc_pipefs", "nfsd")  # fmt: skip


@pytest.mark.parametrize("fstype", KERNELS)
def test_an_interface_of_the_kernel_is_no_folder_to_share(host: FakeHost, fstype: str) -> None:
    host.conf("952", "unprivileged: 1\nmp0: local:952/x,mp=/x\n")
    host.runtime("952", b"lxc.apparmor.profile = lxc-mine\n")
    group = only(host, mounted("lxc-mine", "/x/", fstype=fstype))
    assert (group["rule"], group["advice_kind"]) == (None, "none")
    assert "--mp" not in group["advice"] and "No rule helps" in group["advice"]
    # of a disk the first number that is free
    assert "--mp1 " in only(host, disk("lxc-mine", "ext4", "/dev/vdb"))["advice"]
    host.conf("952", "hostname: x\n")
    assert only(host, mounted("lxc-mine", "/x/", fstype=fstype))["rule"]


def test_a_deny_for_owners_denies_nobody_else(host: FakeHost) -> None:
    text = "profile lxc-mine {\n  deny owner /srv/** rw,\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", text)
    assert only(host, denied(f"{READ} fsuid=0 ouid=0"))["rule_is_futile"]
    group = only(host, denied(f"{READ} fsuid=100000 ouid=0"))
    assert (group["rule_is_futile"], group["rule"]) == (False, '"/srv/x/y" w,')


@pytest.mark.parametrize("loaded", [True, False])
def test_the_command_loads_that_profile(host: FakeHost, loaded: bool) -> None:
    """Without its name reload loads those that a container is assigned."""
    text = host.read("/etc/apparmor.d/lxc-mine").replace(b"  file,\n", b"")
    host.write("/etc/apparmor.d/lxc-mine", text)
    host.json({"950": {"apparmor_profile": "lxc-mine"}} if loaded else {})
    fix = only(host, denied(READ))["fix"]
    assert fix.endswith("reload" if loaded else "reload lxc-mine")
    command = fix.partition(" && ")[2].split()
    out = host.cli(*command[1:], "--dry-run").out
    assert "lxc-mine" in out


@pytest.mark.parametrize("is_4", [True, False])
def test_an_old_parser_makes_more_of_a_rule(host: FakeHost, is_4: bool) -> None:
    """What a rule says is there; that AppArmor 3.0 takes it for more is said beside it."""
    four = host.path("/etc/apparmor.d/abi/4.0")
    if is_4:
        host.write("/etc/apparmor.d/abi/4.0", "")
    else:
        four.unlink(missing_ok=True)
    for rule, loose in (("options in (rw,noatime)", True), ("options=(rw,noatime)", False)):
        host.write("/etc/apparmor.d/local/lxc-mine", f"mount fstype=nfs4 {rule},\n")
        advice = only(host, NFS)["advice"]
        assert "already a rule" in advice
        assert ("takes it for any mount" in advice) is (loose and not is_4)


def test_a_source_that_is_no_folder_of_the_kernels_has_no_slash_of_its_own(host: FakeHost) -> None:
    """What a FUSE program names is compared as it wrote that, with a slash or without."""
    own = "profile lxc-mine {\n  include if exists <local/lxc-mine>\n}\n"
    host.write("/etc/apparmor.d/lxc-mine", own)
    host.write("/etc/apparmor.d/local/lxc-mine", "mount fstype=fuse.bindfs /srv/a -> /mnt/x/,\n")
    bound = 'fstype="fuse.bindfs" srcname="/srv/a/" flags="rw"'
    group = only(host, mounted("lxc-mine", "/mnt/x/", more=bound))
    assert group["rule"] == 'mount fstype=fuse.bindfs options=(rw) "/srv/a{,/}" -> "/mnt/x/",'
    assert "slash" not in (group["advice"] or "")
    host.write("/etc/apparmor.d/local/lxc-mine", group["rule"] + "\n")
    for source in ("/srv/a/", "/srv/a"):
        group = only(host, mounted("lxc-mine", "/mnt/x/", more=bound.replace("/srv/a/", source)))
        assert group["rule"] is None and "already a rule" in group["advice"]
