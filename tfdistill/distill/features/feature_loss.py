"""Feature distillation: pairs of layers, and what of them the student has to imitate.

L = … + Σ wᵢ · Lᵢ(teacher layer, student layer). Pairs are data: two layer paths and the name of
a loss. What belongs to the pairs but not to the student, namely projectors to the teacher's
width, stays with the Distiller.
"""

from __future__ import annotations

import functools
import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfdistill.distill.losses.features import (
    attention_kl,
    attention_scores,
    hidden_cosine,
    hidden_mse,
    relation_kl,
)
from tfdistill.introspection.hooks import Parts

__all__ = ["FeatureLoss", "position_losses"]

_BY_NAME: dict[str, Callable[..., tf.Tensor]] = {
    "attention_kl": attention_kl,
    "hidden_cosine": hidden_cosine,
    "hidden_mse": hidden_mse,
    "relation_kl": relation_kl,
}


class FeatureLoss:
    """Names a layer of each model and the loss between what they hold.

    A path is the layer's name, with the names of the models and layers around it where that is
    needed to tell it from others: "encoder_1", "transformer_layer_5",
    "bert_backbone/transformer_layer_5". In a compressed student it is the path of the plain one.

    The loss "hidden_mse" or "hidden_cosine" compares the outputs of two layers, `[B, ..., D]`.
    If their widths differ, the Distiller learns a projector, a linear layer from the student's
    width to the teacher's, along with the student. "attention_kl" (equal numbers of heads) and
    "relation_kl" (any) compare two `MultiHeadAttention` layers, each named itself or by a layer
    that has one inside. Their queries, keys and values are taken from the one forward pass, and
    the scores Q·Kᵀ / √d are computed again, because Keras does not always make them.

    Padding is left out if either side knows of it: from a Keras mask, from an argument
    `is_token`, `padding_mask`, `mask` or `attention_mask` `[B, L]` of the layer, or, for
    attention, because nobody attends to it.

    Args:
        teacher: Path of a layer of the teacher.
        student: Path of a layer of the student.
        loss: One of the four names, or a function of `(teacher_states, student_states)`, both
            `[B, ..., D]`, to one loss per position, `[B, ...]`. A `functools.partial` of
            `tfdistill.losses.relation_kl` with `relation_heads` set is read as that loss.
        weight: Weight wᵢ in the sum, a float in [0, inf).

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the loss is unknown or the weight out of range.

    Example:
        >>> FeatureLoss(teacher="encoder_5", student="encoder_1", loss="hidden_mse", weight=0.5)
        FeatureLoss(teacher='encoder_5', student='encoder_1', loss=hidden_mse, weight=0.5)
    """

    def __init__(
        self,
        *,
        teacher: str,
        student: str,
        loss: str | Callable[..., tf.Tensor],
        weight: float = 1.0,
    ) -> None:
        for argument, value in (("teacher", teacher), ("student", student)):
            if not isinstance(value, str) or not value:
                raise TypeError(
                    f"`{argument}` of a FeatureLoss must be the path of a layer. "
                    f"Received: {argument}={value!r}. For example 'encoder_1'."
                )
        self.teacher = teacher.strip("/")
        self.student = student.strip("/")
        self.loss = _resolve(loss)
        self.weight = _check_weight(weight)

    @property
    def kind(self) -> str:
        """What is compared: "states" or "attention"."""
        return "attention" if _plain(self.loss) in (attention_kl, relation_kl) else "states"

    @property
    def name(self) -> str:
        """Name of its column in the logs: letters, digits and underscores."""
        function = _plain(self.loss)
        name = getattr(function, "__name__", type(function).__name__)
        return re.sub(r"\W+", "_", f"{name}_{self.student}").strip("_")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as JSON values: a file does not hold code.

        Returns:
            A dict; a function of the user's own is in it by the name that Keras knows it by.
        """
        plain = _plain(self.loss)
        name = getattr(plain, "__name__", type(plain).__name__)
        loss: dict[str, Any] = {"name": name}
        if plain is not _BY_NAME.get(name):
            registered = {own: key for key, own in keras.saving.get_custom_objects().items()}
            loss = {"function": registered.get(plain, name)}
        if isinstance(self.loss, functools.partial):
            loss["arguments"] = self.loss.keywords
        return {
            "teacher": self.teacher,
            "student": self.student,
            "loss": loss,
            "weight": self.weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeatureLoss:
        """Rebuilds it from its config.

        Args:
            config: What `get_config` returned.

        Returns:
            The feature loss.

        Raises:
            ValueError: If its function is not among the custom objects of the moment.
        """
        description = config["loss"]
        if "name" in description:
            loss = _BY_NAME[description["name"]]
        else:
            loss = _custom(description["function"])
        if "arguments" in description:
            loss = functools.partial(loss, **description["arguments"])
        return cls(**{**config, "loss": loss})

    def __repr__(self) -> str:
        name = getattr(_plain(self.loss), "__name__", repr(self.loss))
        return (
            f"FeatureLoss(teacher={self.teacher!r}, student={self.student!r}, "
            f"loss={name}, weight={self.weight})"
        )


def position_losses(
    feature_loss: FeatureLoss, teacher: Parts, student: Parts
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Computes a feature loss for each position, and which positions count.

    Args:
        feature_loss: What to compare; its weight is left to the caller.
        teacher: Recorded parts of the teacher's layer; they receive no gradient.
        student: Those of the student's layer, already of the teacher's width.

    Returns:
        Losses, float tensor `[B, ...]`, and a bool tensor of that shape, or None for all.
    """
    loss = feature_loss.loss
    teacher = {name: tf.stop_gradient(part) for name, part in teacher.items()}
    masks = [parts["mask"] for parts in (teacher, student) if "mask" in parts]
    mask = functools.reduce(tf.logical_and, masks) if masks else None
    if feature_loss.kind == "states":
        return loss(teacher["states"], student["states"]), mask
    is_real = None
    if mask is not None:
        # A position that no other may attend to is padding, in causal attention as well.
        is_real = tf.reduce_any(mask, axis=[1, 2])
        shape = tf.concat([tf.shape(student["query"])[:1], tf.shape(is_real)[1:]], axis=0)
        is_real = tf.broadcast_to(is_real, shape)
    if _plain(loss) is attention_kl:
        scores = [attention_scores(parts["query"], parts["key"]) for parts in (teacher, student)]
        return loss(*scores, mask=mask), is_real
    relations = [
        loss(teacher[name], student[name], mask=is_real) for name in ("query", "key", "value")
    ]
    return tf.add_n(relations) / len(relations), is_real


