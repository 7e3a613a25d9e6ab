"""Programs that the kernel asks what root of a guarded container may open: texts. Pure.

Where and why they are asked: kernelguard.py. A file's own name in its file system is what they go
by: nobody in a container gives a file of procfs or sysfs another one.

They look at processes of guarded containers only: whose cgroup, or one of those above it, has the
program of sysctlguard.py. Nothing is kept for each container.
"""

import errno
import struct
from typing import NamedTuple

from phoenix_apparmor import bpf, btf, guardcalls
from phoenix_apparmor.bpf import R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK, Step
from phoenix_apparmor.sysctlguard import NAME as MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The kernel's functions: of a file, of paths, of a socket, of bpf(2) and its programs, of a module
# that is to be loaded (include/linux/security.h).
OPENED, MADE = "security_file_open", "security_socket_create"
ASKED_BPF, GIVEN = "security_bpf", "security_bpf_prog"
WANTED = "security_kernel_module_request"
CHANGED = ("security_path_chmod", "security_path_chown", "security_path_mkdir")
FUNCTIONS = (OPENED, *CHANGED, MADE, ASKED_BPF, GIVEN, WANTED)

# linux/bpf.h
BPF_FUNC_GET_CURRENT_TASK_BTF = 158
FMODE_WRITE = 2  # linux/fs.h
# linux/magic.h and where these are in the kernel
PROC, SYSFS, SECURITYFS = 0x9FA0, 0x62656572, 0x73636673
# debugfs, tracefs, configfs, efivarfs, fusectl, binfmt_misc: nothing in them is the container's.
HOSTS = (0x64626720, 0x74726163, 0x62656570, 0xDE5E81E4, 0x65735543, 0x42494E4D)

# In how many cgroups, from a process's own upwards, and among how many programs there the mark is
# looked for. (A cgroup's own come before those of the one above it.)
CGROUPS, PROGRAMS = 12, 2
# Folders above a file: those of a network card's queues behind some bridges are ten.
DEEPEST = 12


class Layout(NamedTuple):
    """Where this kernel has what the programs read; in bytes, but for the first two."""

    functions: dict[str, int]
    """Name -> number in the kernel's BTF."""
    sysctl: int
    """The number of a cgroup's programs for sysctls among its kinds."""
    file_mode: int
    file_inode: int
    file_path: int
    path_dentry: int
    inode_superblock: int
    superblock_magic: int
    dentry_inode: int
    dentry_parent: int
    dentry_length: int
    dentry_name: int
    task_cgroups: int
    set_cgroup: int
    cgroup_parent: int
    part_cgroup: int
    cgroup_programs: int
    array_items: int
    item_size: int
    item_program: int
    program_aux: int
    program_length: int
    program_text: int
    aux_program: int
    aux_name: int


def layout(data: bytes) -> Layout:
    """What the kernel's BTF says. Raises btf.UnknownError."""
    names = (
        *("file", "path", "inode", "super_block", "dentry", "qstr", "task_struct", "css_set"),
        *("cgroup", "cgroup_subsys_state", "cgroup_bpf", "cgroup_bpf_attach_type"),
        *("bpf_prog_array", "bpf_prog_array_item", "bpf_prog", "bpf_prog_aux", *FUNCTIONS),
    )
    types = btf.Types(data, names)
    at = types.offset
    return Layout(
        {name: types.function(name) for name in FUNCTIONS},
        types.value("cgroup_bpf_attach_type", "CGROUP_SYSCTL"),
        at("file", "f_mode"),
        at("file", "f_inode"),
        at("file", "f_path"),
        at("path", "dentry"),
        at("inode", "i_sb"),
        at("super_block", "s_magic"),
        at("dentry", "d_inode"),
        at("dentry", "d_parent"),
        at("dentry", "d_name") + at("qstr", "len"),
        # (d_shortname since Linux 6.14. Both hold names of less than 32 letters.)
        at("dentry", "d_iname", "d_shortname"),
        at("task_struct", "cgroups"),
        at("css_set", "dfl_cgrp"),
        at("cgroup", "self") + at("cgroup_subsys_state", "parent"),
        at("cgroup_subsys_state", "cgroup"),
        at("cgroup", "bpf") + at("cgroup_bpf", "effective"),
        at("bpf_prog_array", "items"),
        types.size("bpf_prog_array_item"),
        at("bpf_prog_array_item", "prog"),
        at("bpf_prog", "aux"),
        at("bpf_prog", "len"),
        at("bpf_prog", "insnsi"),
        at("bpf_prog_aux", "prog"),
        at("bpf_prog_aux", "name"),
    )


