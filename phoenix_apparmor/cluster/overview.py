"""The whole cluster as seen from this node: its own state, and what the others publish."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from phoenix_apparmor import __version__, containers, ctconf, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.cluster import members, migration, nodes, survey
from phoenix_apparmor.cluster.bulletin import Bulletin
from phoenix_apparmor.cluster.migration import Move
from phoenix_apparmor.cluster.nodes import Node
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.host import Host
from phoenix_apparmor.status import collect, report
from phoenix_apparmor.status.profiles import Progress
from phoenix_apparmor.status.report import Container, Note, Report


@dataclass(frozen=True)
class Text:
    """One text of a profile, and the nodes that have it.

    hash: see bulletin.ProfileHere. off: nodes whose kernel does not run it, or not enforced.
    """

    profile: str
    hash: str | None
    nodes: tuple[str, ...]
    off: tuple[str, ...]


@dataclass(frozen=True)
class Overview:
    """The cluster.

    report: this node's, with the containers of all nodes. nodes: this one first.
    texts: of each profile, the most common text first. moves: of the containers asked for.
    """

    me: str
    quorate: bool | None
    report: Report
    nodes: tuple[Node, ...]
    texts: tuple[Text, ...]
    moves: tuple[Move, ...] = ()
    named: bool = False

    @property
    def different(self) -> list[str]:
        """Profiles of which nodes have different texts."""
        names = [text.profile for text in self.texts]
        return sorted({name for name in names if names.count(name) > 1})

    @property
    def concerned(self) -> list[Node]:
        """The nodes whose state matters: all, or those of the containers asked for."""
        where = {c.node for c in self.report.containers}
        return [n for n in self.nodes if not self.named or n.name in where]

    @property
    def is_off(self) -> bool:
        """Whether something needs a person."""
        if self.report.is_off or any(not n.is_known for n in self.concerned):
            return True
        if self.named:
            return False
        said = [node.said for node in self.nodes if node.said is not None]
        return (
            bool(self.different)
            or any(text.off for text in self.texts)
            or any(not one.fine or one.trouble for one in said)
        )


def inspect(host: Host, ctids: Sequence[str] = (), *, progress: Progress) -> Overview:
    """What is known of the cluster. Raises PhoenixError as collect.inspect does."""
    now = time.time()
    who = members.this_host(host)
    known = lookup.everyone(host, save=False)
    elsewhere = {
        ctid
        for node in who.others
        for ctid in containers.ctids_in(host, f"{paths.NODES}/{node}/lxc")
    }
    # All of this node, also for a few containers: where they could run is asked of it too.
    here = collect.inspect(host, named=ctids, known=known, others=elsewhere, progress=progress)
    me = Node(who.me, "this node", 0, "", survey.bulletin(host, here, who.me, now))
    if ctids:
        here = _only(here, ctids)
    found = [*here.containers]
    all_nodes = [me]
    confs: dict[str, Conf] = {}
    for node in nodes.others(host, who, now):
        progress(f"reading what {node.name} says")
        folder = f"{paths.NODES}/{node.name}/lxc"
        said = {c.ctid: c for c in node.said.containers} if node.said is not None else {}
        for conf in containers.confs(host, folder, node.name):
            if not ctids or conf.ctid in ctids:
                found.append(_there(conf, node, said.get(conf.ctid), known))
                if ctids:
                    confs[conf.ctid] = conf
        all_nodes.append(_without_containers(node))
    if ctids:
        confs |= {c.ctid: c for c in containers.confs(host) if c.ctid in ctids}
    return Overview(
        who.me,
        who.quorate,
        replace(here, containers=tuple(sorted(found, key=lambda c: int(c.ctid)))),
        tuple(all_nodes),
        tuple(_texts(all_nodes)),
        tuple(
            migration.move(confs[c], confs[c].node or who.me, known, all_nodes)
            for c in sorted(confs, key=int)
        ),
        named=bool(ctids),
    )


def _without_containers(node: Node) -> Node:
    """They are in the report by now, and those of a node that lies need not be kept."""
    return node if node.said is None else replace(node, said=replace(node.said, containers=()))


def _only(here: Report, ctids: Sequence[str]) -> Report:
    return replace(
        here,
        containers=tuple(c for c in here.containers if c.ctid in ctids),
        profiles=tuple(p for p in here.profiles if set(p.used_by) & set(ctids)),
        elsewhere=tuple(c for c in here.elsewhere if c in ctids),
    )


def _there(conf: Conf, node: Node, said: Container | None, known: Known) -> Container:
    """A container of another node: its .conf as it is now, the rest as its node said.

    What its node said stands as long as the assignment and .conf are those it spoke of; else
    it is judged here, by the label that it told. Where the nodes have assignments of their
    own, what its node said is all there is.
    """
    assignment = known.of(conf.ctid)
    assigned = assignment.name if assignment is not None else ""
    in_conf = collect.in_conf(conf.text)
    running: bool | None = None
    label: str | None = None
    age: int | None = None
    verdict: report.Verdict = "unknown"
    notes: tuple[Note, ...] = ()
    shared = paths.is_shared(known.source)
    if node.said is not None:
        shared = shared and paths.is_shared(node.said.source)
    if node.is_known and said is not None:
        running, label, age = said.running, said.label, node.age
        if not shared or (said.assigned, said.in_conf) == (assigned, in_conf):
            verdict, notes, assigned = said.verdict, said.notes, said.assigned
        else:
            verdict, notes = report.judge(conf.ctid, assignment, conf.text, label, running=running)
        notes = tuple(_over_there(note, node.name) for note in notes)
    elif shared:
        verdict, notes = report.judge_elsewhere(conf.ctid, node.name, assignment, conf.text)
    else:
        assigned = ""
    name = ctconf.conf_value(conf.text, b"hostname") or ""
    return Container(
        conf.ctid, name, node.name, assigned, in_conf, running, label, verdict, notes, age
    )


def _over_there(note: Note, node: str) -> Note:
    return Note(note.what, f"On {node}: {note.hint}" if note.hint else "")


def _texts(all_nodes: Sequence[Node]) -> Iterator[Text]:
    """Of the nodes that are known now."""
    groups: dict[str, dict[str | None, list[str]]] = {}
    off: dict[str, set[str]] = {}
    for node in all_nodes:
        if node.said is None or not node.is_known:
            continue
        for p in node.said.profiles:
            groups.setdefault(p.name, {}).setdefault(p.hash, []).append(node.name)
            if not p.fine:
                off.setdefault(p.name, set()).add(node.name)
    for name in sorted(groups):
        for digest, where in sorted(groups[name].items(), key=lambda item: -len(item[1])):
            bad = tuple(sorted(off.get(name, set()) & set(where)))
            yield Text(name, digest, tuple(sorted(where)), bad)


def versions(said: Bulletin | None) -> tuple[str, str, str]:
    """(package, kernel, parser) of a node, "?" where unknown."""
    if said is None:
        return "?", "?", "?"
    return said.package or "?", said.kernel or "?", said.parser or "?"


def is_other_version(node: Node) -> bool:
    """Whether a node has another version of this package than this one."""
    return node.said is not None and node.said.package != __version__
