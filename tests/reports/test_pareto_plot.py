from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tfdistill.reports.pareto_plot import _overlap, _text_box, draw_pareto, pareto_front
from tfdistill.reports.stage_table import StageRow

NAMES = ["teacher", "tfidf", "control", "distilled", "compressed", "tflite"]


def row(stage: str, accuracy: float | None, size_bytes: int | None, ms: float | None) -> StageRow:
    half = None if size_bytes is None else size_bytes // 2
    return StageRow(stage, accuracy, accuracy, 10, 10, size_bytes, half, ms, ms, 1.0)


def test_the_front_holds_what_nothing_else_beats(rng: np.random.Generator) -> None:
    points = [(float(cost), float(worth)) for cost, worth in rng.integers(0, 12, (40, 2))]
    front = {points[index] for index in pareto_front(points)}
    # The definition, checked pair by pair.
    unbeaten = {
        one
        for one in points
        if not any(o[0] <= one[0] and o[1] >= one[1] and o != one for o in points)
    }
    assert front == unbeaten


def test_the_front_goes_from_cheap_to_dear() -> None:
    points = [(9, 0.9), (1, 0.5), (5, 0.7), (6, 0.6)]
    assert pareto_front(points) == [1, 2, 0]


def test_the_plot_is_a_png_with_the_color_of_every_stage(tmp_path: Path) -> None:
    from matplotlib.image import imread

    rows = [row(name, 0.9 + 0.01 * index, 10**index, 1.0) for index, name in enumerate(NAMES)]
    draw_pareto(rows, tmp_path / "pareto.png")
    image = np.rint(imread(tmp_path / "pareto.png")[..., :3] * 255).astype(int)
    assert image.shape[1] > 1000
    colors = {tuple(pixel) for pixel in image.reshape(-1, 3)}
    for color in ("4c6ef5", "868e96", "f08c00", "2b8a3e", "ae3ec9", "e03131"):
        assert tuple(bytes.fromhex(color)) in colors


@pytest.mark.parametrize("spread", [0.0, 0.001, 0.02])
def test_names_of_close_points_do_not_cover_each_other(
    spread: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    figures = []
    original = Figure.__init__

    def remember(self: Figure, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)
        figures.append(self)

    monkeypatch.setattr(Figure, "__init__", remember)
    rows = [
        row(name, 0.95 + spread * (index % 3), 1_000_000 + index, 0.04 + spread * index / 50)
        for index, name in enumerate(NAMES)
    ]
    draw_pareto(rows, tmp_path / "pareto.png")
    for axes in figures[0].axes:
        renderer = figures[0].canvas.get_renderer()
        boxes = [_text_box(label, renderer) for label in axes.texts]
        assert len(boxes) == len(NAMES)
        assert all(_overlap(one, other) < 1.0 for one, other in itertools.combinations(boxes, 2))


def test_rows_without_the_numbers_are_left_out(tmp_path: Path) -> None:
    rows = [row("a", None, 10, 1.0), row("b", 0.9, None, 1.0), row("c", 0.8, 10, None)]
    draw_pareto(rows, tmp_path / "pareto.png")
    draw_pareto(rows[:1], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size < (tmp_path / "pareto.png").stat().st_size


def test_the_callers_matplotlib_is_left_alone(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    backend, figures = plt.get_backend(), plt.get_fignums()
    draw_pareto([row("a", 0.9, 10, 1.0)], tmp_path / "pareto.png")
    assert plt.get_backend() == backend and plt.get_fignums() == figures