def program(at: Layout, function: str) -> bytes:
    """What the kernel runs before one of its functions: 0 leaves it to AppArmor."""
    steps: Iterable[Step | str] = ()
    if function == MADE:
        steps = (*guardcalls.what_is_made(), *_who_asks(at), "guarded")
    elif function == ASKED_BPF:
        steps = (*guardcalls.what_is_loaded(), *_who_asks(at), "guarded")
    elif function == GIVEN:
        steps = (Step(bpf.LOAD[8], R6, R1), *_who_asks(at), *guardcalls.what_it_does(at))
    elif function == WANTED:
        steps = (*guardcalls.what_is_wanted(), *_who_asks(at), "guarded")
    else:
        what = _what_is_opened(at) if function == OPENED else _what_is_changed(at)
        steps = (*what, *_who_asks(at), *_where_it_is(at), *_is_its_own(at))
    return bpf.assembled(
        (
            *steps,
            "forbidden",
            Step(bpf.SET, R0, value=-errno.EPERM),
            Step(bpf.END),
            "allowed",
            Step(bpf.SET, R0),
            Step(bpf.END),
        )
    )


def _what_is_changed(at: Layout) -> "Iterator[Step | str]":
    """R6: the dentry of a file of the kernel's, R9: the kind of its file system, 0: not to be read.

    Of a new folder, the one that it is made in. All other files end here.
    """
    yield Step(bpf.LOAD[8], R7, R1)
    yield Step(bpf.LOAD[8], R6, R7, at.path_dentry)
    yield Step(bpf.LOAD[8], R1, R6, at.dentry_inode)
    yield Step(bpf.LOAD[8], R1, R1, at.inode_superblock)
    yield Step(bpf.LOAD[8], R9, R1, at.superblock_magic)
    yield from _if_kernels()


def _if_kernels() -> "Iterator[Step | str]":
    for kind in (PROC, SYSFS, SECURITYFS, *HOSTS):
        yield Step(bpf.IF_VALUE_32, R9, value=kind, goes_to="who")
    yield Step(bpf.GO, goes_to="allowed")


def _what_is_opened(at: Layout) -> "Iterator[Step | str]":
    """The same of an open file."""
    yield Step(bpf.LOAD[8], R7, R1)
    yield Step(bpf.LOAD[8], R6, R7, at.file_path + at.path_dentry)
    yield Step(bpf.LOAD[8], R1, R7, at.file_inode)
    yield Step(bpf.LOAD[8], R1, R1, at.inode_superblock)
    yield Step(bpf.LOAD[8], R9, R1, at.superblock_magic)
    yield Step(bpf.LOAD[4], R2, R7, at.file_mode)
    yield Step(bpf.AND, R2, value=FMODE_WRITE)
    yield Step(bpf.IF_NOT_VALUE, R2, goes_to="written")
    # Memory of devices and keys of disks, then that of the kernel and of the machine, and what
    # ioctl(2) changes without writing.
    yield Step(bpf.IF_VALUE_32, R9, value=SYSFS, goes_to="sysfs read")
    yield Step(bpf.IF_VALUE_32, R9, value=PROC, goes_to="proc read")
    yield Step(bpf.GO, goes_to="allowed")
    yield "sysfs read"
    yield Step(bpf.SET, R9)
    yield from _begins(at, R6, (b"resource", b"password", b"dhchap_"), "not read")
    yield Step(bpf.GO, goes_to="allowed")
    yield "not read"
    # (The file "resource" has no memory: it says where that is.)
    yield from _is_name(at, R6, b"resource", "allowed")
    yield Step(bpf.GO, goes_to="who")
    yield "proc read"
    yield Step(bpf.SET, R9)
    yield Step(bpf.LOAD[8], R1, R6, at.dentry_parent)
    yield Step(bpf.LOAD[8], R2, R1, at.dentry_parent)
    yield Step(bpf.IF_NOT_EQUAL, R1, R2, goes_to="allowed")
    yield from _begins(at, R6, (b"kcor", b"kmsg", b"kpag", b"keys", b"iome", b"mtrr"), "who")
    yield Step(bpf.GO, goes_to="allowed")
    yield "written"
    yield from _if_kernels()


def _who_asks(at: Layout) -> "Iterator[Step | str]":
    """Those who are in no guarded container end here.

    Upwards, a cgroup after the other: the verifier does not follow cgroup.ancestors, an array of
    pointers whose length is not in its type.
    """
    first, second = struct.unpack("<QQ", MARK.ljust(16, b"\0"))
    yield "who"
    yield Step(bpf.CALL, value=BPF_FUNC_GET_CURRENT_TASK_BTF)
    yield Step(bpf.LOAD[8], R7, R0, at.task_cgroups)
    yield Step(bpf.LOAD[8], R7, R7, at.set_cgroup)
    for level in range(CGROUPS):
        yield Step(bpf.LOAD[8], R1, R7, at.cgroup_programs + 8 * at.sysctl)
        for number in range(PROGRAMS):
            item = at.array_items + at.item_size * number
            yield Step(bpf.LOAD[8], R2, R1, item + at.item_program)
            yield Step(bpf.IF_VALUE, R2, goes_to=f"above {level}")
            yield Step(bpf.LOAD[8], R2, R2, at.program_aux)
            for part, value in ((0, first), (8, second)):
                yield Step(bpf.LOAD[8], R3, R2, at.aux_name + part)
                yield from bpf.set_64(R4, value)
                yield Step(bpf.IF_NOT_EQUAL, R3, R4, goes_to=f"after {level} {number}")
            yield Step(bpf.GO, goes_to="guarded")
            yield f"after {level} {number}"
        yield f"above {level}"
        yield Step(bpf.LOAD[8], R7, R7, at.cgroup_parent)
        yield Step(bpf.IF_VALUE, R7, goes_to="allowed")
        yield Step(bpf.LOAD[8], R7, R7, at.part_cgroup)
    yield Step(bpf.GO, goes_to="allowed")


