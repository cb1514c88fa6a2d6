"""Logistic curves of confidence: what they find, and what they must not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfdistill.rl.budget.calibration import Calibration, logistic_fit, logits


def test_a_curve_that_made_the_answers_is_found():
    random = np.random.default_rng(0)
    logit = random.normal(size=20_000) * 2
    right = random.random(20_000) < 1 / (1 + np.exp(-(0.5 * logit + 1.0)))

    # Standard errors of 20,000 answers are about 0.01 and 0.02.
    assert logistic_fit(logit, right) == pytest.approx((0.5, 1.0), abs=0.08)


def test_a_tier_that_is_surer_where_it_is_wrong_gets_a_flat_curve_and_never_a_falling_one():
    logit = np.linspace(-3.0, 3.0, 400)
    slope, shift = logistic_fit(logit, logit < 1.5)

    assert slope == 0.0
    # Flat at the share that is right, 300 of 400, but for the pseudo-counts of one each.
    assert 1 / (1 + np.exp(-shift)) == pytest.approx(301 / 402, abs=1e-3)


def test_the_logit_of_a_certain_answer_is_finite():
    # log(0.999999 / 0.000001)
    assert logits(np.array([0.0, 0.5, 1.0])).tolist() == pytest.approx([-13.81551, 0, 13.81551])


def test_with_slope_1_and_shift_0_a_confidence_is_the_probability(make_record: Callable):
    record = make_record(40)
    steps = tuple(dict.fromkeys(record.steps))
    ones = np.ones((len(steps), 3, 3))
    found = Calibration(steps, record.tiers, ones, 0 * ones).probabilities(record)

    assert 0 < record.active.sum() < record.active.size
    np.testing.assert_array_equal(found[~record.active], 1.0)
    confidence = record.confidence[record.active]
    for spoke in range(3):
        for judged in range(3):
            expected = confidence[:, spoke] if spoke <= judged else 0.0 * confidence[:, spoke]
            np.testing.assert_allclose(found[record.active][:, spoke, judged], expected, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"tiers": ("tiny", "small", "large")},
        {"fields": ("parts", "intent[0]", "intent[1]", "mood[0]", "mood[1]")},
    ],
)
def test_a_record_of_other_tiers_or_sub_tasks_is_refused(
    make_record: Callable, change: dict[str, Any]
):
    record = make_record(40)
    with pytest.raises(ValueError, match="must have the calibration's tiers and kinds of sub-t"):
        Calibration.fit(record).probabilities(dataclasses.replace(record, **change))
