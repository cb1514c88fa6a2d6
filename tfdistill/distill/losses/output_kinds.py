"""What a model's outputs mean, and which losses fit: classes, labels of their own, or numbers.

=========  ====================================  ====================  =================
outputs    a row of outputs is                   task loss             distillation loss
=========  ====================================  ====================  =================
softmax    scores of classes, one of which is    cross-entropy         `forward_kl`
           right
sigmoid    a score of yes against no for each    binary cross-entropy  `binary_kl`
           label
linear     numbers                               mean squared error    `squared_error`
=========  ====================================  ====================  =================

A loss of the wrong kind trains without a word: the softmax over one score is 1 whatever the score
is, so its divergence and gradient are 0, and several labels a text are no distribution.
"""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["DISTILLATION_LOSSES", "OUTPUT_KINDS", "check_outputs", "infer_outputs"]

# The first distillation loss of each kind is its default.
DISTILLATION_LOSSES = {
    "softmax": ("forward_kl", "jensen_shannon", "reverse_kl", "skewed_kl"),
    "sigmoid": ("binary_kl",),
    "linear": ("squared_error",),
}
OUTPUT_KINDS = tuple(DISTILLATION_LOSSES)
_KIND_OF_LOSS = {
    "softmax": (
        keras.losses.CategoricalCrossentropy,
        keras.losses.SparseCategoricalCrossentropy,
        keras.losses.CategoricalFocalCrossentropy,
    ),
    "sigmoid": (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy),
    "linear": (
        keras.losses.MeanSquaredError,
        keras.losses.MeanAbsoluteError,
        keras.losses.MeanAbsolutePercentageError,
        keras.losses.MeanSquaredLogarithmicError,
        keras.losses.Huber,
        keras.losses.LogCosh,
        keras.losses.CosineSimilarity,
    ),
}
_NAMES = {
    "softmax": ("categorical_crossentropy", "sparse_categorical_crossentropy"),
    "sigmoid": ("binary_crossentropy", "bce"),
    "linear": ("mean_squared_error", "mse", "mean_absolute_error", "mae", "huber", "log_cosh"),
}


def check_outputs(outputs: object) -> None:
    """Refuses what is no kind of outputs.

    Args:
        outputs: "softmax", "sigmoid", "linear" or None.

    Raises:
        ValueError: If it is something else.

    Example:
        >>> check_outputs("logits")
        Traceback (most recent call last):
        ...
        ValueError: `outputs` must be one of ('softmax', 'sigmoid', 'linear') or None. Received: ...
    """
    if outputs is not None and outputs not in OUTPUT_KINDS:
        raise ValueError(
            f"`outputs` must be one of {OUTPUT_KINDS} or None. Received: outputs={outputs!r}. "
            "None takes what the task loss is for."
        )


def infer_outputs(outputs: str | None, *, loss: Any, num_outputs: int | None) -> str:
    """Finds what the outputs mean, from what was said or from the task loss.

    Args:
        outputs: What the user said, or None.
        loss: The `loss=` of `compile`: None, a name, a Keras loss or a function.
        num_outputs: Size of the last axis, or None where it is not known.

    Returns:
        "softmax", "sigmoid" or "linear".

    Raises:
        ValueError: If `outputs` is unknown or contradicts the loss, or one output would be the
            only class.

    Example:
        >>> infer_outputs(None, loss="binary_crossentropy", num_outputs=5)
        'sigmoid'
    """
    check_outputs(outputs)
    of_loss = _kind_of(loss)
    if outputs is not None and of_loss is not None and of_loss != outputs:
        name = loss if isinstance(loss, str) else type(loss).__name__
        raise ValueError(
            f"`outputs` must go with the loss. Received: outputs={outputs!r}, loss={name}, which "
            f"is for outputs={of_loss!r}. Leave one of them out."
        )
    kind = outputs or of_loss or "softmax"
    if kind == "softmax" and num_outputs == 1:
        raise ValueError(
            "`student` must have at least two outputs for outputs='softmax', because the softmax "
            "over one is always 1 and teaches nothing. Received: student with one output. "
            "Compile with outputs='sigmoid' if it is a score of yes against no, with "
            "outputs='linear' if it is a number."
        )
    return kind


def _kind_of(loss: Any) -> str | None:
    for kind in OUTPUT_KINDS:
        if isinstance(loss, str) and loss in _NAMES[kind]:
            return kind
        if isinstance(loss, _KIND_OF_LOSS[kind]):
            return kind
        if callable(loss) and getattr(loss, "__module__", "").startswith("keras."):
            if getattr(loss, "__name__", None) in _NAMES[kind]:
                return kind
    return None
