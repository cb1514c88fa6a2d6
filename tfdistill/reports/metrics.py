"""The numbers of the results table, as pure functions of labels, predictions and probabilities.

`macro_f1` stands beside `accuracy` because on an unbalanced data set a model that never names a
rare class still looks accurate. `expected_calibration_error` asks whether a confidence of 0.8 is
right in 8 of 10 cases, and `auroc` whether a score tells two kinds of examples apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdistill.arguments import check_int

__all__ = ["accuracy", "agreement", "auroc", "expected_calibration_error", "macro_f1"]


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
    _check_range("labels", labels, num_classes)
    _check_range("predictions", predictions, num_classes)
    hits = np.bincount(labels[labels == predictions], minlength=num_classes)
    seen = np.bincount(labels, minlength=num_classes) + np.bincount(
        predictions, minlength=num_classes
    )
    present = seen > 0
    return float(np.mean(2.0 * hits[present] / seen[present]))


def expected_calibration_error(labels: Any, probabilities: Any, *, bins: int = 15) -> float:
    """Returns how far confidences are from the share of predictions that are right.

    The examples are put into bins of equal width by their confidence, the largest probability;
    then  ECE = Σ_b n_b / N · |accuracy in b − mean confidence in b|.

    Args:
        labels: Class indices, integers of shape `[N]` in [0, C).
        probabilities: Floats of shape `[N, C]` in [0, 1], rows that sum to 1.
        bins: Number of bins, at least 1. A bin holds (k / bins, (k + 1) / bins].

    Returns:
        The error, in [0, 1]; 0 where every confidence is kept.

    Raises:
        TypeError: If `labels` are not integers, or `bins` is not one.
        ValueError: If the shapes do not fit, a label is out of range, or a row is no distribution.

    Example:
        >>> two = [[0.8, 0.2]] * 4 + [[0.4, 0.6]]        # said: 0.8 four times, 0.6 once
        >>> round(expected_calibration_error([0, 0, 0, 1, 1], two), 6)   # right: 3 of 4, 1 of 1
        0.12

    References:
        Guo et al. "On Calibration of Modern Neural Networks". arXiv:1706.04599, 2017.
    """
    bins = check_int(bins, argument="bins", at_least=1)
    probabilities = np.asarray(probabilities, np.float64)
    labels = np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not labels.size:
        raise ValueError(
            "`labels` and `probabilities` must have shapes [N] and [N, C], N at least 1. Received: "
            f"labels of shape {labels.shape}, probabilities of shape {probabilities.shape}."
        )
    sums = probabilities.sum(axis=1)
    if not (np.abs(sums - 1.0) <= 1e-4).all() or probabilities.min() < 0.0:
        raise ValueError(
            "`probabilities` must be rows of at least 0 that sum to 1. Received: values from "
            f"{probabilities.min()} to {probabilities.max()}, sums from {sums.min()} to "
            f"{sums.max()}. Apply the softmax to logits first."
        )
    predictions = probabilities.argmax(axis=1)
    labels, predictions = _check_pair(labels=labels, predictions=predictions)
    _check_range("labels", labels, probabilities.shape[1])
    confidence = probabilities.max(axis=1)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=(labels == predictions) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def auroc(scores: Any, positives: Any) -> float:
    """Returns how well a score tells positives from the rest: the area under the ROC curve.

    It is  P(score of a positive > score of a negative) + ½ P(they are equal):  1 where a threshold
    parts them without a mistake, ½ where the score knows nothing. No threshold is needed to
    measure it.

    Args:
        scores: Finite floats of shape `[N]`, higher for positives.
        positives: Whether each example is a positive, bool of shape `[N]`, both kinds in it.

    Raises:
        TypeError: If `positives` is not bool.
        ValueError: If the shapes differ, a score is not finite, or a kind is missing.

    Example:
        >>> auroc([0.9, 0.4, 0.4, 0.1], [True, True, False, False])   # 3 of 4 pairs, one tie
        0.875

    References:
        Fawcett. "An introduction to ROC analysis". Pattern Recognition Letters, 2006.
    """
    scores, positives = np.asarray(scores, np.float64), np.asarray(positives)
    if positives.dtype != np.bool_:
        raise TypeError(
            f"`positives` must be bool. Received: dtype={positives.dtype}. Compare with a class "
            "first."
        )
    if scores.ndim != 1 or scores.shape != positives.shape:
        raise ValueError(
            "`scores` and `positives` must have the same shape [N]. Received: scores of shape "
            f"{scores.shape}, positives of shape {positives.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"`scores` must be finite. Received: {scores[~np.isfinite(scores)][:3].tolist()}."
        )
    ahead = int(positives.sum())
    pairs = ahead * (len(positives) - ahead)
    if not pairs:
        raise ValueError(
            "`positives` must hold both kinds. Received: "
            f"{ahead} positives of {len(positives)} examples."
        )
    # The sum of the positives' ranks, equal scores sharing theirs, counts the pairs (Mann-Whitney).
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positives].sum() - ahead * (ahead + 1) / 2) / pairs)


def _check_range(name: str, indices: np.ndarray, num_classes: int) -> None:
    if indices.min() < 0 or indices.max() >= num_classes:
        raise ValueError(
            f"`{name}` must be class indices in [0, {num_classes}). Received: values from "
            f"{indices.min()} to {indices.max()}."
        )


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
