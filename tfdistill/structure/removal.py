"""What was taken out of a model, and the checks that all structure pruning begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Removal", "check_keep", "summarize"]


@dataclass(frozen=True)
class Removal:
    """Says what was removed from a model; `str()` gives it as text.

    Attributes:
        part: "layers", "heads", "feed-forward units" or "vocabulary rows".
        kept: By place (the name of a block, or of the model or table), the indices that were kept,
            in their new order.
        removed: By place, the indices that are gone, rising.
        importance: By place, the measured importance of each index before, or nothing where it
            was not measured; see `tfdistill.structure.importance` for the definitions.
        parameters_before: Number of parameters of the given model.
        parameters_after: Number of parameters of the smaller one.

    Example:
        >>> print(Removal(part="heads", kept={"encoder_0": (1,)}, removed={"encoder_0": (0,)},
        ...               importance={"encoder_0": (0.1, 0.7)}, parameters_before=200,
        ...               parameters_after=150))
        1 of 2 heads removed; parameters 200 → 150 (75 %)
          encoder_0: removed 0
    """

    part: str
    kept: dict[str, tuple[int, ...]]
    removed: dict[str, tuple[int, ...]]
    importance: dict[str, tuple[float, ...]]
    parameters_before: int
    parameters_after: int

    def __str__(self) -> str:
        """Returns a line on the whole and a line for each place."""
        gone = sum(map(len, self.removed.values()))
        total = gone + sum(map(len, self.kept.values()))
        share = self.parameters_after / self.parameters_before
        lines = [
            f"{gone:,} of {total:,} {self.part} removed; parameters "
            f"{self.parameters_before:,} → {self.parameters_after:,} ({share:.0%})".replace(
                "%)", " %)"
            )
        ]
        for place, indices in self.removed.items():
            shown = ", ".join(map(str, indices[:8])) or "nothing"
            more = f" and {len(indices) - 8:,} more" if len(indices) > 8 else ""
            lines.append(f"  {place}: removed {shown}{more}")
        return "\n".join(lines)


def summarize(
    part: str,
    *,
    before: Any,
    after: Any,
    kept: dict[str, np.ndarray],
    present: dict[str, int],
    importance: dict[str, np.ndarray],
) -> Removal:
    """Makes the summary from what was kept.

    Args:
        part: What kind of part.
        before: The given model.
        after: The smaller model.
        kept: Indices that were kept, by place.
        present: How many there were, by place.
        importance: Measured importances, by place.

    Returns:
        The summary.
    """
    return Removal(
        part=part,
        kept={place: tuple(map(int, indices)) for place, indices in kept.items()},
        removed={
            place: tuple(np.setdiff1d(np.arange(present[place]), indices).tolist())
            for place, indices in kept.items()
        },
        importance={place: tuple(map(float, scores)) for place, scores in importance.items()},
        parameters_before=before.count_params(),
        parameters_after=after.count_params(),
    )


def check_keep(keep: Any, *, present: int, what: str) -> None:
    """Refuses a number to keep that is none, or more than there is.

    Args:
        keep: What the caller passed.
        present: How many there are.
        what: What is counted, for the messages.

    Raises:
        TypeError: If it is not an int.
        ValueError: If it is out of range.
    """
    if isinstance(keep, bool) or not isinstance(keep, int | np.integer):
        raise TypeError(
            f"`keep` must be an int, the number of {what} to keep. Received: keep={keep!r}."
        )
    if not 1 <= keep <= present:
        raise ValueError(
            f"`keep` must be an int in [1, {present}], the number of {what} there are. "
            f"Received: keep={keep!r}. It says how many stay, not how many go."
        )
