"""What layers make inside a model, recorded while the model runs once.

A forward pass is expensive and draws one dropout mask, so it must not be repeated to look at a
hidden state. For the time of one call the chosen layers get an attribute of their own in place
of a method, which notes what goes in and out; afterwards, also after an exception, it is gone.
Nothing is rebuilt, so nested, subclassed and compressed models are recorded alike, and the
gradient flows through what was recorded.

What is worth keeping of one call of a layer: its output, or an attention's Q, K and V.

Beside it goes what is known about padding, because positions that are not real must not be
distilled. Layers learn of it in different ways: from a Keras mask, or from an argument.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

__all__ = [
    "CaptureError",
    "Parts",
    "Point",
    "attention_parts",
    "capturing",
    "keras_mask",
    "named_arguments",
    "state_parts",
]

_CHANGES = threading.RLock()


@contextlib.contextmanager
def capturing(points: Iterable[Point]) -> Iterator[dict[Point, Parts]]:
    """Records what happens at some points of a model while it is called once.

    Args:
        points: What to record; each layer must run exactly once in the body, in this thread.

    Yields:
        What was recorded, filled while the body runs: `state_parts` or `attention_parts` of
        each point. Tensors of a graph, if that is what is being made.

    Raises:
        CaptureError: If a layer ran more than once, or not at all, or somewhere that its output
            cannot be taken out of, or returned something else than one tensor.

    Example:
        >>> layer = keras.layers.Dense(1, kernel_initializer="ones", name="scores")
        >>> model = keras.Sequential([keras.Input((2,)), layer, keras.layers.ReLU()])
        >>> point = Point("scores", layer, "states")
        >>> with capturing([point]) as recorded:
        ...     _ = model(tf.constant([[-1.0, -1.0]]))
        >>> float(recorded[point]["states"][0, 0])
        -2.0
    """
    recorded: dict[Point, Parts] = {}
    listeners = [_Listener(point, recorded) for point in dict.fromkeys(points)]
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(_listening(listener))
        yield recorded
    for listener in listeners:
        listener.check()


class _Listener:
    """Writes down one point, for one `capturing`."""

    def __init__(self, point: Point, recorded: dict[Point, Parts]) -> None:
        self.point = point
        self._recorded = recorded
        # The replicas of a tf.distribute strategy trace the same layers, in alternating threads.
        self.thread = threading.get_ident()
        self._graph = _current_graph()
        self._problem: CaptureError | None = None

    def hear(self, make_parts: Callable[[], Parts]) -> None:
        """Keeps the parts, or why there are none: here an error would end up in Keras' hands."""
        try:
            self._keep(make_parts())
        except CaptureError as error:
            self._problem = self._problem or error

    def check(self) -> None:
        """Raises what went wrong."""
        if self._problem is not None:
            raise self._problem
        if self.point not in self._recorded:
            raise CaptureError(
                f"Layer {self.point.path!r} must run once per call to be distilled. It did not "
                "run. Name a layer that the model's output depends on, in a model whose `call` is "
                "no tf.function of its own."
            )

    def _keep(self, parts: Parts) -> None:
        if self.point in self._recorded:
            raise CaptureError(
                f"Layer {self.point.path!r} must run once per call to be distilled. It ran more "
                "than once, as a shared layer does. Name a layer around it."
            )
        if any(
            tf.is_symbolic_tensor(part) and part.graph is not self._graph for part in parts.values()
        ):
            raise CaptureError(
                f"Layer {self.point.path!r} must run in the model's own graph to be distilled. "
                "It runs in a loop, a condition or a tf.function, which its output cannot leave. "
                "Name a layer around that."
            )
        self._recorded[self.point] = parts


class _Tap:
    """Stands in for a method of one layer while somebody listens."""

    def __init__(
        self, layer: keras.layers.Layer, function: Callable[..., Any], *, shadowed: Any
    ) -> None:
        self.layer = layer
        self.function = function
        self.shadowed = shadowed  # an attribute that was there before
        self.listeners: list[_Listener] = []
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        heard = [item for item in self.listeners if item.thread == threading.get_ident()]
        given = named_arguments(self.function, args, kwargs)
        mask = None
        if any(item.point.kind == "states" for item in heard):
            # Before the call: attention layers take the Keras mask off what they are given.
            mask = keras_mask(self.layer, given)
        outputs = self.function(*args, **kwargs)
        for item in heard:
            if item.point.kind == "states":
                item.hear(functools.partial(state_parts, item.point, given, outputs, mask))
            else:
                item.hear(functools.partial(attention_parts, item.point, given))
        return outputs


@contextlib.contextmanager
def _listening(listener: _Listener) -> Iterator[None]:
    layer = listener.point.layer
    method = "_compute_attention"
    if listener.point.kind == "states":
        method = "call" if layer.quantization_mode is None else "quantized_call"
    own = vars(layer)  # no setattr: Keras would track what is only there for a moment
    with _CHANGES:
        tap = own.get(method)
        if not isinstance(tap, _Tap):
            tap = own[method] = _Tap(layer, getattr(layer, method), shadowed=own.get(method))
        tap.listeners.append(listener)
    try:
        yield
    finally:
        with _CHANGES:
            tap.listeners.remove(listener)
            if not tap.listeners:
                own.pop(method)
                if tap.shadowed is not None:
                    own[method] = tap.shadowed


