"""The picture of a run: accuracy against size, and against latency, both on a log scale.

A stage is on the *Pareto front* if no other is at least as accurate and smaller (or faster). The
picture is SVG, which a page and a Markdown file show alike, in their light or dark theme.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tfdistill.reports.comparisons import score_text
from tfdistill.reports.resampling import METRICS, Metric
from tfdistill.reports.templating import render

if TYPE_CHECKING:
    from tfdistill.reports.stage_table import StageRow

__all__ = ["pareto_front", "scatter_svg", "stage_plots", "stages_svg"]

_WIDTH, _HEIGHT = 400, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 20, 44
_LETTER = 6.2  # width of one letter of a label, about
# Columns, of which the first one counts if every row that has the second has it too; their unit;
# what the cost is called; and what stands under the axis for each.
_PANELS: tuple[tuple[tuple[str, str], float, str, tuple[str, str]], ...] = (
    (
        ("bundle_bytes", "size_bytes"),
        1024.0,
        "size",
        ("KB, file with tokenizer and class names", "KB (hollow: after gzip)"),
    ),
    (
        ("text_ms_p50", "latency_ms_p50"),
        1.0,
        "latency",
        ("ms from text to label, median", "ms, median of one example"),
    ),
)


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


def scatter_svg(
    points: Sequence[tuple[str, float, float]],
    *,
    title: str,
    x_label: str,
    smaller: Sequence[float | None] = (),
) -> Markup:
    """Draws named points: worth against cost on a log scale, the Pareto front drawn through.

    A label stands beside its point, or below where it would cover a point or a label.

    Args:
        points: Name, cost (greater than 0) and worth of each, at least one.
        title: What a screen reader says.
        x_label: Under the axis.
        smaller: A second, smaller cost of each point, drawn hollow; None for a point without one.

    Returns:
        One `<svg>` element.

    Raises:
        ValueError: If there is no point, or a cost is not a positive number.

    Example:
        >>> scatter_svg([("a & b", 10.0, 0.9)], title="t", x_label="KB").count("<circle")
        1
    """
    return _drawn([_panel(points, title=title, x_label=x_label, smaller=smaller)])


def stage_plots(rows: Sequence[StageRow]) -> list[tuple[str, Markup]]:
    """Draws accuracy against size (raw and gzip) and against latency, a picture for each.

    Where no stage has an accuracy, the score takes its place, if all are of one metric of
    `tfdistill.reports.resampling.METRICS`; a small error is then up. The size is that of the
    bundle and the latency that from text to label, if no stage lacks it. A stage without accuracy
    is left out, one without size or latency is left out of that picture.

    Args:
        rows: The stages.

    Returns:
        Pairs of a title and an `<svg>` element; none for a picture without a point.
    """
    return [(panel["title"], _drawn([panel])) for panel in _stage_panels(rows)]


def stages_svg(rows: Sequence[StageRow]) -> str:
    """Draws the pictures of `stage_plots` side by side, as the content of one `.svg` file.

    Args:
        rows: The stages.
    """
    return str(_drawn(_stage_panels(rows), alone=True))


def _stage_panels(rows: Sequence[StageRow]) -> list[dict[str, Any]]:
    worth, metric = _worth_of(rows)
    panels = []
    for (better, usual), unit, name, under in _PANELS:
        costly = [row for row in rows if getattr(row, worth) is not None and getattr(row, usual)]
        whole = bool(costly) and all(getattr(row, better) for row in costly)
        column, x_label = (better, under[0]) if whole else (usual, under[1])
        points = [(row.stage, getattr(row, column) / unit, getattr(row, worth)) for row in costly]
        smaller: list[float | None] = []
        if column == "size_bytes":
            smaller = [row.gzip_bytes / unit if row.gzip_bytes else None for row in costly]
        if points:
            title = f"{metric.title[0].upper()}{metric.title[1:]} against {name}"
            panels.append(
                _panel(points, title=title, x_label=x_label, smaller=smaller, metric=metric)
            )
    return panels


def _worth_of(rows: Sequence[StageRow]) -> tuple[str, Metric]:
    """Returns the column that the pictures are about, and its metric."""
    metrics = {row.metric for row in rows if row.metric is not None}
    metric = METRICS.get(next(iter(metrics))) if len(metrics) == 1 else None
    if metric is None or any(row.accuracy is not None for row in rows):
        return "accuracy", METRICS["accuracy"]
    return "score", metric


def _drawn(panels: Sequence[dict[str, Any]], *, alone: bool = False) -> Markup:
    return render(
        "pareto.svg.jinja",
        panels=panels,
        alone=alone,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        base=_HEIGHT - _BOTTOM,
    )


def _panel(
    points: Sequence[tuple[str, float, float]],
    *,
    title: str,
    x_label: str,
    smaller: Sequence[float | None],
    metric: Metric | None = None,
) -> dict[str, Any]:
    """Works out where everything stands, in the units of the picture."""
    sign = 1 if metric is None or metric.higher_is_better else -1
    points = [(name, cost, sign * worth) for name, cost, worth in points]
    second = list(smaller) or [None] * len(points)
    costs = [cost for _, cost, _ in points] + [cost for cost in second if cost is not None]
    if not points or not all(0 < cost < math.inf for cost in costs):
        raise ValueError(
            "`points` must have costs greater than 0, and be at least one. "
            f"Received: {list(points)}."
        )
    logs = [math.log10(cost) for cost in costs]
    low, ticks, high = _axis(min(logs) - 0.1, max(logs) + 0.1)
    worths = [worth for *_, worth in points]
    margin = max(0.01, 0.2 * (max(worths) - min(worths)))
    bottom, top = min(worths) - margin, max(worths) + margin
    if metric is not None:
        top = min(top, 1.0 if sign > 0 else 0.0)  # no share is above 1, no error below 0

    def x_of(log: float) -> float:
        return round(_LEFT + (log - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y_of(worth: float) -> float:
        return round(_TOP + (top - worth) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM), 1)

    front = pareto_front([(cost, worth) for _, cost, worth in points])
    places = [(x_of(math.log10(cost)), y_of(worth)) for _, cost, worth in points]
    hollow = [None if cost is None else x_of(math.log10(cost)) for cost in second]
    taken = [(x - 5, x + 5, y + 4) for x, y in places]  # no label goes over a point
    taken += [
        (left - 5, right, y + 4)
        for left, (right, y) in zip(hollow, places, strict=True)
        if left is not None
    ]
    taken += _along([places[index] for index in front])
    levels = [bottom + (top - bottom) * index / 4 for index in range(5)]
    return {
        "title": title,
        "x_label": x_label,
        "x_ticks": [
            {"at": x_of(log), "text": f"{10.0**log:,.3g}" if log < 3 else f"{10.0**log:,.0f}"}
            for log in ticks
        ],
        "y_ticks": [
            {"at": y_of(worth), "text": score_text(abs(worth) if sign < 0 else worth)}
            for worth in levels
        ],
        "front": [places[index] for index in front],
        "spots": [
            {
                "name": name,
                "text": f"{cost:,.4g}, {score_text(sign * worth)}",
                "x": x,
                "y": y,
                "smaller": hollow[index],
                "best": index in front,
                "label": _label(name, x, y, taken),
            }
            for index, ((name, cost, worth), (x, y)) in enumerate(zip(points, places, strict=True))
        ],
    }


def _axis(least: float, most: float) -> tuple[float, list[float], float]:
    """Returns the ends of a log axis at 1, 2 or 5 of a decade, and where its ticks are."""
    steps = [
        decade + math.log10(part)
        for decade in range(math.floor(least) - 1, math.ceil(most) + 1)
        for part in (1, 2, 5)
    ]
    low = max(step for step in steps if step <= least)
    high = min(step for step in steps if step >= most)
    within = [step for step in steps if low <= step <= high]
    if high - low > 2.01:
        within = [step for step in within if step == round(step)]
    return low, within, high


def _along(line: Sequence[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """Returns the room that a line takes, piece by piece."""
    room = []
    for (x, y), (end_x, end_y) in itertools.pairwise(line):
        pieces = max(1, round(max(abs(end_x - x), abs(end_y - y)) / 6))
        for piece in range(1, pieces):
            at = piece / pieces
            here = x + at * (end_x - x)
            room.append((here - 3, here + 3, y + at * (end_y - y) + 4))
    return room


def _label(
    name: str, x: float, y: float, taken: list[tuple[float, float, float]]
) -> dict[str, float | None]:
    """Returns where a name begins and, if that is not beside its point, where a line to it ends.

    Adds the room that the name takes.
    """
    width = _LETTER * len(name)
    sides = [x + 9, x - 9 - width]
    rows = sorted(range(-20, 21), key=lambda down: (abs(down), -down))
    places = [(left, y + 4 + 12 * down) for down in rows for left in sides]
    fits = [
        (left, row)
        for left, row in places
        if _LEFT <= left
        and left + width <= _WIDTH
        and _TOP < row - 8
        and row < _HEIGHT - _BOTTOM
        and _is_free(left, left + width, row, taken)
    ]
    left, row = (fits or places)[0]
    taken.append((left, left + width, row))
    beside = abs(row - y - 4) < 6
    end = left - 2 if left > x else left + width + 2
    return {
        "x": round(left, 1),
        "y": round(row, 1),
        "line_x": None if beside else round(end, 1),
        "line_y": None if beside else round(row - 4, 1),
    }


def _is_free(
    left: float, right: float, row: float, taken: list[tuple[float, float, float]]
) -> bool:
    return not any(
        abs(row - other) < 12 and left < end and begin < right for begin, end, other in taken
    )
