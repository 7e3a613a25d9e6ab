"""Where a container could start under its profile, node by node. Pure.

Nothing at a migration checks the target node: Proxmox moves .conf, and the start there is
refused, or worse, where the profile is not what it was. Storage and network are Proxmox' to say.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phoenix_apparmor import labels, paths
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.assignments.parse import Assignment
from phoenix_apparmor.cluster import survey
from phoenix_apparmor.cluster.bulletin import Bulletin, ProfileHere
from phoenix_apparmor.cluster.nodes import Node
from phoenix_apparmor.containers import Conf

_DEV = re.compile(rb"dev\d+:\s*(?:path=)?(/[^,\s]+)")


class Answer(NamedTuple):
    """For one node: whether the container could start there, None: cannot be known.

    reasons: why not, or what is not known.
    """

    node: str
    can: bool | None
    reasons: tuple[str, ...] = ()


class Move(NamedTuple):
    """For one container, which is on node home, every node's answer."""

    ctid: str
    profile: str
    home: str
    answers: tuple[Answer, ...]


def move(conf: Conf, home: str, known: Known, nodes: Sequence[Node]) -> Move:
    """What each node would do with a container. conf: its configuration now."""
    assignment = known.of(conf.ctid)
    here = next((n.said for n in nodes if n.name == home and n.is_known), None)
    answers = tuple(_answer(conf, home, here, assignment, known, node) for node in nodes)
    if assignment is None:
        return Move(conf.ctid, "", home, answers)
    return Move(conf.ctid, labels.honest(assignment.name), home, answers)


def _answer(
    conf: Conf,
    home: str,
    here: Bulletin | None,
    assignment: Assignment | None,
    known: Known,
    node: Node,
) -> Answer:
    if node.said is None or not node.is_known:
        return Answer(node.name, None, (node.why,))
    there = node.said
    hinders = list(_hinders(conf, assignment, there))
    open_questions = []
    shared = paths.is_shared(known.source) and paths.is_shared(there.source)
    if not shared and node.state != "this node":
        open_questions.append(
            f"its assignments are of a JSON of its own ({there.source or 'it has none'})"
        )
    open_questions += [
        f"whether it has {path} is not in its report"
        for path in _devices(conf)
        if not survey.is_gpu_node(path) and path not in survey.OTHER_NODES
    ]
    if node.name != home:
        profile = _profile(there, assignment)
        as_home = _profile(here, assignment) if here is not None else None
        if profile is not None and as_home is None:
            open_questions.append(f"which text of {profile.name} {home} has is unknown")
        elif profile is not None and as_home is not None and profile.hash != as_home.hash:
            hinders.append(f"its {profile.name} is another text than {home}'s")
        if profile is not None and profile.seccomp and not _unprivileged(conf):
            if here is None:
                open_questions.append(f"which seccomp policy {home} has is unknown")
            elif there.seccomp is not None and here.seccomp != there.seccomp:
                hinders.append(f"its {paths.SECCOMP} is another text than {home}'s")
    if hinders:
        return Answer(node.name, can=False, reasons=(*hinders, *open_questions))
    return Answer(node.name, None if open_questions else True, tuple(open_questions))


def _hinders(conf: Conf, assignment: Assignment | None, there: Bulletin) -> Iterator[str]:
    """Why a node's package would refuse the start, or LXC would."""
    if assignment is not None and not assignment.name:
        yield f"{assignment.problem}"
    if assignment is not None and assignment.profile is not None:
        if not there.apparmor:
            yield "its kernel runs without AppArmor"
        profile = _profile(there, assignment)
        if profile is None:
            yield f"it has no profile {assignment.profile}"
        else:
            if profile.blocks:
                yield profile.blocks
            unprivileged = _unprivileged(conf)
            wants = profile.namespace and assignment.policy_namespace and unprivileged
            if wants and not there.namespaces:
                yield "its kernel has no policy namespaces"
            if profile.seccomp and not unprivileged and there.seccomp is None:
                yield f"it has no {paths.SECCOMP}"
    for path in _devices(conf):
        if path not in there.devices and (survey.is_gpu_node(path) or path in survey.OTHER_NODES):
            yield f"it has no {path}"


def _profile(said: Bulletin, assignment: Assignment | None) -> ProfileHere | None:
    name = assignment.profile if assignment is not None else None
    return next((p for p in said.profiles if p.name == name), None)


def _unprivileged(conf: Conf) -> bool:
    return conf.option("unprivileged") == "1"


def _devices(conf: Conf) -> list[str]:
    """Device nodes without which the container does not start: devN:, and mounts of /dev/…."""
    found: dict[str, None] = {}
    for line in conf.main:
        match = _DEV.match(line)
        if match:
            found.setdefault(match[1].decode("utf-8", "replace"))
    for key, value in conf.lxc():
        words = value.split()
        is_node = key == "lxc.mount.entry" and len(words) >= 4 and words[0].startswith("/dev/")
        if is_node and "optional" not in words[3].split(","):
            found.setdefault(words[0])
    return list(found)
