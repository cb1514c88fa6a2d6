"""One model against another: the difference, its interval, the word for it, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfdistill.arguments import check_int
from tfdistill.reports.resampling import Estimate, Metric, estimate

__all__ = ["Comparison", "checked_sizes", "compared", "difference_text", "listed", "score_text"]


@dataclass(frozen=True)
class Comparison:
    """One rival and how much better than it the student is.

    Attributes:
        rival: Its name.
        score: Its score.
        difference: How much better the student is, in units of the metric: its score minus the
            rival's, or for an error the rival's minus its own.
        size_bytes: What the rival weighs; None if that is not known.
    """

    rival: str
    score: float
    difference: Estimate
    size_bytes: int | None = None

    @property
    def outcome(self) -> str:
        """The word: "won", "tied" or "lost", as the student sees it."""
        if self.difference.low > 0:
            return "won"
        return "lost" if self.difference.high < 0 else "tied"


def compared(
    scores: Mapping[str, tuple[float, np.ndarray]],
    one: str,
    other: str,
    metric: Metric,
    sizes: Mapping[str, int],
) -> Comparison:
    """Compares two models on the same resamples.

    Args:
        scores: Of each model, from `paired_scores`.
        one: The model whose advantage is asked for.
        other: The other one.
        metric: What the scores are.
        sizes: Bytes of the models, as far as they are known.

    Returns:
        The comparison, in which `other` is the rival.
    """
    sign = 1 if metric.higher_is_better else -1
    (value, resampled), (rival_value, rival_resampled) = scores[one], scores[other]
    # 0.0 - 0.0 keeps a tie from becoming -0.0.
    difference = estimate(
        sign * (value - rival_value) + 0.0, sign * (resampled - rival_resampled) + 0.0
    )
    return Comparison(other, rival_value, difference, sizes.get(other))


def checked_sizes(sizes: Mapping[str, int], *, known: Iterable[str]) -> dict[str, int]:
    """Returns sizes in bytes that belong to known models.

    Args:
        sizes: Bytes by name.
        known: The names that may be there.

    Raises:
        TypeError: If a size is not a whole number.
        ValueError: If it is negative, or the model is unknown.
    """
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise ValueError(f"`sizes` must be of models that are compared. Received: {unknown}.")
    return {
        name: check_int(value, argument=f"sizes[{name!r}]", at_least=0)
        for name, value in sizes.items()
    }


def score_text(score: float) -> str:
    """Writes a score with about four digits.

    Example:
        >>> score_text(0.9462), score_text(12.345), score_text(12345.6)
        ('0.946', '12.3', '12,346')
    """
    if abs(score) < 10:
        return f"{score:.3f}"
    return f"{score:.1f}" if abs(score) < 1000 else f"{score:,.0f}"


def difference_text(difference: Estimate, metric: Metric) -> str:
    """Writes how much better or worse a model is.

    Args:
        difference: How much better it is, in units of the metric.
        metric: Fractions are told in points, other metrics in their own units.

    Example:
        >>> from tfdistill.reports.resampling import METRICS
        >>> difference_text(Estimate(0.048, 0.04, 0.056), METRICS["accuracy"])
        '+4.8 points [4.0, 5.6]'
        >>> difference_text(Estimate(-0.2, -0.25, -0.15), METRICS["mae"])
        'MAE worse by 0.200 [0.150, 0.250]'
    """
    if metric.is_fraction:
        return (
            f"{_signed(100 * difference.value)} points "
            f"[{_short(100 * difference.low)}, {_short(100 * difference.high)}]"
        )
    word, value, low, high = "better", difference.value, difference.low, difference.high
    if value < 0:
        word, value, low, high = "worse", -value, -high, -low
    ends = f"[{score_text(low + 0.0)}, {score_text(high + 0.0)}]"
    return f"{metric.title} {word} by {score_text(value)} {ends}"


def _short(points: float) -> str:
    """Writes points with one decimal, or as many more as keep it from becoming 0."""
    for digits in (1, 2, 3):
        text = f"{points:.{digits}f}"
        if float(text):
            return text
    return "0.0"


def _signed(points: float) -> str:
    text = _short(points)
    return text if text.startswith("-") else f"+{text}"


def listed(parts: Sequence[str]) -> str:
    """Writes parts as "a, b and c"; there is at least one."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
