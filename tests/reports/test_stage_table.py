from __future__ import annotations

import builtins
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfdistill.reports.stage_table import (
    PoolRow,
    StageRow,
    add_pool,
    format_table,
    markdown_table,
    read_report,
    write_report,
)
from tfdistill.reports.verdict import compare_with_rivals

TEACHER = StageRow(
    "teacher", 0.965, 0.921, 22_713_216, 22_713_216, 90_852_864, 83_500_000, 8.17, 9.0, 1.0
)
TFIDF = StageRow("tfidf", 0.9413, 0.85, 999_499, 150, 1023, 1024, None, None, 0.95)
TFLITE = StageRow("tflite", 0.95, 0.8899, 372_000, 186_000, 408_576, 204_800, 0.0361, 0.0412, 0.966)
ROWS = [TEACHER, TFIDF, TFLITE]
POOL = [PoolRow("inline", 7123.4, True), PoolRow("ray", 900.0, False)]


TABLE = """\
stage    accuracy  macro F1  parameters  non-zero     size     gzip  p50 ms  p95 ms  agreement
-------  --------  --------  ----------  --------  -------  -------  ------  ------  ---------
teacher     0.965     0.921      22.7 M    22.7 M  86.6 MB  79.6 MB   8.170   9.000      1.000
tfidf       0.941     0.850       999 k       150   1023 B  1.00 KB       –       –      0.950
tflite      0.950     0.890       372 k     186 k   399 KB   200 KB   0.036   0.041      0.966"""


def test_the_terminal_table_is_aligned_and_in_human_units() -> None:
    assert format_table(ROWS) == TABLE


def test_the_markdown_table_has_the_same_cells() -> None:
    lines = markdown_table(ROWS).splitlines()
    assert lines[1] == "| --- |" + " --: |" * 9
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    terminal = [line.split("  ") for line in format_table(ROWS).splitlines()]
    for row in (0, 2, 3, 4):
        assert cells[row] == [cell.strip() for cell in terminal[row] if cell.strip()]


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (999_500, "1.00 M"),
        (12_345, "12.3 k"),
        (10**12, "1000 G"),
    ],
)
def test_counts_have_three_significant_digits(parameters: int, shown: str) -> None:
    row = dataclasses.replace(TFLITE, parameters=parameters)
    assert f"| {shown} |" in markdown_table([row])


def test_report_json_has_exactly_the_documented_keys(tmp_path: Path) -> None:
    assert (
        write_report(tmp_path / "run", stages=ROWS, pool=POOL, seconds=401.25) == tmp_path / "run"
    )
    content = json.loads((tmp_path / "run" / "report.json").read_text())
    assert list(content) == ["stages", "pool", "seconds"]
    for row in content["stages"]:
        assert list(row) == [
            "stage",
            "accuracy",
            "macro_f1",
            "parameters",
            "nonzero",
            "size_bytes",
            "gzip_bytes",
            "latency_ms_p50",
            "latency_ms_p95",
            "teacher_agreement",
            "bundle_bytes",
            "text_ms_p50",
            "text_ms_p95",
            "metric",
            "score",
            "micro_f1",
            "mae",
        ]
    assert content["stages"][2] == {
        "stage": "tflite",
        "accuracy": 0.95,
        "macro_f1": 0.8899,
        "parameters": 372_000,
        "nonzero": 186_000,
        "size_bytes": 408_576,
        "gzip_bytes": 204_800,
        "latency_ms_p50": 0.0361,
        "latency_ms_p95": 0.0412,
        "teacher_agreement": 0.966,
        "bundle_bytes": None,
        "text_ms_p50": None,
        "text_ms_p95": None,
        "metric": None,
        "score": None,
        "micro_f1": None,
        "mae": None,
    }
    assert content["stages"][1]["latency_ms_p50"] is None
    assert content["pool"] == [
        {"executor": "inline", "items_per_s": 7123.4, "identical": True},
        {"executor": "ray", "items_per_s": 900.0, "identical": False},
    ]
    assert content["seconds"] == 401.25


