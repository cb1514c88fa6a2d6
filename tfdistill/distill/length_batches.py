"""Batches of texts of like length: the same texts, less padding.

A batch is as wide as its longest text. Drawn at random, nearly every batch holds a long one, and
most of what is computed is padding. Sorting a window of some 4,000 texts by length before it is
cut into batches leaves the order random enough and saves a third to a half of the time.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfdistill.arguments import check_int

__all__ = ["batches_of_like_length"]

PADDING = 0


def batches_of_like_length(
    windows: tf.data.Dataset,
    *,
    batch_size: int = 64,
    ids: str | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> tf.data.Dataset:
    """Cuts large batches into small ones of like length, each as wide as its longest text.

    Within a window the texts are sorted by their number of tokens and cut into batches; the
    batches come in an order that follows from `seed` alone. Which texts a window holds is as
    random as the windows are.

    Args:
        windows: Large batches `(inputs, labels)` or `(inputs, labels, weights)`, such as those of
            `TeacherCache.dataset(..., batch_size=64 * 64)`. Token ids are int `[W, L]`, 0 where
            padded at the end of the text.
        batch_size: Texts of a batch, an int of at least 1. The last batch of a window may have
            fewer.
        ids: Name of the entry of `inputs` that holds the token ids; None if `inputs` are the ids.
        rows: Number of rows of all windows, if each window but the last one is full and a multiple
            of `batch_size`: so many batches are announced then, which `fit` needs to know where
            epochs take turns. None announces nothing.
        seed: Seed of the order of the batches.

    Returns:
        Batches of the same structure; the ids are int `[B, longest]`.

    Raises:
        TypeError: If `batch_size` is not an int.
        ValueError: If it is below 1, or the dataset has no entry `ids`.

    Example:
        >>> ids = tf.constant([[5, 0, 0], [5, 6, 7], [8, 9, 0], [3, 4, 5]])
        >>> windows = tf.data.Dataset.from_tensors((ids, tf.range(4)))
        >>> batches = batches_of_like_length(windows, batch_size=2)
        >>> sorted((batch.shape[1], labels.numpy().tolist()) for batch, labels in batches)
        [(2, [0, 2]), (3, [1, 3])]
    """
    batch_size = check_int(batch_size, argument="batch_size", at_least=1)
    spec = windows.element_spec[0]
    if ids is not None and not (isinstance(spec, dict) and ids in spec):
        names = sorted(spec) if isinstance(spec, dict) else "none, the inputs are no dict"
        raise ValueError(
            f"`ids` must name an entry of the inputs. Received: ids={ids!r}. The entries are "
            f"{names}."
        )

    def cut(*window: Any) -> tf.data.Dataset:
        tokens = window[0] if ids is None else window[0][ids]
        places = tf.range(1, tf.shape(tokens)[1] + 1)
        lengths = tf.reduce_max(tf.where(tokens != PADDING, places, 0), axis=1)
        order = tf.argsort(lengths, stable=True)

        def batch(first: tf.Tensor) -> tuple:
            rows = order[first : first + batch_size]
            taken = tf.nest.map_structure(lambda part: tf.gather(part, rows), window)
            longest = tf.reduce_max(tf.gather(lengths, rows))
            if ids is None:
                return taken[0][:, :longest], *taken[1:]
            return {**taken[0], ids: taken[0][ids][:, :longest]}, *taken[1:]

        firsts = tf.range(0, tf.shape(order)[0], batch_size)
        firsts = tf.random.experimental.stateless_shuffle(firsts, seed=(seed, 0))
        return tf.data.Dataset.from_tensor_slices(firsts).map(batch)

    batches = windows.flat_map(cut)
    if rows is not None:
        count = math.ceil(check_int(rows, argument="rows", at_least=1) / batch_size)
        batches = batches.apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(tf.data.AUTOTUNE)
