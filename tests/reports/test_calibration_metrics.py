"""Calibration error and ROC area equal numbers on paper and scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tfdistill.reports import auroc, expected_calibration_error


def two(*confidences: float) -> list[list[float]]:
    return [[each, 1.0 - each] for each in confidences]


def test_ece_equals_the_number_on_paper() -> None:
    # Bins of a fifth: (0.6, 0.8] holds 0.7 and 0.8, of which one is right: |0.5 − 0.75|, weight 2;
    # (0.8, 1] holds 0.9, right: |1 − 0.9|, weight 1. Together (0.5 + 0.1) / 3.
    found = expected_calibration_error([0, 1, 0], two(0.7, 0.8, 0.9), bins=5)
    assert found == pytest.approx(0.2, abs=1e-12)


def test_over_and_under_confidence_in_one_bin_cancel_and_in_two_do_not() -> None:
    rows = two(0.9, 0.7)  # the first is wrong, the second right: −0.9 and +0.3
    assert expected_calibration_error([1, 0], rows, bins=1) == pytest.approx(0.3, abs=1e-12)
    assert expected_calibration_error([1, 0], rows, bins=10) == pytest.approx(0.6, abs=1e-12)


def test_confidences_that_are_kept_have_no_error() -> None:
    # Of ten that say 0.8 eight are right.
    assert expected_calibration_error([0] * 8 + [1] * 2, two(*[0.8] * 10)) == pytest.approx(0.0)
    assert expected_calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0.0


def test_a_model_that_is_always_certain_and_always_wrong_has_error_one() -> None:
    assert expected_calibration_error([1, 0], [[1.0, 0.0], [0.0, 1.0]]) == 1.0


@pytest.mark.parametrize(
    ("labels", "probabilities", "error", "message"),
    [
        ([0], [0.5, 0.5], ValueError, r"shapes \[N\] and \[N, C\].*probabilities of shape \(2,\)"),
        ([0, 1], [[0.5, 0.5]], ValueError, r"labels of shape \(2,\)"),
        ([], np.zeros((0, 2)), ValueError, "N at least 1"),
        ([0], [[2.0, -1.0]], ValueError, "rows of at least 0 that sum to 1.*-1.0 to 2.0"),
        ([0], [[3.0, 1.0]], ValueError, "sums from 4.0 to 4.0. Apply the softmax"),
        ([0], [[np.nan, 0.5]], ValueError, "sum to 1"),
        ([2], [[0.5, 0.5]], ValueError, r"`labels` must be class indices in \[0, 2\)"),
        ([0.0], [[0.5, 0.5]], TypeError, "`labels` must be class indices"),
    ],
)
def test_probabilities_that_are_none_are_refused(
    labels: Any, probabilities: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        expected_calibration_error(labels, probabilities)


def test_bins_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="`bins` must be an int of at least 1. Received: bins=0"):
        expected_calibration_error([0], [[1.0, 0.0]], bins=0)


def test_auroc_counts_the_pairs_in_the_right_order() -> None:
    # Positives 3 and 1, negatives 2 and 0: right are (3, 2), (3, 0) and (1, 0) of four pairs.
    assert auroc([3.0, 1.0, 2.0, 0.0], [True, True, False, False]) == 0.75


def test_auroc_of_equal_scores_is_a_half_and_of_turned_scores_the_rest() -> None:
    positives = [True, False, True, False, False]
    assert auroc([1.0] * 5, positives) == 0.5
    scores = np.array([0.1, 0.4, 0.9, 0.9, 0.2])
    assert auroc(scores, positives) + auroc(-scores, positives) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_auroc_equals_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positives = rng.integers(0, 12, 60) / 3.0, rng.random(60) < 0.3  # many ties
    expected = roc_auc_score(positives, scores)
    assert auroc(scores, positives) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positives", "error", "message"),
    [
        ([1.0, 2.0], [1, 0], TypeError, "`positives` must be bool. Received: dtype=int64"),
        ([1.0], [True, False], ValueError, r"same shape \[N\].*scores of shape \(1,\)"),
        ([1.0, np.inf], [True, False], ValueError, r"`scores` must be finite. Received: \[inf\]"),
        ([1.0, 2.0], [True, True], ValueError, "both kinds. Received: 2 positives of 2"),
    ],
)
def test_scores_that_do_not_fit_are_refused(
    scores: Any, positives: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        auroc(scores, positives)
