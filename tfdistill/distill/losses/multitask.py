"""The loss of several tasks at once: each head learns from its labels and from its teacher.

Plain Keras does the rest: `compile(loss={"intent": DistilledLoss(), …})`, `fit` on a dict of packed
targets, and a `sample_weight` for each head that is 0 where a text says nothing about its task.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from tfdistill.distill.losses import logits
from tfdistill.distill.losses.soft import check_alpha

__all__ = ["DistilledLoss", "pack_targets"]


def pack_targets(labels: np.ndarray, teacher_logits: np.ndarray) -> np.ndarray:
    """Puts labels and teacher logits into one array, which is what Keras takes per head.

    Args:
        labels: Class numbers, int array `[...]`.
        teacher_logits: The teacher's logits, float array `[..., C]`.

    Returns:
        float32 array `[..., C + 1]`: the logits, then the label.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> pack_targets(np.array([1]), np.array([[0.5, 2.0]])).tolist()
        [[0.5, 2.0, 1.0]]
    """
    labels, teacher_logits = np.asarray(labels), np.asarray(teacher_logits)
    if labels.shape != teacher_logits.shape[:-1]:
        raise ValueError(
            "`labels` must have the shape of `teacher_logits` without its last axis. Received: "
            f"labels of shape {labels.shape}, teacher_logits of shape {teacher_logits.shape}."
        )
    parts = (teacher_logits, labels[..., None])
    return np.concatenate(parts, axis=-1).astype(np.float32)


@keras.saving.register_keras_serializable(package="tfdistill")
class DistilledLoss(keras.losses.Loss):
    """alpha · cross-entropy(labels, student) + (1 − alpha) · T² · KL(teacher ‖ student).

    The same two terms as in a `Distiller`, for one head of several.

    Args:
        alpha: Weight of the labels, a float in [0, 1].
        temperature: Softening T, a float in (0, inf).
        **settings: As in `keras.losses.Loss`.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If `alpha` or `temperature` is out of range.

    Example:
        >>> loss = DistilledLoss(alpha=1.0)
        >>> round(float(loss(pack_targets([1], [[0.0, 0.0]]), np.array([[0.0, 0.0]]))), 4)
        0.6931

    References:
        Hinton, Vinyals, Dean. "Distilling the Knowledge in a Neural Network", 2015, section 2.
        https://arxiv.org/abs/1503.02531
    """

    def __init__(self, *, alpha: float = 0.1, temperature: float = 2.0, **settings: Any) -> None:
        super().__init__(**settings)
        check_alpha(alpha)
        logits.check_temperature(temperature)
        self.alpha, self.temperature = alpha, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss per text or token, of the targets' shape without the last axis."""
        teacher_logits, labels = y_true[..., :-1], ops.cast(y_true[..., -1], "int32")
        hard = keras.losses.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        soft = logits.forward_kl(teacher_logits, y_pred, temperature=self.temperature)
        return self.alpha * hard + (1.0 - self.alpha) * soft

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "alpha": self.alpha, "temperature": self.temperature}
