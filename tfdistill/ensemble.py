"""Several teachers as one: whom to ask, how much each counts, and what they say together.

Their softened probabilities are averaged, so the student has one target, whatever the loss.
With `forward_kl` that is the weighted sum of the losses against each teacher, up to a constant
that no student changes:  Σ wᵢ · KL(pᵢ ‖ q) = KL(Σ wᵢ · pᵢ ‖ q) + constant.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfdistill.divergence import at_least_float32

__all__ = ["members", "mixture_logits"]


def mixture_logits(
    logits: Sequence[tf.Tensor], *, weights: Sequence[float], temperature: tf.Tensor
) -> tf.Tensor:
    """Computes the logits whose softened probabilities are the weighted mean of several.

    T · log Σ wᵢ · softmax(logitsᵢ / T), in log space.

    Args:
        logits: Unnormalized scores, one float tensor `[..., C]` for each teacher.
        weights: Positive shares wᵢ that sum to 1.
        temperature: Softening T, scalar in (0, inf).

    Returns:
        Float tensor `[..., C]` of at least float32. At other temperatures it softens to
        something else than the mean.

    Example:
        >>> teachers = [tf.math.log([[0.2, 0.8]]), tf.math.log([[0.6, 0.4]])]
        >>> mean = mixture_logits(teachers, weights=[0.25, 0.75], temperature=1.0)
        >>> tf.nn.softmax(mean).numpy().round(4)
        array([[0.5, 0.5]], dtype=float32)

    References:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", 2015, section 1:
        the arithmetic mean of an ensemble's predictive distributions.
        https://arxiv.org/abs/1503.02531
    """
    weighted = []
    for scores, weight in zip(logits, weights, strict=True):
        scores = at_least_float32(scores)
        softened = scores / tf.cast(temperature, scores.dtype)
        weighted.append(tf.nn.log_softmax(softened) + math.log(weight))
    mixture = tf.reduce_logsumexp(tf.stack(weighted), axis=0)
    return mixture * tf.cast(temperature, mixture.dtype)


def members(teacher: Any) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """Reads the `teacher=` of a Distiller: one teacher, a list, or a list of (teacher, weight).

    Args:
        teacher: What was given.

    Returns:
        The teachers, and the weight of each.

    Raises:
        TypeError: If some teachers of a list have weights and others do not, or a weight is not
            a number.
        ValueError: If the list is empty or the weights are not positive or do not sum to 1.

    Example:
        >>> members([("a", 0.75), ("b", 0.25)])
        (('a', 'b'), (0.75, 0.25))
        >>> members(["a", "b"])[1]
        (0.5, 0.5)
    """
    if not isinstance(teacher, (list, tuple)):
        return (teacher,), (1.0,)
    pairs = [item for item in teacher if isinstance(item, (list, tuple))]
    if not teacher or (pairs and len(pairs) < len(teacher)) or any(len(p) != 2 for p in pairs):
        raise TypeError(
            "`teacher` must be a teacher, a list of them, or a list of (teacher, weight) pairs. "
            f"Received: teacher={[type(item).__name__ for item in teacher]}. Give all of them a "
            "weight, or none."
        )
    if not pairs:
        return tuple(teacher), (1.0 / len(teacher),) * len(teacher)
    weights = [weight for _, weight in pairs]
    _check_weights(weights)
    return tuple(one for one, _ in pairs), tuple(float(weight) for weight in weights)


def _check_weights(weights: Sequence[object]) -> None:
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
            raise TypeError(
                "The weights in `teacher` must be positive numbers. "
                f"Received: weight {weight!r}. For example teacher=[(a, 0.7), (b, 0.3)]."
            )
    numbers_ = [float(weight) for weight in weights if isinstance(weight, numbers.Real)]
    total = math.fsum(numbers_)
    # Thirds do not sum to 1 exactly; a forgotten teacher or a typing error is far above 1e-6.
    if not all(weight > 0.0 for weight in numbers_) or not abs(total - 1.0) <= 1e-6:
        raise ValueError(
            "The weights in `teacher` must be positive and sum to 1. "
            f"Received: weights {numbers_} of sum {total:.6g}. Leave a teacher out rather than "
            "weigh it 0; alpha weighs the teachers together against the labels."
        )
