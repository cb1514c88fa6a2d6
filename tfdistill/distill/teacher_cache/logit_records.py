"""A teacher's answers as data: what is kept of them, and how they come back as logits.

A language model scores tens of thousands of tokens at each position. Almost all of the mass
lies on a few of them, so the k best and the mass of the rest are worth keeping; the loss then
sees logits of all classes again, and stays one piece of code.

Hidden states in a teacher cache: how they are named in its shards and in its batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.introspection.hooks import Parts

__all__ = [
    "ANSWERS",
    "FEATURES",
    "INPUTS",
    "dense_logits",
    "epoch_order",
    "records",
    "rows_of_epoch",
    "split_features",
    "stored_parts",
    "to_arrays",
]

# Keys under which a batch carries the answers beside the inputs of the student.
INPUTS = "tfdistill_inputs"
ANSWERS = "tfdistill_teacher_logits"


def epoch_order(rows: int, *, seed: int, epoch: int) -> np.ndarray:
    """Shuffles row numbers as a function of seed and epoch alone, so that training can resume.

    Args:
        rows: Number of rows.
        seed: Seed of the whole run.
        epoch: Number of the epoch, from 0.

    Returns:
        int64 `[rows]`, each number once.

    Example:
        >>> epoch_order(5, seed=0, epoch=1).tolist() == epoch_order(5, seed=0, epoch=1).tolist()
        True
    """
    return np.random.default_rng([seed, epoch]).permutation(rows)


def rows_of_epoch(rows: int, *, seed: int | None, epoch: int, per_pass: int = 1) -> np.ndarray:
    """Lists the rows of an epoch, where several epochs may share one pass over all rows.

    Args:
        rows: Number of rows.
        seed: Seed of the whole run; None keeps the order.
        epoch: Number of the epoch, from 0.
        per_pass: Number of epochs in a pass, an int in [1, rows].

    Returns:
        Row numbers, int64 `[⌈rows / per_pass⌉]`. Each epoch has as many, because Keras takes the
        first one for the length of all; so up to `per_pass` rows of a pass come twice.

    Example:
        >>> [rows_of_epoch(5, seed=None, epoch=epoch, per_pass=2).tolist() for epoch in range(3)]
        [[0, 1, 2], [3, 4, 0], [0, 1, 2]]
    """
    number, part = divmod(epoch, per_pass)
    order = np.arange(rows) if seed is None else epoch_order(rows, seed=seed, epoch=number)
    length = -(-rows // per_pass)
    return np.take(order, np.arange(part * length, (part + 1) * length), mode="wrap")


def dense_logits(
    top_ids: tf.Tensor, top_log_probs: tf.Tensor, tail_mass: tf.Tensor, *, num_classes: int
) -> tf.Tensor:
    """Spreads the mass of what was not kept evenly over the missing classes.

    Args:
        top_ids: Classes that were kept, int tensor `[..., k]`.
        top_log_probs: Their log-probabilities at temperature 1, float tensor `[..., k]`.
        tail_mass: Probability of all others together, float tensor `[...]`.
        num_classes: Number of classes C.

    Returns:
        Log-probabilities of all classes, float tensor `[..., C]`; softmax gives them back.

    Example:
        >>> logits = dense_logits([2], tf.math.log([0.8]), 0.2, num_classes=3)
        >>> tf.nn.softmax(logits).numpy().round(2)
        array([0.1, 0.1, 0.8], dtype=float32)
    """
    top_ids, top_log_probs = tf.convert_to_tensor(top_ids), tf.convert_to_tensor(top_log_probs)
    kept = top_ids.shape[-1]
    smallest = np.finfo(np.float32).tiny
    each = tf.math.log(tf.maximum(tail_mass, smallest)) - math.log(max(num_classes - kept, 1))
    flat_ids = tf.reshape(top_ids, [-1, kept])
    rows = tf.shape(flat_ids)[0]
    flat = tf.repeat(tf.reshape(each, [-1, 1]), num_classes, axis=1)
    row_numbers = tf.repeat(tf.range(rows)[:, tf.newaxis], kept, axis=1)
    positions = tf.stack([row_numbers, tf.cast(flat_ids, tf.int32)], axis=-1)
    flat = tf.tensor_scatter_nd_update(flat, positions, tf.reshape(top_log_probs, [-1, kept]))
    shape = tf.concat([tf.shape(top_ids)[:-1], [num_classes]], axis=0)
    return tf.ensure_shape(tf.reshape(flat, shape), [*top_ids.shape[:-1], num_classes])


def records(logits: np.ndarray, *, top_k: int | None) -> dict[str, np.ndarray]:
    """Turns logits into what is stored of them.

    Args:
        logits: float32 `[..., C]`.
        top_k: How many classes to keep, or None for all of the logits.

    Returns:
        `{"logits"}`, or `{"top_ids", "top_log_probs", "tail_mass"}` of shapes `[..., k]`,
        `[..., k]` and `[...]`.

    Example:
        >>> kept = records(np.log(np.float32([[0.7, 0.1, 0.2]])), top_k=2)
        >>> kept["top_ids"].tolist(), round(float(kept["tail_mass"][0]), 3)
        ([[0, 2]], 0.1)
    """
    if top_k is None:
        return {"logits": logits}
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    top_ids = np.argsort(-log_probs, axis=-1, kind="stable")[..., :top_k]
    top_log_probs = np.take_along_axis(log_probs, top_ids, axis=-1)
    tail_mass = np.maximum(1.0 - np.exp(top_log_probs).sum(axis=-1), 0.0)
    return {
        "top_ids": top_ids.astype(np.int32),
        "top_log_probs": top_log_probs.astype(np.float32),
        "tail_mass": tail_mass.astype(np.float32),
    }


# Key under which a batch carries the teacher's hidden states beside the student's inputs.
FEATURES = "tfdistill_teacher_features"


def to_arrays(parts: Sequence[Parts]) -> dict[str, np.ndarray]:
    """Turns the recorded parts of some layers into arrays of a shard.

    Args:
        parts: what `capturing` recorded of each layer.

    Returns:
        `layer_0_states`, float `[rows, ..., D]`, in float16 if the teacher computes in it and
        float32 otherwise; `layer_0_mask`, bool `[rows, ...]`, if there is one; and so on.

    Example:
        >>> arrays = to_arrays([{"states": tf.zeros([2, 3, 4], tf.bfloat16)}])
        >>> {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        {'layer_0_states': ((2, 3, 4), 'float32')}
    """
    arrays = {}
    for number, layer in enumerate(parts):
        states = layer["states"]
        if states.dtype != tf.float16:
            states = tf.cast(states, tf.float32)
        arrays[f"layer_{number}_states"] = states.numpy()
        if "mask" in layer:
            mask = tf.broadcast_to(layer["mask"], tf.shape(states)[:-1])
            arrays[f"layer_{number}_mask"] = mask.numpy()
    return arrays


def stored_parts(arrays: Mapping[str, Any], layers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Undoes `to_arrays`.

    Args:
        arrays: Arrays or tensors by their names in a shard; others are left out.
        layers: Paths of the layers, in the order in which they were stored.

    Returns:
        For each path `states` and, if it was stored, `mask`.

    Example:
        >>> stored_parts({"logits": 0, "layer_0_states": 1}, ["encoder_5"])
        {'encoder_5': {'states': 1}}
    """
    return {
        path: {
            part: arrays[f"layer_{number}_{part}"]
            for part in ("states", "mask")
            if f"layer_{number}_{part}" in arrays
        }
        for number, path in enumerate(layers)
    }


def split_features(inputs: Any) -> dict[str, Parts]:
    """Takes the hidden states that a cache sends along out of the x of a batch.

    Args:
        inputs: The x of a batch.

    Returns:
        Parts by layer path; empty if there are none.
    """
    return inputs.get(FEATURES, {}) if isinstance(inputs, Mapping) else {}
