"""Equations of pruning masks: which weights of a matrix stay.

Each pattern gives every prunable unit a score: a weight its magnitude, a block of weights what it
pools to, and in an N:M pattern the N winners of each group of M infinity. The units whose scores
reach a threshold stay. So one threshold, over one tensor or over many, serves all of them.
"""

from __future__ import annotations

import tensorflow as tf

__all__ = [
    "block_scores",
    "expand_blocks",
    "kept_count",
    "n_of_m_kept_count",
    "n_of_m_scores",
    "threshold_at",
]

_LOWER = 15  # of the 31 bits of a float32 without its sign


def kept_count(size: int, sparsity: tf.Tensor) -> tf.Tensor:
    """Counts the units that stay: max(round(size · (1 − sparsity)), 1), as TF-MOT does.

    Args:
        size: Number of units.
        sparsity: Share to remove, float32 scalar in [0, 1].

    Returns:
        int32 scalar of at least 1. Halves round to even.

    Example:
        >>> int(kept_count(5, tf.constant(0.5))), int(kept_count(5, tf.constant(1.0)))
        (2, 1)
    """
    kept = tf.round(tf.cast(size, tf.float32) * (1.0 - sparsity))
    return tf.cast(tf.maximum(kept, 1.0), tf.int32)


def n_of_m_kept_count(size: int, sparsity: tf.Tensor, *, n: int, m: int) -> tf.Tensor:
    """Counts the weights that stay on the way to an N:M pattern.

    The losers of the groups go gradually, the share sparsity / (1 − N/M) of them. The last
    thousandth counts as all: a pattern that holds in most groups does not hold.

    Args:
        size: Number of weights, a multiple of `m`.
        sparsity: Share of all weights to remove by now, float32 scalar.
        n: Weights that stay in each group.
        m: Weights in a group.

    Returns:
        int32 scalar between size · N/M and size.

    Example:
        >>> [int(n_of_m_kept_count(8, tf.constant(s), n=2, m=4)) for s in (0.0, 0.25, 0.4999)]
        [8, 6, 4]
    """
    losers = size // m * (m - n)
    progress = tf.cast(sparsity, tf.float64) * (m / (m - n))
    progress = tf.where(progress > 0.999, tf.ones_like(progress), tf.maximum(progress, 0.0))
    return tf.cast(size, tf.int32) - tf.cast(tf.round(losers * progress), tf.int32)


def threshold_at(scores: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Finds the score of the last unit that stays.

    Bits of floats of at least 0 are ordered as the floats are. So two counts, of the upper bits
    and of the lower ones, find it exactly, many times faster than sorting.

    Args:
        scores: Scores of all units, none negative, float32 tensor of shape `[S]`.
        kept: How many stay, int32 scalar in [1, S].

    Returns:
        float32 scalar. Units of the same score stay together, so ties may keep more.

    Example:
        >>> float(threshold_at(tf.constant([0.5, 3.0, 1.0, 2.0]), tf.constant(2)))
        2.0
    """
    bits = tf.bitcast(scores, tf.int32)
    upper = tf.bitwise.right_shift(bits, _LOWER)
    bin_, above = _bin_of(upper, kept, bins=1 << (31 - _LOWER))
    lower = tf.boolean_mask(bits, tf.equal(upper, bin_)) - bin_ * (1 << _LOWER)
    rest, _ = _bin_of(lower, kept - above, bins=1 << _LOWER)
    return tf.bitcast(bin_ * (1 << _LOWER) + rest, tf.float32)


def _bin_of(values: tf.Tensor, rank: tf.Tensor, *, bins: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the value of a rank from the top, and how many are larger."""
    counts = tf.math.bincount(values, minlength=bins, maxlength=bins)
    from_top = tf.cumsum(counts, reverse=True)
    found = tf.reduce_sum(tf.cast(from_top >= rank, tf.int32)) - 1
    return found, from_top[found] - counts[found]


def n_of_m_scores(matrix: tf.Tensor, *, n: int, m: int, axis: int) -> tf.Tensor:
    """Scores weights so that the N largest of each M neighbors always stay.

    Args:
        matrix: Weights, float tensor of shape `[I, O]`.
        n: Weights that stay in each group.
        m: Weights in a group; divides the length of the axis.
        axis: Axis along which the neighbors lie, 0 or 1.

    Returns:
        Infinity for the winners, |w| for the others; same shape.

    Example:
        >>> scores = n_of_m_scores(tf.constant([[4.0, -3.0, 1.0, 2.0]]), n=2, m=4, axis=1)
        >>> scores.numpy().tolist()
        [[inf, inf, 1.0, 2.0]]
    """
    magnitudes = tf.abs(matrix)
    lines = magnitudes if axis == 1 else tf.transpose(magnitudes)
    groups = tf.reshape(lines, [-1, m])
    winners = tf.math.top_k(groups, k=n).indices
    won = tf.reduce_max(tf.one_hot(winners, m, dtype=groups.dtype), axis=1) > 0
    groups = tf.where(won, tf.constant(float("inf"), groups.dtype), groups)
    lines = tf.reshape(groups, tf.shape(lines))
    return lines if axis == 1 else tf.transpose(lines)


def block_scores(matrix: tf.Tensor, *, block_size: tuple[int, int], pooling: str) -> tf.Tensor:
    """Scores each block of a matrix by the mean or the largest of its magnitudes.

    Args:
        matrix: Weights, float tensor of shape `[I, O]`.
        block_size: Height and width of a block. Blocks at the far edges may be cut.
        pooling: "AVG" or "MAX".

    Returns:
        Float tensor of shape `[ceil(I / height), ceil(O / width)]`.

    Example:
        >>> block_scores(tf.constant([[1.0, -3.0, 5.0]]), block_size=(1, 2), pooling="AVG").numpy()
        array([[2., 5.]], dtype=float32)
    """
    scores = tf.abs(matrix)
    # First down, then across, as TF-MOT does: the last bit of a mean depends on it.
    for window in ((block_size[0], 1), (1, block_size[1])):
        if max(window) > 1:
            scores = tf.nn.pool(
                scores[tf.newaxis, :, :, tf.newaxis], window, pooling, window, "SAME"
            )[0, :, :, 0]
    return scores


def expand_blocks(
    blocks: tf.Tensor, *, block_size: tuple[int, int], shape: tuple[int, int]
) -> tf.Tensor:
    """Repeats what holds for each block at each of its weights.

    Args:
        blocks: Tensor of shape `[ceil(I / height), ceil(O / width)]`.
        block_size: Height and width of a block.
        shape: `[I, O]`.

    Returns:
        Tensor of that shape.

    Example:
        >>> expand_blocks(tf.constant([[1, 0]]), block_size=(2, 2), shape=(2, 3)).numpy().tolist()
        [[1, 1, 0], [1, 1, 0]]
    """
    if block_size == (1, 1):
        return blocks
    height, width = block_size
    return tf.repeat(tf.repeat(blocks, height, axis=0), width, axis=1)[: shape[0], : shape[1]]
