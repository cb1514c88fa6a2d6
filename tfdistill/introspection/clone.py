"""Copies a model, so that no technique ever changes the one that it was given."""

from __future__ import annotations

import keras

__all__ = ["copy_model"]


def copy_model(model: keras.Model) -> keras.Model:
    """Copies a model with its weights, its dropout seeds and what is frozen in it.

    Args:
        model: A built Keras 3 model.

    Returns:
        A model that shares no variable with it.

    Raises:
        ValueError: If Keras cannot rebuild the model from its config.
    """
    try:
        copy = keras.models.clone_model(model)
        if not copy.built:
            copy.build(model.input_shape)
        pairs = list(zip(copy.variables, model.variables, strict=True))
        layers = list(zip(copy._flatten_layers(), model._flatten_layers(), strict=True))
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            "`model` must be rebuildable from its config, because it is copied. Received: model="
            f"{model.name!r} of class {type(model).__name__}. Give the class a `get_config` that "
            "returns its constructor's arguments (and `build`, if its weights are made in call)."
        ) from error
    for new_layer, old_layer in layers:  # a config does not tell what is frozen inside a layer
        if new_layer.trainable != old_layer.trainable:
            new_layer.trainable = old_layer.trainable
    for new, old in pairs:
        new.trainable = old.trainable
        new.assign(old)
    return copy
