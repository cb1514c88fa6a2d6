"""Thresholds of the best F1, against hand-made cases and a search over all of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tfdistill.agents import best_thresholds
from tfdistill.agents.trust.thresholds import sigmoid


def f1(given: np.ndarray, truth: np.ndarray) -> float:
    hits = int((given & truth).sum())
    return 2 * hits / int(given.sum() + truth.sum())


def test_the_threshold_is_the_middle_below_the_last_text_that_is_given():
    scores = np.array([[0.9], [0.8], [0.3], [0.2], [0.1]])
    labels = np.array([[1], [0], [1], [0], [0]])

    # Given 1, 2, 3, 4, 5: F1 = 2/3, 2/4, 4/5, 4/6, 4/7. The best is after 0.3.
    assert best_thresholds(scores, labels).tolist() == [0.25]


def test_equal_scores_are_given_together():
    scores = np.array([[0.7], [0.7], [0.7], [0.2]])
    labels = np.array([[1], [0], [0], [1]])

    # 2 · 1 / (3 + 2) = 0.4 for the three, 2 · 2 / (4 + 2) = 0.667 for all: from 0.2 on.
    assert best_thresholds(scores, labels).tolist() == [0.2]


def test_a_usual_threshold_that_is_as_good_stays_and_else_the_nearest_is_taken():
    scores = np.array([[0.9, 0.2], [0.2, 0.1]])
    labels = np.array([[1, 1], [0, 0]])
    assert best_thresholds(scores, labels).round(9).tolist() == [0.5, 0.15]

    # Given 1 or 4 texts F1 is 2/3; the middles are 0.35 and 0.05.
    scores, labels = [[0.4], [0.3], [0.2], [0.1], [0.0]], [[1], [0], [0], [1], [0]]
    assert best_thresholds(scores, labels).round(9).tolist() == [0.35]
    assert best_thresholds(scores, labels, usual=-1.0).round(9).tolist() == [0.05]


def test_a_label_without_a_positive_text_keeps_the_usual_threshold():
    assert best_thresholds([[0.9], [0.1]], [[0], [0]]).tolist() == [0.5]
    assert best_thresholds([[3.0], [-1.0]], [[0], [0]], usual=0.0).tolist() == [0.0]


def test_no_threshold_is_better(rng: np.random.Generator):
    truth = rng.random((60, 20)) < 0.2
    # On a grid, so that scores are equal; correlated with the labels.
    scores = np.round(0.3 * truth + rng.random((60, 20)) * 0.7, 2)

    for column, positive, found in zip(
        scores.T, truth.T, best_thresholds(scores, truth), strict=True
    ):
        every = [f1(column >= threshold, positive) for threshold in np.unique(column)]
        assert f1(column >= found, positive) == pytest.approx(max(every))


def test_neighboring_floats_are_told_apart():
    high = 0.3
    low = np.nextafter(high, 0)
    (found,) = best_thresholds([[high], [low]], [[1], [0]])
    assert (high >= found, low >= found) == (True, False)


def test_sigmoid_never_overflows():
    with np.errstate(all="raise", under="ignore"):
        found = sigmoid(np.array([-800.0, -np.log(4.0), 0.0, np.log(4.0), 800.0]))
    np.testing.assert_allclose(found, [0.0, 0.2, 0.5, 0.8, 1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.5], [1], "must have the same shape [N, C], N and C at least 1. Received: scores of"),
        ([[0.5]], [[1, 0]], "labels of shape (1, 2)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "N and C at least 1"),
        ([[np.nan]], [[1]], "`scores` must be finite. Received: [nan]"),
        ([[0.5]], [[0.5]], "`labels` must be 0 or 1 for each text and label"),
        ([[0.5]], [["joy"]], "`labels` must be 0 or 1 for each text and label"),
    ],
)
def test_what_is_no_score_or_label_is_refused(scores: Any, labels: Any, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        best_thresholds(scores, labels)
