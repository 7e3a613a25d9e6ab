"""Checks of NVIDIA devices: nodes that are there, and device numbers that still fit."""

import re
from collections.abc import Iterator

from phoenix_apparmor import containers
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host

DEVICES = "/proc/devices"
# Linux' Documentation/admin-guide/devices.txt: char majors that are given out as drivers load.
DYNAMIC = (*range(234, 255), *range(384, 512))
NVIDIA_STATIC = 195
ALLOW_KEYS = ("lxc.cgroup2.devices.allow", "lxc.cgroup.devices.allow")
# What CUDA opens besides /dev/nvidiaN.
CUDA = ("/dev/nvidiactl", "/dev/nvidia-uvm")

_NODE = re.compile(r"/dev/(?:nvidia[\w-]*(?:/[\w-]+)?)")
_ALLOW = re.compile(r"c\s+(\d+):(\d+|\*)\s")


def nodes(host: Host) -> Iterator[Finding]:
    """NVIDIA nodes that a configuration names: on the host, and all that CUDA needs."""
    absent: dict[str, list[str]] = {}
    for conf in containers.confs(host):
        named = _named(conf)
        for node in named:
            if not host.exists(node):
                absent.setdefault(node, []).append(conf.ctid)
        gpus = [node for node in named if re.fullmatch(r"/dev/nvidia\d+", node)]
        lacking = [node for node in CUDA if node not in named]
        if gpus and lacking:
            yield Finding(
                "warning",
                f"CT {conf.ctid} has a GPU, but not {' and '.join(lacking)}: CUDA does not start "
                "in it.",
                f"{conf.path} names {', '.join(gpus)}",
                f"pct set {conf.ctid} "
                + " ".join(f"--dev{n} {node}" for n, node in _free(conf, lacking)),
            )
    for node, ctids in sorted(absent.items()):
        yield Finding(
            "warning",
            f"{node} is not on the host; {reading.cts(ctids)} should have it.",
            f"{node} is missing",
            "nvidia-modprobe -u -c 0 && nvidia-smi # at boot: systemctl enable nvidia-persistenced",
        )


def without_gpu(host: Host) -> Iterator[Finding]:
    """Containers under a GPU profile that name no NVIDIA node."""
    wanted = reading.wanted_profiles(host)
    assigned = {c for name, ctids in wanted.items() if "nvidia" in name for c in ctids}
    without = [c.ctid for c in containers.confs(host) if c.ctid in assigned and not _named(c)]
    if without:
        yield Finding(
            "note",
            f"{reading.cts(without)}: assigned a GPU profile, but no NVIDIA node is configured.",
            "neither dev0: nor lxc.mount.entry names one",
            f"pct set {without[0]} --dev0 /dev/nvidia0 --dev1 /dev/nvidiactl "
            "--dev2 /dev/nvidia-uvm",
        )


def majors(host: Host) -> Iterator[Finding]:
    """Device numbers written into .conf that are another driver's or nobody's by now."""
    concerned = [(conf, _allowed(conf)) for conf in containers.confs(host)]
    concerned = [(conf, allowed) for conf, allowed in concerned if allowed and _is_gpu(conf)]
    if not concerned:
        return
    registered = char_majors(host)
    ours = {number for number, names in registered.items() if any("nvidia" in n for n in names)}
    if not ours:
        yield Finding(
            "unknown",
            "cannot tell whether the device numbers in .conf are NVIDIA's: its driver is not "
            f"loaded ({reading.cts([conf.ctid for conf, _ in concerned])}).",
            f"{DEVICES} has no nvidia",
            "modprobe nvidia && nvidia-modprobe -u -c 0",
        )
        return
    for conf, allowed in concerned:
        stale = [n for n in allowed if n not in ours and (n in DYNAMIC or n == NVIDIA_STATIC)]
        needed = {n for n in ours if _needs(conf, registered[n])}
        lacking = sorted(needed - set(allowed))
        if not stale and not lacking:
            continue
        said = [f"{n} is {_whose(registered, n)}" for n in stale]
        said += [f"{n} ({', '.join(registered[n])}) is not allowed" for n in lacking]
        named = sorted(_named(conf)) or ["/dev/nvidia0", *CUDA]
        devices = " ".join(f"--dev{n} {node}" for n, node in _free(conf, named))
        yield Finding(
            "warning",
            f"CT {conf.ctid}: hard-coded device numbers no longer fit: {'; '.join(said)}. They "
            "change with the order in which drivers load; dev0: does not.",
            f"{conf.path}: lxc.cgroup2.devices.allow: c {stale[0] if stale else allowed[0]}:…, "
            f"against {DEVICES}",
            f"pct set {conf.ctid} {devices} # then take the lxc.cgroup2.devices.allow and "
            f"lxc.mount.entry lines of NVIDIA out of {conf.path}",
        )


def char_majors(host: Host) -> dict[int, list[str]]:
    """Major number -> drivers, of the character devices that the kernel has now."""
    text = host.read(DEVICES).decode("utf-8", "replace")
    result: dict[int, list[str]] = {}
    for line in text.partition("Block devices:")[0].split("\n"):
        number, _, name = line.strip().partition(" ")
        if number.isdigit():
            result.setdefault(int(number), []).append(name.strip())
    return result


def _named(conf: Conf) -> list[str]:
    """NVIDIA nodes that a configuration gives its container (dev0:, lxc.mount.entry)."""
    found: dict[str, None] = {}
    for line in conf.main:
        if line.startswith((b"dev", b"lxc.mount.entry")):
            text = line.decode("utf-8", "replace")
            for match in _NODE.finditer(text):
                if not match.string[: match.start()].endswith("rootfs"):
                    found.setdefault(match[0])
    return list(found)


def _is_gpu(conf: Conf) -> bool:
    return bool(_named(conf)) or NVIDIA_STATIC in _allowed(conf)


def _allowed(conf: Conf) -> list[int]:
    """Majors of character devices that a configuration allows by number."""
    values = [value for key, value in conf.lxc() if key in ALLOW_KEYS]
    return [int(match[1]) for value in values if (match := _ALLOW.match(value + " "))]


def _needs(conf: Conf, drivers: list[str]) -> bool:
    """Whether a node of one of these drivers is bound in by path (dev0: allows itself)."""
    bound = [v.split()[0] for k, v in conf.lxc() if k == "lxc.mount.entry" and v.strip()]
    kinds = {_driver(node) for node in bound if node.startswith("/dev/nvidia")}
    return bool(kinds & set(drivers))


def _driver(node: str) -> str:
    """The name under which /proc/devices lists a node's driver."""
    base = node.removeprefix("/dev/").partition("/")[0]
    if base == "nvidia-uvm-tools":
        return "nvidia-uvm"
    return base if base in ("nvidia-uvm", "nvidia-caps", "nvidia-caps-imex-channels") else "nvidia"


def _whose(registered: dict[int, list[str]], number: int) -> str:
    names = registered.get(number)
    return f"{', '.join(names)} now" if names else "nobody's now"


def _free(conf: Conf, wanted: list[str]) -> list[tuple[int, str]]:
    """(N, node) for devN: options that the configuration does not use yet."""
    free = (n for n in range(256) if conf.option(f"dev{n}") is None)
    return list(zip(free, wanted, strict=False))
