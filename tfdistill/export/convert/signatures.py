"""The functions that a `.tflite` file offers: its signatures, each with a name.

One file may hold several, and they share their weights: the same model at several batch sizes, an
encoder and the heads that read from it, the prefill and the decode step of a language model. Give
`to_tflite` a dict of them, by name::

    hidden = keras.Model(both.input, both.get_layer("pooling").output)
    to_tflite({"encode": hidden, "intent": intent_head, "topic": topic_head, "all": both}, path)

A value is a Keras model, or an `Endpoint`: any function of tensors, with the model whose weights
it uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from tfdistill.introspection.named_model import NamedModel, named_model

__all__ = ["Endpoint", "SIGNATURE", "as_models", "check_batch_sizes", "endpoints_of", "variant"]

SIGNATURE = "serving_default"
_NAME = re.compile(r"[A-Za-z]\w{0,63}")


@dataclass(frozen=True)
class Endpoint:
    """A function to be one signature of a file.

    Attributes:
        function: Called with one tensor per input, by keyword; returns tensors by name. It must
            not draw random numbers or change variables.
        inputs: `tf.TensorSpec` by name, the batch axis included. Shapes are fixed best; None in
            one leaves that size open, at some cost in speed.
        model: The Keras model whose weights the function uses.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> twice = Endpoint(lambda x: {"y": 2.0 * model(x)}, {"x": tf.TensorSpec((1, 4))}, model)
        >>> sorted(twice.inputs)
        ['x']
    """

    function: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, tf.TensorSpec]
    model: keras.Model
    named: NamedModel | None = field(default=None, repr=False)


def as_models(model: Any) -> dict[str, keras.Model | Endpoint]:
    """Returns what the caller wants in the file, by the name of the signature.

    Args:
        model: A Keras model, which becomes "serving_default", or a dict.

    Raises:
        TypeError: If a value of the dict is neither a Keras model nor an `Endpoint`.
        ValueError: If the dict is empty, a name is no word, or a value is a `Compressed`.

    Example:
        >>> as_models({"encode": "a path"})
        Traceback (most recent call last):
        ...
        TypeError: `model['encode']` must be a Keras 3 model or an Endpoint. Received: str.
    """
    if not isinstance(model, Mapping):
        return {SIGNATURE: model}
    if not model:
        raise ValueError("`model` must have at least one signature. Received: model={}.")
    from tfdistill.compress.compressed_model import Compressed

    for name, value in model.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                "`model` must have names of letters, digits and underscores, a letter first and "
                f"at most 64 long. Received: a signature named {name!r}."
            )
        if isinstance(value, Compressed):
            raise ValueError(
                f"`model[{name!r}]` must be a plain Keras model. Received: a Compressed one. Strip "
                "the whole model once, with `tfdistill.strip`, and take the parts from the result: "
                "then they share their weights."
            )
        if not isinstance(value, keras.Model | Endpoint):
            raise TypeError(
                f"`model[{name!r}]` must be a Keras 3 model or an Endpoint. "
                f"Received: {type(value).__name__}."
            )
    return dict(model)


def check_batch_sizes(batch_sizes: Any) -> tuple[int | None, ...]:
    """Returns the batch sizes of the signatures, None for one that is left open.

    Args:
        batch_sizes: Different ints of at least 1, or None or "dynamic".

    Raises:
        TypeError: If it is something else.
        ValueError: If there is none, one is below 1, or one is there twice.

    Example:
        >>> check_batch_sizes((1, 8)), check_batch_sizes("dynamic")
        ((1, 8), (None,))
    """
    if batch_sizes is None or batch_sizes == "dynamic":
        return (None,)
    hint = "(1, 8) makes two signatures; 'dynamic' leaves the size open."
    listed = isinstance(batch_sizes, Sequence) and not isinstance(batch_sizes, str)
    if not listed or any(isinstance(n, bool) or not isinstance(n, int) for n in batch_sizes):
        raise TypeError(
            "`batch_sizes` must be a tuple of ints, or None. "
            f"Received: batch_sizes={batch_sizes!r}. {hint}"
        )
    sizes = tuple(batch_sizes)
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise ValueError(
            "`batch_sizes` must be different ints of at least 1. "
            f"Received: batch_sizes={batch_sizes!r}. {hint}"
        )
    return sizes


def variant(name: str, size: int | None, sizes: Sequence[int | None]) -> str:
    """Returns the name of a signature at one of its batch sizes: the first has the plain name.

    Example:
        >>> [variant("encode", size, (1, 8, 32)) for size in (1, 8, 32)]
        ['encode', 'encode_8', 'encode_32']
    """
    return name if size == sizes[0] else f"{name}_{size}"


def endpoints_of(
    models: Mapping[str, keras.Model | Endpoint], *, batch_sizes: Sequence[int | None]
) -> dict[str, Endpoint]:
    """Turns models into endpoints, each at every batch size; endpoints stay as they are.

    Args:
        models: By name, from `as_models`; the models are built.
        batch_sizes: From `check_batch_sizes`.

    Raises:
        ValueError: If two signatures get the same name, or a model has an open axis.
    """
    found: dict[str, Endpoint] = {}
    for name, value in models.items():
        if isinstance(value, Endpoint):
            made = {name: value}
        else:
            named = named_model(value)
            check_fixed(named)
            made = {
                variant(name, size, batch_sizes): _endpoint(named, size) for size in batch_sizes
            }
        for each in made:
            if each in found:
                raise ValueError(
                    "`model` must give signatures that differ in their names. Received: "
                    f"{each!r} twice, the second time for a batch size. Rename one."
                )
        found.update(made)
    return found


def check_fixed(named: NamedModel) -> None:
    """Refuses a model that leaves an axis besides the batch open."""
    for each in named.inputs:
        if None in each.shape:
            shape = ", ".join("?" if size is None else str(size) for size in each.shape)
            raise ValueError(
                "`model` must have fixed input sizes apart from the batch. Received: input "
                f"{each.name!r} of shape (batch, {shape}). Wrap it: keras.Input((64,), "
                f"name={each.name!r}, dtype={each.dtype!r}) for each input, "
                "keras.Model(inputs, model(inputs))."
            )


def _endpoint(named: NamedModel, size: int | None) -> Endpoint:
    specs = {
        each.name: tf.TensorSpec((size, *each.shape), each.file_dtype, name=each.name)
        for each in named.inputs
    }
    return Endpoint(lambda **tensors: named(tensors), specs, named.model, named)
