r"""The text of a profile made for one container, of that of its assigned one. Pure, no imports.

A start that has nothing to do makes the text again and compares, so this is on the hot path.
The profile's file is taken as it is, but for the line that names the profile:

    profile lxc-x flags=(attach_disconnected) {      profile lxc-x.952.trial flags=(complain,…) {

and the container's own rules behind it. What the file includes, local/ too, is included still.
"""

# In a stack the peer's label is the whole stack (kernel, security/apparmor/label.c), which
# peer=@{profile_name} alone does not match. So a trial has twins of such rules, and no others:
# what the profile would refuse between the container's own processes has to be seen. These are
# the rules of abstractions, in which the text is not read.
PEERS = {
    b"<abstractions/phoenix/container>": (
        b"  signal peer=@{profile_name},",
        b"  ptrace peer=@{profile_name},",
        b"  unix peer=(label=@{profile_name}),",
    ),
    b"<abstractions/base>": (
        b"  signal peer=@{profile_name},",
        b"  ptrace (read) peer=@{profile_name},",
        b"  unix peer=(label=@{profile_name}),",
    ),
}
KINDS = (b"signal", b"ptrace", b"unix", b"dbus")
BEFORE = (b"allow", b"audit", b"deny")
OWN = b"@{profile_name}"


def text_of(
    file: bytes, profile: str, name: str, rules: "Iterable[str]", *, trial: bool
) -> bytes | None:
    """The text of variant name of a profile; None: the file is not of the form that we can use.

    That is: one top-level profile, whose line has its name, its flags and its brace.
    """
    lines = file.split(b"\n")
    heads = [
        number for number, line in enumerate(lines) if line.startswith((b"profile ", b"profile\t"))
    ]
    if len(heads) != 1:
        return None
    head = lines[heads[0]]
    start = b"profile " + profile.encode()
    if not head.startswith(start) or head[len(start) : len(start) + 1] not in (b" ", b"{", b"("):
        return None
    rest = head[len(start) :].rstrip()
    if not rest.endswith(b"{"):
        return None
    if trial:
        before, flags, after = rest.partition(b"flags=(")
        rest = (
            before + flags + b"complain," + after if flags else rest[:-1] + b" flags=(complain) {"
        )
    own = [b"  " + rule.encode("utf-8", "surrogateescape") for rule in rules]
    twins = [*_twins(lines[heads[0] + 1 :], own)] if trial else []
    lines[heads[0]] = b"profile " + name.encode() + rest
    lines.insert(heads[0] + 1, b"".join(line + b"\n" for line in (*twins, *own)))
    return b"\n".join(lines)


def _twins(lines: "list[bytes]", own: "list[bytes]") -> "Iterator[bytes]":
    """Rules for peers of the same profile, as they are for labels that are stacks.

    lines: those behind the one that names the profile.
    """
    for line in (*_of_profile(lines), *own):
        words = line.split()
        while words and words[0] in BEFORE:
            words.pop(0)
        whole = line.endswith(b",") and line.count(b'"') % 2 == 0
        if whole and words and words[0] in KINDS and OWN in line and OWN + b"//" not in line:
            yield line.replace(OWN, OWN + b"//&**")
            yield line.replace(OWN, b"**//&" + OWN)


def _of_profile(lines: "list[bytes]") -> "Iterator[bytes]":
    """Lines of the profile itself: not of a child, whose denies are not its own; no comments."""
    depth = 1
    for line in lines:
        stripped = line.strip().removeprefix(b"#" if line.split()[:1] == [b"#include"] else b"")
        code = stripped.partition(b"#")[0].rstrip()
        before, plain = depth, code.replace(b"\\{", b"").replace(b"\\}", b"")
        depth += plain.count(b"{") - plain.count(b"}")
        if before != 1 or depth != 1:
            continue
        if code.startswith(b"include "):
            yield from PEERS.get(code.split()[-1], ())
        else:
            yield b"  " + code


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
