"""Hidden states in a teacher cache: how they are named in its shards and in its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdistill.features.layer_parts import Parts

__all__ = ["FEATURES", "split_features", "stored_parts", "to_arrays"]

# Key under which a batch carries the teacher's hidden states beside the student's inputs.
FEATURES = "tfdistill_teacher_features"


def to_arrays(parts: Sequence[Parts]) -> dict[str, np.ndarray]:
    """Turns the recorded parts of some layers into arrays of a shard.

    Args:
        parts: `state_parts` of each layer.

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
