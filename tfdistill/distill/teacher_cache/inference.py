"""How a teacher is asked about a batch of arrays, and what identifies it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdistill.distill.teacher_cache import shards
from tfdistill.distill.teacher_cache.logit_records import to_arrays
from tfdistill.introspection.backend import check_model, refuse_probabilities
from tfdistill.introspection.hooks import Parts, Point, capturing
from tfdistill.introspection.layer_paths import find_layer
from tfdistill.introspection.shapes import infer

__all__ = ["check_layers", "make_asker", "teacher_fingerprint"]


def make_asker(teacher: Any, *, layers: Sequence[str]) -> Callable[[Any], dict[str, np.ndarray]]:
    """Makes a function from a batch of arrays to what the teacher says and holds.

    Args:
        teacher: A Keras 3 model, or a callable on a batch of inputs that returns logits.
        layers: Paths of the layers whose output is wanted as well.

    Returns:
        A function from a batch of inputs to `logits`, float32 `[rows, ..., C]`, and the arrays
        of `to_arrays`.

    Raises:
        TypeError: If the teacher is neither a Keras 3 model nor a callable.
        ValueError: If it is a model that returns probabilities.
    """
    if not isinstance(teacher, keras.Model) and callable(teacher):
        return lambda batch: {"logits": _as_logits(teacher(batch))}
    check_model(teacher, argument="teacher")
    refuse_probabilities(teacher, argument="teacher")
    if not layers:
        return lambda batch: {"logits": _as_logits(teacher.predict_on_batch(batch))}
    points = [_point(teacher, path) for path in layers]

    @tf.function(autograph=False, reduce_retracing=True)
    def run(batch: Any) -> tuple[Any, list[Parts]]:
        with capturing(points) as recorded:
            answer = infer(teacher, batch)
        return answer, [recorded[point] for point in points]

    def ask(batch: Any) -> dict[str, np.ndarray]:
        answer, parts = run(keras.tree.map_structure(tf.convert_to_tensor, batch))
        return {"logits": _as_logits(answer), **to_arrays(parts)}

    return ask


def check_layers(teacher: Any, layers: Sequence[str]) -> list[str]:
    """Refuses `layers` of `TeacherCache.build` that the teacher does not have.

    Args:
        teacher: The teacher.
        layers: Paths as the user wrote them.

    Returns:
        The same paths, each once. They are stored as they are: the whole path of a layer may
        have numbers in it that Keras counts anew in each process.

    Raises:
        TypeError: If `layers` is no list of paths.
        ValueError: If a layer is not there, or the teacher is not a Keras model.
    """
    if not isinstance(layers, (list, tuple)) or not all(isinstance(path, str) for path in layers):
        raise TypeError(
            "`layers` must be a list or tuple of layer paths. "
            f"Received: layers={layers!r}. For example ('encoder_5',)."
        )
    if layers and not isinstance(teacher, keras.Model):
        raise ValueError(
            "`layers` must be empty for a teacher that is no Keras model. "
            f"Received: layers={layers!r}. What a callable holds inside cannot be seen."
        )
    for path in layers:
        _point(teacher, path)
    return list(dict.fromkeys(path.strip("/") for path in layers))


def teacher_fingerprint(teacher: Any, fingerprint: str | None) -> str:
    """Names a teacher by its weights, or by what the user calls it.

    Args:
        teacher: A Keras 3 model or a callable.
        fingerprint: The user's name for it; needed for a callable.

    Returns:
        A text that changes when the teacher does.

    Raises:
        ValueError: If a callable has no name.
    """
    if isinstance(teacher, keras.Model):
        return shards.fingerprint_model(teacher) + (f" {fingerprint}" if fingerprint else "")
    if not fingerprint or not isinstance(fingerprint, str):
        raise ValueError(
            "`fingerprint` must name a teacher that is a callable. "
            f"Received: fingerprint={fingerprint!r}. Code cannot be hashed: give a text that "
            "changes when the teacher does."
        )
    return fingerprint


def _point(teacher: keras.Model, path: str) -> Point:
    where = f"the teacher {teacher.name!r}"
    return Point(*find_layer([teacher], path.strip("/"), argument="layers", where=where), "states")


def _as_logits(answer: Any) -> np.ndarray:
    if isinstance(answer, (dict, list, tuple)):
        raise TypeError(
            "`teacher` must return one tensor of logits. "
            f"Received: {type(answer).__name__} of {len(answer)} outputs. "
            "Wrap it: keras.Model(teacher.input, teacher.output[...])."
        )
    return np.asarray(keras.ops.convert_to_numpy(answer), np.float32)
