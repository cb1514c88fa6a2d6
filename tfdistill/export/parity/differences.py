"""Measures of how far one model's outputs are from another's, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdistill.export.parity.several_labels import is_multi_hot, label_measures

__all__ = ["check_labels", "kl_divergence", "measures"]


def measures(
    reference: Mapping[str, np.ndarray],
    candidate: Mapping[str, np.ndarray],
    *,
    output: str,
    labels: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Compares two sets of outputs for the same examples.

    Args:
        reference: Outputs by name, float arrays of shape `[B, ...]`.
        candidate: The other model's, of the same names and shapes.
        output: Name of the output that classes are read from, `[B, ..., C]`.
        labels: Class indices `[B, ...]`; or several of each example, 0 and 1 `[B, ..., C]`; or
            None.

    Returns:
        One array of shape `[B]` for each of max_error, mean_error, largest (of the reference) and
        cosine, over all outputs; and where C > 1 for agreement, kl and, with labels,
        model_accuracy and file_accuracy, each averaged over the axes between. With several labels
        of an example those of `tfdistill.export.parity.several_labels` take the place of these
        four.

    Example:
        >>> found = measures({"logits": np.array([[3.0, 4.0]])}, {"logits": np.array([[4.0, 3.0]])},
        ...                  output="logits")
        >>> float(found["max_error"][0]), float(found["cosine"][0]), float(found["agreement"][0])
        (1.0, 0.96, 0.0)
    """
    size = len(reference[output])
    ours = np.concatenate([value.reshape(size, -1) for value in reference.values()], axis=1)
    theirs = np.concatenate([candidate[name].reshape(size, -1) for name in reference], axis=1)
    # A model may answer NaN or infinity: that is to be reported, not warned about here.
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(ours - theirs)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosine = np.sum(ours * theirs, axis=1) / np.where(norms == 0, 1.0, norms)
        found = {
            "max_error": errors.max(axis=1),
            "mean_error": errors.mean(axis=1),
            "largest": np.abs(ours).max(axis=1),
            # Two zero vectors have no angle between them; they are equal, which is the question.
            "cosine": np.where(np.all(ours == theirs, axis=1), 1.0, np.clip(cosine, -1.0, 1.0)),
        }
        logits, other = reference[output], candidate[output]
        if labels is not None and labels.ndim == logits.ndim:
            return found | label_measures(logits, other, labels)
        if logits.ndim > 1 and logits.shape[-1] > 1:
            # NaN is no class: -1 for the model and -2 for the file agree with nothing.
            top = np.where(np.isnan(logits).any(axis=-1), -1, logits.argmax(axis=-1))
            other_top = np.where(np.isnan(other).any(axis=-1), -2, other.argmax(axis=-1))
            found["agreement"] = _per_example(top == other_top)
            found["kl"] = _per_example(kl_divergence(logits, other))
            if labels is not None:
                found["model_accuracy"] = _per_example(top == labels)
                found["file_accuracy"] = _per_example(other_top == labels)
    return found


def kl_divergence(logits: np.ndarray, other_logits: np.ndarray) -> np.ndarray:
    """Returns KL(softmax(logits) ‖ softmax(other_logits)) over the last axis, in nats.

    Outputs that are probabilities already (no negative, sums of 1) are taken as they are.

    Example:
        >>> halves, quarters = np.array([0.0, 0.0]), np.array([0.0, np.log(3.0)])
        >>> round(float(kl_divergence(halves, quarters)), 4)        # ln 2 − ½·ln 3
        0.1438
    """
    sums = logits.sum(axis=-1)
    probabilities = bool(np.all(logits >= 0) and np.all(np.abs(sums - 1.0) < 1e-3))
    log_p = _log_probabilities(logits, probabilities=probabilities)
    log_q = _log_probabilities(other_logits, probabilities=probabilities)
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


def _log_probabilities(outputs: np.ndarray, *, probabilities: bool) -> np.ndarray:
    outputs = outputs.astype(np.float64)
    if probabilities:
        # Normalized again below, because probabilities on a grid do not sum to exactly one.
        outputs = np.log(np.maximum(outputs, 1e-12))
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _per_example(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).mean(axis=1)


def check_labels(y: Any, *, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns labels as class indices, or as they are where examples have several.

    Args:
        y: Class indices of the shape of the logits without the class axis (or with an axis of 1
            in its place), one-hot rows of the shape of the logits, several labels of each example
            as 0 and 1 of that shape, or None.
        shape: Shape of the logits for all examples, `[N, ..., C]`.

    Raises:
        TypeError: If class indices are not integers.
        ValueError: If the shape is another, C is 1, or an index is not a class.

    Example:
        >>> check_labels([[0, 1], [1, 0]], shape=(2, 2)).tolist()
        [1, 0]
        >>> check_labels([[1, 1], [1, 0]], shape=(2, 2)).tolist()
        [[True, True], [True, False]]
    """
    if y is None:
        return None
    labels = np.asarray(y)
    classes = shape[-1] if len(shape) > 1 else 1
    if is_multi_hot(labels, shape=shape):
        return labels.astype(bool)
    if labels.shape == shape and classes > 1:
        return labels.argmax(axis=-1)
    if labels.shape == (*shape[:-1], 1):
        labels = labels[..., 0]
    if labels.shape != shape[:-1] or classes == 1:
        raise ValueError(
            f"`y` must be class indices of shape {shape[:-1]} or one-hot rows of shape {shape}, "
            f"for at least two classes. Received: shape={labels.shape}."
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"`y` must be class indices (integers) or one-hot rows. Received: dtype={labels.dtype}."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`y` must be class indices in [0, {classes}), the classes of the model. Received: "
            f"values from {labels.min()} to {labels.max()}."
        )
    return labels
