from __future__ import annotations

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from tfdistill.reports.figures import new_figure
from tfdistill.reports.pareto_plot import pareto_front, stage_plots, stages_svg
from tfdistill.reports.stage_table import StageRow

SVG = "{http://www.w3.org/2000/svg}"
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


def test_the_picture_has_both_panels_in_the_colors_of_both_themes() -> None:
    rows = [row(name, 0.9 + 0.01 * index, 10**index, 1.0) for index, name in enumerate(NAMES)]
    picture = ElementTree.fromstring(stages_svg(rows))  # well-formed, with its namespace
    assert picture.get("viewBox") == "0 0 800 300"
    assert len(picture.findall(f"{SVG}g")) == 2
    assert len(picture.findall(f".//{SVG}circle")) == 2 * len(NAMES)
    style = picture.findtext(f"{SVG}style") or ""
    assert "#0b6e4f" in style and "prefers-color-scheme:dark" in style and "#4cc38a" in style


def test_the_size_after_gzip_is_hollow_and_left_of_the_size() -> None:
    size, latency = stage_plots([row("a", 0.9, 4096, 1.0), row("b", 0.8, 1000, 2.0)])
    hollow = re.findall(r'class="smaller" d="M([\d.]+) ([\d.]+)H([\d.]+)M', size[1])
    full = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', size[1])
    assert [(x, y) for _, y, x in hollow] == full
    # Half the bytes: 0.301 of a decade to the left; from 0.2 to 10 KB are 1.699 of them on 332 px.
    assert [round(float(end) - float(begin), 1) for begin, _, end in hollow] == [58.8, 58.9]
    assert "smaller" not in re.findall(r'<path class="(\w+)"', latency[1])


@pytest.mark.parametrize("spread", [0.0, 0.001, 0.02])
def test_names_of_close_points_do_not_cover_each_other(spread: float) -> None:
    rows = [
        row(name, 0.95 + spread * (index % 3), 1_000_000 + index, 0.04 + spread * index / 50)
        for index, name in enumerate(NAMES)
    ]
    for _, picture in stage_plots(rows):
        labels = re.findall(r'class="name" x="([-\d.]+)" y="([-\d.]+)">(\w+)<', picture)
        assert [name for *_, name in labels] == NAMES
        # 12 px of height and 6.2 px for a letter, about.
        boxes = [(float(x), float(x) + 6.2 * len(name), float(y)) for x, y, name in labels]
        for (left, right, row_y), (other, end, other_y) in itertools.combinations(boxes, 2):
            assert abs(row_y - other_y) >= 12 or right <= other or end <= left


def test_rows_without_the_numbers_are_left_out() -> None:
    rows = [row("a", None, 10, 1.0), row("b", 0.9, None, 1.0), row("c", 0.8, 10, None)]
    found = [re.findall('class="name"[^>]*>([^<]+)<', picture) for _, picture in stage_plots(rows)]
    assert found == [["c"], ["b"]]
    assert stage_plots(rows[:1]) == [] and "<circle" not in stages_svg(rows[:1])


def test_names_are_escaped_in_the_picture() -> None:
    picture = stages_svg([row("<b> & `c`", 0.9, 10, 1.0)])
    assert "<b>" not in picture and "&lt;b&gt; &amp; `c`" in picture


def test_the_callers_matplotlib_is_left_alone() -> None:
    import matplotlib.pyplot as plt

    backend, figures = plt.get_backend(), plt.get_fignums()
    figure = new_figure(width=2, height=1)
    assert figure.canvas is not None
    assert plt.get_backend() == backend and plt.get_fignums() == figures


def number_row(stage: str, mae: float, size_bytes: int) -> StageRow:
    return StageRow(
        stage, *[None] * 4, size_bytes, *[None] * 4, metric="mae", score=mae
    )  # fmt: skip


def test_a_smaller_error_is_up_and_its_axis_does_not_go_below_0() -> None:
    rows = [number_row("worse", 0.3, 1000), number_row("better", 0.005, 2000)]
    ((title, picture),) = stage_plots(rows)
    (_, worse), (_, better) = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', picture)
    ticks = re.findall(r'text-anchor="end">([-\d.]+)<', picture)

    assert title == "MAE against size"
    assert float(better) < float(worse)  # SVG counts downwards
    assert re.findall(r'<circle class="(\w+)"', picture) == ["best", "best"]
    assert ticks[-1] == "0.000" and not any(tick.startswith("-") for tick in ticks)


def test_scores_of_a_metric_that_nobody_knows_are_not_drawn() -> None:
    rows = [StageRow("a", *[None] * 4, 10, *[None] * 4, metric="pinball", score=0.5)]
    assert stage_plots(rows) == []


def test_no_axis_goes_above_an_accuracy_of_1() -> None:
    (_, picture), _ = stage_plots([row("a", 1.0, 10, 1.0), row("b", 0.9, 20, 1.0)])
    ticks = [float(tick) for tick in re.findall(r'text-anchor="end">(\d\.\d{3})<', picture)]
    assert max(ticks) == 1.0


def test_bundle_and_text_to_label_are_drawn_if_no_stage_lacks_them() -> None:
    rows = [row("a", 0.9, 1024, 1.0), row("b", 0.8, 2048, 2.0)]
    full = [replace(each, bundle_bytes=10 << 10, text_ms_p50=5.0) for each in rows]
    (_, size), (_, latency) = stage_plots(full)
    assert "KB, file with tokenizer" in size and '<path class="smaller"' not in size
    assert "a: 10, 0.900" in size and "a: 5, 0.900" in latency
    (_, size), (_, latency) = stage_plots([full[0], rows[1]])
    assert "a: 1, 0.900" in size and "a: 1, 0.900" in latency
