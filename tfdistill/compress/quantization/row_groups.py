"""Rows of a table that share one scale at 4 bits.

A row that is stored in 4 bits costs half a byte a number and 12 bytes besides, for its scale and
zero point: at width 44 more than a third of the row. LiteRT wants one scale for each row, so k rows
are stored as one, `[V, D] → [V / k, k · D]`, and the file takes the part it needs after the lookup.
What was trained with one scale for k rows is found again from the values alone, by
`tfdistill.compress.guarantees.group_size_of`.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

__all__ = ["can_group", "group_rows", "ungroup_rows"]


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


def can_group(layer: keras.layers.Layer) -> bool:
    """Says whether a table is only looked up, by Keras' own code, so that a file may group it."""
    return type(layer).call is keras.layers.Embedding.call
