"""The equations of masks, by hand and beside TF-MOT's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.compress.pruning import masks
from tfdistill.introspection.backend import tfmot


def threshold(scores: np.ndarray, kept: int) -> float:
    return float(masks.threshold_at(tf.constant(scores, tf.float32), tf.constant(kept)))


@pytest.mark.parametrize("size", [1, 2, 48, 999, 70_000])
def test_the_threshold_is_the_score_at_that_rank(size: int, rng: np.random.Generator):
    scores = np.abs(rng.normal(size=size)).astype("float32")
    scores[rng.random(size) < 0.3] = 0.0
    scores[:1] = np.inf
    scores[1:2] = np.float32(1e-42)  # smaller than any normal float
    ordered = np.sort(scores)[::-1]

    for kept in {1, -(-size // 2), size}:
        assert threshold(scores, kept) == ordered[kept - 1]


def test_equal_scores_share_their_rank():
    assert threshold(np.array([2.0, 1.0, 1.0, 1.0, 0.5]), 2) == 1.0


def test_the_count_is_tfmots_with_halves_to_even_and_at_least_one():
    sparsities = [(5, 0.5), (7, 0.5), (128, 0.7), (10, 0.99), (4, 0.0)]
    kept = [int(masks.kept_count(size, tf.constant(s, tf.float32))) for size, s in sparsities]

    assert kept == [2, 4, 38, 1, 4]  # 2.5 and 3.5 round to even, 38.4 down, 0.1 up to one


def test_losers_of_a_pattern_go_in_step_with_the_sparsity():
    def kept(sparsity: float, n: int, m: int) -> int:
        return int(masks.n_of_m_kept_count(120, tf.constant(sparsity, tf.float32), n=n, m=m))

    # 60 losers in a 2:4 pattern of 120; 0.4999 of 0.5 is the last thousandth.
    assert [kept(s, 2, 4) for s in (0.0, 0.1, 0.25, 0.4999, 0.5)] == [120, 108, 90, 60, 60]
    assert [kept(s, 1, 3) for s in (0.0, 1 / 3, 2 / 3)] == [120, 80, 40]


def test_the_count_of_a_large_pattern_is_exact():
    # 1/3 is no float32: times 30 million it would be off by one.
    kept = masks.n_of_m_kept_count(30_000_000, tf.constant(1 / 3, tf.float32), n=2, m=3)

    assert int(kept) == 20_000_000


def test_winners_of_each_group_stand_above_all_others():
    matrix = tf.constant([[3.0, -1.0], [0.5, 4.0], [-2.0, 0.0], [1.0, 5.0]])
    columns = masks.n_of_m_scores(matrix, n=2, m=4, axis=0).numpy()
    rows = masks.n_of_m_scores(matrix, n=1, m=2, axis=1).numpy()

    assert np.isinf(columns).tolist() == [[True, False], [False, True], [True, False],
                                          [False, True]]  # fmt: skip
    assert columns[1, 0] == 0.5 and columns[0, 1] == 1.0
    assert np.isinf(rows).tolist() == [[True, False], [False, True], [True, False], [False, True]]


def test_of_equal_weights_exactly_n_win():
    scores = masks.n_of_m_scores(tf.ones([8, 3]), n=2, m=4, axis=0).numpy()

    assert np.isinf(scores.reshape(2, 4, 3)).sum(axis=1).tolist() == [[2] * 3, [2] * 3]


@pytest.mark.parametrize("shape", [(8, 6), (7, 5), (4, 1), (1, 9), (2, 2)])
@pytest.mark.parametrize("block_size", [(1, 4), (2, 2), (4, 1), (3, 2)])
@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
def test_blocks_are_pooled_and_expanded_as_by_tfmot(shape, block_size, pooling, rng):
    tfmot()
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_utils

    matrix = tf.constant(rng.normal(size=shape), tf.float32)
    ours = masks.block_scores(matrix, block_size=block_size, pooling=pooling)
    theirs = pruning_utils.factorized_pool(
        tf.abs(matrix), block_size, pooling, strides=block_size, padding="SAME"
    )
    counts = tuple(-(-length // block) for length, block in zip(shape, block_size, strict=True))
    assert ours.shape == counts
    # They squeeze axes of length 1.
    np.testing.assert_array_equal(tf.reshape(theirs, counts), ours)

    spread = masks.expand_blocks(ours, block_size=block_size, shape=shape)
    expected = np.kron(ours, np.ones(block_size, "float32"))[: shape[0], : shape[1]]
    np.testing.assert_array_equal(spread, expected)
