"""What can be wrong with containers and Proxmox, and what doctor says of it."""

from phoenix_apparmor import paths
from tests.names import BASE, DOCKER
from tests.unit.doctor_host import (
    CONF,
    DROP_IN,
    HOOKSCRIPT,
    SNIPPET,
    UNIT_FOLDER,
    Case,
    append,
    conf,
    dpkg,
    instead,
    journal,
    masked,
    privileged,
    running,
    unread,
)
from tests.unit.fakehost import FakeHost


def many_policies(host: FakeHost) -> None:
    folder = f"{paths.NAMESPACES}/lxc-950_<-var-lib-lxc>/profiles"
    for number in range(100):
        host.path(f"{folder}/x.{number}").mkdir(parents=True)


def no_file(host: FakeHost) -> None:
    conf("lxc.aa_profile: unconfined\n")(host)
    host.path("/etc/pve/lxc/999.conf").mkdir()


CASES = {
    "neither a hookscript nor a drop-in": Case(
        lambda host: (
            host.conf("950", CONF.replace("hookscript: local:snippets/phoenix-apparmor.py\n", "")),
            host.write(
                "/etc/systemd/system/pve-container@950.service.d/90-off.conf",
                "[Service]\nExecStartPre=\n",
            ),
        ),
        "attached",
        "warning",
        ("CT 950 is in the JSON, but without our hookscript", "nothing guards the starts"),
        besides=("drop-in",),
    ),
    "conf": Case(
        no_file,
        "conf-readable",
        "error",
        ("CT 999 cannot be started or checked", "/etc/pve/lxc/999.conf", "not a regular file"),
        has_fix=False,
        besides=("profile-lines", "containers"),
    ),
    "policies": Case(
        many_policies,
        "policies",
        "warning",
        ("CT 950 has loaded 100 AppArmor profiles", "stopping the container"),
        has_fix=False,
    ),
    "pending": Case(
        lambda host: append(
            host, "/etc/pve/lxc/950.conf", "\n[pve:pending]\nlxc.apparmor.profile: x\n"
        ),
        "sections",
        "warning",
        ("they replace all lxc lines", "[pve:pending]"),
        has_fix=False,
    ),
    "snapshot": Case(
        lambda host: append(
            host, "/etc/pve/lxc/950.conf", "\n[before]\nlxc.apparmor.profile = x\n"
        ),
        "sections",
        "note",
        ("950 (before) has profile x",),
        has_fix=False,
    ),
    "dead key": Case(
        conf("lxc.aa_profile: unconfined\n"),
        "profile-lines",
        "error",
        ("lxc.aa_profile", "phoenix-apparmor apply 950"),
        ("containers",),
    ),
    "twice": Case(
        conf(f"lxc.apparmor.profile: {DOCKER}\n"),
        "profile-lines",
        "warning",
        ("more than one profile line", f"{DOCKER}, {BASE}"),
        ("containers",),
    ),
    "unconfined": Case(
        instead("lxc.apparmor.profile: unconfined\n"),
        "profile-lines",
        "error",
        ("only its user namespace does", "apply 950"),
        ("containers",),
    ),
    "unconfined and privileged": Case(
        lambda host: host.conf(
            "950",
            CONF.replace("unprivileged: 1\n", "").replace(
                f"profile: {BASE}", "profile: unconfined"
            ),
        ),
        "profile-lines",
        "error",
        ("nothing confines root", "apply 950"),
        ("containers", "other-locks"),
    ),
    "empty": Case(
        instead("lxc.apparmor.profile:\n"),
        "profile-lines",
        "warning",
        ("lxc-container-default-cgns",),
        ("containers",),
    ),
    "comment behind the value": Case(
        instead(f"lxc.apparmor.profile: {BASE} # gpu\n"),
        "profile-lines",
        "error",
        ("comments too",),
        ("containers",),
    ),
    "nesting under base": Case(
        conf("features: nesting=1\n"),
        "features",
        "note",
        ("features:nesting", "does not let Docker", DOCKER),
        has_fix=False,
    ),
    "nesting under docker": Case(
        lambda host: (
            host.assign(c950=DOCKER),
            instead(f"features: nesting=1,keyctl=1\nlxc.apparmor.profile: {DOCKER}\n")(host),
        ),
        "features",
        "note",
        ("nested containers work",),
        has_fix=False,
    ),
    "fuse": Case(conf("features: fuse=1\n"), "features", "note", ("FUSE works",), has_fix=False),
    "mount=": Case(
        conf("features: mount=nfs;cifs\n"),
        "features",
        "warning",
        (
            "mount=nfs;cifs does nothing in an unprivileged container",
            "pct set 950 --mp0",
        ),
        has_fix=False,
    ),
    "mount= of a type of the host's only, and others": Case(
        conf("features: mount=squashfs;fuse;zfs\n"),
        "features",
        "warning",
        ("mount=squashfs does nothing in an unprivileged",),
        has_fix=False,
    ),
    "mount= in a privileged container": Case(
        lambda host: host.conf(
            "950",
            CONF.replace("unprivileged: 1\n", "").replace("keyctl=1", "mount=nfs;cifs"),
        ),
        "features",
        "warning",
        (
            "mount=nfs;cifs does nothing: ",
            "for line in 'mount fstype=nfs,' 'mount fstype=cifs,'; do ",
            f">>/etc/apparmor.d/local/{BASE}; done",
        ),
        besides=("other-locks",),
    ),
    "raw lines": Case(
        conf("lxc.apparmor.raw: mount,\n"), "apparmor-lines", "warning", ("does nothing", "mount,")
    ),
    "a line with a blank before its colon": Case(
        lambda host: append(host, "/etc/pve/lxc/950.conf", "lxc.apparmor.raw : mount,\n"),
        "lost-lines",
        "warning",
        ("Proxmox does not read this line", '"lxc.apparmor.raw : mount,"'),
        has_fix=False,
    ),
    "a raw rule that opens a hole": Case(
        lambda host: host.conf(
            "951", "arch: amd64\nostype: alpine\nlxc.apparmor.raw: change_profile -> **,\n"
        ),
        "apparmor-lines",
        "warning",
        ("CT 951: privileged, and a rule of its own opens a hole", "leaves its profile"),
    ),
    "allow_nesting": Case(
        conf("lxc.apparmor.allow_nesting = 1\n"), "apparmor-lines", "warning", ("/dev/.lxc",)
    ),
    "privileged": Case(
        privileged(),
        "other-locks",
        "note",
        ("CT 950 is privileged", "ARCHIVE --unprivileged 1"),
        has_fix=False,
    ),
    "privileged with all capabilities": Case(
        privileged("lxc.cap.drop:\n"), "other-locks", "warning", ("mac_admin", "lxc.cap.drop")
    ),
    "privileged without seccomp": Case(
        privileged("lxc.seccomp.profile =\n"),
        "other-locks",
        "warning",
        ("not even those that load a kernel module",),
    ),
    "privileged with another seccomp policy": Case(
        privileged("lxc.seccomp.profile: /usr/share/lxc/config/common.seccomp\n"),
        "other-locks",
        "warning",
        ("of its own", "open_tree"),
    ),
    "privileged with all devices": Case(
        privileged("lxc.cgroup2.devices.allow: a\n"),
        "other-locks",
        "warning",
        ("every device", "the host's disks"),
    ),
    "runs unconfined": Case(
        running("unconfined"), "containers", "error", ("unconfined", "pct reboot 950")
    ),
    "runs under another": Case(
        running("lxc-950_</var/lib/lxc> (enforce)"),
        "containers",
        "warning",
        ("restart pending", "pct reboot 950"),
    ),
    "hookscript gone": Case(
        lambda host: host.path(HOOKSCRIPT).unlink(),
        "hookscript",
        "error",
        ("is missing", "--reinstall phoenix-apparmor"),
    ),
    "hookscript not executable": Case(
        lambda host: host.path(HOOKSCRIPT).chmod(0o644),
        "hookscript",
        "error",
        ("is not executable",),
    ),
    "snippet gone": Case(
        lambda host: host.path(SNIPPET).unlink(),
        "hookscript",
        "error",
        ("CT 950 cannot start", f"ln -sfn {HOOKSCRIPT} {SNIPPET}"),
    ),
    "no such storage": Case(
        lambda host: host.conf("950", CONF.replace("local:", "gone:")),
        "hookscript",
        "error",
        ('storage "gone" cannot hold', "phoenix-apparmor attach 950"),
    ),
    "not attached": Case(
        lambda host: host.conf(
            "950", CONF.replace("hookscript: local:snippets/phoenix-apparmor.py\n", "")
        ),
        "attached",
        "note",
        ("CT 950 is in the JSON", "phoenix-apparmor attach 950"),
    ),
    "drop-in gone": Case(
        lambda host: host.path(f"{UNIT_FOLDER}/{DROP_IN}").unlink(),
        "drop-in",
        "error",
        ("missing", "--reinstall phoenix-apparmor"),
    ),
    "drop-in masked": Case(
        masked(f"/etc/systemd/system/pve-container@.service.d/{DROP_IN}"),
        "drop-in",
        "warning",
        ("masked", "-> /dev/null", "systemctl daemon-reload"),
    ),
    "drop-in off for one": Case(
        lambda host: host.write(
            "/etc/systemd/system/pve-container@950.service.d/90-off.conf",
            "[Service]\nExecStartPre =\n",
        ),
        "drop-in",
        "warning",
        ("CT 950 starts without phoenix-apparmor", "90-off.conf"),
    ),
    "drop-in not read": Case(
        unread,
        "drop-in",
        "warning",
        ("has not read", "yes: pve-container@950.service", "systemctl daemon-reload"),
    ),
    "lxc-pve old on 9": Case(
        lambda host: dpkg(host, "6.0.5-1"),
        "versions",
        "warning",
        ("fixed in 6.0.5-2 (Proxmox VE 9)",),
    ),
    "lxc-pve old on 8": Case(
        lambda host: dpkg(host, "5.0.2-2", "5.2.1"), "versions", "warning", ("VE 8", "6.0.0-2")
    ),
    "lxc-pve unknown": Case(
        lambda host: dpkg(host, ""),
        "versions",
        "unknown",
        ("cannot tell the version of lxc-pve",),
        has_fix=False,
    ),
    "denials": Case(
        journal,
        "denials",
        "note",
        ("refused 1 action ", BASE, "phoenix-apparmor denials"),
        has_fix=False,
    ),
    "no log": Case(
        lambda host: host.path("/var/log/journal").rmdir(),
        "denials",
        "unknown",
        ("cannot tell what the kernel refused", "this machine's, not that of"),
        has_fix=False,
    ),
}
