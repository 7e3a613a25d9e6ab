"""What weakens confinement, or looks as if it did, and what doctor says of it: the truth."""

import json
import os
import time

from phoenix_apparmor import paths
from tests.names import BASE, DOCKER
from tests.unit.doctor_host import (
    CONF,
    Case,
    append,
    conf,
    instead,
    site_profile,
    unmanaged,
)
from tests.unit.fakehost import FakeHost

WARNED = "explicitly configured lxc.apparmor.profile overrides the following settings"


def leaves(body: str, *words: str) -> Case:
    """A profile of the site's own that root gets out of."""
    words = ("lxc-site does not confine", "CT 950", *words)

    def make(host: FakeHost) -> None:
        site_profile(body)(host)
        host.conf(
            "950", host.read("/etc/pve/lxc/950.conf").decode().replace("unprivileged: 1\n", "")
        )

    return Case(make, "profile-rules", "error", words, ("other-locks",), has_fix=False)


def in_cluster(host: FakeHost) -> None:
    """Of two nodes, neither of which published anything yet."""
    online = {"pve1": {"online": 1}, "pve2": {"online": 1}}
    members = {"nodename": "pve1", "nodelist": online, "cluster": {"quorate": 1}}
    host.write("/etc/pve/.members", json.dumps(members))
    for name in online:
        host.path(f"/etc/pve/nodes/{name}/lxc").mkdir(parents=True)


def with_old_report(host: FakeHost) -> None:
    in_cluster(host)
    assert host.cli("publish").status == 0
    path = host.path(paths.published("pve1"))
    now = int(time.time())
    path.write_text(path.read_text().replace(f'"written":{str(now)[:6]}', '"written":170000'))
    os.utime(path, (now - 7210, now - 7210))


def other_node_without_gpu(host: FakeHost) -> None:
    """pve2 published what pve1 has, but for the GPU."""
    in_cluster(host)
    assert host.cli("publish").status == 0
    said = json.loads(host.read(paths.published("pve1")))
    other = said | {"node": "pve2", "devices": [], "containers": []}
    host.write(paths.published("pve2"), json.dumps(other))


