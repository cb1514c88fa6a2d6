"""What gradient norms say about the balance of the losses.

Losses of different kinds differ in size by factors of hundreds, and the size of a loss says
little about what it does. What moves the student is the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "GradientNorms",
    "balanced_alpha",
    "drowned",
    "mean_norms",
    "suggest_alpha",
    "table",
]

_DROWNED = 100.0


@dataclass(frozen=True)
class GradientNorms:
    """One measurement.

    Attributes:
        step: Number of the training step before which it was made, from 0.
        norms: L2 norm of each term's gradient on the student's trainable variables, by the name
            of the term, without its weight.
        weights: What each term is multiplied by in the loss at that step.
    """

    step: int
    norms: Mapping[str, float]
    weights: Mapping[str, float]


def balanced_alpha(hard_norm: float, soft_norm: float) -> float:
    """Computes the alpha at which labels and teacher pull equally.

    alpha · ‖∇hard‖ = (1 − alpha) · ‖∇soft‖, so alpha = ‖∇soft‖ / (‖∇hard‖ + ‖∇soft‖).

    Args:
        hard_norm: Gradient norm of the hard loss, not yet weighted.
        soft_norm: Gradient norm of the soft loss, not yet weighted.

    Returns:
        A float in (0, 1), or NaN if one of them does not pull at all.

    Example:
        >>> balanced_alpha(3.0, 1.0)
        0.25
    """
    if not (hard_norm > 0.0 and soft_norm > 0.0):
        return math.nan
    return soft_norm / (hard_norm + soft_norm)


def mean_norms(measurements: Sequence[GradientNorms]) -> dict[str, float]:
    """Averages the norms of each term over several measurements; empty if there are none."""
    names = measurements[0].norms if measurements else ()
    return {
        name: math.fsum(one.norms[name] for one in measurements) / len(measurements)
        for name in names
    }


def suggest_alpha(measurements: Sequence[GradientNorms]) -> float:
    """Computes `balanced_alpha` of the mean norms; NaN without measurements."""
    means = mean_norms(measurements)
    return balanced_alpha(means.get("hard_loss", 0.0), means.get("soft_loss", 0.0))


def drowned(measurements: Sequence[GradientNorms]) -> str | None:
    """Says which term cannot be heard beside another, 100 times as strong.

    Terms without a gradient or a weight are silent, not drowned.

    Args:
        measurements: What to take the mean of.

    Returns:
        A sentence or two, or None.

    Example:
        >>> weights = {"hard_loss": 0.5, "soft_loss": 0.5}
        >>> drowned([GradientNorms(0, {"hard_loss": 1.0, "soft_loss": 100.0}, weights)])
        >>> drowned([GradientNorms(0, {"hard_loss": 1.0, "soft_loss": 101.0}, weights)])[:60]
        'soft_loss drowns hard_loss: its weighted gradient on the stu'
    """
    pulls = {
        name: math.fsum(one.norms[name] * one.weights[name] for one in measurements)
        / len(measurements)
        for name in mean_norms(measurements)
    }
    heard = {name: pull for name, pull in pulls.items() if pull > 0.0}
    if not heard:
        return None
    loud, quiet = max(heard, key=heard.__getitem__), min(heard, key=heard.__getitem__)
    if heard[loud] <= _DROWNED * heard[quiet]:
        return None
    return (
        f"{loud} drowns {quiet}: its weighted gradient on the student is "
        f"{heard[loud] / heard[quiet]:.0f} times as large ({heard[loud]:.3g} against "
        f"{heard[quiet]:.3g}). alpha={suggest_alpha(measurements):.3g} would balance labels and "
        "teacher; a FeatureLoss has a weight of its own."
    )


def table(measurements: Sequence[GradientNorms]) -> str:
    """Lays out the mean norms, the latest weights, and their products.

    Args:
        measurements: Of one training.

    Returns:
        One line for each term, then the suggested alpha.

    Example:
        >>> weights = {"hard_loss": 0.25, "soft_loss": 0.75}
        >>> print(table([GradientNorms(0, {"hard_loss": 3.0, "soft_loss": 1.0}, weights)]))
        term                           gradient   weight   weighted
        hard_loss                             3     0.25       0.75
        soft_loss                             1     0.75       0.75
        suggested alpha: 0.25
    """
    if not measurements:
        return "Nothing was measured yet."
    weights = measurements[-1].weights
    lines = [f"{'term':<28} {'gradient':>10} {'weight':>8} {'weighted':>10}"]
    lines += [
        f"{name:<28} {norm:>10.4g} {weights[name]:>8.3g} {norm * weights[name]:>10.4g}"
        for name, norm in mean_norms(measurements).items()
    ]
    return "\n".join([*lines, f"suggested alpha: {suggest_alpha(measurements):.4g}"])
