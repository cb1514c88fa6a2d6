"""How often each weight of a model is used, and by which layers: what sharing saves."""

from __future__ import annotations

from collections.abc import Iterator

import keras

__all__ = ["count_uses", "list_owners"]


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
    seen: set[int] = set()
    for path, layer, _ in _walk(model):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        for variable in _own_variables(layer):
            owners.setdefault(id(variable), []).append(f"{path}/{variable.name}".lstrip("/"))
    return {key: tuple(paths) for key, paths in owners.items()}


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
    for _, layer, times in _walk(model):
        for variable in _own_variables(layer):
            uses[id(variable)] = uses.get(id(variable), 0) + times
    return uses


def _walk(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer, int]]:
    """Goes down to every layer with its path and the number of its calls."""
    waiting: list[tuple[str, keras.layers.Layer, int]] = [("", model, 1)]
    while waiting:
        path, parent, times = waiting.pop(0)
        yield path, parent, times
        calls = _calls(parent)
        children = {
            id(layer): layer
            for layer in parent._flatten_layers(include_self=False, recursive=False)
        }
        for key, layer in children.items():
            below = f"{path}/{layer.name}".lstrip("/")
            waiting.append((below, layer, times * calls.get(key, 1)))


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
