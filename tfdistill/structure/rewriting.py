"""Writes a model again with some of its layers changed, left out or used twice.

A Functional model is a graph of calls; Keras goes through it and asks for a layer in place of
each old one and for what to call. The weights follow layer by layer, so the given model is only
read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

__all__ = ["Values", "copied_layer", "rewrite", "transfer"]

# By the `id` of an old variable its new value, or None if the new layer has no such variable.
Values = Mapping[int, np.ndarray | None]


def copied_layer(layer: Any, **changes: Any) -> Any:
    """Makes a new layer of the same class and arguments, some of them changed.

    Args:
        layer: A layer or operation.
        changes: Arguments of its constructor.

    Returns:
        A layer that is not built yet.
    """
    return type(layer).from_config({**layer.get_config(), **changes})


def rewrite(
    model: keras.Model,
    *,
    new_layer: Callable[[Any], Any] = copied_layer,
    call: Callable[..., Any] | None = None,
    values: Values | None = None,
    skip: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """Rebuilds a Functional model and copies its weights.

    Args:
        model: A built Functional model. Left untouched.
        new_layer: Makes the layer that takes an old one's place. Its variables must come in the
            old one's order.
        call: Called as `call(new_layer, *args, **kwargs)` for each call in the graph, in order;
            returns what the layer would have. None calls the layer.
        values: New values by the `id` of the old variable, where they are not the old ones; None
            for a variable that is gone.
        skip: Old layers whose weights the caller copies.

    Returns:
        A Functional model with the same name, inputs and outputs.
    """
    pairs: list[tuple[Any, Any]] = []

    def make(old: Any) -> Any:
        new = new_layer(old)
        pairs.append((new, old))
        return new

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return layer(*args, **kwargs) if call is None else call(layer, *args, **kwargs)

    rewritten = keras.models.clone_model(model, clone_function=make, call_function=run)
    for new, old in pairs:
        if (
            isinstance(old, keras.layers.Layer)
            and new.built
            and not any(old is layer for layer in skip)
        ):
            transfer(new, old, values=values)
    return rewritten


def transfer(
    new: keras.layers.Layer, old: keras.layers.Layer, *, values: Values | None = None
) -> None:
    """Gives a layer the weights of another one of its class, and freezes what is frozen there.

    Args:
        new: The layer to write to.
        old: The layer to read from.
        values: New values by the `id` of the old variable, where they are not the old ones; None
            for a variable that is gone.
    """
    for mine, given in zip(new._flatten_layers(), old._flatten_layers(), strict=True):
        if mine.trainable != given.trainable:
            mine.trainable = given.trainable
    changed = values or {}
    left = [given for given in old.variables if changed.get(id(given), given) is not None]
    for mine, given in zip(new.variables, left, strict=True):
        mine.trainable = given.trainable
        mine.assign(changed.get(id(given), given))
