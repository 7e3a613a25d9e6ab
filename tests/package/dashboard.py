"""The Grafana dashboard that we ship, drawn as SVG from Prometheus' answers to its queries. Pure.

Grafana is not in Debian. What it would show is said by the dashboard's JSON, the panels' places,
types and thresholds, and by what Prometheus answers; a picture of that needs no more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

# Of Grafana's dark theme: a column and a row of its grid in pixels, and its classic palette.
COLUMN, ROW, GAP, HEAD = 50, 32, 8, 44
PALETTE = ("#73BF69", "#F2CC0C", "#5794F2", "#FF9830", "#F2495C", "#B877D9", "#8AB8FF", "#FFB357")
NAMED = {"green": "#299c46", "orange": "#d9770a", "red": "#d44a3a"}
LETTER = 6.6  # pixels of a letter at 12 px


class Target(NamedTuple):
    """A query of a panel, and how its series are called."""

    query: str
    legend: str


class Panel(NamedTuple):
    """A panel: its place in units of Grafana's grid, and the rest of its JSON."""

    kind: str
    title: str
    x: int
    y: int
    w: int
    h: int
    targets: tuple[Target, ...]
    more: Mapping[str, Any]


class Series(NamedTuple):
    """labels; points: (seconds since 1970, value), one of them for an instant query."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        return self.points[-1][1]


# Title of a panel -> what Prometheus answered, query by query.
Answers = Mapping[str, Sequence[Sequence[Series]]]


def panels(dashboard: Mapping[str, Any]) -> list[Panel]:
    """The panels, with all nodes chosen."""
    found = []
    for p in dashboard["panels"]:
        targets = tuple(
            Target(t["expr"].replace("$instance", ".*"), t.get("legendFormat", ""))
            for t in p["targets"]
        )
        x, y, w, h = (p["gridPos"][key] for key in "xywh")
        found.append(Panel(p["type"], p["title"], x, y, w, h, targets, p))
    return found


def is_instant(panel: Panel) -> bool:
    """Whether it shows one moment, not a time."""
    return panel.kind in ("stat", "table")


def svg(title: str, shown: Sequence[Panel], answers: Answers, span: tuple[float, float]) -> str:
    """The picture. span: begin and end, seconds since 1970."""
    height = HEAD + max(p.y + p.h for p in shown) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN + GAP} {height + GAP}" '
        'font-family="Inter,Helvetica,Arial,sans-serif" font-size="12" fill="#ccccdc">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#111217"/>',
        text(16, 28, title, size=18),
        text(24 * COLUMN - 4, 28, f"{clock(span[0])} to {clock(span[1])}", anchor="end"),
    ]
    for panel in shown:
        lines += _panel(panel, answers[panel.title], span)
    return "\n".join([*lines, "</svg>", ""])


def clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(when))


def text(
    x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", fill: str = ""
) -> str:
    colour = f' fill="{fill}"' if fill else ""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}"{colour}>'
        f"{escape(words)}</text>"
    )


def _panel(panel: Panel, found: Sequence[Sequence[Series]], span: tuple[float, float]) -> list[str]:
    x, y = GAP + panel.x * COLUMN, HEAD + panel.y * ROW
    width, height = panel.w * COLUMN - GAP, panel.h * ROW - GAP
    series = [one for answer in found for one in answer]
    frame = _stat_colour(panel, series) if panel.kind == "stat" else "#181b1f"
    draw = {"stat": _stat, "table": _table, "timeseries": _graph, "state-timeline": _states}
    return [
        f'<g transform="translate({x} {y})">',
        f'<rect width="{width}" height="{height}" rx="2" fill="{frame}" stroke="#2c3235"/>',
        text(10, 20, panel.title, size=14),
        *draw[panel.kind](panel, series, (width, height), span),
        "</g>",
    ]


def _stat_colour(panel: Panel, series: Sequence[Series]) -> str:
    return NAMED[_threshold(panel, series[0].last if series else 0.0)]


def _threshold(panel: Panel, value: float) -> str:
    steps = panel.more["fieldConfig"]["defaults"]["thresholds"]["steps"]
    fitting = [s["color"] for s in steps if s["value"] is None or value >= s["value"]]
    return str(fitting[-1])


def _stat(
    _: Panel, series: Sequence[Series], size: tuple[int, int], __: tuple[float, float]
) -> list[str]:
    shown = f"{series[0].last:g}" if series else "No data"
    return [text(size[0] / 2, size[1] / 2 + 26, shown, size=44, anchor="middle", fill="#fff")]


def _table(
    panel: Panel, series: Sequence[Series], size: tuple[int, int], _: tuple[float, float]
) -> list[str]:
    organize: Mapping[str, Any] = next(
        (t["options"] for t in panel.more.get("transformations", ()) if t["id"] == "organize"), {}
    )
    hidden, names = organize.get("excludeByName", {}), organize.get("renameByName", {})
    keys = sorted({key for one in series for key in one.labels} - hidden.keys())
    keys += [] if hidden.get("Value") else ["Value"]
    rows = [[f"{s.last:g}" if k == "Value" else s.labels.get(k, "") for k in keys] for s in series]
    step = (size[0] - 20) / max(1, len(keys))
    lines = [
        text(10 + n * step, 44, names.get(key, key), fill="#6e9fff") for n, key in enumerate(keys)
    ]
    for number, row in enumerate(rows):
        y = 66 + number * 22
        if y > size[1] - 8:
            break
        lines.append(f'<path d="M10 {y - 15}H{size[0] - 10}" stroke="#2c3235"/>')
        lines += [text(10 + n * step, y, cut(cell, step)) for n, cell in enumerate(row)]
    return lines


def cut(words: str, room: float) -> str:
    """So much of a text as room pixels take."""
    most = int(room / LETTER) - 1
    return words if len(words) <= most else words[: max(0, most - 1)] + "…"


def _name(panel: Panel, labels: Mapping[str, str]) -> str:
    legend = panel.targets[0].legend
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), legend).strip()


def _graph(
    panel: Panel, series: Sequence[Series], size: tuple[int, int], span: tuple[float, float]
) -> list[str]:
    """Lines by time, or areas upon each other, with a legend below."""
    custom = panel.more["fieldConfig"]["defaults"].get("custom", {})
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    names = [_name(panel, one.labels) for one in series]
    legend = list(_legend(names, size[0] - 24))
    rows = 1 + max((row for row, _, _ in legend), default=0)
    box = (46, 34, size[0] - 14, size[1] - 26 - 18 * rows)
    base: dict[float, float] = {}
    drawn: list[tuple[list[tuple[float, float]], list[tuple[float, float]]]] = []
    for one in series:
        low = [(t, base.get(t, 0.0) if stacked else 0.0) for t, _ in one.points]
        high = [(t, value + under) for (t, value), (_, under) in zip(one.points, low, strict=True)]
        base.update(high)
        drawn.append((low, high))
    top = nice(max((v for _, high in drawn for _, v in high), default=1.0))
    lines = list(_axes(box, top, span, panel))

    def at(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(
            f"{box[0] + (t - span[0]) / (span[1] - span[0]) * (box[2] - box[0]):.1f},"
            f"{box[3] - v / top * (box[3] - box[1]):.1f}"
            for t, v in points
        )

    for number, (low, high) in enumerate(drawn):
        colour = PALETTE[number % len(PALETTE)]
        if stacked:
            points = at([*corners(high), *reversed(corners(low))])
            lines.append(f'<polygon points="{points}" fill="{colour}" fill-opacity=".6"/>')
        line = at(corners(high))
        lines.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    for name, (row, x, number) in zip(names, legend, strict=True):
        y = size[1] - 18 * (rows - row) + 8
        colour = PALETTE[number % len(PALETTE)]
        lines.append(f'<rect x="{12 + x:.0f}" y="{y - 6}" width="12" height="3" fill="{colour}"/>')
        lines.append(text(28 + x, y, cut(name, size[0] - 40)))
    return lines


def corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points at which something changes: a straight line needs no points between."""
    return [
        point
        for n, point in enumerate(points)
        if n in (0, len(points) - 1)
        or not points[n - 1][1] == point[1] == points[n + 1][1]
    ]  # fmt: skip


