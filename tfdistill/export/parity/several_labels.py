"""Measures for outputs that are a yes or no for each label, where an example may have several.

The largest output says nothing there: a class is not asked for. So model and file are compared
label by label, and with the truth by the F1 of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfdistill.agents.trust.thresholds import sigmoid

__all__ = ["f1_of_labels", "is_multi_hot", "label_measures"]

_TINY = 1e-12  # keeps the logarithm of a probability finite


def is_multi_hot(y: Any, *, shape: tuple[int, ...]) -> bool:
    """Tells whether labels are several of each example.

    Args:
        y: Labels.
        shape: Shape of the outputs for all examples, `[N, ..., C]`.

    Returns:
        True for 0 and 1 of that shape of which some row has none or several ones. Rows of one
        each are one-hot.

    Example:
        >>> is_multi_hot([[1, 1], [0, 1]], shape=(2, 2))
        True
        >>> is_multi_hot([[1, 0], [0, 1]], shape=(2, 2))
        False
    """
    labels = np.asarray(y)
    if labels.shape != shape or len(shape) < 2 or shape[-1] < 2 or labels.dtype.kind not in "iufb":
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=-1) != 1).any())


def label_measures(
    reference: np.ndarray, candidate: np.ndarray, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Compares two models' outputs for the same examples label by label.

    A label is said where its logit is at least 0; outputs that all lie in [0, 1] are taken for
    probabilities, and said from 0.5 on.

    Args:
        reference: Outputs of one model, `[B, ..., C]`.
        candidate: The other model's, the same shape.
        truth: Whether each label is right, 0 and 1 of the same shape.

    Returns:
        `agreement` and `kl`, `[B]`: the share of labels on which both say the same, and the mean
        KL(reference ‖ candidate) of the labels, in nats. For "model" and "file" `{name}_hits` and
        `{name}_seen`, `[B, C]`: TP and 2 · TP + FP + FN of each label.

    Example:
        >>> model, file = np.array([[3.0, -1.0]]), np.array([[3.0, 1.0]])
        >>> found = label_measures(model, file, np.array([[1, 0]]))
        >>> found["agreement"].tolist(), found["file_hits"].tolist(), found["file_seen"].tolist()
        ([0.5], [[1, 0]], [[2, 1]])
    """
    size, classes = len(reference), reference.shape[-1]
    probable = bool(np.all((reference >= 0) & (reference <= 1)))
    level = 0.5 if probable else 0.0
    right = np.asarray(truth).astype(bool).reshape(size, -1, classes)
    outputs = [each.reshape(size, -1, classes) for each in (reference, candidate)]
    # NaN says neither yes nor no, and agrees with nothing.
    said = [
        np.where(np.isnan(each), nothing, each >= level)
        for each, nothing in zip(outputs, (-1, -2), strict=True)
    ]
    p, q = (_inside(each if probable else sigmoid(each)) for each in outputs)
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    found = {
        "agreement": (said[0] == said[1]).mean(axis=(1, 2)),
        "kl": kl.mean(axis=(1, 2)),
    }
    for name, given in zip(("model", "file"), said, strict=True):
        found[f"{name}_hits"] = ((given == 1) & right).sum(axis=1)
        found[f"{name}_seen"] = (given == 1).sum(axis=1) + right.sum(axis=1)
    return found


def f1_of_labels(measured: Mapping[str, np.ndarray]) -> tuple[tuple[float | None, ...], ...]:
    """Returns the F1 of each label, of the model and of the file.

    Args:
        measured: From `label_measures`, of all examples, `[N, C]` each.

    Returns:
        For each label the model's and the file's, 2 · TP / (2 · TP + FP + FN); None where the label
        is neither there nor said.
    """
    columns = []
    for name in ("model", "file"):
        hits, seen = (measured[f"{name}_{part}"].sum(axis=0) for part in ("hits", "seen"))
        pairs = zip(hits, seen, strict=True)
        columns.append([float(2 * hit / total) if total else None for hit, total in pairs])
    return tuple(zip(*columns, strict=True))


def _inside(probabilities: np.ndarray) -> np.ndarray:
    return np.clip(probabilities.astype(np.float64), _TINY, 1 - _TINY)
