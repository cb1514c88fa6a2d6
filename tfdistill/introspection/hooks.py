"""Hooks on the methods of layers, and the recording of what layers compute.

A hook stands in for a method of one layer, `call` as a rule, for as long as a `with` block runs.
It is called as `hook(method, *args, **kwargs)` and returns what the method would have. Nothing is
rebuilt, so nested, subclassed and compressed models are hooked alike, and gradients flow through.

`capturing` uses hooks to record layers while a model runs once: their outputs, or the queries,
keys and values of attention. A forward pass is expensive and draws one dropout mask, so it is not
repeated to look at a hidden state. What is known about padding is recorded too, because positions
that are not real must not be distilled. Layers learn of it from a Keras mask or from an argument.
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
    "Hook",
    "Parts",
    "Point",
    "capturing",
    "has_own_method",
    "intercepting",
    "keep_hook",
    "named_arguments",
]

# Called as `hook(method, *args, **kwargs)`.
Hook = Callable[..., Any]

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
_CHANGES = threading.RLock()


@contextlib.contextmanager
def intercepting(
    hooks: Iterable[tuple[keras.layers.Layer, Hook]], *, method: str = "call"
) -> Iterator[None]:
    """Puts hooks on a method of layers while the body runs, in this thread.

    Blocks may be nested and may overlap in several threads. Of the hooks of one layer the last one
    is called first. Afterwards, also after an exception, the layers are as they were.

    Args:
        hooks: Pairs of a layer and its hook.
        method: Name of the method.

    Yields:
        Nothing.

    Example:
        >>> layer = keras.layers.Rescaling(2.0)
        >>> with intercepting([(layer, lambda call, inputs: 10.0 + call(inputs))]):
        ...     inside = float(layer(1.0))
        >>> inside, float(layer(1.0))
        (12.0, 2.0)
    """
    with contextlib.ExitStack() as stack:
        for layer, hook in hooks:
            stack.enter_context(_hooked(layer, hook, method))
        yield


def keep_hook(layer: keras.layers.Layer, hook: Hook, *, method: str = "call") -> None:
    """Puts a hook on a method of a layer for good, in all threads.

    It goes with the layer. Copies and files do not have it.

    Args:
        layer: The layer.
        hook: The hook.
        method: Name of the method.

    Example:
        >>> layer = keras.layers.Rescaling(2.0)
        >>> keep_hook(layer, lambda call, inputs: 10.0 + call(inputs))
        >>> float(layer(1.0)), has_own_method(layer)
        (12.0, True)
    """
    with _CHANGES:
        vars(layer)[method] = _around(hook, getattr(layer, method))


def has_own_method(layer: keras.layers.Layer, *, method: str = "call") -> bool:
    """Tells whether a layer has a method that its class does not; `intercepting` adds none.

    Args:
        layer: The layer.
        method: Name of the method.
    """
    own = vars(layer).get(method)
    return own is not None and (not isinstance(own, _Hooked) or own.shadowed is not None)


class _Hooked:
    """Stands in for a method of one layer while there are hooks on it."""

    def __init__(self, function: Callable[..., Any], *, shadowed: Any) -> None:
        self.function = function
        self.shadowed = shadowed  # an attribute of the layer that was there before
        # The replicas of a tf.distribute strategy trace the same layers, in alternating threads.
        self.hooks: list[tuple[int, Hook]] = []
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self.function
        for thread, hook in self.hooks:
            if thread == threading.get_ident():
                function = _around(hook, function)
        return function(*args, **kwargs)


@contextlib.contextmanager
def _hooked(layer: keras.layers.Layer, hook: Hook, method: str) -> Iterator[None]:
    own = vars(layer)  # no setattr: Keras would track what is only there for a moment
    entry = (threading.get_ident(), hook)
    with _CHANGES:
        hooked = own.get(method)
        if not isinstance(hooked, _Hooked):
            hooked = own[method] = _Hooked(getattr(layer, method), shadowed=own.get(method))
        hooked.hooks.append(entry)
    try:
        yield
    finally:
        with _CHANGES:
            hooked.hooks = [other for other in hooked.hooks if other is not entry]
            if not hooked.hooks:
                own.pop(method)
                if hooked.shadowed is not None:
                    own[method] = hooked.shadowed


def _around(hook: Hook, function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls the hook with the function; `inspect` still sees the function's signature."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return hook(function, *args, **kwargs)

    return call


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


@contextlib.contextmanager
def capturing(points: Iterable[Point]) -> Iterator[dict[Point, Parts]]:
    """Records what happens at some points of a model while it is called once.

    Args:
        points: What to record; each layer must run exactly once in the body, in this thread.

    Yields:
        What was recorded, filled while the body runs. Of "states": `states`, float
        `[B, ..., D]`, and `mask`, bool `[B, ...]`, if it is known which positions are real. Of
        "attention": `query`, `key`, `value`, float `[B, L, H, d]`, and `mask`, bool of rank 4
        that broadcasts to the scores `[B, H, L, L]`, if anything is masked. Tensors of a graph,
        if that is what is being made.

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
            layer = listener.point.layer
            hook: Hook = listener.hear_states
            method = "call" if layer.quantization_mode is None else "quantized_call"
            if listener.point.kind == "attention":
                # Both of the layer's ways to attend go through this method, while its Softmax
                # layer is left out of one of them.
                hook, method = listener.hear_attention, "_compute_attention"
            stack.enter_context(intercepting([(layer, hook)], method=method))
        yield recorded
    for listener in listeners:
        listener.check()


class _Listener:
    """Writes down one point, for one `capturing`."""

    def __init__(self, point: Point, recorded: dict[Point, Parts]) -> None:
        self.point = point
        self._recorded = recorded
        self._graph = _current_graph()
        self._problem: CaptureError | None = None

    def hear_states(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the layer and keeps its output."""
        given = named_arguments(call, args, kwargs)
        # Before the call: attention layers take the Keras mask off what they are given.
        mask = _keras_mask(self.point.layer, given)
        outputs = call(*args, **kwargs)
        self._hear(functools.partial(_state_parts, self.point, given, outputs, mask))
        return outputs

    def hear_attention(self, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Computes the attention and keeps what goes into it."""
        given = named_arguments(compute, args, kwargs)
        outputs = compute(*args, **kwargs)
        self._hear(functools.partial(_attention_parts, self.point, given))
        return outputs

    def _hear(self, make_parts: Callable[[], Parts]) -> None:
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


def _current_graph() -> tf.Graph | None:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


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


def _keras_mask(layer: keras.layers.Layer, given: dict[str, Any]) -> Any:
    """Computes the mask that Keras is going to attach to the layer's output."""
    if not layer.supports_masking:
        return None
    inputs = next(iter(given.values()), None)
    mask = given.get("mask")
    if mask is None:
        mask = keras.tree.map_structure(lambda x: getattr(x, "_keras_mask", None), inputs)
    return layer.compute_mask(inputs, mask)


def _state_parts(point: Point, given: dict[str, Any], states: Any, mask: Any) -> Parts:
    """Keeps a layer's output and which of its positions are real."""
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


def _attention_parts(point: Point, given: dict[str, Any]) -> Parts:
    """Keeps the queries, keys and values of self-attention, and what it masks."""
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
