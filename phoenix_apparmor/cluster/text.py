"""The cluster as text for people, above what status says of the containers. Pure."""

from collections.abc import Iterable, Sequence

from phoenix_apparmor.cluster.migration import Move
from phoenix_apparmor.cluster.nodes import Node
from phoenix_apparmor.cluster.overview import Overview, is_other_version, versions
from phoenix_apparmor.status.text import short_age
from phoenix_apparmor.terminal.output import GREEN, PLAIN, RED, YELLOW, wrap
from phoenix_apparmor.terminal.table import Cell, Column, table

# So many nodes are named one by one.
FEW = 4


def text(found: Overview, room: int, *, colour: bool) -> str:
    """Nodes, texts of profiles, and for containers asked for where they could start."""
    parts = [[*_nodes(found, room, colour=colour)], [*_node_notes(found, room)]]
    if not found.named:
        parts += [[*_texts(found, room, colour=colour)], [*_text_notes(found, room)]]
    parts += [[*_move(move, room, colour=colour)] for move in found.moves]
    return "".join("".join(f"{line}\n" for line in part) + "\n" for part in parts if part)


def _nodes(found: Overview, room: int, *, colour: bool) -> Iterable[str]:
    columns = [
        Column("NODE", shrinks=True),
        Column("REPORT"),
        Column("SEEN"),
        Column("PACKAGE", shrinks=True),
        Column("KERNEL", shrinks=True),
        Column("PARSER", shrinks=True),
    ]
    rows = []
    for node in found.nodes:
        package, kernel, parser = versions(node.said)
        odd = YELLOW if is_other_version(node) else PLAIN
        rows.append(
            [
                Cell(node.name),
                Cell(node.state, PLAIN if node.is_known else RED),
                Cell(short_age(node.age)),
                Cell(package, odd),
                Cell(kernel),
                Cell(parser),
            ]
        )
    return table(columns, rows, room, colour=colour)


def _node_notes(found: Overview, room: int) -> Iterable[str]:
    if found.quorate is False:
        yield from wrap(
            "The cluster has no quorum here: what other nodes published may be old, and this "
            "node cannot publish.",
            room,
        )
        yield "  See: pvecm status"
    for node in found.nodes:
        if node.why:
            yield from wrap(f"{node.name}: {node.why}. What its kernel enforces is unknown.", room)
            yield f"  {_hint(node)}"
        if node.said is not None and node.state != "this node":
            for note in node.said.trouble:
                yield from wrap(f"{node.name}: {note.what}", room)
                if note.hint:
                    yield from wrap(f"On {node.name}: {note.hint}", room, "  ")
            if node.said.left_out:
                yield from wrap(
                    f"{node.name}: {node.said.left_out} containers did not fit into its report.",
                    room,
                )


def _hint(node: Node) -> str:
    if node.state == "newer":
        return "On this node: apt update && apt install phoenix-apparmor"
    if node.state == "offline":
        return "See: pvecm nodes"
    if node.age is None and node.said is not None:
        return "Compare the clocks, on both: chronyc tracking"
    timer = "phoenix-apparmor-publish.timer"
    return f"On {node.name}: systemctl status {timer}; phoenix-apparmor publish"


def _texts(found: Overview, room: int, *, colour: bool) -> Iterable[str]:
    if sum(node.is_known for node in found.nodes) == 1:
        return []
    different = found.different
    columns = [Column("PROFILE", shrinks=True), Column("TEXT"), Column("NODES", shrinks=True)]
    rows = [
        [
            Cell(t.profile),
            Cell(t.hash[:12] if t.hash else "no file", RED if t.profile in different else PLAIN),
            Cell(_some(t.nodes)),
        ]
        for t in found.texts
    ]
    return table(columns, rows, room, colour=colour) if rows else []


def _text_notes(found: Overview, room: int) -> Iterable[str]:
    for name in found.different:
        yield from wrap(
            f"{name}: the nodes have different texts of it (its file, or what that includes).",
            room,
        )
        yield f"  Compare them: sha256sum /etc/apparmor.d/{name} /etc/apparmor.d/local/{name}"
    for t in found.texts:
        others = [node for node in t.off if node != found.me]
        if others:
            yield from wrap(f"{t.profile}: something is wrong with it on {_some(others)}.", room)
            yield f"  On {others[0]}: phoenix-apparmor status"


def _some(names: Sequence[str]) -> str:
    if len(names) <= FEW:
        return " ".join(names)
    return f"{' '.join(names[: FEW - 1])} and {len(names) - FEW + 1} more"


def _move(move: Move, room: int, *, colour: bool) -> Iterable[str]:
    under = f"under {move.profile}" if move.profile else "not managed"
    yield from wrap(f"Could CT {move.ctid} ({under}) start there? It is on {move.home}.", room)
    width = max(len(answer.node) for answer in move.answers)
    for answer in move.answers:
        word, code = {True: ("yes", GREEN), False: ("no", RED), None: ("unknown", YELLOW)}[
            answer.can
        ]
        shown = f"\x1b[{code}m{word}\x1b[0m" if colour else word
        begin = f"  {answer.node.ljust(width)}  "
        lines = wrap(f"{word}: {'; '.join(answer.reasons)}." if answer.reasons else word,
                     max(40, room - len(begin)))  # fmt: skip
        yield begin + shown + lines[0].removeprefix(word)
        yield from (" " * len(begin) + line for line in lines[1:])
