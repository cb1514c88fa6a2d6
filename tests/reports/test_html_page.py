"""The HTML page stands alone and trusts nobody's text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tfdistill.reports.comparisons import Comparison
from tfdistill.reports.confusions import ConfusionChange, LostExample, changes_between
from tfdistill.reports.html_page import write_page
from tfdistill.reports.pareto_plot import scatter_svg
from tfdistill.reports.resampling import Estimate
from tfdistill.reports.stage_table import StageRow
from tfdistill.reports.verdict import Verdict, compare_with_rivals

TEACHER = StageRow("teacher", 0.95, 0.9, 22_000_000, 22_000_000, 87 << 20, 80 << 20, 8.0, 9.0, 1.0)
TEACHER_COSTS = (0.95, 0.9, 9_000, 9_000, 90_000, 80_000, 8.0, 9.0, 1.0)
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


LABELS = [0, 1, 2, 3] * 50


def verdict_over(names: list[str]) -> Verdict:
    """A student that is right on everything, and rivals that are right on a half."""
    return compare_with_rivals(
        LABELS,
        stage="tflite",
        student=LABELS,
        teacher=LABELS,
        rivals={name: [0, 0, 2, 2] * 50 for name in names},
        sizes={"student": 489_472, **dict.fromkeys(names, 2048)},
        resamples=100,
    )


def test_the_page_opens_with_the_verdict_then_the_facts_then_plots_then_tables(tmp_path: Path):
    verdict = verdict_over(["control"])
    facts = {"Data set": "four numbers", "Command": "`tfdistill distill <b>`"}
    page = write_page(
        tmp_path / "report.html", stages=[TEACHER, STUDENT], verdict=verdict, facts=facts
    ).read_text("utf-8")
    order = [
        f"<h1>{verdict.headline()}</h1>",
        verdict.line(),
        "<dt>Data set</dt><dd>four numbers</dd>",
        "<code>tfdistill distill &lt;b&gt;</code>",
        'class="pareto"',
        'class="legend"',
        "<table>",
        "<dt>tflite</dt><dd>the student as it ships",
    ]
    places = [page.index(part) for part in order]

    assert places == sorted(places)
    assert f"<title>{verdict.headline()}</title>" in page
    assert "<b>100.0 %</b><span>of its teacher (100.0 to 100.0)</span>" in page
    assert "<b>478 KB</b>" in page and "<b>0.04 ms</b>" in page
    assert "100 resamples of these rows" in page


def test_names_of_rivals_and_facts_are_escaped(tmp_path: Path):
    page = write_page(
        tmp_path / "report.html",
        stages=[StageRow("<i>s</i>", *TEACHER_COSTS)],
        verdict=verdict_over(["<script>x</script>"]),
        facts={"<script>n": "<script>t"},
    ).read_text("utf-8")
    assert "<script" not in page and "<i>" not in page.replace('<i class="', "")
    assert page.count("&lt;script&gt;") >= 4  # line, list, name and text of the fact


def test_the_bar_of_a_rival_is_its_interval_on_a_common_scale(tmp_path: Path):
    comparisons = (
        Comparison("a", 0.5, Estimate(0.10, 0.05, 0.20)),
        Comparison("b", 0.5, Estimate(-0.05, -0.10, 0.0)),
    )
    page = write_page(
        tmp_path / "report.html",
        stages=[TEACHER],
        verdict=Verdict("accuracy", 0.5, 100, comparisons),
    ).read_text("utf-8")
    # 0 is at 50 %, the widest end, 0.20, at 98 %: 240 % for 1.
    assert re.findall(r'<rect x="([\d.]+)%" y="42%" width="([\d.]+)%"', page) == [
        ("62.0", "36.0"),
        ("26.0", "24.0"),
    ]
    assert re.findall(r'<circle cx="([\d.]+)%"', page) == ["74.0", "38.0"]
    assert re.findall(r'<li class="(\w+)">\n<span class="word">(\w+)', page) == [
        ("won", "won"),
        ("tied", "tied"),
    ]


def test_a_verdict_without_rivals_or_numbers_to_draw_has_no_list(tmp_path: Path):
    row = StageRow("file", *[None] * 9, metric="pinball", score=0.5)
    verdict = verdict_over([])
    page = write_page(tmp_path / "report.html", stages=[row], verdict=verdict).read_text("utf-8")
    assert "<h1>The student keeps 100.0 % of its teacher</h1>" in page
    assert "<ul" not in page and "<svg" not in page


def test_the_hollow_mark_is_in_the_legend_only_if_it_is_in_a_picture(tmp_path: Path):
    page = write_page(tmp_path / "a.html", stages=[TEACHER, STUDENT]).read_text("utf-8")
    assert "the same after gzip" in page
    row = replace(TEACHER, gzip_bytes=None)
    page = write_page(tmp_path / "b.html", stages=[row]).read_text("utf-8")
    assert "the same after gzip" not in page
