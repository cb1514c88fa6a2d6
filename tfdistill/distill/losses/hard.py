"""The task loss (`hard_loss`): which Keras loss fits the labels, and what it must refuse.

Students return logits. A Keras loss named by a string assumes probabilities, which trains on
nonsense without a word, so strings are read as "from logits" here and finished probabilities
are refused by the name of the layer that makes them.
"""

from __future__ import annotations

import inspect
import numbers
from typing import Any

import keras
import tensorflow as tf

__all__ = ["LabelLoss", "is_sparse", "resolve_task_loss"]

_CROSS_ENTROPIES = ("sparse_categorical_crossentropy", "categorical_crossentropy")
SEVERAL_LABELS = (
    "`y` must have rows that sum to 1, or rows of zeros for no label. Received: a row with more. "
    "For several labels an example compile with outputs='sigmoid'."
)


@keras.saving.register_keras_serializable(package="tfdistill")
class LabelLoss(keras.losses.Loss):
    """Cross-entropy from logits, sparse or categorical by the rank of the labels.

    Integer labels of shape `[...]` take `sparse_categorical_crossentropy`, one-hot or soft
    labels of shape `[..., C]` take `categorical_crossentropy`, each exactly as `fit` calls it.
    A one-hot row of zeros is an example without a label: its loss and gradient are 0. A row that
    sums to more than 1 is no distribution, and an error when the step runs.

    Args:
        ignore_class: Integer label that carries no loss (padding, usually -100 or 0), or None.
        name: Name of the loss.
    """

    def __init__(self, *, ignore_class: int | None = None, name: str = "label_loss") -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.ignore_class = ignore_class

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each example or token, float tensor of shape `[...]`."""
        if is_sparse(y_true, y_pred):
            if len(y_true.shape) == len(y_pred.shape):
                y_true = tf.squeeze(y_true, axis=-1)
            return keras.losses.sparse_categorical_crossentropy(
                y_true, y_pred, from_logits=True, ignore_class=self.ignore_class
            )
        if self.ignore_class is not None:
            raise ValueError(
                "`ignore_class` must be None with one-hot labels. Received: ignore_class="
                f"{self.ignore_class!r}. Give integer labels, or rows of zeros for no label."
            )
        mass = tf.reduce_sum(tf.cast(y_true, tf.float32), axis=-1)
        with tf.control_dependencies([tf.debugging.assert_less(mass, 1.01, SEVERAL_LABELS)]):
            losses = keras.losses.categorical_crossentropy(y_true, y_pred, from_logits=True)
        labelled = tf.reduce_any(tf.not_equal(y_true, 0), axis=-1)
        return losses * tf.cast(labelled, losses.dtype)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {"name": self.name, "ignore_class": self.ignore_class}


def is_sparse(labels: tf.Tensor, logits: tf.Tensor) -> bool:
    """Tells integer labels from one-hot labels by their static shapes.

    Args:
        labels: Labels of shape `[...]` or `[..., 1]` if integer, `[..., C]` if one-hot.
        logits: Scores of shape `[..., C]`.

    Returns:
        Whether the labels are integers.

    Raises:
        ValueError: If they are neither.
    """
    ranks = len(labels.shape), len(logits.shape)
    if ranks[0] == ranks[1] - 1 or (ranks[0] == ranks[1] and labels.shape[-1] == 1):
        return True
    if ranks[0] == ranks[1]:
        return False
    raise ValueError(
        "`y` must be integer labels of shape [...] or one-hot labels of shape [..., C] for logits "
        f"of shape [..., C]. Received: y → {tuple(labels.shape)}, "
        f"logits → {tuple(logits.shape)}."
    )


def resolve_task_loss(
    loss: keras.losses.Loss | str | None, *, ignore_class: int | None, outputs: str = "softmax"
) -> tuple[keras.losses.Loss, int | None]:
    """Turns the `loss=` of `compile` into a Keras loss on logits and its ignored class.

    Args:
        loss: None, a Keras loss object, or the name of one; cross-entropies are taken from
            logits.
        ignore_class: As given to `compile`.
        outputs: What the outputs mean, which decides what None stands for.

    Returns:
        The loss object and the class that neither the task loss nor the distillation loss counts.

    Raises:
        TypeError: If `loss` is something else, or `ignore_class` no integer.
        ValueError: If the loss expects probabilities or does not go with `ignore_class`.

    Example:
        >>> loss, ignored = resolve_task_loss("sparse_categorical_crossentropy", ignore_class=-100)
        >>> loss.ignore_class, ignored
        (-100, -100)
    """
    _check_class(ignore_class)
    if loss is None and outputs == "linear":
        loss = keras.losses.MeanSquaredError()
    if (loss is None and outputs == "sigmoid") or loss in ("binary_crossentropy", "bce"):
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    if loss is None or (isinstance(loss, str) and loss in _CROSS_ENTROPIES):
        return LabelLoss(ignore_class=ignore_class), ignore_class
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        _refuse_loss_of_probabilities(loss, loss.get_config().get("from_logits"))
        return _with_ignored_class(loss, ignore_class)
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(
            "`loss` must be None, a keras.losses.Loss or a function of (y_true, y_pred). "
            f"Received: loss={loss!r}. None picks the cross-entropy that fits the labels."
        )
    setting = inspect.signature(loss).parameters.get("from_logits")
    _refuse_loss_of_probabilities(loss, None if setting is None else setting.default)
    if ignore_class is not None:
        raise ValueError(
            "`ignore_class` must be None with a loss function of your own. Received: "
            f"ignore_class={ignore_class!r}. Leave the class out in the function, and give the "
            "distillation loss a sample_weight of 0 there."
        )
    return loss, None


def _refuse_loss_of_probabilities(loss: Any, from_logits: bool | None) -> None:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
    if from_logits is False:
        raise ValueError(
            f"`loss` must be computed from logits. Received: loss={name}(from_logits=False). "
            "Pass a keras.losses object with from_logits=True."
        )
    if isinstance(loss, keras.losses.KLDivergence) or loss is keras.losses.kl_divergence:
        raise ValueError(
            f"`loss` must be computed from logits. Received: loss={name}, which takes "
            "probabilities. loss=None takes soft labels too."
        )


def _with_ignored_class(
    loss: keras.losses.Loss, ignore_class: int | None
) -> tuple[keras.losses.Loss, int | None]:
    """Makes the loss object and `compile` agree on the class that is left out."""
    config = loss.get_config()
    own = config.get("ignore_class")
    if ignore_class is None or own == ignore_class:
        return loss, own
    if "ignore_class" not in config:
        raise ValueError(
            f"`ignore_class` must be None with loss={loss.name}, which cannot leave a class out. "
            f"Received: ignore_class={ignore_class!r}. Use loss=None with integer labels."
        )
    if own is not None:
        raise ValueError(
            "`ignore_class` must be the same in `loss` and `compile`. Received: ignore_class="
            f"{ignore_class!r}, loss with ignore_class={own!r}. Leave one of them out."
        )
    return type(loss).from_config({**config, "ignore_class": ignore_class}), ignore_class


def _check_class(ignore_class: object) -> None:
    if ignore_class is None:
        return
    if isinstance(ignore_class, bool) or not isinstance(ignore_class, numbers.Integral):
        raise TypeError(
            "`ignore_class` must be an integer label or None. "
            f"Received: ignore_class={ignore_class!r}. -100 is usual for padding."
        )
