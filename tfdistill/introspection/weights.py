"""The weights of a model and the layers around them: by path, how large, how shared.

The kernels of Dense, EinsumDense (attention) and Conv1D to Conv3D layers and the tables of
embeddings are compressed; biases, norms, position tables, and recurrent and depthwise layers are
not. The choice is by layer path with globs, as `include="encoder_*/ffn*"`. A path is made of the
names of the layers on the way down from the model.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfdistill.files.atomic import gzip_bytes
from tfdistill.introspection.backend import check_model

__all__ = [
    "Target",
    "count_nonzero",
    "count_parameters",
    "count_uses",
    "find_targets",
    "gzip_weight_bytes",
    "list_owners",
    "named_layers",
    "select",
    "walk_layers",
    "weight_bytes",
]

Patterns = str | Sequence[str] | None


@dataclass(frozen=True)
class Target:
    """One weight tensor that can be compressed.

    Attributes:
        path: Names of the layers around it and its own, e.g. "encoder_0/attention/query/kernel".
        variable: The Keras variable.
        kind: "kernel" or "embedding".
        matrix_shape: The tensor seen as `[inputs, outputs]`; for an embedding `[ids, width]`.
    """

    path: str
    variable: keras.Variable
    kind: str
    matrix_shape: tuple[int, int]

    def to_matrix(self, value: tf.Tensor) -> tf.Tensor:
        """Views a value of this weight as a matrix with the output channels last."""
        return tf.reshape(value, self.matrix_shape)

    def from_matrix(self, matrix: tf.Tensor) -> tf.Tensor:
        """Undoes `to_matrix`."""
        return tf.reshape(matrix, self.variable.shape)


def find_targets(model: keras.Model) -> list[Target]:
    """Lists every compressible weight of a model once, nested and shared layers included.

    Args:
        model: A built Keras 3 model.

    Returns:
        Targets in the order of the model's layers.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="scores")])
        >>> [(target.path, target.matrix_shape) for target in find_targets(model)]
        [('scores/kernel', (4, 2))]
    """
    paths = {id(layer): path for path, layer in named_layers(model)}
    found: dict[int, Target] = {}
    for layer in model._flatten_layers():
        target = _target_of(layer, paths.get(id(layer), layer.name))
        if target is not None:
            found.setdefault(id(target.variable), target)
    return list(found.values())


def select(targets: Iterable[Target], *, include: Patterns, exclude: Patterns) -> list[Target]:
    """Keeps the targets whose path or layer path matches the globs.

    Args:
        targets: What `find_targets` returned.
        include: Glob or globs to keep; None keeps all.
        exclude: Glob or globs to leave out; None leaves out none.

    Returns:
        The targets that are left, in the same order.

    Raises:
        ValueError: If a glob matches nothing or nothing is left.
    """
    targets = list(targets)
    if not targets:
        raise ValueError(
            "`model` must have a Dense, EinsumDense, Conv1D to Conv3D or Embedding layer to "
            "compress. Received: model without one. Other layers stay as they are."
        )
    kept = targets
    if include is not None:
        kept = [t for t in kept if any(_matches(t, p) for p in _patterns("include", include))]
    if exclude is not None:
        kept = [t for t in kept if not any(_matches(t, p) for p in _patterns("exclude", exclude))]
    for argument, globs in (("include", include), ("exclude", exclude)):
        for glob in _patterns(argument, globs):
            if not any(_matches(target, glob) for target in targets):
                paths = [target.path for target in targets]
                near = difflib.get_close_matches(glob, paths, n=3, cutoff=0.0)
                raise ValueError(
                    f"`{argument}` must match a weight of the model. "
                    f"Received: {argument}={glob!r}. The nearest names are {', '.join(near)}."
                )
    if not kept:
        raise ValueError(
            "`include` and `exclude` must leave something to compress. "
            f"Received: include={include!r}, exclude={exclude!r}."
        )
    return kept


def _matches(target: Target, glob: str) -> bool:
    layer_path = target.path.rpartition("/")[0]
    return any(
        fnmatch.fnmatchcase(name, pattern)
        for name in (target.path, layer_path)
        for pattern in (glob, f"{glob}/*", f"*/{glob}", f"*/{glob}/*")
    )


def _patterns(argument: str, globs: Patterns) -> list[str]:
    if globs is None:
        return []
    if isinstance(globs, str):
        return [globs]
    if not isinstance(globs, Sequence) or not all(isinstance(glob, str) for glob in globs):
        raise TypeError(
            f"`{argument}` must be a glob or a list of globs over layer paths. "
            f"Received: {argument}={globs!r}."
        )
    return list(globs)


def _target_of(layer: keras.layers.Layer, path: str) -> Target | None:
    """Recognizes the weight of a layer by the layer's kind."""
    if not layer.built:
        return None
    if isinstance(layer, keras.layers.Embedding):
        table = layer.embeddings
        return Target(f"{path}/{table.name}", table, "embedding", (table.shape[0], table.shape[1]))
    convolutions = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    if isinstance(layer, (keras.layers.Dense, keras.layers.EinsumDense, *convolutions)):
        kernel = layer.kernel
        shape = tuple(kernel.shape)
        split: int | None = len(shape) - 1
        if isinstance(layer, keras.layers.EinsumDense):
            split = _contracted_axes(layer.equation)
        if split is None:
            return None
        inputs, outputs = math.prod(shape[:split]), math.prod(shape[split:])
        return Target(f"{path}/{kernel.name}", kernel, "kernel", (inputs, outputs))
    return None