def test_the_markdown_report_holds_table_plot_pool_and_notes(tmp_path: Path) -> None:
    write_report(tmp_path, stages=ROWS, pool=POOL, seconds=401.25, notes=["TF-IDF wins.", "B."])
    text = (tmp_path / "report.md").read_text()
    assert markdown_table(ROWS) in text
    assert "](pareto.svg)" in text
    assert "| inline | 7,123 | yes |\n| ray | 900 | **no** |" in text
    assert "* TF-IDF wins.\n* B.\n" in text
    assert text.endswith("The whole run took 401 s.\n")


def test_exactly_three_files_are_left_and_replaced_the_next_time(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        write_report(tmp_path, stages=ROWS, pool=[], seconds=seconds)
        assert sorted(os.listdir(tmp_path)) == ["pareto.svg", "report.json", "report.md"]
    assert json.loads((tmp_path / "report.json").read_text())["seconds"] == 2.0


def test_without_matplotlib_the_whole_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_matplotlib(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    write_report(tmp_path, stages=ROWS, pool=[], seconds=1.0)
    assert sorted(os.listdir(tmp_path)) == ["pareto.svg", "report.json", "report.md"]


def test_a_report_needs_neither_tensorflow_nor_matplotlib_to_be_imported() -> None:
    code = (
        "import sys, tfdistill.reports.stage_table as report\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib', 'tf_keras'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "row = report.StageRow('a', 1.0, 1.0, 1, 1, 1, 1, 1.0, 1.0, 1.0)\n"
        "assert report.format_table([row])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("accuracy", 96.5, r"a fraction in \[0, 1\]"),
        ("macro_f1", -0.1, r"a fraction in \[0, 1\]"),
        ("teacher_agreement", float("nan"), r"a fraction in \[0, 1\]"),
        ("latency_ms_p50", float("inf"), "a finite number of at least 0"),
        ("size_bytes", -1, "a finite number of at least 0"),
    ],
)
def test_a_number_that_cannot_be_is_refused(field: str, value: float, wanted: str) -> None:
    with pytest.raises(
        ValueError, match=f"`{field}` must be {wanted}, or None. Received: {field}=.*'tflite'"
    ):
        dataclasses.replace(TFLITE, **{field: value})


def test_two_rows_of_one_stage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different stages.*Received: .'teacher', 'teacher'"):
        write_report(tmp_path, stages=[TEACHER, TEACHER], pool=[], seconds=1.0)
    assert os.listdir(tmp_path) == []


def test_a_report_without_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`stages` must be rows .* at least one. Received: \[\]"):
        write_report(tmp_path, stages=[], pool=[], seconds=1.0)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="`rows` must hold at least one stage"):
        format_table([])


def test_the_honest_columns_stand_beside_those_of_the_file() -> None:
    row = dataclasses.replace(TFLITE, bundle_bytes=1 << 20, text_ms_p50=0.25, text_ms_p95=0.5)
    head, _, *lines = format_table([TEACHER, row]).splitlines()

    assert re.split("  +", head)[6:] == [
        "gzip", "bundle", "p50 ms", "p95 ms", "text p50 ms", "text p95 ms", "agreement",
    ]  # fmt: skip
    assert re.split("  +", lines[0])[7:] == ["–", "8.170", "9.000", "–", "–", "1.000"]
    assert re.split("  +", lines[1])[7:] == ["1.00 MB", "0.036", "0.041", "0.250", "0.500", "0.966"]


def number_row(stage: str, score: float, metric: str = "mae") -> StageRow:
    return StageRow(stage, *[None] * 9, metric=metric, score=score)


def test_the_head_of_the_score_is_the_metric_if_it_is_one() -> None:
    lines = markdown_table([number_row("teacher", 0.25), number_row("file", 12.5)]).splitlines()
    assert lines == ["| stage | MAE |", "| --- | --: |", "| teacher | 0.250 |", "| file | 12.5 |"]


