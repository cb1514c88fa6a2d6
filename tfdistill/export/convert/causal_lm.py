"""A causal language model as one `.tflite` file: prefill and decode, with the cache outside.

=================  ===========================================================================
signature          answers
=================  ===========================================================================
`decode`           one token → logits of the next one
`prefill_S`        S tokens of a prompt in one call → logits behind the position `last`
=================  ===========================================================================

All take `ids`, `positions`, `keys`, `values`, `last` (and the scales of a cache in 8 bits), and
return the new rows of keys and values alone: the caller puts them into its cache. A graph that
updates the cache copies all of it at every token. All signatures share one set of weights, and the
table that reads tokens is the one that predicts them: both uses have one scale per row, so it is in
the file once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfdistill.arguments.numeric import check_int
from tfdistill.bundles.export_modes import IN_LANGUAGE_MODELS, MODES
from tfdistill.compress.compressed_model import plain_model
from tfdistill.export.convert.converter import Endpoint, convert
from tfdistill.export.convert.quantizer import check_quantizer, quantize_weights
from tfdistill.files.atomic import check_target, replacing
from tfdistill.language.model import CausalParts, causal_parts
from tfdistill.runtime.interpreter import Interpreter

__all__ = ["language_to_tflite"]

_CACHES = ("float32", "int8")


def language_to_tflite(
    model: keras.Model,
    path: str | os.PathLike[str],
    *,
    context_length: int = 256,
    prefill_lengths: Sequence[int] = (16, 64),
    quantize: str | None = "dynamic",
    cache: str = "float32",
) -> Path:
    """Writes a language model as a `.tflite` file with prefill and decode signatures.

    Kernels and the table are stored in the bits of the mode, with one scale per output channel or
    row, and computed with 8-bit activations measured at run time, which `ai-edge-quantizer` makes.
    Norms stay float32.

    Args:
        model: A language model of this package. A `Compressed` one is stripped first.
        path: The file to write; an existing one is replaced in one step.
        context_length: Slots C of the cache, an int of at least 2.
        prefill_lengths: Tokens per call for prompts, ints in [2, C].
        quantize: One of `tfdistill.bundles.export_modes.IN_LANGUAGE_MODELS`; None is float32.
        cache: "float32", or "int8" for keys and values in 8 bits with one scale per head and
            token. For long contexts on devices with little memory: with six blocks and 8,192
            slots a process took 201 MB in place of 345, and 2.5 times the time for a token; with
            256 slots there is nothing to gain, and it took six times the time.

    Returns:
        The path of the file.

    Raises:
        TypeError: If `model` is not a Keras 3 model or a length not an int.
        ValueError: If it is not a language model, a length is out of range, or `quantize` or
            `cache` unknown.
        ImportError: If ai-edge-quantizer is not installed and needed.
        RuntimeError: If the converter or the quantizer fails.
        OSError: If the file cannot be written. Nothing is left behind.

    Example:
        >>> import tempfile
        >>> from tfdistill.students import causal_lm
        >>> model = causal_lm(vocabulary_size=9, num_layers=1, hidden_dim=4, num_heads=1,
        ...                   intermediate_dim=4, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = language_to_tflite(model, Path(folder, "lm.tflite"), context_length=8,
        ...                               prefill_lengths=[4], quantize=None)
        ...     sorted(Interpreter(path).signatures)
        ['decode', 'prefill_4']
    """
    if quantize not in IN_LANGUAGE_MODELS:
        raise ValueError(
            f"`quantize` must be one of {IN_LANGUAGE_MODELS}. Received: quantize={quantize!r}."
        )
    if quantize is not None:
        check_quantizer(quantize)
    if cache not in _CACHES:
        raise ValueError(
            f"`cache` must be one of {_CACHES}. Received: cache={cache!r}. 'int8' saves memory."
        )
    target = check_target(path)
    plain = plain_model(model)
    parts = causal_parts(plain)
    lengths = _check_lengths(context_length, prefill_lengths)
    endpoints = {
        name: _endpoint(plain, parts, length, context_length, cache=cache)
        for name, length in lengths.items()
    }
    content = convert(endpoints, quantize=None)
    if quantize is not None:
        # One scale per output channel or row, small kernels too: all of a model is in few bits.
        operations = ("FULLY_CONNECTED", "EMBEDDING_LOOKUP")
        content = quantize_weights(
            content, bits=MODES[quantize].bits, operations=operations, least_numbers=0
        )
    with replacing(target) as temporary:
        temporary.write_bytes(content)
        Interpreter(temporary)  # refuses a file that the runtime cannot prepare
    return target


def _check_lengths(context_length: Any, prefill_lengths: Any) -> dict[str, int]:
    check_int(context_length, argument="context_length")
    named = {}
    for index, length in enumerate(prefill_lengths):
        length = check_int(length, argument=f"prefill_lengths[{index}]")
        named[f"prefill_{length}"] = length
    if context_length < 2 or not all(2 <= length <= context_length for length in named.values()):
        raise ValueError(
            "`prefill_lengths` must be in [2, context_length], which is at least 2. "
            f"Received: {sorted(named.values())} with context_length={context_length}."
        )
    return {"decode": 1, **named}


def _endpoint(
    model: keras.Model, parts: CausalParts, steps: int, context_length: int, *, cache: str
) -> Endpoint:
    """Makes one signature: a function of named tensors, and their shapes."""
    blocks, groups, head_dim = parts.cache_shape
    slots = (blocks, groups, context_length, head_dim)
    shapes = {"ids": (steps,), "positions": (steps,), "last": (1,)}
    specs = {name: tf.TensorSpec(shape, tf.int32, name) for name, shape in shapes.items()}
    specs |= {name: tf.TensorSpec(slots, cache, name) for name in ("keys", "values")}
    if cache == "int8":
        one = (*slots[:3], 1)
        specs |= {
            name: tf.TensorSpec(one, tf.float32, name) for name in ("key_scales", "value_scales")
        }
    table = parts.table

    # The name makes the converter write EMBEDDING_LOOKUP, which takes one scale per row.
    @tf.function(experimental_implements="embedding_matmul", autograph=False)
    def lookup(rows: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(rows, ids)

    def read(tensors: dict[str, tf.Tensor], store: str, scales: str) -> list[tf.Tensor]:
        rows = tf.unstack(tensors[store][:, None])
        if cache == "float32":
            return rows
        # Block by block, so that one block's rows are there in float32 at a time.
        steps = tf.unstack(tensors[scales][:, None])
        return [tf.cast(row, tf.float32) * step for row, step in zip(rows, steps, strict=True)]

    def run(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        states, new_keys, new_values = parts.extend(
            tensors["ids"],
            positions=tensors["positions"],
            keys=read(tensors, "keys", "key_scales"),
            values=read(tensors, "values", "value_scales"),
            embed=lambda ids: lookup(tf.convert_to_tensor(table.embeddings), ids)[None],
        )
        return {
            "logits": _predict(table, tf.gather(states[0], tensors["last"])),
            "new_keys": tf.concat(new_keys, axis=0),
            "new_values": tf.concat(new_values, axis=0),
        }

    return Endpoint(run, specs, model)


def _predict(table: Any, states: tf.Tensor) -> tf.Tensor:
    if table.tie_weights:
        return tf.matmul(states, tf.convert_to_tensor(table.embeddings), transpose_b=True)
    return tf.matmul(states, tf.convert_to_tensor(table.reverse_embeddings))
