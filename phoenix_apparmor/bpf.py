"""Programs for Linux' BPF: their instructions, and bpf(2), of which Python has no call.

Written here as they are few and short: what compiles C to BPF (clang, libbpf, bcc) is larger than
all else that this package needs.
"""

import ctypes
import errno
import os
import struct
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# linux/bpf.h
PROG_LOAD, OBJ_PIN, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID = 5, 6, 8, 9, 13
OBJ_GET_INFO_BY_FD, PROG_QUERY, RAW_TRACEPOINT_OPEN, LINK_CREATE = 15, 16, 17, 28
# bpf(2) by the machine's name (asm/unistd.h). Both are little-endian.
NUMBERS = {"x86_64": 321, "aarch64": 280}
# What the kernel says where it has no such programs: none at all, none of this kind, none of this
# kind on this machine (524 is ENOTSUPP, which the kernel does not translate).
NO_WAY = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, 524)

# struct bpf_insn: operation, registers, offset, value; and the operations (Documentation/bpf/
# standardization/instruction-set.rst).
INSTRUCTION = struct.Struct("<BBhI")
SET, COPY, ADD, AND, CALL, END = 0xB7, 0xBF, 0x07, 0x57, 0x85, 0x95
SET_64, STORE_64, ZERO_64, GO = 0x18, 0x7B, 0x7A, 0x05
IF_VALUE, IF_NOT_VALUE, IF_BELOW, IF_ABOVE = 0x15, 0x55, 0xA5, 0x25
IF_VALUE_32, IF_NOT_VALUE_32 = 0x16, 0x56
IF_EQUAL, IF_NOT_EQUAL, IF_NOT_LESS = 0x1D, 0x5D, 0x3D
LOAD = {8: 0x79, 4: 0x61, 2: 0x69, 1: 0x71}
R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK = 0, 1, 2, 3, 4, 6, 7, 8, 9, 10


class Step(NamedTuple):
    """An instruction; goes_to: the name of the label that it may jump to."""

    operation: int
    to: int = 0
    by: int = 0
    offset: int = 0
    value: int = 0
    goes_to: str = ""


def set_64(register: int, value: int) -> tuple[Step, Step]:
    """What sets a register to a value of 64 bits, which takes the place of two."""
    return Step(SET_64, register, value=value), Step(0, value=value >> 32)


def if_not_text(at: int, text: bytes, goes_to: str) -> "Iterator[Step]":
    """What jumps if another text is on the stack. at: where, in bytes before its end. R1, R2."""
    done = 0
    while done < len(text):
        size = next(size for size in LOAD if len(text) - done >= size)
        yield Step(LOAD[size], R1, STACK, done - at)
        yield from set_64(R2, int.from_bytes(text[done : done + size], "little"))
        yield Step(IF_NOT_EQUAL, R1, R2, goes_to=goes_to)
        done += size


def assembled(steps: "Iterable[Step | str]") -> bytes:
    """The text of a program. A str is a label, the place of the step after it."""
    places: dict[str, int] = {}
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Step):
            found.append(step)
        else:
            places[step] = len(found)
    text = []
    for number, step in enumerate(found):
        offset = places[step.goes_to] - number - 1 if step.goes_to else step.offset
        registers = step.to | step.by << 4
        text.append(INSTRUCTION.pack(step.operation, registers, offset, step.value & 0xFFFFFFFF))
    return b"".join(text)


def load(
    text: bytes, kind: int, attached_as: int, name: bytes, license_: bytes, attached_to: int = 0
) -> int:
    """An open program. Raises OSError.

    kind, attached_as: linux/bpf.h, bpf_prog_type and bpf_attach_type. attached_to: the number of
    the kernel's function in its BTF.
    """
    instructions = ctypes.create_string_buffer(text, len(text))
    license_text = ctypes.create_string_buffer(license_)
    attributes = struct.pack(
        "=IIQQIIQII16sIIIIQIIQII",
        kind,
        len(text) // INSTRUCTION.size,
        ctypes.addressof(instructions),
        ctypes.addressof(license_text),
        *(0, 0, 0, 0, 0),
        name,
        0,
        attached_as,
        *(0, 0, 0, 0, 0, 0, 0),
        attached_to,
    )
    return call(PROG_LOAD, attributes)


def attach_to_function(program: int) -> int:
    """An open link: the kernel runs the program for as long as one has it open, or it is pinned.

    Raises OSError.
    """
    return call(RAW_TRACEPOINT_OPEN, struct.pack("=QII", 0, program, 0))


def pin(number: int, path: str) -> None:
    """Keeps it open by a name in a file system of type bpf. Raises OSError."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    call(OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), number, 0))


def reason(error: OSError) -> str:
    """In words."""
    if error.errno in NO_WAY:
        return "this kernel has no such BPF programs"
    return error.strerror or str(error)


def call(command: int, attributes: bytes) -> int:
    """What bpf(2) returns: an open file, or 0. Raises OSError."""
    number = NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    libc = ctypes.CDLL(None, use_errno=True)
    done: int = libc.syscall(number, command, attributes, len(attributes))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done
