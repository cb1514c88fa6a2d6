"""Several labels a text, and a number: from a table to a bundle with its proof."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shared_fixtures.topics import OTHERS, TOPICS

import tfdistill as td
from tfdistill.agents import Agent
from tfdistill.bundles import NumberScale
from tfdistill.cli.application import main
from tfdistill.pipelines import TextRun

STAGES = {
    "teacher", "teacher_8bit", "control", "bag_of_words_labels", "bag_of_words_teacher",
    "distilled", "file",
}  # fmt: skip
# Few words: the features of a teacher that was never trained hold no more.
GOOD, BAD, REST = TOPICS["food"][:3], TOPICS["weather"][:3], OTHERS[:4]


def labelled(count: int, *, seed: int) -> tuple[list[str], list[list[str]]]:
    """Texts with the words of none, one or two topics, and the names of these."""
    generator = np.random.default_rng(seed)
    found, labels = [], []
    for _ in range(count):
        own = sorted(generator.choice(list(TOPICS), generator.integers(0, 3), replace=False))
        words = [*generator.choice(REST, 4)]
        words += [word for topic in own for word in generator.choice(TOPICS[topic][:3], 2)]
        found.append(" ".join(generator.permutation(words)))
        labels.append([str(name) for name in own])
    return found, labels


def rated(count: int, *, seed: int) -> tuple[list[str], list[float]]:
    """Texts and 50, plus 10 for each good word and less 10 for each bad one."""
    generator = np.random.default_rng(seed)
    found, numbers = [], []
    for _ in range(count):
        good, bad = generator.integers(0, 4, 2)
        words = [*generator.choice(REST, 3), *generator.choice(GOOD, good)]
        words += [*generator.choice(BAD, bad)]
        found.append(" ".join(generator.permutation(words)))
        numbers.append(float(50 + 10 * (good - bad)))
    return found, numbers


@pytest.fixture(scope="module")
def labels_run(tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    return td.distill_text(
        labelled(300, seed=0), test=labelled(100, seed=1), teacher=tiny_teacher, effort="quick",
        max_kb=100, say=lambda line: None, visible=False,
        out=tmp_path_factory.mktemp("runs") / "labels",
    )  # fmt: skip


@pytest.mark.slow
def test_labels_come_with_thresholds_figures_of_each_and_a_verdict_on_macro_f1(
    labels_run: TextRun,
):
    run, stages = labels_run, {row["stage"]: row for row in labels_run.report["stages"]}
    assert run.bundle.task == "labels" and run.bundle.labels == ("food", "travel", "weather")
    assert run.verdict.metric == "macro_f1" and set(stages) == STAGES
    for row in stages.values():
        assert row["metric"] == "macro_f1" and row["accuracy"] is None
        assert 0 < row["score"] <= 1 and 0 < row["micro_f1"] <= 1
    file = stages[run.choice.name]
    # The tiny teacher was never trained on language; saying every label gives 0.5.
    assert run.verdict.score == file["score"] >= 0.6

    # The macro F1 is the mean of the figures of each label, and the agent's answers give it.
    texts, truth = labelled(100, seed=1)
    told = [set(each.labels) for each in Agent(run.bundle.path).predict(texts)]
    f1 = []
    for name in run.bundle.labels:
        hits = sum(name in said and name in right for said, right in zip(told, truth, strict=True))
        f1.append(2 * hits / sum((name in said) + (name in right)
                                 for said, right in zip(told, truth, strict=True)))  # fmt: skip
    assert file["score"] == pytest.approx(np.mean(f1))
    listed = {each["label"]: each["f1"]["student"] for each in run.report["labels"]}
    assert listed == pytest.approx(dict(zip(run.bundle.labels, f1, strict=True)))
    report = (run.folder / "report.md").read_text(encoding="utf-8")
    assert report.splitlines()[0] == run.verdict.line() and "macro F1" in run.verdict.line()
    assert "| label | texts | F1 teacher | F1 student |" in report and "## Each label" in report
    assert "Each label" in (run.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def number_run(tiny_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> TextRun:
    folder = tmp_path_factory.mktemp("numbers")
    for name, rows in (("train", rated(300, seed=0)), ("test", rated(100, seed=1))):
        lines = [f"{text},{number}" for text, number in zip(*rows, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["text,stars", *lines]))
    return td.distill_text(
        folder / "train.csv", label="stars", task="number", test=folder / "test.csv",
        teacher=tiny_teacher, effort="quick", max_kb=100, say=lambda line: None, visible=False,
        out=folder / "run",
    )  # fmt: skip


@pytest.mark.slow
def test_a_number_comes_in_its_own_units_with_a_verdict_on_r2(number_run: TextRun):
    run, stages = number_run, {row["stage"]: row for row in number_run.report["stages"]}
    assert run.bundle.task == "number" and run.bundle.labels == ("stars",)
    scale = run.bundle.scale
    assert isinstance(scale, NumberScale)
    assert 45 < scale.mean < 55 and 13 < scale.standard_deviation < 19
    assert run.verdict.metric == "r2" and set(stages) == STAGES
    file = stages[run.choice.name]
    assert run.verdict.score == file["score"] >= 0.6

    texts, truth = rated(100, seed=1)
    told = np.array([each.value for each in Agent(run.bundle.path).predict(texts)])
    errors = told - truth
    assert file["mae"] == pytest.approx(np.mean(np.abs(errors)))
    spread = np.sum((np.array(truth) - np.mean(truth)) ** 2)
    assert file["score"] == pytest.approx(1 - np.sum(errors**2) / spread)
    assert all(row["teacher_agreement"] is None for row in stages.values())
    report = (run.folder / "report.md").read_text(encoding="utf-8")
    assert "R²" in report.splitlines()[0] and "| stage | R² | MAE |" in report
    assert "*agreement*" not in report


@pytest.mark.slow
def test_the_command_asks_for_a_share_of_the_metric(tiny_teacher: Path, number_run: TextRun):
    folder = number_run.folder.parent
    arguments = [
        "distill", folder / "train.csv", "--label", "stars", "--task", "number",
        "--test", folder / "test.csv", "--teacher", tiny_teacher, "--effort", "quick",
        "--max-kb", "100", "--out", number_run.folder, "--json", "--require", "9",
    ]  # fmt: skip
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])

    assert result.exit_code == 3, result.output
    assert number_run.verdict.relative is not None
    kept = f"{number_run.verdict.relative.value:.4f}"
    assert f"the student keeps {kept} of its teacher, 9 is required" in result.output
    assert json.loads(result.stdout.splitlines()[-1])["verdict"]["metric"] == "r2"


def test_an_unknown_task_is_refused_before_anything_is_written(tmp_path: Path):
    message = "`task` must be one of ('auto', 'class', 'labels', 'number'). Received: task='tags'."
    with pytest.raises(ValueError, match=re.escape(message)):
        td.distill_text((["a"], ["b"]), task="tags", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
