"""The report as one HTML page: no script, no other file, light and dark, readable on a phone.

A scatter plot as SVG text: worth against cost on a log scale, the Pareto front drawn through.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tfdistill.files.atomic import replacing
from tfdistill.reports.confusions import ConfusionChange, LostExample
from tfdistill.reports.pareto_plot import pareto_front
from tfdistill.reports.stage_table import StageRow, table_cells

__all__ = ["scatter_svg", "write_page"]

_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--paper:#fff;
--best:#0b6e4f;--beaten:#8c6d1f}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;
--paper:#0d1117;--best:#4cc38a;--beaten:#d8b45a}}
body{margin:0 auto;max-width:62rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .5rem;border-bottom:1px solid var(--line);text-align:right;
white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.prose td{text-align:left;white-space:normal;vertical-align:top;overflow-wrap:anywhere}
.prose th{text-align:left}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}
svg{width:100%;height:auto}.grid{stroke:var(--line);fill:none}.tick{fill:var(--soft);
font-size:11px}.name{fill:var(--ink);font-size:12px}.front{fill:none;stroke:var(--best);
stroke-dasharray:4 3}.best{fill:var(--best)}.beaten{fill:var(--beaten)}
p,li{color:var(--soft)}
"""


def write_page(
    path: str | os.PathLike[str],
    *,
    stages: Sequence[StageRow],
    notes: Sequence[str] = (),
    changes: Sequence[ConfusionChange] = (),
    lost: Sequence[LostExample] = (),
    sensitivity: Mapping[str, float] | None = None,
) -> Path:
    """Writes the page. Texts and names are escaped: they may come from strangers.

    Args:
        path: The `.html` file; its folder exists.
        stages: Rows of the truth table, at least one.
        notes: Sentences for under the table.
        changes: Mistakes that came or went between teacher and student.
        lost: Texts that the teacher has right and the student wrong.
        sensitivity: Accuracy points that each layer costs when it alone is compressed.

    Returns:
        The file.

    Raises:
        ValueError: If there is no stage.
        OSError: If the file cannot be written.
    """
    head, *body = table_cells(stages)
    parts = ["<h1>The truth table</h1>", _table(head, body), _plots(stages)]
    if notes:
        parts.append("<ul>" + "".join(f"<li>{_prose(note)}</li>" for note in notes) + "</ul>")
    if sensitivity:
        rows = [[name, f"{value:.2f}"] for name, value in sensitivity.items()]
        parts += ["<h2>Sensitivity of each layer</h2>", _table(["layer", "points lost"], rows)]
    if changes:
        rows = [
            [f"{each.truth} → {each.said}", str(each.teacher), str(each.student)]
            for each in changes
        ]
        parts += [
            "<h2>Mistakes that came or went</h2>",
            _table(["right → said", "teacher", "student"], rows),
        ]
    if lost:
        rows = [[each.text[:300], each.truth, each.said] for each in lost]
        parts += [
            "<h2>What the student lost</h2><p>Texts that the teacher has right.</p>",
            _table(["text", "right", "student says"], rows, kind="wide prose"),
        ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,"><title>tfdistill: the truth table</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    target = Path(path)
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _prose(text: str) -> str:
    """Escapes a text; names in backticks become code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _plots(stages: Sequence[StageRow]) -> str:
    plots = []
    for column, unit, title, x_label in (
        ("size_bytes", 1024.0, "Accuracy against size", "KB"),
        ("latency_ms_p50", 1.0, "Accuracy against latency", "ms, median of one example"),
    ):
        points = [
            (row.stage, getattr(row, column) / unit, row.accuracy)
            for row in stages
            if row.accuracy is not None and getattr(row, column)
        ]
        if points:
            picture = scatter_svg(points, title=title, x_label=x_label)
            plots.append(f"<div><h2>{title}</h2>{picture}</div>")
    return f'<div class="plots">{"".join(plots)}</div>'


def _table(head: Sequence[str], body: Sequence[Sequence[str]], *, kind: str = "wide") -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(line(cells, "td") for cells in body)
    return f'<div class="{kind}"><table>{line(head, "th")}{rows}</table></div>'


_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 20, 44
_LETTER = 6.2  # width of one letter of a label, about


def scatter_svg(points: Sequence[tuple[str, float, float]], *, title: str, x_label: str) -> str:
    """Draws named points.

    Colors are CSS classes and custom properties of the page, so the picture follows its light or
    dark theme. A label stands beside its point, or below where it would cover a point or a label.

    Args:
        points: Name, cost (greater than 0) and worth of each, at least one.
        title: What a screen reader says.
        x_label: Under the axis.

    Returns:
        One `<svg>` element.

    Raises:
        ValueError: If there is no point, or a cost is not a positive number.

    Example:
        >>> scatter_svg([("a & b", 10.0, 0.9)], title="t", x_label="KB").count("<circle")
        1
    """
    if not points or not all(0 < cost < math.inf for _, cost, _ in points):
        raise ValueError(
            "`points` must have costs greater than 0, and be at least one. "
            f"Received: {list(points)}."
        )
    logs = [math.log10(cost) for _, cost, _ in points]
    low, high = math.floor(min(logs) - 0.1), math.ceil(max(logs) + 0.1)
    worths = [worth for *_, worth in points]
    margin = max(0.01, 0.2 * (max(worths) - min(worths)))
    bottom, top = min(worths) - margin, max(worths) + margin

    def x_of(log: float) -> float:
        return _LEFT + (log - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(worth: float) -> float:
        return _TOP + (top - worth) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    base = _HEIGHT - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for power in range(low, high + 1):
        x = x_of(power)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{base}"/>')
        anchor = "end" if power == high else "middle"
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{base + 16}" text-anchor="{anchor}">'
            f"{10.0**power:,.10g}</text>"
        )
    for index in range(5):
        worth = bottom + (top - bottom) * index / 4
        y = y_of(worth)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{worth:.3f}</text>"
        )
    parts.append(
        f'<text class="tick" x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    spots = [(x_of(log), y_of(worth)) for log, worth in zip(logs, worths, strict=True)]
    front = pareto_front([(cost, worth) for _, cost, worth in points])
    line = " ".join(f"{spots[index][0]:.1f},{spots[index][1]:.1f}" for index in front)
    parts.append(f'<polyline class="front" points="{line}"/>')
    taken = [(x - 5, x + 5, y + 4) for x, y in spots]  # no label goes over a point
    for index, ((name, cost, worth), (x, y)) in enumerate(zip(points, spots, strict=True)):
        parts.append(
            f'<circle class="{"best" if index in front else "beaten"}" cx="{x:.1f}" cy="{y:.1f}" '
            f'r="5"><title>{escape(name)}: {cost:,.4g}, {worth:.3f}</title></circle>'
        )
        parts.append(_label(name, x, y, taken))
    return "".join(parts) + "</svg>"


def _label(name: str, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    width = _LETTER * len(name)
    sides = [x + 9, x - 9 - width]
    places = [(left, y + 4 + 12 * down) for down in range(40) for left in sides]
    fits = [
        (left, row)
        for left, row in places
        if _LEFT <= left and left + width <= _WIDTH and _is_free(left, left + width, row, taken)
    ]
    left, row = (fits or places)[0]
    taken.append((left, left + width, row))
    return f'<text class="name" x="{left:.1f}" y="{row:.1f}">{escape(name)}</text>'


def _is_free(
    left: float, right: float, row: float, taken: list[tuple[float, float, float]]
) -> bool:
    return not any(
        abs(row - other) < 12 and left < end and begin < right for begin, end, other in taken
    )
