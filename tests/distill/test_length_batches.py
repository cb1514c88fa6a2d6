"""Batches of like length hold the same rows as their windows, in less padding."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from tfdistill.distill import batches_of_like_length


def rows(count: int, *, width: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, width + 1, count)
    ids = np.where(np.arange(width) < lengths[:, None], np.arange(1, count + 1)[:, None], 0)
    return ids.astype(np.int32), lengths


def test_every_row_comes_once_with_its_label_and_weight_and_no_token_is_cut():
    ids, lengths = rows(300)
    weights = lengths.astype("float32")
    windows = tf.data.Dataset.from_tensor_slices((ids, np.arange(300), weights)).batch(128)

    seen = []
    for batch, labels, weight in batches_of_like_length(windows, batch_size=16):
        assert batch.shape[1] == int((batch != 0).numpy().sum(axis=1).max())
        for row, label, one in zip(batch.numpy(), labels.numpy(), weight.numpy(), strict=True):
            np.testing.assert_array_equal(row[row != 0], ids[label][ids[label] != 0])
            assert one == lengths[label]
            seen.append(int(label))

    assert sorted(seen) == list(range(300))


def test_padding_falls_from_a_half_to_a_tenth():
    ids, lengths = rows(4096, seed=1)
    windows = tf.data.Dataset.from_tensor_slices((ids, lengths)).batch(4096)

    read = sum(batch.shape.num_elements() for batch, _ in batches_of_like_length(windows))

    # Lengths are uniform in [1, 20]: at random nearly all 20 columns of 4,096 rows are read.
    assert lengths.sum() / (4096 * 20) < 0.55
    assert read < 1.1 * lengths.sum()


def test_entries_beside_the_ids_keep_their_width():
    ids, _ = rows(10)
    inputs = {"ids": ids, "teacher": np.ones((10, 7), "float32")}
    windows = tf.data.Dataset.from_tensor_slices((inputs, np.arange(10))).batch(10)

    for batch, labels in batches_of_like_length(windows, batch_size=4, ids="ids"):
        assert batch["teacher"].shape == (len(labels), 7)
        assert batch["ids"].shape[1] <= 20


def test_the_order_follows_from_the_seed():
    ids, _ = rows(64)
    windows = tf.data.Dataset.from_tensor_slices((ids, np.arange(64))).batch(64)

    def order(seed: int) -> list[int]:
        batches = batches_of_like_length(windows, batch_size=8, seed=seed)
        return [int(label) for _, labels in batches for label in labels]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != order(0)[::-1]


def test_inner_zeros_are_no_padding():
    ids = np.array([[5, 0, 7, 0]], np.int32)
    windows = tf.data.Dataset.from_tensors((ids, np.zeros(1)))

    ((batch, _),) = batches_of_like_length(windows, batch_size=2)

    assert batch.numpy().tolist() == [[5, 0, 7]]


def test_an_unknown_entry_and_an_empty_batch_are_refused():
    windows = tf.data.Dataset.from_tensors((np.ones((2, 2), np.int32), np.zeros(2)))
    expected = (
        "`ids` must name an entry of the inputs. Received: ids='tokens'. The entries are none, "
        "the inputs are no dict."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        batches_of_like_length(windows, ids="tokens")
    with pytest.raises(ValueError, match="`batch_size` must be an int of at least 1"):
        batches_of_like_length(windows, batch_size=0)


def test_the_number_of_batches_is_announced_where_the_rows_are_known():
    ids, lengths = rows(300)
    windows = tf.data.Dataset.from_tensor_slices((ids, lengths)).batch(128)
    batches = batches_of_like_length(windows, batch_size=16, rows=300)
    assert int(batches.cardinality()) == 19 == sum(1 for _ in batches)


def test_rows_below_1_are_refused():
    windows = tf.data.Dataset.from_tensors((tf.ones((2, 2), tf.int32), tf.ones(2)))
    with pytest.raises(ValueError, match=re.escape("`rows` must be")):
        batches_of_like_length(windows, rows=0)
