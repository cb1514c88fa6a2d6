"""The distillation loss (`soft_loss`): compares the student's logits with the teacher's.

It is a name of `tfdistill.losses`, a function of the same signature, or a loss of
`keras.distillation`. The first two give one loss per example or token, which can be masked and
weighted before the mean is taken; Keras' own gives one number for the batch, and is refused where a
mask or weights are given. `alpha` weighs the task loss against the distillation loss.
"""

from __future__ import annotations

import math
import numbers
import types
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdistill.distill.losses import logits
from tfdistill.distill.losses.output_kinds import DISTILLATION_LOSSES

__all__ = [
    "KerasDistillationLoss",
    "check_alpha",
    "from_config",
    "like",
    "masked_mean",
    "mean_distillation_loss",
    "resolve_distillation_loss",
    "to_config",
    "weighted_loss",
]

SoftLoss = Callable[..., tf.Tensor]


class KerasDistillationLoss:
    """Calls a `keras.distillation.DistillationLoss` as a loss of this package is called.

    It has a temperature of its own, so that of `compile` does not reach it.

    Args:
        loss: The loss object.

    Raises:
        ValueError: If it names layers, whose features it would not be given here.

    Example:
        >>> loss = KerasDistillationLoss(keras.distillation.LogitsDistillation(
        ...     temperature=2.0, loss=keras.losses.KLDivergence()))
        >>> teacher = tf.math.log([[1.0, 9.0]])  # softens to (1/4, 3/4)
        >>> round(float(loss(teacher, tf.zeros([1, 2]), temperature=99.0)), 4)
        0.5232
    """

    def __init__(self, loss: keras.distillation.DistillationLoss) -> None:
        if isinstance(loss, keras.distillation.FeatureDistillation) and (
            loss.teacher_layer_name or loss.student_layer_name
        ):
            raise ValueError(
                "`soft_loss` must compare logits. Received: soft_loss=FeatureDistillation of the "
                f"layers {loss.teacher_layer_name!r} and {loss.student_layer_name!r}. Use "
                "Distiller(feature_losses=[FeatureLoss(teacher=..., student=...)])."
            )
        self.loss = loss

    def __call__(
        self, teacher_logits: tf.Tensor, student_logits: tf.Tensor, *, temperature: Any
    ) -> tf.Tensor:
        """Returns the mean loss of the batch, scalar; `temperature` is not used."""
        del temperature
        student_logits = logits.at_least_float32(student_logits)
        teacher_logits = tf.cast(tf.stop_gradient(teacher_logits), student_logits.dtype)
        self.loss.validate_outputs(teacher_logits, student_logits)
        return self.loss.compute_loss(teacher_logits, student_logits)


def resolve_distillation_loss(soft_loss: Any, *, outputs: str = "softmax") -> SoftLoss:
    """Turns the `soft_loss=` of `compile` into a function of both logits and the temperature.

    Args:
        soft_loss: A name, a function, a `keras.distillation.DistillationLoss`, or None for the
            one that fits the outputs.
        outputs: What the outputs mean: "softmax", "sigmoid" or "linear".

    Returns:
        The function.

    Raises:
        TypeError: If it is something else.
        ValueError: If there is no loss of that name, or it is for other outputs.
    """
    if isinstance(soft_loss, keras.distillation.DistillationLoss):
        return KerasDistillationLoss(soft_loss)
    fitting = DISTILLATION_LOSSES[outputs]
    found = logits.by_name(fitting[0] if soft_loss is None else soft_loss)
    name = getattr(found, "__name__", "")
    known = {name for names in DISTILLATION_LOSSES.values() for name in names}
    if found is getattr(logits, name, None) and name in known and name not in fitting:
        raise ValueError(
            f"`soft_loss` must be one of {fitting} for outputs={outputs!r}, or a function of your "
            f"own. Received: soft_loss={name!r}. None takes the one that fits."
        )
    return found


