"""Copies models and layers with all that they compute with, so that a given model never changes.

Keras rebuilds a layer from its config and knows its variables. Some layers compute with more:
`Normalization` with tensors that it makes of its variables, a lookup with a vocabulary, a stateful
recurrent layer with its states. That is copied too. A copied model is called beside the given one
before it is returned, because nobody can list all layers that keep something of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfdistill.introspection.copy_check import check_copy
from tfdistill.introspection.layer_pairs import paired_layers, paired_variables

__all__ = ["Values", "copied_layer", "copy_model", "copy_state"]

# By the `id` of an old variable its new value, or None if the new layer has no such variable.
Values = Mapping[int, np.ndarray | None]


def copy_model(model: keras.Model) -> keras.Model:
    """Copies a model with its weights, its dropout seeds and what is frozen in it.

    The copy is called once beside the model, in inference mode and without a trace in either, on
    inputs that follow from what the model takes. Its outputs are equal to the bit.

    Args:
        model: A built Keras 3 model.

    Returns:
        A model that shares no variable with it.

    Raises:
        ValueError: If Keras cannot rebuild the model from its config, a variable has no
            counterpart in the copy, or the copy computes something else.

    Example:
        >>> layer = keras.layers.Normalization()
        >>> layer.adapt(np.array([[1.0], [3.0]]))
        >>> copy = copy_model(keras.Sequential([keras.Input((1,)), layer]))
        >>> copy(np.array([[3.0]])).numpy().tolist()
        [[1.0]]
    """
    try:
        copy = _rebuilt(model)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            "`model` must be rebuildable from its config, because it is copied. Received: model="
            f"{model.name!r} of class {type(model).__name__}. Give the class a `get_config` that "
            "returns its constructor's arguments (and `build`, if its weights are made in call)."
        ) from error
    copy_state(copy, model)
    check_copy(copy, model)
    return copy


def copied_layer(layer: Any, **changes: Any) -> Any:
    """Makes a new layer of the same class and arguments, some of them changed.

    Args:
        layer: A layer or operation.
        changes: Arguments of its constructor.

    Returns:
        A layer that is not built yet. Vocabularies are copied already, because shapes follow
        from them.
    """
    copy = type(layer).from_config({**layer.get_config(), **changes})
    if isinstance(layer, keras.layers.Layer) and any(
        _is_lookup(inner) for inner in layer._flatten_layers()
    ):
        for _, mine, given in paired_layers(copy, layer):
            _copy_vocabulary(mine, given)
    return copy


def copy_state(
    new: keras.layers.Layer, old: keras.layers.Layer, *, values: Values | None = None
) -> None:
    """Gives a layer or model the state of another one that was built from the same config.

    The state is the variables, the states of random generators, what is frozen, the dtype policy
    of nested models, and what layers make of their variables or keep beside them.

    Args:
        new: The layer to write to.
        old: The layer to read from.
        values: New values by the `id` of the old variable, where they are not the old ones; None
            for a variable that is gone.

    Raises:
        ValueError: If a variable of either has no counterpart.
    """
    changed = values or {}
    gone = {key for key, value in changed.items() if value is None}
    layers = paired_layers(new, old)
    variables = paired_variables(new, old, gone=gone)
    for _, mine, given in layers:  # a config does not tell what is frozen inside a layer
        if mine.trainable != given.trainable:
            mine.trainable = given.trainable
        _copy_policy(mine, given)
        _copy_vocabulary(mine, given)
    for one, other in variables:
        one.trainable = other.trainable
        one.assign(changed.get(id(other), other))
    for _, mine, given in layers:
        _copy_beside_variables(mine, given)


def _rebuilt(model: keras.Model) -> keras.Model:
    if isinstance(model, keras.Sequential) or hasattr(model, "_nodes_by_depth"):
        copy = keras.models.clone_model(model, clone_function=copied_layer)
    else:
        copy = keras.models.clone_model(model)
    if not copy.built:
        copy.build(model.input_shape)
    return copy


def _copy_policy(new: keras.layers.Layer, old: keras.layers.Layer) -> None:
    """Sets the dtype policy of a Functional or Sequential model, which Keras forgets."""
    policy = old.dtype_policy
    if isinstance(new, keras.Model) and policy.quantization_mode is None:
        if new.dtype_policy.name != policy.name:
            new.dtype_policy = policy


def _copy_beside_variables(new: Any, old: Any) -> None:
    """Copies what layers compute with that Keras does not count among their variables."""
    if isinstance(new, keras.layers.Normalization) and new.built:
        new.finalize_state()  # makes tensors of its variables
    if isinstance(new, keras.layers.RNN) and new.stateful and new.built:
        for one, other in zip(*map(keras.tree.flatten, (new.states, old.states)), strict=True):
            one.assign(other)


def _is_lookup(layer: Any) -> bool:
    return isinstance(layer, (keras.layers.StringLookup, keras.layers.IntegerLookup))


def _copy_vocabulary(new: Any, old: Any) -> None:
    """Copies a vocabulary that a lookup has learned: its config has only one that it was given."""
    if not _is_lookup(old) or new.get_vocabulary() == old.get_vocabulary():
        return
    if old.output_mode == "tf_idf":
        new.set_vocabulary(old.get_vocabulary(), idf_weights=old.idf_weights.numpy())
    else:
        new.set_vocabulary(old.get_vocabulary())