def _current_graph() -> tf.Graph | None:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


# "states" and, where it is known which positions are real, "mask"; or "query", "key", "value"
# and "mask" of an attention layer.
Parts = dict[str, tf.Tensor]

# Arguments of `call` that say which positions are real, if they are of shape [B, L]: those of
# this package's students, of KerasHub and of Keras.
_PADDING_ARGUMENTS = (
    "is_token",
    "padding_mask",
    "decoder_padding_mask",
    "mask",
    "attention_mask",
)


class CaptureError(ValueError):
    """Says why what a layer makes cannot be recorded."""


@dataclass(frozen=True)
class Point:
    """One place to record.

    Attributes:
        path: Path of the layer, for messages.
        layer: The layer.
        kind: "states" for the layer's output, "attention" for the queries, keys and values of a
            `MultiHeadAttention`.
    """

    path: str
    layer: keras.layers.Layer
    kind: str


def named_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Names the arguments of a call; those of a `**kwargs` are among them.

    Args:
        function: What is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        Arguments by name, in the order of the signature; defaults are left out.

    Example:
        >>> named_arguments(lambda x, **more: None, (1,), {"mask": 2})
        {'x': 1, 'mask': 2}
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    given = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update(given.pop(name, {}))
    return given


def keras_mask(layer: keras.layers.Layer, given: dict[str, Any]) -> Any:
    """Computes the mask that Keras is going to attach to the layer's output.

    Args:
        layer: The layer.
        given: Arguments of its `call`, the inputs first.

    Returns:
        A bool tensor, a structure of them, or None.
    """
    if not layer.supports_masking:
        return None
    inputs = next(iter(given.values()), None)
    mask = given.get("mask")
    if mask is None:
        mask = keras.tree.map_structure(lambda x: getattr(x, "_keras_mask", None), inputs)
    return layer.compute_mask(inputs, mask)


def state_parts(point: Point, given: dict[str, Any], states: Any, mask: Any) -> Parts:
    """Keeps a layer's output and which of its positions are real.

    Args:
        point: The place.
        given: Arguments of the layer's `call`.
        states: What it returned.
        mask: Its Keras mask, or None.

    Returns:
        `states`, float `[B, ..., D]`, and `mask`, bool `[B, ...]`, if anything is known.

    Raises:
        CaptureError: If the layer did not return one float tensor.
    """
    if not tf.is_tensor(states) or len(states.shape) < 2 or not states.dtype.is_floating:
        raise CaptureError(
            f"Layer {point.path!r} must return one float tensor [B, ..., D] to be distilled. "
            f"Received: {_describe(states)}. Name a layer inside of it."
        )
    masks = [getattr(states, "_keras_mask", None), mask]
    # To Keras' own attention layer a mask of two axes means [L, L].
    if not isinstance(point.layer, keras.layers.MultiHeadAttention):
        masks += [given.get(name) for name in _PADDING_ARGUMENTS]
    rank = len(states.shape) - 1
    fitting = [
        tf.cast(mask, tf.bool)
        for mask in masks
        if tf.is_tensor(mask)
        and len(mask.shape) == rank
        and mask.shape.is_compatible_with(states.shape[:-1])
    ]
    return {"states": states, **_combined(fitting)}


def attention_parts(point: Point, given: dict[str, Any]) -> Parts:
    """Keeps the queries, keys and values of an attention layer, and what it masks.

    Args:
        point: The place.
        given: Arguments of `MultiHeadAttention._compute_attention`, which both of the layer's
            ways to attend go through, while its Softmax layer is left out of one of them.

    Returns:
        `query`, `key`, `value`, float `[B, L, H, d]`, and `mask`, bool of rank 4 that broadcasts
        to the scores `[B, H, L, L]`, if it masks anything.

    Raises:
        CaptureError: If it is no attention of positions to each other.
    """
    query, key, value = given["query"], given["key"], given["value"]
    if len(query.shape) != 4 or not query.shape[1:2].is_compatible_with(key.shape[1:2]):
        raise CaptureError(
            f"Layer {point.path!r} must attend to its own positions, [B, L, D], to be distilled. "
            f"Received: queries of shape {tuple(query.shape)}, keys of {tuple(key.shape)}. "
            "Name a self-attention layer."
        )
    masks = []
    if given.get("attention_mask") is not None:
        mask = tf.cast(given["attention_mask"], tf.bool)
        while len(mask.shape) < 4:
            mask = tf.expand_dims(mask, -3)
        masks.append(mask)
    if given.get("use_causal_mask"):
        positions = tf.range(tf.shape(query)[1])
        masks.append((positions[:, tf.newaxis] >= positions)[tf.newaxis, tf.newaxis])
    return {"query": query, "key": key, "value": value, **_combined(masks)}


def _combined(masks: list[tf.Tensor]) -> Parts:
    return {"mask": functools.reduce(tf.logical_and, masks)} if masks else {}


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dict of {', '.join(sorted(map(str, value)))}"
    if tf.is_tensor(value):
        return f"{value.dtype.name} of shape {tuple(value.shape)}"
    return type(value).__name__