def test_scores_of_several_metrics_have_the_name_beside_them() -> None:
    rows = [number_row("teacher", -0.5, "r2"), number_row("file", 0.25), TEACHER]
    lines = markdown_table(rows).splitlines()
    assert lines[0].startswith("| stage | metric | score | accuracy |")
    assert lines[2].startswith("| teacher | r2 | -0.500 | – |")
    assert lines[4].startswith("| teacher | – | – | 0.965 |")


@pytest.mark.parametrize("only", [{"metric": "mae"}, {"score": 0.5}])
def test_a_score_without_its_metric_is_refused(only: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`metric` and `score` must be given together. Received"):
        dataclasses.replace(TFLITE, **only)


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="`score` must be a finite number, or None. Received"):
        number_row("file", float("inf"))


def test_a_report_of_before_still_reads(tmp_path: Path) -> None:
    write_report(tmp_path, stages=ROWS, pool=POOL, seconds=1.0)
    content = json.loads((tmp_path / "report.json").read_text())
    new = {"bundle_bytes", "text_ms_p50", "text_ms_p95", "metric", "score"}
    content["stages"] = [
        {key: value for key, value in row.items() if key not in new} for row in content["stages"]
    ]
    (tmp_path / "report.json").write_text(json.dumps(content))

    assert [StageRow(**row) for row in read_report(tmp_path)["stages"]] == ROWS


def test_the_report_opens_with_the_verdict_and_reads_back(tmp_path: Path) -> None:
    verdict = compare_with_rivals([0, 1], student=[0, 1], rivals={"control": [0, 0]}, resamples=50)
    facts = {"Data set": "two texts", "Date": "2026-01-02"}
    write_report(tmp_path, stages=ROWS, pool=[], seconds=1.0, verdict=verdict, facts=facts)
    content = read_report(tmp_path)

    assert (tmp_path / "report.md").read_text().splitlines()[0] == verdict.line()
    assert "* Data set: two texts\n* Date: 2026-01-02\n" in (tmp_path / "report.md").read_text()
    assert type(verdict).from_dict(content["verdict"]) == verdict
    assert content["facts"] == facts


@pytest.mark.parametrize("part", [{"verdict": {}}, {"facts": {"Date": 3}}, {"facts": []}])
def test_a_report_with_a_part_that_is_none_is_refused(tmp_path: Path, part: dict[str, Any]) -> None:
    write_report(tmp_path, stages=ROWS, pool=[], seconds=1.0)
    content = {**json.loads((tmp_path / "report.json").read_text()), **part}
    (tmp_path / "report.json").write_text(json.dumps(content))

    with pytest.raises(ValueError, match="`folder` must hold a report that tfdistill wrote"):
        read_report(tmp_path)


def test_only_columns_that_are_there_are_told(tmp_path: Path) -> None:
    write_report(tmp_path, stages=ROWS, pool=[], seconds=1.0)
    assert "*bundle*" not in (tmp_path / "report.md").read_text()
    row = dataclasses.replace(TFLITE, bundle_bytes=9, text_ms_p50=0.1)
    write_report(tmp_path, stages=[row], pool=[], seconds=1.0)
    text = (tmp_path / "report.md").read_text()
    assert "*bundle* is the file with its tokenizer" in text and "*text p50*" in text


def test_agents_join_a_report_that_keeps_all_else(tmp_path: Path) -> None:
    verdict = compare_with_rivals(
        [0, 1, 1], student=[0, 1, 1], rivals={"control": [0, 0, 1]}, teacher=[0, 1, 1]
    )
    given = {"notes": ["One seed."], "verdict": verdict, "facts": {"Data": "news"}}
    write_report(tmp_path / "whole", stages=ROWS, pool=POOL, seconds=9, **given)
    write_report(tmp_path / "later", stages=ROWS, pool=(), seconds=5, **given)
    add_pool(tmp_path / "later", POOL, seconds=9)

    for name in ("report.json", "report.md"):
        assert (tmp_path / "later" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert read_report(tmp_path / "later")["notes"] == ["One seed."]
