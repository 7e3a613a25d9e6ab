"""A sound Proxmox host for doctor, and ways to spoil it."""

import functools
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema

from tests.build import scratch_dir
from tests.names import BASE, DOCKER, JSON
from tests.unit.fakehost import REPO, FakeHost

CONF = f"""arch: amd64
dev0: /dev/nvidia0,gid=44
dev1: /dev/nvidiactl
dev2: /dev/nvidia-uvm
features: keyctl=1
hookscript: local:snippets/phoenix-apparmor.py
hostname: vllm
unprivileged: 1
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
SCHEMA = REPO / "phoenix_apparmor/doctor/doctor.schema.json"
SNIPPET = "/var/lib/vz/snippets/phoenix-apparmor.py"
HOOKSCRIPT = "/usr/libexec/phoenix-apparmor/hookscript"
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


def make_sound(host: FakeHost) -> FakeHost:
    """A Proxmox host on which all is well: a copy, as nothing in it knows where it is."""
    host.environment["TZ"] = "UTC"
    shutil.copytree(_sound().name, host.root, symlinks=True, dirs_exist_ok=True)
    return host


@functools.cache
def _sound() -> tempfile.TemporaryDirectory[str]:
    """One for this process; it ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="pa-", dir=scratch_dir())
    host = FakeHost(Path(folder.name))
    host.proxmox()
    host.write("/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent snippets,iso\n")
    host.write("/etc/apparmor.d/tunables/global", "include <tunables/home>\n")
    host.write("/etc/apparmor.d/tunables/home", "@{HOME}=@{HOMEDIRS}/*/ /root/\n@{HOMEDIRS}=/h/\n")
    shutil.copytree(REPO / "profiles", host.path("/etc/apparmor.d"), dirs_exist_ok=True)
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
        host.write(f"/dev/{node}", "").chmod(0o666)
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    keep_packages(host)
    host.write("/proc/stat", "btime 1764000000\n")
    host.write("/proc/net/unix", "Num RefCount Protocol Flags Type St Inode Path\n")
    host.path("/var/log/journal").mkdir(parents=True)
    assert host.cli("reload").status == 0
    return folder


def keep_packages(host: FakeHost) -> None:
    """What apt-get --reinstall brings back."""
    tunables = ("/etc/apparmor.d/tunables/home",)
    profiles = tuple(f"/etc/apparmor.d/{name}" for name in (BASE, DOCKER))
    units = ("pve-container@.service", "pve-container-debug@.service")
    drop_ins = tuple(f"/usr/lib/systemd/system/{unit}.d/{DROP_IN}" for unit in units)
    for package, files in {
        "apparmor": tunables,
        "phoenix-apparmor": (HOOKSCRIPT, *profiles, *drop_ins),
    }.items():
        for name in files:
            copy = host.write(f"/fake/package/{package}{name}", host.read(name))
            copy.chmod(host.path(name).stat().st_mode)
    shutil.copytree(host.path("/sys/kernel/security"), host.path("/fake/securityfs"))


# Written by the commands themselves: logs of the fakes, locks, the copy of the assignments.
NOISE = (
    "/fake",
    "/run",
    "/var/cache/phoenix-apparmor",
    "/var/cache/apparmor",
    "/var/lib/phoenix-apparmor",
    "/sys/kernel/security",
)


def run_fix(host: FakeHost, fix: str) -> None:
    """Runs a fix of doctor in a shell, on the fake host; it changes only what it names."""
    before = contents(host)
    line = re.sub(
        r"(?<![\w\\./-])/(?=(?:etc|dev|usr|var|run|root|proc|sys|srv|mnt)/)", f"{host.root}/", fix
    )
    host.path("/root").mkdir(exist_ok=True)
    done = host.run("/bin/sh", "-c", line, PYTHONPATH=str(REPO))
    assert done.status == 0, (line, done)
    after = contents(host)
    for name in before.keys() | after.keys():
        if before.get(name) == after.get(name) or name.startswith(NOISE):
            continue
        by_ctid = re.search(r"/lxc/(\d+)\.conf$", name)
        named = name in fix or (by_ctid and re.search(rf"\b{by_ctid[1]}\b", fix))
        by_package = any(
            package in fix and host.path(f"/fake/package/{package}{name}").exists()
            for package in ("apparmor", "phoenix-apparmor")
        )
        system = fix.startswith(("nvidia-modprobe", "modprobe", "mount", "dpkg", "apt-get update",
                                 "systemctl", "pct reboot"))  # fmt: skip
        moved = any(word in name for word in re.findall(r"(?:mv|rm) (\S+)", fix))
        report = "phoenix-apparmor publish" in fix and name.endswith("/priv/phoenix-apparmor.json")
        entry = "suggest" in fix and name == JSON
        assert named or by_package or system or moved or report or entry, (name, fix)


