"""Rows in an order that depends on seed and epoch alone, for `fit` without a teacher.

Keras goes on after a crash at the beginning of an epoch (`BackupAndRestore`), but a shuffled
`tf.data.Dataset` then begins its own order again, and the run ends otherwise than an undisturbed
one. `TeacherCache.dataset` has no such fault; this is the same for plain arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.arguments import check_int
from tfdistill.distill.teacher_cache.logit_records import rows_of_epoch

__all__ = ["EpochRows"]


class EpochRows(keras.callbacks.Callback):
    """Makes batches of arrays, and as a callback of `fit` hears which epoch begins.

    Args:
        x: Inputs, an array with the rows first.
        y: Labels, an array with as many rows.
        batch_size: Rows of a batch, an int of at least 1; the last one of an epoch may have fewer.
        seed: Seed of the order.
        epochs_per_pass: Number of epochs that share one pass over the rows, an int of at least 1;
            the more, the less is lost by a crash.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If there is no row, or the row counts differ.

    Example:
        >>> rows = EpochRows(np.arange(4), np.arange(4), batch_size=2, seed=0)
        >>> first = [x.numpy().tolist() for x, _ in rows.dataset()]
        >>> rows.on_epoch_begin(0)
        >>> first == [x.numpy().tolist() for x, _ in rows.dataset()]
        True
    """

    def __init__(
        self, x: Any, y: Any, *, batch_size: int, seed: int = 0, epochs_per_pass: int = 1
    ) -> None:
        super().__init__()
        self._x, self._y = np.asarray(x), np.asarray(y)
        if not len(self._x) or len(self._x) != len(self._y):
            raise ValueError(
                "`y` must have as many rows as `x`, at least one. Received: x with "
                f"{len(self._x)} rows, y with {len(self._y)}."
            )
        self._batch_size = check_int(batch_size, argument="batch_size", at_least=1)
        self._per_pass = check_int(
            epochs_per_pass, argument="epochs_per_pass", at_least=1, at_most=len(self._x)
        )
        self._seed = seed
        self._epoch = 0

    @property
    def rows_per_epoch(self) -> int:
        """Number of rows of each epoch."""
        return math.ceil(len(self._x) / self._per_pass)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the epoch whose rows come next."""
        self._epoch = epoch

    def dataset(self) -> tf.data.Dataset:
        """Returns the batches `(x, y)` of one epoch; each iteration asks anew which epoch it is."""

        def one_epoch() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            order = rows_of_epoch(
                len(self._x), seed=self._seed, epoch=self._epoch, per_pass=self._per_pass
            )
            for start in range(0, len(order), self._batch_size):
                taken = order[start : start + self._batch_size]
                yield self._x[taken], self._y[taken]

        signature = tuple(
            tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in (self._x, self._y)
        )
        dataset = tf.data.Dataset.from_generator(one_epoch, output_signature=signature)
        batches = math.ceil(self.rows_per_epoch / self._batch_size)
        return dataset.apply(tf.data.experimental.assert_cardinality(batches)).prefetch(2)
