"""A Keras model seen from outside: a function from named tensors to named tensors.

A Keras model takes a tensor, a list or a dict; a `.tflite` signature takes names and arrays. The
export, its calibration and the comparison afterwards need the same names in the same order, so
that mapping is made here, once. It follows the model's structure: each tensor has a name of its
own, also where Keras has the same name for several (a layer that is called twice).
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["ModelInput", "NamedModel", "named_model"]

# What Keras makes up for inputs without a name; the counter in it differs from run to run.
_MADE_UP = re.compile(r"(keras_tensor|input_layer|args)(_\d+)?")


@dataclass(frozen=True)
class ModelInput:
    """Describes one input of a Keras model.

    Attributes:
        name: The name in the signature.
        shape: Size of each axis after the batch axis; None where the model leaves it open.
        dtype: What the model itself takes.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def file_dtype(self) -> str:
        """What the file takes: int32 in place of bool, which many runtimes do not pass in."""
        return "int32" if self.dtype == "bool" else self.dtype


@dataclass(frozen=True)
class NamedModel:
    """Calls a Keras model for inference with named tensors.

    Attributes:
        model: The Keras model.
        inputs: Its inputs, in the order of `keras.tree.flatten`.
        structure: What the model is called with: the nest, with anything for leaves.
    """

    model: keras.Model
    inputs: tuple[ModelInput, ...]
    structure: Any

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the model's outputs by name.

        Args:
            tensors: One tensor per input, by name, with the batch axis first.
        """
        flat = [keras.ops.cast(tensors[each.name], each.dtype) for each in self.inputs]
        result = self.model(keras.tree.pack_sequence_as(self.structure, flat), training=False)
        return _named_outputs(self.model, result)

    def arrays(self, x: Any, *, argument: str) -> dict[str, np.ndarray]:
        """Checks a user's data against the model and returns it by name.

        Args:
            x: One array for a model of one input; otherwise a dict by name, or a list in the
                model's order. The first axis is the examples.
            argument: Name of the caller's argument, for the messages.

        Returns:
            Arrays of each input's `file_dtype`, all of the same length.

        Raises:
            TypeError: If a dtype does not fit (floats for token ids, strings).
            ValueError: If names, shapes or lengths do not fit, or there is no example.
        """
        values = self._by_name(x, argument=argument)
        arrays = {
            each.name: _check_array(values[each.name], each, _label(argument, each, self.inputs))
            for each in self.inputs
        }
        lengths = {name: len(value) for name, value in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"`{argument}` must have the same number of examples for each input. "
                f"Received: {lengths}."
            )
        if 0 in lengths.values():
            raise ValueError(f"`{argument}` must have at least one example. Received: none.")
        return arrays

    def _by_name(self, x: Any, *, argument: str) -> dict[str, Any]:
        names = [each.name for each in self.inputs]
        if isinstance(x, Mapping):
            if set(x) != set(names):
                raise ValueError(
                    f"`{argument}` must have exactly the model's inputs {names}. "
                    f"Received: {sorted(map(str, x))}."
                )
            return dict(x)
        if len(names) == 1:
            rank = 1 + len(self.inputs[0].shape)
            listed = isinstance(x, list | tuple) and len(x) == 1 and np.ndim(x[0]) == rank
            return {names[0]: x[0] if listed else x}
        if not isinstance(x, list | tuple) or len(x) != len(names):
            received = f"{len(x)} arrays" if isinstance(x, list | tuple) else type(x).__name__
            raise ValueError(
                f"`{argument}` must be a dict of arrays by the names {names}, or a list of "
                f"{len(names)} arrays in that order. Received: {received}."
            )
        return dict(zip(names, x, strict=True))


def named_model(model: keras.Model) -> NamedModel:
    """Finds out how a built Keras 3 model is called.

    A functional or sequential model says it itself. A subclassed model only remembers the shape
    of its first call, not the dtype: an input that its own layers begin by casting to integers is
    taken to be one of integers, any other to be float32.

    Args:
        model: A built Keras 3 model of one call argument: a tensor, a list, or a dict.

    Raises:
        ValueError: If a subclassed model has never been called, so that its input is unknown.

    Example:
        >>> ids = keras.Input((8,), dtype="int32", name="ids")
        >>> named_model(keras.Model(ids, keras.layers.Embedding(9, 4)(ids))).inputs
        (ModelInput(name='ids', shape=(8,), dtype='int32'),)
    """
    structure = _declared_inputs(model)
    declared = structure is not None
    if not declared:
        structure = _remembered_shapes(model)
    leaves = keras.tree.flatten(structure)
    names = _input_names(model, structure, leaves, declared=declared)
    inputs = tuple(
        ModelInput(name, tuple(leaf.shape[1:]), keras.backend.standardize_dtype(leaf.dtype))
        for name, leaf in zip(names, leaves, strict=True)
    )
    named = NamedModel(model, inputs, structure)
    return named if declared else _with_traced_dtypes(named)


def _declared_inputs(model: keras.Model) -> Any | None:
    if isinstance(model, keras.Sequential):
        return model.inputs[0] if model.inputs else None
    return model.input if _sequence_names(model) else None


def _remembered_shapes(model: keras.Model) -> Any:
    shapes = model.get_build_config()
    if not shapes or "input_shape" not in shapes:
        raise ValueError(
            "`model` must have been called with one argument (a tensor, a list or a dict), so "
            f"that its input is known. Received: model={model.name!r}, a subclassed model without "
            "such a call. Call it once on a batch of data, or write it as a functional model."
        )
    return _as_tensors(shapes["input_shape"])


def _as_tensors(shape: Any) -> Any:
    """Turns a nest of shape tuples into the same nest of symbolic float tensors."""
    if isinstance(shape, Mapping):
        return {key: _as_tensors(value) for key, value in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.KerasTensor((None, *shape[1:]), dtype="float32")
    return [_as_tensors(each) for each in shape]


def _input_names(
    model: keras.Model, structure: Any, leaves: list[Any], *, declared: bool
) -> list[str]:
    if isinstance(structure, Mapping) and len(structure) == len(leaves):
        # keras.tree goes through a dict in sorted order.
        names = [str(key) for key in sorted(structure)]
    elif not declared and len(leaves) == 1:
        names = [next(iter(inspect.signature(model.call).parameters))]
    else:
        names = [
            leaf.name
            if declared and not _MADE_UP.fullmatch(leaf.name)
            else ("inputs" if len(leaves) == 1 else f"inputs_{index}")
            for index, leaf in enumerate(leaves)
        ]
    return _unique(re.sub(r"\W", "_", name) for name in names)


def _unique(names: Iterable[str]) -> list[str]:
    """Numbers the names that were there before: a, a, b, a_1 → a, a_2, b, a_1."""
    given = list(names)
    taken: set[str] = set()
    for index, name in enumerate(given):
        if name in taken:
            numbered = (f"{name}_{count}" for count in itertools.count(1))
            given[index] = next(each for each in numbered if each not in taken.union(given))
        taken.add(given[index])
    return given


def _with_traced_dtypes(named: NamedModel) -> NamedModel:
    """Traces the model once on float inputs and looks for those that it casts to integers."""
    specs = {each.name: tf.TensorSpec((1, *each.shape), name=each.name) for each in named.inputs}
    graph = tf.function(named).get_concrete_function(specs).graph
    # TensorFlow goes through a dict in sorted order; behind its tensors come the weights.
    placeholders = dict(zip(sorted(specs), graph.inputs, strict=False))
    inputs = []
    for each in named.inputs:
        casts = [
            op.outputs[0].dtype
            for op in placeholders[each.name].consumers()
            if op.type == "Cast" and op.outputs[0].dtype.is_integer
        ]
        dtype = casts[0].name if casts else each.dtype
        inputs.append(ModelInput(each.name, each.shape, dtype))
    return NamedModel(named.model, tuple(inputs), named.structure)


def _sequence_names(model: keras.Model) -> list[str]:
    """Returns the output names of a functional model, none for another kind."""
    try:
        return list(model.output_names)
    except AttributeError:
        return []


def _named_outputs(model: keras.Model, result: Any) -> dict[str, Any]:
    """Gives each tensor that a model returned a name of its own, one returned twice has two."""
    if isinstance(result, Mapping):
        if not any(keras.tree.is_nested(value) for value in result.values()):
            return {str(key): result[key] for key in sorted(result)}
        paths, leaves = zip(*keras.tree.flatten_with_path(result), strict=True)
        names = ["_".join(map(str, path)) for path in paths]
    elif isinstance(result, list | tuple):
        leaves = keras.tree.flatten(result)
        # The name of the layer that made it: several times, for a layer that was called so often.
        names = _sequence_names(model)
        if len(names) != len(leaves):
            names = [f"output_{index}" for index in range(len(leaves))]
    else:
        return {_output_name(model): result}
    return dict(zip(_unique(names), leaves, strict=True))


def _output_name(model: keras.Model) -> str:
    """Returns the name of the last layer if a person gave it one, else "logits"."""
    if isinstance(model, keras.Sequential):
        layer = model.layers[-1]
    else:
        layers = {layer.name: layer for layer in model.layers}
        layer = layers.get(next(iter(_sequence_names(model)), None))
    if layer is None:
        return "logits"
    if isinstance(layer, keras.Model):
        return _output_name(layer)
    # Keras names a layer after its class: LayerNormalization → layer_normalization_3.
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    words = re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()
    if re.fullmatch(rf"{words}(_\d+)?", layer.name):
        return "logits"
    return re.sub(r"\W", "_", layer.name)


def _label(argument: str, wanted: ModelInput, inputs: tuple[ModelInput, ...]) -> str:
    return argument if len(inputs) == 1 else f"{argument}[{wanted.name!r}]"


def _check_array(value: Any, wanted: ModelInput, label: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"`{label}` must be an array of shape {_shape_text(wanted)}. Received: rows of "
            "different lengths. Pad or cut them to one length."
        ) from error
    dtype = np.dtype(wanted.file_dtype)
    kinds = "iub" if dtype.kind in "iu" else "iubf"
    if array.dtype.kind not in kinds:
        kind = "integers" if kinds == "iub" else "numbers"
        hint = " Turn texts into token ids first." if array.dtype.kind in "USO" else ""
        raise TypeError(
            f"`{label}` must hold {kind} for the model's input {wanted.name!r} ({wanted.dtype}). "
            f"Received: dtype={array.dtype}.{hint}"
        )
    fits = array.ndim == len(wanted.shape) + 1 and all(
        size in (None, got) for size, got in zip(wanted.shape, array.shape[1:], strict=False)
    )
    if not fits:
        raise ValueError(
            f"`{label}` must have shape {_shape_text(wanted)}. Received: shape={array.shape}."
        )
    if array.size and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise ValueError(
                f"`{label}` must fit into {dtype.name}. Received: values from {array.min()} to "
                f"{array.max()}."
            )
    return array.astype(dtype, copy=False)


def _shape_text(wanted: ModelInput) -> str:
    sizes = ["examples", *("any" if size is None else str(size) for size in wanted.shape)]
    return "(" + ", ".join(sizes) + ("," if len(sizes) == 1 else "") + ")"
