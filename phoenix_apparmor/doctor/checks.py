"""The list of all checks, in the order of their report."""

from phoenix_apparmor.doctor import (
    apparmor,
    cluster,
    containers,
    denials,
    driver,
    features,
    gpu,
    id_maps,
    included,
    json_file,
    last_start,
    majors,
    needs,
    other_confinement,
    profile_files,
    profile_rules,
    proxmox,
    read_only,
)
from phoenix_apparmor.doctor.finding import Check
from phoenix_apparmor.host import Host

CHECKS: tuple[Check, ...] = (
    Check("apparmor", "whether AppArmor is on", apparmor.in_kernel),
    Check("parser", "whether apparmor_parser is there", apparmor.parser),
    Check("service", "whether profiles are loaded at boot", apparmor.service),
    Check("tunables", "whether tunables/home is whole", apparmor.tunables_home),
    Check("profile-present", "whether each profile has a file", profile_files.present),
    Check("profile-loaded", "whether the kernel enforces the profiles", profile_files.loaded),
    Check("profile-current", "whether the kernel runs what the files say", profile_files.compiles),
    Check("profile-rules", "whether profiles confine root", profile_rules.leaving),
    Check("held-back", "whether new profiles are in force", profile_files.held_back),
    Check("edited", "whether shipped files are as shipped", profile_files.edited),
    Check("deprecated", "whether a deprecated profile is in use", profile_files.deprecated),
    Check("underscores", "whether profiles have usable names", profile_files.underscores),
    Check("json-one", "which JSON is used", json_file.one_file),
    Check("json-owner", "who can write the JSON", json_file.owner),
    Check("json-content", "whether the JSON can be used", json_file.content),
    Check("conf-readable", "whether each configuration can be read", containers.unread),
    Check("sections", "what waits in snapshots and pending changes", containers.sections),
    Check("profile-lines", "whether profile lines are right", containers.profile_lines),
    Check("lost-lines", "whether Proxmox reads each line", containers.lost),
    Check("features", "what explicit profiles override", features.overridden),
    Check("generated", "what Proxmox's generated profile refuses", features.generated),
    Check("generated-line", "whether generated is written out", features.explicit_generated),
    Check("apparmor-lines", "what other AppArmor lines do", features.overridden_lines),
    Check("includes", "what included files set", included.settings),
    Check("ignored-mounts", "whether LXC makes each mount", included.ignored),
    Check("apparmor-hidden", "whether AppArmor is hidden inside", containers.hidden),
    Check("read-only", "whether what is read-only is locked", read_only.unlocked),
    Check("other-locks", "what else holds containers", other_confinement.other_locks),
    Check("containers", "whether containers run as assigned", containers.verdicts),
    Check("quorum", "whether the cluster has quorum", proxmox.quorum),
    Check("cluster-report", "whether other nodes hear of this one", cluster.reported),
    Check(cluster.NAME, cluster.QUESTION, cluster.elsewhere),
    Check("locked", "which containers are locked", proxmox.locked),
    Check("policies", "what containers load into the kernel", other_confinement.policies),
    Check("hookscript", "whether Proxmox can run the hookscript", proxmox.hookscript),
    Check("needs", "whether all that starts need is there", needs.missing),
    Check("id-maps", "whether ids can be mapped", id_maps.findings),
    Check("attached", "whether containers have the hookscript", proxmox.attached),
    Check("drop-in", "whether the unit's drop-ins are in force", proxmox.drop_in),
    Check("versions", "whether lxc-pve is new enough", proxmox.versions),
    Check("gpu-nodes", "whether NVIDIA nodes are there", gpu.nodes),
    Check("gpu-configured", "whether GPU containers have a GPU", gpu.without_gpu),
    Check("gpu-hook", "whether NVIDIA's hook can work", gpu.hook),
    Check("gpu-majors", "whether device numbers still fit", majors.fitting),
    Check("gpu-driver", "whether NVIDIA's libraries fit its driver", driver.versions),
    Check("denials", "what the kernel refused since boot", denials.since_boot),
)


def of_container(host: Host, ctid: str) -> tuple[Check, ...]:
    """All checks for one container: why it did not start first. Raises PhoenixError."""
    others = (cluster.of(ctid) if check.name == cluster.NAME else check for check in CHECKS)
    return (last_start.check(host, ctid), *others)
