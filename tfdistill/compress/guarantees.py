"""Guarantees: what a technique leaves behind in a weight, and how that is measured.

A guarantee is measured on a weight as a matrix, so that one definition serves a Keras model and a
`.tflite` file. The measure is a count of which less is better; up to a limit the guarantee holds.
What a later stage may change in a weight that has it is said by the operations it survives.

Those of this package's own techniques are here (`BUILT_IN`): zeros, shared values and the grids of
integers. They are found from the values alone, so a model that was compressed elsewhere, and is
plain by now, has them too. The techniques name the ones they leave behind.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

__all__ = [
    "BUILT_IN",
    "CLUSTERS",
    "CLUSTERS_WITH_ZERO",
    "GRID",
    "GROUPS",
    "Guarantee",
    "OPERATIONS",
    "SPARSITY",
    "TWO_OF_FOUR",
    "WeightMatrix",
    "grid_bits",
    "group_size_of",
]

OPERATIONS = ("zeroing", "rounding", "sharing")
# How many neighboring rows of a table may share a scale at 4 bits.
GROUPS = (1, 2, 4, 8, 16)
_LEVELS = 7
_SHARED_VALUES = 256  # a channel of more distinct values was not clustered


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


def _most_shared_values(weight: WeightMatrix) -> int:
    # A channel of n numbers has at most n values: that alone is no sharing.
    inputs = weight.matrix.size // max(1, weight.shape[-1] if weight.shape else 1)
    return min(_SHARED_VALUES, inputs - 1)


def _is_on_every_grid(weight: WeightMatrix) -> bool:
    """Says whether all values are −w, 0 or w, as in a kernel of zeros or an identity."""
    magnitudes = np.abs(weight.matrix.astype(np.float64))
    largest = magnitudes.max(axis=0 if weight.kind == "kernel" else None, initial=0.0)
    return bool(((magnitudes == 0) | (magnitudes == largest)).all())


SPARSITY = Guarantee(
    "sparsity",
    unit="nonzero",
    measure=lambda weight: weight.nonzero,
    limit=lambda weight: weight.matrix.size - 1,
    survives=frozenset({"zeroing", "rounding", "sharing"}),
)
TWO_OF_FOUR = Guarantee(
    "2:4 pattern",
    unit="nonzero of 4",
    measure=lambda weight: 4 if weight.nonzero_of_4 is None else weight.nonzero_of_4,
    limit=2,
    survives=frozenset({"zeroing", "rounding", "sharing"}),
)
CLUSTERS = Guarantee(
    "clusters",
    unit="distinct values in a channel",
    measure=lambda weight: weight.unique_per_channel,
    limit=_most_shared_values,
    survives=frozenset({"rounding"}),
    per_channel=True,
)
CLUSTERS_WITH_ZERO = dataclasses.replace(
    CLUSTERS, name="clusters with zero", survives=frozenset({"rounding", "zeroing"})
)
GRID = Guarantee(
    "grid",
    unit="bits",
    measure=lambda weight: weight.bits,
    limit=lambda weight: 0 if weight.kind == "other" or _is_on_every_grid(weight) else 8,
)
# Looked for in every weight. Clusters with a zero among them are clusters.
BUILT_IN = (SPARSITY, TWO_OF_FOUR, CLUSTERS, GRID)


def group_size_of(table: np.ndarray) -> int | None:
    """Finds how many rows of a table on a 4-bit grid share a scale.

    Args:
        table: Float array `[V, D]`.

    Returns:
        The largest of 1, 2, 4, 8 and 16 that fits; None if the values are on no such grid.

    Example:
        >>> group_size_of(np.array([[7.0, 1.0], [2.0, 3.0], [0.7, 0.1], [0.3, -0.2]]))
        2
    """
    number, width = table.shape
    for rows in reversed(GROUPS):
        groups = -(-number // rows)
        filled = np.pad(table, [(0, groups * rows - number), (0, 0)])
        grouped = filled.reshape(groups, rows * width).astype(np.float64)
        largest = np.abs(grouped).max(axis=1, keepdims=True, initial=0.0)
        levels = grouped * (_LEVELS / np.where(largest == 0, 1, largest))
        # Far above the rounding of float32, far below the quarter that chance is off by.
        if np.abs(levels - np.round(levels)).max(initial=0.0) < 1e-3:
            return rows
    return None


def grid_bits(matrix: np.ndarray, *, kind: str) -> int | None:
    """Finds the narrowest grid of a file that holds all values of a matrix.

    Kernels have a scale for each output channel, tables one in all at 8 bits and one for each
    row, or some neighboring rows, at 4: what `quantize_aware` trains on.

    Args:
        matrix: Float array `[inputs, outputs]`; of a table `[ids, width]`.
        kind: "kernel" or "embedding".

    Returns:
        4, 8, or None if the values are on neither grid.

    Example:
        >>> grid_bits(np.array([[-7.0], [3.0]]), kind="kernel")
        4
        >>> grid_bits(np.array([[-127.0], [3.0], [1.5]]), kind="kernel") is None
        True
    """
    if kind == "embedding" and group_size_of(matrix) is not None:
        return 4
    for bits in (4, 8) if kind == "kernel" else (8,):
        axis = 0 if kind == "kernel" else None
        largest = np.abs(matrix).max(axis=axis, keepdims=True)
        levels = 2 ** (bits - 1) - 1
        levels_of = matrix * (levels / np.where(largest == 0, 1, largest).astype(np.float64))
        # A value on the grid was rounded to float32 twice, which moves a level of at most 127
        # by less than 127 · 2⁻²³ · 2 = 3e-5; an arbitrary one is off by a quarter on average.
        if np.abs(levels_of - np.round(levels_of)).max() < 1e-3:
            return bits
    return None
