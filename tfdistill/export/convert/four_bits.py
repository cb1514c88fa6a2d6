"""Weights of 4 bits in a `.tflite` file, stored by ai-edge-quantizer.

TFLite's own converter stops at 8 bits, so the file is converted in float32 and quantized after
that. Kernels get one scale per output channel and embedding tables one per row, which are the
grids of `quantize_aware(bits=4)`. So the levels in the file are the trained ones.

A table is read by the operation GATHER, which knows no 4-bit numbers. EMBEDDING_LOOKUP does, and
the converter writes it for a function that says that it implements "embedding_matmul". If several
rows share a scale they are stored as one row, of which the file takes a part after the lookup.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from tfdistill.compress.guarantees import group_size_of
from tfdistill.compress.quantization.row_groups import can_group, group_rows
from tfdistill.export.convert.quantizer import quantize_weights
from tfdistill.introspection.hooks import Hook, has_own_method, intercepting

__all__ = ["reading_by_lookup", "to_four_bits"]

_OPERATIONS = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP", "CONV_2D")


def reading_by_lookup(models: Iterable[keras.Model]) -> contextlib.AbstractContextManager[None]:
    """Makes models read their embedding tables by EMBEDDING_LOOKUP while they are converted.

    A model answers the same meanwhile, and is as it was afterwards.

    Args:
        models: Built Keras 3 models. Layers derived from `keras.layers.Embedding` with a `call`
            of their own keep that, and their tables stay float in the file.

    Returns:
        A context in which they do.
    """
    plain = (keras.layers.Embedding.call, keras.layers.ReversibleEmbedding.call)
    layers = {
        id(layer): layer
        for model in models
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Embedding)
        and type(layer).call in plain
        and not has_own_method(layer)
    }.values()
    return intercepting((layer, _lookup(layer)) for layer in layers)


def _lookup(layer: keras.layers.Embedding) -> Hook:
    rows = 1
    if can_group(layer):
        rows = group_size_of(keras.ops.convert_to_numpy(layer.embeddings)) or 1

    @tf.function(experimental_implements="embedding_matmul", autograph=False)
    def lookup(table: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, ids)

    def hook(call: Callable[..., Any], inputs: Any, reverse: bool = False) -> Any:
        if reverse:
            return call(inputs, reverse=True)
        flat = tf.reshape(keras.ops.cast(inputs, "int32"), [-1])  # the operation takes one axis
        table = tf.convert_to_tensor(layer.embeddings)
        if rows == 1:
            found = lookup(table, flat)
        else:
            groups = lookup(group_rows(table, rows), flat // rows)
            parts = tf.reshape(groups, [-1, layer.output_dim])
            found = tf.gather(parts, rows * tf.range(tf.size(flat)) + flat % rows)
        return tf.reshape(found, [*keras.ops.shape(inputs), layer.output_dim])

    return hook


def to_four_bits(content: bytes, *, block_size: int | None = None) -> bytes:
    """Stores the large weights of a float `.tflite` file in 4 bits.

    Kernels of matrix products and of 1-D and 2-D convolutions, if they have at least 1,024
    numbers, and all tables become levels −7 to 7 times a scale of their channel or row; LiteRT
    computes with them and with 8-bit activations. What else there is stays float32.

    Args:
        content: The bytes of the file.
        block_size: Inputs of a matrix product that share a scale; None takes all of an output's.

    Returns:
        The bytes of the smaller file.

    Raises:
        RuntimeError: If the quantizer fails on the file.
    """
    return quantize_weights(content, bits=4, operations=_OPERATIONS, block_size=block_size)
