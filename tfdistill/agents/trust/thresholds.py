"""From which score on a label is given: one threshold for each, chosen on held-out texts.

A rare label seldom has a probability of 0.5, and its F1 there is 0 although the scores tell its
texts apart. So each label has a threshold of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdistill.arguments import check_number

__all__ = ["best_thresholds", "sigmoid"]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turns logits into probabilities, each by itself: 1 / (1 + exp(−z)).

    Args:
        logits: Floats of any shape.

    Returns:
        float64 of the same shape, in [0, 1].

    Example:
        >>> sigmoid(np.array([0.0, np.log(3.0), -1000.0])).round(6).tolist()
        [0.5, 0.75, 0.0]
    """
    small = np.exp(-np.abs(np.asarray(logits, np.float64)))  # never overflows
    return np.where(np.asarray(logits) >= 0, 1.0, small) / (1.0 + small)


def best_thresholds(scores: Any, labels: Any, *, usual: float = 0.5) -> np.ndarray:
    """Finds for each label the threshold with the best F1, by trying all that differ.

    A label is given where its score is at least the threshold t:

        F1(t) = 2 · TP / (given + positives).

    F1 changes only where t passes a score, so the middles between neighboring scores are all that
    there is to try, and the lowest score, from which on all texts have the label. Where `usual` is
    as good as the best, it stays; else the nearest one is taken. A label without a positive text
    has F1 0 everywhere, and keeps `usual`.

    Args:
        scores: Of held-out texts, finite floats `[N, C]`: probabilities, logits or others.
        labels: Whether each text has each label, 0 and 1 `[N, C]`.
        usual: The threshold of a label that has no positive text: 0.5 for probabilities, 0 for
            logits.

    Returns:
        float64 `[C]`.

    Raises:
        TypeError: If `usual` is not a number.
        ValueError: If the shapes do not fit, a score is not finite, or a label neither 0 nor 1.

    Example:
        >>> scores = [[0.4, 0.9], [0.3, 0.2], [0.2, 0.1], [0.1, 0.3]]
        >>> labels = [[1, 0], [1, 0], [0, 0], [0, 0]]
        >>> best_thresholds(scores, labels).round(3).tolist()     # F1 is 1 between 0.2 and 0.3
        [0.25, 0.5]

    References:
        Lipton, Elkan, Narayanaswamy. "Thresholding Classifiers to Maximize F1 Score", 2014.
        https://arxiv.org/abs/1402.1892
    """
    usual = check_number(usual, argument="usual", interval="(-inf, inf)")
    rows, truth = _checked(scores, labels)
    return np.array(
        [
            _best(column, positive, usual=usual)
            for column, positive in zip(rows.T, truth.T, strict=True)
        ]
    )


def _best(scores: np.ndarray, positive: np.ndarray, *, usual: float) -> float:
    """Returns the threshold of one label."""
    if not positive.any():
        return usual
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] < ranked[:-1], True)  # equal scores are given together
    hits = np.cumsum(positive[order])[last]
    given = np.arange(1, len(ranked) + 1)[last]
    f1 = 2.0 * hits / (given + positive.sum())
    is_best = f1 == f1.max()
    reached = ranked[last]
    below = np.append(reached[1:], -np.inf)
    if (is_best & (below < usual) & (usual <= reached)).any():
        return usual
    middles = np.append((reached[:-1] + reached[1:]) / 2, reached[-1])
    # The middle of two neighboring floats is one of them: never the one that must stay below.
    best = np.where(middles > below, middles, reached)[is_best]
    return float(best[np.argmin(np.abs(best - usual))])


def _checked(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    rows, truth = np.asarray(scores, np.float64), np.asarray(labels)
    if rows.ndim != 2 or rows.shape != truth.shape or not rows.size:
        raise ValueError(
            "`scores` and `labels` must have the same shape [N, C], N and C at least 1. Received: "
            f"scores of shape {rows.shape}, labels of shape {truth.shape}."
        )
    if not np.isfinite(rows).all():
        raise ValueError(
            f"`scores` must be finite. Received: {rows[~np.isfinite(rows)][:3].tolist()}."
        )
    if truth.dtype.kind not in "iufb" or not np.isin(truth, (0, 1)).all():
        raise ValueError(
            "`labels` must be 0 or 1 for each text and label. Received: "
            f"dtype={truth.dtype}, other values."
        )
    return rows, truth.astype(bool)
