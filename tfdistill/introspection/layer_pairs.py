"""Which layer and which variable of a rebuilt model stands for which one of the given model.

`model.variables` comes in the order in which layers were made, which a rebuilt model need not
have: in a Functional subclass the attributes may be set in another order than they are called. So
variables are paired layer by layer. The layers of a graph go by their names, those inside a layer
by the attributes that hold them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import keras

__all__ = ["paired_layers", "paired_variables"]

# Attributes in which Keras lists what others name.
_BOOKKEEPING = {"_layers", "_operations", "_operations_by_depth", "_nodes", "_nodes_by_depth"}


def paired_layers(
    new: keras.layers.Layer, old: keras.layers.Layer
) -> list[tuple[str, keras.layers.Layer, keras.layers.Layer]]:
    """Pairs the layers of a rebuilt layer or model with those of the given one.

    Args:
        new: The rebuilt one.
        old: The given one.

    Returns:
        Path ("" for the pair that was passed), new layer and old layer, parents before children.
        Layers without a counterpart are left out.

    Raises:
        ValueError: If one layer of the given model is two in the rebuilt one.

    Example:
        >>> old = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="scores")])
        >>> [path for path, _, _ in paired_layers(keras.models.clone_model(old), old)]
        ['', 'scores']
    """
    pairs = []
    partners: dict[int, keras.layers.Layer] = {}
    waiting = [("", new, old)]
    for path, mine, given in waiting:  # grows while it is walked: breadth first
        if id(given) in partners:
            if partners[id(given)] is not mine and given.variables:
                raise ValueError(
                    f"`model` must share its layers in a way that its config tells. Received: "
                    f"layer {given.name!r}, which is one layer in {old.name!r} and two in a copy. "
                    "Call it at the top level of a Functional model, or share no layer."
                )
            continue
        partners[id(given)] = mine
        pairs.append((path, mine, given))
        waiting += [
            (f"{path}/{below.name}".lstrip("/"), own, below)
            for own, below in _paired_children(mine, given)
        ]
    return pairs


def paired_variables(
    new: keras.layers.Layer, old: keras.layers.Layer, *, gone: Collection[int] = ()
) -> list[tuple[keras.Variable, keras.Variable]]:
    """Pairs the variables of a rebuilt layer or model with those of the given one.

    The states of random generators are among them.

    Args:
        new: The rebuilt one, built.
        old: The given one, built.
        gone: `id` of each variable of `old` that `new` does not have.

    Returns:
        New variable and old variable, each once.

    Raises:
        ValueError: If a variable of either has no counterpart, or more than one.

    Example:
        >>> old = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> pairs = paired_variables(keras.models.clone_model(old), old)
        >>> [(mine.name, given.name) for mine, given in pairs]
        [('kernel', 'kernel'), ('bias', 'bias')]
    """
    partners: dict[int, tuple[keras.Variable, keras.Variable]] = {}
    for path, mine, given in paired_layers(new, old):
        left = [variable for variable in _own_variables(given) if id(variable) not in gone]
        own = _own_variables(mine)
        if len(own) != len(left):
            raise _unpaired(path or given.name, given, f"{len(left)} variables, {len(own)}")
        for one, other in _paired_by_name(own, left):
            if partners.setdefault(id(other), (one, other))[0] is not one:
                raise _unpaired(path or given.name, given, f"one variable {other.name!r}, two")
    for model, known in (
        (old, {*gone, *partners}),
        (new, {id(one) for one, _ in partners.values()}),
    ):
        for layer in model._flatten_layers():
            if any(id(variable) not in known for variable in _own_variables(layer)):
                count = len(_own_variables(layer))
                told = f"{count} variables, none" if model is old else f"no variable, {count}"
                raise _unpaired(layer.name, layer, told)
    return list(partners.values())


def _unpaired(path: str, layer: keras.layers.Layer, told: str) -> ValueError:
    return ValueError(
        "`model` must have the same variables when it is rebuilt from its config. Received: layer "
        f"{path!r} of class {type(layer).__name__}, which has {told} in a copy. Make them in "
        "`build` from the arguments that `get_config` returns."
    )


def _own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the variables that a layer itself holds, its random states last, each once."""
    held = [*layer._trainable_variables, *layer._non_trainable_variables]
    held += [generator.state for generator in layer._seed_generators]
    return list({id(variable): variable for variable in held}.values())


def _paired_by_name(
    new: list[keras.Variable], old: list[keras.Variable]
) -> Iterator[tuple[keras.Variable, keras.Variable]]:
    named = {variable.name: variable for variable in new}
    if len(named) == len(new) and set(named) == {variable.name for variable in old}:
        return iter([(named[variable.name], variable) for variable in old])
    return zip(new, old, strict=True)


def _paired_children(
    new: keras.layers.Layer, old: keras.layers.Layer
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Pairs the layers right below two layers: by graph, by attribute, and the rest by order."""
    mine, given = _children(new), _children(old)
    pairs = []

    def pair(one: Any, other: Any) -> None:
        if id(one) in mine and id(other) in given:
            pairs.append((mine.pop(id(one)), given.pop(id(other))))

    for one, other in _paired_graphs(new, old):
        pair(one, other)
    attributes = dict(_attributes(new))
    for key, layer in _attributes(old):
        pair(attributes.get(key), layer)
    if [type(layer) for layer in mine.values()] == [type(layer) for layer in given.values()]:
        pairs += zip(mine.values(), given.values(), strict=True)
    return pairs


def _children(layer: keras.layers.Layer) -> dict[int, keras.layers.Layer]:
    return {
        id(child): child
        for child in layer._flatten_layers(include_self=False, recursive=False)
        if not isinstance(child, keras.layers.InputLayer)
    }


def _paired_graphs(
    new: keras.layers.Layer, old: keras.layers.Layer
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Pairs the layers of two graphs by name or, where names are given anew, by their place."""
    both = [_graph_layers(model) for model in (new, old)]
    named, names = ({layer.name: layer for layer in layers} for layers in both)
    if set(named) == set(names):
        return [(named[name], layer) for name, layer in names.items()]
    if [type(layer) for layer in both[0]] == [type(layer) for layer in both[1]]:
        return list(zip(*both, strict=True))
    return []


def _graph_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    if not isinstance(model, keras.Sequential) and not hasattr(model, "_nodes_by_depth"):
        return []
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _attributes(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Lists the layers that a layer's attributes hold, also those in lists and dicts."""
    for name in sorted(set(vars(layer)) - _BOOKKEEPING):
        yield from _layers_in(vars(layer)[name], name)


def _layers_in(value: Any, key: str) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield key, value
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _layers_in(item, f"{key}/{index}")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _layers_in(item, f"{key}/{name}")
