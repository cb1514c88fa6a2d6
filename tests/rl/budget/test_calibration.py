"""Logistic curves of confidence: what they find, and what they must not."""

from __future__ import annotations

import numpy as np
import pytest

from tfdistill.rl.budget.calibration import logistic_fit


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
