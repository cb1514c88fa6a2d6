"""From losses per token to one number: Σ m · w · ℓ / max(Σ m, 1)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.distill.losses.soft import like, masked_mean

VALUES = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_without_mask_or_weights_it_is_the_mean():
    assert float(masked_mean(tf.constant(VALUES))) == 3.5


def test_masked_values_count_neither_above_nor_below_the_line():
    mask = [[True, True, True], [True, False, False]]

    assert float(masked_mean(tf.constant(VALUES), mask=mask)) == (1 + 2 + 3 + 4) / 4


@pytest.mark.parametrize("weights", [[2.0, 0.5], [[2.0], [0.5]], [[2.0] * 3, [0.5] * 3]])
def test_weights_do_not_enter_the_divisor(weights):
    mean = masked_mean(tf.constant(VALUES), sample_weight=weights)

    assert float(mean) == (2 * 6 + 0.5 * 15) / 6


def test_mask_and_weights_multiply():
    mask = [[True, False, False], [True, True, False]]
    mean = masked_mean(tf.constant(VALUES), mask=mask, sample_weight=[10.0, 1.0])

    assert float(mean) == pytest.approx((10 * 1 + 4 + 5) / 3)


def test_weights_of_one_column_fit_a_batch():
    mean = masked_mean(tf.constant([1.0, 3.0]), sample_weight=[[2.0], [0.0]])

    assert float(mean) == 1.0


def test_a_batch_without_a_real_token_gives_0_and_a_gradient_of_0():
    values = tf.Variable(VALUES)
    with tf.GradientTape() as tape:
        mean = masked_mean(values, mask=np.zeros((2, 3), bool))

    assert float(mean) == 0.0
    assert not tape.gradient(mean, values).numpy().any()


def test_what_is_masked_may_be_nan():
    values = tf.Variable([1.0, np.nan])
    with tf.GradientTape() as tape:
        mean = masked_mean(values, mask=[True, False])

    assert float(mean) == 1.0
    assert tape.gradient(mean, values).numpy().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("shape", "rank", "expected"),
    [((4,), 2, (4, 1)), ((4, 1), 1, (4,)), ((4, 3), 2, (4, 3)), ((4, 3, 1), 2, (4, 3))],
)
def test_axes_of_size_1_are_added_or_dropped_at_the_end(shape, rank: int, expected):
    assert like(tf.ones(shape), tf.ones([4, 3][:rank])).shape == expected
