"""From how sure a tier says it is to how often it is right, and how often a better tier would be.

For each kind of sub-task and each pair of tiers j <= k one logistic curve of logit confidence:
P(tier k is right | confidence of tier j) = sigmoid(a · logit c + b). With j = k that is Platt's
scaling; with j < k it says before the call what the call would bring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfdistill.rl.budget.record import TeamRecord

__all__ = ["Calibration", "logistic_fit"]


def logistic_fit(logit: np.ndarray, right: np.ndarray, *, steps: int = 30) -> tuple[float, float]:
    """Fits P(right) = sigmoid(a · logit + b) by Newton's method.

    The likelihood has one pseudo-count of right and one of wrong at logit 0, so that it has a
    maximum even if all are right; a is kept from falling below 0.

    Args:
        logit: logit of the confidences, float `[K]`.
        right: Whether each was right, bool `[K]`.
        steps: Newton steps.

    Returns:
        a and b.

    Example:
        >>> a, b = logistic_fit(np.zeros(998), np.arange(998) < 499)
        >>> round(b, 6)
        0.0

    References:
        Platt. "Probabilistic Outputs for Support Vector Machines", 1999.
    """
    x = np.stack([np.append(logit, [0.0, 0.0]), np.ones(len(logit) + 2)], axis=1)
    y = np.append(right.astype(np.float64), [1.0, 0.0])
    prior, weak = np.array([1.0, 0.0]), np.diag([1e-2, 1e-6])  # a = 1 says: take it as it is
    found = prior.copy()
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        slope = x.T @ (p - y) + weak @ (found - prior)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + weak
        found = found - np.clip(np.linalg.solve(curvature, slope), -2.0, 2.0)
        found[0] = max(found[0], 0.0)
    return float(found[0]), float(found[1])


@dataclass(frozen=True, eq=False)
class Calibration:
    """Turns confidences into probabilities, per kind of sub-task and pair of tiers.

    Attributes:
        steps: Kinds of sub-tasks, S.
        tiers: Tiers, M.
        slopes: a, float `[S, M, M]`: first the tier that spoke, then the one that is judged.
        shifts: b, likewise.
    """

    steps: tuple[str, ...]
    tiers: tuple[str, ...]
    slopes: np.ndarray
    shifts: np.ndarray

    @classmethod
    def fit(cls, record: TeamRecord) -> Calibration:
        """Fits all curves to a record.

        Args:
            record: Answers that are known to be right or wrong; not those it is tested on.
        """
        steps = tuple(dict.fromkeys(record.steps))
        count = len(record.tiers)
        slopes, shifts = np.ones((2, len(steps), count, count))
        for s, step in enumerate(steps):
            here = record.active & (np.array(record.steps) == step)
            for j in range(count):
                logit = logits(record.confidence[here, j])
                for k in range(j, count):
                    slopes[s, j, k], shifts[s, j, k] = logistic_fit(logit, record.right[here, k])
        return cls(steps, record.tiers, slopes, shifts)

    def probabilities(self, record: TeamRecord) -> np.ndarray:
        """Returns P(tier k is right) after tier j spoke, for all that is recorded.

        Args:
            record: Of the same kinds of sub-tasks and tiers.

        Returns:
            float32 `[R, N, M, M]`, j before k; 0 where k < j, 1 where there is no sub-task.

        Raises:
            ValueError: If the record is of other tiers or sub-tasks.
        """
        unknown = sorted(set(record.steps) - set(self.steps))
        if record.tiers != self.tiers or unknown:
            raise ValueError(
                "`record` must have the calibration's tiers and kinds of sub-tasks. Received: "
                f"{record.tiers} and {record.steps}; expected {self.tiers} and {self.steps}."
            )
        at = [self.steps.index(step) for step in record.steps]
        x = logits(record.confidence)[..., None] * self.slopes[at] + self.shifts[at]
        p = np.triu(1 / (1 + np.exp(-np.clip(x, -30, 30))))
        return np.where(record.active[..., None, None], p, 1.0).astype(np.float32)


def logits(confidence: np.ndarray) -> np.ndarray:
    """Returns log(c / (1 − c)) with c kept within 1e-6 of the ends."""
    kept = np.clip(confidence.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.log(kept / (1 - kept))
