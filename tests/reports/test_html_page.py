"""The HTML page stands alone and trusts nobody's text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tfdistill.reports.confusions import ConfusionChange, LostExample, changes_between
from tfdistill.reports.html_page import write_page
from tfdistill.reports.pareto_plot import scatter_svg
from tfdistill.reports.stage_table import StageRow

TEACHER = StageRow("teacher", 0.95, 0.9, 22_000_000, 22_000_000, 87 << 20, 80 << 20, 8.0, 9.0, 1.0)
STUDENT = StageRow("tflite", 0.92, 0.8, 372_000, 186_000, 408_576, 204_800, 0.04, 0.05, 0.9)


def circle(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_the_page_has_table_plots_and_no_outside(tmp_path: Path):
    path = write_page(
        tmp_path / "report.html",
        stages=[TEACHER, STUDENT],
        changes=[ConfusionChange("a", "b", 1, 3)],
        lost=[LostExample("<script>alert(1)</script>", "a", "b")],
        sensitivity={"dense": 1.25},
    )
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "<td>0.920</td>" in page
    assert "prefers-color-scheme:dark" in page
    assert "a → b" in page and "<td>1.25</td>" in page
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)|https?://|@import|url\(", page)


def test_a_name_in_backticks_is_code_and_still_no_markup(tmp_path: Path):
    notes = ["`control` has no <b>teacher</b>", "`<i>`"]
    page = write_page(tmp_path / "report.html", stages=[TEACHER], notes=notes).read_text("utf-8")

    assert "<code>control</code> has no &lt;b&gt;" in page
    assert "<code>&lt;i&gt;</code>" in page


def test_cheaper_is_left_and_better_is_up():
    svg = scatter_svg([("teacher", 1000.0, 0.95), ("student", 10.0, 0.90)], title="t", x_label="x")
    (teacher_x, teacher_y), (student_x, student_y) = circle(svg)
    assert student_x < teacher_x
    assert student_y > teacher_y  # SVG counts downwards


def test_only_beaten_points_are_marked_so():
    points = [("a", 10.0, 0.9), ("b", 20.0, 0.8), ("c", 30.0, 0.95)]
    svg = scatter_svg(points, title="t", x_label="x")
    assert re.findall(r'<circle class="(\w+)"', svg) == ["best", "beaten", "best"]


def test_a_cost_of_nothing_is_refused():
    with pytest.raises(ValueError, match="`points` must have costs greater than 0"):
        scatter_svg([("a", 0.0, 0.9)], title="t", x_label="x")


def test_only_mistakes_whose_number_changed_are_listed():
    changes = changes_between([0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1], label_names=["dry", "wet"])
    assert changes == [ConfusionChange("dry", "wet", 1, 2), ConfusionChange("wet", "dry", 1, 0)]
