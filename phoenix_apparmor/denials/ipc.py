"""Refused capabilities, signals, ptrace, namespaces, queues and D-Bus in words, as a rule. Pure."""

from phoenix_apparmor.denials import peers, vocabulary
from phoenix_apparmor.denials.act import Act, strange
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.owner import by_label
from phoenix_apparmor.denials.quoting import is_dbus_word, quoted, readable


def ptrace(denial: Denial) -> Act:
    """A look into another process, or control of it."""
    mask, peer = denial.mask or "trace", denial.get("peer")
    words = {
        "read": "look into a process",
        "readby": "look into a process",
        "trace": "trace a process",
        "tracedby": "trace a process",
    }
    said = words.get(mask, f"{readable(mask, 40)} a process")
    if not peer:
        return Act(said, note="No rule can be given: the kernel does not say of which profile "
                   "that process is.")  # fmt: skip
    said += _between(denial)
    if mask not in vocabulary.PTRACE:
        return Act(said, note=strange("permission of ptrace", mask))
    return Act(
        said,
        f"ptrace ({mask}) peer={quoted(peers.label(denial))},",
        reach="" if mask.endswith("by") else "can look into or control",
    )


def _between(denial: Denial) -> str:
    """Under which profile the other process is, to stand behind "a process"."""
    mine = by_label(denial.get("profile"), "", "")
    own = readable(f"{mine.profile}//{mine.child}" if mine.child else mine.profile)
    peer = readable(denial.get("peer"))
    if denial.is_of_target:
        return f" under {own}" + (f", itself under {peer}" if peer else "")
    return f" under {peer}" if peer else ""


def signal(denial: Denial) -> Act:
    """A signal to or from another process."""
    mask, peer = denial.mask or "send", denial.get("peer")
    name = denial.get("signal")
    words = f"send signal {readable(name, 40) or '?'} to a process{_between(denial)}"
    if not vocabulary.is_signal(name):
        return Act(words, note=strange("signal", name))
    if mask not in vocabulary.SIGNAL_WAYS:
        return Act(words, note=strange("permission for a signal", mask))
    to = f" peer={quoted(peers.label(denial))}" if peer else ""
    return Act(
        words,
        f"signal ({mask}) set=({name}){to},",
        reach="can signal" if mask == "send" else "",
    )


def resource_limit(denial: Denial) -> Act:
    """A limit of setrlimit(2) or prlimit(2). Kernel: security/apparmor/resource.c."""
    name, value = denial.get("rlimit"), denial.get("value")
    words = f"set the resource limit {readable(name, 40)} to {readable(value, 40)}"
    peer = denial.get("peer")
    if denial.capability:
        words += " of a process" + (f" under {readable(peer)}" if peer else " of another profile")
        return Act(words, f"capability {denial.capability},")
    return Act(words, note="Its profile limits that itself, by a rule that begins with set "
               f"rlimit {readable(name, 40)}: raise the number in that rule.")  # fmt: skip


def capability(denial: Denial) -> Act:
    """A capability of root's."""
    name = denial.get("capname")
    said = readable(name or denial.get("capability"), 40)
    if name not in vocabulary.CAPABILITIES:
        return Act(f"use the capability {said}", note=strange("capability", name))
    return Act(f"use the capability {name}", f"capability {name},")


def user_namespace(denial: Denial) -> Act:
    """A user namespace of its own."""
    del denial
    return Act("create a user namespace", "userns create,", needs_4=True)


def message_queue(denial: Denial) -> Act:
    """A POSIX or System V message queue."""
    name, ways = denial.get("name"), denial.mask.split()
    kind = "sysv" if denial.get("class") == "sysv_mqueue" else "posix"
    long = "System V" if kind == "sysv" else "POSIX"
    words = f"{' and '.join(ways[:4]) or 'use'} the {long} message queue {readable(name)}"
    if not ways or not vocabulary.QUEUES.issuperset(ways):
        shown = f"use the {long} message queue {readable(name)}"
        return Act(shown, note=strange("permission for a message queue", denial.mask))
    # a POSIX queue is named like a file in the root folder, a System V one by a number
    fits = name.isascii() and name.isdigit() if kind == "sysv" else name.startswith("/")
    if not fits or name.count("/") > 1:
        return Act(words, note=strange("name of a message queue", name))
    return Act(words, f"mqueue ({', '.join(ways)}) type={kind} {quoted(name)},", needs_4=True)


def io_uring(denial: Denial) -> Act:
    """A right of io_uring."""
    mask, context = denial.mask, denial.get("tcontext")
    if mask == "sqpoll":
        return Act("have the kernel poll an io_uring for it (sqpoll)", "io_uring (sqpoll),",
                   needs_4=True)  # fmt: skip
    if mask == "override_creds":
        label = f" label={quoted(context)}" if context else ""
        return Act("use io_uring with another's credentials (override_creds)",
                   f"io_uring (override_creds){label},", needs_4=True)  # fmt: skip
    return Act(f"use io_uring ({readable(denial.operation, 40)})",
               note=strange("permission of io_uring", mask))  # fmt: skip


def dbus(denial: Denial) -> Act:
    """A call, signal or name on a bus."""
    mask, bus, name = denial.get("mask"), denial.get("bus"), denial.get("name")
    # dbus-broker says method where dbus-daemon says member
    member = denial.get("member") or denial.get("method")
    interface, path = denial.get("interface"), denial.get("path")
    peer = denial.get("peer_label")
    what = f"{interface}.{member}" if interface and member else member or name or interface
    verbs = {"bind": "own the name", "eavesdrop": "listen to everything", "receive": "get"}
    verb = verbs.get(mask, "send")
    words = f"{verb} {readable(what)}" if what and mask != "eavesdrop" else verb
    words += f" over the D-Bus {readable(bus, 40)} bus"
    words += f" to {readable(name)}" if mask == "send" and name and name != what else ""
    if mask not in vocabulary.DBUS:
        return Act(words, note=strange("permission of D-Bus", mask))
    if bus not in vocabulary.BUSES:
        return Act(words, note=strange("bus", bus))
    conditions = [("path", path), ("interface", interface), ("member", member)]
    if mask == "bind":
        conditions = [("name", name)]
    elif mask == "eavesdrop":
        conditions = []
    odd = next((word for _, word in conditions if word and not is_dbus_word(word)), None)
    if odd is not None or (mask == "bind" and not name):
        return Act(words, note=strange("name on D-Bus", odd or ""))
    parts = [f"dbus ({mask}) bus={bus}"]
    parts += [f"{key}={quoted(word)}" for key, word in conditions if word]
    # a name such as :1.33 is another one for the next connection
    known = f"name={quoted(name)}" if is_dbus_word(name) and not name.startswith(":") else ""
    others = [known] if known and mask == "send" else []
    if peer and mask in ("send", "receive"):
        others.append(f"label={quoted(peers.label(denial, 'peer_label'))}")
    if others:
        parts.append(f"peer=({','.join(others)})")
    return Act(words, f"{' '.join(parts)},")
