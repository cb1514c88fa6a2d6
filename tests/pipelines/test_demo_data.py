"""Which texts keep their label, and what the others carry."""

from __future__ import annotations

import numpy as np
import pytest

from tfdistill.agents import Prediction
from tfdistill.pipelines.agents import as_classes
from tfdistill.pipelines.data import pick_labelled
from tfdistill.pipelines.evaluation import notes_on
from tfdistill.reports.stage_table import StageRow

LABELS = np.array([0] * 90 + [1] * 9 + [2])


def test_every_class_keeps_at_least_one_label():
    for seed in range(20):
        rows = pick_labelled(LABELS, labels=5, seed=seed)
        assert len(set(rows.tolist())) == 5
        assert set(LABELS[rows]) == {0, 1, 2}


def test_the_draw_is_a_function_of_the_seed():
    draws = [tuple(pick_labelled(LABELS, labels=20, seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_none_keeps_all():
    np.testing.assert_array_equal(pick_labelled(LABELS, labels=None, seed=0), np.arange(100))


@pytest.mark.parametrize(
    ("labels", "error"), [(2, ValueError), (101, ValueError), (True, TypeError)]
)
def test_a_number_of_labels_out_of_range_is_refused(labels, error):
    with pytest.raises(error, match=r"`labels` must be an int in \[3, 100\]"):
        pick_labelled(LABELS, labels=labels, seed=0)


def test_texts_of_a_single_class_are_refused():
    with pytest.raises(ValueError, match="two or more classes.*class \\[1\\] only"):
        pick_labelled(np.ones(9, np.int32), labels=4, seed=0)


def test_a_text_without_an_answer_counts_as_wrong():
    answers = [Prediction("b", 0.9, (0.1, 0.9)), ValueError("no known word")]
    classes = as_classes(answers, label_names=("a", "b"), truth=np.array([1, 1]))
    assert classes.tolist() == [1, 0]


def rows(**accuracy: float) -> list[StageRow]:
    return [
        StageRow(stage, value, value, 10, 10, 100, 50, 1.0, 2.0, value)
        for stage, value in accuracy.items()
    ]


def test_the_notes_say_so_where_a_bag_of_words_wins():
    table = rows(teacher=0.9, tfidf=0.95, control=0.8, distilled=0.85, tflite=0.85)
    assert any("(0.950) beats teacher, tflite, control" in note for note in notes_on(table))
    table = rows(teacher=0.9, tfidf=0.5, control=0.8, distilled=0.85, tflite=0.85)
    assert not any("TF-IDF" in note for note in notes_on(table))


def test_the_notes_state_the_difference_to_the_control():
    table = rows(teacher=0.9, tfidf=0.5, control=0.8, distilled=0.85, tflite=0.81)
    assert (
        "moved accuracy by +5.0 points and agreement with the teacher by +5.0"
        in (notes_on(table)[0])
    )
    assert "has 90.0 % of its accuracy" in notes_on(table)[1]
