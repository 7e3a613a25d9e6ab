"""The cluster for programs: what --json and --prometheus have beside status' own. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from phoenix_apparmor.cluster.node_report import NodeReport
from phoenix_apparmor.cluster.nodes import Node
from phoenix_apparmor.cluster.overview import Overview, versions
from phoenix_apparmor.status import metrics
from phoenix_apparmor.status.report import as_json as report_as_json
from phoenix_apparmor.status.report import note_as_json


def as_json(found: Overview) -> dict[str, Any]:
    """status.schema.json describes it: the report, and "cluster" beside it."""
    return {
        **report_as_json(found.report),
        "fine": not found.is_off,
        "cluster": {
            "this_node": found.me,
            "quorate": found.quorate,
            "nodes": [
                {
                    "name": node.name,
                    "state": node.state,
                    "age": node.age,
                    "why": node.why or None,
                    "known": node.is_known,
                    "fine": node.said.fine if node.said is not None and node.is_known else None,
                    "trouble": [note_as_json(note) for note in node.trouble],
                    "package": node.said.package if node.said else None,
                    "kernel": node.said.kernel if node.said else None,
                    "parser": node.said.parser if node.said else None,
                    "source": (node.said.source or None) if node.said else None,
                    "left_out": node.said.left_out if node.said else 0,
                }
                for node in found.nodes
            ],
            "profiles": [
                {
                    "profile": t.profile,
                    "hash": t.hash,
                    "nodes": list(t.nodes),
                    "off": list(t.off),
                    "policies": {
                        node.name: p.policy
                        for node in found.nodes
                        if node.said is not None and node.name in t.nodes
                        for p in node.said.profiles
                        if p.name == t.profile
                    },
                }
                for t in found.texts
            ],
            "different": found.different,
            "moves": [
                {
                    "ctid": move.ctid,
                    "profile": move.profile or None,
                    "home": move.home,
                    "nodes": [
                        {"node": a.node, "can": a.can, "reasons": list(a.reasons)}
                        for a in move.answers
                    ],
                }
                for move in found.moves
            ],
        },
    }


def prometheus(found: Overview) -> str:
    """The metrics of the cluster, with the node as a label; a scrape of one node has them all."""
    return "".join(f"{line}\n" for line in _metrics(found))


def _metrics(found: Overview) -> Iterable[str]:
    head, line = metrics.head, metrics.line
    yield from head("cluster_fine", "1 if status --cluster finds no problem, else 0.")
    yield line("cluster_fine", int(not found.is_off))
    members = [node for node in found.nodes if node.state != "left"]
    yield from _of_nodes(members)
    yield from _of_known([(n, n.said) for n in members if n.said is not None and n.is_known])
    yield from head("cluster_containers", "Containers of a node by verdict.")
    counts: dict[tuple[str, str], int] = {}
    for c in found.judged.containers:
        key = (c.node or found.me, c.verdict)
        counts[key] = counts.get(key, 0) + 1
    for (name, verdict), count in sorted(counts.items()):
        yield line("cluster_containers", count, node=name, verdict=verdict)
    yield from head("cluster_profile_texts", "How many texts of a profile the nodes have.")
    names = [t.profile for t in found.texts]
    for name in sorted(set(names)):
        yield line("cluster_profile_texts", names.count(name), profile=name)
    if found.quorate is not None:
        yield from head("cluster_quorate", "Whether /etc/pve can be written (1).")
        yield line("cluster_quorate", int(found.quorate))


def _of_nodes(members: Sequence[Node]) -> Iterable[str]:
    head, line = metrics.head, metrics.line
    yield from head("cluster_node_known", "Whether what a node enforces is known now (1).")
    for node in members:
        yield line("cluster_node_known", int(node.is_known), node=node.name, state=node.state)
    yield from head("cluster_node_report_age_seconds", "How long ago a node last looked.")
    for node in members:
        if node.age is not None:
            yield line("cluster_node_report_age_seconds", node.age, node=node.name)
    yield from head("cluster_node_info", "Versions on a node.")
    for node in members:
        if node.said is not None:
            package, kernel, parser = versions(node.said)
            yield line(
                "cluster_node_info", 1, node=node.name, package=package, kernel=kernel,
                parser=parser,
            )  # fmt: skip


def _of_known(known: Sequence[tuple[Node, NodeReport]]) -> Iterable[str]:
    """What the nodes say of themselves, as far as that is how it is now."""
    head, line = metrics.head, metrics.line
    yield from head("cluster_node_fine", "1 if a node itself finds no problem, else 0.")
    for node, said in known:
        yield line("cluster_node_fine", int(said.fine), node=node.name)
    yield from head("cluster_node_trouble", "Number of problems of a node as a whole.")
    for node, _ in known:
        yield line("cluster_node_trouble", len(node.trouble), node=node.name)
    yield from head("cluster_profile_fine", "1 if a node's profile has no problem, else 0.")
    for node, said in known:
        for p in said.profiles:
            yield line("cluster_profile_fine", int(p.fine), node=node.name, profile=p.name)
