"""Calls a copied model beside the given one, so that a copy that computes something else is found.

A layer may keep state that is neither in its config nor in its variables. Nobody can list such
layers, but one batch shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.introspection.hooks import Hook, intercepting
from tfdistill.introspection.layer_pairs import paired_layers
from tfdistill.introspection.shapes import infer, input_specs

__all__ = ["check_copy"]

_LENGTHS = (8, 32, 128, 2)  # tried in turn for axes of any length
_REPEATS = 3  # calls that show whether a model's last digits vary


def check_copy(copy: keras.Model, model: keras.Model) -> None:
    """Refuses a copy whose outputs differ from the model's on one batch, in inference mode.

    Nothing is left of the calls: variables and random states are as before. A model is not called
    if no guess at its inputs fits, if it was never run as a whole, or while a graph is made.

    Args:
        copy: The copy.
        model: The model that it was made of.

    Raises:
        ValueError: If a number differs (NaN equals NaN), with the first layer that does.
    """
    if not tf.executing_eagerly() or not all(layer.built for layer in model._flatten_layers()):
        return
    for inputs in _batches(model):
        try:
            expected = _outputs(model, inputs)
        except Exception:
            continue  # a guess that was wrong
        try:
            found = _outputs(copy, inputs)
        except Exception as error:
            raise _difference(model, *_first_difference(copy, model, inputs)) from error
        if not _same(expected, found):
            again = [_outputs(model, inputs) for _ in range(_REPEATS)]
            if not all(_near(expected, each) for each in again):
                continue  # it draws numbers in inference mode, or nothing is left of the inputs
            if not _near(expected, found) or (
                # Large convolutions may sum in an order that varies, which moves the last digits.
                all(_same(expected, each) for each in again)
                and all(_same(found, _outputs(copy, inputs)) for _ in range(_REPEATS))
            ):
                raise _difference(model, *_first_difference(copy, model, inputs))
        if _tells_something(expected):
            return


def _difference(model: keras.Model, path: str, layer: keras.layers.Layer) -> ValueError:
    hint = (
        "Keep what it computes with in arguments that `get_config` returns, or in variables "
        "(`add_weight`)."
    )
    if isinstance(layer, keras.layers.Normalization):
        hint = "Its variables were set after `adapt`: call its `finalize_state()`."
    return ValueError(
        "`model` must answer the same when it is copied. Received: "
        f"model={model.name!r}, whose layer {path!r} of class {type(layer).__name__} computes "
        f"something else in a copy. {hint}"
    )


def _near(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Tells whether arrays are equal but for rounding, 1e-5 of the largest number."""
    return len(some) == len(others) and all(
        one.shape == other.shape
        and one.dtype == other.dtype
        and _equal_but_for_rounding(one, other)
        for one, other in zip(some, others, strict=True)
    )


def _equal_but_for_rounding(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind != "f":
        return _equal(one, other)
    finite = np.abs(one[np.isfinite(one)])
    largest = float(finite.max(initial=0.0))
    return bool(np.allclose(one, other, rtol=1e-5, atol=1e-5 * largest, equal_nan=True))


def _batches(model: keras.Model) -> Iterator[Any]:
    """Guesses inputs, the likely ones first."""
    words = _words(model)
    for specs in input_specs(model):
        for length in _LENGTHS:
            generator = np.random.default_rng(0)
            yield keras.tree.map_structure(
                lambda spec, n=length, g=generator: tf.constant(_values(spec, n, g, words)), specs
            )
            if all(None not in spec.shape[1:] for spec in keras.tree.flatten(specs)):
                break


def _values(
    spec: tf.TensorSpec, length: int, generator: np.random.Generator, words: list[str]
) -> np.ndarray:
    """Makes an input: normal numbers, or 0 and 1, which are ids of every table and any mask."""
    first, *rest = spec.shape
    shape = [first or 1, *(length if size is None else size for size in rest)]
    if spec.dtype == tf.string:
        return generator.choice(np.array(words, dtype=object), shape)
    if spec.dtype.is_floating or spec.dtype.is_complex:
        return generator.normal(size=shape).astype(spec.dtype.as_numpy_dtype)
    return generator.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype)


def _words(model: keras.Model) -> list[str]:
    """Lists some words that the model's lookups may know, and one that they may not."""
    found = ["unknown"]
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.StringLookup):
            found += layer.get_vocabulary(include_special_tokens=False)[:8]
    return found


def _outputs(model: keras.Model, inputs: Any) -> list[np.ndarray]:
    # Stateless, so that what the model assigns, random states among it, is thrown away.
    with keras.StatelessScope(collect_losses=True):
        return _arrays(infer(model, inputs))


def _arrays(outputs: Any) -> list[np.ndarray]:
    """Lists the tensors of a structure as arrays, those that a ragged tensor is made of too."""
    flat = tf.nest.flatten(outputs, expand_composites=True)
    return [keras.ops.convert_to_numpy(each) for each in flat if tf.is_tensor(each)]


def _same(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(some) == len(others) and all(
        one.shape == other.shape and one.dtype == other.dtype and _equal(one, other)
        for one, other in zip(some, others, strict=True)
    )


def _tells_something(outputs: list[np.ndarray]) -> bool:
    """Tells whether there are numbers but 0 and NaN: of inputs too short nothing may be left."""
    return any(np.any((each == each) & (each != 0)) for each in outputs)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    if one.tobytes() == other.tobytes() and one.dtype != object:
        return True
    both_nan = (one != one) & (other != other)
    return bool(np.all((one == other) | both_nan))


def _first_difference(
    copy: keras.Model, model: keras.Model, inputs: Any
) -> tuple[str, keras.layers.Layer]:
    """Finds the first layer, of those inside others the inner one, that returns something else."""
    layers = [pair for pair in paired_layers(copy, model) if pair[0]]
    found: list[list[tuple[str, list[np.ndarray]]]] = [[], []]
    for number, each in enumerate((copy, model)):
        hooks = [(pair[1 + number], _recorder(pair[0], found[number])) for pair in layers]
        try:
            with intercepting(hooks):
                _outputs(each, inputs)
        except Exception:
            continue  # what ran until then tells where it ended
    known = {path: given for path, _, given in layers}
    for index, (path, outputs) in enumerate(found[1]):
        if index >= len(found[0]) or not _same(found[0][index][1], outputs):
            return path, known[path]
    return model.name, model


def _recorder(path: str, calls: list[tuple[str, list[np.ndarray]]]) -> Hook:
    def hook(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        outputs = call(*args, **kwargs)
        if not any(tf.is_symbolic_tensor(each) for each in tf.nest.flatten(outputs)):
            calls.append((path, _arrays(outputs)))
        return outputs

    return hook
