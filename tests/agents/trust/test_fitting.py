from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tfdistill.agents import (
    class_probabilities,
    fit_confidence,
    fit_temperature,
    in_scope_score,
    scope_threshold,
)
from tfdistill.agents.trust.scores import doubt
from tfdistill.reports import expected_calibration_error


def labels_drawn_from(logits: np.ndarray, *, temperature: float, seed: int) -> np.ndarray:
    p = class_probabilities(logits, temperature=temperature)
    drawn = np.random.default_rng(seed).random((len(p), 1))
    return (p.cumsum(axis=1) < drawn).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_recovered(
    temperature: float, rng: np.random.Generator
):
    logits = 3.0 * rng.normal(size=(20_000, 5))
    labels = labels_drawn_from(logits, temperature=temperature, seed=3)

    # Its standard error on so many rows is below 1 %; three of them.
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_two_classes_have_the_temperature_on_paper():
    # Logits log 9 : 0 say 0.9. Right are 0.75 = √9 / (√9 + 1), so T is 2; the smoothing by one
    # row in 8,001 moves 0.75 to (6000 + 0.5) / 8001, and T by as little.
    logits = np.tile([math.log(9.0), 0.0], (8000, 1))
    share = 6000.5 / 8001
    expected = math.log(9.0) / math.log(share / (1 - share))

    found = fit_temperature(logits, np.arange(8000) % 4 // 3)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found == pytest.approx(2.0, abs=1e-3)


def test_a_model_without_a_mistake_is_not_called_certain():
    # Of 9 rows all are right: the smoothing leaves half a row in ten, so it says 0.95.
    logits = np.tile([5.0, 0.0], (9, 1))
    temperature = fit_temperature(logits, np.zeros(9, int))

    found = class_probabilities(logits[0], temperature=temperature)
    np.testing.assert_allclose(found, [0.95, 0.05], atol=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "bound"),
    [
        ([[1e-6, 0.0]] * 9, [0] * 9, 0.01),  # right, and hardly said
        ([[50.0, 0.0]] * 9, [1] * 9, 100.0),  # wrong, and sure of it
    ],
)
def test_the_temperature_stays_in_its_bounds(logits: Any, labels: Any, bound: float):
    assert fit_temperature(logits, labels) == pytest.approx(bound, rel=1e-6)


def test_a_constant_on_the_logits_of_a_row_changes_nothing(rng: np.random.Generator):
    logits, labels = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    moved = logits + rng.normal(size=(50, 1))

    assert fit_temperature(moved, labels) == pytest.approx(fit_temperature(logits, labels))


def test_temperature_mends_the_calibration_error(rng: np.random.Generator):
    logits = 3.0 * rng.normal(size=(8000, 4))
    labels = labels_drawn_from(logits, temperature=3.0, seed=5)
    fitted, other = slice(0, 4000), slice(4000, None)
    temperature = fit_temperature(logits[fitted], labels[fitted])

    before = expected_calibration_error(labels[other], class_probabilities(logits[other]))
    p = class_probabilities(logits[other], temperature=temperature)
    assert before > 0.2
    # 4,000 rows in 15 bins leave about √(15 / 4000) / 3 by chance.
    assert expected_calibration_error(labels[other], p) < 0.03


@pytest.mark.parametrize(
    ("kept", "wanted"), [(1.0, 1.0), (0.95, 2.0), (0.5, 11.0), (0.951, 1.0), (0.05, 20.0)]
)
def test_the_threshold_keeps_the_share_that_is_asked_for(kept: float, wanted: float):
    scores = np.arange(20.0, 0.0, -1.0)  # 20 of them, so that each is 5 %

    assert scope_threshold(scores, kept=kept) == wanted
    assert np.mean(scores >= wanted) >= kept


def test_equal_scores_are_kept_together():
    assert scope_threshold([1.0, 1.0, 1.0, 5.0], kept=0.75) == 1.0


def test_with_texts_of_no_class_the_threshold_parts_both_best():
    # Kept and refused at 2.5: 3 of 4 and 4 of 5. Anything else has less.
    inside, outside = [1.0, 3.0, 4.0, 5.0], [0.0, 0.5, 1.5, 2.0, 9.0]

    assert scope_threshold(inside, outside) == 2.5
    assert scope_threshold(inside, [9.0]) == 1.0  # nothing can be refused: keep all
    assert scope_threshold([1.0, 2.0], [0.0] * 100) == 0.5  # the number of them does not matter


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"`in_scope` must be finite scores of shape \[N\]"),
        (([1.0, np.nan],), "`in_scope` must be finite scores"),
        (([1.0], [np.inf]), "`out_of_scope` must be finite scores"),
        (([1.0], [[1.0]]), r"out_of_scope of shape \(1, 1\)"),
    ],
)
def test_scores_that_are_none_are_refused(arguments: Any, message: str):
    with pytest.raises(ValueError, match=message):
        scope_threshold(*arguments)


