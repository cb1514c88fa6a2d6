"""A scatter plot as SVG text: worth against cost on a log scale, the Pareto front drawn through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tfdistill.export.pareto import pareto_front

__all__ = ["scatter_svg"]

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
