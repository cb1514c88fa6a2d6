"""Guarantees: what a technique leaves behind in a weight, and how that is measured.

A guarantee is measured on a weight as a matrix, so that one definition serves a Keras model and a
`.tflite` file. The measure is a count of which less is better; up to a limit the guarantee holds.
What a later stage may change in a weight that has it is said by the operations it survives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Guarantee", "OPERATIONS", "WeightMatrix"]

OPERATIONS = ("zeroing", "rounding", "sharing")


@dataclass(frozen=True)
class WeightMatrix:
    """One weight of a model or of a file, as guarantees see it.

    Attributes:
        path: Path of the weight, as `include=` takes it; in a file, the name of the tensor.
        shape: Its shape.
        kind: "kernel", "embedding" or "other" (biases, norms).
        matrix: Its numbers as `[inputs, outputs]`, a table's as `[ids, width]`. A quantized file
            stores integer levels: the values but for one factor for each output channel, or one
            for the whole weight.
        bits: Bits that one number needs, an int: 8 or 4 if all of them are on the grid that a
            file of that width stores, otherwise as many as it is stored in.
    """

    path: str
    shape: tuple[int, ...]
    kind: str
    matrix: np.ndarray
    bits: int

    @property
    def channels(self) -> np.ndarray:
        """The numbers with a column for each output channel of a kernel, or row of a table."""
        return self.matrix.T if self.kind == "embedding" else self.matrix

    @functools.cached_property
    def nonzero(self) -> int:
        """Number of values that are not exactly zero."""
        return int(np.count_nonzero(self.matrix))

    @functools.cached_property
    def unique(self) -> int:
        """Number of distinct values."""
        return int(np.unique(self.matrix).size)

    @functools.cached_property
    def unique_per_channel(self) -> int:
        """Number of distinct values in the channel that has most."""
        ordered = np.sort(self.channels, axis=0)
        return int((ordered[1:] != ordered[:-1]).sum(axis=0).max(initial=0)) + 1

    @functools.cached_property
    def nonzero_of_4(self) -> int | None:
        """Most nonzero values among any 4 neighbors; None if 4 does not divide the channels."""
        channels = self.channels
        if not channels.size or len(channels) % 4:
            return None
        groups = channels.reshape(len(channels) // 4, 4, -1)
        return int(np.count_nonzero(groups, axis=1).max())


@dataclass(frozen=True)
class Guarantee:
    """What holds for a weight after a technique, as a count that a later stage may not raise.

    It holds for a weight if `measure(weight) <= limit(weight)`. A stage keeps it if the count
    afterwards is at most the count before. Two guarantees of one name are the same.

    Attributes:
        name: What a later technique would undo, such as "sparsity"; for messages.
        unit: What `measure` counts, such as "nonzero"; for messages.
        measure: From a `WeightMatrix` to an int of at least 0, of which less is better. It has
            to be the same for levels of a file as for values of a model.
        limit: The largest count with which the guarantee holds: an int, or a function of the
            `WeightMatrix`.
        survives: Which of the operations of other techniques leave it as it is:
            "zeroing": weights are set to zero (`Prune`);
            "rounding": each weight becomes f(w) with f(−w) = −f(w), one f for each channel
            (`Quantize`);
            "sharing": each weight becomes f(w) with f(0) = 0, whatever f is (`Cluster`).
        per_channel: Whether it is about each output channel by itself. A file that lays several
            rows of a table into one is not asked for it.

    Raises:
        ValueError: If `survives` holds anything else.

    Example:
        >>> dead = Guarantee("dead units", unit="units in use", limit=1,
        ...                  measure=lambda weight: int(weight.channels.any(axis=0).sum()))
        >>> weight = WeightMatrix("scores/kernel", (2, 3), "kernel",
        ...                       np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]]), bits=32)
        >>> dead.measure(weight), dead.holds(weight)
        (1, True)
    """

    name: str
    unit: str = field(compare=False)
    measure: Callable[[WeightMatrix], int] = field(compare=False, repr=False)
    limit: int | Callable[[WeightMatrix], int] = field(compare=False, repr=False)
    survives: frozenset[str] = field(compare=False, default=frozenset())
    per_channel: bool = field(compare=False, default=False)

    def __post_init__(self) -> None:
        if isinstance(self.survives, str) or not set(self.survives) <= set(OPERATIONS):
            raise ValueError(
                f"`survives` must be a set of {OPERATIONS}. Received: survives={self.survives!r}. "
                "Leave it out if the guarantee survives none of them."
            )

    def holds(self, weight: WeightMatrix) -> bool:
        """Says whether a weight has it."""
        limit = self.limit(weight) if callable(self.limit) else self.limit
        return self.measure(weight) <= limit
