"""Fits what a bundle states about its confidence to held-out texts.

    logits, labels ─ fit_temperature ─▶ T
    unknown shares ─ quantile ────────▶ what is usual
    both           ─ in_scope_score ──▶ scores ─ scope_threshold ─▶ threshold

The texts must not be those that the model was trained on: of these it is surer than of any other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfdistill.agents.trust.scores import doubt, in_scope_score
from tfdistill.arguments import check_number
from tfdistill.bundles.confidence import SCORES, Confidence, OutOfScope
from tfdistill.reports.metrics import auroc

__all__ = ["fit_confidence", "fit_temperature", "scope_threshold"]

_LOWEST, _HIGHEST = 0.01, 100.0
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_STEPS = 50  # each leaves 0.618 of the interval: 9.2 of log T shrink to 3e-10
_USUAL = 0.95  # share of held-out texts of which no unknown word is held against the answer


def fit_temperature(logits: Any, labels: Any) -> float:
    """Finds the temperature that makes confidences right: the T of the least mean NLL.

    NLL(T) = − mean Σ_c y_c · log softmax(z / T)_c   is convex in 1 / T, so it has one valley, which
    golden-section search finds. The labels y are smoothed by one row in N + 1 whose class is not
    known, y = (N · onehot + 1 / C) / (N + 1): without it a model that makes no mistake on N rows
    would be called certain, at T = 0.

    Args:
        logits: z of held-out texts, floats `[N, C]`, C at least 2.
        labels: Their classes, integers of shape `[N]` in [0, C).

    Returns:
        T, in [0.01, 100]. Above 1 the model was too sure of itself.

    Raises:
        TypeError: If `labels` are not integers.
        ValueError: If the shapes do not fit, a logit is not finite, or a label out of range.

    Example:
        >>> rows = np.tile(np.log([[9.0, 1.0]]), (1000, 1))      # says 0.9, is right in 0.75
        >>> t = fit_temperature(rows, np.arange(1000) % 4 // 3)
        >>> round(t, 2)                                          # log 9 / log 3
        2.0

    References:
        Guo et al. "On Calibration of Modern Neural Networks". arXiv:1706.04599, 2017.
    """
    logits = _checked_logits(logits, argument="logits")
    labels = _checked_labels(labels, logits)
    count = len(labels)
    # Σ_c y_c · z_c, all that the NLL needs of the labels.
    right = logits[np.arange(count), labels]
    wanted = (count * right + logits.mean(axis=1)) / (count + 1)
    highest = logits.max(axis=1)
    below = logits - highest[:, None]

    def nll(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        sums = np.log(np.exp(below * scale).sum(axis=1))
        return float(np.mean(sums + scale * (highest - wanted)))

    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    values = [nll(point) for point in inner]
    for _ in range(_STEPS):
        if values[0] <= values[1]:
            high = inner[1]
            inner = [high - _GOLDEN * (high - low), inner[0]]
            values = [nll(inner[0]), values[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + _GOLDEN * (high - low)]
            values = [values[1], nll(inner[1])]
    return min(max(math.exp((low + high) / 2), _LOWEST), _HIGHEST)


def scope_threshold(in_scope: Any, out_of_scope: Any = None, *, kept: float = 0.95) -> float:
    """Chooses the least score of a text that is in scope.

    From texts of the classes alone: the highest threshold that a share `kept` of them reaches.
    With texts of no class too: the one with the highest mean of both shares that are judged
    right, kept of the one and refused of the other, however many there are of each (Youden's J);
    of equally good ones the lowest. It lies in the middle between two scores.

    Args:
        in_scope: Scores of held-out texts of the classes, finite floats `[N]`, N at least 1.
        out_of_scope: Scores of texts of no class, finite floats `[M]`; None for no such texts.
        kept: Share of `in_scope` to keep, in (0, 1]; with `out_of_scope` it is not used.

    Returns:
        The threshold; a text is in scope if its score is at least that.

    Raises:
        TypeError: If `kept` is not a number.
        ValueError: If scores are missing or not finite, or `kept` is out of range.

    Example:
        >>> scope_threshold([5.0, 1.0, 2.0, 3.0, 4.0], kept=0.8)        # 4 of 5 reach 2
        2.0
        >>> scope_threshold([5.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.5, 2.5])
        0.75
    """
    scores = _checked_scores(in_scope, argument="in_scope")
    kept = check_number(kept, argument="kept", interval="(0, 1]")
    if out_of_scope is None:
        # Rounding must not let one row more fall: 0.95 · 20 is 19 and a little.
        fallen = len(scores) - math.ceil(kept * len(scores) - 1e-9)
        return float(scores[fallen])
    others = _checked_scores(out_of_scope, argument="out_of_scope")
    all_scores = np.unique(np.concatenate([scores, others]))
    middles = (all_scores[1:] + all_scores[:-1]) / 2
    thresholds = np.concatenate([all_scores[:1], middles])
    share_kept = 1.0 - np.searchsorted(scores, thresholds) / len(scores)
    refused = np.searchsorted(others, thresholds) / len(others)
    return float(thresholds[np.argmax(share_kept + refused)])


def fit_confidence(
    logits: Any,
    labels: Any,
    *,
    unknown_shares: Any = None,
    out_of_scope_logits: Any = None,
    out_of_scope_unknown_shares: Any = None,
    score: str | None = None,
    kept: float = 0.95,
) -> Confidence:
    """Fits temperature, usual share of unknown words and out-of-scope rule to held-out texts.

    Args:
        logits: z of held-out texts of the classes, floats `[N, C]`, C at least 2.
        labels: Their classes, integers of shape `[N]` in [0, C).
        unknown_shares: For each the share of words that the tokenizer does not know, floats `[N]`
            in [0, 1]; None takes 0. What 95 of 100 texts do not exceed is called usual.
        out_of_scope_logits: z of texts of no class, floats `[M, C]`; None for no such texts. They
            choose score and threshold, and nothing else.
        out_of_scope_unknown_shares: As `unknown_shares`, for these.
        score: What tells texts of no class; see `in_scope_score`. None takes "energy", or with
            `out_of_scope_logits` the score of the largest `tfdistill.reports.auroc` on all texts.
        kept: Share of the held-out texts that are in scope; see `scope_threshold`.

    Returns:
        The `Confidence` for `save_bundle(confidence=...)`.

    Raises:
        TypeError: If `labels` are not integers.
        ValueError: If shapes do not fit, a number is not finite or out of range, or `score` is
            unknown.

    Example:
        >>> logits = np.array([[4.0, 0.0], [0.0, 4.0], [3.0, 0.0], [1.0, 0.0]])
        >>> found = fit_confidence(logits, [0, 1, 0, 1], score="margin", kept=0.75)
        >>> round(found.out_of_scope.threshold * found.temperature, 6)     # 3 of 4 have z_1 - z_2
        3.0
    """
    if score is not None and score not in SCORES:
        raise ValueError(f"`score` must be one of {SCORES}. Received: score={score!r}.")
    rows = _checked_logits(logits, argument="logits")
    temperature = fit_temperature(rows, labels)
    shares = _checked_shares(unknown_shares, len(rows), argument="unknown_shares")
    usual = float(np.quantile(shares, _USUAL, method="inverted_cdf"))

    def scored(kind: str, z: np.ndarray, unknown: np.ndarray) -> np.ndarray:
        doubts = doubt(unknown, usual=usual)
        return in_scope_score(z, score=kind, temperature=temperature, doubts=doubts)

    others: np.ndarray | None = None
    if out_of_scope_logits is not None:
        foreign = _checked_logits(
            out_of_scope_logits, argument="out_of_scope_logits", classes=rows.shape[1]
        )
        unknown = _checked_shares(
            out_of_scope_unknown_shares, len(foreign), argument="out_of_scope_unknown_shares"
        )
        inside = np.arange(len(rows) + len(foreign)) < len(rows)

        def area(kind: str) -> float:
            both = [scored(kind, rows, shares), scored(kind, foreign, unknown)]
            return auroc(np.concatenate(both), inside)

        score = score or max(SCORES, key=area)
        others = scored(score, foreign, unknown)
    score = score or SCORES[0]
    own = scored(score, rows, shares)
    threshold = scope_threshold(own, others, kept=kept)
    rule = OutOfScope(score, threshold, in_scope_kept=float(np.mean(own >= threshold)))
    return Confidence(temperature, usual_unknown_share=usual, out_of_scope=rule)


def _checked_logits(logits: Any, *, argument: str, classes: int | None = None) -> np.ndarray:
    array = np.asarray(logits, np.float64)
    fits = array.ndim == 2 and array.shape[0] >= 1 and array.shape[1] >= 2
    if not fits or (classes is not None and array.shape[1] != classes):
        wanted = "C at least 2" if classes is None else f"C = {classes} as in `logits`"
        raise ValueError(
            f"`{argument}` must have shape [N, C], N at least 1 and {wanted}. Received: "
            f"{argument} of shape {array.shape}."
        )
    if not np.isfinite(array).all():
        place = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise ValueError(
            f"`{argument}` must be finite. Received: {argument}[{place}] with "
            f"{array[place][~np.isfinite(array[place])][:3].tolist()}."
        )
    return array


def _checked_labels(labels: Any, logits: np.ndarray) -> np.ndarray:
    array = np.asarray(labels)
    if array.shape != logits.shape[:1]:
        raise ValueError(
            f"`labels` must have shape [N], N = {len(logits)} as in `logits`. Received: labels of "
            f"shape {array.shape}."
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"`labels` must be class indices (integers). Received: {array.dtype}.")
    if array.min() < 0 or array.max() >= logits.shape[1]:
        raise ValueError(
            f"`labels` must be class indices in [0, {logits.shape[1]}). Received: values from "
            f"{array.min()} to {array.max()}. Texts of no class go to `out_of_scope_logits`."
        )
    return array


def _checked_shares(shares: Any, count: int, *, argument: str) -> np.ndarray:
    array = np.zeros(count) if shares is None else np.asarray(shares, np.float64)
    if array.shape != (count,) or not ((array >= 0.0) & (array <= 1.0)).all():
        raise ValueError(
            f"`{argument}` must be {count} numbers in [0, 1], one for each text. Received: "
            f"{argument} of shape {array.shape} with {array.ravel()[:3].tolist()}."
        )
    return array


def _checked_scores(scores: Any, *, argument: str) -> np.ndarray:
    array = np.asarray(scores, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"`{argument}` must be finite scores of shape [N], N at least 1. Received: "
            f"{argument} of shape {array.shape} with {array.ravel()[:3].tolist()}."
        )
    return np.sort(array)
