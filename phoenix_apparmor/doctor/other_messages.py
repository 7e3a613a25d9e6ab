"""Messages of Proxmox, LXC, Docker and others: the second part of messages.MESSAGES. Pure.

Of several that fit a line the first is taken, so the exact ones come before the general ones.
"""

from phoenix_apparmor.doctor.lock_messages import LOCKS
from phoenix_apparmor.doctor.message import Message

# The file that a message names; its characters are none of a shell's.
_FILE = r"(?P<FILE>/[\w/.@+-]+"

OTHERS = (
    Message(
        "`Job for pve-container@….service failed because the control process exited with error "
        "code.` and `command 'systemctl start pve-container@…' failed: exit code 1`",
        "Proxmox",
        "The drop-in refused the start: the `WARN:` lines above say why and what to do. Without "
        "such lines it was not ours: `phoenix-apparmor doctor CTID`.",
        r"control process exited with error code|'systemctl start pve-container@\d+' failed:",
        general=True,
    ),
    Message(
        "`explicitly configured lxc.apparmor.profile overrides the following settings: "
        "features:nesting`",
        "Proxmox",
        "Not an error: the profile that the line names applies instead of Proxmox's generated one. "
        "Under `lxc-nvidia-gpu-docker` nested containers work; `doctor` says what each profile "
        "allows of it.",
        # said at each good start as well, so it explains no failure
    ),
    Message(
        "`sync_wait: 34` and `startup for container '…' failed`",
        "LXC",
        "The setup of the container failed, whatever it was: the lines before it say what. `pct "
        "start CTID --debug` has more of them.",
        r"sync_wait: \d+|startup for container '\S+' failed",
        general=True,
    ),
    Message(
        "`Failed to write AppArmor profile …`",
        "LXC",
        "The kernel does not have the profile, or its policy namespace is gone, and neither "
        "hookscript nor drop-in ran. `phoenix-apparmor doctor`.",
        r"[Ff]ailed to write [Aa]pp[Aa]rmor profile",
    ),
    Message(
        '`Failed to run apparmor_parser on "…"`, `Failed to load generated AppArmor profile`',
        "LXC",
        "The profile that LXC generates does not compile: a rule in `lxc.apparmor.raw` is wrong, "
        "often for want of a comma at its end. `phoenix-apparmor doctor CTID` names it.",
        r"Failed to run apparmor_parser on|Failed to load generated AppArmor profile",
    ),
    Message(
        '`Permission denied - Failed to create "…"`',
        "LXC",
        "The container's root belongs to ids that are none of its own: `unprivileged: 1` was set "
        "by hand, say, which changes no owner of a file. See whose it is, while it is down: `pct "
        "mount CTID; ls -ldn /var/lib/lxc/CTID/rootfs; pct unmount CTID`; with the usual maps it "
        "is 100000's, and 0's in a privileged container. What changes the owners is a backup that "
        "is restored, with `pct restore … --unprivileged 1`.",
        r'Permission denied - Failed to create "',
    ),
    Message(
        '`Failed to mount "/dev"`',
        "LXC",
        "Its /dev could not be made: the line before it says why.",
        r'Failed to mount "/dev"\s*$',
        general=True,
    ),
    Message(
        '`Failed to set "…" to "…"`',
        "LXC",
        "The kernel has no such setting of cgroups, or refuses the value: `phoenix-apparmor doctor "
        "CTID` names lines that are for cgroup v1; otherwise see the lines `lxc.cgroup2` in `pct "
        "config CTID`.",
        r'Failed to set "[\w.]+" to "',
    ),
    Message(
        '`Failed to mount "…"`, `Failed to setup mounts` and `Failed to setup mount entries`',
        "LXC",
        "A mount of its configuration fails: what it names is not on the host, or the place in the "
        "container is missing (`create=file`). If it is a device, load its driver first. "
        "`Operation not permitted` for a disk: an unprivileged container cannot mount one; make it "
        "a mount point (mpN). `Permission denied`: if it was AppArmor, `phoenix-apparmor denials` "
        "names lxc-start's own profile; the container's is not in force yet.",
        r'Failed to mount "|Failed to setup mount(?:s| entries)',
    ),
    Message(
        '`Unsupported config key "…"`, `Invalid configuration line: …`, `Failed to load config`',
        "LXC",
        "A line of its configuration, or of a file that it includes, is none that LXC takes: "
        "`phoenix-apparmor doctor CTID` names it.",
        r"Unsupported config key|Invalid configuration line|Failed to (?:load config|parse config)",
    ),
    Message(
        "`Failed to run lxc.hook.pre-start for container`",
        "LXC",
        "A hook failed before the profile played any part: the root file system or a mount point "
        "is missing or not clean. The lines before it name it.",
        r"Failed to run lxc\.hook\.pre-start",
    ),
    Message(
        "`Failed to run lxc.hook.mount for container`",
        "LXC",
        "NVIDIA's hook or another one failed; with NVIDIA's, the driver is not loaded or "
        "`nvidia-container-cli` is missing.",
        r"Failed to run lxc\.hook\.mount",
    ),
    Message(
        "`Device /dev/… does not exist`",
        "Proxmox",
        "A devN option names a node that the host does not have (yet). `phoenix-apparmor doctor` "
        "gives the command that makes NVIDIA's.",
        r"[Dd]evice /dev/\S+ does not exist",
    ),
    Message(
        "`failed to mknod /var/lib/lxc/…/passthrough/dev/…: File exists`",
        "Proxmox",
        "Two devN options name the same node. `phoenix-apparmor doctor CTID` says which, with the "
        "command that takes one out.",
        r"failed to mknod \S+/passthrough/\S+: File exists",
    ),
    Message(
        "`Could not mknod …/dev/…: File exists`",
        "Proxmox",
        "A devN option and a `lxc.mount.entry`, or a hook before it, give the same node. "
        "`phoenix-apparmor doctor CTID` names both.",
        r"Could not mknod \S+/dev/\S+: File exists",
    ),
    Message(
        "a start hangs for a minute",
        "LXC",
        "LXC waits for a container that cannot start. If `.conf` names a profile without `lxc-`, "
        "that is why: `grep apparmor /etc/pve/lxc/CTID.conf`, then `phoenix-apparmor apply CTID`.",
        r"start operation timed out",
    ),
    Message(
        "`can't lock file '/run/lock/lxc/pve-config-….lock' - got timeout`",
        "Proxmox",
        "Another task works on the container, such as a backup or a snapshot. Try again when it "
        "has ended; `fuser -v FILE`, with the file of the message, shows who holds the lock.",
        rf"can't lock file '{_FILE}/pve-config-\d+\.lock)'.*got timeout",
    ),
    Message(
        "`can't lock file '/var/lock/pve-manager/pve-storage-…' - got timeout`",
        "Proxmox",
        "Another task works on that storage: it makes, moves or removes a volume, of any "
        "container or VM. Try again when it has ended; `fuser -v FILE`, with the file of the "
        "message, shows who holds the lock.",
        rf"can't lock file '{_FILE}/pve-storage-[\w.+-]+)'.*got timeout",
    ),
    Message(
        "`cfs-lock '…' error: got lock request timeout`",
        "Proxmox",
        "Another task holds that lock of the cluster, perhaps on another node; the lock of a "
        "storage that the nodes share is `storage-NAME`. The task lists of all nodes show which "
        "task it is. A node that died keeps the lock for two minutes.",
        r"cfs-lock '[^']+' error: got lock request timeout",
    ),
    Message(
        "`can't lock file '/…' - got timeout`",
        "Proxmox",
        "Another process holds that lock for something that the start needs too. Try again when "
        "it has ended; `fuser -v FILE`, with the file of the message, shows which process it is.",
        rf"can't lock file '{_FILE})'.*got timeout",
    ),
    Message(
        "`hookscript error for … on pre-start: command '…' failed: exit code …`",
        "Proxmox",
        "The container's hookscript failed, and the start ends with that. Run that command by "
        "hand to see why, or take the hookscript away: `pct set CTID --delete hookscript`.",
        r"hookscript error for \d+ on \S+: command ",
        of_program=True,
    ),
    Message(
        "`command '…' failed: exit code …` or `got timeout`",
        "Proxmox",
        "That command failed or did not answer, often one of a storage. Run it by hand.",
        r"^(?!command 'systemctl start )(?:.*: )?command '.*' failed: (?:exit code|got)",
        of_program=True,
    ),
    Message(
        '`write to uid_map failed: Invalid argument`, `Failed to write uid mapping to "…"`',
        "LXC",
        "The kernel refuses the container's `lxc.idmap` lines: an id is mapped twice, or there are "
        "none for `u` or for `g`. `phoenix-apparmor doctor CTID` names the lines.",
        r"write to [ug]id_map failed: Invalid argument|Failed to write [ug]id mapping to",
    ),
    Message(
        "`failed to parse idmap: …`",
        "Proxmox",
        "A line `lxc.idmap` is not as Proxmox reads it: `u` or `g`, the first id inside, the first "
        "of the host, and how many.",
        r"failed to parse idmap: ",
    ),
    Message(
        "`newgidmap: gid range […) -> […) not allowed`",
        "LXC",
        "`lxc.idmap` names ids of the host that root may not pass on. `phoenix-apparmor doctor "
        "CTID` gives the command that adds them to `/etc/subgid` (`/etc/subuid` for newuidmap), "
        "such as `root:44:1`.",
        r"new[ug]idmap.* not allowed|newgidmap failed|newuidmap failed",
    ),
    Message(
        "`volume '…' does not exist`, `no such logical volume …`, `storage '…' is not online`",
        "Proxmox",
        "What its root or a mount point names is not there: `pct config CTID` and `pvesm status`.",
        r"volume '\S+' does not exist|no such logical volume|storage '\S+' is not online"
        r"|unable to activate storage|^directory '.*' does not exist",
    ),
    Message(
        "`bridge '…' does not exist`",
        "Proxmox",
        "The host has no such bridge: `ip link show type bridge`. Make it (Network of the node, or "
        "SDN; then apply), or name another one in the netN of `pct config CTID`.",
        r"^bridge '[^']*' does not exist",
    ),
    Message(
        '`Failed to attach "…" to bridge "…"`',
        "LXC",
        "The host has no such bridge: `ip link show type bridge`, and net0 in `pct config CTID`.",
        r"Failed to attach \S+ to bridge",
    ),
    Message(
        "`unsupported … version '…'`",
        "Proxmox",
        "The system inside is newer than this pve-container knows. Upgrade pve-container.",
        r"unsupported \S+ version '",
    ),
    Message(
        "`hookscript error for … on pre-start: hook script '…' does not exist`",
        "Proxmox",
        "The container names our hookscript on a node without the package, or the line comes "
        "from an old snapshot. Install the package there, or `pct set CTID --delete hookscript`.",
        r"hook ?script '?\S+'? does not exist|script '\S+' does not exist",
    ),
    *LOCKS,
    Message(
        "a container rebooted itself and stays down, no task log",
        "Proxmox",
        "The drop-in refused it: `phoenix-apparmor doctor CTID` says why.",
    ),
    Message(
        "`start request repeated too quickly`",
        "Linux",
        "More than five failed starts within ten seconds. Fix the cause, then `systemctl "
        "reset-failed pve-container@CTID`.",
        r"[Ss]tart request repeated too quickly",
    ),
    Message(
        "`Driver/library version mismatch`",
        "NVIDIA",
        "The libraries inside do not match the host's driver version. `phoenix-apparmor "
        "doctor` names both.",
        r"[Dd]river/library version mismatch",
        common=True,
    ),
    Message(
        "`Could not check if docker-default AppArmor profile was loaded`",
        "Docker",
        "The container runs under a profile without a policy namespace. Assign "
        "`lxc-nvidia-gpu-docker` and start it again.",
        common=True,
    ),
    Message(
        "`docker-default profile could not be loaded: … apparmor_parser … not found`",
        "Docker",
        "The container has no apparmor package, which Docker 20.10 needs wherever it finds "
        "AppArmor. `apt install apparmor` in the container.",
    ),
    Message(
        "`open sysctl net.ipv4.ip_unprivileged_port_start … permission denied`",
        "Docker",
        "Under `generated` with an lxc-pve older than 6.0.5-2 (PVE 9) or 6.0.0-2 (PVE 8). Upgrade "
        "lxc-pve.",
    ),
    Message(
        "`Function not implemented` or `Operation not permitted` in a privileged container, and "
        "`denials` shows nothing",
        "Linux",
        'Its seccomp policy, or a BPF program, refused it: README, "Privileged containers".',
        common=True,
    ),
    Message(
        "something in a container is denied",
        "",
        "`phoenix-apparmor denials CTID` says what in words, and which rule would allow it.",
    ),
    Message(
        "`the kernel does not run what this file compiles to now.`",
        "",
        "Edited and not loaded; or `systemctl reload apparmor` took a stale cache: the parser "
        "trusts a cache that is newer than the file, and dpkg gives files the time of their "
        "build. `phoenix-apparmor reload` fixes both.",
    ),
    Message(
        "dpkg ends with an unanswered question about a conffile",
        "apt",
        "A profile was edited. `dpkg --force-confold --configure -a`; then move the edit into "
        "`local/` and take the new text, as `status` says.",
    ),
    Message(
        "`… is waiting: the package's new version is not in force.`",
        "",
        'The same, answered with "keep". `status` gives the commands.',
    ),
)
