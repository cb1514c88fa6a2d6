"""A metric on many resamples of the test rows: what a difference between two models is worth.

The paired bootstrap draws N of the N test rows with replacement, scores every model on the rows
drawn, and does so again and again. All models see the same draws, so that what is hard for all of
them cancels in a difference.

A named metric takes a matrix of counts: how often each row was drawn in each resample. Sums over
rows are then products and cumulative sums, and 2,000 resamples need no loop. A function of one's
own is called once for each resample.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfdistill.arguments import check_int

__all__ = [
    "Estimate",
    "METRICS",
    "Metric",
    "estimate",
    "metric_of",
    "metric_score",
    "paired_scores",
]

_ENDS = (2.5, 97.5)  # percentiles
_AT_ONCE = 1 << 18  # rows times resamples: the counts of one go take 2 MB, as caches do

_Scores = Callable[[np.ndarray], np.ndarray]  # counts [R, N] -> scores [R]


@dataclass(frozen=True)
class Estimate:
    """A number from the test rows and the interval that holds 95 % of its resamples.

    Attributes:
        value: The number on the test rows themselves.
        low: 2.5 % of the resamples are below.
        high: 2.5 % of the resamples are above.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Metric:
    """What a score is and how it is to be read.

    Attributes:
        name: As a caller writes it.
        title: As a report writes it.
        higher_is_better: False for an error.
        is_fraction: Whether differences are told in points, that is hundredths.
        on_counts: `(labels, predictions)` to a function of counts `[R, N]` that returns the
            scores `[R]`, or None.
        on_rows: `(labels, predictions) -> score`, for a metric without `on_counts`.
    """

    name: str
    title: str
    higher_is_better: bool = True
    is_fraction: bool = True
    on_counts: Callable[[np.ndarray, np.ndarray], _Scores] | None = None
    on_rows: Callable[[Any, Any], float] | None = None

    def scores_on(self, labels: np.ndarray, predictions: np.ndarray) -> _Scores:
        """Returns what scores a model on resamples, from the rows drawn or how often they were.

        Args:
            labels: `[N]` or `[N, C]`.
            predictions: The same shape.

        Returns:
            A function of counts `[R, N]` if the metric has `on_counts`, else of indices of the
            rows, integers `[R, N]`; it raises ValueError if a score is not finite.

        Raises:
            ValueError: If the metric has neither `on_counts` nor `on_rows`.
        """
        if self.on_counts is not None:
            return self.on_counts(labels, predictions)
        if self.on_rows is None:
            raise ValueError(f"The metric {self.name!r} has nothing that computes it.")
        one = self.on_rows

        def scores(drawn: np.ndarray) -> np.ndarray:
            found = np.array([float(one(labels[rows], predictions[rows])) for rows in drawn])
            if not np.isfinite(found).all():
                raise ValueError(
                    "`metric` must return a finite number on every resample of the rows. Received: "
                    f"{found[~np.isfinite(found)][0]} from {self.name!r}. Return what the metric "
                    "is worth where it is not defined, such as 0.0."
                )
            return found

        return scores


def metric_of(
    metric: str | Metric | Callable[[Any, Any], float], *, higher_is_better: bool | None = None
) -> Metric:
    """Finds a metric by its name, or takes a function as one.

    Args:
        metric: A name of `METRICS`, a `Metric`, or `(labels, predictions) -> float`.
        higher_is_better: Of a function; None stands for True. The others know it.

    Returns:
        The metric. The differences of a function are told as they are, not in points.

    Raises:
        ValueError: If the name is unknown, or `higher_is_better` contradicts it.

    Example:
        >>> metric_of("mae").higher_is_better
        False
    """
    if callable(metric):
        name = str(getattr(metric, "__name__", type(metric).__name__))
        better = higher_is_better is not False
        return Metric(name, name.replace("_", " "), better, is_fraction=False, on_rows=metric)
    if not isinstance(metric, Metric) and metric not in METRICS:
        raise ValueError(
            f"`metric` must be one of {sorted(METRICS)}, or a function "
            f"(labels, predictions) -> float. Received: metric={metric!r}."
        )
    named = metric if isinstance(metric, Metric) else METRICS[metric]
    if higher_is_better not in (None, named.higher_is_better):
        raise ValueError(
            f"`higher_is_better` must be None or {named.higher_is_better} for {named.name!r}. "
            f"Received: higher_is_better={higher_is_better!r}."
        )
    return named


