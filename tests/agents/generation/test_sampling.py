"""Sampling against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tfdistill.agents.generation.sampling import (
    check_sampling,
    draw,
    keep_top_k,
    keep_top_p,
    next_probabilities,
)

LOGITS = np.log([0.1, 0.4, 0.2, 0.3])


def test_temperature_1_gives_the_softmax_and_0_the_argmax():
    assert next_probabilities(LOGITS).tolist() == pytest.approx([0.1, 0.4, 0.2, 0.3])
    assert next_probabilities(LOGITS, temperature=0).tolist() == [0, 1, 0, 0]
    assert next_probabilities(np.array([2.0, 2.0]), temperature=0).tolist() == [1, 0]


def test_temperature_one_half_squares_the_odds():
    # 0.01 : 0.16 : 0.04 : 0.09 of 0.30
    expected = [1 / 30, 16 / 30, 4 / 30, 9 / 30]
    assert next_probabilities(LOGITS, temperature=0.5).tolist() == pytest.approx(expected)


def test_top_k_then_top_p_as_by_hand():
    # top_k=3 leaves 4/9, 2/9, 3/9; of these 4/9 + 3/9 reach 0.75, and become 4/7, 3/7. Of all
    # four, 0.4 + 0.3 do not.
    found = next_probabilities(LOGITS, top_k=3, top_p=0.75)
    assert found.tolist() == pytest.approx([0, 4 / 7, 0, 3 / 7])
    found = next_probabilities(LOGITS, top_k=3)
    assert found.tolist() == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9])


def test_top_p_reached_exactly_takes_no_token_more():
    assert keep_top_p(np.array([0.1, 0.2, 0.3, 0.4]), 0.7).tolist() == pytest.approx(
        [0, 0, 3 / 7, 4 / 7]
    )
    # Eight tenths sum to 0.7999999999999999, which is 0.8 but for the rounding of the sum.
    assert np.cumsum(np.full(10, 0.1))[7] < 0.8
    assert np.count_nonzero(keep_top_p(np.full(10, 0.1), 0.8)) == 8
    assert keep_top_p(np.array([0.5, 0.5]), 1e-9).tolist() == [1, 0]
    assert keep_top_p(np.array([0.6, 0.4]), 1.0).tolist() == pytest.approx([0.6, 0.4])


def test_top_k_of_more_than_there_are_keeps_all():
    assert keep_top_k(np.array([0.6, 0.4]), 9).tolist() == pytest.approx([0.6, 0.4])


def test_a_tiny_temperature_does_not_overflow():
    assert next_probabilities(np.array([900.0, -900.0]), temperature=1e-4).tolist() == [1, 0]


def test_draw_inverts_the_cumulative_distribution():
    probabilities = np.array([0.0, 0.25, 0.75, 0.0])
    assert [draw(probabilities, u) for u in (0.0, 0.2499, 0.25, 1 - 1e-16)] == [1, 1, 2, 2]


def test_a_uniform_that_was_rounded_up_to_1_draws_the_last_possible_token():
    assert np.float32(1 - 1e-9) == 1.0  # as a generator of float32 numbers may give it
    assert draw(np.array([0.0, 0.25, 0.75, 0.0]), 1.0) == 2
    assert draw(np.array([0.0, 0.25, 0.5, 0.25, 0.0]), 1.0) == 3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"temperature": -0.1}, ValueError, r"`temperature` must be a number in \[0, inf\)"),
        ({"temperature": "hot"}, TypeError, r"`temperature` must be a number in \[0, inf\)"),
        ({"top_k": 0}, ValueError, "`top_k` must be an int of at least 1"),
        ({"top_k": 1.5}, TypeError, "`top_k` must be an int of at least 1"),
        ({"top_p": 0.0}, ValueError, r"`top_p` must be a number in \(0, 1\]"),
        ({"top_p": "all"}, TypeError, r"`top_p` must be a number in \(0, 1\]"),
        ({"max_new_tokens": 0}, ValueError, "`max_new_tokens` must be an int of at least 1"),
        ({"seed": None}, TypeError, "`seed` must be an int of at least 0"),
    ],
)
def test_settings_out_of_range_are_told(changes, error, message):
    settings = {"temperature": 1.0, "top_k": None, "top_p": None, "max_new_tokens": 1, "seed": 0}
    with pytest.raises(error, match=message):
        check_sampling(**{**settings, **changes})