def _resolve(loss: str | Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    message = (
        f"`loss` of a FeatureLoss must be one of {sorted(_BY_NAME)} or a function of "
        f"(teacher_states, student_states). Received: loss={loss!r}."
    )
    if isinstance(loss, str):
        if loss not in _BY_NAME:
            raise ValueError(f"{message} Losses on logits go to `compile(soft_loss=...)`.")
        return _BY_NAME[loss]
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"{message} It returns one loss per position.")
    return loss


def _custom(name: str) -> Callable[..., tf.Tensor]:
    found = keras.saving.get_registered_object(name)
    if found is None:
        raise ValueError(
            f"`custom_objects` must hold the loss {name!r} of a FeatureLoss, because a file does "
            "not hold code. Received: no object of that name. Pass custom_objects="
            f"{{{name!r}: function}} to Distiller.load."
        )
    return found


def _plain(loss: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return loss.func if isinstance(loss, functools.partial) else loss


def _check_weight(weight: object) -> float:
    message = (
        f"`weight` of a FeatureLoss must be a float in [0, inf). Received: weight={weight!r}. "
        "It multiplies the loss in the sum."
    )
    if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
        raise TypeError(message)
    if not 0.0 <= float(weight) < math.inf:
        raise ValueError(message)
    return float(weight)
