"""How losses per example or token become one number: what counts, and with which weight."""

from __future__ import annotations

import tensorflow as tf

__all__ = ["like", "masked_mean"]


def masked_mean(
    values: tf.Tensor, *, mask: tf.Tensor | None = None, sample_weight: tf.Tensor | None = None
) -> tf.Tensor:
    """Averages losses over what is real: Σ m · w · ℓ / max(Σ m, 1).

    The weights do not enter the divisor, as in Keras; it is clamped, so that a batch without a
    single real token gives 0 and not NaN.

    Args:
        values: Losses ℓ, float tensor of shape `[B]` or `[B, T]`.
        mask: What counts (m), bool tensor of the same shape; everything if None.
        sample_weight: Weights w of shape `[B]` or that of `values`; 1 if None.

    Returns:
        The mean, scalar.

    Example:
        >>> losses_of_tokens = tf.constant([[2.0, 4.0, 100.0]])
        >>> float(masked_mean(losses_of_tokens, mask=tf.constant([[True, True, False]])))
        3.0
    """
    weighted = values
    if sample_weight is not None:
        weighted = values * like(tf.cast(sample_weight, values.dtype), values)
    if mask is None:
        count = tf.cast(tf.size(values), values.dtype)
    else:
        mask = like(tf.cast(mask, values.dtype), values)
        weighted = tf.math.multiply_no_nan(weighted, mask)
        count = tf.reduce_sum(mask)
    return tf.reduce_sum(weighted) / tf.maximum(count, 1.0)


def like(tensor: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Brings weights or masks to the rank of the losses.

    Args:
        tensor: Weights or masks of shape `[B]`, `[B, 1]` or `[B, T]`.
        values: Losses of shape `[B]` or `[B, T]`.

    Returns:
        The tensor with axes of size 1 dropped or added at the end.
    """
    while len(tensor.shape) > len(values.shape):
        tensor = tf.squeeze(tensor, axis=-1)
    while len(tensor.shape) < len(values.shape):
        tensor = tensor[..., tf.newaxis]
    return tensor
