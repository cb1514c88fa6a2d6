"""The arithmetic that every divergence shares: enough digits, and log space throughout."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["at_least_float32", "kl"]


def at_least_float32(values: tf.Tensor) -> tf.Tensor:
    """Brings half precision to float32, which a sum of differences of logarithms needs.

    Args:
        values: Tensor or array of any float dtype.

    Returns:
        The same values, float32 or float64.
    """
    values = tf.convert_to_tensor(values)
    return values if values.dtype in (tf.float32, tf.float64) else tf.cast(values, tf.float32)


def kl(log_a: tf.Tensor, log_b: tf.Tensor) -> tf.Tensor:
    """Computes KL(a ‖ b) = Σ a · (log a − log b) over the last axis, where 0 · log 0 is 0.

    Args:
        log_a: Log-probabilities, float tensor `[..., C]`; minus infinity is allowed.
        log_b: Log-probabilities of the same shape.

    Returns:
        Divergence in nats, float tensor `[...]`.

    Example:
        >>> float(kl(tf.math.log([1.0, 0.0]), tf.math.log([0.5, 0.5])))
        0.6931471824645996
    """
    return tf.reduce_sum(tf.math.multiply_no_nan(log_a - log_b, tf.exp(log_a)), axis=-1)