def _contracted_axes(equation: str) -> int | None:
    """Counts the leading kernel axes that an einsum sums over; None if they do not lead.

    Example:
        >>> _contracted_axes("abc,cde->abde"), _contracted_axes("abcd,cde->abe")
        (1, 2)
    """
    operands, result = equation.replace(" ", "").replace("...", "").split("->")
    kernel = operands.split(",")[1]
    summed = [axis not in result for axis in kernel]
    count = sum(summed)
    return count if 0 < count < len(kernel) and all(summed[:count]) else None


def list_owners(model: keras.Model) -> dict[int, tuple[str, ...]]:
    """Lists the paths by which each variable is reached, one for each layer that owns it.

    Args:
        model: A built Keras 3 model.

    Returns:
        Paths of weights by the `id` of the variable, such as "encoder_0/ffn_inner/kernel".

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="scores")])
        >>> list(list_owners(model).values())
        [('scores/kernel',), ('scores/bias',)]
    """
    owners: dict[int, list[str]] = {}
    for path, layer in [("", model), *named_layers(model)]:
        for variable in _own_variables(layer):
            owners.setdefault(id(variable), []).append(f"{path}/{variable.name}".lstrip("/"))
    return {key: tuple(paths) for key, paths in owners.items()}


def named_layers(model: keras.layers.Layer) -> list[tuple[str, keras.layers.Layer]]:
    """Lists every layer below a model once, by its shortest path.

    `variable.path` will not do: Keras writes it once, where the layer is built first, and a copy
    or a loaded file gets other ones.

    Args:
        model: A Keras 3 model or layer.

    Returns:
        Paths and layers, those nearest to the model first.

    Example:
        >>> inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="a")], name="b")
        >>> [path for path, _ in named_layers(keras.Sequential([keras.Input((2,)), inner]))]
        ['b', 'b/a']
    """
    found: dict[int, tuple[str, keras.layers.Layer]] = {}
    for path, layer in walk_layers([("", model)]):
        found.setdefault(id(layer), (path, layer))
    return list(found.values())


def walk_layers(
    tops: Sequence[tuple[str, keras.layers.Layer]],
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Goes down to every layer by every way, breadth first.

    Args:
        tops: Where to begin: what the paths start with, and a model or layer.

    Yields:
        Paths, the names of the layers on the way joined by slashes, and layers.
    """
    waiting = list(tops)
    for prefix, parent in waiting:  # grows while it is walked
        for layer in parent._flatten_layers(include_self=False, recursive=False):
            if not isinstance(layer, keras.layers.InputLayer):
                yield prefix + layer.name, layer
                waiting.append((f"{prefix}{layer.name}/", layer))


def count_uses(model: keras.Model) -> dict[int, int]:
    """Counts how often each variable takes part in one call of the model.

    Calls are read from the graphs of functional models, also of nested ones. In a subclassed
    model or layer each layer inside counts once, since its code cannot be counted.

    Args:
        model: A built Keras 3 model.

    Returns:
        Number of uses by the `id` of the variable.

    Example:
        >>> inputs, shared = keras.Input((4,)), keras.layers.Dense(4)
        >>> model = keras.Model(inputs, shared(shared(inputs)))
        >>> list(count_uses(model).values())
        [2, 2]
    """
    uses: dict[int, int] = {}
    waiting: list[tuple[keras.layers.Layer, int]] = [(model, 1)]
    for layer, times in waiting:  # grows while it is walked
        for variable in _own_variables(layer):
            uses[id(variable)] = uses.get(id(variable), 0) + times
        calls = _calls(layer)
        waiting += [
            (below, times * calls.get(id(below), 1))
            for below in layer._flatten_layers(include_self=False, recursive=False)
        ]
    return uses


def _calls(parent: keras.layers.Layer) -> dict[int, int]:
    """Counts the calls of each layer in the graph of a functional model."""
    counts: dict[int, int] = {}
    if isinstance(parent, keras.Model) and not isinstance(parent, keras.Sequential):
        for nodes in getattr(parent, "_nodes_by_depth", {}).values():
            for node in nodes:
                counts[id(node.operation)] = counts.get(id(node.operation), 0) + 1
    return counts


def _own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def count_parameters(model: keras.Model) -> int:
    """Returns the number of weights of a built model; a shared variable counts once.

    Example:
        >>> count_parameters(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
        10
    """
    return sum(weight.size for weight in _weights(model))


def count_nonzero(model: keras.Model) -> int:
    """Returns the number of weights of a built model that are not exactly zero.

    Example:
        >>> count_nonzero(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))  # zero bias
        8
    """
    return sum(int(np.count_nonzero(weight)) for weight in _weights(model))


def weight_bytes(model: keras.Model) -> int:
    """Returns the size of a model's weights as float32, in bytes; a shared variable counts once."""
    return 4 * count_parameters(model)


def gzip_weight_bytes(model: keras.Model) -> int:
    """Returns the gzip size (level 9) of a model's weights as float32, in the model's order.

    Zeros and repeated values, which pruning and clustering make, only show in this number.
    """
    return gzip_bytes(weight.astype("<f4").tobytes() for weight in _weights(model))


def _weights(model: keras.Model) -> list[np.ndarray]:
    check_model(model, argument="model")
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]
