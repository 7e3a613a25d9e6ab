"""Check of lxc.cgroup2 and lxc.cgroup lines (but for devices): whether there is such a file.

LXC writes each value into the file of that name in the container's cgroup. If there is none, or the
kernel refuses the value, the start ends (cgfsng_setup_limits). Lines of the other version of
cgroups it passes over. Names: the kernel's cgroup-v2.rst and cgroup-v1/.
"""

import re
from collections.abc import Iterator

from phoenix_apparmor import pveconf
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.doctor import conf_edits, reading
from phoenix_apparmor.doctor.finding import Finding
from phoenix_apparmor.host import Host
from phoenix_apparmor.lxcsettings import Setting

_LINE = re.compile(r"lxc\.(cgroup2?)\.(?!devices)(.+)")
# Files of version 2 that can be written.
_OF_2 = re.compile(
    r"cgroup\.(?:procs|threads|type|subtree_control|max\.(?:descendants|depth)|freeze|kill|pressure)"
    r"|cpu\.(?:weight|weight\.nice|max|max\.burst|pressure|uclamp\.(?:min|max)|idle)"
    r"|memory\.(?:min|low|high|max|oom\.group|reclaim|peak|swap\.(?:high|peak|max)"
    r"|zswap\.(?:max|writeback)|pressure)"
    r"|io\.(?:weight|bfq\.weight|max|latency|prio\.class|pressure)|pids\.max"
    r"|cpuset\.(?:cpus|mems|cpus\.(?:exclusive|partition))"
    r"|hugetlb\.\w+\.(?:max|rsvd\.max)|rdma\.max|misc\.max|dmem\.(?:max|min|low)"
)
# Files that only version 1 has.
_OF_1 = re.compile(
    r"memory\.(?:.*in_bytes|swappiness|oom_control|use_hierarchy|force_empty|move_charge.*"
    r"|pressure_level)|cpu\.(?:shares|cfs_.*|rt_.*)|cpuacct\..*|blkio\..*|net_cls\..*|net_prio\..*"
    r"|freezer\..*|hugetlb\..*in_bytes|cpuset\.(?:cpu_exclusive|mem_exclusive|memory_.*|sched_.*)"
)
# Their new names, where the value means the same.
_RENAMED = {"memory.limit_in_bytes": "memory.max"}
_SIZE = re.compile(r"[0-9]+[kKmMgG]?")
# Where Proxmox has an option for it.
_OPTIONS = {"memory": "--memory MIB and --swap MIB", "cpu": "--cpulimit and --cpuunits"}
# Cgroups that are not the root, which has fewer files.
_EXAMPLES = ("lxc", "system.slice", "lxc.monitor")


def findings(host: Host) -> Iterator[Finding]:
    """Of each container that is started."""
    version = reading.cgroup_version(host)
    if version != 2:
        return
    for conf in reading.confs(host):
        if pveconf.is_template(conf.main):
            continue
        for setting in conf.settings:
            line = _LINE.fullmatch(setting.key)
            if line is None or not setting.value:
                continue
            if line[1] == "cgroup":
                yield _passed_over(conf, setting, line[2])
            elif not _is_there(host, line[2]):
                yield _ends_the_start(conf, setting, line[2])


def _is_there(host: Host, name: str) -> bool:
    if _OF_2.fullmatch(name):
        return True
    return any(host.exists(f"{reading.CGROUPS}/{group}/{name}") for group in _EXAMPLES)


def _ends_the_start(conf: Conf, setting: Setting, name: str) -> Finding:
    is_old = _OF_1.fullmatch(name) is not None
    new = _RENAMED.get(name, "") if _SIZE.fullmatch(setting.value) else ""
    key = re.escape(setting.key)
    if setting.file:
        fix = ""
    elif new:
        line = f"lxc.cgroup2.{new}: {setting.value}"
        fix = conf_edits.rewrite(conf.path, key, setting.value, line)
    else:
        fix = conf_edits.take_out(conf.path, key, setting.value) if is_old else ""
    said = [] if new and fix else [_instead(conf, name)]
    said += [f"take that line out of {setting.file}"] if setting.file else []
    said += [] if is_old else [f"see whether it is one: {reading.CGROUPS}/system.slice/{name}"]
    return Finding(
        "error" if is_old else "warning",
        f"CT {conf.ctid} cannot start: {name} is for cgroup v1, this host has v2."
        if is_old
        else f"CT {conf.ctid} cannot start unless the kernel has {name}, which is not known as a "
        "setting of cgroup v2.",
        setting.said if setting.file else f"{conf.path}: {setting.said}",
        fix=fix,
        advice="; ".join(filter(None, said)),
        ctids=(conf.ctid,),
    )


def _passed_over(conf: Conf, setting: Setting, name: str) -> Finding:
    return Finding(
        "warning",
        f"CT {conf.ctid}: {setting.key} does nothing: it is for cgroup v1, this host has v2.",
        setting.said if setting.file else f"{conf.path}: {setting.said}",
        fix=""
        if setting.file
        else conf_edits.take_out(conf.path, re.escape(setting.key), setting.value),
        advice="; ".join(
            filter(
                None,
                (
                    _instead(conf, name),
                    f"take that line out of {setting.file}" if setting.file else "",
                ),
            )
        ),
        ctids=(conf.ctid,),
    )


def _instead(conf: Conf, name: str) -> str:
    options = _OPTIONS.get(name.partition(".")[0], "")
    return f"what it was for, Proxmox does: pct set {conf.ctid} {options}" if options else ""
