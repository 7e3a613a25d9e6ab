"""Which sysctls root of a privileged container may write, whatever their path is.

There AppArmor is the only guard, and it goes by paths: a bind mount whose source is looked up twice
gives a file of /proc/sys any name (see SECURITY.md). The kernel asks a BPF program of the cgroup by
the sysctl's own name (Linux 5.2, Documentation/bpf/prog_cgroup_sysctl.rst), in all of its mounts.
Only bpf(2) takes the program off. The seccomp policy of base does not have it; that of docker
does, for Docker's own programs, but who takes one off needs its cgroup, which is above the
container's.
"""

import ctypes
import errno
import os
import struct

from phoenix_apparmor.errors import PhoenixError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from phoenix_apparmor.shares import Line

# The container's own: what the profiles' abstractions let be written below /proc/sys. One
# that ends in a star stands for all that begin so.
ALLOWED = (
    b"net/*",
    b"kernel/hostname",
    b"kernel/domainname",
    b"kernel/msg*",
    b"kernel/sem*",
    b"kernel/shm*",
)
# One setting for all network namespaces.
NOT_ALLOWED = (b"net/netfilter/nf_hooks_lwtunnel",)

# Where cgroup v2 is, alone or beside v1 (cgroups(7)).
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")

# linux/bpf.h
BPF_PROG_LOAD, BPF_PROG_ATTACH = 5, 8
BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_CGROUP_SYSCTL, BPF_F_ALLOW_MULTI = 23, 18, 2
BPF_FUNC_SYSCTL_GET_NAME = 101
# bpf(2) by the machine's name, as Python has no call of it (asm/unistd.h). Both are little-endian.
NUMBERS = {"x86_64": 321, "aarch64": 280}
# More than the name of any sysctl has.
LONGEST = 128

# struct bpf_insn: operation, registers, offset, value; and the operations (Documentation/bpf/
# standardization/instruction-set.rst).
INSTRUCTION = struct.Struct("<BBhI")
SET, COPY, ADD, CALL, END = 0xB7, 0xBF, 0x07, 0x85, 0x95
SET_64, ZERO_64, IF_NOT_VALUE, IF_NOT_EQUAL = 0x18, 0x7A, 0x55, 0x5D
LOAD = {8: 0x79, 4: 0x61, 2: 0x69, 1: 0x71}
R0, R1, R2, R3, R4, R6, STACK = 0, 1, 2, 3, 4, 6, 10


