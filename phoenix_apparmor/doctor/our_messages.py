"""Messages of our own, and what they mean: the first part of messages.MESSAGES. Pure."""

from phoenix_apparmor.doctor.message import Message

OURS = (
    Message(
        "`apparmor_profile … is invalid: lxc-start may only change to names that begin with "
        '"lxc-".`',
        "",
        "An old name such as `lxc_phoenix_v1`. The message names the right one; `phoenix-apparmor "
        "validate` shows all such lines.",
        r"apparmor_profile .* is invalid",
        common=True,
    ),
    Message(
        "`profile … is neither in the kernel nor in a file in /etc/apparmor.d.`",
        "",
        "A mistyped name, or the package is not installed on this node.",
        r"profile .* is neither in the kernel nor in a file",
    ),
    Message(
        "`profile … does not compile: …`",
        "",
        "Usually a line in `local/`. Fix it, then `phoenix-apparmor reload`. Running containers "
        "keep the policy they have.",
        r"profile .* does not compile",
        common=True,
    ),
    Message(
        "`profile … is switched off by …` (or `put into complain mode by …`)",
        "",
        "Somebody ran aa-disable or aa-complain. Remove the link that it names, then "
        "`phoenix-apparmor reload`.",
        r"profile .* is (switched off|put into complain mode) by",
    ),
    Message(
        "`profile … is in … mode in the kernel; it would not confine anything.`",
        "",
        "aa-complain. `aa-enforce /etc/apparmor.d/NAME`.",
        r"is in \w+ mode in the kernel",
    ),
    Message(
        "`profile … cannot be enforced: this kernel runs without AppArmor.`",
        "",
        "Boot with `apparmor=1 security=apparmor`.",
        r"this kernel runs without AppArmor",
    ),
    Message(
        "`The last good assignment is used: …`",
        "",
        "The JSON is broken; the container started as before. `phoenix-apparmor validate` shows "
        "where.",
        r"The last good assignment is used",
        common=True,
    ),
    Message(
        "`its profile is unknown, so it is not started. …`",
        "",
        'There never was a JSON on this host. To manage nothing: `{"lxc_configs": {}}`.',
        r"its profile is unknown",
    ),
    Message(
        "`The cluster has no quorum, so /etc/pve is read-only.`",
        "",
        "`pvecm status`; bring the other nodes back.",
        r"no quorum",
        common=True,
    ),
    Message(
        "`its configuration is locked by another task for more than … s.`",
        "",
        "A backup or snapshot is running. Try again when it has ended.",
        r"configuration is locked by another task",
    ),
    Message(
        "`what is shared read-only could not be locked: …`",
        "",
        "A mount point or `lxc.mount.entry` with `ro` could not be locked, so the start was "
        "refused. Start it again. If that fails too, another container that has "
        "the same folder renames in it, or has moved the folder of the mount away.",
        r"what is shared read-only could not be locked",
    ),
    Message(
        "`what is shared read-only could not be put back after it was locked: …`",
        "",
        "The same, found later: a mount would be missing inside.",
        r"what is shared read-only could not be put back",
    ),
    Message(
        "`its mounts are shared with each other, which cannot be taken from them: …`",
        "",
        "LXC's hook could not do it in a privileged container under `lxc-nvidia-gpu-base`, so the "
        "start was refused. Start it again; if that fails too, see `journalctl -k`.",
        r"its mounts are shared with each other",
    ),
    Message(
        "`what shows the host's kernel in it (…) cannot be unmounted: …`",
        "",
        "The same, of file systems that `lxc-nvidia-gpu-base` closes anyway.",
        r"what shows the host's kernel in it",
    ),
    Message(
        "`…, a part of profile …, is empty.`",
        "",
        "A file of ours in /etc/apparmor.d lost its text, and with it the profile what it denies. "
        "The message says how to bring it back.",
        r"a part of profile \S+, is empty",
    ),
    Message(
        "`what is shared read-only cannot be locked: …`",
        "",
        "Containers or users have made as many namespaces as this host allows. `lsns -t user`; "
        "`sysctl user.max_user_namespaces user.max_mnt_namespaces`.",
        r"what is shared read-only cannot be locked",
    ),
    Message(
        "`what is shared read-only is not locked, so root inside may make it writable: …`",
        "",
        "It was started all the same, as this host allows no user namespaces "
        "(`user.max_user_namespaces` is 0) or a profile of your own keeps lxc-start from making "
        "one.",
        # the container runs, so it explains no failure
    ),
    Message(
        "`what is shared read-only was locked after its lxc.hook.start, …`",
        "",
        "LXC runs `lxc.hook.start`, a program of the container, before mounts are locked. Let the "
        "container's own init run it.",
        # as above
    ),
)
