"""Where a container could start under its profile, node by node. Pure.

Nothing at a migration checks the target node: Proxmox moves .conf, and the start there is
refused, or worse, where the profile is not what it was. Storage and network are Proxmox's to say.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import labels, paths, pveconf
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.cluster import own_report
from phoenix_apparmor.cluster.node_report import NodeReport, ProfileHere
from phoenix_apparmor.cluster.nodes import Node
from phoenix_apparmor.containers import Conf

# Of the package lxc-pve, so on every node of Proxmox.
LXC_OWN = tuple(
    f"lxc-container-default{kind}" for kind in ("", "-cgns", "-with-mounting", "-with-nesting")
)


NO_JSON = "what is assigned is unknown, as this node cannot use the JSON"


class Answer(NamedTuple):
    """For one node: whether the container could start there, None: cannot be known.

    reasons: why not, or what is not known.
    """

    node: str
    can: bool | None
    reasons: tuple[str, ...] = ()


class Move(NamedTuple):
    """For one container, which is on node home, every node's answer.

    profile: what it would run under, "": it is not managed, or, without is_known, nobody knows.
    """

    ctid: str
    profile: str
    home: str
    answers: tuple[Answer, ...]
    is_known: bool = True


def move(conf: Conf, home: str, known: Known, nodes: Sequence[Node]) -> Move:
    """What each node would do with a container. conf: its configuration now."""
    assignment = known.of(conf.ctid)
    here = next((n.said for n in nodes if n.name == home and n.is_known), None)
    answers = tuple(
        _answer(conf, home, here, assignment, known, node)
        if node.state == "left" or _is_assignment_known(node.name, known, nodes, home)
        else Answer(node.name, None, (node.why or NO_JSON,))
        for node in nodes
    )
    if not _is_assignment_known(home, known, nodes):
        return Move(conf.ctid, "", home, answers, is_known=False)
    if assignment is None:
        return Move(conf.ctid, "", home, answers)
    return Move(conf.ctid, labels.honest(assignment.name), home, answers)


def _is_assignment_known(node: str, known: Known, nodes: Sequence[Node], home: str = "") -> bool:
    """Whether what is assigned holds on a node, for a container of node home.

    Without the JSON the last good copy is what this node goes by, for its own containers.
    """
    this = next((n.name for n in nodes if n.state == "this node"), "")
    return known.trouble is None or (node == this and home in ("", this))


def _answer(
    conf: Conf,
    home: str,
    here: NodeReport | None,
    assignment: Assignment | None,
    known: Known,
    node: Node,
) -> Answer:
    if node.state == "left":
        return Answer(node.name, can=False, reasons=("it is not in the cluster any more",))
    if node.said is None or not node.is_known:
        return Answer(node.name, None, (node.why,))
    there = node.said
    wanted = _wanted(conf, assignment)
    hinders = list(_hinders(conf, assignment, wanted, there))
    open_questions = []
    shared = paths.is_shared(known.source) and paths.is_shared(there.source)
    if not shared and node.state != "this node":
        open_questions.append(f"it uses a JSON of its own ({there.source or 'it has none'})")
    open_questions += _not_told(conf, assignment, wanted, there)
    profile = _profile(there, wanted)
    if node.name != home and profile is not None:
        seccomp = profile.seccomp and assignment is not None and not conf.is_unprivileged
        differs, unknown = _against_home(home, here, there, profile, seccomp=seccomp)
        hinders += differs
        open_questions += unknown
    if hinders:
        return Answer(node.name, can=False, reasons=(*hinders, *open_questions))
    return Answer(node.name, None if open_questions else True, tuple(open_questions))


def _not_told(
    conf: Conf, assignment: Assignment | None, wanted: str | None, there: NodeReport
) -> Iterator[str]:
    """What decides, and is not in a node's report."""
    for path in _devices(conf):
        if not own_report.is_gpu_node(path) and path not in own_report.OTHER_NODES:
            yield f"whether it has {path} is not in its report"
    for file, why in conf.unread:
        yield f"what {file} asks for is unknown ({why})"
    profile = _profile(there, wanted)
    if assignment is None and wanted is not None and profile is None and wanted not in LXC_OWN:
        yield f"whether it has profile {wanted} is not in its report"
    if profile is not None and profile.text == "unknown" and profile.mode is not None:
        yield f"whether its kernel runs its file of {wanted} is unknown"


def _against_home(
    home: str, here: NodeReport | None, there: NodeReport, profile: ProfileHere, *, seccomp: bool
) -> tuple[list[str], list[str]]:
    """(what differs from the container's node, of what that is unknown)."""
    as_home = _profile(here, profile.name) if here is not None else None
    differs, unknown = [], []
    if as_home is None:
        unknown.append(f"which version of {profile.name} {home} has is unknown")
    elif profile.hash != as_home.hash:
        differs.append(f"its {profile.name} is a different version than {home}'s")
    if seccomp and here is None:
        unknown.append(f"which seccomp policy {home} has is unknown")
    elif seccomp and here is not None and there.seccomp not in (None, here.seccomp):
        differs.append(
            f"a seccomp policy in {paths.SECCOMP_FOLDER} is a different version than {home}'s"
        )
    return differs, unknown


def _wanted(conf: Conf, assignment: Assignment | None) -> str | None:
    """The profile of its own under which it would start, None: Proxmox's generated, or none.

    Where the package leaves a container alone, its .conf decides.
    """
    if assignment is not None:
        return assignment.profile
    return (
        None
        if conf.used_profile in (None, "", "unconfined", labels.GENERATED)
        else conf.used_profile
    )


def _hinders(
    conf: Conf, assignment: Assignment | None, wanted: str | None, there: NodeReport
) -> Iterator[str]:
    """Why a node's package would refuse the start, or LXC would."""
    if assignment is not None and not assignment.name:
        yield f"{assignment.problem}"
    if wanted is not None:
        if not there.apparmor:
            yield "its kernel runs without AppArmor"
        profile = _profile(there, wanted)
        if profile is None and assignment is not None:
            yield f"it has no profile {wanted}"
        elif profile is not None:
            yield from _profile_hinders(conf, assignment, profile, there)
    for path in _devices(conf):
        if path not in there.devices and (
            own_report.is_gpu_node(path) or path in own_report.OTHER_NODES
        ):
            yield f"it has no {path}"


def _profile_hinders(
    conf: Conf, assignment: Assignment | None, profile: ProfileHere, there: NodeReport
) -> Iterator[str]:
    if profile.blocks:
        yield profile.blocks
    elif profile.text in ("differs", "broken") and profile.mode is not None:
        yield f"its kernel runs a different version of {profile.name} than its file"
    if assignment is None:
        return  # what the profile asks our package for is not done for it
    wants = profile.namespace and assignment.policy_namespace and conf.is_unprivileged
    if wants and not there.namespaces:
        yield "its kernel has no policy namespaces"
    if profile.seccomp and not conf.is_unprivileged and there.seccomp is None:
        yield f"it lacks a seccomp policy in {paths.SECCOMP_FOLDER}"


def _profile(said: NodeReport, name: str | None) -> ProfileHere | None:
    return next((p for p in said.profiles if p.name == name), None)


def _devices(conf: Conf) -> list[str]:
    """Device nodes without which the container does not start: devN:, and mounts of /dev/…."""
    found = dict.fromkeys(device.path for device in pveconf.devices(conf.main) if device.path)
    for entry in conf.mount_entries:
        if entry.must_be_there and entry.source.startswith("/dev/"):
            found.setdefault(entry.source)
    return list(found)
