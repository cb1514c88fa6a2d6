"""Rows of a table that share one scale at 4 bits.

A row that is stored in 4 bits costs half a byte a number and 12 bytes besides, for its scale and
zero point: at width 44 more than a third of the row. LiteRT wants one scale for each row, so k rows
are stored as one, `[V, D] → [V / k, k · D]`, and the file takes the part it needs after the lookup.
What was trained with one scale for k rows is found again from the values alone, as is the width of
the grid that a weight is on.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["GROUPS", "can_group", "grid_bits", "group_rows", "group_size_of", "ungroup_rows"]

GROUPS = (1, 2, 4, 8, 16)
_LEVELS = 7


def group_rows(table: Any, rows: int) -> tf.Tensor:
    """Lays each so many rows of a table into one, the last with zeros to fill it.

    Args:
        table: Tensor `[V, D]`.
        rows: How many rows become one.

    Returns:
        Tensor `[ceil(V / rows), rows · D]`.

    Example:
        >>> group_rows(tf.constant([[1.0], [2.0], [3.0]]), 2).numpy().tolist()
        [[1.0, 2.0], [3.0, 0.0]]
    """
    table = tf.convert_to_tensor(table)
    number, width = table.shape
    groups = math.ceil(number / rows)
    padded = tf.pad(table, [[0, groups * rows - number], [0, 0]])
    return tf.reshape(padded, [groups, rows * width])


def ungroup_rows(grouped: tf.Tensor, *, shape: tuple[int, int]) -> tf.Tensor:
    """Undoes `group_rows`.

    Args:
        grouped: What it returned.
        shape: Shape of the table.

    Returns:
        The table.
    """
    return tf.reshape(grouped, [-1, shape[1]])[: shape[0]]


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
    for rows in reversed(GROUPS):
        grouped = group_rows(table, rows).numpy().astype(np.float64)
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


def can_group(layer: keras.layers.Layer) -> bool:
    """Says whether a table is only looked up, by Keras' own code, so that a file may group it."""
    return type(layer).call is keras.layers.Embedding.call
