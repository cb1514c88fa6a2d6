"""The picture of a run: accuracy against size, and against latency, both on a log scale.

A stage is on the *Pareto front* if no other is at least as accurate and smaller (or faster).

A matplotlib figure that leaves the caller's own figures and backend alone.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdistill.reports.stage_table import StageRow

__all__ = ["draw_pareto", "new_figure", "pareto_front"]

_COLORS = ("#4c6ef5", "#868e96", "#f08c00", "#2b8a3e", "#ae3ec9", "#e03131", "#0c8599", "#5c940d")
_INK, _FAINT = "#343a40", "#adb5bd"
# Where a label may go around its point, in points, the best place first.
_DIRECTIONS = ((0, 1), (0, -1), (1, 0.6), (-1, 0.6), (1, -0.6), (-1, -0.6), (1, 0), (-1, 0))
_DISTANCES = (7, 16, 26, 38, 52)

Box = Sequence[float]  # left, bottom, right, top


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indices of the points that no other point beats, cheapest first.

    A point is beaten by one that costs no more and is worth no less, and differs in either.

    Args:
        points: Pairs (cost, worth): a low cost and a high worth are good.

    Example:
        >>> pareto_front([(100, 0.95), (10, 0.90), (20, 0.85), (1, 0.80)])
        [3, 1, 0]
    """
    order = sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def draw_pareto(rows: Sequence[StageRow], path: str | os.PathLike[str]) -> None:
    """Draws accuracy against size (raw and gzip) and against latency, as a PNG.

    A stage without accuracy is left out, one without size or latency is left out of that panel.

    Args:
        rows: The stages.
        path: The PNG file to write.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    figure = new_figure(width=11, height=4.8)
    canvas = figure.canvas
    size_axes, latency_axes = figure.subplots(1, 2, sharey=True)
    colors = {row.stage: _COLORS[index % len(_COLORS)] for index, row in enumerate(rows)}
    panels = (
        (size_axes, "size_bytes", 1024.0, "size in KB (hollow: after gzip)"),
        (latency_axes, "latency_ms_p50", 1.0, "latency of one example in ms (median, one thread)"),
    )
    placements = []
    for axes, column, unit, title in panels:
        places = [
            (row, (getattr(row, column) / unit, row.accuracy))
            for row in rows
            if row.accuracy is not None and getattr(row, column)
        ]
        shown, points = [row for row, _ in places], [point for _, point in places]
        _style(axes, title)
        if column == "size_bytes":
            _draw_gzip(axes, shown, colors, unit)
        front = [points[index] for index in pareto_front(points)]
        if front:
            axes.plot(*zip(*front, strict=True), color=_FAINT, linewidth=1.2, zorder=1)
        for row, (x, y) in zip(shown, points, strict=True):
            axes.plot(x, y, "o", markersize=8, color=colors[row.stage], zorder=3)
        _widen(axes)
        placements.append((axes, shown, points))
    size_axes.set_ylabel("test accuracy")
    canvas.draw()  # fixes the layout, so that labels can be placed in pixels
    for axes, shown, points in placements:
        _place_labels(axes, [row.stage for row in shown], points, colors)
    canvas.print_png(os.fspath(path))


def _style(axes: Any, title: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(title)
    axes.margins(x=0.16, y=0.20)
    axes.grid(color="#e9ecef", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelleft=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_FAINT)


def _widen(axes: Any) -> None:
    """Gives a log axis at least a decade and a half, so that it has ticks at round numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_xlim()
    factor = max(1.0, (30.0 * low / high) ** 0.5)
    axes.set_xlim(low / factor, high * factor)
    few = high / low * factor**2 < 1000
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.xaxis.set_major_formatter(_plain_number)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain_number(value: float, _position: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _draw_gzip(axes: Any, rows: Sequence[StageRow], colors: dict[str, str], unit: float) -> None:
    for row in rows:
        if row.gzip_bytes and row.size_bytes:
            ends = (row.gzip_bytes / unit, row.size_bytes / unit)
            axes.plot(ends, (row.accuracy,) * 2, color=colors[row.stage], linewidth=0.9, alpha=0.6)
            axes.plot(
                ends[0],
                row.accuracy,
                "o",
                markersize=6,
                markerfacecolor="white",
                markeredgecolor=colors[row.stage],
                zorder=2,
            )


def _place_labels(
    axes: Any,
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    colors: dict[str, str],
) -> None:
    """Writes each name beside its point where it covers no marker and no other name."""
    renderer = axes.figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer).extents
    half = 5 * axes.figure.dpi / 72
    taken: list[Box] = [
        (x - half, y - half, x + half, y + half)
        for line in axes.get_lines()
        if line.get_marker() == "o"
        for x, y in axes.transData.transform(line.get_xydata())
    ]
    for name, point in zip(names, points, strict=True):
        best: tuple[float, Any, Box] | None = None
        for distance, direction in itertools.product(_DISTANCES, _DIRECTIONS):
            label = _annotate(axes, name, point, distance, direction, color=colors[name])
            box = _text_box(label, renderer)
            outside = _area(box) - _overlap(box, frame)
            cost = sum(_overlap(box, other) for other in taken) + outside
            if best is not None and cost >= best[0]:
                label.remove()
                continue
            if best is not None:
                best[1].remove()
            best = (cost, label, box)
            if cost < 1e-6:
                break
        if best is not None:
            taken.append(best[2])


def _annotate(
    axes: Any,
    name: str,
    point: tuple[float, float],
    distance: float,
    direction: tuple[float, float],
    *,
    color: str,
) -> Any:
    from matplotlib.patheffects import withStroke

    dx, dy = direction
    line = {"arrowstyle": "-", "color": _FAINT, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 4}
    return axes.annotate(
        name,
        point,
        xytext=(dx * distance, dy * distance),
        textcoords="offset points",
        ha="center" if dx == 0 else ("left" if dx > 0 else "right"),
        va="center" if abs(dy) < 1 else ("bottom" if dy > 0 else "top"),
        fontsize=9,
        color=color,
        zorder=4,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],  # readable on the line
        arrowprops=None if distance == _DISTANCES[0] else line,
    )


def _text_box(label: Any, renderer: Any) -> Box:
    """Returns the box of an annotation's text without its line, in pixels."""
    from matplotlib.text import Text

    label.update_positions(renderer)
    return tuple(Text.get_window_extent(label, renderer).extents)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def new_figure(*, width: float, height: float) -> Any:
    """Makes an empty figure to draw on; `figure.canvas.print_png(path)` writes it.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A `matplotlib.figure.Figure` with a canvas of its own. `pyplot` is not used: it would
        change the backend and the open figures of the caller.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "The plot needs matplotlib. Install it with `pip install tfdistill[plots]`."
        ) from error
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # becomes `figure.canvas`
    return figure
