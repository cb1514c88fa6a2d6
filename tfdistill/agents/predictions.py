"""The answer to one text, by what its bundle is for: a class, several labels, or a number."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LabelsPrediction", "NumberPrediction", "Prediction", "TypedPrediction"]


@dataclass(frozen=True)
class Prediction:
    """Is the answer to one text.

    Attributes:
        label: The most probable class.
        confidence: Its probability, in [0, 1].
        probabilities: One per class, in the order of the bundle's labels; they sum to 1.
        in_scope: False says "none of these": the text looks like no class, and `label` is only the
            nearest one. None where the bundle has no rule for it.
        score: What `in_scope` was judged by, higher for texts of the classes; or None.
    """

    label: str
    confidence: float
    probabilities: tuple[float, ...]
    in_scope: bool | None = None
    score: float | None = None


@dataclass(frozen=True)
class LabelsPrediction:
    """Is the answer to one text where each label is a yes or no of its own.

    Attributes:
        labels: Those whose probability reaches their threshold, in the order of the bundle's
            labels; there may be none.
        probabilities: One per label of the bundle, in their order, each in [0, 1]: the sigmoid of
            its output. They need not sum to 1.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class NumberPrediction:
    """Is the answer to one text where a number is asked.

    Attributes:
        value: The number, in the units of the training texts.
    """

    value: float


TypedPrediction = Prediction | LabelsPrediction | NumberPrediction
