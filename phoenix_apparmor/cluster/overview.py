"""The whole cluster as seen from this node: its own state, and what the others publish."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from phoenix_apparmor import __version__, containers, ctconf, paths
from phoenix_apparmor.assignments import lookup
from phoenix_apparmor.assignments.lookup import Known
from phoenix_apparmor.cluster import members, migration, nodes, own_report
from phoenix_apparmor.cluster.members import Members
from phoenix_apparmor.cluster.migration import Move
from phoenix_apparmor.cluster.node_report import NodeReport, ProfileHere
from phoenix_apparmor.cluster.nodes import Node
from phoenix_apparmor.containers import Conf
from phoenix_apparmor.errors import PhoenixError
from phoenix_apparmor.host import Host
from phoenix_apparmor.policy import files
from phoenix_apparmor.status import collect, report
from phoenix_apparmor.status.conf import of_conf
from phoenix_apparmor.status.profiles import Progress
from phoenix_apparmor.status.report import Container, Note, Report


@dataclass(frozen=True)
class Text:
    """One text of a profile, and the nodes that have it.

    hash: see node_report.ProfileHere. off: nodes whose kernel does not run it, or not enforced.
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
    parts: of each profile of which nodes have different texts, the files that may differ.
    """

    me: str
    quorate: bool | None
    report: Report
    nodes: tuple[Node, ...]
    texts: tuple[Text, ...]
    moves: tuple[Move, ...] = ()
    named: bool = False
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()

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
    def judged(self) -> Report:
        """The report without what is in the folders of nodes that left: it runs nowhere."""
        left = {node.name for node in self.nodes if node.state == "left"}
        kept = tuple(c for c in self.report.containers if c.node not in left)
        return replace(self.report, containers=kept)

    @property
    def missed(self) -> list[str]:
        """Nodes that should say something, and do not."""
        return [node.name for node in self.concerned if node.is_missed]

    @property
    def well_known(self) -> list[Node]:
        """The other nodes that matter, as far as their state is known."""
        return [n for n in self.concerned if n.is_known and n.state != "this node"]

    def used_on(self, node: str) -> frozenset[str]:
        """Profiles that containers of another node are assigned."""
        return frozenset(c.profile for c in self.report.containers if c.node == node)

    @property
    def off_elsewhere(self) -> list[tuple[str, ProfileHere]]:
        """(node, profile) where another node says that something is wrong with a profile."""
        return [
            (node.name, p)
            for node in self.well_known
            if node.said is not None
            for p in node.said.profiles
            if not p.fine and (not self.named or p.name in self.used_on(node.name))
        ]

    @property
    def unexplained(self) -> list[str]:
        """Nodes that say that something is off, and not what: it may be over by now."""
        if self.named:
            return []
        told = {name for name, _ in self.off_elsewhere}
        told |= {c.node for c in self.judged.containers if c.verdict in report.NOT_FINE}
        return [
            node.name
            for node in self.well_known
            if node.said is not None and not (node.said.fine or node.trouble or node.name in told)
        ]

    @property
    def is_off(self) -> bool:
        """Whether something needs a person."""
        return bool(
            self.judged.is_off
            or self.missed
            or any(node.trouble for node in self.well_known)
            or self.off_elsewhere
            or self.unexplained
            or (self.different and not self.named)
        )


def inspect(host: Host, ctids: Sequence[str] = (), *, progress: Progress) -> Overview:
    """What is known of the cluster. Raises PhoenixError as collect.inspect does."""
    now = time.time()
    who = members.this_host(host)
    known = lookup.everyone(host, save=False)
    elsewhere = {
        ctid
        for node in (*who.others, *who.left)
        for ctid in containers.ctids_in(host, f"{paths.NODES}/{node}/lxc")
    }
    # All of this node, also for a few containers: where they could run is asked of it too.
    here = collect.inspect(host, named=ctids, known=known, others=elsewhere, progress=progress)
    me = Node(who.me, "this node", 0, "", own_report.of_node(host, here, who.me, now))
    if ctids:
        here = _only(here, ctids)
    here = replace(here, trouble=(*here.trouble, *_trouble(who)))
    found = [*here.containers]
    all_nodes = [me]
    confs: dict[str, Conf] = {}
    for node in nodes.others(host, who, now):
        progress(f"reading what {node.name} says")
        folder = f"{paths.NODES}/{node.name}/lxc"
        said = {c.ctid: c for c in node.said.containers} if node.said is not None else {}
        for ctid in containers.ctids_in(host, folder):
            if ctids and ctid not in ctids:
                continue
            try:
                text = host.read_if_there(f"{folder}/{ctid}.conf")
            except OSError as error:
                found.append(_unreadable(ctid, node.name, f"{folder}/{ctid}.conf", error))
                continue
            if text is not None:
                conf = Conf(ctid, f"{folder}/{ctid}.conf", text, node.name)
                conf = containers.with_files(host, conf)
                found.append(_there(conf, node, said.get(ctid), known))
                if ctids:
                    confs[ctid] = conf
        all_nodes.append(_without_containers(node))
    if ctids:
        own = ((c, conf) for c, conf in containers.each_conf(host) if c in ctids)
        confs |= {c: conf for c, conf in own if not isinstance(conf, PhoenixError)}
    seen = Overview(
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
    return replace(seen, parts=tuple((name, _parts(host, name)) for name in seen.different))


def _trouble(who: Members) -> Iterator[Note]:
    """What is wrong with the cluster as a whole; a host without Proxmox has none."""
    if who.quorate is False:
        what = "the cluster has no quorum here: what other nodes published may be old, and this "
        yield Note(what + "node cannot publish.", "See: pvecm status")
    elif who.quorate is None and who.is_mounted:
        hint = "See: systemctl status corosync; pvecm status"
        yield Note(report.QUORUM_UNKNOWN, hint)


def _parts(host: Host, name: str) -> tuple[str, ...]:
    """The files in which a profile's texts can differ, by what this node's text includes."""
    file = files.find(host, name)
    if file is None:
        return (f"{paths.APPARMOR_D}/{name}", f"{paths.APPARMOR_D}/local/{name}")
    return (file.path, *(path for path, _ in own_report.included(host, file.text)))


def _unreadable(ctid: str, node: str, path: str, error: OSError) -> Container:
    note = Note(f"{path} cannot be read: {error.strerror}.", f"See what it is: ls -ld {path}")
    return Container(ctid, "", node, "", None, None, None, "unknown", (note,), None)


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
    own, what its node said is all there is; so it is while this node cannot use the JSON, for
    its last good copy may be older than what the other node goes by.
    """
    assignment = known.of(conf.ctid)
    assigned = assignment.name if assignment is not None else ""
    in_conf = collect.in_conf(conf.text)
    running: bool | None = None
    label: str | None = None
    age: int | None = None
    verdict: report.Verdict = "unknown"
    notes: tuple[Note, ...] = ()
    shared = paths.is_shared(known.source) and known.trouble is None
    if node.said is not None:
        shared = shared and paths.is_shared(node.said.source)
    if node.state == "left":
        assigned, notes = "", (Note(f"its folder is that of {node.name}, which left the cluster."),)
    elif node.is_known and said is not None:
        running, label, age = said.running, said.label, node.age
        if not shared or (said.assigned, said.in_conf) == (assigned, in_conf):
            verdict, notes, assigned = said.verdict, said.notes, said.assigned
        else:
            profiles = node.said.profiles if node.said is not None else ()
            each = (p.blocks for p in profiles if p.name == assigned and p.blocks)
            why = next((Note(blocks, report.BELOW) for blocks in each), None)
            then = report.NextStart(why, passes=None)
            verdict, notes = report.judge(
                conf.ctid, assignment, of_conf(conf), label, running=running, then=then
            )
        notes = tuple(_over_there(note, node.name) for note in notes)
    elif shared:
        verdict, notes = report.judge_elsewhere(conf.ctid, node.name, assignment, of_conf(conf))
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


def versions(said: NodeReport | None) -> tuple[str, str, str]:
    """(package, kernel, parser) of a node, "?" where unknown."""
    if said is None:
        return "?", "?", "?"
    return said.package or "?", said.kernel or "?", said.parser or "?"


def is_other_version(node: Node) -> bool:
    """Whether a node has another version of this package than this one."""
    return node.said is not None and node.said.package != __version__
