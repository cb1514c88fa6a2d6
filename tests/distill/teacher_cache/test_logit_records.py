"""What is kept of a teacher's answers and how it comes back."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.distill.teacher_cache.logit_records import dense_logits, epoch_order, records

PROBABILITIES = np.float32([[0.6, 0.25, 0.1, 0.05], [0.1, 0.1, 0.2, 0.6]])


def test_without_top_k_the_logits_are_kept_bit_for_bit():
    logits = np.log(PROBABILITIES)
    np.testing.assert_array_equal(records(logits, top_k=None)["logits"], logits)


def test_the_mass_of_the_dropped_classes_is_spread_evenly_over_them():
    kept = records(np.log(PROBABILITIES), top_k=2)
    logits = dense_logits(**kept, num_classes=4)
    # Row 0 drops 0.10 and 0.05: 0.075 each. Row 1 drops 0.1 and 0.1: 0.1 each.
    expected = [[0.6, 0.25, 0.075, 0.075], [0.1, 0.1, 0.2, 0.6]]
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)


def test_keeping_every_class_gives_the_probabilities_back():
    kept = records(np.log(PROBABILITIES) + 7.0, top_k=4)  # softmax does not see the shift
    logits = dense_logits(**kept, num_classes=4)
    np.testing.assert_allclose(tf.nn.softmax(logits), PROBABILITIES, atol=1e-6)


def test_a_teacher_that_is_certain_gives_finite_logits():
    kept = records(np.float32([[1e4, -1e4, 0.0]]), top_k=1)
    assert kept["tail_mass"].tolist() == [0.0]
    assert np.isfinite(dense_logits(**kept, num_classes=3)).all()


def test_answers_of_tokens_keep_their_axes():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    kept = records(logits, top_k=2)
    assert kept["top_ids"].shape == (2, 3, 2)
    assert kept["tail_mass"].shape == (2, 3)
    dense = dense_logits(**kept, num_classes=5)
    assert dense.shape == (2, 3, 5)
    np.testing.assert_array_equal(np.argmax(dense, -1), logits.argmax(-1))


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch():
    orders = {
        (seed, epoch): tuple(epoch_order(9, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert all(sorted(order) == list(range(9)) for order in orders.values())
    assert orders[1, 1] == tuple(epoch_order(9, seed=1, epoch=1))


@pytest.mark.parametrize("top_k", [1, 3])
def test_the_kept_mass_and_the_tail_sum_to_one(top_k):
    kept = records(np.log(PROBABILITIES), top_k=top_k)
    total = np.exp(kept["top_log_probs"]).sum(-1) + kept["tail_mass"]
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
