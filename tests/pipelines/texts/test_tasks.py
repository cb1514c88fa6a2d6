"""What a task makes of targets and of logits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tfdistill.bundles import NumberScale
from tfdistill.pipelines.texts.answers import answers_of_logits
from tfdistill.pipelines.texts.rivals import train_on_words
from tfdistill.pipelines.texts.rows import Part, TextRows, read_rows
from tfdistill.pipelines.texts.scores import Scorer
from tfdistill.pipelines.texts.tasks import TextTask, task_of

STARS = TextTask("number", ("stars",), NumberScale(mean=3.0, standard_deviation=2.0))
MOODS = TextTask("labels", ("joy", "fear"))


def test_numbers_are_learned_standardized_and_told_in_units():
    numbers = np.array([1.0, 3.0, 6.0], np.float32)
    learned = STARS.learned(numbers)
    assert learned.tolist() == [-1.0, 0.0, 1.5] and learned.dtype == np.float32
    np.testing.assert_allclose(STARS.answers(learned[:, None]), numbers)


def test_other_targets_are_learned_as_they_are():
    targets = np.array([[1.0, 0.0]], np.float32)
    assert MOODS.learned(targets) is targets and MOODS.scaled_to(targets) is MOODS


def test_numbers_that_are_all_the_same_have_a_deviation_of_one():
    assert STARS.scaled_to(np.full(5, 7.0)).scale == NumberScale(7.0, 1.0)


def test_the_scale_is_that_of_the_training_rows():
    texts = [f"text {number}" for number in range(200)]
    rows = read_rows((texts, [float(number) for number in range(200)]), label="stars")
    scale = rows.task.scale
    assert rows.task.kind == "number" and rows.task.label_names == ("stars",) and scale is not None
    assert scale.mean == pytest.approx(rows.train.targets.mean())
    assert scale.standard_deviation == pytest.approx(rows.train.targets.std(), rel=1e-6)
    assert rows.task.learned(rows.train.targets).std() == pytest.approx(1.0, rel=1e-5)
    assert rows.test.targets.max() > 100  # targets stay in units


def test_each_task_has_its_metric():
    kinds = ("class", "labels", "number")
    assert [TextTask(kind, ("a", "b")).metric for kind in kinds] == ["accuracy", "macro_f1", "r2"]


def rows_of(held: Part, test: Part, task: TextTask) -> TextRows:
    return TextRows("own", task, held, held, test, ())


def test_labels_are_given_from_thresholds_of_the_held_out_rows():
    # Joy parts at -1, fear at 2; with 0 for both, joy would be missed and fear be said of all.
    logits = {
        "held": np.array([[-0.5, 3.0], [-0.5, 3.0], [-1.5, 1.0], [-1.5, 1.0]]),
        "test": np.array([[-0.9, 1.9], [-1.1, 2.1]]),
    }
    held = Part(["held"] * 4, np.array([[1, 1], [1, 1], [0, 0], [0, 0]], np.float32))
    test = Part(["test"] * 2, np.zeros((2, 2), np.float32))
    said = answers_of_logits(rows_of(held, test, MOODS), lambda part: logits[part.texts[0]])
    assert said.tolist() == [[1, 0], [0, 1]]


def test_rows_of_the_report_have_the_figures_of_their_task():
    labels = np.array([[1, 0], [1, 1]])
    row = Scorer(labels, np.array([[1, 0], [0, 1]]), MOODS).row("file", np.array([[1, 0], [1, 0]]))
    # F1 of joy 1, of fear 0; together 2 · 2 / (3 + 2). Of the teacher's two texts one is the same.
    assert (row.metric, row.score, row.micro_f1) == ("macro_f1", 0.5, 0.8)
    assert (row.accuracy, row.macro_f1, row.teacher_agreement) == (None, None, 0.5)

    numbers = np.array([1.0, 3.0, 5.0])
    row = Scorer(numbers, numbers, STARS).row("file", np.array([1.0, 4.0, 6.0]))
    assert (row.metric, row.score, row.mae) == ("r2", 0.75, pytest.approx(2 / 3))
    assert (row.accuracy, row.teacher_agreement, row.micro_f1) == (None, None, None)


def test_the_words_rival_has_thresholds_of_the_held_out_rows_too():
    pytest.importorskip("sklearn")
    generator = np.random.default_rng(0)

    def part(count: int) -> Part:
        targets = (generator.random((count, 2)) < (0.5, 0.1)).astype(np.float32)
        words = [["glad" if joy else "flat", "dark" if fear else "calm"] for joy, fear in targets]
        return Part([" ".join(generator.permutation(two)) for two in words], targets)

    train, held, test = part(60), part(40), part(40)
    rival = train_on_words(train, held, test, task=MOODS, timed=2)
    np.testing.assert_array_equal(rival.predictions, test.targets)
    np.testing.assert_array_equal(rival.held_predictions, held.targets)

    # Held-out rows that call everything joy move the threshold of joy alone.
    every = Part(held.texts, np.stack([np.ones(40), held.targets[:, 1]], axis=1))
    moved = train_on_words(train, every, test, task=MOODS, timed=2)
    assert moved.held_predictions[:, 0].all()
    np.testing.assert_array_equal(moved.held_predictions[:, 1], held.targets[:, 1])


def test_a_column_of_one_number_is_refused():
    message = "`label` must be a column of two or more different numbers. Received: a column with"
    with pytest.raises(ValueError, match=re.escape(message)):
        task_of("number", [3.0, 3.0])


@pytest.mark.parametrize(
    ("cells", "task", "advice"),
    [
        (list(range(40)) * 3, "number", "if the numbers stand for classes, set `task` (--task)"),
        ([0.5 * number for number in range(120)], "number", None),
        (["a|b", "b", "a", "b|a"] * 30, "class", "if the cells hold several labels each, set"),
        (["x, y", "z", "w, y", "w"] * 30, "class", None),
    ],
)
def test_a_guess_that_may_be_wrong_is_told(cells: list, task: str, advice: str | None):
    said: list[str] = []
    texts = [f"text {number}" for number in range(120)]
    rows = read_rows((texts, cells), say=said.append)
    assert rows.task.kind == task
    told = [line for line in said if line.startswith("if the")]
    assert [line[: len(advice or "")] for line in told] == ([advice] if advice else [])

    said.clear()
    read_rows((texts, cells), task=task, say=said.append)
    assert not [line for line in said if line.startswith("if the")]


def test_empty_cells_of_a_file_are_texts_without_a_label(tmp_path: Path):
    file = tmp_path / "own.csv"
    lines = [f"text {number},{('joy;fear', '', 'joy')[number % 3]}" for number in range(60)]
    file.write_text("\n".join(["text,moods", *lines]))
    rows = read_rows(file, label="moods", task="labels")
    parts = [rows.train.targets, rows.held_out.targets, rows.test.targets]
    # fear, joy
    assert np.concatenate(parts).sum(axis=0).tolist() == [20.0, 40.0]


def test_labels_that_only_the_test_rows_have_are_told():
    said: list[str] = []
    texts = [f"text {number}" for number in range(60)]
    rows = read_rows(
        (texts, ["a|b", "b", ""] * 20), task="labels", test=(["new", "other"], ["a|c", "d"]),
        say=said.append,
    )  # fmt: skip
    assert rows.test.targets.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert "test rows have 2 labels that no other row has, left out: 'c', 'd'" in said
