"""What can be wrong with AppArmor, profiles and the JSON, and what doctor says of it."""

from tests.names import BASE, DOCKER, JSON
from tests.unit.doctor_host import (
    SECOND_JSON,
    Case,
    broken,
    complain,
    deprecated,
    edit,
    instead,
    kernel_off,
    masked,
    not_loaded,
    not_mounted,
    stale,
    two,
)

KERNEL = ("profile-loaded", "profile-current", "containers")
CASES = {
    "AppArmor off": Case(
        kernel_off,
        "apparmor",
        "error",
        ("AppArmor is off", "says N", "apparmor=1"),
        KERNEL,
        has_fix=False,
    ),
    "securityfs not mounted": Case(
        not_mounted, "apparmor", "error", ("is on, but", "mount -t securityfs"), KERNEL
    ),
    "service masked": Case(
        masked("/etc/systemd/system/apparmor.service"),
        "service",
        "warning",
        ("masked", "systemctl unmask apparmor"),
    ),
    "tunables overwritten": Case(
        lambda host: host.write("/etc/apparmor.d/tunables/home", "include <tunables/x>\n"),
        "tunables",
        "error",
        ("@{HOMEDIRS} and @{HOME}", "--force-confmiss apparmor"),
        ("profile-rules",),
    ),
    "tunables gone": Case(
        lambda host: host.path("/etc/apparmor.d/tunables/home").unlink(),
        "tunables",
        "error",
        ("gone", "is missing"),
        besides=("profile-rules",),
    ),
    "profile without file": Case(
        lambda host: host.path(f"/etc/apparmor.d/{DOCKER}").unlink(),
        "profile-present",
        "error",
        (DOCKER, "--reinstall", "phoenix-apparmor"),
        ("edited", "containers"),
    ),
    "assigned profile without file": Case(
        lambda host: (
            host.assign(c950="lxc-own"),
            instead("lxc.apparmor.profile: lxc-own\n")(host),
        ),
        "profile-present",
        "error",
        ("lxc-own has no file", "CT 950"),
        ("containers", "profile-lines"),
        has_fix=False,
    ),
    "not loaded": Case(
        not_loaded,
        "profile-loaded",
        "error",
        (f"{BASE} is not in the kernel", "phoenix-apparmor reload"),
        ("containers",),
    ),
    "complain": Case(
        complain,
        "profile-loaded",
        "error",
        ("complain mode", "flags"),
        ("containers",),
        after=("edited",),
    ),
    "all complain": Case(
        lambda host: host.write("/sys/module/apparmor/parameters/mode", "complain\n"),
        "apparmor",
        "error",
        ("AppArmor as a whole is in complain mode", "printf enforce >"),
        ("containers",),
    ),
    "disabled": Case(
        lambda host: host.write(f"/etc/apparmor.d/disable/{BASE}", ""),
        "profile-loaded",
        "error",
        ("switched off", f"rm /etc/apparmor.d/disable/{BASE}"),
    ),
    "force-complain": Case(
        lambda host: host.write(f"/etc/apparmor.d/force-complain/{BASE}", ""),
        "profile-loaded",
        "error",
        ("put into complain mode", f"rm /etc/apparmor.d/force-complain/{BASE}"),
    ),
    "stale": Case(
        stale, "profile-current", "warning", ("a different version", "raw_sha256", "reload")
    ),
    "does not compile": Case(
        broken, "profile-current", "error", ("does not compile", "syntax error"), (), has_fix=False
    ),
    ".dpkg-dist": Case(
        lambda host: host.write(
            f"/etc/apparmor.d/{BASE}.dpkg-dist", host.read(f"/etc/apparmor.d/{BASE}") + b"# new\n"
        ),
        "held-back",
        "warning",
        ("yours was kept", "diff -u", f"mv /etc/apparmor.d/{BASE}.dpkg-dist"),
        after=("edited",),
    ),
    ".dpkg-new in the abstractions": Case(
        lambda host: host.write(
            "/etc/apparmor.d/abstractions/phoenix/nvidia.dpkg-new",
            host.read("/etc/apparmor.d/abstractions/phoenix/nvidia"),
        ),
        "held-back",
        "warning",
        ("waits for an answer", "dpkg --configure -a"),
    ),
    "edited": Case(edit, "edited", "note", ("is edited", f"local/{BASE}"), has_fix=False),
    "deleted": Case(
        lambda host: host.path(f"/etc/apparmor.d/{DOCKER}").unlink(),
        "edited",
        "warning",
        ("was deleted", "--force-confmiss"),
        ("profile-present", "containers"),
    ),
    "deprecated in use": Case(
        deprecated, "deprecated", "warning", ("in use by CT 950", "apply --all"), (), has_fix=False
    ),
    "deprecated there": Case(
        lambda host: host.write("/etc/apparmor.d/lxc-phoenix-nvidia-gpu", "x"),
        "deprecated",
        "note",
        ("still there", "rm /etc/apparmor.d/lxc-phoenix-nvidia-gpu"),
    ),
    "underscores in a file": Case(
        lambda host: host.profile("lxc_phoenix_v1"),
        "underscores",
        "note",
        ("lxc_phoenix_v1", "lxc-phoenix-v1"),
        has_fix=False,
    ),
    "underscores in .conf": Case(
        instead("lxc.apparmor.profile: lxc_phoenix_v1\n"),
        "profile-lines",
        "error",
        ("it hangs", "apply 950", "holds lxc_phoenix_v1 either: name a profile that one has"),
        ("containers",),
    ),
    "two JSON files": Case(
        two("{}"),
        "json-one",
        "warning",
        ("differs", "compare them: diff -u", f"rm {SECOND_JSON}"),
        has_fix=False,
    ),
    "two equal JSON files": Case(two(""), "json-one", "note", ("is the same", f"rm {SECOND_JSON}")),
    "JSON world-writable": Case(
        lambda host: host.path(JSON).chmod(0o666),
        "json-owner",
        "error",
        ("0666", "The last good assignments are used.", f"chmod go-w {JSON}"),
    ),
    "JSON broken": Case(
        lambda host: host.json("{"),
        "json-content",
        "error",
        ("line 1", "last good assignments are used", "validate"),
        has_fix=False,
    ),
    "JSON gone": Case(
        lambda host: host.path(JSON).unlink(),
        "json-content",
        "error",
        ("is gone", "Put it back"),
        has_fix=False,
    ),
    "JSON entry bad": Case(
        lambda host: host.assign(c950="lxc_phoenix_v1"),
        "json-content",
        "warning",
        ("lxc-phoenix-v1", f"last good one is used ({BASE})"),
        ("containers",),
        has_fix=False,
    ),
}
