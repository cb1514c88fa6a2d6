"""Distillation losses as equations: tensors in, one loss per example or per token out.

With p = softmax(teacher / T) and q = softmax(student / T), every loss here carries the factor
T², which keeps the size of the gradient roughly independent of T, so that `alpha` keeps its
meaning while the temperature is tuned (Hinton et al. 2015, section 2). Tools differ on that
factor, so neither alpha nor T carries over from one to another without a look at the formula.

Everything is computed in log space. A confidently wrong student therefore still gets its full
gradient, where a loss that clips probabilities gives exactly zero.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfdistill.distill.losses.divergence import at_least_float32, kl

__all__ = [
    "binary_kl",
    "by_name",
    "check_temperature",
    "forward_kl",
    "jensen_shannon",
    "reverse_kl",
    "skewed_kl",
    "squared_error",
]

_NOT_FINITE = (
    "`teacher_logits` must be finite for reverse_kl, which is infinite where the teacher rules a "
    "class out. Received: logits"
)


def check_temperature(temperature: object) -> None:
    """Refuses a temperature that is a number and not in (0, inf); tensors pass.

    Args:
        temperature: A float, or a tensor or variable, which is trusted.

    Raises:
        TypeError: If `temperature` is neither.
        ValueError: If it is a number that is not finite and positive.
    """
    is_tensor = isinstance(temperature, (tf.Tensor, tf.Variable, keras.Variable, np.ndarray))
    if isinstance(temperature, bool) or not (is_tensor or isinstance(temperature, numbers.Real)):
        raise TypeError(
            "`temperature` must be a float in (0, inf). "
            f"Received: temperature={temperature!r}. 2 to 5 is usual."
        )
    if isinstance(temperature, numbers.Real) and not 0.0 < float(temperature) < math.inf:
        raise ValueError(
            "`temperature` must be a float in (0, inf). "
            f"Received: temperature={temperature!r}. 1 leaves the distributions as they are."
        )


def forward_kl(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, *, temperature: float = 1.0
) -> tf.Tensor:
    """Measures how far the student's softened predictions are from the teacher's.

    T² · KL(p ‖ q) = T² · Σ p · (log p − log q). It makes the student cover everything that
    the teacher holds possible. The gradient on the student's logits is T · (q − p).

    Args:
        teacher_logits: Unnormalized scores, float tensor of shape `[..., C]`. Receives no
            gradient. Scores of minus infinity stand for impossible classes.
        student_logits: Unnormalized scores of the same shape.
        temperature: Softening T, a float in (0, inf); 1 leaves the distributions as they are.

    Returns:
        Loss in nats, float tensor of shape `[...]`: no average is taken.

    Raises:
        ValueError: If `temperature` is not positive or the shapes differ.

    Example:
        >>> teacher = tf.constant([[0.0, 2 * math.log(3.0)]])  # softens to (1/4, 3/4)
        >>> student = tf.constant([[0.0, 0.0]])  # softens to (1/2, 1/2)
        >>> round(float(forward_kl(teacher, student, temperature=2.0)[0]), 4)
        0.5232

    References:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", 2015.
        https://arxiv.org/abs/1503.02531
    """
    log_p, log_q, scale = _softened(teacher_logits, student_logits, temperature)
    return scale * kl(log_p, log_q)


def reverse_kl(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, *, temperature: float = 1.0
) -> tf.Tensor:
    """Measures how much the student holds possible that the teacher does not.

    T² · KL(q ‖ p) = T² · Σ q · (log q − log p). It makes a small student settle on what the
    teacher is sure of, in place of spreading over all of it.

    Args:
        teacher_logits: Unnormalized scores, float tensor of shape `[..., C]`, finite: where the
            teacher rules a class out the loss would be infinite.
        student_logits: Unnormalized scores of the same shape.
        temperature: Softening T, a float in (0, inf).

    Returns:
        Loss in nats, float tensor of shape `[...]`.

    Raises:
        ValueError: If `temperature` is not positive or the shapes differ.

    Example:
        >>> teacher = tf.constant([[0.0, math.log(3.0)]])  # (1/4, 3/4)
        >>> student = tf.constant([[0.0, 0.0]])  # (1/2, 1/2)
        >>> round(float(reverse_kl(teacher, student)[0]), 4)
        0.1438

    References:
        Gu et al. "MiniLLM: Knowledge Distillation of Large Language Models", 2023.
        https://arxiv.org/abs/2306.08543
    """
    finite = tf.debugging.check_numerics(at_least_float32(teacher_logits), _NOT_FINITE)
    log_p, log_q, scale = _softened(finite, student_logits, temperature)
    return scale * kl(log_q, log_p)


def jensen_shannon(
    teacher_logits: tf.Tensor,
    student_logits: tf.Tensor,
    *,
    temperature: float = 1.0,
    beta: float = 0.5,
) -> tf.Tensor:
    """Measures the distance of both sides from their mixture, which stays bounded.

    T² · [β · KL(p ‖ m) + (1 − β) · KL(q ‖ m)] with m = β · p + (1 − β) · q. By definition β = 0
    is `forward_kl` and β = 1 is `reverse_kl`, so the value jumps there: close to the ends the
    formula itself goes to zero.

    Args:
        teacher_logits: Unnormalized scores, float tensor of shape `[..., C]`.
        student_logits: Unnormalized scores of the same shape.
        temperature: Softening T, a float in (0, inf).
        beta: Share β of the teacher in the mixture, a float in [0, 1].

    Returns:
        Loss in nats, float tensor of shape `[...]`; for β in (0, 1) at most T² · ln 2 at β = ½.

    Raises:
        ValueError: If `beta` is outside [0, 1], `temperature` is not positive or the shapes
            differ.

    Example:
        >>> teacher = tf.constant([[0.0, math.log(3.0)]])  # (1/4, 3/4), mixture (3/8, 5/8)
        >>> student = tf.constant([[0.0, 0.0]])
        >>> round(float(jensen_shannon(teacher, student)[0]), 4)
        0.0338

    References:
        Agarwal et al. "On-Policy Distillation of Language Models", 2023, section 3.
        https://arxiv.org/abs/2306.13649
    """
    _check_fraction(beta, argument="beta")
    if beta == 0.0:
        return forward_kl(teacher_logits, student_logits, temperature=temperature)
    if beta == 1.0:
        return reverse_kl(teacher_logits, student_logits, temperature=temperature)
    log_p, log_q, scale = _softened(teacher_logits, student_logits, temperature)
    log_m = _log_mixture(log_p, log_q, beta)
    return scale * (beta * kl(log_p, log_m) + (1.0 - beta) * kl(log_q, log_m))


def skewed_kl(
    teacher_logits: tf.Tensor,
    student_logits: tf.Tensor,
    *,
    temperature: float = 1.0,
    skew: float = 0.1,
) -> tf.Tensor:
    """Measures the forward divergence from a mixture that holds some of the teacher.

    T² · KL(p ‖ λ · p + (1 − λ) · q). The share λ of the teacher bounds the loss by
    T² · ln(1/λ), which keeps a far-off student from exploding gradients.

    Args:
        teacher_logits: Unnormalized scores, float tensor of shape `[..., C]`.
        student_logits: Unnormalized scores of the same shape.
        temperature: Softening T, a float in (0, inf).
        skew: Share λ of the teacher, a float in [0, 1); 0.1 as in the paper, 0 is `forward_kl`.

    Returns:
        Loss in nats, float tensor of shape `[...]`.

    Raises:
        ValueError: If `skew` is outside [0, 1), `temperature` is not positive or the shapes
            differ.

    Example:
        >>> teacher = tf.constant([[0.0, math.log(3.0)]])
        >>> student = tf.constant([[0.0, 0.0]])
        >>> round(float(skewed_kl(teacher, student)[0]), 3)
        0.107

    References:
        Ko et al. "DistiLLM: Towards Streamlined Distillation for Large Language Models", 2024,
        section 3.1. https://arxiv.org/abs/2402.03898
    """
    _check_fraction(skew, argument="skew")
    if skew == 1.0:
        raise ValueError(
            "`skew` must be a float in [0, 1). "
            f"Received: skew={skew!r}. At 1 the student would not matter; 0.1 is usual."
        )
    log_p, log_q, scale = _softened(teacher_logits, student_logits, temperature)
    mixture = _log_mixture(log_p, log_q, skew) if skew else log_q
    return scale * kl(log_p, mixture)


def binary_kl(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, *, temperature: float = 1.0
) -> tf.Tensor:
    """Measures how far the student is from the teacher where each logit is a yes or no of its own.

    T² / C · Σ KL(Bernoulli(p) ‖ Bernoulli(q)) with p = sigmoid(teacher / T) and
    q = sigmoid(student / T): for several labels a text, or one logit for two classes, whose
    softmax would be 1 whatever it is. The mean over the C labels is that of Keras'
    `BinaryCrossentropy`. The gradient on a logit of the student is T / C · (q − p).

    Args:
        teacher_logits: Scores of yes against no, float tensor of shape `[..., C]`. Receives no
            gradient. Plus and minus infinity stand for certainty.
        student_logits: Scores of the same shape.
        temperature: Softening T, a float in (0, inf).

    Returns:
        Loss in nats, float tensor of shape `[...]`.

    Raises:
        ValueError: If `temperature` is not positive or the shapes differ.

    Example:
        >>> teacher = tf.constant([[math.log(3.0)]])  # yes with 3/4
        >>> student = tf.constant([[0.0]])  # yes with 1/2
        >>> round(float(binary_kl(teacher, student)[0]), 4)
        0.1308
    """
    teacher, student, temperature = _same_shape(teacher_logits, student_logits, temperature)
    teacher, student = teacher / temperature, student / temperature
    yes = tf.math.multiply_no_nan(
        tf.math.log_sigmoid(teacher) - tf.math.log_sigmoid(student), tf.sigmoid(teacher)
    )
    no = tf.math.multiply_no_nan(
        tf.math.log_sigmoid(-teacher) - tf.math.log_sigmoid(-student), tf.sigmoid(-teacher)
    )
    return tf.square(temperature) * tf.reduce_mean(yes + no, axis=-1)


def squared_error(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, *, temperature: float = 1.0
) -> tf.Tensor:
    """Measures how far the student's numbers are from the teacher's: 1/C · Σ (t − s)².

    For outputs that are numbers and not scores of classes. Numbers are not softened, so the
    temperature has no part in it.

    Args:
        teacher_logits: Numbers, float tensor of shape `[..., C]`. Receives no gradient.
        student_logits: Numbers of the same shape.
        temperature: Checked and not used.

    Returns:
        Loss, float tensor of shape `[...]`.

    Raises:
        ValueError: If `temperature` is not positive or the shapes differ.

    Example:
        >>> float(squared_error(tf.constant([[3.0, 1.0]]), tf.constant([[1.0, 1.0]]))[0])
        2.0
    """
    teacher, student, _ = _same_shape(teacher_logits, student_logits, temperature)
    return tf.reduce_mean(tf.math.squared_difference(teacher, student), axis=-1)


def by_name(name: str | Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Looks up a loss on logits by the name that `Distiller.compile(soft_loss=...)` takes.

    Args:
        name: "binary_kl", "forward_kl", "jensen_shannon", "reverse_kl", "skewed_kl",
            "squared_error", or a function.

    Returns:
        The function of that name; a function as it is.

    Raises:
        TypeError: If `name` is neither.
        ValueError: If there is no loss of that name.

    Example:
        >>> by_name("reverse_kl") is reverse_kl
        True
    """
    known = {
        "binary_kl": binary_kl,
        "forward_kl": forward_kl,
        "jensen_shannon": jensen_shannon,
        "reverse_kl": reverse_kl,
        "skewed_kl": skewed_kl,
        "squared_error": squared_error,
    }
    message = (
        f"`soft_loss` must be one of {sorted(known)} or a function of (teacher_logits, "
        f"student_logits, *, temperature). Received: soft_loss={name!r}."
    )
    if not isinstance(name, str):
        if isinstance(name, type) or not callable(name):
            raise TypeError(message)
        return name
    if name not in known:
        raise ValueError(message)
    return known[name]


