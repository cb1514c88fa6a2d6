"""Figures of matplotlib that leave the caller's own figures and backend alone."""

from __future__ import annotations

from typing import Any

__all__ = ["new_figure"]


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
