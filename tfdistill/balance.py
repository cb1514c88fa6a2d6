"""How much the labels and the teacher weigh: alpha, checked and applied."""

from __future__ import annotations

import math
import numbers

import tensorflow as tf

__all__ = ["check_alpha", "distillation_loss"]


def distillation_loss(hard: tf.Tensor, soft: tf.Tensor, *, alpha: tf.Tensor) -> tf.Tensor:
    """Weighs labels against the teacher: alpha · hard + (1 − alpha) · soft.

    Args:
        hard: Loss on the labels, scalar.
        soft: Loss against the teacher, scalar, T² included.
        alpha: Weight of the labels, scalar in [0, 1]. 1 is plain training.

    Returns:
        The loss to minimize, scalar.

    Example:
        >>> float(distillation_loss(tf.constant(2.0), tf.constant(4.0), alpha=0.25))
        3.5
    """
    return alpha * hard + (1.0 - alpha) * soft


def check_alpha(alpha: object) -> None:
    """Refuses an alpha that is not a share.

    Args:
        alpha: Weight of the hard loss.

    Raises:
        TypeError: If `alpha` is not a number.
        ValueError: If it is outside [0, 1].
    """
    message = (
        f"`alpha` must be a float in [0, 1]. Received: alpha={alpha!r}. "
        "It is the weight of the labels; 1 - alpha is the weight of the teacher."
    )
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real):
        raise TypeError(message)
    if not 0.0 <= float(alpha) <= 1.0 or math.isnan(alpha):
        raise ValueError(message)
