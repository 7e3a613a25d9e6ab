"""doctor: each check on a host where it fires, all of them on one where none does."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jsonschema
import pytest

from tests.unit.fakehost import REPO, FakeHost
from tests.unit.golden import assert_golden

BASE = "lxc-nvidia-gpu-base"
DOCKER = "lxc-nvidia-gpu-docker"
CONF = f"""arch: amd64
dev0: /dev/nvidia0,gid=44
dev1: /dev/nvidiactl
dev2: /dev/nvidia-uvm
features: keyctl=1
hookscript: local:snippets/phoenix-apparmor.py
hostname: vllm
lxc.apparmor.profile: {BASE}
"""
DEVICES = """Character devices:
  1 mem
195 nvidia
510 nvidia-uvm
511 nvidia-caps

Block devices:
259 blkext
"""
DROP_IN = "50-phoenix-apparmor.conf"
UNIT_FOLDER = "/usr/lib/systemd/system/pve-container@.service.d"
SCHEMA = REPO / "phoenix_apparmor/doctor.schema.json"
SNIPPET = "/var/lib/vz/snippets/phoenix-apparmor.py"
HOOKSCRIPT = "/usr/libexec/phoenix-apparmor/hookscript"
JSON = "/etc/pve/phoenix_lxc_configs.json"
SECOND_JSON = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"
SIX = ("6.0.5-2", "6.1.10")


def dpkg(host: FakeHost, lxc_pve: str = SIX[0], pve_container: str = SIX[1]) -> None:
    """What dpkg has installed; our profiles as they are now are those it shipped."""
    conffiles = "".join(
        f" /etc/apparmor.d/{name} "
        f"{hashlib.md5(host.read(f'/etc/apparmor.d/{name}'), usedforsecurity=False).hexdigest()}\n"
        for name in (BASE, DOCKER)
    )
    packages = {"phoenix-apparmor": "3.0", "lxc-pve": lxc_pve, "pve-container": pve_container}
    text = "".join(
        f"Package: {name}\nStatus: install ok installed\nMaintainer: x <x@example.org>\n"
        f"Architecture: all\nVersion: {version}\nDescription: x\n"
        + (f"Conffiles:\n{conffiles}" if name == "phoenix-apparmor" else "")
        + "\n"
        for name, version in packages.items()
        if version
    )
    host.write("/var/lib/dpkg/status", text)
    host.path("/var/lib/dpkg/info").mkdir(exist_ok=True)


@pytest.fixture
def host(host: FakeHost) -> FakeHost:
    """A Proxmox host on which all is well."""
    host.environment["TZ"] = "UTC"
    host.proxmox()
    host.write("/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent snippets,iso\n")
    host.write("/etc/apparmor.d/tunables/global", "include <tunables/home>\n")
    host.write("/etc/apparmor.d/tunables/home", "@{HOME}=@{HOMEDIRS}/*/ /root/\n@{HOMEDIRS}=/h/\n")
    for name in (BASE, DOCKER):
        host.profile(name)
    dpkg(host)
    host.assign(c950=BASE)
    host.conf("950", CONF)
    host.write(HOOKSCRIPT, "#!/bin/sh\n").chmod(0o755)
    link = host.path(SNIPPET)
    link.parent.mkdir(parents=True)
    link.symlink_to(HOOKSCRIPT)
    for unit in ("pve-container@.service", "pve-container-debug@.service"):
        host.write(f"/usr/lib/systemd/system/{unit}.d/{DROP_IN}", "[Service]\n")
    host.write("/proc/devices", DEVICES)
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        host.write(f"/dev/{node}", "")
    host.write("/proc/stat", "btime 1764000000\n")
    host.write("/proc/net/unix", "Num RefCount Protocol Flags Type St Inode Path\n")
    host.path("/var/log/journal").mkdir(parents=True)
    assert host.cli("reload").status == 0
    return host


def diagnose(host: FakeHost) -> list[dict[str, Any]]:
    done = host.cli("doctor", "--json")
    assert done.err == "", done.err
    document = json.loads(done.out)
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_bytes())).validate(document)
    findings: list[dict[str, Any]] = document["findings"]
    off = any(finding["severity"] != "note" for finding in findings)
    assert done.status == (2 if off else 0)
    assert document["fine"] is not off
    return findings


def test_all_is_well(host: FakeHost) -> None:
    done = host.cli("doctor")
    assert done == (0, "27 checks, nothing is off.\n", "")
    assert diagnose(host) == []


class Case(NamedTuple):
    """spoil makes the host bad; then just this check says this (words in it), and no other.

    besides: checks that also have to do with it.
    """

    spoil: Callable[[FakeHost], object]
    check: str
    severity: str
    words: tuple[str, ...]
    besides: tuple[str, ...] = ()


def append(host: FakeHost, name: str, text: str) -> None:
    host.write(name, host.read(name) + text.encode())


def conf(text: str) -> Callable[[FakeHost], object]:
    """Lines in front of the profile line of CT 950."""
    line = f"lxc.apparmor.profile: {BASE}\n"
    return lambda host: host.conf("950", CONF.replace(line, text + line))


def instead(text: str) -> Callable[[FakeHost], object]:
    """Other lines instead of the profile line of CT 950."""
    line = f"lxc.apparmor.profile: {BASE}\n"
    return lambda host: host.conf("950", CONF.replace(line, text))


def no_devices(text: str) -> Callable[[FakeHost], object]:
    """CT 950 without dev0:, with these lines instead."""
    plain = "".join(line for line in CONF.splitlines(True) if not line.startswith("dev"))
    return lambda host: host.conf("950", plain + text)


def kernel_off(host: FakeHost) -> None:
    host.kernel(None)
    host.write("/sys/module/apparmor/parameters/enabled", "N\n")


def not_mounted(host: FakeHost) -> None:
    host.kernel(None)
    host.write("/sys/module/apparmor/parameters/enabled", "Y\n")


def masked(name: str) -> Callable[[FakeHost], object]:
    def make(host: FakeHost) -> None:
        path = host.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/dev/null")

    return make


def complain(host: FakeHost) -> None:
    host.profile(BASE, flags="flags=(complain) ")
    dpkg(host)
    host.cli("reload")


def stale(host: FakeHost) -> None:
    host.profile(BASE, "  # another text")
    dpkg(host)


def broken(host: FakeHost) -> None:
    host.profile(BASE, "  SYNTAX ERROR")
    dpkg(host)


def deprecated(host: FakeHost) -> None:
    host.profile("lxc-phoenix-nvidia-gpu")
    host.cli("reload")
    host.assign(c950="lxc-phoenix-nvidia-gpu")
    instead("lxc.apparmor.profile: lxc-phoenix-nvidia-gpu\n")(host)


def running(label: str) -> Callable[[FakeHost], object]:
    return lambda host: host.running("950", label)


def two(text: str) -> Callable[[FakeHost], object]:
    def make(host: FakeHost) -> None:
        host.write(SECOND_JSON, text or host.read(JSON))

    return make


def journal(host: FakeHost) -> None:
    body = (
        'audit: type=1400 audit(1764000100.1:1): apparmor="DENIED" operation="open" '
        f'profile="{BASE}" name="/x" pid=1 comm="c" denied_mask="r"'
    )
    host.write("/fake/journal.json", json.dumps({"MESSAGE": body}) + "\n")


def edit(host: FakeHost) -> None:
    append(host, f"/etc/apparmor.d/{BASE}", "# edited\n")
    host.cli("reload")


KERNEL = ("profile-loaded", "profile-current", "containers")
CASES = {
    "AppArmor off": Case(
        kernel_off, "apparmor", "error", ("AppArmor is off", "says N", "apparmor=1"), KERNEL
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
    ),
    "tunables gone": Case(
        lambda host: host.path("/etc/apparmor.d/tunables/home").unlink(),
        "tunables",
        "error",
        ("gone", "is missing"),
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
        ("containers",),
    ),
    "not loaded": Case(
        lambda host: host.kernel({DOCKER: "enforce"}),
        "profile-loaded",
        "error",
        (f"{BASE} is not in the kernel", "phoenix-apparmor reload"),
        ("containers",),
    ),
    "complain": Case(
        complain, "profile-loaded", "error", ("complain mode", "flags"), ("containers",)
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
        ("switched off", f"rm /etc/apparmor.d/force-complain/{BASE}"),
    ),
    "stale": Case(stale, "profile-current", "warning", ("another text", "raw_sha256", "reload")),
    "does not compile": Case(
        broken, "profile-current", "error", ("does not compile", "syntax error"), ()
    ),
    ".dpkg-dist": Case(
        lambda host: host.write(f"/etc/apparmor.d/{BASE}.dpkg-dist", "x"),
        "held-back",
        "warning",
        ("yours was kept", "diff -u", f"mv /etc/apparmor.d/{BASE}.dpkg-dist"),
    ),
    ".dpkg-new in the abstractions": Case(
        lambda host: host.write("/etc/apparmor.d/abstractions/phoenix/nvidia.dpkg-new", "x"),
        "held-back",
        "warning",
        ("waits for an answer", "dpkg --configure -a"),
    ),
    "edited": Case(edit, "edited", "note", ("is edited", f"local/{BASE}")),
    "deleted": Case(
        lambda host: host.path(f"/etc/apparmor.d/{DOCKER}").unlink(),
        "edited",
        "warning",
        ("was deleted", "--force-confmiss"),
        ("profile-present", "containers"),
    ),
    "deprecated in use": Case(
        deprecated, "deprecated", "warning", ("in use by CT 950", "apply --all"), ()
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
    ),
    "underscores in .conf": Case(
        instead("lxc.apparmor.profile: lxc_phoenix_v1\n"),
        "profile-lines",
        "error",
        ("cannot start", "lxc-phoenix-v1"),
        ("containers",),
    ),
    "two JSON files": Case(
        two("{}"), "json-one", "warning", ("differs", "diff -u", f"rm {SECOND_JSON}")
    ),
    "two equal JSON files": Case(two(""), "json-one", "note", ("is the same", f"rm {SECOND_JSON}")),
    "JSON world-writable": Case(
        lambda host: host.path(JSON).chmod(0o666),
        "json-owner",
        "error",
        ("0666", f"chmod go-w {JSON}"),
        ("json-content",),
    ),
    "JSON broken": Case(
        lambda host: host.json("{"),
        "json-content",
        "error",
        ("line 1", "last good assignments are used", "validate"),
    ),
    "JSON gone": Case(
        lambda host: host.path(JSON).unlink(),
        "json-content",
        "error",
        ("is gone", "Put it back"),
    ),
    "JSON entry bad": Case(
        lambda host: host.assign(c950="lxc_phoenix_v1"),
        "json-content",
        "warning",
        ("lxc-phoenix-v1", f"last good one is used: {BASE}"),
        ("containers",),
    ),
    "pending": Case(
        lambda host: append(
            host, "/etc/pve/lxc/950.conf", "\n[pve:pending]\nlxc.apparmor.profile: x\n"
        ),
        "sections",
        "warning",
        ("replaces all its lxc lines", "[pve:pending]"),
    ),
    "snapshot": Case(
        lambda host: append(
            host, "/etc/pve/lxc/950.conf", "\n[before]\nlxc.apparmor.profile = x\n"
        ),
        "sections",
        "note",
        ("snapshot before has profile x",),
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
        ("2 profile lines", f"{DOCKER}, {BASE}"),
        ("containers",),
    ),
    "unconfined": Case(
        instead("lxc.apparmor.profile: unconfined\n"),
        "profile-lines",
        "error",
        ("nothing holds root", "apply 950"),
        ("containers",),
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
        ("overrides nesting=1", "do not work", DOCKER),
    ),
    "nesting under docker": Case(
        lambda host: (
            host.assign(c950=DOCKER),
            instead(f"features: nesting=1,keyctl=1\nlxc.apparmor.profile: {DOCKER}\n")(host),
        ),
        "features",
        "note",
        ("has what Docker",),
    ),
    "fuse": Case(conf("features: fuse=1\n"), "features", "note", ("allow FUSE anyway",)),
    "mount=": Case(
        conf("features: mount=nfs;cifs\n"),
        "features",
        "warning",
        (
            "mount=nfs;cifs",
            f"'mount fstype=nfs, mount fstype=cifs,' >>/etc/apparmor.d/local/{BASE}",
        ),
    ),
    "raw lines": Case(
        conf("lxc.apparmor.raw: mount,\n"), "apparmor-lines", "warning", ("does nothing", "mount,")
    ),
    "allow_nesting": Case(
        conf("lxc.apparmor.allow_nesting = 1\n"), "apparmor-lines", "warning", ("/dev/.lxc",)
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
    "no snippets": Case(
        lambda host: host.write(
            "/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n"
        ),
        "hookscript",
        "error",
        ("does not hold snippets", "pvesm set local --content iso,snippets"),
    ),
    "no such storage": Case(
        lambda host: host.conf("950", CONF.replace("local:", "gone:")),
        "hookscript",
        "error",
        ('no storage "gone"', "phoenix-apparmor attach 950"),
    ),
    "not attached": Case(
        lambda host: host.conf(
            "950", CONF.replace("hookscript: local:snippets/phoenix-apparmor.py\n", "")
        ),
        "attached",
        "note",
        ("CT 950 is in the JSON", "attach --all"),
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
        ("CT 950 is started without us", "90-off.conf"),
    ),
    "lxc-pve old on 9": Case(
        lambda host: dpkg(host, "6.0.5-1"),
        "versions",
        "warning",
        ("VE 9 has the fix from 6.0.5-2",),
    ),
    "lxc-pve old on 8": Case(
        lambda host: dpkg(host, "5.0.2-2", "5.2.1"), "versions", "warning", ("VE 8", "6.0.0-2")
    ),
    "lxc-pve unknown": Case(
        lambda host: dpkg(host, ""), "versions", "unknown", ("cannot tell the version of lxc-pve",)
    ),
    "node absent": Case(
        lambda host: host.path("/dev/nvidia-uvm").unlink(),
        "gpu-nodes",
        "warning",
        ("/dev/nvidia-uvm is not on the host; CT 950", "nvidia-modprobe"),
    ),
    "node not given": Case(
        lambda host: host.conf("950", CONF.replace("dev2: /dev/nvidia-uvm\n", "")),
        "gpu-nodes",
        "warning",
        ("CUDA does not start", "pct set 950 --dev2 /dev/nvidia-uvm"),
    ),
    "no GPU": Case(no_devices(""), "gpu-configured", "note", ("no NVIDIA node", "--dev0")),
    "stale major": Case(
        no_devices(
            "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 508:0 rwm\n"
            + "".join(
                f"lxc.mount.entry: /dev/{n} dev/{n} none bind,optional,create=file\n"
                for n in ("nvidia0", "nvidiactl", "nvidia-uvm")
            )
        ),
        "gpu-majors",
        "warning",
        (
            "508 is nobody's now; 510 (nvidia-uvm) is not allowed",
            "pct set 950 --dev0 /dev/nvidia-uvm --dev1 /dev/nvidia0 --dev2 /dev/nvidiactl",
        ),
    ),
    "driver not loaded": Case(
        lambda host: (
            conf("lxc.cgroup2.devices.allow: c 195:* rwm\n")(host),
            host.write("/proc/devices", "Character devices:\n  1 mem\n\nBlock devices:\n"),
        ),
        "gpu-majors",
        "unknown",
        ("its driver is not loaded", "modprobe nvidia"),
    ),
    "denials": Case(
        journal, "denials", "note", ("refused 1 action ", BASE, "phoenix-apparmor denials")
    ),
    "no log": Case(
        lambda host: host.path("/var/log/journal").rmdir(),
        "denials",
        "unknown",
        ("cannot tell what the kernel refused", "Operation not permitted"),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_check_fires(host: FakeHost, case: Case) -> None:
    case.spoil(host)
    findings = diagnose(host)
    said = [
        " | ".join(str(finding[key]) for key in ("what", "evidence", "fix"))
        for finding in findings
        if (finding["check"], finding["severity"]) == (case.check, case.severity)
    ]
    assert any(all(word in text for word in case.words) for text in said), findings
    assert {finding["check"] for finding in findings} <= {case.check, *case.besides}, findings


def test_every_check_is_tried(host: FakeHost) -> None:
    checks = set(json.loads(host.cli("doctor", "--json").out)["checks"])
    assert checks - {case.check for case in CASES.values()} == {"parser"}


def test_no_parser(host: FakeHost) -> None:
    """On a PATH without apparmor_parser; the standard folders are always looked at as well."""
    programs = host.path("/programs")
    programs.mkdir()
    from phoenix_apparmor.doctor import apparmor
    from phoenix_apparmor.host import Host

    class NoParser(Host):
        def has_program(self, name: str) -> bool:
            return name != "apparmor_parser" and super().has_program(name)

    (finding,) = apparmor.parser(NoParser(str(host.root)))
    assert finding.fix == "apt install apparmor"
    assert not list(apparmor.parser(Host(str(host.root))))


FINE = {
    "majors that fit": no_devices(
        "lxc.cgroup2.devices.allow: c 195:* rwm\nlxc.cgroup2.devices.allow: c 510:* rwm\n"
        "lxc.cgroup2.devices.allow: c 226:0 rwm\n"
        + "".join(
            f"lxc.mount.entry: /dev/{n} dev/{n} none bind,optional,create=file\n"
            for n in ("nvidia0", "nvidiactl", "nvidia-uvm")
        )
    ),
    "numbers of no GPU": lambda host: host.conf(
        "951", "lxc.cgroup2.devices.allow: c 508:0 rwm\nhostname: tun\n"
    ),
    "a later Proxmox VE": lambda host: dpkg(host, "7.0.0-1", "7.0.1"),
    "a fixed lxc-pve on 8": lambda host: dpkg(host, "6.0.0-2", "5.3.0"),
    "a snapshot that agrees": lambda host: append(
        host, "/etc/pve/lxc/950.conf", f"\n[snap]\nlxc.apparmor.profile: {BASE}\n"
    ),
    "a container that is not ours": lambda host: host.conf("951", "features: nesting=1\n"),
    "it runs as assigned": lambda host: host.running("950", f"{BASE} (enforce)"),
    "leftovers of others": lambda host: host.write("/etc/apparmor.d/man.dpkg-dist", "x"),
    "another name with our ending": lambda host: host.write("/etc/apparmor.d/lxc-x.bak", "x"),
}


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_nothing_fires(host: FakeHost, change: Callable[[FakeHost], object]) -> None:
    change(host)
    assert diagnose(host) == []


def test_a_check_that_fails_itself_is_unknown_and_stops_no_other(host: FakeHost) -> None:
    host.path("/proc/devices").unlink()
    conf("lxc.cgroup2.devices.allow: c 195:* rwm\n")(host)
    journal(host)
    findings = diagnose(host)
    assert [(f["check"], f["severity"]) for f in findings] == [
        ("gpu-majors", "unknown"),
        ("denials", "note"),
    ]
    assert "the check itself failed" in findings[0]["what"]
    assert "FileNotFoundError" in findings[0]["evidence"]


def test_without_proxmox_its_checks_have_nothing_to_say(host: FakeHost) -> None:
    for name in ("/usr/share/perl5/PVE/LXC.pm", "/etc/pve/storage.cfg", HOOKSCRIPT):
        host.path(name).unlink()
    host.path(f"{UNIT_FOLDER}/{DROP_IN}").unlink()
    dpkg(host, "", "")
    assert diagnose(host) == []


def spoil_much(host: FakeHost) -> None:
    for name in ("complain", "unconfined", "drop-in masked", "lxc-pve old on 9", "node absent",
                 "mount=", "denials", "two JSON files"):  # fmt: skip
        CASES[name].spoil(host)
    host.running("950", "unconfined")


def test_the_whole_output(host: FakeHost) -> None:
    spoil_much(host)
    done = host.cli("doctor")
    assert (done.status, done.err) == (2, "")
    assert_golden("doctor.txt", done.out, host.root)
    lines = [line for line in done.out.splitlines() if not line.startswith("  fix:")]
    assert max(map(len, lines)) <= 80


def test_the_whole_json(host: FakeHost) -> None:
    spoil_much(host)
    assert_golden("doctor.json", host.cli("doctor", "--json").out, host.root)


def test_it_changes_nothing(host: FakeHost) -> None:
    def state() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in host.root.rglob("*")
            if path.is_file() and "fake" not in path.name and "/run/lock/" not in str(path)
        }

    spoil_much(host)
    before = state()
    host.cli("doctor")
    assert state() == before


def test_a_thousand_containers(host: FakeHost) -> None:
    for n in range(1000, 2000):
        host.conf(str(n), CONF)
        host.runtime(str(n), f"lxc.apparmor.profile = {BASE}\n".encode())
    host.json({str(n): {} for n in range(1000, 2000)})
    host.path("/dev/nvidia-uvm").unlink()
    (finding,) = diagnose(host)
    assert "and 993 more" in finding["what"] and len(finding["what"]) < 200
