"""Figures of each label, by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tfdistill.cli.application import main
from tfdistill.reports import LabelScore, StageRow, label_scores, metric_score, write_page
from tfdistill.reports.label_figures import label_f1, label_table
from tfdistill.reports.stage_table import format_table, read_report, write_report

TRUTH = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]]
SAID = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
ROW = StageRow("file", None, None, None, None, 2048, None, None, None, 0.5,
               metric="macro_f1", score=0.43, micro_f1=0.6)  # fmt: skip


def test_f1_of_each_label_is_that_of_its_column():
    # 2 · 1 / (2 + 2), 2 · 2 / (3 + 2), 0 / (0 + 1).
    assert label_f1(TRUTH, SAID) == [0.5, 0.8, 0.0]
    assert label_f1(TRUTH, np.zeros((4, 3))) == [0.0, 0.0, None]


def test_their_mean_is_the_macro_f1(rng: np.random.Generator):
    truth, said = rng.integers(0, 2, (2, 40, 6))
    found = [value for value in label_f1(truth, said) if value is not None]
    assert np.mean(found) == pytest.approx(metric_score("macro_f1", truth, said))


def test_the_most_frequent_label_is_told_first():
    found = label_scores(TRUTH, {"teacher": TRUTH, "student": SAID}, label_names=["a", "b", "c"])
    assert found == [
        LabelScore("b", 3, {"teacher": 1.0, "student": 0.8}),
        LabelScore("a", 2, {"teacher": 1.0, "student": 0.5}),
        LabelScore("c", 0, {"teacher": None, "student": 0.0}),
    ]
    assert label_table(found).terminal().splitlines() == [
        "label  texts  F1 teacher  F1 student",
        "-----  -----  ----------  ----------",
        "b          3       1.000       0.800",
        "a          2       1.000       0.500",
        "c          0           –       0.000",
    ]


def test_reports_have_them(tmp_path: Path):
    found = label_scores(TRUTH, {"student": SAID}, label_names=["<b>", "a", "c"])
    write_report(tmp_path, stages=[ROW], pool=(), seconds=1.0, labels=found)
    write_page(tmp_path / "report.html", stages=[ROW], labels=found)

    content = json.loads((tmp_path / "report.json").read_text())
    assert content["labels"][0] == {"label": "a", "examples": 3, "f1": {"student": 0.8}}
    assert "| a | 3 | 0.800 |" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Each label</h2>" in page and "&lt;b&gt;" in page and "<b>" not in page


def test_what_a_report_holds_is_read_back_and_checked(tmp_path: Path):
    found = label_scores(TRUTH, {"student": SAID}, label_names=["a", "b", "c"])
    write_report(tmp_path, stages=[ROW], pool=(), seconds=1.0, labels=found)
    content = read_report(tmp_path)
    assert [LabelScore.from_dict(each) for each in content["labels"]] == found

    for change in ({"examples": -1}, {"f1": {"student": 1.5}}, {"f1": 1}, {"label": 3}, {"x": 1}):
        content["labels"][0] |= change
        (tmp_path / "report.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match="must hold a report that tfdistill wrote"):
            read_report(tmp_path)


def test_the_page_of_a_run_has_them(tmp_path: Path):
    found = label_scores(TRUTH, {"student": SAID}, label_names=["a", "b", "c"])
    write_report(tmp_path / "run", stages=[ROW], pool=(), seconds=1.0, labels=found)
    target = tmp_path / "page.html"
    result = CliRunner().invoke(main, ["report", str(tmp_path / "run"), "--html", str(target)])
    assert result.exit_code == 0, result.output
    assert "<h2>Each label</h2>" in target.read_text()


def test_a_report_without_them_says_nothing_of_labels(tmp_path: Path):
    write_report(tmp_path, stages=[ROW], pool=(), seconds=1.0)
    write_page(tmp_path / "report.html", stages=[ROW])
    assert "labels" not in json.loads((tmp_path / "report.json").read_text())
    assert "Each label" not in (tmp_path / "report.md").read_text()
    assert "Each label" not in (tmp_path / "report.html").read_text()


def test_the_table_has_the_columns_of_its_task():
    assert format_table([ROW]).split()[:5] == ["stage", "macro", "F1", "micro", "F1"]
    number = StageRow("file", None, None, None, None, 2048, None, None, None, None,
                      metric="r2", score=-0.25, mae=12.5)  # fmt: skip
    assert format_table([number]).splitlines() == [
        "stage      R²   MAE     size",
        "-----  ------  ----  -------",
        "file   -0.250  12.5  2.00 KB",
    ]


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [("micro_f1", 1.1, "a fraction in [0, 1]"), ("mae", -1.0, "a finite number of at least 0")],
)
def test_figures_that_cannot_be_are_refused(field: str, value: float, wanted: str):
    with pytest.raises(ValueError, match=re.escape(f"`{field}` must be {wanted}, or None")):
        StageRow("file", *[None] * 9, **{field: value})


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=re.escape("must have the same shape [N, C]. Received")):
        label_f1([[1, 0]], [[1, 0, 0]])
