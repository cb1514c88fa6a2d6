"""Shapes inside a model before its first batch, so that wrong layers are refused at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tfdistill.introspection.hooks import CaptureError, Point, capturing
from tfdistill.introspection.layer_paths import StudentWrapper

__all__ = ["infer", "input_specs", "shapes_of"]


def infer(model: keras.Model, inputs: Any) -> Any:
    """Calls a model in inference mode.

    Args:
        model: A Keras 3 model, whether or not its `call` knows `training`.
        inputs: One batch.

    Returns:
        What the model returns.
    """
    if "training" in inspect.signature(model.call).parameters:
        return model(inputs, training=False)
    return model(inputs)


def shapes_of(
    model: keras.Model, points: Iterable[Point]
) -> dict[Point, dict[str, tf.TensorSpec]] | None:
    """Finds the shapes at some points by tracing the model once, without running it.

    Args:
        model: A built Keras 3 model.
        points: What to look at.

    Returns:
        Shapes and dtypes of the parts, or None if it is not known what the model takes.

    Raises:
        CaptureError: If a point cannot be recorded.

    Example:
        >>> layer = keras.layers.Dense(3)
        >>> model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
        >>> point = Point("dense", layer, "states")
        >>> shapes_of(model, [point])[point]["states"].shape
        TensorShape([None, 3])
    """
    for specs in input_specs(model):
        try:
            return _trace(model, specs, tuple(points))
        except CaptureError:
            raise
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            continue  # a guess that was wrong
    return None


def input_specs(model: keras.Model) -> list[Any]:
    """Lists what a model may take: what it says, or the shape it was built with, as guesses.

    Args:
        model: A built Keras 3 model.

    Returns:
        Structures of `tf.TensorSpec`, the likely ones first; none if nothing is known.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> input_specs(model)[0].shape
        TensorShape([None, 2])
    """
    if isinstance(model, StudentWrapper):
        return input_specs(model.student)
    if getattr(model, "inputs", None):
        known = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        return [keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), known)]
    shape = (model.get_build_config() or {}).get("input_shape")
    if shape is None:
        return []
    return [
        keras.tree.map_shape_structure(lambda s, d=dtype: tf.TensorSpec([None, *s[1:]], d), shape)
        for dtype in ("float32", "int32")
    ]


def _trace(
    model: keras.Model, specs: Any, points: tuple[Point, ...]
) -> dict[Point, dict[str, tf.TensorSpec]]:
    found: dict[Point, dict[str, tf.TensorSpec]] = {}

    def once(inputs: Any) -> None:
        # Stateless, so that a trace which is thrown away leaves nothing behind in the model.
        with keras.StatelessScope(collect_losses=True), capturing(points) as recorded:
            infer(model, inputs)
        for point, parts in recorded.items():
            found[point] = {
                name: tf.TensorSpec(part.shape, part.dtype) for name, part in parts.items()
            }

    tf.function(once, autograph=False).get_concrete_function(specs)
    return found