def mean_distillation_loss(
    soft_loss: SoftLoss,
    teacher_logits: tf.Tensor,
    student_logits: tf.Tensor,
    *,
    temperature: Any,
    labels: tf.Tensor | None = None,
    ignore_class: int | None = None,
    sample_weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes the distillation loss of a batch, masked and weighted as the task loss is.

    What counts is what the student's `_keras_mask` and `ignore_class` leave: Σ m · w · ℓ /
    max(Σ m, 1). Under a `tf.distribute` strategy it is divided by the number of replicas.

    Args:
        soft_loss: What `resolve_distillation_loss` returned.
        teacher_logits: Float tensor `[..., C]`.
        student_logits: Float tensor of the same shape.
        temperature: Softening T, scalar.
        labels: Integer labels `[...]`; needed for `ignore_class` only.
        ignore_class: Label that does not count, or None.
        sample_weight: Weights of shape `[B]` or `[...]`, or None.

    Returns:
        A scalar.

    Raises:
        ValueError: If the loss is one number already where examples or tokens count differently.

    Example:
        >>> from tfdistill import losses
        >>> logits = tf.math.log([[1.0, 3.0], [1.0, 1.0]])
        >>> float(mean_distillation_loss(
        ...     losses.forward_kl, logits, tf.zeros([2, 2]), temperature=1.0,
        ...     labels=tf.constant([-1, 0]), ignore_class=-1))
        0.0
    """
    values = soft_loss(teacher_logits, student_logits, temperature=temperature)
    mask = getattr(student_logits, "_keras_mask", None)
    if ignore_class is not None and labels is not None:
        labelled = tf.not_equal(tf.cast(labels, tf.int32), ignore_class)
        if len(values.shape) > 0:
            labelled = like(labelled, values)
        mask = labelled if mask is None else tf.logical_and(tf.cast(mask, tf.bool), labelled)
    _check_reducible(values, mask=mask, sample_weight=sample_weight)
    mean = masked_mean(values, mask=mask, sample_weight=sample_weight)
    return mean / tf.distribute.get_strategy().num_replicas_in_sync


def to_config(soft_loss: SoftLoss) -> dict[str, Any]:
    """Describes a resolved distillation loss for a `.keras` file, without storing code.

    Args:
        soft_loss: What `resolve_distillation_loss` returned.

    Returns:
        A dict of JSON values.

    Example:
        >>> from tfdistill import losses
        >>> to_config(losses.reverse_kl)
        {'name': 'reverse_kl'}
    """
    if isinstance(soft_loss, KerasDistillationLoss):
        return {"keras": keras.saving.serialize_keras_object(soft_loss.loss)}
    name = getattr(soft_loss, "__name__", type(soft_loss).__name__)
    if soft_loss is getattr(logits, name, None):
        return {"name": name}
    if isinstance(soft_loss, types.FunctionType):
        name = keras.saving.get_registered_name(soft_loss)
    return {"function": name}


def from_config(config: Mapping[str, Any]) -> Any:
    """Finds the distillation loss that a file describes, a function of the user's by its name.

    Args:
        config: What `to_config` returned.

    Returns:
        What `compile(soft_loss=...)` takes.

    Raises:
        ValueError: If the file names a function that is not among Keras' custom objects.
    """
    if "name" in config:
        return config["name"]
    if "keras" in config:
        return keras.saving.deserialize_keras_object(config["keras"])
    name = config["function"]
    found = keras.saving.get_registered_object(name)
    if found is None:
        raise ValueError(
            f"`custom_objects` must hold the soft loss {name!r}, because a file does not hold "
            f"code. Received: no object of that name. Pass custom_objects={{{name!r}: function}} "
            "to Distiller.load."
        )
    return found


def _check_reducible(
    values: tf.Tensor, *, mask: tf.Tensor | None, sample_weight: tf.Tensor | None
) -> None:
    if len(values.shape) == 0 and (mask is not None or sample_weight is not None):
        given = "a mask" if sample_weight is None else "sample_weight"
        raise ValueError(
            "`soft_loss` must return a loss per example or token where they are masked or "
            f"weighted. Received: {given}, and a soft_loss that returns one number for the batch, "
            'as those of keras.distillation do. Use a loss of tfdistill.losses, "forward_kl" for '
            "one."
        )


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


def weighted_loss(task: tf.Tensor, distillation: tf.Tensor, *, alpha: tf.Tensor) -> tf.Tensor:
    """Weighs labels against the teacher: alpha · task + (1 − alpha) · distillation.

    Args:
        task: Loss on the labels, scalar.
        distillation: Loss against the teacher, scalar, T² included.
        alpha: Weight of the labels, scalar in [0, 1]. 1 is plain training.

    Returns:
        The loss to minimize, scalar.

    Example:
        >>> float(weighted_loss(tf.constant(2.0), tf.constant(4.0), alpha=0.25))
        3.5
    """
    return alpha * task + (1.0 - alpha) * distillation


def check_alpha(alpha: object) -> None:
    """Refuses an alpha that is not a share.

    Args:
        alpha: Weight of the task loss.

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
