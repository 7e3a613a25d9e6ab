"""Who attacks: root in privileged and unprivileged containers under six confinements.

And in one with no confinement of any kind, which shows that a trick that LXC's other locks stop
everywhere else (devices, capabilities, system calls) is one that works; and in one with our
profile but not its seccomp policy, which shows what needs the latter.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.names import BASE, DOCKER

# As in the templates that mount it, and a folder that an admin shares: more to try.
MOUNTS = (
    "lxc.mount.entry: /sys/kernel/security sys/kernel/security none bind,create=dir,optional 0 0\n"
    "lxc.mount.entry: /var/lib/standin attack-host none bind,create=dir 0 0\n"
    "lxc.mount.entry: /var/lib/attack-ro attack-ro none bind,ro,create=dir 0 0\n"
)
NOTHING = """\
lxc.apparmor.profile: unconfined
lxc.cap.drop:
lxc.seccomp.profile:
lxc.cgroup2.devices.allow: a
lxc.namespace.clone: mnt pid uts ipc net
lxc.mount.auto:
lxc.mount.auto: proc:rw sys:rw
"""


class Column(NamedTuple):
    """A container that runs the program."""

    ctid: int
    key: str
    title: str
    unprivileged: bool
    assigned: str | None = None  # by the JSON; None: not managed by us
    more: str = ""  # lines of its .conf
    label: str = ""  # how its label begins, as the host's kernel says it
    trial: bool = False  # "apparmor_mode": "trial"

    @property
    def ours(self) -> bool:
        return self.assigned is not None


def _kind(first: int, word: str, unprivileged: bool) -> tuple[Column, ...]:
    default = "lxc-container-default-cgns"

    def column(
        number: int, key: str, title: str, assigned: str | None, more: str, label: str
    ) -> Column:
        ctid = first + number
        return Column(ctid, f"{word}-{key}", title, unprivileged, assigned, more + MOUNTS, label)

    generated = f"lxc-{first + 3}_</var/lib/lxc>"
    nesting = f"lxc-{first + 4}_</var/lib/lxc>"
    return (
        column(0, "base", BASE, BASE, "", BASE),
        column(1, "docker", DOCKER, DOCKER, "", DOCKER),
        column(2, "default", "LXC's default", None, f"lxc.apparmor.profile: {default}\n", default),
        column(3, "generated", "generated", None, "", generated),
        column(4, "nesting", "generated, nesting", None, "features: nesting=1\n", nesting),
        column(5, "unconfined", "unconfined", None, "lxc.apparmor.profile: unconfined\n", "unconf"),
    )


COLUMNS = _kind(400, "privileged", unprivileged=False) + _kind(
    410, "unprivileged", unprivileged=True
)
BARE = Column(
    420, "privileged-bare", "unconfined, no other lock", False, None, NOTHING + MOUNTS, "unconf"
)
# What the profiles stop by themselves: in containers with LXC's own seccomp policy.
ALONE = Column(
    421,
    "privileged-alone",
    f"{DOCKER}, without its seccomp policy",
    False,
    DOCKER,
    "lxc.seccomp.profile: /usr/share/lxc/config/common.seccomp\n" + MOUNTS,
    DOCKER,
)
ALONE_BASE = ALONE._replace(
    ctid=422,
    key="privileged-alone-base",
    title=f"{BASE}, without its seccomp policy",
    assigned=BASE,
    label=BASE,
)


# The profile refuses nothing by itself then; what it denies explicitly, the guard does.
def _trial(ctid: int, key: str, profile: str) -> Column:
    label = f"{profile}.{ctid}.trial//&{profile}.guard"
    unprivileged = key.startswith("unprivileged")
    title = f"{profile}, in a trial"
    return Column(ctid, key, title, unprivileged, profile, MOUNTS, label, trial=True)


TRIALS = (
    _trial(423, "privileged-trial", DOCKER),
    _trial(424, "unprivileged-trial", DOCKER),
)
# For the search of chains alone (tests/bench/chains.py); test_trial has all rows under one.
BASE_TRIALS = (
    _trial(425, "privileged-trial-base", BASE),
    _trial(426, "unprivileged-trial-base", BASE),
)
ALL = (*COLUMNS, ALONE_BASE, ALONE, BARE, *TRIALS)
# Only to compare with: every row that harms there harms under others too.
COMPARED = tuple(column for column in COLUMNS if column.key.endswith(("default", "unconfined")))