def test_share_to_keep_is_checked():
    with pytest.raises(ValueError, match=r"`kept` must be a number in \(0, 1\]. Received: kept=0"):
        scope_threshold([1.0], kept=0)


def test_fit_confidence_puts_the_three_together(rng: np.random.Generator):
    logits = 2.0 * rng.normal(size=(400, 3))
    labels = labels_drawn_from(logits, temperature=1.5, seed=1)
    shares = np.repeat([0.0, 0.2, 0.6], [300, 97, 3])
    found = fit_confidence(logits, labels, unknown_shares=shares, kept=0.9)

    assert found.temperature == fit_temperature(logits, labels)
    assert found.usual_unknown_share == 0.2  # 300 of 400 have less, 397 no more
    rule = found.out_of_scope
    assert rule is not None and rule.score == "energy"
    scores = in_scope_score(
        logits, score="energy", temperature=found.temperature, doubts=doubt(shares, usual=0.2)
    )
    assert rule.threshold == scope_threshold(scores, kept=0.9)
    assert rule.in_scope_kept == np.mean(scores >= rule.threshold) == 0.9


def test_texts_of_no_class_move_the_threshold_alone(rng: np.random.Generator):
    logits, labels = 4.0 * rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    outside = rng.normal(size=(50, 3))
    alone = fit_confidence(logits, labels, score="margin")
    both = fit_confidence(logits, labels, score="margin", out_of_scope_logits=outside)
    unread = fit_confidence(
        logits,
        labels,
        score="margin",
        out_of_scope_logits=outside,
        out_of_scope_unknown_shares=np.ones(50),
    )

    assert both.temperature == alone.temperature
    assert alone.out_of_scope and both.out_of_scope and unread.out_of_scope
    margins = in_scope_score(logits, score="margin", temperature=both.temperature)
    others = in_scope_score(outside, score="margin", temperature=both.temperature)
    assert both.out_of_scope.threshold == scope_threshold(margins, others)
    # Of texts that nobody can read the score is 0: all are refused, and nothing else is.
    assert unread.out_of_scope.threshold == pytest.approx(margins.min() / 2)
    assert unread.out_of_scope.in_scope_kept == 1.0


def test_texts_of_no_class_choose_the_score(rng: np.random.Generator):
    # Two classes are far ahead of the third, by 4; of texts of no class one, by as much, but all
    # logits lie lower by 3: only the raw energy sees that.
    logits = np.tile([4.0, 4.0, 0.0], (40, 1)) + 0.1 * rng.normal(size=(40, 3))
    lower = logits[:20] - 3.0
    found = fit_confidence(logits, np.zeros(40, int), out_of_scope_logits=lower)
    assert found.out_of_scope and found.out_of_scope.score == "raw_energy"

    # Where every score parts them, it is the first of the table.
    found = fit_confidence(logits, np.zeros(40, int), out_of_scope_logits=np.zeros((5, 3)))
    assert found.out_of_scope and found.out_of_scope.score == "energy"


GOOD: dict[str, Any] = {"logits": [[1.0, 0.0], [0.0, 1.0]], "labels": [0, 1]}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"logits": [1.0, 0.0]}, ValueError, r"`logits` must have shape \[N, C\].*shape \(2,\)"),
        ({"logits": [[1.0], [0.0]]}, ValueError, "C at least 2"),
        ({"logits": [[1.0, np.nan]] * 2}, ValueError, r"finite. Received: logits\[0\] with \[nan"),
        ({"labels": [0]}, ValueError, r"`labels` must have shape \[N\], N = 2"),
        ({"labels": [0.0, 1.0]}, TypeError, r"class indices \(integers\). Received: float64"),
        ({"labels": [0, -1]}, ValueError, "from -1 to 0. Texts of no class go to `out_of"),
        ({"unknown_shares": [0.1]}, ValueError, "`unknown_shares` must be 2 numbers in"),
        ({"unknown_shares": [0.1, 1.5]}, ValueError, "`unknown_shares` must be 2 numbers in"),
        ({"out_of_scope_logits": [[1.0] * 3]}, ValueError, "`out_of_scope_logits` .*C = 2 as in"),
        (
            {"out_of_scope_logits": [[1.0] * 2], "out_of_scope_unknown_shares": [1, 1]},
            ValueError,
            "`out_of_scope_unknown_shares` must be 1 numbers",
        ),
        ({"score": "surprise"}, ValueError, "`score` must be one of .*Received: score='surprise'"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        fit_confidence(**{**GOOD, **changes})