def _softened(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns log p, log q and T², with the gradient to the teacher cut."""
    teacher, student, temperature = _same_shape(teacher_logits, student_logits, temperature)
    log_p = tf.nn.log_softmax(teacher / temperature)
    log_q = tf.nn.log_softmax(student / temperature)
    return log_p, log_q, tf.square(temperature)


def _same_shape(
    teacher_logits: tf.Tensor, student_logits: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns both in one type of at least float32, the teacher's without a gradient, and T."""
    check_temperature(temperature)
    teacher_logits = at_least_float32(teacher_logits)
    student_logits = at_least_float32(student_logits)
    if not teacher_logits.shape.is_compatible_with(student_logits.shape):
        raise ValueError(
            "`teacher_logits` and `student_logits` must have the same shape. Received: "
            f"teacher_logits → {tuple(teacher_logits.shape)}, "
            f"student_logits → {tuple(student_logits.shape)}. "
            "Both models have to score the same classes."
        )
    teacher_logits = tf.cast(tf.stop_gradient(teacher_logits), student_logits.dtype)
    return teacher_logits, student_logits, tf.cast(temperature, student_logits.dtype)


def _log_mixture(log_p: tf.Tensor, log_q: tf.Tensor, share: float) -> tf.Tensor:
    """log(share · p + (1 − share) · q)."""
    return tf.reduce_logsumexp(
        tf.stack([log_p + math.log(share), log_q + math.log1p(-share)]), axis=0
    )


def _check_fraction(value: object, *, argument: str) -> None:
    message = (
        f"`{argument}` must be a float in [0, 1]. Received: {argument}={value!r}. "
        "It is a share, not a percentage."
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(message)
    if not 0.0 <= float(value) <= 1.0:
        raise ValueError(message)
