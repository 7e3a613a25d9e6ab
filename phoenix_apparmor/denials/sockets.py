"""Refused sockets in words, and as a rule. Pure."""

import re

from phoenix_apparmor.assignments import holes
from phoenix_apparmor.denials import channels, peers, vocabulary
from phoenix_apparmor.denials.act import Act, strange
from phoenix_apparmor.denials.message import Denial
from phoenix_apparmor.denials.names import ANY, Part, generic
from phoenix_apparmor.denials.quoting import quoted, readable

# Names that the kernel gives a socket that asks for none: @ and five hex digits (unix(7)).
_AUTOMATIC = re.compile(r"@[0-9a-f]{5}\Z")
_HEX = re.compile(r"(?:[0-9A-F]{2})+\Z")
FEW = 5
VERBS = {
    "bind": "bind",
    "connect": "connect",
    "create": "create",
    "listen": "listen on",
    "accept": "accept from",
    "sendmsg": "send over",
    "recvmsg": "receive over",
    "getsockname": "ask the name of",
    "getpeername": "ask the peer of",
    "getsockopt": "read options of",
    "setsockopt": "set options of",
    "shutdown": "shut down",
}
# What the kernel asks about a descriptor that a process got already open.
OPEN = {
    "file_perm": ("use", "an open"),
    "file_inherit": ("use", "an inherited"),
    "file_receive": ("receive", "an open"),
    "file_mmap": ("map", "an open"),
}


def act_of(denial: Denial) -> Act:
    """What was tried with a socket."""
    family, kind = denial.get("family"), denial.get("sock_type")
    verb = VERBS.get(denial.operation, f"{readable(denial.operation, 40)} on")
    verb, which = OPEN.get(denial.operation, (verb, "a"))
    if denial.operation == "file_lock":
        return Act(
            f"lock {'a unix' if family == 'unix' else 'a'} socket",
            note="No rule helps: AppArmor's rules have no word for a lock on a socket. Programs "
            "that try it (systemd does) go on without it.",
        )
    if family not in vocabulary.FAMILIES:
        return Act(f"{verb} {which} socket", note=strange("kind of socket", family))
    if kind and kind not in vocabulary.SOCKETS:
        return Act(f"{verb} {which} socket", note=strange("type of socket", kind))
    if family == "unix":
        return _unix(denial, f"{verb} {which} unix socket", kind)
    words = f"{verb} {which} socket: {family} {kind}".rstrip()
    return Act(words, f"network {family} {kind},".replace(" ,", ","))


def _unix(denial: Denial, words: str, kind: str) -> Act:
    own, other = _address(denial, "addr"), _address(denial, "peer_addr")
    peer = denial.get("peer")
    shown = other or own
    words += f" {shown[0]}" if shown else ""
    words += f" of {readable(peer)}" if peer else ""
    ways = denial.mask.replace(",", " ").split()
    if not ways or not vocabulary.UNIX.issuperset(ways):
        return Act(words, note=strange("permission for a socket", denial.mask))
    conditions = [f"type={kind}"] if kind else []
    conditions += [f"addr={own[1]}"] if own else []
    others = [f"label={quoted(peers.label(denial))}"] if peer else []
    others += [f"addr={other[1]}"] if other else []
    # the parser takes a peer only for what is done to one
    to_one = [way for way in ways if way in channels.TO_PEERS]
    if others and to_one:
        ways = to_one
        conditions.append(f"peer=({','.join(others)})")
    rule = " ".join([f"unix ({', '.join(ways)})", *conditions])
    # what is only received of others, or done to the socket itself, reaches nobody
    reaches = not holes.PASSIVE["unix"].issuperset(ways)
    return Act(words, f"{rule},", reach="talks to" if reaches else "")


def _address(denial: Denial, key: str) -> tuple[str, str] | None:
    """An abstract address for people, and as a pattern; None: a socket in the file system.

    That is judged as a file. The @ stays as it is: by it the parser knows such an address.
    """
    address = denial.get(key)
    if not address.startswith("@"):
        return None
    if _AUTOMATIC.match(address):
        return "of an automatic address", '"@[0-9a-f]*"'
    name = _abstract(address[1:])
    parts: list[Part] = [Part("@", wild=True)]
    for text in re.split("(\0+|(?<=/)/+)", name):
        if text.startswith("\0"):
            # a rule cannot say a zero byte; in such a name its ? and * match one
            parts.append(Part("?" * len(text), wild=True) if len(text) < FEW else ANY)
        elif text.startswith("/") and parts[-1].text.endswith("/"):
            # the parser makes one slash of several, but not of this
            parts.append(Part("[/]" * len(text), wild=True))
        elif text:
            parts += generic(text)
    return readable(f"@{name}".rstrip("\0")), quoted(tuple(parts))


def _abstract(said: str) -> str:
    """An abstract name; one with a byte that cannot be printed is written in hex by the kernel.

    security/apparmor/lsm.c and audit.c, audit_unix_addr: in capitals, and within the quotes.
    """
    if not _HEX.match(said):
        return said
    raw = bytes.fromhex(said)
    printable = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
    return said if printable else raw.decode("utf-8", "surrogateescape")