def _where_it_is(at: Layout) -> "Iterator[Step | str]":
    """R8: the dentry of the topmost folder in its file system, R7 and R6: the two below that."""
    yield "guarded"
    for kind in (0, *HOSTS):
        yield Step(bpf.IF_VALUE_32, R9, value=kind, goes_to="forbidden")
    yield Step(bpf.STORE_64, STACK, R6, -8)
    yield Step(bpf.COPY, R7, R6)
    yield Step(bpf.COPY, R8, R6)
    for _ in range(DEEPEST):
        yield Step(bpf.LOAD[8], R1, R8, at.dentry_parent)
        yield Step(bpf.LOAD[8], R2, R1, at.dentry_parent)
        yield Step(bpf.IF_EQUAL, R1, R2, goes_to="found")
        yield Step(bpf.COPY, R6, R7)
        yield Step(bpf.COPY, R7, R8)
        yield Step(bpf.COPY, R8, R1)
    yield Step(bpf.GO, goes_to="forbidden")


def _is_its_own(at: Layout) -> "Iterator[Step | str]":
    """What the profiles' abstractions let be written: processes and their network interfaces."""
    yield "found"
    yield Step(bpf.IF_VALUE_32, R9, value=SYSFS, goes_to="sysfs")
    yield Step(bpf.IF_VALUE_32, R9, value=SECURITYFS, goes_to="securityfs")
    # /proc/PID; at those in /proc/sys the program of the cgroup looks.
    yield Step(bpf.LOAD[1], R1, R8, at.dentry_name)
    yield Step(bpf.IF_BELOW, R1, value=ord("0"), goes_to="no process")
    yield Step(bpf.IF_ABOVE, R1, value=ord("9"), goes_to="no process")
    # (Not …/net/rpc/CACHE/channel: there the kernel's NFS server is told what it may export.)
    yield Step(bpf.LOAD[8], R6, STACK, -8)
    yield Step(bpf.LOAD[8], R6, R6, at.dentry_parent)
    yield Step(bpf.LOAD[8], R6, R6, at.dentry_parent)
    yield from _is_name(at, R6, b"rpc", "forbidden")
    yield Step(bpf.GO, goes_to="allowed")
    yield "no process"
    yield from _is_name(at, R8, b"sys", "allowed")
    yield from _is_name(at, R8, b"pressure", "allowed")
    yield Step(bpf.GO, goes_to="forbidden")
    yield "sysfs"
    yield from _is_name(at, R8, b"devices", "devices")
    yield Step(bpf.GO, goes_to="forbidden")
    yield "devices"
    yield from _is_name(at, R7, b"virtual", "virtual")
    yield Step(bpf.GO, goes_to="forbidden")
    yield "virtual"
    # (The folder itself, its mode, is the host's too.)
    yield Step(bpf.LOAD[8], R1, STACK, -8)
    yield Step(bpf.IF_EQUAL, R1, R6, goes_to="forbidden")
    yield from _is_name(at, R6, b"net", "allowed")
    yield Step(bpf.GO, goes_to="forbidden")
    # The container's own policy namespace.
    yield "securityfs"
    yield from _is_name(at, R8, b"apparmor", "allowed")


def _is_name(at: Layout, dentry: int, name: bytes, then: str) -> "Iterator[Step | str]":
    end = f"not {name.decode()} {then}"
    yield Step(bpf.LOAD[4], R1, dentry, at.dentry_length)
    yield Step(bpf.IF_NOT_VALUE, R1, value=len(name), goes_to=end)
    # (It is followed by a zero.)
    size = 4 if len(name) < 4 else 8
    yield Step(bpf.LOAD[size], R1, dentry, at.dentry_name)
    yield from bpf.set_64(R2, int.from_bytes(name.ljust(size, b"\0"), "little"))
    yield Step(bpf.IF_EQUAL, R1, R2, goes_to=then)
    yield end


def _begins(at: Layout, dentry: int, names: "Iterable[bytes]", then: str) -> "Iterator[Step | str]":
    """names: of four, seven or eight letters."""
    for name in names:
        yield Step(bpf.LOAD[4], R1, dentry, at.dentry_name)
        yield from bpf.set_64(R2, int.from_bytes(name[:4], "little"))
        yield Step(bpf.IF_NOT_EQUAL, R1, R2, goes_to=f"other than {name.decode()}")
        if len(name) > 4:
            yield Step(bpf.LOAD[4], R1, dentry, at.dentry_name + len(name) - 4)
            yield from bpf.set_64(R2, int.from_bytes(name[-4:], "little"))
            yield Step(bpf.IF_NOT_EQUAL, R1, R2, goes_to=f"other than {name.decode()}")
        yield Step(bpf.GO, goes_to=then)
        yield f"other than {name.decode()}"
