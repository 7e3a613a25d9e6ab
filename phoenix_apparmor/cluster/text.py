"""The cluster as text for people, above what status says of the containers. Pure."""

from collections.abc import Iterable, Sequence

from phoenix_apparmor.cluster.migration import Move
from phoenix_apparmor.cluster.overview import Overview, is_other_version, versions
from phoenix_apparmor.errors import one_line
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
                Cell(node.state, RED if node.is_missed else PLAIN),
                Cell(short_age(node.age)),
                Cell(package, odd),
                Cell(kernel),
                Cell(parser),
            ]
        )
    return table(columns, rows, room, colour=colour)


def _node_notes(found: Overview, room: int) -> Iterable[str]:
    for node in found.nodes:
        if node.state == "left":
            ctids = [c.ctid for c in found.report.containers if c.node == node.name]
            still = f", with {_cts(ctids)}" if ctids else ""
            yield from _wrap(f"{node.name}: {node.why}{still}.", room)
            yield f"  {node.hint}"
        elif node.why:
            yield from _wrap(f"{node.name}: {node.why}. What its kernel enforces is unknown.", room)
            yield f"  {node.hint}"
        if node.said is not None and node.is_known and node.state != "this node":
            for note in node.trouble:
                yield from _wrap(f"{node.name}: {note.what}", room)
                if note.hint:
                    yield from _wrap(f"On {node.name}: {note.hint}", room, "  ")
            if node.said.left_out:
                yield from _wrap(
                    f"{node.name}: {node.said.left_out} containers did not fit into its report.",
                    room,
                )


def _wrap(words: str, room: int, indent: str = "") -> list[str]:
    """Words that may quote another node, a .conf or the JSON: nothing of them is a colour."""
    return wrap(one_line(words), room, indent)


def _cts(ctids: Sequence[str]) -> str:
    shown = ", ".join(ctids[:FEW])
    return f"CT {shown}" + (f" and {len(ctids) - FEW} more" if len(ctids) > FEW else "")


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
        yield from _wrap(
            f"{name}: the nodes have different texts of it (its file, or what that includes).",
            room,
        )
        yield f"  Compare them: sha256sum {one_line(' '.join(dict(found.parts).get(name, ())))}"
    for t in found.texts:
        others = [name for name, p in found.off_elsewhere if p.name == t.profile and name in t.off]
        if others:
            yield from _wrap(f"{t.profile}: something is wrong with it on {_some(others)}.", room)
            yield f"  On {others[0]}: phoenix-apparmor status"
    for name in found.unexplained:
        yield from _wrap(f"{name}: something is off there.", room)
        yield f"  On {name}: phoenix-apparmor status"


def _some(names: Sequence[str]) -> str:
    if len(names) <= FEW:
        return " ".join(names)
    return f"{' '.join(names[: FEW - 1])} and {len(names) - FEW + 1} more"


def _move(move: Move, room: int, *, colour: bool) -> Iterable[str]:
    under = f"under {move.profile}" if move.profile else "not managed"
    under = under if move.is_known else "what it is assigned is unknown"
    yield from _wrap(f"Where could CT {move.ctid} ({under}) start? It is on {move.home} now.", room)
    width = max(len(answer.node) for answer in move.answers)
    for answer in move.answers:
        word, code = {True: ("yes", GREEN), False: ("no", RED), None: ("unknown", YELLOW)}[
            answer.can
        ]
        shown = f"\x1b[{code}m{word}\x1b[0m" if colour else word
        begin = f"  {answer.node.ljust(width)}  "
        lines = _wrap(f"{word}: {'; '.join(answer.reasons)}." if answer.reasons else word,
                     max(40, room - len(begin)))  # fmt: skip
        yield begin + shown + lines[0].removeprefix(word)
        yield from (" " * len(begin) + line for line in lines[1:])