def _instruction(
    operation: int, to: int = 0, by: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    return INSTRUCTION.pack(operation, to | by << 4, offset, value & 0xFFFFFFFF)


def _answer(value: int) -> bytes:
    return _instruction(SET, R0, value=value) + _instruction(END)


def _if_name_is(name: bytes, then: bytes) -> bytes:
    """What then says, and that ends it, if the name on the stack is this one or begins so."""
    wanted = name[:-1] if name.endswith(b"*") else name + b"\0"
    parts, at = [], 0
    while at < len(wanted):
        size = next(size for size in LOAD if len(wanted) - at >= size)
        value = int.from_bytes(wanted[at : at + size], "little")
        parts.append(
            _instruction(LOAD[size], R1, STACK, at - LONGEST)
            + _instruction(SET_64, R2, value=value)
            + _instruction(0, value=value >> 32)
        )
        at += size
    text = then
    for part in reversed(parts):
        text = part + _instruction(IF_NOT_EQUAL, R1, R2, len(text) // INSTRUCTION.size) + text
    return text


def program() -> bytes:
    """What the kernel runs at each access to a sysctl: 1 allows it."""
    begin = (
        _instruction(COPY, R6, R1),
        _instruction(LOAD[4], R1, R6),  # struct bpf_sysctl: write
        _instruction(IF_NOT_VALUE, R1, offset=2),
        _answer(1),
        *(_instruction(ZERO_64, STACK, offset=at) for at in range(-LONGEST, 0, 8)),
        _instruction(COPY, R1, R6),
        _instruction(COPY, R2, STACK),
        _instruction(ADD, R2, value=-LONGEST),
        _instruction(SET, R3, value=LONGEST),
        _instruction(SET, R4),
        _instruction(CALL, value=BPF_FUNC_SYSCTL_GET_NAME),
    )
    answers = [(name, 0) for name in NOT_ALLOWED] + [(name, 1) for name in ALLOWED]
    names = (_if_name_is(name, _answer(answer)) for name, answer in answers)
    return b"".join((*begin, *names, _answer(0)))


def guard(pid: int, ctid: str, lines: "Iterable[Line]") -> None:
    """Attaches the program to the cgroup of a container's init-to-be. lines: shares.mounts.

    Raises PhoenixError; its status is 0 where the start may go on, as this host has no way to.
    """
    try:
        top, name = _own_cgroup(pid, ctid)
        cgroup = os.open(top + name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _attach(_load(program()), cgroup)
        if os.path.samefile(f"/proc/{pid}/ns/cgroup", "/proc/self/ns/cgroup"):
            raise _no_way("it has the host's cgroup namespace, and so can leave its cgroup")
        _check_reach(pid, name, lines)
    except OSError as error:
        raise PhoenixError(
            f"its cgroup cannot be kept from the host's sysctls: {error.strerror}.",
            hint="Start it again; if that fails too: journalctl -k",
        ) from error


def _no_way(why: str) -> PhoenixError:
    return PhoenixError(
        f"the host's sysctls are closed to it by its profile alone: {why}.",
        hint="See SECURITY.md, or make it unprivileged.",
        status=0,
    )


def _check_reach(pid: int, name: str, lines: "Iterable[Line]") -> None:
    """Raises PhoenixError, with status 0, where root in it gets at cgroups that are not its own.

    LXC's monitor hands an open cgroup to root of the host who asks at its abstract socket
    (commands.c, LXC_CMD_GET_LIMIT_CGROUP2_FD), and these belong to a network namespace (unix(7)).
    """
    why = ""
    if os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net"):
        why = "in the host's network namespace LXC's own socket gives them to it"
    for _, _, _, root, mounted, _, kind in lines:
        within = os.fsdecode(root).rstrip("/") + "/"
        if kind == b"cgroup2" and not within.startswith(f"{name}/"):
            why = f"they are mounted on {os.fsdecode(mounted)}"
    if why:
        raise PhoenixError(
            "root in it reaches cgroups of the host, and can take away there what keeps it from "
            f"the host's sysctls: {why}.",
            hint="Give it a network of its own and no cgroups of the host, or make it "
            "unprivileged. See SECURITY.md.",
            status=0,
        )


def _own_cgroup(pid: int, ctid: str) -> tuple[str, str]:
    """Where cgroups are, and the name of the one that LXC made for a container.

    Raises PhoenixError, OSError.

    Proxmox has another one in it (/lxc/CTID/ns: PVE/LXC.pm, lxc.cgroup.dir.container.inner), which
    is the top of what the container sees; LXC's own program for devices is on the outer one, too.
    This process, a hook, is in that of LXC's monitor.
    """
    name, hooks = _cgroup(str(pid)), _cgroup("self")
    for root in CGROUPS:
        if name is not None and os.path.exists(f"{root}/cgroup.procs"):
            if name in ("/", hooks):
                raise _no_way(f"it has no cgroup of its own, but is in {name}")
            outer, _, _ = name.rpartition("/")
            # (CTID-1 where one was left of a start before: LXC, cgfsng.c.)
            is_its_own = outer.rpartition("/")[2].partition("-")[0] == ctid
            has_hook = f"{hooks}/".startswith(f"{outer}/")
            return root, outer if is_its_own and not has_hook else name
    raise _no_way("this host has no cgroup v2")


def _cgroup(process: str) -> str | None:
    """The name of its cgroup v2 (cgroups(7)), None if there is none. Raises OSError."""
    with open(f"/proc/{process}/cgroup", "rb") as file:
        names = [line[3:] for line in file.read().splitlines() if line.startswith(b"0::")]
    return os.fsdecode(names[0]) if names else None


def _load(text: bytes) -> int:
    """An open program. Raises PhoenixError, OSError."""
    instructions = ctypes.create_string_buffer(text, len(text))
    license_ = ctypes.create_string_buffer(b"MIT")
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        BPF_PROG_TYPE_CGROUP_SYSCTL,
        len(text) // INSTRUCTION.size,
        ctypes.addressof(instructions),
        ctypes.addressof(license_),
        *(0, 0, 0, 0, 0),
        b"phoenix_sysctls",
        0,
        BPF_CGROUP_SYSCTL,
    )
    try:
        return _bpf(BPF_PROG_LOAD, attributes)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            raise _no_way("this kernel has no BPF programs for cgroups") from error
        raise


def _attach(program: int, cgroup: int) -> None:
    attributes = struct.pack("=IIIII", cgroup, program, BPF_CGROUP_SYSCTL, BPF_F_ALLOW_MULTI, 0)
    _bpf(BPF_PROG_ATTACH, attributes)


def _bpf(command: int, attributes: bytes) -> int:
    number = NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    libc = ctypes.CDLL(None, use_errno=True)
    done: int = libc.syscall(number, command, attributes, len(attributes))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done
