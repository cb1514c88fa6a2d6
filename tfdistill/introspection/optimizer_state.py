"""The variables of an optimizer, made before training and not on the way."""

from __future__ import annotations

from collections.abc import Sequence

import keras

__all__ = ["build_optimizer"]


def build_optimizer(model: keras.Model, variables: Sequence[keras.Variable]) -> None:
    """Makes the optimizer's variables, so that `fit` traces a training step once and not twice.

    A `tf.function` that makes variables is traced a second time without them, and Keras makes
    those of the optimizer in the first step. For small models tracing is most of a short training.

    Args:
        model: The model; one that is not compiled or whose optimizer is built stays as it is.
        variables: What the model's `train_step` is going to give to `apply_gradients`, in order.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", "mse")
        >>> build_optimizer(model, model.trainable_variables)
        >>> model.optimizer.built
        True
    """
    optimizer = model.optimizer if model.compiled else None
    if optimizer is not None and not optimizer.built and variables:
        with model.distribute_strategy.scope():
            optimizer.build(list(variables))
