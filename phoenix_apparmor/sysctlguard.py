"""Which sysctls root of a privileged container may write, whatever their path is.

There AppArmor is the only guard, and it goes by paths: a bind mount whose source is looked up twice
gives a file of /proc/sys any name (see SECURITY.md). The kernel asks a BPF program of the cgroup by
the sysctl's own name (Linux 5.2, Documentation/bpf/prog_cgroup_sysctl.rst), in all of its mounts.
Only bpf(2) takes the program off. The seccomp policy of base does not have it; that of docker
does, for Docker's own programs, but who takes one off needs its cgroup, which is above the
container's.
"""

import os
import struct

from phoenix_apparmor import bpf
from phoenix_apparmor.bpf import R0, R1, R2, R3, R4, R6, STACK, Step
from phoenix_apparmor.errors import PhoenixError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_CGROUP_SYSCTL, BPF_F_ALLOW_MULTI = 23, 18, 2
BPF_FUNC_SYSCTL_GET_NAME = 101
# By which kernelguard.py knows a guarded container's processes. At most 15 letters.
NAME = b"phoenix_sysctls"
# More than the name of any sysctl has.
LONGEST = 128


def _answer(value: int) -> "tuple[Step, Step]":
    return Step(bpf.SET, R0, value=value), Step(bpf.END)


def _if_name_is(name: bytes, answer: int) -> "Iterator[Step | str]":
    """Ends with this answer if the name on the stack is this one or begins so."""
    wanted = name[:-1] if name.endswith(b"*") else name + b"\0"
    end = f"not {name.decode()}"
    yield from bpf.if_not_text(LONGEST, wanted, end)
    yield from _answer(answer)
    yield end


def program() -> bytes:
    """What the kernel runs at each access to a sysctl: 1 allows it."""
    answers = [(name, 0) for name in NOT_ALLOWED] + [(name, 1) for name in ALLOWED]
    return bpf.assembled(
        (
            Step(bpf.COPY, R6, R1),
            Step(bpf.LOAD[4], R1, R6),  # struct bpf_sysctl: write
            Step(bpf.IF_NOT_VALUE, R1, goes_to="is written"),
            *_answer(1),
            "is written",
            *(Step(bpf.ZERO_64, STACK, offset=at) for at in range(-LONGEST, 0, 8)),
            Step(bpf.COPY, R1, R6),
            Step(bpf.COPY, R2, STACK),
            Step(bpf.ADD, R2, value=-LONGEST),
            Step(bpf.SET, R3, value=LONGEST),
            Step(bpf.SET, R4),
            Step(bpf.CALL, value=BPF_FUNC_SYSCTL_GET_NAME),
            *(step for name, answer in answers for step in _if_name_is(name, answer)),
            *_answer(0),
        )
    )


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
    try:
        return bpf.load(text, BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_CGROUP_SYSCTL, NAME, b"MIT")
    except OSError as error:
        if error.errno in bpf.NO_WAY:
            raise _no_way("this kernel has no BPF programs for cgroups") from error
        raise


def _attach(program: int, cgroup: int) -> None:
    attributes = struct.pack("=IIIII", cgroup, program, BPF_CGROUP_SYSCTL, BPF_F_ALLOW_MULTI, 0)
    bpf.call(bpf.PROG_ATTACH, attributes)