def contents(host: FakeHost) -> dict[str, bytes]:
    """Every file of the fake host."""
    return {
        "/" + str(path.relative_to(host.root)): path.read_bytes()
        for path in host.root.rglob("*")
        if path.is_file()
    }


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


class Case(NamedTuple):
    """spoil makes the host bad; then just this check says this (words in it), and no other.

    besides: checks that also have to do with it. has_fix: whether there is a command that ends
    it. after: checks that have something to say once it is fixed. advised: whether the command
    is not in the fix but behind the colon of the advice, as it is for a person to decide.
    """

    spoil: Callable[[FakeHost], object]
    check: str
    severity: str
    words: tuple[str, ...]
    besides: tuple[str, ...] = ()
    has_fix: bool = True
    after: tuple[str, ...] = ()
    advised: bool = False


def append(host: FakeHost, name: str, text: str) -> None:
    host.write(name, host.read(name) + text.encode())


def conf(text: str) -> Callable[[FakeHost], object]:
    """Lines in front of the profile line of CT 950; features: instead of its own."""
    line = f"lxc.apparmor.profile: {BASE}\n"
    before = CONF.replace("features: keyctl=1\n", "") if "features:" in text else CONF
    return lambda host: host.conf("950", before.replace(line, text + line))


def instead(text: str) -> Callable[[FakeHost], object]:
    """Other lines instead of the profile line of CT 950."""
    line = f"lxc.apparmor.profile: {BASE}\n"
    return lambda host: host.conf("950", CONF.replace(line, text))


def privileged(text: str = "") -> Callable[[FakeHost], object]:
    """CT 950 without a user namespace, with these lines."""
    return lambda host: host.conf("950", CONF.replace("unprivileged: 1\n", "") + text)


def no_devices(text: str) -> Callable[[FakeHost], object]:
    """CT 950 without dev0:, with these lines instead."""
    plain = "".join(line for line in CONF.splitlines(True) if not line.startswith("dev"))
    return lambda host: host.conf("950", plain + text)


def by_hand(text: str) -> Callable[[FakeHost], object]:
    """The same for CT 950 as a privileged one, whose devices LXC denies but for these lines."""

    def make(host: FakeHost) -> None:
        no_devices(text)(host)
        line = b"unprivileged: 1\n"
        host.write("/etc/pve/lxc/950.conf", host.read("/etc/pve/lxc/950.conf").replace(line, b""))

    return make


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


def unread(host: FakeHost) -> None:
    """As systemctl show prints units: a block each."""
    host.path("/run/systemd/system").mkdir(parents=True)
    host.write(
        "/fake/show",
        "Id=pve-container@951.service\nNeedDaemonReload=no\n\n"
        "Id=pve-container@950.service\nNeedDaemonReload=yes\n",
    )


def not_loaded(host: FakeHost) -> None:
    host.kernel({DOCKER: "enforce"})
    shutil.rmtree(host.path(f"/sys/kernel/security/apparmor/policy/profiles/{BASE}.1"))


def site_profile(body: str, flags: str = "") -> Callable[[FakeHost], object]:
    """CT 950 under a profile of the site's own, which holds but for this."""

    def make(host: FakeHost) -> None:
        includes = "".join(
            f"  include <abstractions/phoenix/{name}>\n"
            for name in ("container", "mounts", "kernel-mounts", "kernel-files", "kernel-names")
        )
        host.write(
            "/etc/apparmor.d/lxc-site",
            f"abi <abi/3.0>,\nprofile lxc-site {flags}{{\n{includes}"
            f"  include <abstractions/phoenix/nvidia>\n  {body}\n}}\n",
        )
        host.assign(c950="lxc-site")
        instead("lxc.apparmor.profile: lxc-site\n")(host)
        host.cli("reload")

    return make


def unmanaged(text: str) -> Callable[[FakeHost], object]:
    """CT 951, which the JSON does not have."""
    return lambda host: host.conf("951", f"arch: amd64\nostype: debian\nunprivileged: 1\n{text}")


def edit(host: FakeHost) -> None:
    append(host, f"/etc/apparmor.d/{BASE}", "# edited\n")
    host.cli("reload")


def on_cgroup_v1(then: Callable[[FakeHost], object]) -> Callable[[FakeHost], object]:
    """A host that was booted with systemd.unified_cgroup_hierarchy=0."""

    def make(host: FakeHost) -> None:
        host.path("/sys/fs/cgroup/cgroup.controllers").unlink()
        host.write("/sys/fs/cgroup/devices/devices.list", "a *:* rwm\n")
        then(host)

    return make