def paired_scores(
    metric: Metric,
    labels: Any,
    predictions: Mapping[str, Any],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, np.ndarray]]:
    """Scores several models on the test rows and on the same resamples of them.

    Args:
        metric: From `metric_of`.
        labels: The right answers of N test rows: classes `[N]`, several labels 0 or 1 `[N, C]`,
            or numbers `[N]` or `[N, C]`.
        predictions: What each model says, the shape of `labels`.
        resamples: How many times the rows are drawn, at least 1.
        seed: Of the draws.

    Returns:
        For each model its score on all rows, and float64 `[resamples]`.

    Raises:
        TypeError: If something is not of the kind that the metric needs.
        ValueError: If a shape differs from that of the labels, or there are no rows.

    Example:
        >>> found = paired_scores(metric_of("accuracy"), [0, 1], {"a": [0, 0]}, resamples=8)
        >>> found["a"][0], sorted(set(found["a"][1].tolist()))
        (0.5, [0.0, 0.5, 1.0])
    """
    check_int(resamples, argument="resamples", at_least=1)
    truth = _answers(metric, "labels", labels)
    said = {name: _answers(metric, name, value) for name, value in predictions.items()}
    for name, answers in said.items():
        if answers.shape != truth.shape:
            raise ValueError(
                f"`{name}` must have the shape of `labels`, {truth.shape}. Received: {name} of "
                f"shape {answers.shape}."
            )
    if truth.ndim == 1:
        # Rows of one class become neighbours, which are summed faster.
        order = np.argsort(truth, kind="stable")
        truth, said = truth[order], {name: answers[order] for name, answers in said.items()}
    score = {name: metric.scores_on(truth, answers) for name, answers in said.items()}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in said}
    every_row = np.arange(len(truth))[None]
    draws = _draws(len(truth), resamples=resamples, seed=seed)
    for drawn in itertools.chain([every_row], draws):
        seen = drawn if metric.on_counts is None else _counts(drawn)
        for name in said:
            parts[name].append(score[name](seen))
    return {
        name: (float(whole[0]), np.concatenate(resampled))
        for name, (whole, *resampled) in parts.items()
    }


def metric_score(
    metric: str | Metric | Callable[[Any, Any], float], labels: Any, predictions: Any
) -> float:
    """Scores one model on all rows.

    Args:
        metric: As `metric_of` takes it.
        labels: The right answers: classes `[N]`, several labels 0 or 1 `[N, C]`, or numbers `[N]`
            or `[N, C]`.
        predictions: What the model says, the shape of `labels`.

    Returns:
        The score.

    Raises:
        TypeError: If something is not of the kind that the metric needs.
        ValueError: If the shapes differ, or the metric is unknown.

    Example:
        >>> metric_score("mae", [1.0, 2.0], [1.5, 2.5]), metric_score("r2", [1.0, 3.0], [1.0, 3.0])
        (0.5, 1.0)
    """
    scores = paired_scores(metric_of(metric), labels, {"predictions": predictions}, resamples=1)
    return scores["predictions"][0]


def estimate(value: float, resampled: np.ndarray) -> Estimate:
    """Puts the interval of the middle 95 % of the resamples around a value.

    Args:
        value: On the rows themselves.
        resampled: The same on each resample, `[R]`.

    Example:
        >>> estimate(100.0, np.arange(201.0))
        Estimate(value=100.0, low=5.0, high=195.0)
    """
    low, high = np.percentile(resampled, _ENDS)
    return Estimate(float(value), float(low), float(high))