def nice(value: float) -> float:
    """A round number that is not less."""
    step = 1.0
    while True:
        for factor in (1, 2, 4, 5, 8):
            if value <= step * factor:
                return step * factor
        step *= 10


def _legend(names: Sequence[str], width: float) -> Iterator[tuple[int, float, int]]:
    """(row, x, number) of each name."""
    row, x = 0, 0.0
    for number, name in enumerate(names):
        need = min(width, 34 + len(name) * LETTER)
        if x and x + need > width:
            row, x = row + 1, 0.0
        yield row, x, number
        x += need


def _axes(
    box: tuple[int, int, int, int], top: float, span: tuple[float, float], panel: Panel
) -> Iterator[str]:
    unit = " s" if panel.more["fieldConfig"]["defaults"].get("unit") == "s" else ""
    for n in range(5):
        y = box[3] - n / 4 * (box[3] - box[1])
        yield f'<path d="M{box[0]} {y:.0f}H{box[2]}" stroke="#2c3235"/>'
        yield text(box[0] - 6, y + 4, f"{top * n / 4:g}{unit}", size=11, anchor="end")
    for n in range(4):
        x = box[0] + n / 3 * (box[2] - box[0])
        anchor = ("start", "middle", "middle", "end")[n]
        when = clock(span[0] + n / 3 * (span[1] - span[0]))
        yield text(x, box[3] + 15, when, size=11, anchor=anchor)


def _states(
    panel: Panel, series: Sequence[Series], size: tuple[int, int], span: tuple[float, float]
) -> list[str]:
    """A bar a series, of the colours of the thresholds."""
    lines = []
    left, right = 70, size[0] - 14
    height = min(40.0, (size[1] - 70) / max(1, len(series)))
    scale = (right - left) / (span[1] - span[0])
    for number, one in enumerate(series):
        y = 36 + number * height
        lines.append(text(left - 8, y + height / 2 + 2, _name(panel, one.labels), anchor="end"))
        ends = [*(t for t, _ in one.points[1:]), span[1]]
        runs: list[tuple[float, float, str]] = []
        for (begin, value), end in zip(one.points, ends, strict=True):
            colour = NAMED[_threshold(panel, value)]
            if runs and runs[-1][2] == colour:
                runs[-1] = (runs[-1][0], end, colour)
            else:
                runs.append((begin, end, colour))
        lines += [
            f'<rect x="{left + (begin - span[0]) * scale:.1f}" y="{y:.0f}" '
            f'width="{(end - begin) * scale:.1f}" height="{height - 8:.0f}" fill="{colour}"/>'
            for begin, end, colour in runs
        ]
    y = size[1] - 10
    lines += [text(left, y, clock(span[0])), text(right, y, clock(span[1]), anchor="end")]
    return lines
