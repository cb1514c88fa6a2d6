"""Named metrics on counts equal the plain ones on the rows drawn, and intervals are theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tfdistill.reports.metrics import accuracy, macro_f1
from tfdistill.reports.resampling import (
    METRICS,
    Metric,
    estimate,
    metric_of,
    metric_score,
    paired_scores,
)

CLASSES = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array([0, 0, 2, 1, 0, 2])
SEVERAL = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
SAID_SEVERAL = np.array([[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]])
NUMBERS = np.array([1.0, 2.0, 4.0, 5.0])
SAID_NUMBERS = np.array([1.0, 3.0, 4.0, 3.0])


def whole(name: str, labels: Any, said: Any) -> float:
    return paired_scores(METRICS[name], labels, {"a": said}, resamples=1)["a"][0]


@pytest.mark.parametrize(
    ("name", "labels", "said", "expected"),
    [
        ("accuracy", CLASSES, SAID, 4 / 6),
        # 2·TP / (2·TP + FP + FN): 4/6, 2/3 and 2/3.
        ("macro_f1", CLASSES, SAID, 2 / 3),
        ("micro_f1", CLASSES, SAID, 4 / 6),
        ("accuracy", SEVERAL, SAID_SEVERAL, 2 / 4),  # rows 0 and 3 are right in full
        # Label by label: TP 2; TP 1, FN 1; TP 1, FP 1.
        ("macro_f1", SEVERAL, SAID_SEVERAL, (1 + 2 / 3 + 2 / 3) / 3),
        ("micro_f1", SEVERAL, SAID_SEVERAL, 8 / 10),
        ("mae", NUMBERS, SAID_NUMBERS, 3 / 4),
        ("rmse", NUMBERS, SAID_NUMBERS, (5 / 4) ** 0.5),
        ("r2", NUMBERS, SAID_NUMBERS, 1 - 5 / 10),  # squares around the mean 3: 4 + 1 + 1 + 4
        ("mae", NUMBERS[:, None] * [1, 2], SAID_NUMBERS[:, None] * [1, 2], (3 / 4 + 6 / 4) / 2),
    ],
)
def test_a_named_metric_equals_the_number_on_paper(
    name: str, labels: np.ndarray, said: np.ndarray, expected: float
) -> None:
    assert whole(name, labels, said) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "plain", "kind"),
    [
        ("accuracy", accuracy, "classes"),
        ("macro_f1", lambda y, p: macro_f1(y, p, 6), "classes"),
        ("micro_f1", lambda y, p: sklearn_metrics.f1_score(y, p, average="micro"), "classes"),
        ("accuracy", sklearn_metrics.accuracy_score, "several"),
        (
            "micro_f1",
            lambda y, p: sklearn_metrics.f1_score(y, p, average="micro", zero_division=1.0),
            "several",
        ),
        ("mae", sklearn_metrics.mean_absolute_error, "numbers"),
        ("rmse", sklearn_metrics.root_mean_squared_error, "number"),
        ("r2", sklearn_metrics.r2_score, "numbers"),
    ],
)
def test_counts_give_what_the_plain_metric_gives_on_the_rows_drawn(
    name: str, plain: Any, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels, said = {
        "classes": lambda: rng.integers(0, 6, (2, 30)) ** 2 // 6,  # unbalanced, some never occur
        "several": lambda: rng.integers(0, 2, (2, 30, 3)),
        "number": lambda: rng.normal(1e3, 1.0, (2, 30)),
        "numbers": lambda: rng.normal(1e3, 1.0, (2, 30, 2)),
    }[kind]()
    # Given as a function, the same metric is called on each resample: the same draws, by seed.
    fast = paired_scores(METRICS[name], labels, {"a": said}, resamples=25, seed=seed)["a"]
    slow = paired_scores(metric_of(plain), labels, {"a": said}, resamples=25, seed=seed)["a"]

    assert fast[0] == pytest.approx(slow[0], abs=1e-9)
    np.testing.assert_allclose(fast[1], slow[1], atol=1e-9)
    assert len(set(slow[1].tolist())) > 1


def test_r2_of_labels_that_are_all_the_same_is_1_for_a_right_answer_and_0_for_a_wrong_one() -> None:
    assert whole("r2", [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]) == 1.0
    assert whole("r2", [0.1, 0.1, 0.1], [0.1, 0.2, 0.1]) == 0.0


def test_names_of_classes_serve_like_indices() -> None:
    names = np.array(["dry", "wet", "hail"])
    assert whole("macro_f1", names[CLASSES], names[SAID]) == whole("macro_f1", CLASSES, SAID)


def test_the_interval_is_that_of_the_binomial_that_it_resamples() -> None:
    # 80 of 100 right: a resample is right 100·p times, p̂ = 0.8, deviation √(0.8·0.2/100) = 0.04.
    labels, said = np.zeros(100, int), np.repeat([0, 1], [80, 20])
    value, resampled = paired_scores(METRICS["accuracy"], labels, {"a": said})["a"]
    found = estimate(value, resampled)

    assert found.value == 0.8
    assert resampled.std() == pytest.approx(0.04, abs=0.003)  # 2,000 draws: ±1.6 % of 0.04, twice
    # 1.96 deviations; a resample is a whole number of rows, 0.01 of them each.
    assert found.low == pytest.approx(0.7216, abs=0.01)
    assert found.high == pytest.approx(0.8784, abs=0.01)


def test_many_rows_are_drawn_in_pieces_and_the_seed_decides() -> None:
    rows = 30_000  # 8 resamples at once
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 3, (2, rows))
    one, same, other = (
        paired_scores(METRICS["accuracy"], labels, {"a": said}, resamples=150, seed=seed)["a"][1]
        for seed in (1, 1, 2)
    )
    assert one.shape == (150,) and len(set(one.tolist())) > 100
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize(
    ("name", "labels", "said", "error", "message"),
    [
        ("accuracy", [0, 1], [0], ValueError, r"`a` must have the shape of `labels`, \(2,\)"),
        ("accuracy", [], [], ValueError, r"`labels` must have the shape \[N\] or \[N, C\]"),
        ("accuracy", [0, 1], [0.1, 0.9], TypeError, r"`a` of shape \[N\] must be classes.*argmax"),
        ("macro_f1", [[0, 1]], [[0.2, 0.8]], TypeError, r"must be 0 or 1 .*thresholds first"),
        ("mae", [0.0, 1.0], [0.0, np.nan], TypeError, "`a` must be finite numbers for the metric"),
        ("r2", ["x", "y"], [0.0, 1.0], TypeError, "`labels` must be finite numbers.*dtype=<U1"),
    ],
)
def test_answers_that_do_not_fit_the_metric_are_refused(
    name: str, labels: Any, said: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        whole(name, labels, said)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`metric` must be one of \['accuracy', .*metric='auc'"):
        metric_of("auc")


def test_a_direction_that_contradicts_the_name_is_refused() -> None:
    with pytest.raises(ValueError, match="`higher_is_better` must be None or False for 'mae'"):
        metric_of("mae", higher_is_better=True)


def test_a_function_that_returns_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="`metric` must return a finite number on every resample"):
        paired_scores(metric_of(lambda y, p: float("nan")), [0], {"a": [0]}, resamples=2)


def test_a_metric_that_nothing_computes_is_refused() -> None:
    with pytest.raises(ValueError, match="The metric 'empty' has nothing that computes it"):
        paired_scores(Metric("empty", "empty"), [0], {"a": [0]}, resamples=2)


def test_no_resample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="`resamples` must be an int of at least 1"):
        paired_scores(METRICS["accuracy"], [0], {"a": [0]}, resamples=0)


def test_one_score_is_that_of_all_rows():
    labels, said = [[1, 0], [1, 1]], [[1, 0], [0, 1]]
    # Label 0: 2 / 3, label 1: 1.
    assert metric_score("macro_f1", labels, said) == pytest.approx(5 / 6)
    assert metric_score("micro_f1", labels, said) == pytest.approx(0.8)
    assert metric_score("accuracy", labels, said) == 0.5
    assert metric_score("mae", [1.0, 2.0], [2.0, 4.0]) == 1.5
    # 1 - (0 + 1 + 1) / (4 + 0 + 4)
    assert metric_score("r2", [1.0, 3.0, 5.0], [1.0, 4.0, 6.0]) == 0.75
