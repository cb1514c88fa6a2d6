"""The numbers of the results table, as pure functions of labels, predictions and weights.

`macro_f1` stands beside `accuracy` because on an unbalanced data set a model that never names a
rare class still looks accurate. Sizes of a Keras model are those of its float32 weights, since a
Keras model has no other size before it is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass

__all__ = ["accuracy", "agreement", "macro_f1"]


def accuracy(labels: Any, predictions: Any) -> float:
    """Returns the fraction of predictions that equal their label.

    Args:
        labels: Class indices, integers of shape `[N]`, N at least 1.
        predictions: Class indices, same shape.

    Raises:
        TypeError: If either holds anything but integers.
        ValueError: If the shapes differ, are not `[N]`, or N is 0.

    Example:
        >>> accuracy([0, 1, 2, 2], [0, 1, 1, 2])
        0.75
    """
    labels, predictions = _check_pair(labels=labels, predictions=predictions)
    return float(np.mean(labels == predictions))


def agreement(reference: Any, predictions: Any) -> float:
    """Returns the fraction of examples on which two models name the same class.

    Args:
        reference: Class indices of one model (the teacher), integers of shape `[N]`.
        predictions: Class indices of the other, same shape.

    Raises:
        TypeError: If either holds anything but integers.
        ValueError: If the shapes differ, are not `[N]`, or N is 0.

    Example:
        >>> agreement([3, 1], [3, 2])
        0.5
    """
    reference, predictions = _check_pair(reference=reference, predictions=predictions)
    return float(np.mean(reference == predictions))


def macro_f1(labels: Any, predictions: Any, num_classes: int) -> float:
    """Returns the F1 score averaged over classes, each counting the same however rare it is.

    For each class  F1 = 2·TP / (2·TP + FP + FN). A class that occurs neither in the labels nor in
    the predictions is left out of the average; one that is only predicted, or only missed,
    counts as 0. (This equals scikit-learn's `f1_score(average="macro")` on the classes seen.)

    Args:
        labels: Class indices, integers of shape `[N]` in [0, num_classes).
        predictions: Class indices, same shape and range.
        num_classes: Number of classes, at least 1.

    Raises:
        TypeError: If either holds anything but integers.
        ValueError: If the shapes differ, are not `[N]`, N is 0, or an index is out of range.

    Example:
        >>> macro_f1([0, 0, 1], [0, 1, 1], 2)     # both classes: 2 / (2 + 1)
        0.6666666666666666
    """
    labels, predictions = _check_pair(labels=labels, predictions=predictions)
    for name, indices in (("labels", labels), ("predictions", predictions)):
        if indices.min() < 0 or indices.max() >= num_classes:
            raise ValueError(
                f"`{name}` must be class indices in [0, {num_classes}). Received: values from "
                f"{indices.min()} to {indices.max()}."
            )
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    seen = np.bincount(labels, minlength=num_classes) + np.bincount(
        predictions, minlength=num_classes
    )
    present = seen > 0
    return float(np.mean(2.0 * hits[present] / seen[present]))


def _check_pair(**pair: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays = {name: np.asarray(value) for name, value in pair.items()}
    (first, one), (second, other) = arrays.items()
    if one.shape != other.shape or one.ndim != 1 or not one.size:
        raise ValueError(
            f"`{first}` and `{second}` must have the same shape [N], N at least 1. Received: "
            f"{first} of shape {one.shape}, {second} of shape {other.shape}."
        )
    for name, array in arrays.items():
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"`{name}` must be class indices (integers). Received: dtype={array.dtype}. "
                "Take the argmax of logits over the last axis first."
            )
    return one, other
