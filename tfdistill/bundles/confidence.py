"""What a bundle states about its confidence: a temperature, and when a text is out of scope.

It is the part `"confidence"` of `manifest.json`, and may be missing. `tfdistill.agents` fits it
and applies it; here it is only data, with bounds, because a bundle may come from a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tfdistill.arguments import check_number

__all__ = ["Confidence", "OutOfScope", "SCORES", "check_confidence", "check_confident"]

# The first is the default; of equally good ones the earlier is taken.
SCORES = ("energy", "entropy", "probability", "margin", "raw_energy")
_TEMPERATURES = "[0.01, 100]"
_THRESHOLDS = "[-1e6, 1e6]"


@dataclass(frozen=True)
class OutOfScope:
    """When a text belongs to none of the classes: its score is below a threshold.

    Attributes:
        score: Which score, one of "energy", "entropy", "probability", "margin" and "raw_energy";
            see `tfdistill.agents.in_scope_score`.
        threshold: The least score of a text that is in scope, a number in [-1e6, 1e6].
        in_scope_kept: Share of the held-out texts of the classes that reach it, in [0, 1].

    Raises:
        TypeError: If a number is none.
        ValueError: If the score is unknown or a number out of range.
    """

    score: str
    threshold: float
    in_scope_kept: float

    def __post_init__(self) -> None:
        """Refuses what is no rule; a manifest may come from a stranger."""
        if not isinstance(self.score, str) or self.score not in SCORES:
            raise ValueError(f"`score` must be one of {SCORES}. Received: score={self.score!r}.")
        check_number(self.threshold, argument="threshold", interval=_THRESHOLDS)
        check_number(self.in_scope_kept, argument="in_scope_kept", interval="[0, 1]")


@dataclass(frozen=True)
class Confidence:
    """How the logits of a bundle's model become probabilities that mean something.

    Attributes:
        temperature: T of softmax(z / T), a number in [0.01, 100].
        usual_unknown_share: Share of unknown words that is usual in texts of the classes, in
            [0, 1]. A text with a higher one is answered with less confidence.
        out_of_scope: When a text belongs to none of the classes; None never says so.

    Raises:
        TypeError: If a number is none, or `out_of_scope` is no `OutOfScope`.
        ValueError: If a number is out of range.

    Example:
        >>> rule = OutOfScope("energy", threshold=3.5, in_scope_kept=0.95)
        >>> confidence = Confidence(temperature=1.25, out_of_scope=rule)
        >>> Confidence.from_dict(confidence.to_dict()) == confidence
        True
    """

    temperature: float = 1.0
    usual_unknown_share: float = 0.0
    out_of_scope: OutOfScope | None = None

    def __post_init__(self) -> None:
        """Refuses numbers that no model has; a manifest may come from a stranger."""
        check_number(self.temperature, argument="temperature", interval=_TEMPERATURES)
        check_number(self.usual_unknown_share, argument="usual_unknown_share", interval="[0, 1]")
        if self.out_of_scope is not None and not isinstance(self.out_of_scope, OutOfScope):
            raise TypeError(
                "`out_of_scope` must be an OutOfScope or None. Received: "
                f"out_of_scope={self.out_of_scope!r} ({type(self.out_of_scope).__name__})."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns what the manifest holds: numbers, a str and None."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any) -> Confidence:
        """Reads what `to_dict` wrote, and nothing else.

        Args:
            content: The part `"confidence"` of a manifest, from JSON.

        Returns:
            The `Confidence`.

        Raises:
            TypeError: If a part is of another type.
            ValueError: If a part is missing or unknown, or a number out of range.
        """
        parts = _parts(content, cls, argument="confidence")
        if parts["out_of_scope"] is not None:
            inner = _parts(parts["out_of_scope"], OutOfScope, argument="out_of_scope")
            parts["out_of_scope"] = OutOfScope(**inner)
        return cls(**parts)


def check_confidence(value: Any, *, argument: str = "confidence") -> Confidence | None:
    """Returns a `Confidence` or None as it is, or refuses what is neither."""
    if value is not None and not isinstance(value, Confidence):
        raise TypeError(
            f"`{argument}` must be a Confidence or None. Received: "
            f"{argument}={value!r} ({type(value).__name__})."
        )
    return value


def check_confident(task: str) -> None:
    """Refuses a confidence for what is not one class.

    Args:
        task: Of the bundle.

    Raises:
        ValueError: If it is another one than "class".
    """
    if task != "class":
        raise ValueError(
            f"`confidence` must be None for task={task!r}. Received: a Confidence. Its temperature "
            "is that of a softmax over classes."
        )


def _parts(content: Any, kind: type[Any], *, argument: str) -> dict[str, Any]:
    """Returns a JSON object as the arguments of a dataclass, if it has exactly its fields."""
    names = [field.name for field in fields(kind)]
    if not isinstance(content, Mapping):
        raise TypeError(
            f"`{argument}` must be an object with {names}. Received: "
            f"{argument}={content!r} ({type(content).__name__})."
        )
    if set(content) != set(names):
        raise ValueError(
            f"`{argument}` must have exactly the parts {names}. Received: {sorted(content)}."
        )
    return dict(content)
