"""Rows are split so that no text decides or tests what it trained."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tfdistill.pipelines.texts.rows import read_rows
from tfdistill.pipelines.texts.tasks import TextTask, infer_task, task_of


def pairs(count: int) -> tuple[list[str], list[str]]:
    texts = [f"text {number}" for number in range(count)]
    return [*texts, *texts[:10]], ["ab"[number % 2] for number in range(count)] + ["a", "b"] * 5


def test_no_text_is_on_two_sides_and_every_row_is_on_one():
    texts, labels = pairs(200)
    rows = read_rows((texts, labels), task="class", seed=1)
    sides = [set(part.texts) for part in (rows.train, rows.held_out, rows.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert sum(map(len, (rows.train, rows.held_out, rows.test))) == 210
    assert (len(sides[2]), len(sides[1])) == (40, 16)  # a fifth; a tenth of the other 160


def test_training_rows_whose_text_is_tested_are_left_out_and_said():
    said: list[str] = []
    texts, labels = pairs(60)
    rows = read_rows((texts, labels), task="class", test=(["text 0"], ["a"]), say=said.append)
    assert "text 0" not in {*rows.train.texts, *rows.held_out.texts}
    assert "2 training rows have a text of the test rows: left out" in said


def test_each_part_knows_the_numbers_of_its_rows_and_test_rows_come_last():
    texts, labels = pairs(60)
    test = ["new 0", "text 3", "new 1"]
    rows = read_rows((texts, labels), task="class", test=(test, ["a", "b", "a"]))
    everything = [*texts, *test]
    assert rows.num_rows == 73
    for part in (rows.train, rows.held_out, rows.test):
        assert [everything[row] for row in part.rows] == part.texts
    assert rows.test.rows.tolist() == [70, 71, 72]


def test_unlabeled_texts_are_those_without_a_label_once():
    texts, labels = pairs(60)
    more = ["text 1", "new", "new", " ", "other"]
    assert read_rows((texts, labels), task="class", unlabeled=more).unlabeled == ("new", "other")


def test_where_few_rows_are_held_out_a_fifth_of_the_unlabeled_ones_watches():
    texts, labels = pairs(60)
    more = [f"new {number}" for number in range(50)]
    rows = read_rows((texts, labels), task="class", unlabeled=more)
    assert len(rows.watched) == 10 and not set(rows.watched) & set(rows.unlabeled)
    assert sorted([*rows.watched, *rows.unlabeled]) == sorted(more)
    again = read_rows((texts, labels), task="class", unlabeled=more)
    assert again.watched == rows.watched


def test_where_many_rows_are_held_out_all_unlabeled_ones_train():
    texts = [f"text {number}" for number in range(8000)]
    more = [f"new {number}" for number in range(50)]
    rows = read_rows((texts, ["a", "b"] * 4000), task="class", unlabeled=more)
    assert len(rows.held_out) >= 500
    assert (rows.watched, len(rows.unlabeled)) == ((), 50)


def test_held_out_rows_are_at_most_3000():
    texts = [f"text {number}" for number in range(50_000)]
    rows = read_rows((texts, ["a", "b"] * 25_000), task="class")
    assert len(rows.held_out) == 3000 and len(rows.test) == 10_000


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match=re.escape("`data` must have enough different texts")):
        read_rows((["a", "b"], ["x", "y"]), task="class")


def test_a_column_of_one_class_is_refused(tmp_path: Path):
    file = tmp_path / "own.csv"
    file.write_text("text,label\nrain,wet\nsnow,wet\n")
    message = "`label` must be a column of two or more different labels"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_rows(file, task="class")


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match=re.escape("`task` must be 'auto' or one of")):
        task_of("colour", ["a", "b"])


def test_tasks_are_inferred_from_cells():
    assert infer_task(["a", "b"]) == "class"
    assert infer_task([1, 2, 5]) == "class"
    assert infer_task(list(range(30))) == "number"
    assert infer_task([0.5, 1.5]) == "number"
    assert infer_task(['["a"]', "[]"]) == "labels"


def test_targets_have_the_form_of_their_task():
    assert TextTask("class", ("a", "b")).encode(["b", "a"]).tolist() == [1, 0]
    several = task_of("labels", ["joy, fear", "fear", None])
    np.testing.assert_array_equal(several.encode(["joy", None]), [[0, 1], [0, 0]])
    number = task_of("number", [1.5, 2.0])
    assert number.encode([1.5]).tolist() == [1.5] and number.outputs == "linear"
