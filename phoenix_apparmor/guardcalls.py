"""What a guarded container may say to bpf(2), socket(2) and modprobe: parts of programs. Pure.

Each ends where it is allowed; what is left goes to the label "who", or has come from there to
"guarded" (guardprogram.py).
"""

from phoenix_apparmor import bpf
from phoenix_apparmor.bpf import R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from phoenix_apparmor.guardprogram import Layout

# linux/bpf.h
BPF_FUNC_PROBE_READ_KERNEL, BPF_FUNC_PROBE_READ_KERNEL_STR = 113, 115
AF_NETLINK, NETLINK_RDMA, NETLINK_CRYPTO = 16, 20, 21  # linux/socket.h, linux/netlink.h

# Of bpf(2) in a container what gives its own ones devices, as runc, crun and systemd do it (runc
# tries first whether it may at all, with a program for packets): command -> where in union bpf_attr
# the program's kind or the place to attach it is, and which (BPF_PROG_TYPE_CGROUP_DEVICE and _SKB,
# BPF_CGROUP_DEVICE, _INET_INGRESS and _EGRESS). With others root in it would take ours off.
KINDS, PLACES = (15, 8), (6, 0, 1)
DEVICES = {
    bpf.PROG_LOAD: (0, KINDS),
    bpf.PROG_ATTACH: (8, PLACES),
    bpf.PROG_DETACH: (8, PLACES),
    bpf.PROG_QUERY: (4, PLACES),
    bpf.LINK_CREATE: (8, PLACES),
}
# And what they ask about such programs.
ABOUT = (bpf.PROG_GET_FD_BY_ID, bpf.OBJ_GET_INFO_BY_FD)

# What loads nbd: with it root in it attaches disks of its own to the host. (Where the host has
# loaded it itself, nothing is asked.)
MODULES = (b"net-pf-16-proto-16-family-nbd\0",)
LONGEST_NAME = 64
# Instructions of a program for devices: a rule of runc's takes six. (Of 8,192 branches that the
# kernel follows at once each takes six here, and time when the program is loaded.)
LONGEST = 1000
# Of an operation that loads, all but how much; of one that calls, all but by what.
ANY_SIZE, ANY_SOURCE = 0xE7, 0xF7


def what_is_made() -> "Iterator[Step | str]":
    """All sockets but those that set ciphers and RDMA cards for all of the host end here."""
    yield Step(bpf.LOAD[8], R2, R1)
    yield Step(bpf.IF_NOT_VALUE_32, R2, value=AF_NETLINK, goes_to="allowed")
    yield Step(bpf.LOAD[8], R2, R1, 16)
    for protocol in (NETLINK_RDMA, NETLINK_CRYPTO):
        yield Step(bpf.IF_VALUE_32, R2, value=protocol, goes_to="who")
    yield Step(bpf.GO, goes_to="allowed")


def what_is_loaded() -> "Iterator[Step | str]":
    """All of bpf(2) that is for devices ends here."""
    yield Step(bpf.LOAD[8], R2, R1)
    yield Step(bpf.LOAD[8], R3, R1, 8)
    for command, (offset, values) in DEVICES.items():
        yield Step(bpf.IF_NOT_VALUE_32, R2, value=command, goes_to=f"not {command}")
        yield Step(bpf.LOAD[4], R4, R3, offset)
        for value in values:
            yield Step(bpf.IF_VALUE_32, R4, value=value, goes_to="allowed")
        yield Step(bpf.GO, goes_to="who")
        yield f"not {command}"
    for command in ABOUT:
        yield Step(bpf.IF_VALUE_32, R2, value=command, goes_to="allowed")


def what_is_wanted() -> "Iterator[Step | str]":
    """All modules but those that no container has a use for end here."""
    yield Step(bpf.LOAD[8], R3, R1)
    for place in range(-LONGEST_NAME, 0, 8):
        yield Step(bpf.ZERO_64, STACK, offset=place)
    yield Step(bpf.COPY, R1, STACK)
    yield Step(bpf.ADD, R1, value=-LONGEST_NAME)
    yield Step(bpf.SET, R2, value=LONGEST_NAME)
    yield Step(bpf.CALL, value=BPF_FUNC_PROBE_READ_KERNEL_STR)
    for number, name in enumerate(MODULES):
        yield from bpf.if_not_text(LONGEST_NAME, name, f"not module {number}")
        yield Step(bpf.GO, goes_to="who")
        yield f"not module {number}"
    yield Step(bpf.GO, goes_to="allowed")


def what_it_does(at: "Layout") -> "Iterator[Step | str]":
    """All programs that only compute, jump and look at what they are asked about end here.

    Others can read the kernel's memory: by what they call, by pointers that are given to them
    (which are read in a mode of its own, once the kernel has verified it) or by a stack that
    holds what was there before. R6: the program, as the kernel has verified and changed it.
    """
    yield "guarded"
    yield Step(bpf.LOAD[4], R9, R6, at.program_length)
    # Its address as a number, with which a loop can count.
    yield Step(bpf.LOAD[8], R3, R6, at.program_aux)
    yield Step(bpf.ADD, R3, value=at.aux_program)
    yield from _read(8)
    yield Step(bpf.LOAD[8], R8, STACK, -8)
    yield Step(bpf.ADD, R8, value=at.program_text)
    yield Step(bpf.SET, R7)
    yield "next"
    yield Step(bpf.IF_NOT_LESS, R7, R9, goes_to="allowed")
    yield Step(bpf.IF_ABOVE, R7, value=LONGEST, goes_to="forbidden")
    yield Step(bpf.COPY, R3, R8)
    yield from _read(2)
    yield Step(bpf.LOAD[1], R1, STACK, -7)
    yield Step(bpf.AND, R1, value=0xF0)
    yield Step(bpf.IF_VALUE, R1, value=STACK << 4, goes_to="forbidden")
    yield Step(bpf.LOAD[1], R1, STACK, -8)
    yield Step(bpf.COPY, R2, R1)
    yield Step(bpf.AND, R2, value=ANY_SIZE)
    yield Step(bpf.IF_VALUE, R2, value=bpf.LOAD[4] & ANY_SIZE, goes_to="harmless")
    yield Step(bpf.COPY, R2, R1)
    # (All classes but those that load and store have this bit.)
    yield Step(bpf.AND, R2, value=0x04)
    yield Step(bpf.IF_VALUE, R2, goes_to="forbidden")
    yield Step(bpf.AND, R1, value=ANY_SOURCE)
    yield Step(bpf.IF_VALUE, R1, value=bpf.CALL & ANY_SOURCE, goes_to="forbidden")
    yield "harmless"
    yield Step(bpf.ADD, R8, value=bpf.INSTRUCTION.size)
    yield Step(bpf.ADD, R7, value=1)
    yield Step(bpf.GO, goes_to="next")


def _read(size: int) -> "Iterator[Step]":
    """Bytes at the address in R3, to where the stack begins."""
    yield Step(bpf.COPY, R1, STACK)
    yield Step(bpf.ADD, R1, value=-8)
    yield Step(bpf.SET, R2, value=size)
    yield Step(bpf.CALL, value=BPF_FUNC_PROBE_READ_KERNEL)
    yield Step(bpf.IF_NOT_VALUE, R0, goes_to="forbidden")
