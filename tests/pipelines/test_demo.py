"""The demo is `distill_text` on a draw of labels, and what ships in a pool of agents."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared_fixtures.topics import texts

from tfdistill.datasets import text_data
from tfdistill.pipelines import TextRun, run_demo

QUIET = {"say": lambda line: None, "visible": False}


def few(folder: Path, *, executors: tuple[str, ...], teacher: Path) -> TextRun:
    data = text_data(texts(300, seed=0), texts(60, seed=1))
    return run_demo(
        data, name="Topics", labels=60, unlabeled=100, executors=executors, teacher=teacher,
        max_kb=120, out=folder, **QUIET,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.ray
def test_few_labels_train_the_others_have_none_and_every_executor_agrees(
    tiny_teacher: Path, tmp_path: Path
):
    run = few(tmp_path / "run", executors=("inline", "threads", "ray"), teacher=tiny_teacher)

    pool = {row["executor"]: row["identical"] for row in run.report["pool"]}
    assert pool == {"inline": True, "threads": True, "ray": True}
    data_set = run.report["facts"]["Data set"]
    assert data_set.startswith("Topics, 60 labels: ") and "unlabeled rows" in data_set
    learned_from = len(run.material.text_ids)  # some texts occur twice, and held-out ones are apart
    assert 120 <= learned_from <= 140  # a fifth of those without a label only watches
    assert run.report["verdict"] == run.verdict.to_dict()
    report = (run.folder / "report.md").read_text(encoding="utf-8")
    assert report.splitlines()[0] == run.verdict.line() and "| ray |" in report
    assert "What ships: " in report
    assert "texts without a label that trained nothing" in report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": 2}, r"`labels` must be an int in \[3, 30\]"),
        ({"labels": 10, "unlabeled": -1}, r"`unlabeled` must be .* at least 0"),
    ],
)
def test_numbers_of_texts_out_of_range_are_refused(options: dict, message: str, tmp_path: Path):
    data = text_data(texts(30, seed=0), texts(9, seed=1))
    with pytest.raises(ValueError, match=message):
        run_demo(data, name="Topics", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
