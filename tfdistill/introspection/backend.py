"""The one place that decides which Keras: Keras 3, on the TensorFlow backend.

Importing TF-MOT sets `TF_USE_LEGACY_KERAS=1` for the whole process, which would turn
`tf.keras` into another library under the feet of a user who never asked for it. So TF-MOT
is imported here and nowhere else, and the variable is put back as it was.
"""

from __future__ import annotations

import functools
import importlib
import os
import types

import keras

# Layers and functions of `keras.ops` that hand their values on, in another shape or type.
_MOVING = frozenset(
    "Cast Dropout ExpandDims Flatten Identity Permute RepeatVector Reshape Squeeze Transpose "
    "GetItem".split()
)

__all__ = [
    "check_backend",
    "check_model",
    "full_name",
    "is_legacy",
    "refuse_probabilities",
    "tfmot",
]


def full_name(value: object) -> str:
    """Returns the module and class of a value, which tells the two Kerases apart."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def is_legacy(value: object) -> bool:
    """Tells whether an object, or a class that it inherits from, belongs to the older tf_keras."""
    return any(
        kind.__module__.partition(".")[0] in ("tf_keras", "tensorflow_model_optimization")
        for kind in type(value).__mro__
    )


def check_backend() -> None:
    """Refuses to go on under a Keras backend other than TensorFlow.

    Raises:
        RuntimeError: If `keras.backend.backend()` is not `"tensorflow"`.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            "The Keras backend must be 'tensorflow', because TFLite files are made from it. "
            f"Received: backend={backend!r}. Set the environment variable "
            "KERAS_BACKEND=tensorflow before Keras is imported."
        )


def check_model(value: object, *, argument: str, built: bool = True) -> None:
    """Refuses what is not a (built) Keras 3 model, by the full name of what came instead.

    Args:
        value: What the caller passed.
        argument: Name of the caller's argument, for the message.
        built: Whether the model has to have its weights already.

    Raises:
        TypeError: If `value` is not a `keras.Model` of Keras 3.
        ValueError: If it has no weights yet and `built` is set.
    """
    check_backend()
    if not isinstance(value, keras.Model):
        name = full_name(value)
        hint = "Pass the model object itself."
        if isinstance(value, str | os.PathLike):
            hint = (
                "A file is no model: open a .keras file with keras.models.load_model; a .tflite "
                "file is an end product, so change the model that it was made from."
            )
        if is_legacy(value):
            hint = (
                "This is a model of the older tf_keras: rebuild the same architecture in Keras 3 "
                "and call new_model.set_weights(old_model.get_weights()), or stay with "
                "TensorFlow Model Optimization's own wrappers, which take tf_keras models."
            )
        raise TypeError(
            f"`{argument}` must be a Keras 3 model (keras.Model). Received: {argument}={name}. "
            f"{hint}"
        )
    if built and not value.built:
        raise ValueError(
            f"`{argument}` must be built, so that it has weights. Received: {argument}="
            f"{value.name!r}, which is not. Call it once on a batch of data, or give its first "
            "layer an input shape."
        )


@functools.lru_cache(maxsize=1)
def tfmot() -> types.ModuleType:
    """Imports TF-MOT and restores the environment variable that its import sets.

    Returns:
        The module `tensorflow_model_optimization`.

    Example:
        >>> before = os.environ.get("TF_USE_LEGACY_KERAS")
        >>> tfmot().__name__
        'tensorflow_model_optimization'
        >>> os.environ.get("TF_USE_LEGACY_KERAS") == before
        True
    """
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        return importlib.import_module("tensorflow_model_optimization")
    finally:
        if before is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before


def refuse_probabilities(model: keras.Model, *, argument: str) -> None:
    """Refuses a model whose last layer already makes probabilities.

    Args:
        model: A Keras model.
        argument: Name of the caller's argument, for the message.

    Raises:
        ValueError: If the last layer is or ends in a softmax or sigmoid. Log-probabilities are
            logits, and pass.
    """
    layer = _last_layer(model)
    if layer is None:
        return
    # A layer with an activation, the layer Softmax, or the function of keras.ops.
    activation = getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__)
    if activation.lower() in {"softmax", "sigmoid"}:
        raise ValueError(
            f"`{argument}` must return logits, not probabilities. Received: {argument}="
            f"{model.name!r}, whose last layer {layer.name!r} applies a softmax or sigmoid. "
            "Build it with activation=None: the losses apply the softmax themselves."
        )


def _last_layer(model: keras.Model) -> keras.Operation | None:
    """Follows the one output of a Functional or Sequential model down to the layer that made it.

    What only moves values, a reshape for one, is passed over.
    """
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return None
    return _maker(outputs[0])


def _maker(tensor: keras.KerasTensor) -> keras.Operation | None:
    history = tensor._keras_history
    layer = history.operation
    if isinstance(layer, keras.Model):
        return _last_layer(layer)
    sources = layer._inbound_nodes[history.node_index].arguments.keras_tensors
    return _maker(sources[0]) if _moves_only(layer) and len(sources) == 1 else layer


def _moves_only(layer: keras.Operation) -> bool:
    """Tells whether an operation hands its values on as they are."""
    kind = type(layer).__name__
    if kind == "Activation":
        return layer.activation is keras.activations.linear
    return kind in _MOVING