def with_lxc_profiles(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc-containers", "abi <abi/3.0>,\ninclude <lxc>\n")
    host.write(
        "/etc/apparmor.d/lxc/lxc-default-with-nesting",
        "profile lxc-container-default-with-nesting {\n  /usr/** rw,\n}\n",
    )
    unmanaged("lxc.apparmor.profile: lxc-default-with-nesting\n")(host)


def by_path(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc/hard", "profile lxc-hardened {\n  /usr/** rw,\n}\n")
    unmanaged("lxc.apparmor.profile: /etc/apparmor.d/lxc/hard\n")(host)


def many_bad_names(host: FakeHost) -> None:
    host.assign(**{f"c{n}": f"lxc_bad_{n}" for n in range(960, 975)})
    for n in range(960, 975):
        host.conf(str(n), CONF.replace("950", str(n)))


def lax(host: FakeHost) -> None:
    """It guards /proc and /sys where they are, and lets root mount others."""
    site_profile("mount,")(host)
    host.write(
        "/etc/apparmor.d/lxc-site",
        "abi <abi/3.0>,\nprofile lxc-site {\n  include <abstractions/phoenix/container>\n"
        "  deny /proc/** w,\n  deny /sys/** w,\n  mount,\n}\n",
    )
    host.cli("reload")


def own_profile(host: FakeHost) -> None:
    host.write("/etc/apparmor.d/lxc-mine", "profile lxc-mine {\n  file,\n}\n")
    host.load("lxc-mine")
    unmanaged("lxc.apparmor.profile: lxc-mine\n")(host)


def foreign(host: FakeHost) -> None:
    host.kernel({BASE: "enforce", DOCKER: "enforce", "lxc-foreign": "enforce"})
    unmanaged("features: nesting=1\nlxc.apparmor.profile: lxc-foreign\n")(host)


CASES = {
    "change_profile": leaves("change_profile -> unconfined,", "changes to unconfined"),
    "change_profile to anything": leaves("change_profile,", "changes to any other profile"),
    "bare mount": Case(
        lax,
        "profile-rules",
        "warning",
        ("lxc-site would not", "mounts proc on /mnt/", "sysrq-trigger", "remove: mount,"),
        has_fix=False,
    ),
    "programs outside": leaves("/usr/bin/tool Ux,", "runs a program outside"),
    "mac_admin by name": leaves("capability mac_admin,", "loads AppArmor policy"),
    "flags complain": Case(
        site_profile("", "flags=(complain) "),
        "profile-loaded",
        "error",
        ("lxc-site", "complain mode"),
        ("containers",),
    ),
    "a conf's own profile": Case(
        own_profile,
        "profile-rules",
        "warning",
        (
            "CT 951 is unprivileged: only the user namespace confines",
            "writes /proc/sysrq-trigger",
            "what it includes: file, | ",
            "None | add what denies the kernel's files: include <abstractions/phoenix/",
            "kernel-files> and include <abstractions/phoenix/kernel-names>; README",
        ),
        has_fix=False,
    ),
    "mount=nfs cifs": Case(
        conf("features: mount=aufs aufs2,nesting=yes\n"),
        "features",
        "warning",
        ("mount=aufs;aufs2", "'mount fstype=aufs,' 'mount fstype=aufs2,'"),
    ),
    "mounts that the profile allows": Case(
        conf("features: mount=fuse;overlay;tmpfs\n"),
        "features",
        "note",
        (f"{WARNED}: features:mount", "allows mounting fuse, overlay, tmpfs"),
        has_fix=False,
    ),
    "nesting under an unknown profile": Case(
        foreign,
        "features",
        "note",
        ("is unknown: no file holds it", "lxc-foreign"),
        has_fix=False,
    ),
    "systemd under generated": Case(
        lambda host: (
            host.assign(c950="unconfined"),
            host.conf("950", CONF.replace(f"lxc.apparmor.profile: {BASE}\n", "ostype: debian\n")),
        ),
        "generated",
        "warning",
        ("226/NAMESPACE", "pct set 950 --features keyctl=1,nesting=1"),
    ),
    "generated written out": Case(
        unmanaged("features: nesting=1\nlxc.apparmor.profile: generated\n"),
        "generated-line",
        "warning",
        ("loses the rules", "/etc/pve/lxc/951.conf"),
    ),
    "unconfined and not in the JSON": Case(
        unmanaged("features: mount=nfs,nesting=1\nlxc.apparmor.profile: unconfined\n"),
        "profile-lines",
        "error",
        ("CT 951", "sed -E -i", '"951": {}'),
    ),
    "a file's path": Case(
        by_path,
        "profile-lines",
        "error",
        ("names a file", "That is lxc-hardened"),
        after=("profile-rules",),
    ),
    "a file's name": Case(
        with_lxc_profiles,
        "profile-lines",
        "error",
        ("names a file", "lxc-container-default-with-nesting"),
    ),
    "a profile in quotes": Case(
        instead(f'lxc.apparmor.profile: "{BASE}"\n'),
        "profile-lines",
        "warning",
        ("CT 950: a profile name in quotes, which LXC takes away", "phoenix-apparmor apply 950"),
        besides=("containers",),
    ),
    "unconfined in quotes, and not in the JSON": Case(
        unmanaged("lxc.apparmor.profile: 'unconfined'\n"),
        "profile-lines",
        "error",
        ("CT 951: configured unconfined: no profile confines root in it", "Also: a profile name"),
    ),
    "a profile in quotes, and not in the JSON": Case(
        unmanaged(f"lxc.apparmor.profile: '{BASE}'\n"),
        "profile-lines",
        "warning",
        ("CT 951: a profile name in quotes", "sed -E -i"),
    ),
    "LXC's nesting.conf": Case(
        lambda host: (
            host.write(
                "/usr/share/lxc/config/nesting.conf",
                "lxc.apparmor.profile = lxc-container-default-with-nesting\n",
            ),
            unmanaged("features: keyctl=1\nlxc.include: /usr/share/lxc/config/nesting.conf\n")(
                host
            ),
        ),
        "includes",
        "error",
        (
            "lxc-container-default-with-nesting, which LXC takes instead of what .conf says",
            "| take the include of /usr/share/lxc/config/nesting.conf out of .conf; what it is "
            "for, Proxmox does: pct set 951 --features keyctl=1,nesting=1",
        ),
        has_fix=False,
    ),
    "an indented line": Case(
        unmanaged("    lxc.apparmor.profile: unconfined\n"),
        "lost-lines",
        "warning",
        ("CT 951", "does not read an indented line"),
    ),
    "unconfined with a slip": Case(
        unmanaged("lxc.apparmor.profile: Unconfined\n"),
        "profile-lines",
        "error",
        ("CT 951", 'did you mean "unconfined"? With that nothing would confine it', '"951": {}'),
    ),
    "a name that no file has": Case(
        unmanaged("lxc.apparmor.profile: web_server\n"),
        "profile-lines",
        "error",
        ("CT 951", "no file in /etc/apparmor.d holds web_server either"),
    ),
    "a name that a file has": Case(
        lambda host: (
            host.profile("web-server"),
            unmanaged("lxc.apparmor.profile: web-server\n")(host),
        ),
        "profile-lines",
        "error",
        ("CT 951", "rename the profile to lxc-web-server, in its file"),
        besides=("profile-rules",),
    ),
    "a type of file system for one container": Case(
        conf("features: mount=aufs\n"),
        "features",
        "warning",
        (
            f"would be for every container under {BASE}; for CT 950 alone",
            '"apparmor_rules" of its entry in the JSON takes "mount fstype=aufs,"',
        ),
    ),
    "a type of a disk": Case(
        lambda host: host.conf("951", f"features: mount=nfs;ext4\nlxc.apparmor.profile: {BASE}\n"),
        "features",
        "warning",
        (f"CT 951: features: mount=ext4 does nothing: {BASE} denies that", "--mp0 /FOLDER"),
        besides=("other-locks", "features"),
        has_fix=False,
    ),
    "AppArmor hidden": Case(
        unmanaged(
            "lxc.mount.entry: /dev/null sys/module/apparmor/parameters/enabled none bind 0 0\n"
        ),
        "apparmor-hidden",
        "warning",
        ("hides AppArmor", "CT 951"),
    ),
    "bad names, many": Case(
        many_bad_names,
        "json-content",
        "error",
        ("CT 960, 961", "and 7 more", "14 more entries have the same fault; they do not start."),
        has_fix=False,
    ),
    "locked": Case(
        lambda host: append(host, "/etc/pve/lxc/950.conf", "lock: backup\n"),
        "locked",
        "note",
        ("locked (backup)", "pct unlock 950"),
        has_fix=False,
    ),
    "no quorum": Case(
        lambda host: host.write("/etc/pve/.members", '{"cluster": {"quorate": 0}}'),
        "quorum",
        "error",
        ("no quorum", "pvecm status"),
        has_fix=False,
    ),
    "no report for the others": Case(
        in_cluster,
        "cluster-report",
        "warning",
        ("has not published a report", "phoenix-apparmor-publish.timer"),
        besides=("migration",),
    ),
    "an old report": Case(
        with_old_report,
        "cluster-report",
        "warning",
        ("published 2 hours old state",),
        besides=("migration",),
    ),
    "another node without a GPU": Case(
        other_node_without_gpu,
        "migration",
        "note",
        ("CT 950: could not start on pve2: it has no /dev/nvidia0", "--cluster 950"),
        has_fix=False,
    ),
    "managed, another profile's name": Case(
        instead("lxc.apparmor.profile: /etc/apparmor.d/lxc-nvidia-gpu-base\n"),
        "profile-lines",
        "error",
        ("names a file", "phoenix-apparmor apply 950"),
        ("containers",),
    ),
    "an include that frees": Case(
        lambda host: (
            host.write("/root/extra.conf", "lxc.apparmor.profile = unconfined\n"),
            conf("lxc.include: /root/extra.conf\n")(host),
        ),
        "includes",
        "warning",
        (
            "CT 950",
            "lxc.apparmor.profile = unconfined",
            "which phoenix-apparmor takes back at each start",
            "/root/extra.conf",
        ),
        has_fix=False,
    ),
}
