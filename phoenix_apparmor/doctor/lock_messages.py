"""What a lock of Proxmox in .conf means: a part of messages.MESSAGES. Pure.

The words are those of PVE::LXC::Config (confdesc, lock). A start goes on with mounted alone
(PVE::API2::LXC::Status, vm_start); everything else refuses with each.
"""

from phoenix_apparmor.doctor.message import Message

MOUNTED = "mounted"
_LEFT = "If no such task runs, the lock was left behind"
LOCKS = (
    Message(
        "`CT is locked (create)`",
        "Proxmox",
        "It is being created, restored or cloned. If no such task runs, that ended half-way, and "
        "files may be missing. If nothing else needs it, remove it and begin anew: `pct unlock "
        "CTID`, then `pct destroy CTID`.",
        r"CT is locked \(create\)",
    ),
    Message(
        "`CT is locked (destroyed)`",
        "Proxmox",
        "It is being destroyed. If no such task runs, that ended half-way, and files may be gone. "
        "To end it: `pct unlock CTID`, then `pct destroy CTID`.",
        r"CT is locked \(destroyed\)",
    ),
    Message(
        "`CT is locked (rollback)`",
        "Proxmox",
        "It goes back to a snapshot. If no such task runs, that ended half-way: `pct unlock CTID`, "
        "then roll back again, as its files and its configuration may not fit: `pct listsnapshot "
        "CTID` lists the snapshots.",
        r"CT is locked \(rollback\)",
    ),
    Message(
        "`CT is locked (mounted)`",
        "Proxmox",
        "`pct mount` has its files on the host, and only a start goes on with that. When nothing "
        "uses them there: `pct unmount CTID`.",
        rf"CT is locked \({MOUNTED}\)",
    ),
    Message(
        "`CT is locked (backup)`, `(migrate)`, `(snapshot)`, `(snapshot-delete)`, `(disk)`, "
        "`(fstrim)`",
        "Proxmox",
        "That task has it: a backup, a migration, a snapshot that is made or removed, a volume "
        f"that is moved or resized, pct fstrim. {_LEFT}: `pct unlock CTID`.",
        r"CT is locked \((?:backup|migrate|snapshot(?:-delete)?|disk|fstrim)\)",
    ),
    Message(
        "`CT is locked (…)`",
        "Proxmox",
        f"A task has it that the word in brackets names. {_LEFT}: `pct unlock CTID`.",
        r"CT is locked",
    ),
)
