"""The hard half of distillation: which Keras loss fits the labels, and what it must refuse.

Students return logits. A Keras loss named by a string assumes probabilities, which trains on
nonsense without a word, so strings are read as "from logits" here and finished probabilities
are refused by the name of the layer that makes them.
"""

from __future__ import annotations

import keras
import tensorflow as tf

__all__ = ["LabelLoss", "refuse_probabilities", "resolve"]


class LabelLoss(keras.losses.Loss):
    """Cross-entropy from logits, sparse or categorical by the rank of the labels.

    Integer labels of shape `[...]` take `sparse_categorical_crossentropy`, one-hot or soft
    labels of shape `[..., C]` take `categorical_crossentropy`, each exactly as `fit` calls it.
    A one-hot row of zeros is an example without a label: its hard loss and gradient are 0.

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
        losses = keras.losses.categorical_crossentropy(y_true, y_pred, from_logits=True)
        labelled = tf.reduce_any(tf.not_equal(y_true, 0), axis=-1)
        return losses * tf.cast(labelled, losses.dtype)

    def get_config(self) -> dict:
        """Returns the arguments of the constructor."""
        return {"name": self.name, "ignore_class": self.ignore_class}


def is_sparse(labels: tf.Tensor, logits: tf.Tensor) -> bool:
    """Tells integer labels from one-hot labels by their static shapes."""
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


def resolve(
    loss: keras.losses.Loss | str | None, *, ignore_class: int | None
) -> tuple[keras.losses.Loss, int | None]:
    """Turns the `loss=` of `compile` into a Keras loss on logits and its ignored class.

    Args:
        loss: None, a Keras loss object, or the name of one of the two cross-entropies.
        ignore_class: As given to `compile`.

    Returns:
        The loss object and the class that both halves of the loss leave out.

    Raises:
        TypeError: If `loss` is something else.
        ValueError: If the loss expects probabilities or contradicts `ignore_class`.

    Example:
        >>> loss, ignored = resolve("sparse_categorical_crossentropy", ignore_class=-100)
        >>> loss.ignore_class, ignored
        (-100, -100)
    """
    cross_entropies = ("sparse_categorical_crossentropy", "categorical_crossentropy")
    if loss is None or loss in cross_entropies:
        return LabelLoss(ignore_class=ignore_class), ignore_class
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if callable(loss) and not isinstance(loss, keras.losses.Loss):
        return loss, ignore_class
    if not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            "`loss` must be None, a keras.losses.Loss or a function of (y_true, y_pred). "
            f"Received: loss={loss!r}. None picks the cross-entropy that fits the labels."
        )
    config = loss.get_config()
    if config.get("from_logits") is False:
        raise ValueError(
            "`loss` must be computed from logits. Received: loss="
            f"{type(loss).__name__}(from_logits=False). Pass from_logits=True."
        )
    own = config.get("ignore_class")
    if own is not None and ignore_class is not None and own != ignore_class:
        raise ValueError(
            "`ignore_class` must be the same in `loss` and `compile`. Received: ignore_class="
            f"{ignore_class!r}, loss with ignore_class={own!r}. Leave one of them out."
        )
    return loss, own if own is not None else ignore_class


def refuse_probabilities(model: keras.Model, *, argument: str) -> None:
    """Refuses a model whose last layer already makes probabilities.

    Args:
        model: A Keras model.
        argument: Name of the caller's argument, for the message.

    Raises:
        ValueError: If the last layer is or ends in a softmax or sigmoid.
    """
    layer = _last_layer(model)
    if layer is None:
        return
    activation = getattr(layer, "activation", None)
    names = {"softmax", "sigmoid", "log_softmax"}
    if isinstance(layer, keras.layers.Softmax) or getattr(activation, "__name__", "") in names:
        raise ValueError(
            f"`{argument}` must return logits, not probabilities. Received: {argument}="
            f"{model.name!r}, whose last layer {layer.name!r} applies a softmax or sigmoid. "
            "Build it with activation=None: the losses apply the softmax themselves."
        )


def _last_layer(model: keras.Model) -> keras.layers.Layer | None:
    """Follows the one output of a Functional or Sequential model down to the layer that made it."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return None
    layer = outputs[0]._keras_history.operation
    return _last_layer(layer) if isinstance(layer, keras.Model) else layer