def _draws(rows: int, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // rows)
    for begin in range(0, resamples, at_once):
        yield rng.integers(rows, size=(min(at_once, resamples - begin), rows))


def _counts(drawn: np.ndarray) -> np.ndarray:
    """Returns how often each row was drawn, float64 `[R, N]`."""
    resamples, rows = drawn.shape
    places = drawn + rows * np.arange(resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=resamples * rows)
    return counts.reshape(resamples, rows).astype(np.float64)


def _answers(metric: Metric, name: str, value: Any) -> np.ndarray:
    """Returns labels or predictions as an array, if they are what the metric is about."""
    array = np.asarray(value)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(
            f"`{name}` must have the shape [N] or [N, C], N at least 1. Received: {name} of "
            f"shape {array.shape}."
        )
    if metric.on_counts is None:
        return array
    if metric.name in _OF_NUMBERS:
        if array.dtype.kind not in "iufb" or not np.isfinite(array).all():
            raise TypeError(
                f"`{name}` must be finite numbers for the metric {metric.name!r}. Received: "
                f"dtype={array.dtype}."
            )
        return array.astype(np.float64)
    if array.ndim == 2:
        if not np.isin(array, (0, 1)).all():
            raise TypeError(
                f"`{name}` of shape [N, C] must be 0 or 1 for each label, for the metric "
                f"{metric.name!r}. Received: dtype={array.dtype}, other values. Compare "
                "probabilities with their thresholds first."
            )
        return array.astype(np.float64)
    if array.dtype.kind not in "iubU":
        raise TypeError(
            f"`{name}` of shape [N] must be classes, integers or names, for the metric "
            f"{metric.name!r}. Received: dtype={array.dtype}. Take the argmax of logits over the "
            "last axis first."
        )
    return array


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> _Scores:
    right = labels == predictions
    return _mean_of(right if right.ndim == 1 else right.all(axis=1))


def _macro_f1(labels: np.ndarray, predictions: np.ndarray) -> _Scores:
    sums = _hits_and_seen(labels, predictions)

    def scores(counts: np.ndarray) -> np.ndarray:
        hits, seen = sums(counts)
        by_class = np.divide(2 * hits, seen, out=np.zeros_like(hits), where=seen > 0)
        present = (seen > 0).sum(axis=1)
        # No label at all and none said: nothing is wrong.
        return np.where(present > 0, by_class.sum(axis=1) / np.maximum(present, 1), 1.0)

    return scores


def _micro_f1(labels: np.ndarray, predictions: np.ndarray) -> _Scores:
    sums = _hits_and_seen(labels, predictions)

    def scores(counts: np.ndarray) -> np.ndarray:
        hits, seen = (part.sum(axis=1) for part in sums(counts))
        return np.divide(2 * hits, seen, out=np.ones_like(hits), where=seen > 0)

    return scores


def _mae(labels: np.ndarray, predictions: np.ndarray) -> _Scores:
    return _mean_of(_by_row(np.abs(labels - predictions)))


def _rmse(labels: np.ndarray, predictions: np.ndarray) -> _Scores:
    mean = _mean_of(_by_row((labels - predictions) ** 2))
    return lambda counts: np.sqrt(mean(counts))


def _r2(labels: np.ndarray, predictions: np.ndarray) -> _Scores:
    truth = labels.reshape(len(labels), -1)
    # Around the mean of all rows: the difference of squares below keeps its digits.
    truth = truth - truth.mean(axis=0)
    wrong = (labels - predictions).reshape(truth.shape) ** 2

    def scores(counts: np.ndarray) -> np.ndarray:
        left, squares = counts @ wrong, counts @ truth**2
        total = squares - (counts @ truth) ** 2 / len(truth)
        flat = total <= 1e-12 * squares  # the labels of the resample are all the same
        ratio = np.divide(left, total, out=np.where(left > 0, 1.0, 0.0), where=~flat)
        return (1 - ratio).mean(axis=1)

    return scores


def _mean_of(values: np.ndarray) -> _Scores:
    column = values.astype(np.float64)
    return lambda counts: counts @ column / len(column)


def _by_row(errors: np.ndarray) -> np.ndarray:
    return errors if errors.ndim == 1 else errors.mean(axis=1)


def _hits_and_seen(
    labels: np.ndarray, predictions: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns what gives TP and 2·TP + FP + FN of each class in each resample, both `[R, C]`."""
    if labels.ndim == 2:
        both, either = labels * predictions, labels + predictions
        return lambda counts: (counts @ both, counts @ either)
    names, classes = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    right, said = np.split(classes, 2)
    wrong = np.flatnonzero(right != said)
    support = _class_sums(right, len(names))
    missed = _class_sums(right[wrong], len(names))
    claimed = _class_sums(said[wrong], len(names))

    def sums(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there, of_wrong = support(counts), counts[:, wrong]
        hits = there - missed(of_wrong)
        return hits, there + hits + claimed(of_wrong)  # labels of the class, and answers

    return sums


def _class_sums(classes: np.ndarray, number: int) -> _Scores:
    """Returns what sums counts `[R, N]` over the rows of each class, to `[R, number]`."""
    order = np.argsort(classes, kind="stable")
    found, starts = np.unique(classes[order], return_index=True)
    is_sorted = bool((order == np.arange(len(order))).all())

    def sums(counts: np.ndarray) -> np.ndarray:
        total = np.zeros((len(counts), number))
        if len(found):
            neighbours = counts if is_sorted else counts[:, order]
            total[:, found] = np.add.reduceat(neighbours, starts, axis=1)
        return total

    return sums


_OF_NUMBERS = ("mae", "rmse", "r2")

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", on_counts=_accuracy),
        Metric("macro_f1", "macro F1", on_counts=_macro_f1),
        Metric("micro_f1", "micro F1", on_counts=_micro_f1),
        Metric("mae", "MAE", False, False, on_counts=_mae),
        Metric("rmse", "RMSE", False, False, on_counts=_rmse),
        Metric("r2", "R²", True, False, on_counts=_r2),
    )
}
